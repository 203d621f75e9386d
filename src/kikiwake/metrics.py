"""Scores of predicted probabilities against labels: pure functions of two arrays `[N, K]`, clips by classes.

A target of 0.5 or more counts as a label, except in `log_loss`, which takes targets as they are. Single-label
decisions are the most probable class; multi-label decisions are all classes with a probability of at least
0.5. What cannot be computed (the AUC of a class without positives) is NaN in arrays and `None` in `scores`.

The rank scores equal scikit-learn's and are computed for all classes at once, which makes 1,000 bootstrap
replicates on some hundred clips a matter of seconds, on many thousand one of minutes.

Raises (all functions): KikiwakeError, where shapes differ, values are not finite or leave [0, 1], or a clip
has no label though exactly one is expected.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kikiwake._bootstrap import Interval as Interval
from kikiwake._bootstrap import bootstrap as bootstrap
from kikiwake._bootstrap import bootstrap_all, plain
from kikiwake.errors import KikiwakeError

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Counts = NDArray[np.int64]

THRESHOLD = 0.5
_SMALLEST = 1e-7  # float32's resolution near 1: logarithms of probabilities are cut here


def accuracy(targets: Floats, probabilities: Floats, *, multilabel: bool = False) -> float:
    """Share of clips decided rightly; multi-label: share of clips with every class right."""
    truth, decided = _decisions(*_checked(targets, probabilities), multilabel)
    return float((truth == decided).all(axis=1).mean())


def top_k_accuracy(targets: Floats, probabilities: Floats, *, k: int) -> float:
    """Share of the labelled clips with a label among the `k` most probable classes, ties in class order."""
    targets, probabilities = _checked(targets, probabilities)
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    truth = targets >= THRESHOLD
    hits = np.take_along_axis(truth, best, axis=1)
    return _mean(hits[truth.any(axis=1)].any(axis=1))


def confusion_matrix(targets: Floats, probabilities: Floats) -> Counts:
    """Count clips by label (row) and most probable class (column). Shape: -> `[K, K]`."""
    truth, decided = _decisions(*_checked(targets, probabilities), multilabel=False)
    return truth.T.astype(np.int64) @ decided.astype(np.int64)


def f1(
    targets: Floats,
    probabilities: Floats,
    *,
    average: Literal["macro", "micro"] = "macro",
    multilabel: bool = False,
) -> float:
    """Harmonic mean of precision and recall, `2 tp / (2 tp + fp + fn)`.

    Macro: mean over the classes that have a label or a decision. Micro: over all decisions.
    """
    truth, decided = _decisions(*_checked(targets, probabilities), multilabel)
    hits, labels, decisions = (flags.sum(axis=0) for flags in (truth & decided, truth, decided))
    if average == "micro":
        return float(_ratio(2 * hits.sum(), labels.sum() + decisions.sum()))
    return _mean(_ratio(2 * hits, labels + decisions))


def roc_auc(targets: Floats, probabilities: Floats) -> float:
    """Area under the ROC curve, the mean over the classes that have both positives and negatives."""
    return _mean(roc_auc_per_class(targets, probabilities))


def roc_auc_per_class(targets: Floats, probabilities: Floats) -> Floats:
    """Probability that a positive is ranked above a negative, ties counted half (Hanley & McNeil 1982).

    Shape: -> `[K]`, NaN for a class without positives or without negatives.
    """
    targets, probabilities = _checked(targets, probabilities)
    ranked = _rank(targets >= THRESHOLD, probabilities)
    # Negatives before a positive count fully, those tied with it half.
    losses = np.where(ranked.hits, 0.5 * (ranked.misses_before + ranked.misses_through), 0).sum(axis=0)
    positives = ranked.hits.sum(axis=0)
    areas: Floats = 1 - _ratio(losses, positives * (len(targets) - positives))
    return areas


def average_precision(
    targets: Floats, probabilities: Floats, *, average: Literal["macro", "micro"] = "macro"
) -> float:
    """Average precision. Macro: mean over the classes with positives. Micro: of all decisions together."""
    if average == "micro":
        targets, probabilities = (array.reshape(-1, 1) for array in _checked(targets, probabilities))
    return _mean(average_precision_per_class(targets, probabilities))


def average_precision_per_class(targets: Floats, probabilities: Floats) -> Floats:
    """Mean over the positives of the precision at their probability, without interpolation.

    Shape: -> `[K]`, NaN for a class without positives.
    """
    targets, probabilities = _checked(targets, probabilities)
    ranked = _rank(targets >= THRESHOLD, probabilities)
    precision = ranked.hits_through / (ranked.hits_through + ranked.misses_through)
    means: Floats = _ratio(np.where(ranked.hits, precision, 0).sum(axis=0), ranked.hits.sum(axis=0))
    return means


def padded_cmap(targets: Floats, probabilities: Floats, *, padding: int = 5) -> float:
    """Macro average precision with `padding` sure hits added to every class (BirdCLEF 2023's score).

    It makes classes without positives count, and rare classes count less.
    """
    targets, probabilities = _checked(targets, probabilities)
    rows = np.ones((padding, targets.shape[1]))
    return average_precision(np.vstack([targets, rows]), np.vstack([probabilities, rows]))


def log_loss(targets: Floats, probabilities: Floats, *, multilabel: bool = False) -> float:
    """Mean negative log-likelihood in nats, of a clip; multi-label: of a clip and class.

    Probabilities are kept 1e-7 away from 0 and 1.
    """
    targets, probabilities = _checked(targets, probabilities)
    log = np.log(np.clip(probabilities, _SMALLEST, 1))
    if not multilabel:
        return float(-(targets * log).sum(axis=1).mean())
    log_not = np.log(np.clip(1 - probabilities, _SMALLEST, 1))
    return float(-(targets * log + (1 - targets) * log_not).mean())


class Reliability(NamedTuple):
    """How often decisions are right, by how sure they are.

    Shape: edges `[M + 1]`; clips, confidence (mean) and accuracy of each bin `[M]`, NaN where it is empty.
    """

    edges: Floats
    clips: Counts
    confidence: Floats
    accuracy: Floats


def reliability(
    targets: Floats, probabilities: Floats, *, multilabel: bool = False, bins: int = 15
) -> Reliability:
    """Sort decisions into `bins` equal bins of confidence (Guo et al. 2017, section 2).

    Single-label: a clip's highest probability, against whether that class is right. Multi-label: every
    probability of every clip and class, against whether the label is there.
    """
    targets, probabilities = _checked(targets, probabilities)
    truth, decided = _decisions(targets, probabilities, multilabel)
    if multilabel:
        confidence, right = probabilities.ravel(), truth.ravel()
    else:
        confidence, right = probabilities.max(axis=1), (truth == decided).all(axis=1)
    # Bins are (low, high], the first also holds 0.
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    clips = np.bincount(index, minlength=bins)
    return Reliability(
        np.linspace(0, 1, bins + 1),
        clips,
        _ratio(np.bincount(index, weights=confidence, minlength=bins), clips),
        _ratio(np.bincount(index, weights=right, minlength=bins), clips),
    )


def expected_calibration_error(
    targets: Floats, probabilities: Floats, *, multilabel: bool = False, bins: int = 15
) -> float:
    """Mean distance between confidence and accuracy over the bins of `reliability`, weighted by clips.

    Guo et al. 2017, "On calibration of modern neural networks", equation 3.
    """
    found = reliability(targets, probabilities, multilabel=multilabel, bins=bins)
    gaps = np.abs(found.confidence - found.accuracy)
    return float(np.nansum(gaps * found.clips) / found.clips.sum())


def per_class(
    targets: Floats, probabilities: Floats, *, classes: Sequence[str], multilabel: bool = False
) -> list[dict[str, Any]]:
    """Return a row a class: class, clips, precision, recall, f1, roc_auc, average_precision.

    What is undefined is None: precision without decisions, recall without labels.
    """
    targets, probabilities = _checked(targets, probabilities)
    if len(classes) != targets.shape[1]:
        raise KikiwakeError("one name a class is needed", value=(len(classes), targets.shape[1]))
    truth, decided = _decisions(targets, probabilities, multilabel)
    hits, labels, decisions = (flags.sum(axis=0) for flags in (truth & decided, truth, decided))
    columns = {
        "precision": _ratio(hits, decisions),
        "recall": _ratio(hits, labels),
        "f1": _ratio(2 * hits, labels + decisions),
        "roc_auc": roc_auc_per_class(targets, probabilities),
        "average_precision": average_precision_per_class(targets, probabilities),
    }
    return [
        {"class": name, "clips": int(labels[number])}
        | {column: plain(values[number]) for column, values in columns.items()}
        for number, name in enumerate(classes)
    ]


def scores(targets: Floats, probabilities: Floats, *, multilabel: bool = False) -> dict[str, float | None]:
    """Return every score by name, in JSON's types.

    `roc_auc_classes`: classes that the mean AUC is over; the others lack positives or negatives.
    """
    targets, probabilities = _checked(targets, probabilities)
    count = targets.shape[1]
    areas = roc_auc_per_class(targets, probabilities)
    found = {"accuracy": accuracy(targets, probabilities, multilabel=multilabel)}
    for k in (3, 5):
        if k < count:
            found[f"top_{k}_accuracy"] = top_k_accuracy(targets, probabilities, k=k)
    found |= {
        "macro_f1": f1(targets, probabilities, average="macro", multilabel=multilabel),
        "micro_f1": f1(targets, probabilities, average="micro", multilabel=multilabel),
        "macro_roc_auc": _mean(areas),
        "roc_auc_classes": float(np.isfinite(areas).sum()),
        "macro_average_precision": average_precision(targets, probabilities),
        "micro_average_precision": average_precision(targets, probabilities, average="micro"),
        "padded_cmap": padded_cmap(targets, probabilities),
        "log_loss": log_loss(targets, probabilities, multilabel=multilabel),
        "expected_calibration_error": expected_calibration_error(
            targets, probabilities, multilabel=multilabel
        ),
    }
    return {name: plain(value) for name, value in found.items()}


def bootstrap_scores(
    targets: Floats,
    probabilities: Floats,
    *,
    multilabel: bool = False,
    groups: Sequence[Hashable] | None = None,
    replicates: int = 1000,
    level: float = 0.95,
    rng: np.random.Generator,
) -> dict[str, Interval]:
    """Return an interval for each of `scores`, all from the same replicates; see `bootstrap`."""
    return bootstrap_all(
        lambda *arrays: scores(*arrays, multilabel=multilabel),
        *_checked(targets, probabilities),
        groups=groups,
        replicates=replicates,
        level=level,
        rng=rng,
    )


class _Ranked(NamedTuple):
    """Clips from the most to the least probable, for each class; all arrays `[N, K]`.

    `through` counts up to the end of a run of equal probabilities, `before` up to its beginning.
    """

    hits: Flags
    hits_through: Counts
    misses_through: Counts
    misses_before: Counts


def _rank(truth: Flags, probabilities: Floats) -> _Ranked:
    clips = len(truth)
    order = np.argsort(-probabilities, axis=0, kind="stable")
    hits = np.take_along_axis(truth, order, axis=0)
    ranked = np.take_along_axis(probabilities, order, axis=0)
    changes = ranked[1:] != ranked[:-1]
    edge = np.ones((1, truth.shape[1]), dtype=bool)
    rows = np.arange(clips)[:, None]
    starts = np.maximum.accumulate(np.where(np.vstack([edge, changes]), rows, 0), axis=0)
    ends = np.where(np.vstack([changes, edge]), rows, clips)
    ends = np.minimum.accumulate(ends[::-1], axis=0)[::-1]
    hits_so_far: Counts = np.cumsum(hits, axis=0)
    hits_through = np.take_along_axis(hits_so_far, ends, axis=0)
    hits_before: Counts = np.take_along_axis(hits_so_far - hits, starts, axis=0)
    return _Ranked(hits, hits_through, ends + 1 - hits_through, starts - hits_before)


def _decisions(targets: Floats, probabilities: Floats, multilabel: bool) -> tuple[Flags, Flags]:
    """Return what is there and what was decided, both `[N, K]`."""
    if multilabel:
        return targets >= THRESHOLD, probabilities >= THRESHOLD
    empty = np.flatnonzero(targets.max(axis=1) <= 0)
    if len(empty):
        raise KikiwakeError(
            f"{len(empty)} clips have no label, the first at row {empty[0]}",
            where="scores",
            remedy="leave clips without a label out, or score them as multi-label",
        )
    columns = np.arange(targets.shape[1])
    return (
        targets.argmax(axis=1)[:, None] == columns,
        probabilities.argmax(axis=1)[:, None] == columns,
    )


def _checked(targets: Floats, probabilities: Floats) -> tuple[Floats, Floats]:
    targets = np.asarray(targets, dtype=np.float64)
    probabilities = np.asarray(probabilities, dtype=np.float64)
    if targets.ndim != 2 or targets.shape != probabilities.shape or not targets.size:
        raise KikiwakeError(
            "targets and probabilities must both be [clips, classes], with at least one of each",
            where="scores",
            value=(targets.shape, probabilities.shape),
        )
    for name, values in (("targets", targets), ("probabilities", probabilities)):
        # Written so that NaN, which compares with nothing, is found as well.
        wrong = ~((values >= -1e-6) & (values <= 1 + 1e-6))
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise KikiwakeError(
                f"{name} must lie in [0, 1]; clip {row}, class {column} does not",
                where="scores",
                value=float(values[row, column]),
            )
    return targets, probabilities


def _ratio(numerator: Any, denominator: Any) -> Any:
    """Divide; 0 / 0 is NaN."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.true_divide(numerator, denominator)


def _mean(values: Any) -> float:
    """Mean over what is defined, NaN where nothing is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(np.nanmean(values)) if np.size(values) else float("nan")
