"""Levels of waveforms."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def power(waveform: npt.NDArray[Any]) -> float:
    """Return the mean square over all channels and samples."""
    return float(np.mean(np.square(waveform, dtype=np.float64)))


def with_power_of(waveform: npt.NDArray[Any], reference: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return `waveform`, which is not silent, with one gain that gives it the power of `reference`.

    Shape: both `[C, T]` -> same, contiguous.
    """
    gain = np.sqrt(power(reference) / power(waveform))
    return np.ascontiguousarray(waveform * gain, dtype=np.float32)
