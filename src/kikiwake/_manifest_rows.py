"""Reads the rows of a manifest CSV and gathers everything that is wrong with them."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kikiwake.clip import COLUMNS, REQUIRED, SPLITS, Clip
from kikiwake.tables import Problems, Row, Table, read_table

HIGHEST_RATING = 5.0

Floats = npt.NDArray[np.float32]


def read_rows(path: Path, *, classes: Sequence[str] | None) -> tuple[list[Clip], list[str], Floats | None]:
    """Return the clips, classes and soft labels of a manifest CSV.

    Raises:
        ManifestError: anything is wrong, all of it in one table.
    """
    problems = Problems()
    table = read_table(path, problems=problems)
    header = f"{path.name}:1"
    for column in REQUIRED:
        if column not in table.columns:
            problems.error(header, f"column '{column}' is missing", f"the header begins {','.join(REQUIRED)}")
    soft_columns = _soft_columns(table, classes=classes, problems=problems)
    numbers = _class_numbers(table, soft_columns=soft_columns, classes=classes, problems=problems)
    folder = path.absolute().parent
    reader = _RowReader(folder, numbers, table.columns, problems)
    clips = [reader.clip(row) for row in table.rows]
    _find_duplicates(table.rows, clips, problems)
    names = sorted(numbers, key=lambda name: numbers[name])
    soft = _soft_labels(table.rows, clips, names, problems) if soft_columns else None
    problems.raise_errors(str(path))
    return clips, names, soft


def _soft_columns(table: Table, *, classes: Sequence[str] | None, problems: Problems) -> list[str]:
    """Return the columns of soft labels: those of no other meaning, if all classes are among them."""
    others = [column for column in table.columns if column not in COLUMNS]
    named = set(classes) if classes is not None else {row["class"] for row in table.rows} - {""}
    complete = named <= set(others) if named else _all_probabilities(table, others)
    header = f"{table.path.name}:1"
    for column in others:
        if column in named and not complete:
            missing = ", ".join(sorted(named - set(others)))
            remedy = f"soft labels need one for each class; missing: {missing}"
            problems.error(header, f"column '{column}' is a class's", remedy)
        elif not complete or (classes is not None and column not in named):
            near = difflib.get_close_matches(column, COLUMNS, n=1)
            remedy = f"did you mean '{near[0]}'?" if near else f"remove it; known are {', '.join(COLUMNS)}"
            problems.error(header, f"unknown column '{column}'", remedy)
    return others if complete else []


def _all_probabilities(table: Table, columns: Sequence[str]) -> bool:
    return bool(table.rows) and all(
        _probability(row[column]) is not None for row in table.rows for column in columns
    )


def _probability(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if 0 <= value <= 1 else None


def _class_numbers(
    table: Table, *, soft_columns: Sequence[str], classes: Sequence[str] | None, problems: Problems
) -> dict[str, int]:
    """Return the number of each class, 0 to K - 1."""
    given: dict[str, int] = {}
    names: dict[int, str] = {}
    for row in table.rows:
        name, cell = row["class"], row["class_id"]
        number = _whole(cell)
        if cell and number is None:
            problems.error(row.where, f"class_id '{cell}' is not a whole number", "number classes from 0")
        elif number is not None and not name:
            problems.error(
                row.where, f"class_id {number} without a class", "fill in both or leave both empty"
            )
        elif number is not None and given.setdefault(name, number) != number:
            what = f"class '{name}' has class_id {number} here and {given[name]} above"
            problems.error(row.where, what, "give a class one number")
        elif number is not None and names.setdefault(number, name) != name:
            what = f"class_id {number} is '{name}' here and '{names[number]}' above"
            problems.error(row.where, what, "give a number one class")
    labelled = {row["class"] for row in table.rows} - {""}
    if classes is not None:
        for row in table.rows:
            if row["class"] and row["class"] not in classes:
                remedy = f"the classes are {', '.join(classes)}"
                problems.error(row.where, f"class '{row['class']}' is not among those given", remedy)
        return {name: index for index, name in enumerate(classes)}
    if soft_columns:
        for name, number in given.items():
            column = soft_columns.index(name)
            if column != number:
                what = f"class '{name}' has class_id {number}, but is soft-label column {column}"
                remedy = "number classes in the order of their columns, from 0"
                problems.error(f"{table.path.name}:1", what, remedy)
        return {name: index for index, name in enumerate(soft_columns)}
    for name in sorted(labelled - given.keys() if given else ()):
        problems.error(table.path.name, f"class '{name}' has no class_id", "number all classes or none")
    ordered = sorted(labelled, key=lambda name: (given.get(name, 0), name))
    return {name: index for index, name in enumerate(ordered)}


def _whole(cell: str) -> int | None:
    """Return a whole number that is not negative; `3.0` is one, as spreadsheets and pandas write it."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return int(value) if value >= 0 and value.is_integer() else None


