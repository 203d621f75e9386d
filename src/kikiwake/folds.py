"""Folds and splits: no group on two sides, the classes alike on all, the same for the same seed."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kikiwake.errors import ManifestError, listed
from kikiwake.manifest import Manifest
from kikiwake.randomness import generator, key
from kikiwake.tables import Problems

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Split:
    """The rows of a manifest that train, that choose between models, and that judge them."""

    train: Integers
    validation: Integers
    test: Integers


def assign_folds(manifest: Manifest, *, folds: int, seed: int) -> Manifest:
    """Return the manifest with every clip in one of `folds` folds, numbered from 1.

    A group, or a recording where clips have no group, lies in one fold; folds are as alike in classes as the
    groups allow (scikit-learn's StratifiedGroupKFold). `scarce_classes` says where that is not very much.
    Clips that are only there to be named (`to_be_named`) get no fold.

    Raises:
        ManifestError: there are fewer groups than folds, or fewer clips of every class.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    known = np.flatnonzero(~to_be_named(manifest))
    labelled = manifest.select(known)
    groups = labelled.groups()
    count = len(set(groups))
    remedy = "make fewer folds, or bring more recordings"
    if folds < 2:
        raise ManifestError("there must be at least 2 folds", value=folds)
    if count < folds:
        raise ManifestError(f"{count} groups cannot fill {folds} folds", remedy=remedy)
    class_ids = labelled.class_ids()
    if np.unique(class_ids, return_counts=True)[1].max() < folds:
        raise ManifestError(f"no class has as many clips as there are folds ({folds})", remedy=remedy)
    dealer = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=key(seed, "folds", bits=32))
    numbers: list[int | None] = [None] * len(manifest)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # scarce_classes says it by name
        for number, (_, held_out) in enumerate(dealer.split(class_ids, class_ids, groups), start=1):
            for row in known[held_out].tolist():
                numbers[row] = number
    return manifest.with_folds(numbers)


def to_be_named(manifest: Manifest) -> npt.NDArray[np.bool_]:
    """Return which clips are only there to be named: those of the split "test" without a class.

    Shape:
        `[N]`.
    """
    in_test = np.array([clip.split == "test" for clip in manifest], dtype=np.bool_)
    return np.logical_and(manifest.class_ids() < 0, in_test)


def scarce_classes(manifest: Manifest, *, folds: int, shown: int = 10) -> list[str]:
    """Return a sentence for each number of groups below `folds` that classes have, and what follows from it.

    The first `shown` classes are named, the others counted.
    """
    groups = np.array(manifest.groups())
    class_ids = manifest.class_ids()
    scarce: dict[int, list[str]] = {}
    for number, name in enumerate(manifest.classes):
        count = len(set(groups[class_ids == number]))
        if count < folds:
            scarce.setdefault(count, []).append(f"'{name}'")
    sentences = []
    for count, names in sorted(scarce.items()):
        one = len(names) == 1
        who = f"class {names[0]} has" if one else f"{len(names)} classes have"
        which = "" if one else f" ({listed(names, shown=shown)})"
        follows = f"at least {folds - count} of them have none of {'it' if one else 'each'}"
        if count == 1:
            follows += ", and where the one that has it is held out, no clip of it trains"
        sentences.append(f"{who} {count} group{'s' * (count != 1)} for {folds} folds: {follows}{which}")
    return sentences


