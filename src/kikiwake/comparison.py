"""Models side by side on the same clips: what each scores, and whether one is better than another.

Intervals of single scores overlap long before a difference is in doubt, for hard clips are hard for all. So
differences are paired: every replicate draws the same groups for all models (Efron & Tibshirani 1993,
section 8.6, on paired samples).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kikiwake import figures, metrics
from kikiwake._bootstrap import Interval, bootstrap_all
from kikiwake._score_table import aligned, interval, shown
from kikiwake._scored_clips import LEVEL, cell, read_clips
from kikiwake.ensembles import RECORD as ENSEMBLE
from kikiwake.ensembles import open_model
from kikiwake.errors import RunError
from kikiwake.evaluation import evaluate, stored_evaluation
from kikiwake.randomness import generator
from kikiwake.tables import write_table

_SHOWN = ("accuracy", "top_3_accuracy", "macro_f1", "macro_roc_auc", "macro_average_precision", "log_loss")
"""Scores that fit side by side on a screen; the tables have all."""


_PAIRED = "differences are paired: every resample draws the same whole groups for both models"


@dataclass(frozen=True)
class Contender:
    """A run, ensemble or cross-validation of all folds, with what it says of the clips that it was judged by.

    `keys`: path, start and end of each clip, its class and its fold. `part`: which of a run's clips they are,
    or "out-of-fold". `notes`: what a reader of its scores must know. Shape: targets, probabilities `[N, K]`.
    """

    name: str
    keys: Sequence[tuple[str, ...]]
    groups: Sequence[str]
    classes: Sequence[str]
    multilabel: bool
    part: str
    notes: Sequence[str]
    targets: npt.NDArray[np.float64]
    probabilities: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """By how much the first of two models scores more than the second on the same clips."""

    first: str
    second: str
    score: str
    interval: Interval

    @property
    def in_doubt(self) -> bool:
        """Whether the interval holds zero, or there is none."""
        low, high = self.interval.low, self.interval.high
        return low is None or high is None or low <= 0 <= high


@dataclass(frozen=True)
class Comparison:
    """What several models are worth on the same clips, best first by the main score.

    `notes`: what a reader must know of the models' scores.
    """

    scores: dict[str, dict[str, Interval]]
    differences: list[Difference]
    main_score: str
    clips: int
    groups: int
    notes: Sequence[str] = ()

    @property
    def best(self) -> str:
        """The model that scores most."""
        return next(iter(self.scores))

    def __str__(self) -> str:
        there = next(iter(self.scores.values()))
        names = [name for name in _SHOWN if name in there and name != self.main_score]
        head = ("model", self.main_score, f"{LEVEL:.0%} interval", *names)
        table = [head] + [
            (
                name,
                shown(found[self.main_score].value),
                interval(found[self.main_score]),
                *(shown(found[other].value) for other in names),
            )
            for name, found in self.scores.items()
        ]
        pairs = [one for one in self.differences if one.score == self.main_score]
        lines = [("better", "than", f"by ({self.main_score})", f"{LEVEL:.0%} interval", "")]
        lines += [
            (
                one.first,
                one.second,
                shown(one.interval.value),
                interval(one.interval),
                "in doubt" if one.in_doubt and one.interval.low is not None else "",
            )
            for one in pairs
        ]
        return "\n".join(
            [
                f"{self.clips} clips in {self.groups} groups, the same for all",
                "",
                *aligned(table),
                "",
                *aligned(lines),
                "",
                f"best by {self.main_score}: {self.best}",
                *(f"note: {note}" for note in self.notes),
                *([_PAIRED] if any(one.interval.low is not None for one in pairs) else []),
            ]
        )

    def write(self, folder: Path) -> None:
        """Write scores.csv, differences.csv and comparison.png.

        Raises:
            StorageError: a file cannot be written.
        """
        columns = ("value", "low", "high")
        write_table(
            folder / "scores.csv",
            ["model", "score", *columns],
            [
                [model, name, *(cell(value) for value in found[:3])]
                for model, scores in self.scores.items()
                for name, found in scores.items()
            ],
        )
        write_table(
            folder / "differences.csv",
            ["first", "second", "score", *columns],
            [
                [one.first, one.second, one.score, *(cell(value) for value in one.interval[:3])]
                for one in self.differences
            ],
        )
        figures.score_intervals(
            {name: found[self.main_score][:3] for name, found in self.scores.items()},
            folder / "comparison.png",
            score=self.main_score,
        )


def compare(runs: Sequence[str | Path], *, out: Path | None = None, replicates: int = 1000) -> Comparison:
    """Compare run directories, ensembles or cross-validations by the clips that they were judged by.

    What is not evaluated yet is evaluated first. `out`: a folder for tables and a picture.
    `replicates`: resamples of whole groups behind the intervals; 0 leaves them out.

    Raises:
        RunError: fewer than two, one that cannot be judged, or they differ in clips, classes or folds.
        StorageError: a file cannot be written.
    """
    if replicates < 0:
        raise RunError("there cannot be fewer than 0", where="replicates", value=replicates)
    folders = [Path(run) for run in runs]
    names = [_name(folder, folders) for folder in folders]
    if len(set(names)) < max(2, len(names)):
        remedy = "name run directories, ensembles, or folders of `kikiwake crossval`"
        raise RunError("a comparison needs two runs or more, each once", value=names, remedy=remedy)
    contenders = [_read(folder, name) for folder, name in zip(folders, names, strict=True)]
    for other in contenders[1:]:
        _check_same(contenders[0], other)
    first = contenders[0]
    order = [{key: row for row, key in enumerate(one.keys)} for one in contenders]
    rows = [[place[key] for key in first.keys] for place in order]
    probabilities = np.stack([one.probabilities[own] for one, own in zip(contenders, rows, strict=True)], 1)
    scores, differences = _scored(first, names, probabilities, replicates=replicates)
    main = "macro_average_precision" if first.multilabel else "accuracy"
    ranked = sorted(names, key=lambda name: -(scores[name][main].value or 0.0))
    place = {name: rank for rank, name in enumerate(ranked)}
    found = Comparison(
        scores={name: scores[name] for name in ranked},
        differences=sorted(
            (one if place[one.first] < place[one.second] else _turned(one) for one in differences),
            key=lambda one: (place[one.first], place[one.second]),
        ),
        main_score=main,
        clips=len(first.keys),
        groups=len(set(first.groups)),
        notes=_notes(contenders),
    )
    if out is not None:
        found.write(out)
    return found


def _notes(contenders: Sequence[Contender]) -> list[str]:
    """Return what must be known of the scores, each note once, with the models that it is about."""
    about: dict[str, list[str]] = {}
    for one in contenders:
        for note in one.notes:
            about.setdefault(note, []).append(one.name)
    everyone = len(contenders)
    return [
        note if len(names) == everyone else f"{', '.join(names)}: {note}" for note, names in about.items()
    ]


def _name(folder: Path, folders: Sequence[Path]) -> str:
    """Return a folder's own name, or its path where others have the same."""
    alike = sum(other.name == folder.name for other in folders)
    return folder.name if alike == 1 else str(folder)


