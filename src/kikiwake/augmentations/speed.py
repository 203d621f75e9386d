"""Speed perturbation: a recording played faster or slower, pitch and tempo together."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from kikiwake.audio import resample
from kikiwake.augmentations._draws import Probability
from kikiwake.errors import RecipeError


class Speed:
    """Plays a clip at another speed (Ko et al. 2015, "Audio augmentation for speech recognition").

    `slowest`, `fastest`: factors between which the speed is drawn, evenly on a logarithmic scale.
    `p`: probability that a clip is changed.

    Of a clip that becomes longer, a random stretch of the old length stays. All channels share one draw.

    Shape: `[C, T]` -> `[C, t]`, t <= T.

    Raises:
        RecipeError: `slowest` is above `fastest`.
    """

    level: ClassVar[Literal["waveform"]] = "waveform"
    example: ClassVar[dict[str, Any]] = {}

    def __init__(
        self,
        *,
        slowest: Annotated[float, Field(ge=0.25, le=4)] = 0.8,
        fastest: Annotated[float, Field(ge=0.25, le=4)] = 1.25,
        p: Probability = 0.5,
    ) -> None:
        if slowest > fastest:
            raise RecipeError(
                "'slowest' is above 'fastest'", where="speed", value=(slowest, fastest), remedy="swap them"
            )
        self.slowest = slowest
        self.fastest = fastest
        self.p = p

    def __call__(
        self, waveform: npt.NDArray[np.float32], *, sample_rate: int, rng: np.random.Generator
    ) -> npt.NDArray[np.float32]:
        """Return the clip, changed where it is its turn."""
        turn, speed, place = rng.random(), rng.random(), rng.random()
        if turn >= self.p:
            return waveform
        factor = math.exp(math.log(self.slowest) + speed * math.log(self.fastest / self.slowest))
        played = resample(waveform, source_rate=round(sample_rate * factor), target_rate=sample_rate)
        surplus = max(0, played.shape[1] - waveform.shape[1])
        start = int(place * (surplus + 1))
        return np.ascontiguousarray(played[:, start : start + waveform.shape[1]])
