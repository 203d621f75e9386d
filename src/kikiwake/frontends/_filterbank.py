"""Mel filters: triangles over the bins of a Fourier transform, as librosa builds them."""

from __future__ import annotations

import warnings
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

MelScale = Literal["slaney", "htk"]
MelNorm = Literal["slaney"]

_LINEAR_STEP_HZ = 200.0 / 3.0
"""Width of one mel of Slaney's scale below 1 kHz."""
_LOG_START_HZ = 1000.0
_LOG_START_MEL = _LOG_START_HZ / _LINEAR_STEP_HZ
_LOG_STEP = np.log(6.4) / 27.0
"""Logarithm of the ratio of two frequencies one mel apart above 1 kHz."""

_WEIGHTS_A_BLOCK = 1500
"""Weights that take as long to multiply as one more call of the matrix product does."""


def hz_to_mel(frequency: float, *, scale: MelScale) -> float:
    """Return a frequency in Hz on the mel scale.

    `htk`: 2595 log10(1 + f / 700) (O'Shaughnessy 1987). `slaney`: linear below 1 kHz, logarithmic above
    (Slaney 1998, "Auditory Toolbox").

    >>> hz_to_mel(1000.0, scale="slaney")
    15.0
    """
    if scale == "htk":
        return float(2595.0 * np.log10(1.0 + frequency / 700.0))
    if frequency < _LOG_START_HZ:
        return frequency / _LINEAR_STEP_HZ
    return float(_LOG_START_MEL + np.log(frequency / _LOG_START_HZ) / _LOG_STEP)


def mel_to_hz(mels: npt.NDArray[np.float64], *, scale: MelScale) -> npt.NDArray[np.float64]:
    """Return mels as frequencies in Hz: the inverse of `hz_to_mel`."""
    if scale == "htk":
        return np.asarray(700.0 * (10.0 ** (mels / 2595.0) - 1.0))
    logarithmic = _LOG_START_HZ * np.exp(_LOG_STEP * (mels - _LOG_START_MEL))
    return np.where(mels < _LOG_START_MEL, _LINEAR_STEP_HZ * mels, logarithmic)


def mel_filters(
    *,
    sample_rate: int,
    n_fft: int,
    n_mels: int,
    f_min: float,
    f_max: float,
    scale: MelScale,
    norm: MelNorm | None,
) -> npt.NDArray[np.float32]:
    """Return triangular filters with corners evenly spaced on the mel scale.

    Each rises from its left neighbour's peak to its own and falls to its right neighbour's. `norm` None
    leaves peaks of 1; `slaney` divides by half the width in Hz, so that every filter has the same area. Warns
    where a filter falls between two bins and is therefore empty.

    Shape: `[n_mels, n_fft // 2 + 1]`.
    """
    bins = np.fft.rfftfreq(n_fft, 1.0 / sample_rate)
    corners = mel_to_hz(
        np.linspace(hz_to_mel(f_min, scale=scale), hz_to_mel(f_max, scale=scale), n_mels + 2), scale=scale
    )
    left, peak, right = (corners[start : n_mels + start, None] for start in range(3))
    rising = (bins - left) / (peak - left)
    falling = (right - bins) / (right - peak)
    filters = np.maximum(0.0, np.minimum(rising, falling))
    if norm == "slaney":
        filters *= 2.0 / (right - left)
    empty = np.flatnonzero(filters.max(axis=1) == 0.0)
    if len(empty):
        warnings.warn(
            f"{len(empty)} of {n_mels} mel filters are empty (the first is number {empty[0]}, at "
            f"{peak[empty[0], 0]:.0f} Hz): they lie between two bins, which are {sample_rate / n_fft:.0f} Hz "
            "apart, and their bands will be silent; give fewer n_mels, a larger n_fft or a smaller range",
            stacklevel=2,
        )
    return filters.astype(np.float32)


class Block(NamedTuple):
    """A few neighbouring filters and the only bins that they weight."""

    filters: slice
    bins: slice


def blocks(filters: npt.NDArray[np.float32]) -> list[Block]:
    """Cut a filter bank into blocks of neighbouring filters with the stretch of bins that each needs.

    A filter weights a few bins of many, so multiplying block by block takes about a tenth of the work of the
    whole matrix, and bins above the highest filter take none. Of all ways to cut, this is the one with the
    fewest weights, where a block more must save `_WEIGHTS_A_BLOCK`.
    """
    used = filters > 0
    ends = np.where(used.any(axis=1), used.shape[1] - used[:, ::-1].argmax(axis=1), 1)
    starts = np.where(used.any(axis=1), used.argmax(axis=1), used.shape[1] - 1)
    # best[n]: the least cost of the first n filters, and where the last block of that way starts.
    best: list[tuple[int, int]] = [(0, 0)]
    for stop in range(1, len(filters) + 1):
        low = np.minimum.accumulate(starts[:stop][::-1])[::-1]
        high = np.maximum.accumulate(ends[:stop][::-1])[::-1]
        weights = np.arange(stop, 0, -1) * np.maximum(high - low, 1)
        costs = weights + _WEIGHTS_A_BLOCK + np.array([cost for cost, _ in best])
        first = int(costs.argmin())
        best.append((int(costs[first]), first))
    found = []
    stop = len(filters)
    while stop > 0:
        first = best[stop][1]
        left, right = int(starts[first:stop].min()), int(ends[first:stop].max())
        found.append(Block(slice(first, stop), slice(left, max(right, left + 1))))
        stop = first
    return found[::-1]
