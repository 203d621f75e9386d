"""Rows shorter than windows: what overlapping windows say of the same moment, averaged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from kikiwake.prediction._window_scores import UnitScores


class JoinedRows(NamedTuple):
    """Rows of one recording. Shape: starts, ends `[W]` in samples; probabilities `[W, K]`."""

    recording: int
    starts: np.ndarray
    ends: np.ndarray
    probabilities: np.ndarray


class FrameRows:
    """Joins the rows of windows that come in order; `row`: samples of one.

    A row is final, and yielded, once a window begins behind it or another recording does.
    """

    def __init__(self, *, row: int) -> None:
        self.row = row
        self._recording = -1
        self._first = 0
        self._end = 0
        self._sums = np.empty((0, 0))
        self._counts = np.empty(0)

    def add(self, scores: UnitScores) -> Iterator[JoinedRows]:
        """Take in the windows of a unit, and yield the rows that are final now."""
        for (recording, start, frames), probabilities in zip(
            scores.spans.tolist(), scores.probabilities, strict=True
        ):
            first = start // self.row
            if recording != self._recording:
                yield from self.rest()
                self._recording, self._first, self._end = recording, first, 0
                self._sums, self._counts = np.empty((0, probabilities.shape[1])), np.empty(0)
            elif first > self._first:
                yield from self._final(first - self._first)
                self._first = first
            sounding = -(-frames // self.row)  # of a short last window, what lies behind its end is nothing
            self._room_for(sounding)
            self._sums[:sounding] += probabilities[:sounding]
            self._counts[:sounding] += 1
            self._end = max(self._end, start + frames)

    def rest(self) -> Iterator[JoinedRows]:
        """Yield what is left, at the end of a recording."""
        yield from self._final(len(self._counts))

    def _room_for(self, rows: int) -> None:
        missing = max(0, rows - len(self._counts))
        self._sums = np.pad(self._sums, ((0, missing), (0, 0)))
        self._counts = np.pad(self._counts, (0, missing))

    def _final(self, rows: int) -> Iterator[JoinedRows]:
        """Yield the first `rows` rows that are held, but for those that no window reached, and drop them."""
        heard = np.flatnonzero(self._counts[:rows])
        if len(heard):
            starts = (self._first + heard) * self.row
            probabilities = (self._sums[heard] / self._counts[heard, None]).astype(np.float32)
            yield JoinedRows(self._recording, starts, np.minimum(starts + self.row, self._end), probabilities)
        self._sums, self._counts = self._sums[rows:], self._counts[rows:]
