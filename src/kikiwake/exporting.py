"""Writes what predictions tell into label files, which people open beside the sound."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kikiwake import components
from kikiwake.errors import KikiwakeError, ManifestError, StorageError
from kikiwake.events import check_threshold, events_of
from kikiwake.files import content_hash, write_json
from kikiwake.predictions import by_recording, read_chunks

RECORD = "exported.json"
"""The file in a folder of labels that tells which of the others were written by `export`."""


@dataclass(frozen=True)
class ExportSummary:
    """What an export came to: the events of all `recordings`, `silent` of which have none, below `folder`."""

    folder: Path
    formats: Sequence[str]
    threshold: float
    recordings: int
    silent: int
    events: int

    def __str__(self) -> str:
        without = f"; {self.silent} without any, whose files are empty" if self.silent else ""
        return (
            f"{self.events} events in {self.recordings} recordings at threshold {self.threshold:g}{without}\n"
            f"labels for {', '.join(self.formats)}: {self.folder}"
        )


def export(
    predictions: str | Path,
    formats: Sequence[str],
    folder: str | Path,
    *,
    threshold: float = 0.5,
    sample_rate: int | None = None,
) -> ExportSummary:
    """Write label files from a table of predictions: in each format one for every recording of the table.

    `formats`: of the family `labelfiles`. `folder`: its files are named after the recordings and lie in
    folders as they do; files in it that `export` did not write, or that were changed since, are never written
    over. `threshold`: from which probability on a class is heard; windows that touch are one event, as
    `events_of` says. `sample_rate`: the model's, in Hz, for formats that want bands; by default what the
    summary beside the table says. The table needs no more memory than its longest recording does.

    Raises:
        RecipeError: there is no such format.
        ManifestError: the table cannot be read, or the rows of a recording stand apart in it.
        KikiwakeError: the threshold is no probability, or the sample rate is not known.
        StorageError: a file cannot be written, or would be lost.
    """
    table, folder = Path(predictions), Path(folder)
    check_choices(formats, threshold)
    rate = _sample_rate(table, formats, sample_rate)
    writers = {
        name: components.build("labelfiles", {"name": name}, where="formats", sample_rate=rate)
        for name in formats
    }
    names = label_names([recording.paths[0] for recording in by_recording(read_chunks(table))])
    record = _read_record(folder)
    planned = [f"{name}{writer.suffix}" for name in names.values() for writer in writers.values()]
    _refuse_others(folder, planned, record)
    # A name without a hash is being written: an export that is killed here can be given again.
    _write_record(folder, {**record, **dict.fromkeys(planned)})
    events = silent = 0
    for recording in by_recording(read_chunks(table)):
        # Programs open the recording from wherever they were started.
        found = [
            replace(event, path=os.path.abspath(event.path))  # noqa: PTH100 - links stay links
            for event in events_of(recording, threshold=threshold)
        ]
        for writer in writers.values():
            written = f"{names[recording.paths[0]]}{writer.suffix}"
            writer.write(folder / written, found)
            record[written] = content_hash(folder / written)
        events += len(found)
        silent += not found
    _write_record(folder, record)
    return ExportSummary(folder, list(writers), threshold, len(names), silent, events)


def check_choices(formats: Sequence[str], threshold: float) -> None:
    """Refuse a format that is not there, and a threshold that is no probability.

    Raises:
        RecipeError: there is no such format; the message gives the nearest.
        KikiwakeError: the threshold is not between 0 and 1.
    """
    for name in formats or [""]:
        if name not in components.names("labelfiles"):
            raise components.unknown("label format", name, components.names("labelfiles"), where="labels")
    check_threshold(threshold)


def label_names(recordings: Sequence[str]) -> dict[str, str]:
    """Return the path below a folder, without the end, that the labels of each recording have.

    It is that of the recording from the folder on that all of them lie in, without its suffix; if that does
    not tell all recordings apart, with it.

    Raises:
        ManifestError: a recording stands in the table under two paths.
    """
    if not recordings:
        return {}
    whole = {path: Path(os.path.abspath(path)) for path in recordings}  # noqa: PTH100 - a link is a name of its own
    common = os.path.commonpath([path.parent for path in whole.values()])
    named = {path: found.relative_to(common) for path, found in whole.items()}
    bare = {path: str(found.parent / found.stem) for path, found in named.items()}
    if len(set(bare.values())) == len(bare):
        return bare
    if len(set(named.values())) < len(named):
        twice = next(path for path in whole if list(whole.values()).count(whole[path]) > 1)
        raise ManifestError(
            "this recording stands in the table under two paths", where=twice, remedy="keep one of them"
        )
    return {path: str(found) for path, found in named.items()}


def _sample_rate(table: Path, formats: Sequence[str], given: int | None) -> int | None:
    """Return the model's sample rate: as given, or as the summary beside the table has it.

    Raises:
        KikiwakeError: a format wants it, and it is not known, or is none.
    """
    if given is not None:
        if given < 1:
            raise KikiwakeError("must be at least 1 Hz", where="sample_rate", value=given)
        return given
    try:
        summary = json.loads(table.with_name(f"{table.stem}.summary.json").read_text(encoding="utf-8"))
        return int(summary["job"]["sample_rate"])
    except (OSError, ValueError, LookupError, TypeError):
        pass
    for name in formats:
        if "sample_rate" in inspect.signature(components.part("labelfiles", name)).parameters:
            raise KikiwakeError(
                f"{name} wants the band of events, which the table does not tell, and there is no summary "
                "beside it to tell the model's sample rate",
                where=table,
                remedy="give the sample rate",
            )
    return None


def _read_record(folder: Path) -> dict[str, str | None]:
    """Return the files that earlier exports wrote into a folder, and their hashes.

    Raises:
        StorageError: a file has the record's name and is none.
    """
    path = folder / RECORD
    if not os.path.lexists(path):
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise StorageError(
            "there is a file of this name that is no record of exported labels, and it would be lost",
            where=path,
            remedy="choose another folder, or remove the file first",
        ) from error


def _write_record(folder: Path, record: Mapping[str, str | None]) -> None:
    write_json(folder / RECORD, {"files": dict(sorted(record.items()))})


def _refuse_others(folder: Path, names: Sequence[str], record: Mapping[str, str | None]) -> None:
    """Refuse to write over files that no export wrote, or that were changed since.

    Raises:
        StorageError: there are such files.
    """
    others = [name for name in names if os.path.lexists(folder / name) and not _is_own(folder, name, record)]
    if others:
        more = f", and {len(others) - 1} more like it" if len(others) > 1 else ""
        raise StorageError(
            f"this file was not written by an export, or was changed since, and would be lost{more}",
            where=folder / others[0],
            remedy="choose another folder, or move it away first",
        )


def _is_own(folder: Path, name: str, record: Mapping[str, str | None]) -> bool:
    """Say whether a file is as an export left it."""
    if name not in record or not (folder / name).is_file():
        return False
    return record[name] in (None, content_hash(folder / name))
