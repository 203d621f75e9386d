"""Division of the learning rate at fixed epochs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field


class Step:
    """Multiply the learning rate by `factor` after every `every_epochs` epochs."""

    example: ClassVar[dict[str, Any]] = {"every_epochs": 10}

    def __init__(
        self, *, every_epochs: Annotated[int, Field(ge=1)], factor: Annotated[float, Field(gt=0, le=1)] = 0.1
    ) -> None:
        self.every_epochs = every_epochs
        self.factor = factor

    def rate(self, base: float, *, epoch: float, epochs: int, scores: Sequence[float]) -> float:  # noqa: ARG002
        """Return the learning rate; see `Cosine.rate` for the arguments."""
        return base * self.factor ** (int(epoch) // self.every_epochs)
