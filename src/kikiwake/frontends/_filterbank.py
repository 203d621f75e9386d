"""Mel filters: triangles over the bins of a Fourier transform, as librosa builds them."""

from __future__ import annotations

import warnings
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from kikiwake.mel_scale import MelScale, hz_to_mel, mel_to_hz

MelNorm = Literal["slaney"]

_WEIGHTS_A_BLOCK = 1500
"""Weights that take as long to multiply as one more call of the matrix product does."""


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
