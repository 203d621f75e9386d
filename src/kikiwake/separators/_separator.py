"""What a part of the family is, built."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor


class Separator(Protocol):
    """Separates windows; what it is made of stands in the family's description."""

    stems: Sequence[str]
    sample_rate: int
    channels: int
    window: int
    hop: int
    batch_size: int
    identity: str
    device: torch.device
    saves_memory: str

    def __call__(self, mixture: Tensor) -> Tensor:
        """Return the stems of windows. Shape: `[B, C, T]` -> `[B, S, T]`."""
