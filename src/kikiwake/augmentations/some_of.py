"""Some of a list of augmentations, drawn anew for every clip."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from kikiwake.augmentations._draws import Probability, turns
from kikiwake.components import PartsOf
from kikiwake.errors import RecipeError

Count = Annotated[int, Field(ge=1)]
Parts = Annotated[
    list[Any],
    Field(min_length=1),
    PartsOf("augmentations", fixed={"p": 1.0}, remedy="remove it: how often is said once, by p of some_of"),
]


class SomeOf:
    """Changes a clip by a few augmentations drawn from a list.

    Of a batch, each clip draws for itself, and each part is given the clips whose turn it is: where parts mix
    clips, those of one part are mixed with each other.

    Args:
        parts: other augmentations, all of one level, which becomes the level of the whole. A part that was
            drawn is applied: its own `p` is 1, and another value is refused.
        least, most: numbers between which it is drawn, evenly, how many parts change a clip. They are drawn
            without repetition, all as likely, and applied in the order listed.
        p: probability that a clip is changed. It is drawn here and only here.

    Shape: as its parts.

    Raises:
        RecipeError: `parts` are of different levels, or there is no such number of them.
    """

    example: ClassVar[dict[str, Any]] = {
        "parts": [{"name": "time_mask", "max_width": 8}, {"name": "frequency_mask", "max_width": 8}],
        "most": 2,
    }

    def __init__(self, *, parts: Parts, least: Count = 1, most: Count = 1, p: Probability = 1.0) -> None:
        if not least <= most <= len(parts):
            raise RecipeError(
                f"'least' to 'most' must be numbers of parts, and {len(parts)} are listed",
                where="some_of",
                value=(least, most),
                remedy=f"give 1 <= least <= most <= {len(parts)}",
            )
        levels = {part.level for part in parts}
        if len(levels) > 1:
            raise RecipeError(
                "the parts are not of one level",
                where="some_of.parts",
                value=[f"{type(part).__name__}: {part.level}" for part in parts],
                remedy="write a some_of for each level",
            )
        self.level = levels.pop()
        self.parts = parts
        self.least = least
        self.most = most
        self.p = p

    def __call__(self, signal: Any, *, rng: np.random.Generator, **beside: Any) -> Any:
        """Return what the parts return; `beside`: what they are given beside the clip or the features."""
        if self.level == "waveform":
            return self._to_clip(signal, rng=rng, **beside)
        if self.level == "spectrogram":
            return self._to_features(signal, rng=rng, **beside)
        return self._to_batch(signal, rng=rng, **beside)

    def _to_clip(self, waveform: Any, *, rng: np.random.Generator, sample_rate: int) -> Any:
        (drawn,) = self._drawn(rng, count=1)
        for number in np.flatnonzero(drawn):
            waveform = self.parts[number](waveform, sample_rate=sample_rate, rng=rng)
        return waveform

    def _to_features(self, features: Tensor, *, rng: np.random.Generator) -> Tensor:
        for part, rows in self._dealt(rng, count=len(features)):
            features = _put(features, rows, part(_take(features, rows), rng=rng))
        return features

    def _to_batch(
        self, features: Tensor, *, targets: Tensor, weights: Tensor, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        for part, rows in self._dealt(rng, count=len(features)):
            mixed = part(
                _take(features, rows), targets=_take(targets, rows), weights=_take(weights, rows), rng=rng
            )
            features, targets, weights = (
                _put(values, rows, new)
                for values, new in zip((features, targets, weights), mixed, strict=True)
            )
        return features, targets, weights

    def _dealt(self, rng: np.random.Generator, *, count: int) -> list[tuple[Any, Tensor]]:
        """Return the parts in their order, each with the rows that it changes, without idle parts."""
        drawn = self._drawn(rng, count=count)
        dealt = [(part, torch.from_numpy(np.flatnonzero(drawn[:, at]))) for at, part in enumerate(self.parts)]
        return [(part, rows) for part, rows in dealt if len(rows)]

    def _drawn(self, rng: np.random.Generator, *, count: int) -> npt.NDArray[np.bool_]:
        """Return which parts change each of `count` clips. Shape: `[count, parts]`."""
        changed = turns(rng, count=count, p=self.p)
        numbers = np.where(changed, rng.integers(self.least, self.most, endpoint=True, size=count), 0)
        places = rng.permuted(np.tile(np.arange(len(self.parts)), (count, 1)), axis=1)
        drawn: npt.NDArray[np.bool_] = places < numbers[:, None]
        return drawn


def _take(values: Tensor, rows: Tensor) -> Tensor:
    return values[rows.to(values.device)]


def _put(values: Tensor, rows: Tensor, new: Tensor) -> Tensor:
    return values.index_copy(0, rows.to(values.device), new)
