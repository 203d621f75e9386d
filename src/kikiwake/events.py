"""Events: what is heard from when to when in a recording, and how predictions become events."""

from __future__ import annotations

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


def events_of(predictions: Predictions, *, threshold: float = 0.5) -> list[Event]:
    """Return what is heard: each class wherever its probability is at least `threshold`.

    Windows of one class and recording that touch or overlap are one event, whose score is the largest of
    their probabilities. Windows may stand in any order; events come recording by recording, in time.

    Raises:
        KikiwakeError: the threshold is not between 0 and 1.
    """
    check_threshold(threshold)
    rows: dict[str, list[int]] = {}
    for row, path in enumerate(predictions.paths):
        rows.setdefault(path, []).append(row)
    return [event for path, own in rows.items() for event in _events_in(path, own, predictions, threshold)]


def check_threshold(threshold: float) -> None:
    """Refuse a threshold that is no probability.

    Raises:
        KikiwakeError: it is not between 0 and 1.
    """
    if not 0 <= threshold <= 1:
        raise KikiwakeError(
            "is no probability", where="threshold", value=threshold, remedy="give a number from 0 to 1"
        )


def _events_in(path: str, rows: list[int], predictions: Predictions, threshold: float) -> list[Event]:
    """Return the events of the recording whose windows are `rows`, in time, then by the order of classes."""
    in_time = np.array(rows)[np.argsort(predictions.starts[rows], kind="stable")]
    starts, ends = predictions.starts[in_time].tolist(), predictions.ends[in_time].tolist()
    probabilities = predictions.probabilities[in_time].astype(np.float32, copy=False)
    # In float32 a probability that is written 0.9 reaches a threshold of 0.9.
    numbers, windows = np.nonzero((probabilities >= np.float32(threshold)).T)
    merged: list[tuple[int, float, float, np.float32]] = []
    for number, window in zip(numbers.tolist(), windows.tolist(), strict=True):
        event = number, starts[window], ends[window], probabilities[window, number]
        if merged and merged[-1][0] == number and event[1] <= merged[-1][2] + _TOUCHING_SECONDS:
            _, start, end, score = merged.pop()
            event = number, start, max(end, event[2]), max(score, event[3])
        merged.append(event)
    # The shortest decimals that mean the same float32: 0.9 and not 0.8999999761581421.
    events = [Event(path, start, end, predictions.classes[n], float(str(p))) for n, start, end, p in merged]
    return sorted(events, key=lambda event: event.start)
