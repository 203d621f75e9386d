"""Teachers: trained runs, and what each was trained on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from kikiwake._stage_clips import StageClips, stage_clips
from kikiwake._stage_tables import described, stage_table, table_hashes
from kikiwake.clip import COLUMNS, Clip
from kikiwake.ensembles import RECORD, Ensemble, open_ensemble
from kikiwake.errors import KikiwakeError, RunError
from kikiwake.joining import JoinBy
from kikiwake.recipe import Stage
from kikiwake.run import Run, open_run

TRAINED = ("train", "validation")
"""Clips of these splits shaped the weights: by gradients, or by choosing the epoch."""

PathLike = str | os.PathLike[str]


@dataclass(frozen=True, eq=False)
class Teacher:
    """A finished run; `model`: the hash of its weights; `weight`: how much its word counts."""

    run: Run
    model: str
    weight: float

    @cached_property
    def trained_on(self) -> Sequence[Clip]:
        """The clips that shaped the weights: the run's, and those of stages with data of their own.

        Raises:
            RunError: a stage's data are no longer there, so that nobody can tell.
        """
        return [
            *_own(self.run),
            *(clip for stage in self.run.recipe.stages for clip in _beside(self.run, stage)),
        ]

    @property
    def can_be_judged(self) -> bool:
        """Whether there are labelled clips that are held out."""
        labels = self.run.manifest.class_ids()
        held_out = [row for part in ("test", "validation") for row in self.run.indices(part)]
        return any(labels[row] >= 0 for row in held_out)

    def scores(self) -> dict[str, Any] | None:
        """Return what `evaluate` has stored of this model: part, clips, scores and notes; None without it."""
        try:
            text = (self.run.folder / "evaluation" / "scores.json").read_text(encoding="utf-8")
            stored = json.loads(text)
            if stored["model"] != self.model:
                return None
            scores = {name: score["value"] for name, score in stored["scores"].items()}
            return {**{key: stored[key] for key in ("part", "clips", "notes")}, "scores": scores}
        except (OSError, ValueError, LookupError, TypeError):
            return None


def told_apart(paths: Sequence[PathLike]) -> tuple[list[Path], list[Path]]:
    """Return which of some paths are runs, cross-validations or ensembles, and the others."""
    known = {path: (Path(path) / RECORD).is_file() or bool(_runs_in(Path(path))) for path in paths}
    return [Path(path) for path in paths if known[path]], [Path(path) for path in paths if not known[path]]


def open_teachers(
    runs: Sequence[PathLike | Run | Ensemble],
    weights: Sequence[float] | None,
    *,
    join: JoinBy | None = None,
) -> list[Teacher]:
    """Open runs; the folder of a cross-validation stands for its folds, an ensemble for its members.

    `weights`: one for each of `runs`. The folds of a cross-validation each have that of their folder, members
    of an ensemble share that of theirs, by their own weights. `join`: how teachers become one.

    Raises:
        RunError: one is no run, is not trained to the end, stands there twice, knows other classes, or is an
            ensemble that is joined in another way than `join`.
        KikiwakeError: the weights do not fit, or a class has a name that no table of labels can hold.
    """
    if not runs:
        raise RunError("no teacher is named", remedy="give finished run directories, or folders of crossval")
    if weights is not None and (len(weights) != len(runs) or not all(weight > 0 for weight in weights)):
        remedy = f"give {len(runs)} numbers"
        raise KikiwakeError(
            "one weight above 0 a run is needed", where="weights", value=list(weights), remedy=remedy
        )
    teachers: list[Teacher] = []
    for number, named in enumerate(runs):
        for run, share in _opened(named, join=join):
            run.check_finished()
            weight = 1.0 if weights is None else float(weights[number])
            teachers.append(Teacher(run, run.model_hash(), weight * share))
    _check_alike(teachers)
    return teachers


def teacher_names(teachers: Sequence[Teacher]) -> list[str]:
    """Return the folders' names, or their paths where two have the same."""
    names = [teacher.run.folder.name for teacher in teachers]
    if len(set(names)) == len(names):
        return names
    return [teacher.run.folder.as_posix() for teacher in teachers]


def _own(run: Run) -> Iterator[Clip]:
    """Yield the clips of a run that train or validate; without a label that is asked for, they do neither."""
    manifest = run.manifest
    all_count = run.recipe.multilabel or manifest.soft is not None
    return (clip for clip in manifest if clip.split in TRAINED and (all_count or clip.label is not None))


