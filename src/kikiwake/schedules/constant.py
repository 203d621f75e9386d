"""The same learning rate throughout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar


class Constant:
    """Keep the learning rate as it is."""

    example: ClassVar[dict[str, Any]] = {}

    def rate(self, base: float, *, epoch: float, epochs: int, scores: Sequence[float]) -> float:  # noqa: ARG002
        """Return the learning rate; see `Cosine.rate` for the arguments."""
        return base
