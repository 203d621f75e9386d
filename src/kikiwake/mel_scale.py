"""The mel scale: pitch as people hear distances in it, in Slaney's form and in HTK's."""

from __future__ import annotations

from typing import Literal

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

    >>> float(hz_to_mel(1000.0, scale="slaney"))
    15.0
    """
    hertz = np.asarray(frequencies, dtype=np.float64)
    if scale == "htk":
        return np.asarray(2595.0 * np.log10(1.0 + hertz / 700.0))
    logarithmic = _LOG_START_MEL + np.log(np.maximum(hertz, _LOG_START_HZ) / _LOG_START_HZ) / _LOG_STEP
    return np.where(hertz < _LOG_START_HZ, hertz / _LINEAR_STEP_HZ, logarithmic)


def mel_to_hz(mels: npt.ArrayLike, *, scale: MelScale) -> Floats:
    """Return mels as frequencies in Hz: the inverse of `hz_to_mel`."""
    places = np.asarray(mels, dtype=np.float64)
    if scale == "htk":
        return np.asarray(700.0 * (10.0 ** (places / 2595.0) - 1.0))
    logarithmic = _LOG_START_HZ * np.exp(_LOG_STEP * (places - _LOG_START_MEL))
    return np.where(places < _LOG_START_MEL, _LINEAR_STEP_HZ * places, logarithmic)
