"""Ensembles: several trained models that speak as one, wherever a run can.

An ensemble is a folder with ensemble.json: where its members lie, a hash of each one's model, how they are
joined and with which weights. Nothing is copied, so that a member which moves away or is trained again is
missed; paths to members nearby are relative, so that all of them can move together.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kikiwake import __version__
from kikiwake.errors import KikiwakeError, RunError, listed
from kikiwake.files import content_hash, refuse_to_replace, write_json
from kikiwake.joining import JoinBy, join_probabilities
from kikiwake.run import Run, open_run
from kikiwake.scoring import window_frames

RECORD = "ensemble.json"
"""The file that makes a folder an ensemble."""

_STEPS_UP = 2
"""How far up from an ensemble its members may lie to be found from it and not from the root."""
_SPOKEN = {"mean": "mean", "max": "largest probability", "vote": "vote"}

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Ensemble:
    """Trained models that are joined into one.

    `folder`: where the ensemble and its evaluation are. `members`: runs, or ensembles of their own, which
    are joined first. `by`, `weights`: as for `join_probabilities`. Classes stand in the first member's order.

    Raises:
        RunError: the members tell other classes apart, or some are multi-label and some are not.
    """

    folder: Path
    members: Sequence[Run | Ensemble]
    by: JoinBy = "mean"
    weights: Sequence[float] | None = None

    def __post_init__(self) -> None:
        first = self.members[0]
        for other in self.members[1:]:
            alone = [name for name in first.classes if name not in other.classes]
            besides = [name for name in other.classes if name not in first.classes]
            if alone or besides:
                differences = [f"only the first knows {listed(alone)}"] if alone else []
                differences += [f"only the second knows {listed(besides)}"] if besides else []
                raise RunError(
                    f"{first.folder} and {other.folder} tell other classes apart: {'; '.join(differences)}",
                    remedy="join models of the same classes",
                )
            if first.multilabel != other.multilabel:
                one, two = (first, other) if first.multilabel else (other, first)
                raise RunError(
                    f"{one.folder} judges classes one by one (multi-label), {two.folder} against each other",
                    remedy="join models of one kind",
                )

    @property
    def classes(self) -> list[str]:
        """What the models tell apart, in the first one's order."""
        return self.members[0].classes

    @property
    def multilabel(self) -> bool:
        """Whether classes are judged one by one and not against each other."""
        return self.members[0].multilabel

    @property
    def runs(self) -> list[Run]:
        """The runs that it comes down to."""
        return [run for one in self.members for run in (one.runs if isinstance(one, Ensemble) else [one])]

    def model_hash(self) -> str:
        """Return a hash of what the ensemble knows: its record, which holds the hashes of its members."""
        return content_hash(self.folder / RECORD)

    def join(self, probabilities: Sequence[Floats]) -> Floats:
        """Join what the members say. Shape: `[..., K]` of each, classes in its own order -> same."""
        columns = [[one.classes.index(name) for name in self.classes] for one in self.members]
        ordered = [own[..., order] for own, order in zip(probabilities, columns, strict=True)]
        return join_probabilities(ordered, by=self.by, weights=self.weights)

    def joined(self, said_by: Callable[[Run], Floats]) -> Floats:
        """Join what `said_by` gives of each run: in one step, or several where members are ensembles."""
        return self.join(
            [one.joined(said_by) if isinstance(one, Ensemble) else said_by(one) for one in self.members]
        )

    def __str__(self) -> str:
        weights = self.weights or [1.0] * len(self.members)
        cells = [
            (str(one.folder), f"weight {weight:g}" if self.weights else "", _described(one))
            for one, weight in zip(self.members, weights, strict=True)
        ]
        widths = [max(len(row[column]) for row in cells) for column in range(2)]
        count = f"{len(self.members)} model{'s' * (len(self.members) != 1)}"
        how = f"{'weighted ' * (self.weights is not None)}{_SPOKEN[self.by]}"
        lines = [
            f"{self.folder}: {count} joined by {how}, {len(self.classes)} classes: {listed(self.classes)}"
        ]
        lines += [f"  {a.ljust(widths[0])}  {b.ljust(widths[1])}".rstrip() + f"  {c}" for a, b, c in cells]
        if len({_windows(run) for run in self.runs}) > 1:
            lines.append("note: their windows differ, so that `predict` must be told --window-seconds")
        return "\n".join(lines)


