"""BirdCLEF 2021 to 2025: `train_metadata.csv` (2025: `train.csv`), recordings by species, soundscapes."""

from __future__ import annotations

import ast
from pathlib import Path, PurePosixPath
from typing import Any

from kikiwake.datasets._scan import ClipSeconds, FoundClip, Scan, Tree
from kikiwake.errors import ManifestError
from kikiwake.tables import Problems, Row, Table, read_table

TABLES = ("train_metadata.csv", "train.csv")
COLUMNS = {"primary_label", "secondary_labels", "author", "filename"}
FOLDERS = ("train_audio", "train_short_audio")
TEST = "test_soundscapes"
TAXONOMY = "taxonomy.csv"
"""One row a class, in their order; `eBird_Taxonomy_v2021.csv` holds the birds of the world, in its own."""

NO_NAME = {"", "nan", "none", "n/a", "-", "?", "unknown", "anonymous", "anon", "anon."}
"""What stands for the author, in lower case, where nobody gave a name; the data say "Unknown"."""

HIGHEST_RATING = 5.0


def likeness(root: Path) -> int:
    """Say whether a table with BirdCLEF's columns is there."""
    return 2 if _find_table(root) else 0


def scan(root: Path, *, zero_is_no_rating: bool = False, clip_seconds: ClipSeconds = None) -> Scan:
    """Find the recordings that the table names, with the author as group, and the soundscapes to be named.

    Recordings whose author gave no name are grouped by file name, each apart: one group of all of them would
    fill a fold, and they are not one person's. The recordings below `test_soundscapes/` get the split "test"
    and no class; other soundscapes are left out, 2021's with labels for windows too: a manifest cannot tell
    their "nocall" from what nobody has labelled.

    `zero_is_no_rating`: the table writes 0 where nobody rated a recording, in 2025 for whole collections.
    By default it stays 0, the lowest, as systems over these data have it; true leaves the rating empty.
    `clip_seconds`: clips end there where their recordings are longer.

    Raises:
        ManifestError: there is no such table, or a row of it makes no sense.
    """
    problems = Problems()
    table = _read(root, problems)
    result = Scan(Tree(root), tables=[table.path], unnamed=f"not named in {table.path.name}")
    folders = [result.tree.root / folder for folder in FOLDERS]
    listed: dict[Path | str, str] = {}
    nameless = zeros = 0
    for row in table.rows:
        name, author = _name(row, problems), _author(row)
        rating, secondary = _rating(row, problems), _secondary(row, problems)
        if name is None:
            continue
        nameless += author is None
        zeros += rating == 0
        path = result.tree.find(name, folders=folders)
        above = listed.setdefault(path or name, row.where)
        if above != row.where:
            problems.error(row.where, f"'{row['filename']}' stands in {above} too", "keep one of the rows")
        elif path is None:
            result.missing.append((name, row.where))
        else:
            result.clips.append(
                FoundClip(
                    path,
                    row["primary_label"],
                    secondary=secondary,
                    group=author or PurePosixPath(name).stem,
                    rating=None if zero_is_no_rating and rating == 0 else rating,
                    seconds=clip_seconds,
                )
            )
    result.classes = _order(result, problems)
    problems.raise_errors(str(table.path))
    if nameless:
        result.notes.append(f"{nameless} recordings name no author: each is a group of its own")
    if zeros:
        become = "their rating is empty" if zero_is_no_rating else "`-o zero_is_no_rating=true` empties it"
        result.notes.append(f"{zeros} recordings are rated 0, which means that nobody rated them: {become}")
    _add_soundscapes(result, table=table.path.name, clip_seconds=clip_seconds)
    return result


def _find_table(root: Path) -> Path | None:
    """Return the table, known by two columns; only its header is read, for many a folder has a train.csv."""
    for path in (root / name for name in TABLES):
        if path.is_file():
            with path.open("rb") as file:
                header = file.readline().removeprefix(b"\xef\xbb\xbf").replace(b'"', b"")
            if {b"primary_label", b"filename"} <= set(header.strip().split(b",")):
                return path
    return None


