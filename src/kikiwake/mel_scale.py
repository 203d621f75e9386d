"""The mel scale: pitch as people hear distances in it, in Slaney's form and in HTK's."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

MelScale = Literal["slaney", "htk"]
Floats = npt.NDArray[np.float64]

_LINEAR_STEP_HZ = 200.0 / 3.0
"""Width of one mel of Slaney's scale below 1 kHz."""
_LOG_START_HZ = 1000.0
_LOG_START_MEL = _LOG_START_HZ / _LINEAR_STEP_HZ
_LOG_STEP = np.log(6.4) / 27.0
"""Logarithm of the ratio of two frequencies one mel apart above 1 kHz."""


def hz_to_mel(frequencies: npt.ArrayLike, *, scale: MelScale) -> Floats:
    """Return frequencies in Hz on the mel scale.

    `htk`: 2595 log10(1 + f / 700) (O'Shaughnessy 1987). `slaney`: linear below 1 kHz, logarithmic above
    (Slaney 1998, "Auditory Toolbox").

    >>> round(float(hz_to_mel(1000.0, scale="slaney")), 6)
    15.0
    """
    hertz = np.asarray(frequencies, dtype=np.float64)
    if scale == "htk":
        return np.asarray(2595.0 * np.log10(1.0 + hertz / 700.0))
    logarithmic = _LOG_START_MEL + np.log(np.maximum(hertz, _LOG_START_HZ) / _LOG_START_HZ) / _LOG_STEP
    return np.where(hertz < _LOG_START_HZ, hertz / _LINEAR_STEP_HZ, logarithmic)


class MelBands(NamedTuple):
    """Where the bands of a mel spectrogram lie: `n_mels` peaks, evenly on a mel scale between its two ends.

    `f_min`, `f_max`: in Hz, the ends; the first and the last peak lie one step inside.
    """

    n_mels: int
    f_min: float
    f_max: float
    scale: MelScale

    def hertz(self, rows: npt.ArrayLike, *, height: int) -> Floats:
        """Return the frequencies in Hz at places in a picture of `height` rows, from 0 for the lowest row.

        The picture is the spectrogram, or what it was resized to with its borders kept in place.

        >>> bands = MelBands(n_mels=3, f_min=0.0, f_max=800.0, scale="slaney")
        >>> bands.hertz([0, 1, 2], height=3).tolist(), bands.hertz([0.5], height=6).tolist()
        ([200.0, 400.0, 600.0], [200.0])
        """
        bands = (np.asarray(rows, dtype=np.float64) + 0.5) * self.n_mels / height - 0.5
        low, step = self._steps()
        return mel_to_hz(low + step * (bands + 1), scale=self.scale)

    def rows(self, hertz: npt.ArrayLike, *, height: int) -> Floats:
        """Return the places of frequencies in Hz in a picture of `height` rows: the inverse of `hertz`."""
        low, step = self._steps()
        bands = (hz_to_mel(hertz, scale=self.scale) - low) / step - 1
        return (bands + 0.5) * height / self.n_mels - 0.5

    def _steps(self) -> tuple[float, float]:
        """Return the lower end and the distance between two peaks, in mels."""
        low, high = hz_to_mel([self.f_min, self.f_max], scale=self.scale).tolist()
        return low, (high - low) / (self.n_mels + 1)


def mel_to_hz(mels: npt.ArrayLike, *, scale: MelScale) -> Floats:
    """Return mels as frequencies in Hz: the inverse of `hz_to_mel`."""
    places = np.asarray(mels, dtype=np.float64)
    if scale == "htk":
        return np.asarray(700.0 * (10.0 ** (places / 2595.0) - 1.0))
    logarithmic = _LOG_START_HZ * np.exp(_LOG_STEP * (places - _LOG_START_MEL))
    return np.where(places < _LOG_START_MEL, _LINEAR_STEP_HZ * places, logarithmic)