class _RowReader:
    """Turns rows into clips; what is wrong with them is noted and replaced by something harmless."""

    def __init__(
        self, folder: Path, numbers: dict[str, int], columns: Sequence[str], problems: Problems
    ) -> None:
        self.folder = folder
        self.numbers = numbers
        self.columns = frozenset(columns)
        self.problems = problems

    def clip(self, row: Row) -> Clip:
        label = row["class"] if row["class"] in self.numbers else None
        start = self._number(row, "start", low=0.0)
        end = self._number(row, "end", low=0.0)
        if end is not None and end <= (start or 0.0):
            what = f"end {end} s " + (
                f"precedes start {start} s" if end < (start or 0.0) else "leaves no time"
            )
            self.problems.error(row.where, what, "give end > start or leave both empty")
        if not row["path"] and "path" in self.columns:
            self.problems.error(row.where, "path is empty", "name the recording")
        weight = self._number(row, "weight", low=0.0)
        return Clip(
            path=self.folder / row["path"],
            label=label,
            class_id=None if label is None else self.numbers[label],
            fold=self._whole(row, "fold", optional=True),
            frames=self._whole(row, "frames") or 1,
            sr=self._whole(row, "sr") or 1,
            start=start,
            end=end,
            secondary=self._secondary(row),
            group=row["group"] or None,
            split=self._split(row),
            weight=1.0 if weight is None else weight,
            rating=self._number(row, "rating", low=0.0, high=HIGHEST_RATING),
        )

    def _number(self, row: Row, column: str, *, low: float, high: float = math.inf) -> float | None:
        cell = row[column]
        if cell == "":
            return None
        try:
            value = float(cell)
        except ValueError:
            self.problems.error(row.where, f"{column} '{cell}' is not a number", "write a number, as 1.5")
            return None
        if not math.isfinite(value) or not low <= value <= high:
            span = f"between {low:g} and {high:g}" if high < math.inf else f"{low:g} or more"
            self.problems.error(
                row.where, f"{column} {cell} is out of range", f"give {span}, or leave it empty"
            )
            return None
        return value

    def _whole(self, row: Row, column: str, *, optional: bool = False) -> int | None:
        cell = row[column]
        if column not in self.columns or (optional and cell == ""):
            return None
        value = _whole(cell)
        if value is None or not (value or optional):
            number = "a whole number" if optional else "a whole number above 0"
            remedy = "write one, or leave it empty" if optional else "kikiwake prepare finds it"
            self.problems.error(row.where, f"{column} '{cell}' is not {number}", remedy)
        return value

    def _secondary(self, row: Row) -> tuple[str, ...]:
        names = tuple(name for name in row["secondary"].split(";") if name)
        for name in names:
            if name not in self.numbers:
                near = difflib.get_close_matches(name, self.numbers, n=1)
                remedy = f"did you mean '{near[0]}'?" if near else "use names of the class column, split by ;"
                self.problems.error(row.where, f"secondary class '{name}' is unknown", remedy)
        return tuple(name for name in names if name in self.numbers)

    def _split(self, row: Row) -> str | None:
        if row["split"] not in ("", *SPLITS):
            what = f"split '{row['split']}' is unknown"
            self.problems.error(row.where, what, f"write one of {', '.join(SPLITS)}, or leave it empty")
        return row["split"] or None


def _find_duplicates(rows: Sequence[Row], clips: Sequence[Clip], problems: Problems) -> None:
    first: dict[tuple[Path, float, float | None], str] = {}
    for row, clip in zip(rows, clips, strict=True):
        above = first.setdefault((clip.path, clip.start_seconds, clip.end), row.where)
        if above != row.where and row["path"]:
            what = f"the same stretch of '{row['path']}' as {above}"
            problems.error(row.where, what, "keep one row; name further classes in 'secondary'")


def _soft_labels(
    rows: Sequence[Row], clips: Sequence[Clip], names: Sequence[str], problems: Problems
) -> Floats:
    """Return soft labels `[N, K]`; a row whose cells are all empty has its hard label alone."""
    soft = np.zeros((len(rows), len(names)), dtype=np.float32)
    for index, (row, clip) in enumerate(zip(rows, clips, strict=True)):
        if not any(row[name] for name in names):
            if clip.class_id is not None:
                soft[index, clip.class_id] = 1.0
            continue
        for column, name in enumerate(names):
            value = _probability(row[name])
            if value is None:
                what = f"soft label '{row[name]}' of class '{name}' is no number in [0, 1]"
                problems.error(row.where, what, "give every class a number from 0 to 1, or none")
            else:
                soft[index, column] = value
    return soft