def _read(root: Path, problems: Problems) -> Table:
    path = _find_table(root)
    if path is None:
        remedy = f"put {TABLES[0]} with the columns {', '.join(sorted(COLUMNS))} there"
        raise ManifestError("no table of BirdCLEF is here", where=root, remedy=remedy)
    table = read_table(path, problems=problems)
    if absent := sorted(COLUMNS - set(table.columns)):
        what = f"the table lacks the columns {', '.join(absent)}"
        remedy = "take it as BirdCLEF has it, or read it with --dataset table"
        raise ManifestError(what, where=path, remedy=remedy)
    return table


def _name(row: Row, problems: Problems) -> str | None:
    """Return a recording's place below the folder of recordings, `<class>/<file>`; 2021 names just files."""
    label, written = row["primary_label"], row["filename"].replace("\\", "/")
    if not label or not written:
        column = "filename" if label else "primary_label"
        problems.error(row.where, f"{column} is empty", "restore the table")
        return None
    name = PurePosixPath(written if "/" in written else f"{label}/{written}")
    if name.is_absolute() or ".." in name.parts:
        problems.error(row.where, f"'{row['filename']}' lies outside the folder", "name a file below it")
        return None
    return str(name)


def _author(row: Row) -> str | None:
    """Return who made the recording, None where nobody gave a name."""
    author = " ".join(row["author"].split())
    return None if author.lower() in NO_NAME else author


def _rating(row: Row, problems: Problems) -> float | None:
    cell = row["rating"].strip()
    if cell.lower() in ("", "nan"):
        return None
    try:
        value = float(cell)
    except ValueError:
        value = -1.0
    if 0 <= value <= HIGHEST_RATING:
        return value
    what = f"rating '{cell}' is not a number from 0 to {HIGHEST_RATING:g}"
    problems.error(row.where, what, "mend it or leave it empty")
    return None


def _secondary(row: Row, problems: Problems) -> tuple[str, ...]:
    """Return the secondary classes, each once and without the primary one."""
    cell = row["secondary_labels"].strip()
    try:
        labels: Any = ast.literal_eval(cell or "[]")  # reads constants and runs nothing
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        labels = None
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        what = f"secondary_labels {cell[:60]!r} is no list of names"
        problems.error(row.where, what, "write ['name', 'name'], or [] for none")
        return ()
    names = dict.fromkeys(label.strip() for label in labels)
    return tuple(name for name in names if name and name != row["primary_label"])


def _order(result: Scan, problems: Problems) -> list[str]:
    """Return the classes in the order of the taxonomy, none where it is not there."""
    path = result.tree.root / TAXONOMY
    if not path.is_file():
        return []
    table = read_table(path, problems=problems)
    if "primary_label" not in table.columns:
        problems.error(f"{TAXONOMY}:1", "there is no column 'primary_label'", "restore the table")
        return []
    result.tables.append(path)
    order = [row["primary_label"] for row in table.rows]
    found = {clip.label for clip in result.clips}
    if silent := [name for name in order if name not in found]:
        result.notes.append(f"classes of {TAXONOMY} without a recording, left out: {', '.join(silent)}")
    if strangers := sorted(name for name in found.difference(order) if name is not None):
        result.notes.append(f"classes that {TAXONOMY} does not hold, put last: {', '.join(strangers)}")
    return order


def _add_soundscapes(result: Scan, *, table: str, clip_seconds: float | None) -> None:
    """Add those to be named, and say of the others why they are left out."""
    listed = {clip.path for clip in result.clips}
    for path in result.tree.audio():
        folder = path.relative_to(result.tree.root).parts[0]
        if path in listed or not folder.endswith("soundscapes"):
            continue
        if folder == TEST:
            result.clips.append(FoundClip(path, None, split="test", seconds=clip_seconds))
        else:
            heard = f"`kikiwake predict RUN {folder} --out TABLE` says what is heard in it"
            result.left_out[path] = f"{table} does not label soundscapes; {heard}"
