"""Background noise from a folder of recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from kikiwake import audio
from kikiwake.augmentations._draws import Probability
from kikiwake.augmentations._levels import power
from kikiwake.augmentations._recordings import probed
from kikiwake.errors import RecipeError


class BackgroundNoise:
    """Adds a random stretch of a random recording to a clip, at a random signal-to-noise ratio.

    The stretch alone is read and converted, so that a recording may last a night; one that is shorter than
    the clip is repeated. All channels get the same. A silent clip stays silent: no ratio can be had in it.

    Args:
        folder: of recordings, in subfolders too.
        lowest_snr_db, highest_snr_db: between which the ratio of powers, over the whole clip, is drawn.
        p: probability that a clip is changed.

    Shape: `[C, T]` -> same.

    Raises:
        RecipeError: there is no recording in the folder, one cannot be read, or the ratios are swapped.
        AudioError: when a clip is changed: a recording is damaged further inside.
    """

    level: ClassVar[Literal["waveform"]] = "waveform"
    example: ClassVar[dict[str, Any] | None] = None

    def __init__(
        self,
        *,
        folder: Path,
        lowest_snr_db: Annotated[float, Field(ge=-60, le=100)] = 3.0,
        highest_snr_db: Annotated[float, Field(ge=-60, le=100)] = 30.0,
        p: Probability = 0.5,
    ) -> None:
        if lowest_snr_db > highest_snr_db:
            raise RecipeError(
                "'lowest_snr_db' is above 'highest_snr_db'",
                where="background_noise",
                value=(lowest_snr_db, highest_snr_db),
                remedy="swap them",
            )
        self.recordings = probed(
            folder,
            where="background_noise.folder",
            remedy="name a folder of recordings without the sounds that are to be told apart",
        )
        self.lowest_snr_db = lowest_snr_db
        self.highest_snr_db = highest_snr_db
        self.p = p

    def __call__(
        self, waveform: npt.NDArray[np.float32], *, sample_rate: int, rng: np.random.Generator
    ) -> npt.NDArray[np.float32]:
        """Return the clip, changed where it is its turn."""
        turn, which, place, ratio = rng.random(4)
        samples = waveform.shape[1]
        if turn >= self.p or not samples:
            return waveform
        recording = self.recordings[int(which * len(self.recordings))]
        surplus = max(0, recording.frames_at(sample_rate) - samples)
        noise = audio.load(
            recording.path, sample_rate=sample_rate, start=int(place * (surplus + 1)), frames=samples
        ).waveform
        noise = np.resize(noise, (1, samples)) if noise.size else np.zeros((1, samples), np.float32)
        powers = [power(part) for part in (waveform, noise)]
        if min(powers) == 0:
            return waveform
        snr_db = self.lowest_snr_db + ratio * (self.highest_snr_db - self.lowest_snr_db)
        gain = np.sqrt(powers[0] / powers[1] / 10 ** (snr_db / 10))
        return waveform + noise * np.float32(gain)
