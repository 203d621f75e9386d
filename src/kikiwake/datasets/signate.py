"""SIGNATE's music genres: `train_master`, `label_master`, `sample_submit`, and folders of sounds.

Each table is a .csv or a .tsv, of any delimiter, with or without a header. `train_sound_*/` and
`test_sound_*/` hold the recordings (.au).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from kikiwake.datasets._scan import ClipSeconds, FoundClip, Scan, Tree, is_audio
from kikiwake.errors import ManifestError
from kikiwake.tables import Problems, Row, Table, read_table, read_text, sniff_delimiter

TRAIN, LABELS, SAMPLE = "train_master", "label_master", "sample_submit"
SUFFIXES = (".csv", ".tsv")
SOUNDS = ("file_name", "label_id")
NAMES = ("label_id", "label_name")
TRAIN_FOLDERS, TEST_FOLDERS = "train_sound", "test_sound"
"""What the names of the folders begin with."""


def likeness(root: Path) -> int:
    """Say whether the tables of recordings and of labels are there."""
    return 2 if all(_places(root, name) for name in (TRAIN, LABELS)) else 0


def scan(root: Path, *, clip_seconds: ClipSeconds = None) -> Scan:
    """Find the recordings for training, with their genres, and those to be named, in the sample's order.

    Classes have the names of `label_master` and the order of its numbers. The recordings to be named get the
    split "test" and no class; without `sample_submit` they are all that `test_sound_*/` holds. Artists and
    albums are not known, so every recording is a group of its own; duplicates are not looked for.
    `clip_seconds`: clips end there where their recordings are longer.

    Raises:
        ManifestError: a table is not there or there twice, or a row of it makes no sense.
    """
    tree = Tree(root)
    problems = Problems()
    train, labels = _needed(tree.root, TRAIN), _needed(tree.root, LABELS)
    sample = _table(tree.root, SAMPLE)
    result = Scan(tree, tables=[train, labels] if sample is None else [train, labels, sample])
    result.unnamed = f"not named in {train.name}, nor in a folder {TEST_FOLDERS}_*"
    names = read_labels(labels)
    for row, path in _named(train, _Sounds(tree, TRAIN_FOLDERS), result, problems):
        number = _whole(row["label_id"])
        if number is None or number not in names:
            what = f"label_id '{row['label_id']}' does not stand in {labels.name}"
            problems.error(row.where, what, f"give one of {', '.join(map(str, names))}")
        elif path is not None:
            result.clips.append(FoundClip(path, names[number], seconds=clip_seconds))
    sounds = _Sounds(tree, TEST_FOLDERS)
    to_be_named = sounds.paths
    if sample is not None:
        found = _named(sample, sounds, result, problems)
        to_be_named = [path for _, path in found if path is not None]
        strangers = sorted(set(sounds.paths).difference(to_be_named))
        result.left_out.update(dict.fromkeys(strangers, f"not in {sample.name}"))
        if strangers:
            what = f"recordings of {TEST_FOLDERS}_* are not in {sample.name} and left out"
            result.notes.append(f"{len(strangers)} {what}")
    problems.raise_errors(str(root))
    result.clips += [FoundClip(path, None, split="test", seconds=clip_seconds) for path in to_be_named]
    result.classes = list(names.values())
    _note(result, names)
    return result


def read_labels(path: Path) -> dict[int, str]:
    """Return the name of each label by its number, in the order of numbers.

    Raises:
        ManifestError: the table cannot be read, or a number is none, or a number or name stands twice.
    """
    problems = Problems()
    names: dict[int, str] = {}
    seen: dict[int | str, str] = {}
    for row in _read(path, NAMES, problems).rows:
        number, name = _whole(row["label_id"]), row["label_name"].strip()
        if number is None or not name:
            what = f"'{row['label_id']}' and '{name}' are no number and name"
            problems.error(row.where, what, "write a whole number and a name")
            continue
        for one in (number, name):
            if seen.setdefault(one, row.where) != row.where:
                problems.error(row.where, f"'{one}' stands in {seen[one]} too", "give each label its own")
        names[number] = name
    problems.raise_errors(str(path))
    return dict(sorted(names.items()))


def find_labels(folder: Path) -> Path | None:
    """Return where a folder's label master is, None where it has none.

    Raises:
        ManifestError: there are two.
    """
    return _table(folder, LABELS)


def is_header(cells: Iterable[str]) -> bool:
    """Say whether the first row of a table names columns: none of it is a number or a recording."""
    return not any(_whole(cell) is not None or is_audio(Path(cell)) for cell in cells)


def _places(root: Path, name: str) -> list[Path]:
    return [path for path in (root / f"{name}{suffix}" for suffix in SUFFIXES) if path.is_file()]


def _table(root: Path, name: str) -> Path | None:
    """Return where a table is, None where it is not."""
    places = _places(root, name)
    if len(places) > 1:
        what = f"{' and '.join(path.name for path in places)} are both here"
        raise ManifestError(what, where=root, remedy="keep one of them")
    return places[0] if places else None


def _needed(root: Path, name: str) -> Path:
    place = _table(root, name)
    if place is None:
        remedy = f"put {TRAIN} and {LABELS} there, each as .csv or .tsv, beside {TRAIN_FOLDERS}_*"
        raise ManifestError(f"there is no {name}.csv or {name}.tsv", where=root, remedy=remedy)
    return place


def _read(path: Path, columns: Sequence[str], problems: Problems) -> Table:
    """Read a table, whose columns are `columns` where it has no header."""
    text = read_text(path)
    first = next(csv.reader(text.splitlines()[:1], delimiter=sniff_delimiter(text)), [])
    headed = is_header(first)
    table = read_table(path, problems=problems, delimiter=None, header_rows=int(headed), names=columns)
    if absent := [name for name in columns if name not in table.columns]:
        what = f"the table lacks the columns {', '.join(absent)}"
        raise ManifestError(what, where=path, value=", ".join(table.columns), remedy="rename its columns")
    if not table.rows:
        problems.raise_errors(str(path))
        raise ManifestError("the table has no rows", where=path, remedy="restore the table")
    return table


def _named(path: Path, sounds: _Sounds, result: Scan, problems: Problems) -> list[tuple[Row, Path | None]]:
    """Return each row of a table with its recording, None where that is not there, which is noted."""
    rows: list[tuple[Row, Path | None]] = []
    listed: dict[str | Path, str] = {}
    table = _read(path, SOUNDS, problems)
    if unread := [column for column in table.columns if column not in SOUNDS]:
        result.notes.append(f"columns of {path.name} that are not read: {', '.join(unread)}")
    for row in table.rows:
        name = row["file_name"].strip()
        places = sounds.find(name)
        above = listed.setdefault(places[0] if places else name, row.where)
        if not name:
            problems.error(row.where, "file_name is empty", "restore the table")
        elif above != row.where:
            problems.error(row.where, f"'{name}' stands in {above} too", "keep one of the rows")
        elif len(places) > 1:
            folders = " and ".join(place.relative_to(result.tree.root).as_posix() for place in places)
            problems.error(row.where, f"'{name}' may be {folders}", "keep one of the recordings")
        elif not places:
            result.missing.append((name, row.where))
        rows.append((row, places[0] if places else None))
    return rows


def _note(result: Scan, names: dict[int, str]) -> None:
    """Note what a person should know of labels and groups."""
    heard = {clip.label for clip in result.clips}
    if silent := [name for name in names.values() if name not in heard]:
        result.notes.append(f"labels without a recording, left out: {', '.join(silent)}")
    if any(at != number for at, number in enumerate(at for at, name in names.items() if name in heard)):
        what = f"the numbers of {LABELS} are not the model's, which count classes from 0"
        result.notes.append(
            f"{what}: `kikiwake submit` takes them from {LABELS} beside {SAMPLE}, or --labels"
        )
    result.notes.append(
        "artists and albums are not known: every recording is a group of its own, and what one artist made "
        "may stand on two sides of a split"
    )


def _whole(cell: str) -> int | None:
    cell = cell.strip()
    return int(cell) if cell.isascii() and cell.isdecimal() else None


class _Sounds:
    """The recordings of the folders whose names begin alike, by name and by stem."""

    def __init__(self, tree: Tree, folders: str) -> None:
        self.paths = [
            path for path in tree.audio() if path.relative_to(tree.root).parts[0].startswith(folders)
        ]
        self._of: dict[str, list[Path]] = {}
        for path in self.paths:
            for name in {path.name, path.stem}:
                self._of.setdefault(name, []).append(path)

    def find(self, name: str) -> list[Path]:
        """Return the recordings of a name, or of its stem where they were converted since."""
        written = PurePosixPath(name.replace("\\", "/"))
        return self._of.get(written.name) or self._of.get(written.stem, [])
