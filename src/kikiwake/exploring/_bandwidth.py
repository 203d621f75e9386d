"""The bandwidth of a recording: the frequency above which there is nothing but what rounding leaves.

A recording at 44.1 kHz can hold sound up to 22.05 kHz. One that was brought up from 16 kHz holds nothing
above 8 kHz, and lossy coding often leaves nothing above 16 kHz, whatever the file's header says.

The definition: the highest frequency at which at least 5 % of the frames that sound (and at least three) are
stronger than white noise of -90 dBFS is on average. Rounding to 16 bits makes noise of -101 dBFS, with
triangular dither -96 dBFS. A frame sounds when its RMS is above -80 dBFS. That some frames decide, and not
their mean, lets brief sounds count, and the two frames at a hard cut not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WINDOW_SECONDS = 0.046
_NOTHING = 10 ** (-90 / 10)
_SOUNDING = 10 ** (-80 / 10)
_SHARE = 0.05
_FEWEST = 3
_SHORTEST = 64
_KAISER_BETA = 18.0
"""Side lobes of -138 dB, so that a full-scale tone does not fill the spectrum (Kaiser & Schafer 1980)."""

Samples = NDArray[np.float32]


class Bandwidth:
    """Counts, of every frequency, the frames that have something there."""

    def __init__(self, *, sample_rate: int) -> None:
        self._rate = sample_rate
        self._size = 1 << max(6, round(np.log2(WINDOW_SECONDS * sample_rate)))
        self._kept: Samples | None = None
        self._filled: NDArray[np.int64] | None = None
        self._sounding = 0

    def add(self, block: Samples) -> None:
        """Take the next block. Shape: `[C, n]`."""
        if self._kept is None:
            # Only a recording that ends here has so short a first block: its frames are as long as it allows.
            self._size = min(self._size, 1 << max(block.shape[1], 1).bit_length() - 1)
            self._window = np.kaiser(self._size, _KAISER_BETA).astype(np.float32)
            self._filled = np.zeros(self._size // 2 + 1, np.int64)
        waiting = block if self._kept is None else np.concatenate([self._kept, block], axis=1)
        hop = max(self._size // 2, 1)
        frames = max((waiting.shape[1] - self._size) // hop + 1, 0)
        self._kept = waiting[:, frames * hop :]
        if frames == 0 or self._size < _SHORTEST or self._filled is None:
            return
        views = np.lib.stride_tricks.sliding_window_view(waiting, self._size, axis=1)[:, ::hop]
        sounding = np.square(views).mean(axis=(0, 2)) > _SOUNDING
        spectrum = np.fft.rfft(views[:, sounding] * self._window)
        power = (np.square(spectrum.real) + np.square(spectrum.imag)).mean(axis=0)
        # White noise of variance v has v * sum(window^2) in each bin of the transform.
        self._filled += (power > _NOTHING * np.square(self._window).sum()).sum(axis=0)
        self._sounding += int(sounding.sum())

    def hertz(self) -> float | None:
        """Return the bandwidth in Hz, to about 0.3 % of the sample rate; None where too little sounds."""
        if self._filled is None or self._sounding < _FEWEST:
            return None
        needed = max(_FEWEST, _SHARE * self._sounding)
        filled = np.flatnonzero(self._filled >= needed)
        return float(filled[-1] * self._rate / self._size) if len(filled) else 0.0
