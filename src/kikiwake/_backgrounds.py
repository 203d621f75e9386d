"""Backgrounds: the noise that sounds are laid over, made or taken from recordings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kikiwake import audio
from kikiwake._sounds import Rng, Waveform, background, between, noise, scaled
from kikiwake.errors import AudioError

_QUIETEST_DB, _LOUDEST_DB = -50.0, -35.0


def made(samples: int, *, rng: Rng, sample_rate: int) -> Waveform:
    """Return coloured Gaussian noise `[T]` of a spectrum and a level of its own."""
    level = between(rng, _QUIETEST_DB, _LOUDEST_DB)
    return noise(samples, background(rng), rng, sample_rate=sample_rate) * 10 ** (level / 20)


def taken(recordings: Sequence[audio.AudioInfo], samples: int, *, rng: Rng, sample_rate: int) -> Waveform:
    """Return a stretch `[T]` of one of the recordings, at a level as `made` has it.

    The stretch alone is read, so that a recording may last a night; a shorter one is repeated.

    Raises:
        AudioError: the recording cannot be read, or the stretch is silent.
    """
    level = between(rng, _QUIETEST_DB, _LOUDEST_DB)
    recording = recordings[int(rng.integers(len(recordings)))]
    start = int(rng.integers(max(0, recording.frames_at(sample_rate) - samples) + 1))
    heard = audio.load(recording.path, sample_rate=sample_rate, start=start, frames=samples).waveform[0]
    if not heard.any():
        raise AudioError(
            f"is silent from {start / sample_rate:.1f} s on",
            where=recording.path,
            remedy="take it out of the folder of noise: no ratio to silence can be had",
        )
    return scaled(np.resize(heard.astype(np.float64), samples)) * 10 ** (level / 20)
