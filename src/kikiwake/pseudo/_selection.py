"""Which windows become labels, and which of these train: a pure function of what was heard."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from kikiwake.predictions import Predictions
from kikiwake.pseudo._settings import Settings

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Labels = npt.NDArray[np.float32]

Loudness = Callable[[Predictions], Floats]
"""Tells the root mean square of every window: `[W]`."""

RULES = {
    "keep": "no class above keep",
    "silence": "silent",
    "held_out": "of recordings that are held out, or labelled already",
    "train": "best class not above train",
    "cap": "more than a class may have",
}
"""Why a window does not train, in the order in which it is asked."""


@dataclass(frozen=True, eq=False)
class Selection:
    """The windows that stay, in their order.

    `rows`: which they are. `classes`: the best class of each, by number. `confidence`: its probability.
    `labels`: their smoothed labels. `trains`: which of them train. `removed`: how many windows each of
    `RULES` took away, the first two from the table, the others from the training.

    Shape: rows, classes, confidence, trains `[R]`; labels `[R, K]`.
    """

    rows: Integers
    classes: Integers
    confidence: Labels
    labels: Labels
    trains: Flags
    removed: Mapping[str, int]


def heard(predictions: Predictions, settings: Settings) -> Flags:
    """Return which windows have a class above `keep`. Shape: `[W]`."""
    found: Flags = np.any(predictions.probabilities > settings.keep, axis=1)
    return found


def confident(predictions: Predictions, settings: Settings) -> Predictions:
    """Return the same windows with the probabilities above `keep`, and 0 in place of the others."""
    values = predictions.probabilities
    return replace(predictions, probabilities=np.where(values > settings.keep, values, np.float32(0)))


def select(
    predictions: Predictions,
    *,
    real: Sequence[float] | Floats,
    settings: Settings,
    rms: Loudness,
    may_train: Flags | None = None,
) -> Selection:
    """Choose windows by the rules of `settings`.

    `predictions`: windows with the joined probabilities. `real`: how many labelled clips each class has.
    `rms`: asked once, about the windows that have a class above `keep`. `may_train`: windows that are not
    barred from training for other reasons; by default all. Of equally confident windows the earlier stays.

    Shape: real `[K]`, may_train `[W]`.
    """
    candidates = np.flatnonzero(heard(predictions, settings))
    loud = rms(predictions.at(candidates)) > settings.silence_rms if len(candidates) else np.zeros(0, bool)
    rows = candidates[loud]
    probabilities = predictions.probabilities[rows]
    classes = probabilities.argmax(axis=1) if len(rows) else np.zeros(0, np.int64)
    confidence = probabilities[np.arange(len(rows)), classes]
    free = np.ones(len(rows), bool) if may_train is None else may_train[rows]
    sure = free & (confidence > settings.train)
    trains = _capped(classes, confidence, sure, limits=limits(real, settings))
    return Selection(
        rows=rows,
        classes=classes,
        confidence=confidence,
        labels=smoothed(probabilities, settings),
        trains=trains,
        removed={
            "keep": len(predictions) - len(candidates),
            "silence": len(candidates) - len(rows),
            "held_out": int((~free).sum()),
            "train": int((free & ~sure).sum()),
            "cap": int((sure & ~trains).sum()),
        },
    )


def limits(real: Sequence[float] | Floats, settings: Settings) -> list[int | None]:
    """Return how many windows of each class may train; None for any number.

    >>> limits([10, 3, 100], Settings(max_share=0.29, max_per_class=20))
    [2, 0, 20]
    """
    most = settings.max_per_class
    if settings.max_share is None:
        return [most] * len(real)
    # As it is written: 0.29 * 100 is 28.999999999999996 in floating point.
    share = Fraction(str(settings.max_share))
    own = [int(share * Fraction(float(count))) for count in real]
    return [count if most is None else min(count, most) for count in own]


def smoothed(probabilities: Labels, settings: Settings) -> Labels:
    """Return the labels of windows: what is above `keep`, smoothed over the classes. Shape: `[R, K]` -> same.

    Classes that exclude each other need no distribution here: cross entropy with a target of mass `m` has the
    gradient of the same target with mass 1, times `m`, so that confident windows count more.
    """
    kept = np.where(probabilities > settings.keep, probabilities, np.float32(0))
    share = settings.smoothing
    labels: Labels = (kept * (1 - share) + share / max(1, kept.shape[1])).astype(np.float32)
    return labels


def _capped(classes: Integers, confidence: Labels, sure: Flags, *, limits: Sequence[int | None]) -> Flags:
    """Return which windows train when each class keeps its most confident ones. Shape: `[R]`."""
    trains = sure.copy()
    order = np.argsort(-confidence, kind="stable")
    for number, limit in enumerate(limits):
        if limit is not None:
            own = order[(classes[order] == number) & sure[order]]
            trains[own[limit:]] = False
    return trains
