"""Truth: the events that people, or who made a recording, say are in it, read from whatever they stand in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kikiwake import components
from kikiwake.audio import AUDIO_SUFFIXES
from kikiwake.datasets.table import USUAL_NAMES
from kikiwake.errors import ManifestError
from kikiwake.events import Event
from kikiwake.tables import Problems, Row, read_table


@dataclass(frozen=True)
class Truth:
    """The events of each recording by its name; of a recording that is known to hold none, an empty list."""

    path: Path
    events: Mapping[str, Sequence[Event]]

    def names_of(self, recordings: Iterable[str]) -> dict[str, str]:
        """Return for each of `recordings` (paths) that the truth knows, what it is called there.

        It is told by its name, or without suffixes where but one on each side is so called: label files have
        none, and recordings are converted.

        Raises:
            ManifestError: two of the recordings have one name.
        """
        known = _by_stem(self.events)
        found: dict[str, str] = {}
        asked: dict[str, str] = {}
        for path in recordings:
            name = file_name(path)
            if asked.setdefault(name, path) != path:
                remedy = "give them names of their own, or score them apart"
                raise ManifestError(f"two recordings are called {name}", where=path, remedy=remedy)
        stems = _by_stem(asked)
        for name, path in asked.items():
            same = known.get(_stem(name), [])
            if name in self.events:
                found[path] = name
            elif len(same) == len(stems[_stem(name)]) == 1:
                found[path] = same[0]
        return found


def read_truth(path: str | Path) -> Truth:
    """Read a table of events, a label file, or a folder of label files, which are named after recordings.

    A table (CSV, TSV) has columns for filename, start, end (seconds) and label, by any of the names that
    `kikiwake prepare --dataset table` knows; DCASE's filename, onset, offset, event_label are such. A row
    with a name and nothing else is a recording that holds no event.

    Raises:
        ManifestError: it cannot be read, a column is not there, cells make no sense, or a recording has two
            label files.
    """
    path = Path(path)
    formats = {
        components.part("labelfiles", name).suffix: components.build(
            "labelfiles", {"name": name}, where="truth", sample_rate=None
        )
        for name in components.names("labelfiles")
    }
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    labels = [(file, suffix) for file in files for suffix in formats if file.name.endswith(suffix)]
    if not labels and not path.is_dir():
        return Truth(path, _table(path))
    if not labels:
        ends = ", ".join(f"*{suffix}" for suffix in formats)
        raise ManifestError("no label file is in this folder", where=path, remedy=f"they are named {ends}")
    events: dict[str, list[Event]] = {}
    read: set[str] = set()
    for file, suffix in labels:
        recording = file.name.removesuffix(suffix)
        if recording in read:
            remedy = "keep one of them in this folder"
            raise ManifestError(f"{recording} has two label files", where=file, remedy=remedy)
        read.add(recording)
        found = formats[suffix].read(file, recording=recording)
        for event in found:
            events.setdefault(file_name(event.path), []).append(event)
        if not found:
            events.setdefault(recording, [])
    return Truth(path, events)


def file_name(path: str) -> str:
    r"""Return the last part of a path of any system: `C:\night\1.wav` is `1.wav`."""
    return re.split(r"[\\/]", path)[-1]


def _table(path: Path) -> dict[str, list[Event]]:
    problems = Problems()
    table = read_table(path, problems=problems, delimiter=None)
    lowered = {column.strip().lower(): column for column in reversed(table.columns)}
    usual = {use: USUAL_NAMES[use] for use in ("path", "start", "end", "label")}
    usual["end"] = (*usual["end"], "offset")
    columns = {
        use: next((lowered[name] for name in names if name in lowered), "") for use, names in usual.items()
    }
    if absent := [names[0] for use, names in usual.items() if not columns[use]]:
        raise ManifestError(
            f"the truth lacks the columns {', '.join(absent)}",
            where=path,
            value=table.columns,
            remedy="give it filename, start, end (in seconds) and label",
        )
    events: dict[str, list[Event]] = {}
    for row in table.rows:
        name, start, end, label = (row[columns[use]].strip() for use in ("path", "start", "end", "label"))
        own = events.setdefault(file_name(name), [])
        if start or end or label:
            own += _event(row, name, start, end, label, problems)
    problems.raise_errors(str(path))
    return events


def _event(row: Row, name: str, start: str, end: str, label: str, problems: Problems) -> list[Event]:
    """Return the event of a row, none and a note in `problems` where it is none."""
    try:
        event = Event(name, float(start), float(end), label)
    except ValueError:
        what = f"start '{start}' or end '{end}' is no number"
        problems.error(row.where, what, "give seconds, or the filename alone where nothing is heard")
        return []
    if not 0 <= event.start <= event.end < float("inf"):
        what = f"an event cannot be from {start} s to {end} s"
        problems.error(row.where, what, "give an end that is not before the start")
    elif not label:
        problems.error(row.where, "no label", "say what is heard, or leave start and end empty, too")
    else:
        return [event]
    return []


def _stem(name: str) -> str:
    suffix = Path(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in AUDIO_SUFFIXES else name


def _by_stem(names: Iterable[str]) -> dict[str, list[str]]:
    stems: dict[str, list[str]] = {}
    for name in names:
        stems.setdefault(_stem(name), []).append(name)
    return stems
