"""What every network returns."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Output(NamedTuple):
    """Logits of a batch: one row a clip and, where the network can, one a frame.

    Shape: clipwise `[B, K]`; framewise `[B, K, N]` or None.
    """

    clipwise: Tensor
    framewise: Tensor | None = None