def _turned(one: Difference) -> Difference:
    value, high, low = (None if end is None else -end for end in one.interval[:3])
    turned = one.interval._replace(value=value, low=low, high=high)
    return Difference(one.second, one.first, one.score, turned)


def _scored(
    first: Contender, names: Sequence[str], probabilities: npt.NDArray[np.float64], *, replicates: int
) -> tuple[dict[str, dict[str, Interval]], list[Difference]]:
    """Return every model's scores and all paired differences, from the same replicates.

    Shape: probabilities `[N, M, K]`, M models.
    """
    pairs = list(combinations(range(len(names)), 2))

    def statistics(targets: Any, all_probabilities: Any) -> dict[str, float | None]:
        each = [
            metrics.scores(targets, all_probabilities[:, number], multilabel=first.multilabel)
            for number in range(len(names))
        ]
        found = {f"{number} {name}": value for number, own in enumerate(each) for name, value in own.items()}
        for one, other in pairs:
            for name in each[0]:
                values = each[one][name], each[other][name]
                both = None not in values
                found[f"{one}-{other} {name}"] = values[0] - values[1] if both else None  # type: ignore[operator]
        return found

    if replicates < 1 or len(set(first.groups)) < 2:
        plain = statistics(first.targets, probabilities)
        found = {name: Interval(value, None, None, LEVEL, 0) for name, value in plain.items()}
    else:
        found = bootstrap_all(
            statistics,
            first.targets,
            probabilities,
            groups=first.groups,
            replicates=replicates,
            level=LEVEL,
            rng=generator(0, "comparison"),
        )
    scored: dict[str, dict[str, Interval]] = {name: {} for name in names}
    differences = []
    for key, value in found.items():
        who, _, score = key.partition(" ")
        if score == "roc_auc_classes":
            continue
        if "-" in who:
            one, other = (names[int(number)] for number in who.split("-"))
            differences.append(Difference(one, other, score, value))
        else:
            scored[names[int(who)]][score] = value
    return scored, differences


