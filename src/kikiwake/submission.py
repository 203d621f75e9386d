"""Submissions: predictions in the form of a competition's sample, with its columns, rows and line ends.

There are two forms. Where the sample begins with `row_id`, a row is a window and has a probability a class;
where it holds names of recordings and numbers, a row is a recording and the number of its likeliest class.
What is said of rows and files here holds for both.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING, Literal, TextIO

import numpy as np

from kikiwake._sample_file import ROW_ID, Sample, read_sample
from kikiwake.audio import AUDIO_SUFFIXES
from kikiwake.datasets.signate import find_labels, read_labels
from kikiwake.errors import ManifestError, StorageError, listed
from kikiwake.files import refuse_to_replace, replace_atomically
from kikiwake.predictions import Predictions
from kikiwake.ranking import join_windows
from kikiwake.tables import Problems

if TYPE_CHECKING:
    import _csv

Rows = Literal["same", "sample", "predictions"]
MissingClasses = Literal["error", "zero"]


@dataclass(frozen=True, slots=True)
class SubmitSummary:
    """What a submission holds, and what it does not.

    `columns`: those of classes. `left_out`: rows of the predictions that the sample lacks. `absent`: rows of
    the sample that the predictions lack. `unknown`: classes of the sample that the model does not know,
    written as 0. `unused`: classes of the model that the sample lacks. `notes`: what else should be known.
    """

    out: Path
    rows: int
    columns: int
    left_out: int
    absent: int
    unknown: Sequence[str]
    unused: Sequence[str]
    notes: Sequence[str]

    def __str__(self) -> str:
        what = f"of {self.columns} columns" if self.columns else "of a recording and its class number"
        lines = [f"{self.out}: {self.rows} rows {what}"]
        if self.left_out:
            lines.append(f"note: {self.left_out} rows of the predictions are not in the sample: left out")
        if self.absent:
            lines.append(f"note: {self.absent} rows of the sample are not in the predictions: left out")
        if self.unknown:
            lines.append(f"note: 0 for classes that the model does not know: {_counted(self.unknown)}")
        if self.unused:
            lines.append(f"note: classes of the model that the sample lacks: {_counted(self.unused)}")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


@dataclass(frozen=True, slots=True)
class _Form:
    """Predictions in one form: the place of each id, and from a place to the cells behind its id.

    `remedy`: what to do about an id of the sample that was not predicted. `unknown`, `unused`, `notes`: as in
    the summary.
    """

    places: Mapping[str, int]
    cells: Callable[[int], list[str]]
    remedy: str
    unknown: Sequence[str] = ()
    unused: Sequence[str] = ()
    notes: Sequence[str] = ()


def submit(
    predictions: Predictions,
    sample: str | Path,
    out: str | Path,
    *,
    rows: Rows = "same",
    missing_classes: MissingClasses = "error",
    labels: str | Path | None = None,
) -> SubmitSummary:
    """Write predictions as the sample has its form, columns, delimiter and line ends, atomically.

    `rows`: "same" wants the same rows on both sides, in any order; "sample" leaves out what else was
    predicted; "predictions" takes the form alone from a sample whose rows only show it. The rows stand in the
    sample's order, or in that of the predictions. `missing_classes`, for a column a class: what becomes of
    classes that the model does not know: an error, or zeros. `labels`, for class numbers: the label master
    that tells them, by default that beside the sample; where there is none, they are the places of the
    model's classes, from 0. For these, the windows of a recording are joined by the mean of their
    probabilities, weighed by their lengths.

    Raises:
        ManifestError: the sample or label master cannot be read, an id stands twice, or rows or classes do
            not match, or an argument is for the other form.
        StorageError: the file cannot be written, is the sample, or is there and something else.
    """
    read, out = read_sample(Path(sample)), Path(out)
    if out.exists() and out.samefile(read.path):
        raise StorageError("this is the sample", where=out, remedy="choose another name for the submission")
    if read.of_windows and labels is not None:
        raise ManifestError("this sample has no class numbers", where=read.path, remedy="leave out --labels")
    if not read.of_windows and missing_classes != "error":
        remedy = "leave out --missing-classes"
        raise ManifestError("this sample has no columns of classes", where=read.path, remedy=remedy)
    if read.of_windows:
        form = _probabilities(predictions, read, missing_classes)
    else:
        form = _class_numbers(predictions, read, None if labels is None else Path(labels))
    chosen, left_out, absent = _chosen_rows(form, read, rows)
    first = next((name for name, _ in chosen), "")
    refuse_to_replace(out, beginnings=[_beginning(read, first)], is_a="submission")
    with (
        replace_atomically(out) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = _writer(file, read)
        if read.columns:
            writer.writerow(read.columns)
        writer.writerows([name, *form.cells(at)] for name, at in chosen)
    columns = len(read.columns) - 1 if read.of_windows else 0
    return SubmitSummary(out, len(chosen), columns, left_out, absent, form.unknown, form.unused, form.notes)


def _chosen_rows(form: _Form, sample: Sample, rows: Rows) -> tuple[list[tuple[str, int]], int, int]:
    """Return each id to be written with its place, and the numbers of ids on one side alone.

    Raises:
        ManifestError: the ids do not match.
    """
    problems = Problems()
    wanted = set(sample.ids)
    left_out = [name for name in form.places if name not in wanted]
    absent = [name for name in sample.ids if name not in form.places]
    if rows == "predictions":
        return list(form.places.items()), 0, len(absent)
    for name in absent:
        remedy = f"{form.remedy}; --rows predictions takes the form alone"
        problems.error(f"'{name}'", "in the sample, not predicted", remedy)
    for name in left_out if rows == "same" else ():
        remedy = "--rows sample leaves it out; --rows predictions takes the form alone from the sample"
        problems.error(f"'{name}'", "predicted, not in the sample", remedy)
    problems.raise_errors(f"the rows of the predictions are not those of {sample.path}")
    return [(name, form.places[name]) for name in sample.ids], len(left_out), 0


def _probabilities(predictions: Predictions, sample: Sample, missing_classes: MissingClasses) -> _Form:
    """Return windows with a probability a class, 0 for classes that the model does not know.

    Raises:
        ManifestError: a row id is predicted twice, or classes that the model does not know are an error.
    """
    problems = Problems()
    rows: dict[str, int] = {}
    for row, row_id in enumerate(predictions.row_ids()):
        if rows.setdefault(row_id, row) != row:
            what = f"predicted for {predictions.paths[row]} and for {predictions.paths[rows[row_id]]}"
            remedy = "one recording of a name, and windows that end at different seconds"
            problems.error(f"'{row_id}'", what, remedy)
    problems.raise_errors("row ids stand twice in the predictions")
    classes = sample.columns[1:]
    places = {name: at for at, name in enumerate(predictions.classes)}
    unknown = [name for name in classes if name not in places]
    if len(unknown) == len(classes):
        raise ManifestError(
            f"none of its columns is a class that the model knows: {_counted(unknown)}",
            where=sample.path,
            remedy="a sample has a column for each class; BirdCLEF's form before 2023 is not written",
        )
    if unknown and missing_classes == "error":
        raise ManifestError(
            f"classes that the model does not know: {_counted(unknown)}",
            where=sample.path,
            remedy="check that sample and model belong together, or write zeros: --missing-classes zero",
        )
    known = np.array([name in places for name in classes])
    columns = np.array([places.get(name, 0) for name in classes])

    def cells(row: int) -> list[str]:
        values = np.where(known, predictions.probabilities[row, columns], 0.0)
        return [f"{value:.6g}" for value in values.tolist()]

    unused = [name for name in predictions.classes if name not in sample.columns]
    return _Form(rows, cells, "predict its recording in windows that end there", unknown, unused)


def _class_numbers(predictions: Predictions, sample: Sample, labels: Path | None) -> _Form:
    """Return recordings with the number of their likeliest class, the first of those that are alike.

    Raises:
        ManifestError: recordings cannot be told apart by name, or a class of the model has no number.
    """
    numbers, notes = _numbers(predictions.classes, sample, labels)
    spelled: dict[str, str] = {}
    for name in sample.ids:
        written = PurePosixPath(name)
        stem = written.stem if written.suffix.lower() in AUDIO_SUFFIXES else written.name
        if spelled.setdefault(stem, name) != name:
            what = f"'{name}' and '{spelled[stem]}' have the same name without their suffixes"
            raise ManifestError(what, where=sample.path, remedy="restore the sample")
    joined = join_windows(predictions)
    places = {spelled.get(PurePath(path).stem, PurePath(path).name): at for at, path in enumerate(joined)}
    likeliest = [int(probabilities.argmax()) for probabilities in joined.values()]
    if len(predictions) > len(joined):
        what = f"{len(predictions)} windows are joined to {len(joined)} recordings"
        notes.append(f"{what}: the mean of their probabilities, weighed by their lengths")
    return _Form(places, lambda at: [str(numbers[likeliest[at]])], "predict it, too", notes=notes)


def _numbers(classes: Sequence[str], sample: Sample, labels: Path | None) -> tuple[list[int], list[str]]:
    """Return the number of each class of the model, and notes that say where they are from."""
    notes = []
    beside = find_labels(sample.path.parent) if labels is None else None
    labels = labels or beside
    if labels is None:
        numbers = list(range(len(classes)))
        source = "the places of the model's classes"
    else:
        number_of = {name: number for number, name in read_labels(labels).items()}
        if strangers := [name for name in classes if name not in number_of]:
            what = f"classes of the model without a number: {_counted(strangers)}"
            remedy = "give the label master of the training data with --labels"
            raise ManifestError(what, where=labels, remedy=remedy)
        numbers = [number_of.pop(name) for name in classes]
        source = f"those of {labels.name}{' beside the sample' if beside else ''}"
        if number_of:
            notes.append(
                f"classes of {labels.name} that the model does not know: {_counted(list(number_of))}"
            )
    pairs = [f"{number} {name}" for number, name in sorted(zip(numbers, classes, strict=True))]
    return numbers, [f"class numbers are {source}: {_counted(pairs)}", *notes]


def _writer(file: TextIO, sample: Sample) -> _csv.Writer:
    return csv.writer(file, delimiter=sample.delimiter, lineterminator=sample.line_end)


def _beginning(sample: Sample, first: str) -> str:
    """Return how submissions begin; those of recordings look like other tables up to the `first` of them."""
    if sample.of_windows:
        return ROW_ID + sample.delimiter
    text = io.StringIO(newline="")
    _writer(text, sample).writerows([*([sample.columns] if sample.columns else []), [first, ""]])
    return text.getvalue().removesuffix(sample.line_end)


def _counted(names: Sequence[str]) -> str:
    return f"{len(names)}: {listed(names)}"
