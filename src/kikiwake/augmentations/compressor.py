"""Dynamic range compression, as recorders with automatic gain and published recordings have it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.signal import lfilter

from kikiwake.augmentations._draws import Probability
from kikiwake.augmentations._levels import with_power_of
from kikiwake.errors import RecipeError

Samples = npt.NDArray[np.float32]
Threshold = Annotated[float, Field(ge=-80, le=0)]
Ratio = Annotated[float, Field(ge=1, le=1000)]

_FLOOR = 1e-20


class Compressor:
    """Makes the loud moments of a clip softer (Giannoulis et al. 2012: feed-forward, hard knee).

    The level is the mean square over all channels, smoothed by one pole; a level that many decibels above the
    threshold leaves with as many divided by the ratio. A high ratio limits. All channels have one gain at a
    time, and the power of the whole clip stays as it was.

    Args:
        lowest_threshold_db, highest_threshold_db: between which the threshold is drawn, below the loudest
            moment of the clip, so that soft recordings are changed as much as loud ones.
        lowest_ratio, highest_ratio: between which the ratio is drawn, evenly on a logarithmic scale.
        seconds: time constant of the level.
        p: probability that a clip is changed.

    Shape: `[C, T]` -> same.

    Raises:
        RecipeError: a lowest value is above its highest.
    """

    level: ClassVar[Literal["waveform"]] = "waveform"
    example: ClassVar[dict[str, Any]] = {}

    def __init__(
        self,
        *,
        lowest_threshold_db: Threshold = -24.0,
        highest_threshold_db: Threshold = -6.0,
        lowest_ratio: Ratio = 2.0,
        highest_ratio: Ratio = 20.0,
        seconds: Annotated[float, Field(gt=0, le=10)] = 0.01,
        p: Probability = 0.5,
    ) -> None:
        for name, low, high in (
            ("threshold_db", lowest_threshold_db, highest_threshold_db),
            ("ratio", lowest_ratio, highest_ratio),
        ):
            if low > high:
                raise RecipeError(
                    f"'lowest_{name}' is above 'highest_{name}'",
                    where="compressor",
                    value=(low, high),
                    remedy="swap them",
                )
        self.thresholds_db = (lowest_threshold_db, highest_threshold_db)
        self.ratios = (lowest_ratio, highest_ratio)
        self.seconds = seconds
        self.p = p

    def __call__(self, waveform: Samples, *, sample_rate: int, rng: np.random.Generator) -> Samples:
        """Return the clip, changed where it is its turn."""
        turn, threshold, ratio = rng.random(3)
        if turn >= self.p or not waveform.any():
            return waveform
        below_db = self.thresholds_db[0] + threshold * (self.thresholds_db[1] - self.thresholds_db[0])
        slope = 1.0 - 1.0 / (self.ratios[0] * (self.ratios[1] / self.ratios[0]) ** ratio)
        power = np.mean(np.square(waveform, dtype=np.float64), axis=0)
        memory = np.exp(-1.0 / (self.seconds * sample_rate))
        level_db = 10.0 * np.log10(lfilter([1.0 - memory], [1.0, -memory], power) + _FLOOR)
        over_db = np.maximum(0.0, level_db - (level_db.max() + below_db))
        return with_power_of(waveform * 10.0 ** (-slope * over_db / 20.0), waveform)
