"""Pools: which clips of a manifest may be heard in one recording, so that no fold hears another's."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from kikiwake.errors import ManifestError
from kikiwake.folds import assign_folds
from kikiwake.manifest import Manifest


@dataclass(frozen=True)
class Pool:
    """Clips of one part of a fold, as rows of the manifest by class; recordings made of them are a group."""

    group: str
    fold: int | None
    split: str | None
    rows: dict[str, list[int]]


def usable(manifest: Manifest) -> list[int]:
    """Return the clips of which one class is heard: labelled, and without secondary classes."""
    return [row for row, clip in enumerate(manifest) if clip.label is not None and not clip.secondary]


def pools(manifest: Manifest, *, groups_per_fold: int, folds: int, seed: int) -> list[list[Pool]]:
    """Return, for each fold, its pools.

    A fold here is a pair of the manifest's fold and split; where it has neither, `folds` are made. The
    manifest's groups inside a fold are dealt to `groups_per_fold` pools, or to as many as a class has groups
    there (the median of the classes), so that a pool has most of them.

    Raises:
        ManifestError: no clip can be used, a group lies in two folds, or none can be made.
    """
    rows = usable(manifest)
    if not rows:
        raise ManifestError(
            "no clip has a class and no secondary ones",
            value=f"{len(manifest)} clips",
            remedy="give a manifest of clips in each of which one class is heard",
        )
    known = manifest.select(rows)
    if not any(clip.split or clip.fold is not None for clip in known):
        known = assign_folds(known, folds=folds, seed=seed)
    sides: dict[tuple[int | None, str | None], list[int]] = {}
    for at, clip in enumerate(known):
        sides.setdefault((clip.fold, clip.split), []).append(at)
    _refuse_straddling(known, sides)
    return [
        _dealt(known, sides[side], rows, side, groups_per_fold, seed)
        for side in sorted(sides, key=lambda side: (side[0] is None, side[0] or 0, side[1] or ""))
    ]


def _refuse_straddling(known: Manifest, sides: dict[tuple[int | None, str | None], list[int]]) -> None:
    names = known.groups()
    sides_of = Counter(name for members in sides.values() for name in {names[at] for at in members})
    if straddling := sorted(name for name, count in sides_of.items() if count > 1):
        raise ManifestError(
            f"{len(straddling)} groups lie in several folds, the first is {straddling[0]}",
            remedy="make folds anew with: kikiwake prepare",
        )


def _dealt(
    known: Manifest,
    members: list[int],
    rows: list[int],
    side: tuple[int | None, str | None],
    count: int,
    seed: int,
) -> list[Pool]:
    """Return the pools of one fold, whose clips are `members` of `known`; `rows`: theirs in the manifest."""
    fold, split = side
    own = known.select(members)
    groups_of: dict[str | None, set[str]] = {}
    for clip, group in zip(own, own.groups(), strict=True):
        groups_of.setdefault(clip.label, set()).add(group)
    # More pools would leave most of them without some class that another one has.
    count = min(count, int(np.median([len(groups) for groups in groups_of.values()])))
    parts = [1] * len(own)
    if count > 1:
        parts = [clip.fold or 1 for clip in assign_folds(own, folds=count, seed=seed)]
    name = " ".join([f"fold {fold}" if fold is not None else "no fold", *([split] if split else [])])
    dealt = []
    for part in np.unique(parts).tolist():
        by_class: dict[str, list[int]] = {}
        for at, number, clip in zip(members, parts, own, strict=True):
            if number == part:
                by_class.setdefault(str(clip.label), []).append(rows[at])
        dealt.append(Pool(f"{name} part {part}", fold, split, by_class))
    return dealt
