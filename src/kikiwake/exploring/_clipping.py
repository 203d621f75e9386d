"""Clipping: where the tops of a waveform were cut off.

A sample is clipped that stands in a run of three or more in one channel, each at 0.99 of full scale or above,
that stay level (to 1/32768 from one to the next) or lie at full scale or beyond. Pure tones at full scale are
not level in this sense, unless they are very low.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HIGH = 0.99
_LEVEL = 1.001 / 32768
_SHORTEST_RUN = 3

Samples = NDArray[np.float32]


class Clipping:
    """Counts clipped samples and runs of them, over all channels and across the limits of blocks."""

    def __init__(self, *, channels: int) -> None:
        self.samples = 0
        self.runs = 0
        self._before = np.zeros((channels, 1), np.float32)
        self._open = [0] * channels

    def add(self, block: Samples) -> None:
        """Take the next block. Shape: `[C, n]`."""
        for channel, row in enumerate(block):
            joined = np.concatenate([self._before[channel], row])
            self._before[channel] = row[-1]
            if self._open[channel] or np.abs(joined).max() >= HIGH:
                self._count(channel, joined)

    def finish(self) -> None:
        """Count the runs that the recording ends with."""
        for channel, length in enumerate(self._open):
            self._take(length)
            self._open[channel] = 0

    def _count(self, channel: int, joined: Samples) -> None:
        """Count the runs of one channel; `joined` begins with the last sample of the block before."""
        size = np.abs(joined)
        lower = np.minimum(size[1:], size[:-1])
        like = (lower >= HIGH) & ((np.abs(np.diff(joined)) <= _LEVEL) | (lower >= 1))
        edges = np.flatnonzero(np.diff(np.concatenate([[False], like, [False]]).astype(np.int8)))
        begins, ends = edges[::2], edges[1::2]
        if self._open[channel] and not like[0]:
            self._take(self._open[channel])
            self._open[channel] = 0
        for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
            # n alike neighbours are n + 1 samples; the first of them is counted already in an open run.
            length = end - begin + (self._open[channel] or 1 if begin == 0 else 1)
            self._open[channel] = 0
            if end == len(like):
                self._open[channel] = length
            else:
                self._take(length)

    def _take(self, length: int) -> None:
        if length >= _SHORTEST_RUN:
            self.samples += length
            self.runs += 1