def _beside(run: Run, stage: Stage) -> list[Clip]:
    """Return the clips of a stage that has other data than its run.

    Raises:
        RunError: its tables are gone, or no longer what it was trained on.
    """
    if stage.manifest is None and stage.pseudo is None:
        return []
    about = described(run, stage) or {}
    if about.get("left_out"):
        return []
    data = about.get("data", {})
    count = data.get("pseudo_labelled_clips")
    table = None if stage.pseudo is None or count == 0 else stage_table(run, stage)
    if table is not None and not table.is_file():
        if count is not None or run.finished or (stage.pseudo and stage.pseudo.table):
            raise _unknown(run, stage, f"{table} is gone")
        table = None  # nothing is labelled yet
    try:
        clips = stage_clips(run, stage, pseudo=table)
    except KikiwakeError as error:
        raise _unknown(run, stage, str(error)) from error
    if not _as_trained(run, stage, clips, data):
        raise _unknown(run, stage, "its table is no longer what it was when the stage was trained")
    return [clips.manifest[row] for row in clips.rows]


def _as_trained(run: Run, stage: Stage, clips: StageClips, data: Mapping[str, Any]) -> bool:
    """Say whether the tables of a stage are those that `provenance` has noted, where it has."""
    if "own_manifest" in data:
        now = table_hashes(run, stage)
        asked = ["own_manifest"] + ["pseudo_labels"] * bool(data["pseudo_labelled_clips"])
        return all(data[name] == now[name] for name in asked)
    return "manifest" not in data or bool(data["manifest"] == clips.manifest.hash())


def _unknown(run: Run, stage: Stage, why: str) -> RunError:
    return RunError(
        f"nobody can tell what its stage '{stage.name}' was trained on: {why}",
        where=run.folder,
        remedy="bring that table back as it was, or name other teachers",
    )


def _opened(named: PathLike | Run | Ensemble, *, join: JoinBy | None) -> Iterator[tuple[Run, float]]:
    """Yield the runs that a name stands for, and the weight of each; those of an ensemble sum to 1.

    Raises:
        RunError: it is no run, nor a cross-validation or ensemble, or joined in another way.
    """
    if isinstance(named, Run):
        yield named, 1.0
    elif isinstance(named, Ensemble):
        if join is not None and named.by != join:
            raise RunError(
                f"this ensemble is joined by {named.by}, and teachers by {join}",
                where=named.folder,
                remedy=f"join teachers by {named.by} (--join {named.by}), or name its members",
            )
        own = named.weights or [1.0] * len(named.members)
        for member, weight in zip(named.members, own, strict=True):
            if weight > 0:
                part = weight / sum(own)
                yield from ((run, part * share) for run, share in _opened(member, join=join))
    elif (Path(named) / RECORD).is_file():
        yield from _opened(open_ensemble(Path(named)), join=join)
    else:
        folders = _runs_in(Path(named)) or [Path(named)]  # which open_run then refuses
        yield from ((open_run(folder), 1.0) for folder in folders)


def _runs_in(folder: Path) -> list[Path]:
    """Return the run directories that a folder stands for; none where it is something else."""
    if (folder / "recipe.yaml").is_file():
        return [folder]
    inside = [path.parent for path in folder.glob("fold*/recipe.yaml")]
    return sorted(inside, key=lambda path: (len(path.name), path.name))


def _check_alike(teachers: Sequence[Teacher]) -> None:
    """Refuse teachers that cannot teach together."""
    first = teachers[0].run
    models: dict[str, Path] = {}
    for teacher in teachers:
        run = teacher.run
        if teacher.model in models:
            what = f"the same model as {models[teacher.model]}: it would count twice"
            raise RunError(what, where=run.folder, remedy="name each teacher once")
        models[teacher.model] = run.folder
        same = run.manifest.classes == first.manifest.classes
        if not same or run.recipe.multilabel != first.recipe.multilabel:
            what = f"it does not tell the same classes apart in the same way as {first.folder}"
            remedy = "name runs of one manifest whose losses are of one kind"
            raise RunError(what, where=run.folder, remedy=remedy)
    for name in first.manifest.classes:
        if name in COLUMNS or ";" in name or not name:
            raise KikiwakeError(
                "a manifest of soft labels cannot have a class of this name", value=name, remedy="rename it"
            )