def split(
    manifest: Manifest, *, test: int | str | None, validation: int | float | str | None, seed: int
) -> Split:
    """Return which clips train, validate and test.

    `test`: the number of a fold, "split" to follow the manifest's split column, or None for no test.
    `validation`: the number of another fold, a fraction of the groups that are left (drawn so that the
    classes keep their shares), or None. Under "split" the column's own validation clips are taken where it
    has any. A clip without a fold, or without a split under "split", trains; one that is only there to be
    named (`to_be_named`) is in no part but the test of "split".

    Raises:
        ManifestError: a fold or split does not exist, test and validation are the same, a group would stand
            on two sides, or nothing is left to train on.
    """
    parts = np.full(len(manifest), "train", dtype="U10")
    if test == "split":
        parts[:] = [clip.split or "train" for clip in manifest]
        if not (parts == "test").any():
            numbers = ", ".join(map(str, manifest.folds()))
            remedy = (
                f"set split.test to a fold ({numbers})" if numbers else "make folds with: kikiwake prepare"
            )
            raise ManifestError(
                "no clip has the split 'test'",
                where="split.test",
                value=test,
                remedy=f"{remedy}, or to null for no test",
            )
        named = bool((parts == "validation").any())
        validation = None if named or validation == "split" else validation
    else:
        parts[to_be_named(manifest)] = "none"
    if test is not None and test != "split":
        parts[_in_fold(manifest, test, name="test")] = "test"
    if isinstance(validation, float):
        rest = np.flatnonzero(parts == "train")
        parts[rest[_draw(manifest.select(rest), fraction=validation, seed=seed)]] = "validation"
    elif validation is not None:
        if validation == test:
            remedy = "choose another fold, or a fraction as 0.1"
            raise ManifestError("test and validation are the same fold", value=test, remedy=remedy)
        parts[_in_fold(manifest, validation, name="validation")] = "validation"
    _refuse_straddling(manifest, parts)
    if not (parts == "train").any():
        raise ManifestError("no clip is left to train on", remedy="hold out less")
    return Split(*(np.flatnonzero(parts == name) for name in ("train", "validation", "test")))


def _in_fold(manifest: Manifest, fold: int | str, *, name: str) -> npt.NDArray[np.bool_]:
    existing = manifest.folds()
    if fold not in existing:
        numbers = ", ".join(map(str, existing))
        remedy = f"choose one of {numbers}" if existing else "make folds with: kikiwake prepare --folds 5"
        raise ManifestError("there is no such fold", where=f"split.{name}", value=fold, remedy=remedy)
    return np.array([clip.fold == fold for clip in manifest])


def _draw(manifest: Manifest, *, fraction: float, seed: int) -> Integers:
    """Return the clips of groups drawn by chance, one after the other, that bring the classes nearer to it.

    A group is taken if with it the taken shares of the classes are nearer to `fraction` (in squares) than
    without it.
    """
    if not 0 < fraction < 1:
        raise ManifestError("a validation fraction lies between 0 and 1", value=fraction)
    names, membership = np.unique(manifest.groups(), return_inverse=True)
    class_ids = np.unique(manifest.class_ids(), return_inverse=True)[1]
    shares = np.zeros((len(names), class_ids.max(initial=0) + 1))
    np.add.at(shares, (membership, class_ids), 1.0)
    shares /= shares.sum(axis=0)
    missing = np.full(shares.shape[1], fraction)
    taken = np.zeros(len(names), dtype=bool)
    for group in generator(seed, "validation").permutation(len(names)):
        left = missing - shares[group]
        if np.square(left).sum() < np.square(missing).sum():
            missing, taken[group] = left, True
    if not taken.any() or taken.all():
        what = f"{len(names)} groups cannot be parted so that {fraction:g} of them validate"
        raise ManifestError(what, remedy="give another fraction, a fold's number, or None for no validation")
    return np.flatnonzero(taken[membership])


def _refuse_straddling(manifest: Manifest, parts: npt.NDArray[np.str_]) -> None:
    """Raise for groups with clips on two sides of the split, and for recordings, whatever their groups."""
    problems = Problems()
    for names in (manifest.groups(), [f"recording {clip.path}" for clip in manifest]):
        _find_straddling(names, parts, problems)
    problems.raise_errors("the split parts what belongs together")


def _find_straddling(names: Sequence[str], parts: npt.NDArray[np.str_], problems: Problems) -> None:
    sides: dict[str, dict[str, int]] = {}
    for name, part in zip(names, parts, strict=True):
        if part == "none":
            continue
        counts = sides.setdefault(name, {})
        counts[str(part)] = counts.get(str(part), 0) + 1
    known = {problem.where for problem in problems}
    for name, counts in sides.items():
        if len(counts) > 1 and name not in known:
            spread = ", ".join(f"{count} in {part}" for part, count in sorted(counts.items()))
            remedy = "give its clips one fold or split, make folds anew, or leave the group column empty"
            problems.error(name, f"clips on several sides: {spread}", remedy)
