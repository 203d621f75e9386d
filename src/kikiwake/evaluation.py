"""Judges a trained model by clips that were held out: scores with intervals, tables and pictures.

predictions.csv                   a row a window: path, row_id, start, end, predicted, one column a class
clips.csv                         a row a clip: its class, what was predicted, one probability a class
classes.csv class_scores.png      precision, recall, F1, ROC-AUC and average precision of each class
confusion.csv confusion.png       which classes are taken for which
reliability.csv reliability.png   how often the model is right, by how sure it is
scores.json                       every score with its interval; written last

An ensemble has all of these but predictions.csv, for its members may cut a clip into other windows each: it
joins what they say of whole clips.

Multi-label runs have no confusion matrix: a clip may have several classes or none, so that there is no one
class that another is taken for. Their reliability counts every clip and class, their accuracy is the share of
clips with every class right, and a class counts as predicted from a probability of a half.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kikiwake import __version__
from kikiwake._bootstrap import Interval
from kikiwake._held_out import same_clips
from kikiwake._score_table import aligned, interval, shown
from kikiwake._scored_clips import LEVEL, ScoredClips, read_probabilities
from kikiwake.data import ClipDataset
from kikiwake.engine import engine
from kikiwake.ensembles import Ensemble, open_model
from kikiwake.errors import RunError
from kikiwake.files import write_json
from kikiwake.loader import Loader
from kikiwake.predictions import Predictions
from kikiwake.run import SPLITS, Run, logger_for
from kikiwake.scoring import WindowScores, score_clips
from kikiwake.separation import separate_clips

FEW_GROUPS = 30
"""Below, a bootstrap over groups gives intervals that are too narrow (Cameron, Gelbach & Miller 2008)."""


@dataclass(frozen=True)
class Evaluation:
    """What a model is worth on some clips.

    `run`: a run's or an ensemble's folder. `part`: "test", "validation" or "train" of it, or "out-of-fold".
    `folder`: where tables and pictures are. `scores`: each with its bootstrap interval, clustered by group.
    `notes`: what a reader of the scores must know. `about`: the settings under which they were reached.
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
    run: str | Path | Run | Ensemble,
    *,
    part: str | None = None,
    out: Path | None = None,
    replicates: int = 1000,
) -> Evaluation:
    """Score the clips of a run or an ensemble with its own settings, and write tables and pictures.

    The members of an ensemble must hold out the same clips; those that are not evaluated yet are, first, in
    their own folders. `part`: "test", "validation" or "train"; None takes the test clips where there are any,
    else those that validate, and notes that these chose the weights. `out`: where to write; None is
    `<run>/evaluation`, or a folder of the part's name in it for another part than the default one.
    `replicates`: resamples of whole groups behind the intervals; 0 leaves the intervals out. Single-label
    clips without a class are left out.

    Raises:
        RunError: training has not ended, there are no such clips, or members hold out different ones.
        AudioError: a recording cannot be read.
        StorageError: a file cannot be written.
    """
    if replicates < 0:
        raise RunError("there cannot be fewer than 0", where="replicates", value=replicates)
    model = run if isinstance(run, Run | Ensemble) else open_model(run)
    part = part or _usual_part(model)
    folder = out or _folder(model, part)
    if isinstance(model, Ensemble):
        return _evaluate_ensemble(model, part=part, folder=folder, replicates=replicates)
    return _evaluate_run(model, part=part, folder=folder, replicates=replicates)


def _evaluate_run(run: Run, *, part: str, folder: Path, replicates: int) -> Evaluation:
    """Score a part of a run's clips."""
    rows = scored_rows(run, part=part)
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
        notes = [*_part_notes(run, part), *_left_out(run, part, rows), *group_notes(clips)]
        found = _judged(clips, run, folder, part=part, notes=notes, about=about, replicates=replicates)
        if computer.first:
            table = predictions(run, windows)
            _write(found, clips, windows=table, replicates=replicates)
    return found


