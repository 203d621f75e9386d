"""Pitch shift of mel spectrograms, on the device: fifteen times faster than of waveforms on a CPU already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from torch import Tensor

from kikiwake.augmentations._draws import Probability, turns
from kikiwake.augmentations._warp import read_at
from kikiwake.errors import RecipeError
from kikiwake.mel_scale import MelBands

Semitones = Annotated[float, Field(ge=-24, le=24)]

_OTHER_WAY = "shift waveforms: {name: waveform, transform: PitchShift}"


class PitchShift:
    """Shifts a clip up or down at the same pace: each mel band is read where its sound was before.

    What the transform `PitchShift` of `waveform` does, seen in the spectrogram; a harmonic keeps the width
    that it has, in bands, where it is read. Bands that would come from outside the range are silent.

    Args:
        mel_bands: of each of the front end's spectrograms; supplied by the pipeline.
        lowest, highest: semitones between which each clip's shift is drawn, evenly.
        p: probability that a clip is changed.

    Shape: `[B, C, F, N]` -> same. All channels have the same shift.

    Raises:
        RecipeError: `lowest` is above `highest`, or the front end makes no mel spectrograms, or such of
            different frequencies.
    """

    level: ClassVar[Literal["spectrogram"]] = "spectrogram"
    example: ClassVar[dict[str, Any]] = {"p": 1.0}

    def __init__(
        self,
        *,
        mel_bands: Sequence[MelBands],
        lowest: Semitones = -2.0,
        highest: Semitones = 2.0,
        p: Probability = 0.5,
    ) -> None:
        if lowest > highest:
            raise RecipeError(
                "'lowest' is above 'highest'",
                where="pitch_shift",
                value=(lowest, highest),
                remedy="swap them",
            )
        self.lowest = lowest
        self.highest = highest
        self.bands = _shared(mel_bands)
        self.p = p

    def __call__(self, features: Tensor, *, rng: np.random.Generator) -> Tensor:
        """Return features in which some clips are shifted."""
        count = len(features)
        chosen = np.flatnonzero(turns(rng, count=count, p=self.p))
        semitones = rng.uniform(self.lowest, self.highest, size=count)[chosen]
        height = features.shape[-2]
        before = self.bands.hertz(np.arange(height), height=height) / 2.0 ** (semitones[:, None] / 12)
        return read_at(features, clips=chosen, bands=self.bands.rows(before, height=height))


def _shared(mel_bands: Sequence[MelBands]) -> MelBands:
    """Return the bands of the first spectrogram, after which the others are resized.

    Raises:
        RecipeError: there is none, or another one reaches over other frequencies.
    """
    if not mel_bands:
        raise RecipeError(
            "the front end makes no mel spectrograms",
            where="pitch_shift",
            remedy=_OTHER_WAY,
        )
    first = mel_bands[0]
    for other in mel_bands[1:]:
        if other[1:] != first[1:]:
            raise RecipeError(
                f"the front end's resolutions reach over different frequencies: {first.f_min:g} to "
                f"{first.f_max:g} Hz and {other.f_min:g} to {other.f_max:g} Hz",
                where="pitch_shift",
                remedy=f"give them one f_min and f_max, or {_OTHER_WAY}",
            )
    return first
