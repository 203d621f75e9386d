"""A stretch that begins anywhere, all places alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field


class Random:
    """A stretch of `seconds` that begins anywhere in the clip, all places alike."""

    drawn: ClassVar[bool] = True
    example: ClassVar[dict[str, Any]] = {"seconds": 5.0}

    def __init__(self, *, seconds: Annotated[float, Field(gt=0)]) -> None:
        self.seconds = seconds

    def choose(
        self,
        total: int,
        *,
        sample_rate: int,
        rng: np.random.Generator,
        read: Callable[[int, int], np.ndarray],  # noqa: ARG002 - all crops are called alike
    ) -> tuple[int, int]:
        """Return the first sample and the number of samples, of `total` at `sample_rate`."""
        frames = min(total, round(self.seconds * sample_rate))
        return int(rng.integers(0, total - frames, endpoint=True)), frames
