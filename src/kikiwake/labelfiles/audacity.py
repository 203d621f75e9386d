"""Label tracks of Audacity, as its File > Export > Export Labels and File > Import > Labels have them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from kikiwake.events import Event
from kikiwake.labelfiles._cells import Line, number, read_lines, span, write_lines, written
from kikiwake.tables import Problems

_BAND = "\\"
_NO_FREQUENCY = -1.0


class Audacity:
    r"""A label track: for each event `start<TAB>end<TAB>label` in seconds, without a header.

    Where a band is known, `\<TAB>low<TAB>high` in Hz follows, with -1 for an end that is not. A label is the
    class and nothing else, so that what is corrected in Audacity reads as truth: scores are not kept.
    """

    suffix: ClassVar[str] = ".labels.txt"
    example: ClassVar[dict[str, Any]] = {}

    def write(self, path: Path, events: Iterable[Event]) -> None:
        """Write the events of one recording, atomically.

        Raises:
            StorageError: the file cannot be written.
        """
        write_lines(path, _lines(events))

    def read(self, path: Path, *, recording: str = "") -> list[Event]:
        """Return the events of a label track, which are of `recording`, in the order of the file.

        As in Audacity, a label without an end is a point in time.

        Raises:
            ManifestError: the file cannot be read, or lines of it are not of this form.
        """
        problems = Problems()
        events: list[Event] = []
        may_follow = False
        for line in read_lines(path):
            if line.cells[0] == _BAND:
                if not may_follow:
                    problems.error(line.where, "a band without an event", "put it below its event's line")
                elif band := _band(line, problems):
                    events[-1] = replace(events[-1], low_hz=band[0], high_hz=band[1])
                may_follow = False
            else:
                event = _event(line, recording, problems)
                events += [event] if event else []
                may_follow = event is not None
        problems.raise_errors(str(path))
        return events


def _lines(events: Iterable[Event]) -> Iterator[list[str]]:
    for event in events:
        yield [written(event.start), written(event.end), event.label]
        if event.low_hz is not None or event.high_hz is not None:
            ends = (_NO_FREQUENCY if hz is None else hz for hz in (event.low_hz, event.high_hz))
            yield [_BAND, *map(written, ends)]


def _event(line: Line, recording: str, problems: Problems) -> Event | None:
    """Return the event of a line `start end label`, `start end` or `start label`."""
    start, *rest = line.cells
    end = rest.pop(0) if rest and (len(rest) > 1 or number(rest[0]) is not None) else start
    if len(rest) > 1:
        what = f"{len(line.cells)} cells where start, end and label are three"
        problems.error(line.where, what, "take the tabs out of the label")
        return None
    times = span(line, start, end, problems=problems)
    return Event(recording, *times, rest[0] if rest else "") if times else None


def _band(line: Line, problems: Problems) -> tuple[float | None, float | None] | None:
    """Return the lower and the upper end of a band."""
    ends = [number(cell) for cell in line.cells[1:]]
    if len(ends) != 2 or ends[0] is None or ends[1] is None:
        what = f"'{' '.join(line.cells)}' is no band"
        problems.error(line.where, what, "write a backslash and two numbers of Hz, with tabs between")
        return None
    low, high = (None if hz < 0 else hz for hz in (ends[0], ends[1]))
    return low, high
