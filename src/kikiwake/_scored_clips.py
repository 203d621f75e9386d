"""Clips with their truth and what a model says of them, and the tables and pictures that this makes."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kikiwake import figures, metrics
from kikiwake._bootstrap import Interval, bootstrap_all
from kikiwake.clip import Clip
from kikiwake.errors import RunError
from kikiwake.manifest import Manifest
from kikiwake.randomness import generator
from kikiwake.recipe import Recipe
from kikiwake.tables import first_bad_row, write_table

Array = npt.NDArray[Any]

LEVEL = 0.95
"""How often an interval should hold the true score."""

COLUMNS = ("path", "start", "end", "group", "fold", "class", "predicted", "correct")
"""What a table of clips says before the probabilities of the classes."""

EVALUATE_AGAIN = "evaluate the run again"


@dataclass(frozen=True)
class ScoredClips:
    """Clips, their truth, and their probabilities.

    `groups`: what the bootstrap draws whole: the manifest's group, else the recording. `multilabel`: classes
    are judged one by one. `seed`: of the bootstrap.

    Shape: targets, probabilities `[N, K]`.
    """

    clips: Sequence[Clip]
    groups: Sequence[str]
    classes: Sequence[str]
    targets: Array
    probabilities: Array
    multilabel: bool
    seed: int

    @classmethod
    def of(
        cls, manifest: Manifest, *, rows: Sequence[int], probabilities: Array, recipe: Recipe
    ) -> ScoredClips:
        """Put the clips in some rows of a manifest together with their probabilities, in the same order."""
        groups = manifest.groups()
        return cls(
            clips=[manifest[row] for row in rows],
            groups=[groups[row] for row in rows],
            classes=manifest.classes,
            targets=manifest.targets(secondary=recipe.data.secondary_target)[list(rows)],
            probabilities=probabilities,
            multilabel=recipe.multilabel,
            seed=recipe.seed,
        )

    @property
    def group_count(self) -> int:
        """How many groups there are."""
        return len(set(self.groups))

    def scores(self, *, replicates: int) -> dict[str, Interval]:
        """Return every score with its interval; without one where there are fewer than two groups."""
        if replicates < 1 or self.group_count < 2:
            plain = metrics.scores(self.targets, self.probabilities, multilabel=self.multilabel)
            found = {name: Interval(value, None, None, LEVEL, 0) for name, value in plain.items()}
        else:
            found = metrics.bootstrap_scores(
                self.targets,
                self.probabilities,
                multilabel=self.multilabel,
                groups=self.groups,
                replicates=replicates,
                level=LEVEL,
                rng=generator(self.seed, "bootstrap"),
            )
        del found["roc_auc_classes"]  # a count, and said in words where classes have no clip
        return found

    def write(self, folder: Path, *, clips: str, replicates: int) -> None:
        """Write all tables and pictures; `clips` names the table that has one row a clip."""
        self._write_clips(folder / clips)
        self._write_classes(folder, replicates=replicates)
        self._write_reliability(folder)
        if not self.multilabel:
            self._write_confusion(folder)

    def _write_clips(self, path: Path) -> None:
        """Write one row a clip, probabilities so that reading gives the same float32.

        Where several classes can be true, `class` joins them by `;`, `predicted` is the likeliest, and
        `correct` says whether that is one of them.
        """
        likeliest = self.probabilities.argmax(1)
        if self.multilabel:
            truth = self.targets >= metrics.THRESHOLD
        else:
            truth = np.arange(len(self.classes)) == self.targets.argmax(1)[:, None]
        rows = []
        for row, clip in enumerate(self.clips):
            described = [
                str(clip.path),
                f"{clip.start_seconds:.6f}",
                f"{clip.start_seconds + clip.duration_seconds:.6f}",
                clip.group or "",
                "" if clip.fold is None else str(clip.fold),
                ";".join(name for name, true in zip(self.classes, truth[row], strict=True) if true),
                self.classes[likeliest[row]],
                str(int(truth[row, likeliest[row]])),
            ]
            rows.append(described + [str(value) for value in self.probabilities[row]])
        write_table(path, [*COLUMNS, *self.classes], rows)

    def _write_classes(self, folder: Path, *, replicates: int) -> None:
        """Write what the model is worth on each class, as a table and as a picture."""
        score = "average_precision" if self.multilabel else "f1"
        rows = metrics.per_class(
            self.targets, self.probabilities, classes=self.classes, multilabel=self.multilabel
        )
        lows: list[float | None] = [None] * len(rows)
        highs = list(lows)
        if replicates > 0 and self.group_count > 1:
            found = bootstrap_all(
                self._class_scores,
                self.targets,
                self.probabilities,
                groups=self.groups,
                replicates=replicates,
                level=LEVEL,
                rng=generator(self.seed, "bootstrap"),
            )
            lows = [found[str(number)].low for number in range(len(rows))]
            highs = [found[str(number)].high for number in range(len(rows))]
        write_table(
            folder / "classes.csv",
            [
                *("support" if column == "clips" else column for column in rows[0]),
                f"{score}_low",
                f"{score}_high",
            ],
            [
                [str(row["class"]), str(row["clips"]), *map(cell, (*list(row.values())[2:], low, high))]
                for row, low, high in zip(rows, lows, highs, strict=True)
            ],
        )
        defined = [row[score] if row["clips"] else None for row in rows]
        figures.class_scores(
            self.classes,
            [np.nan if value is None else value for value in defined],
            [
                None if low is None or high is None else (low, high)
                for low, high in zip(lows, highs, strict=True)
            ],
            folder / "class_scores.png",
            score="average precision" if self.multilabel else "F1",
        )

    def _class_scores(self, targets: Array, probabilities: Array) -> dict[str, float | None]:
        """Return the score of each class that the picture shows, by the class's number."""
        if self.multilabel:
            values = metrics.average_precision_per_class(targets, probabilities)
        else:
            # A bootstrap has no time for all that per_class computes.
            matrix = metrics.confusion_matrix(targets, probabilities)
            below = matrix.sum(0) + matrix.sum(1)
            values = np.divide(
                2 * matrix.diagonal(), below, out=np.full(len(matrix), np.nan), where=below > 0
            )
        return {str(number): float(value) for number, value in enumerate(values)}

    def _write_confusion(self, folder: Path) -> None:
        """Write counts: rows are the truth, columns what was predicted."""
        matrix = metrics.confusion_matrix(self.targets, self.probabilities)
        rows = [[name, *map(str, row)] for name, row in zip(self.classes, matrix, strict=True)]
        write_table(folder / "confusion.csv", ["class", *self.classes], rows)
        figures.confusion_matrix(matrix, self.classes, folder / "confusion.png")

    def _write_reliability(self, folder: Path) -> None:
        """Write how often the model is right, by how sure it is."""
        found = metrics.reliability(self.targets, self.probabilities, multilabel=self.multilabel)
        counted = "decisions" if self.multilabel else "clips"
        bins = zip(
            found.edges[:-1], found.edges[1:], found.clips, found.confidence, found.accuracy, strict=True
        )
        write_table(
            folder / "reliability.csv",
            ["low", "high", counted, "confidence", "accuracy"],
            [[cell(low), cell(high), str(count), *map(cell, rest)] for low, high, count, *rest in bins],
        )
        figures.reliability_diagram(*found, folder / "reliability.png")


