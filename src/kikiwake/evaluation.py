"""Judges a trained model by clips that were held out: scores with intervals, tables and pictures.

predictions.csv                   a row a window: path, row_id, start, end, predicted, one column a class
clips.csv                         a row a clip: its class, what was predicted, one probability a class
classes.csv class_scores.png      precision, recall, F1, ROC-AUC and average precision of each class
confusion.csv confusion.png       which classes are taken for which
reliability.csv reliability.png   how often the model is right, by how sure it is
scores.json                       every score with its interval; written last

Multi-label runs have no confusion matrix: a clip may have several classes or none, so that there is no one
class that another is taken for. Their reliability counts every clip and class, their accuracy is the share of
clips with every class right, and a class counts as predicted from a probability of a half.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kikiwake import __version__
from kikiwake._bootstrap import Interval
from kikiwake._score_table import aligned, interval, shown
from kikiwake._scored_clips import LEVEL, ScoredClips, read_probabilities
from kikiwake.data import ClipDataset
from kikiwake.engine import engine
from kikiwake.errors import RunError
from kikiwake.files import write_json
from kikiwake.loader import Loader
from kikiwake.predictions import Predictions
from kikiwake.run import SPLITS, Run, logger_for, open_run
from kikiwake.scoring import WindowScores, score_clips
from kikiwake.separation import separate_clips

FEW_GROUPS = 30
"""Below, a bootstrap over groups gives intervals that are too narrow (Cameron, Gelbach & Miller 2008)."""


@dataclass(frozen=True)
class Evaluation:
    """What a model is worth on some clips.

    `part`: "test", "validation" or "train" of `run`, or "out-of-fold". `folder`: where tables and pictures
    are. `scores`: each with its bootstrap interval, clustered by group. `notes`: what a reader of the scores
    must know. `about`: the settings under which they were reached.
    """

    run: Path
    folder: Path
    part: str
    scores: Mapping[str, Interval]
    clips: int
    groups: int
    multilabel: bool
    notes: Sequence[str]
    about: Mapping[str, Any]

    @property
    def main_score(self) -> str:
        """The score to name where there is room for one."""
        return "macro_average_precision" if self.multilabel else "accuracy"

    def plain(self) -> dict[str, Any]:
        """Return everything but the folders in JSON's types."""
        return {
            "kikiwake": __version__,
            "part": self.part,
            "clips": self.clips,
            "groups": self.groups,
            "multilabel": self.multilabel,
            **self.about,
            "scores": {name: score._asdict() for name, score in self.scores.items()},
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        table = [("score", "value", f"{LEVEL:.0%} interval")]
        table += [(name, shown(score.value), interval(score)) for name, score in self.scores.items()]
        return "\n".join(
            [
                f"{self.run}: {self.clips} {self.part} clips in {self.groups} groups",
                "",
                *aligned(table),
                "",
                *(f"note: {note}" for note in self.notes),
                f"tables and pictures: {self.folder}",
            ]
        )


def evaluate(
    run: str | Path | Run, *, part: str | None = None, out: Path | None = None, replicates: int = 1000
) -> Evaluation:
    """Score a run's clips with its own settings, and write tables and pictures.

    `part`: "test", "validation" or "train"; None takes the test clips where there are any, else those that
    validate, and notes that these chose the weights. `out`: where to write; None is `<run>/evaluation`, or a
    folder of the part's name in it for another part than the default one. `replicates`: resamples of whole
    groups behind the intervals; 0 leaves the intervals out. Single-label clips without a class are left out.

    Raises:
        RunError: training has not ended, or there are no such clips.
        AudioError: a recording cannot be read.
        StorageError: a file cannot be written.
    """
    if replicates < 0:
        raise RunError("there cannot be fewer than 0", where="replicates", value=replicates)
    run = run if isinstance(run, Run) else open_run(run)
    usual = _usual_part(run)
    part = part or usual
    rows = scored_rows(run, part=part)
    folder = out or run.folder / "evaluation" / ("" if part == usual else part)
    log = logger_for(None)
    log.info("evaluating %d %s clips of %s", len(rows), part, run.folder)
    with engine(run.recipe.engine) as computer:
        classifier = run.classifier().to(computer.device)
        classifier.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        data = run.recipe.data
        separate_clips(run.manifest, rows, data=data, computer=computer, say=log.info)
        loader = Loader(ClipDataset(run.manifest, data=data, seed=run.recipe.seed), data.workers, log.info)
        try:
            windows = score_clips(classifier, loader, indices=rows, recipe=run.recipe, engine=computer)
        finally:
            loader.close()
        aggregate = run.recipe.predict.aggregate
        clips = ScoredClips.of(
            run.manifest,
            rows=rows,
            probabilities=windows.clipwise(rows, aggregate=aggregate),
            recipe=run.recipe,
        )
        about = {
            "model": run.model_hash(),
            "windows": len(windows.clips),
            "split": run.recipe.split.model_dump(mode="json"),
            "predict": run.recipe.predict.model_dump(mode="json"),
        }
        scores = clips.scores(replicates=replicates)
        notes = [*_part_notes(run, part), *_left_out(run, part, rows), *group_notes(clips)]
        found = Evaluation(
            run.folder, folder, part, scores, len(rows), clips.group_count, clips.multilabel, notes, about
        )
        if computer.first:
            # Without it the folder counts as not evaluated, should this be interrupted.
            (folder / "scores.json").unlink(missing_ok=True)
            predictions(run, windows).write(folder / "predictions.csv")
            clips.write(folder, clips="clips.csv", replicates=replicates)
            write_json(folder / "scores.json", found.plain())
    return found


def _usual_part(run: Run) -> str:
    """Return the part that speaks for new recordings best: test clips, or failing those validation clips.

    Test clips that are still to be named cannot be judged by.
    """
    for part in ("test", "validation"):
        if _judgeable(run, part):
            return part
    return "test"


def _judgeable(run: Run, part: str) -> list[int]:
    """Return the rows of a part's clips that can be judged: all, or single-label those with a class."""
    rows = run.indices(part)
    if run.recipe.multilabel:
        return rows
    labels = run.manifest.class_ids()
    return [row for row in rows if labels[row] >= 0]


def scored_rows(run: Run, *, part: str) -> list[int]:
    """Return the rows of a part's clips that can be judged: all, or single-label those with a class.

    Raises:
        RunError: there are none.
    """
    if part not in SPLITS:
        raise RunError(
            "there is no such part", where=run.folder, value=part, remedy=f"give {', '.join(SPLITS)}"
        )
    rows = _judgeable(run, part)
    if not rows:
        there = ", ".join(f"{len(run.indices(name))} {name}" for name in SPLITS)
        raise RunError(
            f"this run has no labelled {part} clips (it has {there})",
            where=run.folder,
            remedy="name a part that has clips, or train with split.test set",
        )
    return rows


def predictions(run: Run, windows: WindowScores) -> Predictions:
    """Return the table of all windows, with times in the recordings."""
    rate = run.recipe.data.sample_rate
    clips = [run.manifest[int(row)] for row in windows.clips]
    starts = np.array([clip.start_seconds for clip in clips]) + windows.starts / rate
    return Predictions(
        [str(clip.path) for clip in clips],
        starts,
        starts + windows.frames / rate,
        windows.probabilities,
        run.manifest.classes,
    )


def _part_notes(run: Run, part: str) -> list[str]:
    if part == "train":
        return ["the model was trained on these clips: the scores say nothing about new recordings"]
    recipe = run.recipe
    chosen = any(
        stage.keep != "last" or stage.early_stopping or stage.schedule["name"] == "plateau"
        for stage in recipe.stages
    )
    if part == "validation" and chosen:
        return [
            "these clips chose the weights that were kept, so the scores flatter the model; for honest ones "
            "train with split.test set"
        ]
    return []


def _left_out(run: Run, part: str, rows: Sequence[int]) -> list[str]:
    missing = len(run.indices(part)) - len(rows)
    return [f"{missing} {part} clips without a class are left out"] if missing else []


def group_notes(clips: ScoredClips) -> list[str]:
    """Say where the groups are too few for the intervals to be trusted, and which classes have no clip."""
    notes = []
    if clips.group_count < 2:
        notes.append("all clips are of one group: there are no intervals, and no word on other groups")
    elif clips.group_count < FEW_GROUPS:
        notes.append(f"only {clips.group_count} groups: the intervals are rough, and rather too narrow")
    present = clips.targets.max(0) > 0
    absent = [name for number, name in enumerate(clips.classes) if not present[number]]
    if absent:
        notes.append(f"no clip of {', '.join(absent)}: nothing is said about them")
    return notes


def stored_evaluation(run: Run) -> Evaluation | None:
    """Return the evaluation in a run's directory, or None where there is none of its present model."""
    folder = run.folder / "evaluation"
    try:
        stored = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
        if stored["model"] != run.model_hash():
            return None
        return Evaluation(
            run=run.folder,
            folder=folder,
            scores={name: Interval(**score) for name, score in stored["scores"].items()},
            about={name: stored[name] for name in ("model", "windows", "split", "predict")},
            **{name: stored[name] for name in ("part", "clips", "groups", "multilabel", "notes")},
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def stored_probabilities(run: Run, *, rows: Sequence[int]) -> Any:
    """Return the probabilities `[N, K]` of the clips in `rows` that `evaluate` wrote for the usual part.

    Raises:
        RunError: the table is not there, or of other clips.
    """
    path = run.folder / "evaluation" / "clips.csv"
    return read_probabilities(path, classes=run.manifest.classes, clips=len(rows))