def _read(folder: Path, name: str) -> Contender:
    """Read what a run, a cross-validation or an ensemble said of the clips that were held out.

    Raises:
        RunError: it is neither, or is not finished.
    """
    summary = folder / "summary.json"
    if summary.is_file():
        about = {"part": "out-of-fold", "notes": [], **_json(summary)["out_of_fold"]}
        table = folder / "out_of_fold.csv"
    else:
        if not any((folder / name).is_file() for name in ("recipe.yaml", ENSEMBLE)):
            raise RunError(
                "neither a run directory nor a finished cross-validation nor an ensemble",
                where=folder,
                remedy="give what `kikiwake train` or `kikiwake crossval` named in its first line",
            )
        model = open_model(folder)
        found = stored_evaluation(model) or evaluate(model)
        about = {"multilabel": found.multilabel, "part": found.part, "notes": found.notes}
        table = found.folder / "clips.csv"
    classes, cells, probabilities = read_clips(table)
    targets = np.zeros((len(cells), len(classes)))
    for row, own in enumerate(cells):
        true = own["class"].split(";") if about["multilabel"] else [own["class"]]
        targets[row, [classes.index(one) for one in true if one]] = 1.0
    return Contender(
        name=name,
        keys=[
            (os.path.abspath(own["path"]), *(own[key] for key in ("start", "end", "class", "fold")))  # noqa: PTH100
            for own in cells
        ],
        groups=[own["group"] or own["path"] for own in cells],
        classes=classes,
        multilabel=bool(about["multilabel"]),
        part=str(about["part"]),
        notes=list(about["notes"]),
        targets=targets,
        probabilities=probabilities,
    )


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"cannot be read: {error}", where=path, remedy="run crossval again") from error


def _check_same(first: Contender, other: Contender) -> None:
    """Refuse two models that were not judged by the same clips.

    Raises:
        RunError: the message says which clips are in one and not in the other.
    """
    remedy = "compare runs of one manifest with one split"
    if list(first.classes) != list(other.classes) or first.multilabel != other.multilabel:
        what = f"{first.name} and {other.name} tell other classes apart"
        raise RunError(what, value=(len(first.classes), len(other.classes)), remedy=remedy)
    if first.part != other.part:
        what = f"{first.name} was judged by {first.part} clips, {other.name} by {other.part} clips"
        raise RunError(what, remedy=remedy)
    for one, two in ((first, other), (other, first)):
        missing = sorted(set(one.keys) - set(two.keys))
        if missing:
            path, start, end, label, fold = missing[0]
            raise RunError(
                f"{len(missing)} of {len(one.keys)} clips that {one.name} was judged by are not among those "
                f"of {two.name}, or have another class or fold there; the first is {path}, {start} to "
                f"{end} s, class {label}, fold {fold or 'none'}",
                remedy=remedy,
            )
