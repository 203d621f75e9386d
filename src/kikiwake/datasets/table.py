"""Any CSV or TSV with a row for each clip; columns are told by their usual names, or named."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kikiwake import tables
from kikiwake.clip import REQUIRED
from kikiwake.datasets._scan import SPLIT_NAMES, ClipSeconds, FoundClip, Scan, Tree
from kikiwake.errors import ManifestError
from kikiwake.tables import Problems, Row, read_table

USUAL_NAMES = {
    "path": ("path", "filename", "file_name", "file", "filepath", "file_path", "audio", "recording", "fname"),
    "label": (
        "label",
        "class",
        "category",
        "class_name",
        "primary_label",
        "genre",
        "species",
        "target",
        "event_label",
    ),
    "group": ("group", "src_file", "artist", "recordist", "author", "speaker", "source", "group_id"),
    "fold": ("fold",),
    "split": ("split", "subset", "partition"),
    "start": ("start", "start_seconds", "start_time", "onset", "begin", "begin time (s)"),
    "end": ("end", "end_seconds", "end_time", "end time (s)"),
    "secondary": ("secondary",),
    "weight": ("weight",),
    "rating": ("rating",),
}
"""For each use of a column its usual names in lower case, the likeliest first."""

SUFFIXES = {".csv", ".tsv"}


def scan(
    root: Path,
    *,
    table: str | None = None,
    audio_folder: str | None = None,
    delimiter: str | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    fold_column: str | None = None,
    split_column: str | None = None,
    start_column: str | None = None,
    end_column: str | None = None,
    secondary_column: str | None = None,
    weight_column: str | None = None,
    rating_column: str | None = None,
    clip_seconds: ClipSeconds = None,
) -> Scan:
    """Find the recordings that a table names.

    `table`: the file below `root`; needed where there are several. `audio_folder`: where its paths begin; by
    default the table's folder, or wherever in the tree they are found. `delimiter`: by default the one that
    the header shows. A column that is not named is told by its usual names; the empty text means none. Times
    are in seconds. Rows of the same stretch become one clip: further labels are its secondary ones.
    `clip_seconds`: clips are cut to that length.

    Raises:
        ManifestError: there is no table or are several, a column is not there, or cells make no sense.
    """
    tree = Tree(root)
    problems = Problems()
    read = read_table(_choose_table(tree, table), problems=problems, delimiter=delimiter)
    named = {
        "path": path_column, "label": label_column, "group": group_column, "fold": fold_column,
        "split": split_column, "start": start_column, "end": end_column, "secondary": secondary_column,
        "weight": weight_column, "rating": rating_column,
    }  # fmt: skip
    columns = {use: _choose_column(read, use, name, problems) for use, name in named.items()}
    if end_column is None and not columns["end"]:
        columns["end"] = _partner_of_onset(read, columns["start"])
    problems.raise_errors(str(read.path))
    folders = [read.path.parent, tree.root] if audio_folder is None else [tree.root / audio_folder]
    result = Scan(tree, tables=[read.path], unnamed=f"not named in {read.path.name}")
    clips: dict[tuple[Path, float, float | None], FoundClip] = {}
    merged = 0
    for row in read.rows:
        clip = _clip(row, columns, tree, folders, problems)
        if clip is None:
            result.missing.append((row[columns["path"]], row.where))
            continue
        stretch = (clip.path, clip.start or 0.0, clip.end)
        merged += stretch in clips
        clips[stretch] = _merge(clips[stretch], clip) if stretch in clips else clip
    problems.raise_errors(str(read.path))
    result.clips = [replace(clip, seconds=clip_seconds) for clip in clips.values()]
    used = [f"{use}: '{column}'" for use, column in columns.items() if column]
    result.notes.append(f"columns of {read.path.name}: {', '.join(used)}")
    if merged:
        result.notes.append(f"{merged} rows of a stretch named above: their labels are secondary ones")
    return result


def _choose_table(tree: Tree, name: str | None) -> Path:
    if name is not None:
        return tree.root / name
    candidates = [path for path in tree.files if path.suffix.lower() in SUFFIXES]
    candidates = [path for path in candidates if not tree.is_hidden(path) and not _is_own(path)]
    if len(candidates) != 1:
        found = ", ".join(path.relative_to(tree.root).as_posix() for path in candidates[:10])
        what = f"there are {len(candidates)} tables: {found}" if candidates else "there is no table"
        raise ManifestError(what, where=tree.root, remedy="name one with the option 'table'")
    return candidates[0]


def _is_own(path: Path) -> bool:
    """Say whether a table is what kikiwake itself wrote: a manifest, a quarantine list, or a set's truth."""
    with path.open("rb") as file:
        header = file.readline()
    own = ",".join(REQUIRED), "path,offset_seconds,kind,reason", "filename,start,end,label,snr_db"
    return header.startswith(tuple(beginning.encode() for beginning in own))