def read_clips(path: Path) -> tuple[list[str], list[dict[str, str]], Array]:
    """Return the classes of a table that `ScoredClips.write` wrote, what it says of clips, and probabilities.

    Shape: probabilities `[N, K]`, float64.

    Raises:
        RunError: it cannot be read.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        numbers = np.array([row[len(COLUMNS) :] for row in rows], dtype=np.float64)
    except (OSError, ValueError) as error:
        bad = first_bad_row(path, texts=range(len(COLUMNS))) if path.is_file() else None
        where, what = bad or (str(path), str(error))
        what = f"the scored clips cannot be read: {what}"
        raise RunError(what, where=where, remedy=EVALUATE_AGAIN) from error
    if tuple(header[: len(COLUMNS)]) != COLUMNS:
        what = f"no table of scored clips: it does not begin with {', '.join(COLUMNS)}"
        raise RunError(what, where=path, value=header[: len(COLUMNS)], remedy=EVALUATE_AGAIN)
    classes = header[len(COLUMNS) :]
    return classes, [dict(zip(COLUMNS, row, strict=False)) for row in rows], numbers


def read_probabilities(path: Path, *, classes: Sequence[str], clips: int) -> Array:
    """Return the probabilities `[N, K]` of a table that `ScoredClips.write` wrote.

    Raises:
        RunError: it is not there, or of other clips or classes.
    """
    found, rows, probabilities = read_clips(path)
    if found != list(classes) or len(rows) != clips:
        what = "the scored clips are not those of this run"
        raise RunError(what, where=path, remedy=EVALUATE_AGAIN)
    return probabilities.astype(np.float32)


def cell(value: float | None) -> str:
    """Return a score as tables have it; empty where it is undefined."""
    return "" if value is None or np.isnan(value) else f"{value:.6f}"