def ensemble(
    runs: Sequence[str | Path | Run | Ensemble],
    *,
    out: str | Path,
    by: JoinBy = "mean",
    weights: Sequence[float] | None = None,
) -> Ensemble:
    """Join trained models into an ensemble in the folder `out`, which can be used wherever a run can.

    `runs`: run directories, folders of `crossvalidate`, whose folds become members each, or other ensembles,
    which are members as they are. `by`: "mean" is the weighted mean of probabilities, "max" the largest,
    "vote" the weighted share of members whose probability is at least a half. `weights`: one for each of
    `runs`, by default all alike; every fold of a cross-validation takes its folder's.

    Raises:
        RunError: one of them is no trained model, they do not fit together, or the folder holds other things.
        KikiwakeError: there is no such way to join, or the weights do not fit.
        StorageError: the folder cannot be written.
    """
    folder = Path(out)
    named = [one.folder if isinstance(one, Run | Ensemble) else Path(one) for one in runs]
    if not named:
        raise RunError("an ensemble needs a model", remedy="name run directories or folders of crossval")
    if weights is not None and len(weights) != len(named):
        raise RunError(
            f"{len(named)} are named and {len(weights)} weights are given",
            where="weights",
            value=list(weights),
            remedy="give one for each that is named, in the same order",
        )
    folders: list[Path] = []
    spread: list[float] = []
    for number, path in enumerate(named):
        found = _members_in(path)
        folders += found
        spread += [1.0 if weights is None else float(weights[number])] * len(found)
    _refuse_twice(folders)
    own = None if weights is None else spread
    join_probabilities([np.zeros(1, np.float32)] * len(folders), by=by, weights=own)  # refuses what is wrong
    members = [open_model(path) for path in folders]
    for run in (one for one in members if isinstance(one, Run)):
        run.check_finished()
    made = Ensemble(folder, members, by, own)
    record = {
        "kikiwake": __version__,
        "by": by,
        "weights": own,
        "members": [{"path": _portable(one.folder, folder), "model": one.model_hash()} for one in members],
    }
    before = _record_before(folder)
    if before is not None and _place_and_way(before) != _place_and_way(record):
        raise RunError(
            "this folder holds another ensemble",
            where=folder,
            remedy="choose another one with --out, or remove this one",
        )
    if before is None or before["members"] != record["members"]:
        write_json(folder / RECORD, record)
    return made


def open_model(folder: str | Path) -> Run | Ensemble:
    """Open a run directory or an ensemble.

    Raises:
        RunError: it is neither, or an ensemble's member is gone or was changed.
    """
    folder = Path(folder)
    if (folder / RECORD).is_file():
        return open_ensemble(folder)
    if not (folder / "recipe.yaml").is_file() and (folder / "out_of_fold.csv").is_file():
        raise RunError(
            "this is a cross-validation, which has a model for each fold",
            where=folder,
            remedy="name one of its folders, or join them first: kikiwake ensemble",
        )
    return open_run(folder)


def open_ensemble(folder: str | Path) -> Ensemble:
    """Open an ensemble.

    Raises:
        RunError: it is none, or a member is gone or was changed since the ensemble was made.
    """
    folder = Path(folder)
    remedy = "make the ensemble again with `kikiwake ensemble`"
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        members = [(str(one["path"]), str(one["model"])) for one in record["members"]]
        by, weights = record["by"], record["weights"]
        join_probabilities([np.zeros(1, np.float32)] * len(members), by=by, weights=weights)
    except (OSError, ValueError, LookupError, TypeError, KikiwakeError) as error:
        raise RunError(f"not an ensemble: {error}", where=folder / RECORD, remedy=remedy) from error
    opened: list[Run | Ensemble] = []
    for path, known in members:
        place = _found(folder, path)
        if not any((place / name).is_file() for name in (RECORD, "recipe.yaml")):
            raise RunError(
                "a member of this ensemble is gone",
                where=folder,
                value=str(place),
                remedy=f"put it back, or {remedy}",
            )
        run = None if (place / RECORD).is_file() else open_run(place)
        # The hash is looked at before an ensemble is opened: two that were made to hold each other would
        # never be done.
        if (content_hash(place / RECORD) if run is None else run.model_hash()) != known:
            raise RunError(
                "a member is no longer what it was when this ensemble was made",
                where=folder,
                value=str(place),
                remedy=remedy,
            )
        opened.append(run or open_ensemble(place))
    return Ensemble(folder, opened, by, weights)


