"""The clips that several runs hold out, which must be the same ones where they are judged together."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

import numpy as np

from kikiwake.errors import RunError
from kikiwake.run import Run

Key = tuple[str, str, str, str, int]


def same_clips(runs: Sequence[Run], rows: Sequence[Sequence[int]], *, part: str) -> list[list[int]]:
    """Return the rows of each run's manifest where the same clips stand, in the order of the first run's.

    `rows`: those of each run's own clips. `part`: what they are to the runs, for messages.

    Raises:
        RunError: a run has clips that another one has not, or others are true of a clip.
    """
    first = _keys(runs[0], rows[0])
    found = []
    for run, own in zip(runs, rows, strict=True):
        there = _keys(run, own)
        _refuse_others(runs[0], run, first, there, part=part)
        found.append([there[key] for key in first])
        _refuse_other_truth(runs[0], run, found[0], found[-1])
    return found


def _keys(run: Run, rows: Sequence[int]) -> dict[Key, int]:
    """Return the row of each clip by path, start, end and group, and by how many alike stand before it."""
    keys: dict[Key, int] = {}
    alike: Counter[tuple[str, ...]] = Counter()
    for row in rows:
        clip = run.manifest[row]
        start = clip.start_seconds
        span = f"{start:.6f}", f"{start + clip.duration_seconds:.6f}"
        place = (os.path.abspath(clip.path), *span, clip.group or "")  # noqa: PTH100 - links stay links
        keys[*place, alike[place]] = row
        alike[place] += 1
    return keys


def _refuse_others(
    first: Run, other: Run, ours: dict[Key, int], theirs: dict[Key, int], *, part: str
) -> None:
    if ours.keys() == theirs.keys():
        return
    if not ours.keys() & theirs.keys():
        raise RunError(
            f"{first.folder} holds out this {part} clip, and {other.folder} none that it does: like the "
            "folds of a cross-validation, each has learnt what another is to be judged by",
            where=min(ours)[0],
            remedy="judge them together by new recordings, or by themselves with `kikiwake crossval`",
        )
    for one, two, clips in (
        (first, other, ours.keys() - theirs.keys()),
        (other, first, theirs.keys() - ours.keys()),
    ):
        if clips:
            path, start, end, group, _ = min(clips)
            raise RunError(
                f"{len(clips)} of the {part} clips of {one.folder} are not among those of {two.folder}, or "
                f"have another group there; the first is {path}, {start} to {end} s, group {group or 'none'}",
                remedy="join models that were trained on one manifest with one split",
            )


def _refuse_other_truth(first: Run, other: Run, ours: Sequence[int], theirs: Sequence[int]) -> None:
    """Refuse clips that have other classes in two manifests, or of which two recipes want other things."""
    columns = [other.classes.index(name) for name in first.classes]
    one, two = (
        run.manifest.targets(secondary=run.recipe.data.secondary_target)[rows]
        for run, rows in ((first, ours), (other, theirs))
    )
    wrong = np.flatnonzero((one != two[:, columns]).any(1))
    if len(wrong):
        raise RunError(
            f"{first.folder} and {other.folder} were to say other classes of this clip",
            where=first.manifest[ours[wrong[0]]].path,
            remedy="join models that were trained on one manifest",
        )
