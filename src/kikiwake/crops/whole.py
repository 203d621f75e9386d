"""The whole clip."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field


class Whole:
    """The whole clip; with `seconds`, clips are made that long: cut behind, or filled up where shorter."""

    drawn: ClassVar[bool] = False
    example: ClassVar[dict[str, Any]] = {}

    def __init__(self, *, seconds: Annotated[float, Field(gt=0)] | None = None) -> None:
        self.seconds = seconds

    def choose(
        self,
        total: int,
        *,
        sample_rate: int,
        rng: np.random.Generator,  # noqa: ARG002 - all crops are called alike
        read: Callable[[int, int], np.ndarray],  # noqa: ARG002
    ) -> tuple[int, int]:
        """Return the first sample and the number of samples, of `total` at `sample_rate`."""
        return 0, total if self.seconds is None else min(total, round(self.seconds * sample_rate))
