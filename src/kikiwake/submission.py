"""Submissions: predictions in the form of a competition's sample, with its columns, rows and line ends.

A sample begins with `row_id`, after which comes one column a class, for probabilities. A form is a function
from predictions and a sample's columns to the cells behind each row id; what is said of rows and files here
holds for any form.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from kikiwake.errors import ManifestError, StorageError
from kikiwake.files import refuse_to_replace, replace_atomically
from kikiwake.predictions import Predictions
from kikiwake.tables import Problems, read_text, sniff_delimiter

ROW_ID = "row_id"

Rows = Literal["same", "sample", "predictions"]
MissingClasses = Literal["error", "zero"]
Cells = Callable[[int], list[str]]
"""From a row of the predictions to the cells behind its id."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What a sample submission shows: the header and ids, and how it is written."""

    path: Path
    columns: Sequence[str]
    row_ids: Sequence[str]
    delimiter: str
    line_end: str


@dataclass(frozen=True, slots=True)
class SubmitSummary:
    """What a submission holds, and what it does not.

    `left_out`: rows of the predictions that the sample lacks. `absent`: rows of the sample that the
    predictions lack. `unknown`: classes of the sample that the model does not know, written as 0. `unused`:
    classes of the model that the sample lacks.
    """

    out: Path
    rows: int
    columns: int
    left_out: int
    absent: int
    unknown: Sequence[str]
    unused: Sequence[str]

    def __str__(self) -> str:
        lines = [f"{self.out}: {self.rows} rows of {self.columns} columns"]
        if self.left_out:
            lines.append(f"note: {self.left_out} rows of the predictions are not in the sample: left out")
        if self.absent:
            lines.append(f"note: {self.absent} rows of the sample are not in the predictions: left out")
        if self.unknown:
            lines.append(f"note: 0 for classes that the model does not know: {_listed(self.unknown)}")
        if self.unused:
            lines.append(f"note: classes of the model that the sample lacks: {_listed(self.unused)}")
        return "\n".join(lines)


def submit(
    predictions: Predictions,
    sample: str | Path,
    out: str | Path,
    *,
    rows: Rows = "same",
    missing_classes: MissingClasses = "error",
) -> SubmitSummary:
    """Write predictions as the sample has its columns, delimiter and line ends, atomically.

    `rows`: "same" wants the same row ids on both sides, in any order; "sample" leaves out what else was
    predicted; "predictions" takes the columns alone from a sample whose rows only show the form. The rows
    stand in the sample's order, or in that of the predictions. `missing_classes`: what becomes of classes
    that the model does not know: an error, or zeros.

    Raises:
        ManifestError: the sample cannot be read, a row id stands twice, or rows or classes do not match.
        StorageError: the file cannot be written, is the sample, or is there and something else.
    """
    read, out = read_sample(Path(sample)), Path(out)
    _refuse_to_replace(read, out)
    chosen, left_out, absent = _chosen_rows(predictions, read, rows)
    unknown = [name for name in read.columns[1:] if name not in predictions.classes]
    if unknown and missing_classes == "error":
        raise ManifestError(
            f"classes that the model does not know: {_listed(unknown)}",
            where=read.path,
            remedy="check that sample and model belong together, or write zeros: --missing-classes zero",
        )
    cells = _probabilities(predictions, read.columns[1:])
    with (
        replace_atomically(out) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, delimiter=read.delimiter, lineterminator=read.line_end)
        writer.writerow(read.columns)
        writer.writerows([row_id, *cells(at)] for row_id, at in chosen)
    unused = [name for name in predictions.classes if name not in read.columns]
    return SubmitSummary(out, len(chosen), len(read.columns) - 1, left_out, absent, unknown, unused)


def read_sample(path: Path) -> Sample:
    """Read the header and the row ids of a sample submission.

    Raises:
        ManifestError: it cannot be read, does not begin with `row_id`, or names a column or row twice.
    """
    text = read_text(path)
    header, line_feed, _ = text.partition("\n")
    delimiter = sniff_delimiter(text)
    table = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    problems = Problems()
    first: dict[str, str] = {}
    try:
        columns = next(table, [])
        for cells in table:
            where = f"{path.name}:{table.line_num}"
            if cells and first.setdefault(cells[0], where) != where:
                what = f"row '{cells[0]}' stands in {first[cells[0]]} too"
                problems.error(where, what, "restore the sample")
    except csv.Error as error:
        raise ManifestError(f"not a table: {error}", where=f"{path.name}:{table.line_num}") from error
    if columns[:1] != [ROW_ID] or len(columns) < 2:
        remedy = f"give the competition's sample: its header is {ROW_ID}, then a column for each class"
        raise ManifestError("is no sample submission", where=path, value=header[:80], remedy=remedy)
    for name in sorted({name for name in columns if columns.count(name) > 1}):
        problems.error(f"{path.name}:1", f"column '{name}' stands twice", "restore the sample")
    problems.raise_errors(str(path))
    line_end = "\r\n" if line_feed and header.endswith("\r") else "\n"
    return Sample(path, columns, list(first), delimiter, line_end)


def _refuse_to_replace(sample: Sample, out: Path) -> None:
    if out.exists() and out.samefile(sample.path):
        raise StorageError("this is the sample", where=out, remedy="choose another name for the submission")
    refuse_to_replace(out, beginnings=[ROW_ID + sample.delimiter], is_a="submission")


def _chosen_rows(
    predictions: Predictions, sample: Sample, rows: Rows
) -> tuple[list[tuple[str, int]], int, int]:
    """Return each id to be written with its row of the predictions, and the numbers of ids on one side alone.

    Raises:
        ManifestError: an id is predicted twice, or the ids do not match.
    """
    problems = Problems()
    place: dict[str, int] = {}
    for row, row_id in enumerate(predictions.row_ids()):
        if place.setdefault(row_id, row) != row:
            other = predictions.paths[place[row_id]]
            what = f"predicted for {predictions.paths[row]} and for {other}"
            remedy = "one recording of a name, and windows that end at different seconds"
            problems.error(f"'{row_id}'", what, remedy)
    problems.raise_errors("row ids stand twice in the predictions")
    wanted = set(sample.row_ids)
    left_out = [row_id for row_id in place if row_id not in wanted]
    absent = [row_id for row_id in sample.row_ids if row_id not in place]
    if rows == "predictions":
        return list(place.items()), 0, len(absent)
    for row_id in absent:
        remedy = "predict its recording in windows that end there; --rows predictions takes columns alone"
        problems.error(f"'{row_id}'", "in the sample, not predicted", remedy)
    for row_id in left_out if rows == "same" else ():
        remedy = "--rows sample leaves it out; --rows predictions takes columns alone from the sample"
        problems.error(f"'{row_id}'", "predicted, not in the sample", remedy)
    problems.raise_errors(f"the rows of the predictions are not those of {sample.path}")
    return [(row_id, place[row_id]) for row_id in sample.row_ids], len(left_out), 0


def _probabilities(predictions: Predictions, classes: Sequence[str]) -> Cells:
    """Return the form with a probability a class, 0 for classes that the model does not know."""
    places = {name: at for at, name in enumerate(predictions.classes)}
    known = np.array([name in places for name in classes])
    columns = np.array([places.get(name, 0) for name in classes])

    def cells(row: int) -> list[str]:
        values = np.where(known, predictions.probabilities[row, columns], 0.0)
        return [f"{value:.6g}" for value in values.tolist()]

    return cells


def _listed(names: Sequence[str]) -> str:
    more = f", and {len(names) - 20} more" if len(names) > 20 else ""
    return f"{len(names)}: {', '.join(names[:20])}{more}"
