"""Volume of spectrograms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from torch import Tensor

from kikiwake.augmentations._draws import Probability, per_clip, turns
from kikiwake.errors import RecipeError

Factor = Annotated[float, Field(gt=0)]


class Volume:
    """Makes clips louder or softer by a factor; give either the factors to choose from or a range.

    Args:
        factors: each clip's factor is one of these, all as likely.
        between: lowest and highest factor; each clip's is drawn evenly between them.
        p: probability that a clip is changed.
        unit_db: empty multiplies the features by the factor. Where features are levels, a change of volume
            is a step: 20 log10(factor) / `unit_db` is added instead, `unit_db` being the decibels of one unit
            (1 for plain decibels, 80 after `{name: offset_scale, scale: 80}`).

    Shape: `[B, C, F, N]` -> same. All channels have the same factor.

    Raises:
        RecipeError: both or neither of `factors` and `between` are given, or `between` is upside down.
    """

    level: ClassVar[Literal["spectrogram"]] = "spectrogram"
    example: ClassVar[dict[str, Any]] = {"factors": [0.5, 1.5]}

    def __init__(
        self,
        *,
        factors: Annotated[Sequence[Factor], Field(min_length=1)] | None = None,
        between: tuple[Factor, Factor] | None = None,
        p: Probability = 1.0,
        unit_db: Annotated[float, Field(gt=0)] | None = None,
    ) -> None:
        if (factors is None) == (between is None):
            raise RecipeError(
                "the factor must be given once",
                where="volume",
                value={"factors": factors, "between": between},
                remedy="set either factors or between",
            )
        if between is not None and between[0] > between[1]:
            raise RecipeError(
                "the lower end lies above the upper",
                where="volume.between",
                value=between,
                remedy="swap them",
            )
        self.factors = factors
        self.between = between
        self.p = p
        self.unit_db = unit_db

    def __call__(self, features: Tensor, *, rng: np.random.Generator) -> Tensor:
        """Return features at other volumes."""
        count = len(features)
        chosen = turns(rng, count=count, p=self.p)
        if self.factors is not None:
            drawn = rng.choice(np.asarray(self.factors, dtype=np.float64), size=count)
        else:
            drawn = rng.uniform(*(self.between or (1.0, 1.0)), size=count)
        factors = np.where(chosen, drawn, 1.0)
        if self.unit_db is None:
            return features * per_clip(factors, like=features)
        return features + per_clip(20.0 * np.log10(factors) / self.unit_db, like=features)
