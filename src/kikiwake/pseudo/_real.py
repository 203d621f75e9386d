"""The labelled clips that the teachers come from, and the manifests that are written."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kikiwake.clip import Clip
from kikiwake.folds import to_be_named
from kikiwake.manifest import Manifest
from kikiwake.predictions import Predictions
from kikiwake.pseudo._guards import Assignment
from kikiwake.pseudo._selection import Selection
from kikiwake.pseudo._teachers import Teacher

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Stretch = tuple[str, float, float | None]


def real_clips(teachers: Sequence[Teacher], *, secondary: float) -> Manifest:
    """Return the clips of all teachers, each once, with soft labels and the splits that teachers agree on.

    `secondary`: label of secondary classes. Clips that train one teacher and test another, as in a
    cross-validation, have no split, and keep their folds.
    """
    clips: dict[Stretch, Clip] = {}
    labels = []
    for teacher in teachers:
        manifest = teacher.run.manifest
        targets = manifest.targets(secondary=secondary)
        for row, clip in enumerate(manifest):
            before = clips.setdefault(stretch(clip), clip)
            if before is clip:
                labels.append(targets[row])
            elif before.split != clip.split:
                clips[stretch(clip)] = replace(before, split=None)
    classes = teachers[0].run.manifest.classes
    return Manifest(list(clips.values()), classes, np.array(labels, np.float32).reshape(-1, len(classes)))


def real_counts(teachers: Sequence[Teacher]) -> Floats:
    """Return how many labelled clips of each class trained one of the teachers. Shape: `[K]`."""
    counted: dict[Stretch, int] = {}
    for teacher in teachers:
        manifest = teacher.run.manifest
        for clip, number in zip(manifest, manifest.class_ids().tolist(), strict=True):
            if clip.split == "train" and number >= 0:
                counted.setdefault(stretch(clip), number)
    found = np.bincount(list(counted.values()), minlength=len(teachers[0].run.manifest.classes))
    return found.astype(np.float64)


def stretch(clip: Clip) -> Stretch:
    """Return what no two clips of a manifest share."""
    return os.path.abspath(clip.path), clip.start_seconds, clip.end  # noqa: PTH100 - links stay links


def may_train(
    windows: Predictions, recordings: Mapping[str, Path], assignment: Assignment, *, real: Manifest
) -> Flags:
    """Return which windows may train: not those of recordings that judge, nor stretches that are labelled.

    Shape: `[W]`.
    """
    labelled = {stretch(clip) for clip in real}
    judging = {name for name, path in recordings.items() if path in assignment.held_out}
    whole = {name: os.path.abspath(path) for name, path in recordings.items()}  # noqa: PTH100
    rows = zip(windows.paths, windows.starts.tolist(), windows.ends.tolist(), strict=True)
    free = [name not in judging and (whole[name], start, end) not in labelled for name, start, end in rows]
    return np.array(free, dtype=np.bool_)


def pseudo_clips(
    windows: Predictions,
    selection: Selection,
    *,
    recordings: Mapping[str, Path],
    groups: Mapping[Path, str],
    headers: Mapping[str, tuple[int, int]],
    folder: Path,
    weight: float,
) -> Manifest:
    """Return the windows that train as a manifest of soft labels.

    A clip's group is that of its recording, where it is known, else the recording's path from `folder` on.
    """
    clips = []
    trains = selection.trains
    for row, number in zip(selection.rows[trains].tolist(), selection.classes[trains].tolist(), strict=True):
        name = windows.paths[row]
        path = recordings[name]
        frames, sample_rate = headers[name]
        clips.append(
            Clip(
                path=path,
                label=windows.classes[number],
                class_id=number,
                fold=None,
                frames=frames,
                sr=sample_rate,
                start=float(windows.starts[row]),
                end=float(windows.ends[row]),
                group=groups.get(path) or Path(os.path.relpath(path, folder)).as_posix(),
                split="train",
                weight=weight,
            )
        )
    return Manifest(clips, windows.classes, selection.labels[trains])


def combined(real: Manifest, pseudo: Manifest, *, multilabel: bool) -> Manifest:
    """Return the real clips, and behind them the pseudo labels.

    A clip without a class is left out where it is none of the examples: where classes exclude each other, and
    where it was there to be named and its recording has pseudo labels now.
    """
    named = {stretch(clip)[0] for clip in pseudo}
    without = real.class_ids() < 0
    if multilabel:
        without = to_be_named(real) & np.array([stretch(clip)[0] in named for clip in real], np.bool_)
    left = real.select(np.flatnonzero(~without))
    assert left.soft is not None
    assert pseudo.soft is not None
    return Manifest(
        [*left.clips, *pseudo.clips], real.classes, np.concatenate([left.soft, pseudo.soft], axis=0)
    )
