"""What can be wrong with a manifest, found before training starts, all in one table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from kikiwake.errors import listed
from kikiwake.manifest import Manifest
from kikiwake.tables import Problem, Problems


def check(
    manifest: Manifest, *, training: Iterable[int] | None = None, multilabel: bool = False, files: bool = True
) -> list[Problem]:
    """Return the warnings about a manifest; raise one table if there are errors.

    `training`: the rows that train, by default all. `multilabel`: clips may have no class, classes may have
    no training clip, and one class is enough. `files`: look whether recordings exist.

    Raises:
        ManifestError: no clip, only one class, a class without a training clip, an unlabelled training clip,
            two rows of the same stretch, or recordings that are missing.
    """
    rows = range(len(manifest)) if training is None else training
    problems = Problems()
    _check_classes(manifest, [int(row) for row in rows], problems, multilabel=multilabel)
    _check_folds(manifest, problems)
    _check_stretches(manifest, problems)
    if files:
        _check_files(manifest, problems)
    problems.raise_errors("the manifest cannot be trained on as it is")
    return problems.warnings


def _classes_of(manifest: Manifest, rows: Sequence[int]) -> set[str]:
    """Return the classes that the clips in `rows` name, as their own or as secondary ones, or softly."""
    if manifest.soft is not None:
        present = np.any(manifest.soft[list(rows)] > 0, axis=0).tolist()
        return {name for name, there in zip(manifest.classes, present, strict=True) if there}
    clips = [manifest[row] for row in rows]
    return {name for clip in clips for name in (clip.label, *clip.secondary) if name is not None}


def _check_classes(manifest: Manifest, training: list[int], problems: Problems, *, multilabel: bool) -> None:
    if len(manifest.classes) < 2 and not multilabel:
        what = f"one class only: {', '.join(manifest.classes) or 'none at all'}"
        problems.error("classes", what, "bring clips of a second class: there is nothing to tell apart")
    if not training:
        problems.error("train", "there is no clip to train on", "bring labelled clips, or hold out less")
        return
    present = _classes_of(manifest, training)
    absent = [name for name in manifest.classes if name not in present]
    if absent and multilabel:
        remedy = "the model learns never to hear it, and scores of such clips say so"
        problems.warning("train", _without_a_clip(absent, "train"), remedy)
    for name in () if multilabel else absent:
        remedy = "bring clips of it, move its groups to train, or drop the class"
        problems.error("train", _without_a_clip([name], "train"), remedy)
    unlabelled = int((manifest.class_ids()[training] < 0).sum())
    if unlabelled:
        note = problems.warning if multilabel else problems.error
        remedy = "they count as clips of no class" if multilabel else "label them, or take them out"
        note("train", f"{unlabelled} clip{'s' * (unlabelled != 1)} without a class", remedy)


def _check_folds(manifest: Manifest, problems: Problems) -> None:
    everywhere = _classes_of(manifest, range(len(manifest)))
    rows: dict[int | None, list[int]] = {}
    for row, clip in enumerate(manifest):
        rows.setdefault(clip.fold, []).append(row)
    for fold in manifest.folds():
        present = _classes_of(manifest, rows[fold])
        absent = [name for name in manifest.classes if name in everywhere and name not in present]
        if absent:
            what = _without_a_clip(absent, f"fold {fold}")
            problems.warning(f"fold {fold}", what, "scores on this fold say nothing about it")


def _without_a_clip(names: Sequence[str], where: str) -> str:
    """Say that classes have no clip somewhere, the first ten by name."""
    if len(names) == 1:
        return f"class '{names[0]}' has no clip in {where}"
    quoted = [f"'{name}'" for name in names]
    return f"{len(names)} classes have no clip in {where}: {listed(quoted, shown=10)}"


def _check_stretches(manifest: Manifest, problems: Problems) -> None:
    for stretch, count in Counter((clip.path, clip.start_seconds, clip.end) for clip in manifest).items():
        if count > 1:
            path, start, end = stretch
            until = "the end" if end is None else f"{end:g} s"
            what = f"{count} rows of the same stretch, {start:g} s to {until}"
            problems.error(str(path), what, "keep one row; name further classes in 'secondary'")
    for clip in manifest:
        length = clip.frames / clip.sr
        if clip.start_seconds >= length:
            what = f"start {clip.start_seconds:g} s lies behind the recording's {length:.3f} s"
            problems.error(str(clip.path), what, "mend the row, or take it out")
        elif clip.end is not None and clip.end > length + 0.05:
            what = f"end {clip.end:g} s lies behind the recording's {length:.3f} s"
            problems.warning(str(clip.path), what, "the clip ends with the recording")


def _check_files(manifest: Manifest, problems: Problems) -> None:
    for path in dict.fromkeys(clip.path for clip in manifest):
        if not path.is_file():
            problems.error(str(path), "the recording is missing", "bring it back, or prepare the data anew")
