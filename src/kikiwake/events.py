"""Events: what is heard from when to when in a recording, and how predictions become events."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kikiwake.errors import KikiwakeError
from kikiwake.predictions import Predictions

_TOUCHING_SECONDS = 2e-6
"""Less than a sample of any recorder; tables give times to the microsecond."""


@dataclass(frozen=True, slots=True)
class Event:
    """`label` is heard in the recording `path` from `start` to `end`, in seconds from its beginning.

    `score`: how sure that is, from 0 to 1. `low_hz`, `high_hz`: the band that it lies in. None: not known.
    """

    path: str
    start: float
    end: float
    label: str
    score: float | None = None
    low_hz: float | None = None
    high_hz: float | None = None


def events_of(
    predictions: Predictions,
    *,
    threshold: float = 0.5,
    median_seconds: float = 0.0,
    gap_seconds: float = 0.0,
    shortest_seconds: float = 0.0,
    high_threshold: float | None = None,
) -> list[Event]:
    """Return what is heard: each class wherever its probability is at least `threshold`.

    Windows of one class and recording that touch or overlap are one event, whose score is the largest of
    their probabilities. Windows may stand in any order; events come recording by recording, in time.

    `median_seconds`: before the threshold, each probability becomes the median of its class over an odd
    number of windows around it, the least that holds so many seconds; 0 for none. `gap_seconds`: two events
    of a class with less than that between them are one. `shortest_seconds`: after that, shorter events are
    left out. `high_threshold`: so are events whose score is below this, while `threshold` says from when to
    when the others last (double thresholding: Dinkel and Yu 2020, "Duration robust weakly supervised sound
    event detection").

    Raises:
        KikiwakeError: a threshold is not between 0 and 1 or the high one below the other, another number is
            negative, or the windows of a recording are too far apart for a median over three of them.
    """
    check_threshold(threshold)
    if high_threshold is not None:
        check_threshold(high_threshold, where="high_threshold")
        if high_threshold < threshold:
            raise KikiwakeError(
                f"is below the threshold of {threshold:g}",
                where="high_threshold",
                value=high_threshold,
                remedy="give the larger of the two as the high one",
            )
    least_score = np.float32(threshold if high_threshold is None else high_threshold)
    lengths = {"median": median_seconds, "gap": gap_seconds, "shortest": shortest_seconds}
    for name, value in lengths.items():
        if not value >= 0:
            remedy = "give 0 or more seconds"
            raise KikiwakeError("is no length of time", where=f"{name}_seconds", value=value, remedy=remedy)
    rows: dict[str, list[int]] = {}
    for row, path in enumerate(predictions.paths):
        rows.setdefault(path, []).append(row)
    found: list[Event] = []
    for path, own in rows.items():
        in_time = np.array(own)[np.argsort(predictions.starts[own], kind="stable")]
        starts, ends = predictions.starts[in_time], predictions.ends[in_time]
        probabilities = predictions.probabilities[in_time].astype(np.float32, copy=False)
        if median_seconds:
            probabilities = _medians(probabilities, starts, median_seconds, where=path)
        merged = _merged(starts, ends, probabilities, threshold, gap_seconds)
        found += [
            # The shortest decimals that mean the same float32: 0.9 and not 0.8999999761581421.
            Event(path, start, end, predictions.classes[number], float(str(score)))
            for number, start, end, score in sorted(merged, key=lambda event: event[1])
            if end - start >= shortest_seconds - _TOUCHING_SECONDS and score >= least_score
        ]
    return found


def check_threshold(threshold: float, *, where: str = "threshold") -> None:
    """Refuse a threshold that is no probability.

    Raises:
        KikiwakeError: it is not between 0 and 1.
    """
    if not 0 <= threshold <= 1:
        raise KikiwakeError(
            "is no probability", where=where, value=threshold, remedy="give a number from 0 to 1"
        )


def _merged(
    starts: np.ndarray, ends: np.ndarray, probabilities: np.ndarray, threshold: float, gap_seconds: float
) -> list[tuple[int, float, float, np.float32]]:
    """Return the class's number, start, end and score of each event of a recording, class by class."""
    # In float32 a probability that is written 0.9 reaches a threshold of 0.9.
    numbers, windows = np.nonzero((probabilities >= np.float32(threshold)).T)
    merged: list[tuple[int, float, float, np.float32]] = []
    closed = max(_TOUCHING_SECONDS, gap_seconds - _TOUCHING_SECONDS)
    for number, window in zip(numbers.tolist(), windows.tolist(), strict=True):
        event = number, float(starts[window]), float(ends[window]), probabilities[window, number]
        if merged and merged[-1][0] == number and event[1] <= merged[-1][2] + closed:
            _, start, end, score = merged.pop()
            event = number, start, max(end, event[2]), max(score, event[3])
        merged.append(event)
    return merged


def _medians(probabilities: np.ndarray, starts: np.ndarray, seconds: float, *, where: str) -> np.ndarray:
    """Return the medians over neighbouring windows, the first and last standing for those beyond the ends.

    Shape: probabilities `[W, K]`, starts `[W]` -> `[W, K]`.
    """
    from scipy.ndimage import median_filter

    if len(starts) < 2:
        return probabilities
    hop = max(float(np.median(np.diff(starts))), _TOUCHING_SECONDS)
    count = 2 * math.ceil((seconds / hop - 1e-6 - 1) / 2) + 1
    if count < 3:
        raise KikiwakeError(
            f"a median over {seconds:g} s changes nothing: windows begin every {hop:g} s",
            where=where,
            remedy=f"give more than {hop:g} s, or 0 for none",
        )
    medians: np.ndarray = median_filter(probabilities, size=(count, 1), mode="nearest")
    return medians