def _evaluate_ensemble(ensemble: Ensemble, *, part: str, folder: Path, replicates: int) -> Evaluation:
    """Judge an ensemble by what its members say of a part of the clips, which must be the same for all.

    Raises:
        RunError: they are not, or several processes were started.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RunError(
            "an ensemble is not evaluated under torchrun",
            where=ensemble.folder,
            remedy="evaluate each member with `torchrun ... evaluate RUN`, and then the ensemble without",
        )
    runs = ensemble.runs
    rows = same_clips(runs, [scored_rows(run, part=part) for run in runs], part=part)
    said: dict[Path, Any] = {}
    for run, own in zip(runs, rows, strict=True):
        if stored_evaluation(run, part=part) is None:
            _evaluate_run(run, part=part, folder=_folder(run, part), replicates=replicates)
        stored = stored_probabilities(run, rows=own, part=part)
        said[run.folder] = stored[np.searchsorted(np.sort(own), own)]  # tables have the manifest's order
    first = runs[0]
    joined = ensemble.joined(lambda run: said[run.folder])
    clips = ScoredClips.of(first.manifest, rows=rows[0], probabilities=joined, recipe=first.recipe)
    about = {
        "model": ensemble.model_hash(),
        "members": [str(run.folder) for run in runs],
        "by": ensemble.by,
        "weights": ensemble.weights,
    }
    notes = [note for run in runs for note in _part_notes(run, part)]
    notes = [*dict.fromkeys(notes), *_left_out(first, part, rows[0]), *group_notes(clips)]
    found = _judged(clips, ensemble, folder, part=part, notes=notes, about=about, replicates=replicates)
    _write(found, clips, windows=None, replicates=replicates)
    return found


def _judged(
    clips: ScoredClips,
    model: Run | Ensemble,
    folder: Path,
    *,
    part: str,
    notes: Sequence[str],
    about: Mapping[str, Any],
    replicates: int,
) -> Evaluation:
    """Return the scores of clips, with what a reader must know of them."""
    return Evaluation(
        run=model.folder,
        folder=folder,
        part=part,
        scores=clips.scores(replicates=replicates),
        clips=len(clips.clips),
        groups=clips.group_count,
        multilabel=clips.multilabel,
        notes=notes,
        about=about,
    )


def _write(found: Evaluation, clips: ScoredClips, *, windows: Predictions | None, replicates: int) -> None:
    """Write all tables and pictures, and the scores at the end."""
    # Without it the folder counts as not evaluated, should this be interrupted.
    (found.folder / "scores.json").unlink(missing_ok=True)
    if windows is not None:
        windows.write(found.folder / "predictions.csv")
    clips.write(found.folder, clips="clips.csv", replicates=replicates)
    write_json(found.folder / "scores.json", found.plain())


def _usual_part(model: Run | Ensemble) -> str:
    """Return the part that speaks for new recordings best: test clips, or failing those validation clips.

    Test clips that are still to be named cannot be judged by. In an ensemble all members must have some.
    """
    runs = model.runs if isinstance(model, Ensemble) else [model]
    for part in ("test", "validation"):
        if all(_judgeable(run, part) for run in runs):
            return part
    return "test"


def _folder(model: Run | Ensemble, part: str | None) -> Path:
    """Return where the evaluation of a part is, by default of the usual one."""
    return model.folder / "evaluation" / ("" if part in (None, _usual_part(model)) else str(part))


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


def stored_evaluation(model: Run | Ensemble, *, part: str | None = None) -> Evaluation | None:
    """Return the evaluation of a part, by default the usual one, that a run's or an ensemble's folder holds.

    None where there is none of its present model.
    """
    folder = _folder(model, part)
    try:
        stored = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
        if stored["model"] != model.model_hash():
            return None
        own = {name: stored.pop(name) for name in ("part", "clips", "groups", "multilabel", "notes")}
        scores = {name: Interval(**score) for name, score in stored.pop("scores").items()}
        del stored["kikiwake"]
        return Evaluation(run=model.folder, folder=folder, scores=scores, about=stored, **own)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def stored_probabilities(run: Run, *, rows: Sequence[int], part: str | None = None) -> Any:
    """Return the probabilities `[N, K]` of the clips in `rows` that `evaluate` wrote for a part.

    `part`: by default the usual one.

    Raises:
        RunError: the table is not there, or of other clips.
    """
    path = _folder(run, part) / "clips.csv"
    return read_probabilities(path, classes=run.manifest.classes, clips=len(rows))
