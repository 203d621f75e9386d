"""Selection tables of Raven Lite and Raven Pro, tab-separated text with a header."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from kikiwake.errors import ManifestError
from kikiwake.events import Event
from kikiwake.labelfiles._cells import Line, number, read_lines, span, write_lines, written
from kikiwake.tables import Problems

_SELECTION, _VIEW, _CHANNEL = "Selection", "View", "Channel"
_BEGIN, _END = "Begin Time (s)", "End Time (s)"
_LOW, _HIGH = "Low Freq (Hz)", "High Freq (Hz)"
_PATH, _FILE, _OFFSET = "Begin Path", "Begin File", "File Offset (s)"


class Raven:
    """A selection table: a row an event, with its band, and columns for label and score.

    Raven draws every selection as a box: an event whose band is not known reaches from 0 to half of
    `sample_rate`, all that the model hears. `label_column`, `score_column`: what these two are called; Raven
    leaves their names to its users, other programs write "Species" or "Common Name" and "Confidence".
    """

    suffix: ClassVar[str] = ".Table.1.selections.txt"
    example: ClassVar[dict[str, Any]] = {}

    def __init__(
        self, *, sample_rate: int | None = None, label_column: str = "Label", score_column: str = "Score"
    ) -> None:
        self.sample_rate = sample_rate
        self.label_column = label_column
        self.score_column = score_column

    def write(self, path: Path, events: Iterable[Event]) -> None:
        """Write the events of one recording, atomically.

        Raises:
            ManifestError: the band of an event is not known, nor the sample rate.
            StorageError: the file cannot be written.
        """
        write_lines(path, self._lines(events))

    def _lines(self, events: Iterable[Event]) -> Iterator[list[str]]:
        yield [
            *(_SELECTION, _VIEW, _CHANNEL, _BEGIN, _END, _LOW, _HIGH, _PATH, _OFFSET),
            *(self.label_column, self.score_column),
        ]
        for selection, event in enumerate(events, start=1):
            start, end = written(event.start), written(event.end)
            low, high = self._band(event)
            score = "" if event.score is None else written(event.score)
            yield [
                *(str(selection), "Spectrogram 1", "1", start, end, written(low), written(high)),
                *(event.path, start, event.label, score),
            ]

    def _band(self, event: Event) -> tuple[float, float]:
        """Return the lower and the upper end of the band of an event, in Hz."""
        high = event.high_hz
        if high is None and self.sample_rate is not None:
            high = self.sample_rate / 2
        if high is None:
            raise ManifestError(
                f"the band of '{event.label}' at {event.start:g} s is not known, and Raven wants one",
                where=event.path,
                remedy="give the sample rate of the model",
            )
        return event.low_hz or 0.0, high

    def read(self, path: Path, *, recording: str = "") -> list[Event]:
        """Return the events of a selection table in the order of the file, a selection in several views once.

        Times count from the beginning of an event's own file. In a table without Begin Path and Begin File
        events are of `recording`; bands and scores may be absent.

        Raises:
            ManifestError: the file cannot be read, has no columns for times or label, or wrong cells.
        """
        lines = read_lines(path)
        columns = [column.strip() for column in lines[0].cells] if lines else []
        self._check(columns, path)
        problems = Problems()
        rows = [
            row for line in lines[1:] if (row := self._row(line, columns, recording, problems)) is not None
        ]
        if len({row.event.path for row in rows}) > 1:
            for row in rows:
                if not row.cells[_OFFSET].strip():
                    what = "no File Offset (s), in a table of several recordings"
                    problems.error(
                        row.where, what, "let Raven write that column, or save a table a recording"
                    )
        problems.raise_errors(str(path))
        return _once_each(rows)

    def _check(self, columns: list[str], path: Path) -> None:
        """Refuse a table without times or labels, or with a column that stands twice."""
        if twice := sorted({column for column in columns if columns.count(column) > 1}):
            raise ManifestError(
                f"column '{twice[0]}' stands twice", where=f"{path}:1", remedy="rename one of them"
            )
        if absent := [column for column in (_BEGIN, _END) if column not in columns]:
            what = f"not a selection table: it lacks {' and '.join(absent)}"
            raise ManifestError(what, where=path, value=columns, remedy="save the table in Raven")
        if self.label_column not in columns:
            raise ManifestError(
                f"no column is called '{self.label_column}'",
                where=f"{path}:1",
                value=columns,
                remedy="say as label_column which one holds the labels",
            )

    def _row(self, line: Line, columns: list[str], recording: str, problems: Problems) -> _Row | None:
        """Return a row and its event, None where a cell is wrong."""
        if len(line.cells) > len(columns):
            what = f"{len(line.cells)} cells in a table of {len(columns)} columns"
            problems.error(line.where, what, "take the tabs out of the cells")
            return None
        cells = defaultdict(str, zip(columns, line.cells, strict=False))
        given: dict[str, float | None] = {}
        for column in (_OFFSET, _LOW, _HIGH, self.score_column):
            given[column] = number(cells[column])
            if given[column] is None and cells[column].strip():
                what = f"{column} '{cells[column]}' is no number"
                problems.error(line.where, what, "give a number, or leave it empty")
                return None
        times = span(line, cells[_BEGIN], cells[_END], problems=problems)
        if times is None:
            return None
        path = next((cells[column] for column in (_PATH, _FILE) if cells[column].strip()), recording)
        start, end = _in_its_file(*times, offset=given[_OFFSET])
        label, score = cells[self.label_column], given[self.score_column]
        return _Row(line.where, cells, Event(path, start, end, label, score, given[_LOW], given[_HIGH]))


class _Row(NamedTuple):
    """A row of a selection table: its place to name in a message, its cells by column, and its event."""

    where: str
    cells: Mapping[str, str]
    event: Event


def _in_its_file(begin: float, end: float, *, offset: float | None) -> tuple[float, float]:
    """Return start and end from the beginning of the file; begin and end run on over a sequence of files."""
    if offset is None or offset == begin:
        return begin, end
    return offset, offset + (end - begin)


def _once_each(rows: Iterable[_Row]) -> list[Event]:
    """Return the events, each once: Raven has a row for every view that shows a selection.

    A Spectrogram's row stands for those of other views. Rows without a number are never the same selection.
    """
    kept: dict[tuple[object, ...], _Row] = {}
    for row in rows:
        event = row.event
        selection = row.cells[_SELECTION].strip() or row.where
        key = (selection, event.path, event.start, event.end, event.label)
        if key not in kept or _by_spectrogram(row) > _by_spectrogram(kept[key]):
            kept[key] = row
    return [row.event for row in kept.values()]


def _by_spectrogram(row: _Row) -> bool:
    return row.cells[_VIEW].startswith("Spectrogram")
