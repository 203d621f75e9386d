"""Time stretch of spectrograms, on the device: fifteen times faster than of waveforms on a CPU already."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from torch import Tensor

from kikiwake.augmentations._draws import Probability, turns
from kikiwake.augmentations._warp import read_at
from kikiwake.errors import RecipeError

Rate = Annotated[float, Field(ge=0.25, le=4)]


class TimeStretch:
    """Plays a clip faster or slower at the same pitch: its frames are read at another pace.

    What a phase vocoder does to a waveform (the transform `TimeStretch` of `waveform`), seen in its
    spectrogram; onsets become sharper or softer with it. A faster clip ends in silence, a slower one is cut.

    Args:
        slowest, fastest: rates between which each clip's is drawn, evenly on a logarithmic scale; 2 is twice
            as fast.
        p: probability that a clip is changed.

    Shape: `[B, C, F, N]` -> same. All channels have the same rate.

    Raises:
        RecipeError: `slowest` is above `fastest`.
    """

    level: ClassVar[Literal["spectrogram"]] = "spectrogram"
    example: ClassVar[dict[str, Any]] = {"p": 1.0}

    def __init__(self, *, slowest: Rate = 0.8, fastest: Rate = 1.25, p: Probability = 0.5) -> None:
        if slowest > fastest:
            raise RecipeError(
                "'slowest' is above 'fastest'",
                where="time_stretch",
                value=(slowest, fastest),
                remedy="swap them",
            )
        self.slowest = slowest
        self.fastest = fastest
        self.p = p

    def __call__(self, features: Tensor, *, rng: np.random.Generator) -> Tensor:
        """Return features in which some clips are stretched."""
        count = len(features)
        chosen = np.flatnonzero(turns(rng, count=count, p=self.p))
        rates = np.exp(rng.uniform(np.log(self.slowest), np.log(self.fastest), size=count))[chosen]
        frames = rates[:, None] * np.arange(features.shape[-1], dtype=np.float64)
        return read_at(features, clips=chosen, frames=frames)
