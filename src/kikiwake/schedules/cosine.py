"""Cosine annealing, a step at a time (Loshchilov & Hutter 2017, equation 5, without restarts)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field


class Cosine:
    """Fall from the stage's learning rate to `minimum` along half a cosine.

    `minimum`: learning rate at the end of the stage.
    """

    example: ClassVar[dict[str, Any]] = {}

    def __init__(self, *, minimum: Annotated[float, Field(ge=0)] = 0.0) -> None:
        self.minimum = minimum

    def rate(self, base: float, *, epoch: float, epochs: int, scores: Sequence[float]) -> float:  # noqa: ARG002
        """Return the learning rate at a point of the stage.

        `epoch`: epochs done, with the fraction of the present one. `scores`: the monitored score of every
        finished epoch, higher is better.
        """
        return self.minimum + (base - self.minimum) * 0.5 * (1 + math.cos(math.pi * min(epoch / epochs, 1.0)))
