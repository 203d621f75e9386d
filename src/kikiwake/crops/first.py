"""The beginning of the clip."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field


class First:
    """The first `seconds` of the clip."""

    drawn: ClassVar[bool] = False
    example: ClassVar[dict[str, Any]] = {"seconds": 5.0}

    def __init__(self, *, seconds: Annotated[float, Field(gt=0)]) -> None:
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
        return 0, min(total, round(self.seconds * sample_rate))