def _members_in(folder: Path) -> list[Path]:
    """Return the folders of the models that a folder holds: itself, or the folds of a cross-validation.

    Raises:
        RunError: it is none of these, or the cross-validation is not finished.
    """
    if any((folder / name).is_file() for name in (RECORD, "recipe.yaml")):
        return [folder]
    try:
        folds = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["folds"]
        return [folder / f"fold{number}" for number in folds]
    except (OSError, ValueError, LookupError, TypeError):
        pass
    if any(folder.glob("fold*/recipe.yaml")):
        raise RunError(
            "this cross-validation is not finished",
            where=folder,
            remedy="run the same `kikiwake crossval` command again: it goes on where it stopped",
        )
    raise RunError(
        "neither a run directory, nor a finished cross-validation, nor an ensemble",
        where=folder,
        remedy="give what `kikiwake train` or `kikiwake crossval` named in its first line",
    )


def _refuse_twice(folders: Sequence[Path]) -> None:
    seen: set[Path] = set()
    for folder in folders:
        if folder.resolve() in seen:
            raise RunError(
                "this model is named twice", where=folder, remedy="to count it for more, give weights"
            )
        seen.add(folder.resolve())


def _record_before(folder: Path) -> dict[str, Any] | None:
    """Return the record that an ensemble's folder holds already, None where it may become one.

    Raises:
        RunError: there are other things in the folder.
        StorageError: a file of the record's name is none.
    """
    refuse_to_replace(folder / RECORD, beginnings=['{\n  "kikiwake": '], is_a="description of an ensemble")
    if (folder / RECORD).is_file():
        try:
            record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            record = {}
        return record if isinstance(record, dict) else {}
    if folder.exists() and not folder.is_dir():
        raise RunError("this is a file, not a folder", where=folder, remedy="choose another one with --out")
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    foreign = [path for path in inside if not path.name.startswith(".")]
    if foreign:
        raise RunError(
            f"this folder holds other things, such as {foreign[0].name}",
            where=folder,
            remedy="choose a new or empty one with --out",
        )
    return None


def _place_and_way(record: dict[str, Any]) -> Any:
    """Return what tells ensembles apart: where members lie and how they are joined, not their models."""
    try:
        return [one["path"] for one in record["members"]], record["by"], record["weights"]
    except (LookupError, TypeError):
        return None


def _portable(member: Path, folder: Path) -> str:
    """Return a member's path from the ensemble's folder, or from the root where that is far away."""
    relative = Path(os.path.relpath(member.resolve(), folder.resolve()))
    return (relative if relative.parts.count("..") <= _STEPS_UP else member.resolve()).as_posix()


def _found(folder: Path, path: str) -> Path:
    """Return where a member lies: as short as the ensemble's folder was named, if links do not forbid it."""
    true = (folder.resolve() / path).resolve()
    short = Path(os.path.normpath(folder / path))
    return short if short.resolve() == true else true


def _described(model: Run | Ensemble) -> str:
    """Say in a few words what a member is."""
    if isinstance(model, Ensemble):
        return f"ensemble of {len(model.members)}, joined by {_SPOKEN[model.by]}"
    recipe = model.recipe
    parts = f"{recipe.model['name']} on {recipe.frontend['name']}"
    return f"{parts}, {recipe.data.sample_rate} Hz, {_windows(model)}"


def _windows(run: Run) -> str:
    """Say which windows a run hears."""
    window, hop = window_frames(run.recipe)
    if window is None or hop is None:
        return "whole recordings"
    rate = run.recipe.data.sample_rate
    return f"windows of {window / rate:g} s every {hop / rate:g} s"