def _choose_column(table: tables.Table, use: str, name: str | None, problems: Problems) -> str:
    """Return the column that is named or that has a usual name; empty where there is none."""
    where = f"{table.path.name}:1"
    if name:
        if name not in table.columns:
            near = difflib.get_close_matches(name, table.columns, n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            remedy = f"{hint}the columns are {', '.join(table.columns)}"
            problems.error(where, f"there is no column '{name}' for the {use}", remedy)
        return name
    lowered = {column.strip().lower(): column for column in reversed(table.columns)}
    if name is None:
        for usual in USUAL_NAMES[use]:
            if usual in lowered:
                return lowered[usual]
    if use == "path" or (use == "label" and name is None):
        remedy = f"name it with the option '{use}_column'; the columns are {', '.join(table.columns)}"
        problems.error(where, f"no column looks like the {use}", remedy)
    return ""


def _partner_of_onset(table: tables.Table, start: str) -> str:
    """Return the column "offset" where the start stands in "onset"; alone, it may be a start itself."""
    lowered = {column.strip().lower(): column for column in reversed(table.columns)}
    return lowered.get("offset", "") if start.strip().lower() == "onset" else ""


def _clip(
    row: Row, columns: dict[str, str], tree: Tree, folders: Sequence[Path], problems: Problems
) -> FoundClip | None:
    """Return the clip of a row, None where its recording is missing."""
    cells = {use: row[column].strip() if use != "path" else row[column] for use, column in columns.items()}
    start = _number(row, columns["start"], problems)
    end = _number(row, columns["end"], problems)
    if end is not None and end <= (start or 0.0):
        what = f"end {end} s does not come after start {start or 0.0} s"
        problems.error(row.where, what, "give end > start or leave both empty")
    split = SPLIT_NAMES.get(cells["split"].lower())
    if cells["split"] and split is None:
        what = f"split '{cells['split']}' is unknown"
        problems.error(row.where, what, f"write one of {', '.join(SPLIT_NAMES)}, or leave it empty")
    fold = _number(row, columns["fold"], problems)
    if fold is not None and not fold.is_integer():
        problems.error(row.where, f"fold '{cells['fold']}' is not a whole number", "number folds from 1")
    rating = _number(row, columns["rating"], problems, high=5.0)
    weight = _number(row, columns["weight"], problems)
    path = tree.find(cells["path"], folders=folders) if cells["path"] else None
    if path is None:
        return None
    return FoundClip(
        path,
        cells["label"] or None,
        fold=None if fold is None else int(fold),
        start=start,
        end=end,
        secondary=tuple(name.strip() for name in cells["secondary"].split(";") if name.strip()),
        group=cells["group"] or None,
        split=split,
        weight=1.0 if weight is None else weight,
        rating=rating,
    )


def _number(row: Row, column: str, problems: Problems, *, high: float = math.inf) -> float | None:
    cell = row[column].strip()
    if not cell:
        return None
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if math.isfinite(value) and 0 <= value <= high:
        return value
    span = f"from 0 to {high:g}" if high < math.inf else "from 0 on"
    problems.error(row.where, f"{column} '{cell}' is not a number {span}", "mend it or leave it empty")
    return None


def _merge(first: FoundClip, further: FoundClip) -> FoundClip:
    """Return `first` with the labels of another row of the same stretch as secondary ones."""
    names = [*first.secondary, *filter(None, [further.label]), *further.secondary]
    label = first.label or further.label
    secondary = tuple(name for name in dict.fromkeys(names) if name != label)
    return replace(first, label=label, secondary=secondary)
