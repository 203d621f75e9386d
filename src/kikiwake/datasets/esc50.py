"""ESC-50 and ESC-10 (Piczak 2015): `meta/esc50.csv` and `audio/`, the official folds, groups by source."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from kikiwake.datasets._scan import ClipSeconds, FoundClip, Scan, Tree
from kikiwake.errors import ManifestError
from kikiwake.tables import Problems, Table, read_table

COLUMNS = {"filename", "fold", "target", "category", "esc10", "src_file", "take"}
PLACES = ("meta/esc50.csv", "esc50.csv", "meta/esc10.csv", "esc10.csv")


def likeness(root: Path) -> int:
    """Say whether a table with ESC-50's columns is there."""
    return 2 if _find_table(root, Problems()) else 0


def scan(root: Path, *, subset: Literal["all", "esc10"] = "all", clip_seconds: ClipSeconds = None) -> Scan:
    """Find the recordings that the table names; a `.wav` that was converted is found by its stem.

    `subset`: the ten classes of ESC-10 alone. `clip_seconds`: clips end there where their recordings are
    longer: the Ogg files of ESC-10 are up to 7.24 s long, the WAV files of ESC-50 are 5 s.

    Raises:
        ManifestError: there is no such table, or a row of it makes no sense.
    """
    problems = Problems()
    table = _find_table(root, problems)
    if table is None:
        remedy = f"put {PLACES[0]} or esc10.csv with the columns {', '.join(sorted(COLUMNS))} there"
        raise ManifestError("no table of ESC-50 is here", where=root, remedy=remedy)
    result = Scan(Tree(root), tables=[table.path], unnamed=f"not named in {table.path.name}")
    for row in table.rows:
        if not row["fold"].isdecimal():
            problems.error(row.where, f"fold '{row['fold']}' is not a whole number", "restore the table")
            continue
        path = result.tree.find(row["filename"], folders=[root.absolute() / "audio", root.absolute()])
        if path is None:
            result.missing.append((row["filename"], row.where))
        elif subset == "esc10" and row["esc10"] != "True":
            result.left_out[path] = "not in the subset esc10"
        else:
            fold, group = int(row["fold"]), row["src_file"]
            result.clips.append(FoundClip(path, row["category"], fold, group=group, seconds=clip_seconds))
    problems.raise_errors(str(table.path))
    return result


def _find_table(root: Path, problems: Problems) -> Table | None:
    for place in PLACES:
        if (root / place).is_file():
            table = read_table(root / place, problems=problems)
            if set(table.columns) >= COLUMNS:
                return table
    return None
