"""Turns the scores of units into rows of a table, and counts what they cover."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from kikiwake.prediction._frame_rows import FrameRows, JoinedRows
from kikiwake.prediction._recordings import Header, Unread
from kikiwake.prediction._window_scores import UnitScores
from kikiwake.predictions import Predictions, SetAside, path_text


class Rows:
    """Makes rows from the scores of units in order: one a window, or `row` samples each.

    `windows`, `recordings` (with at least one row) and `sound_seconds` count the rows made so far.
    """

    def __init__(
        self,
        recordings: Sequence[Path],
        headers: Sequence[Header | Unread],
        *,
        sample_rate: int,
        classes: Sequence[str],
        row: int | None = None,
    ) -> None:
        self.paths = [path_text(path) for path in recordings]
        self.sample_rate = sample_rate
        self.classes = classes
        self.windows = 0
        self._frame_rows = None if row is None else FrameRows(row=row)
        self._ends = np.zeros(len(recordings), np.int64)
        self._notes = [
            SetAside(path, 0.0, header.reason, header.kind)
            for path, header in zip(self.paths, headers, strict=True)
            if isinstance(header, Unread)
        ]

    def __call__(self, scores: Iterable[UnitScores]) -> Iterator[Predictions]:
        """Yield the rows of some scores, to the end."""
        for part in scores:
            numbers, starts, frames = part.spans.T
            np.maximum.at(self._ends, numbers, starts + frames)
            self.windows += len(numbers)
            self._notes += part.set_aside
            if self._frame_rows is None:
                probabilities = part.probabilities.reshape(len(numbers), len(self.classes))
                yield self._rows(numbers, starts, starts + frames, probabilities)
            else:
                yield from map(self._joined, self._frame_rows.add(part))
        if self._frame_rows is not None:
            yield from map(self._joined, self._frame_rows.rest())

    def _joined(self, rows: JoinedRows) -> Predictions:
        numbers = np.full(len(rows.starts), rows.recording)
        return self._rows(numbers, rows.starts, rows.ends, rows.probabilities)

    def _rows(
        self, numbers: np.ndarray, starts: np.ndarray, ends: np.ndarray, probabilities: np.ndarray
    ) -> Predictions:
        return Predictions(
            [self.paths[number] for number in numbers.tolist()],
            starts / self.sample_rate,
            ends / self.sample_rate,
            probabilities,
            self.classes,
        )

    @property
    def recordings(self) -> int:
        """How many recordings have rows."""
        return int(np.count_nonzero(self._ends))

    @property
    def sound_seconds(self) -> float:
        """How much sound of all recordings the rows reach over."""
        return float(self._ends.sum() / self.sample_rate)

    def set_aside(self) -> list[SetAside]:
        """Return what could not be read: of each recording the first place of each kind, in order."""
        order = {path: number for number, path in enumerate(self.paths)}
        first: dict[tuple[int, str], SetAside] = {}
        for note in sorted(self._notes, key=lambda note: (order[note.path], note.offset_seconds)):
            number = order[note.path]
            kind = note.kind
            if kind in {"unreadable", "partial"}:
                kind = "partial" if self._ends[number] else "unreadable"
            first.setdefault((number, kind), replace(note, kind=kind))
        return list(first.values())
