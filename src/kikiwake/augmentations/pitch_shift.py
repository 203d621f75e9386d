"""Pitch shift of mel spectrograms, on the device: fifteen times faster than of waveforms on a CPU already."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from torch import Tensor

from kikiwake.augmentations._draws import Probability, turns
from kikiwake.augmentations._warp import read_at
from kikiwake.errors import RecipeError
from kikiwake.mel_scale import MelScale, hz_to_mel, mel_to_hz

Hertz = Annotated[float, Field(ge=0)]
Semitones = Annotated[float, Field(ge=-24, le=24)]


class PitchShift:
    """Shifts a clip up or down at the same pace: each mel band is read where its sound was before.

    What the transform `PitchShift` of `waveform` does, seen in the spectrogram; a harmonic keeps the width
    that it has, in bands, where it is read. Bands that would come from outside the range are silent.

    Args:
        sample_rate: of the waveforms, in Hz; supplied by the pipeline.
        lowest, highest: semitones between which each clip's shift is drawn, evenly.
        f_min, f_max, mel_scale: those of the front end; empty `f_max` is half the sample rate.
        p: probability that a clip is changed.

    Shape: `[B, C, F, N]` -> same. All channels have the same shift.

    Raises:
        RecipeError: `lowest` is above `highest`, or `f_min` not below `f_max`.
    """

    level: ClassVar[Literal["spectrogram"]] = "spectrogram"
    example: ClassVar[dict[str, Any]] = {"p": 1.0}

    def __init__(
        self,
        *,
        sample_rate: int,
        lowest: Semitones = -2.0,
        highest: Semitones = 2.0,
        f_min: Hertz = 0.0,
        f_max: Hertz | None = None,
        mel_scale: MelScale = "slaney",
        p: Probability = 0.5,
    ) -> None:
        top = sample_rate / 2 if f_max is None else f_max
        for low, high, names in ((lowest, highest, "lowest, highest"), (f_min, top, "f_min, f_max")):
            if low > high or (low == high and names == "f_min, f_max"):
                raise RecipeError(
                    f"'{names}' are upside down", where="pitch_shift", value=(low, high), remedy="swap them"
                )
        self.lowest = lowest
        self.highest = highest
        self.mel_scale = mel_scale
        self.mels = hz_to_mel([f_min, top], scale=mel_scale).tolist()
        self.p = p

    def __call__(self, features: Tensor, *, rng: np.random.Generator) -> Tensor:
        """Return features in which some clips are shifted."""
        count = len(features)
        chosen = np.flatnonzero(turns(rng, count=count, p=self.p))
        semitones = rng.uniform(self.lowest, self.highest, size=count)[chosen]
        return read_at(features, clips=chosen, bands=self._sources(semitones, bands=features.shape[-2]))

    def _sources(self, semitones: np.ndarray, *, bands: int) -> np.ndarray:
        """Return where each band's sound was before. Shape: `[n]` -> `[n, bands]`, in bands."""
        low, high = self.mels
        step = (high - low) / (bands + 1)
        hertz = mel_to_hz(low + step * np.arange(1, bands + 1), scale=self.mel_scale)
        before = hertz / 2.0 ** (semitones[:, None] / 12)
        places: np.ndarray = (hz_to_mel(before, scale=self.mel_scale) - low) / step - 1
        return places
