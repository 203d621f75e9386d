"""Division of the learning rate when the monitored score no longer improves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field


class Plateau:
    """Multiply the learning rate by `factor` whenever `patience` epochs in a row bring no better score.

    The count starts anew after each division. `minimum`: the learning rate never falls below it.
    """

    example: ClassVar[dict[str, Any]] = {}

    def __init__(
        self,
        *,
        patience: Annotated[int, Field(ge=1)] = 3,
        factor: Annotated[float, Field(gt=0, lt=1)] = 0.1,
        minimum: Annotated[float, Field(ge=0)] = 0.0,
    ) -> None:
        self.patience = patience
        self.factor = factor
        self.minimum = minimum

    def rate(self, base: float, *, epoch: float, epochs: int, scores: Sequence[float]) -> float:  # noqa: ARG002
        """Return the learning rate; see `Cosine.rate` for the arguments."""
        best, waited, divisions = float("-inf"), 0, 0
        for score in scores:
            if score > best:
                best, waited = score, 0
                continue
            waited += 1
            if waited == self.patience:
                waited, divisions = 0, divisions + 1
        return max(base * self.factor**divisions, self.minimum)
