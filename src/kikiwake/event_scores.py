"""Scores of events that were found against those that are there: pure functions of two lists of events.

Mesaros, Heittola & Virtanen 2016, "Metrics for polyphonic sound event detection", Applied Sciences 6(6), in
two ways:

- segments: time is cut into segments; a class is there, or found, in each that an event of it touches.
- events: an event is found if one of its class begins within a collar of its onset and ends within a collar
  of its offset. Each stands for one at most, and as many pairs are made as can be (maximum bipartite
  matching).

Counts of recordings are added before anything is divided. Numbers are those of the package sed_eval 0.2.1
with `event_matching_type="optimal"` and `empty_system_output_handling="zero_score"`, but for times within a
millionth of a second of a limit, which here count as on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kikiwake._bootstrap import plain
from kikiwake.errors import KikiwakeError, listed
from kikiwake.events import Event

Counts = NDArray[np.int64]

_TOLERANCE_SECONDS = 1e-6


@dataclass(frozen=True)
class Tally:
    """What was counted of one recording or more, in segments or in events.

    `labels`: what is there; `decisions`: what was found; `hits`: what of them is right. `errors`: wrong class
    at the right time (substitutions), missed otherwise (deletions), found otherwise (insertions).

    Shape: labels, decisions, hits `[K]`; errors `[3]`.
    """

    labels: Counts
    decisions: Counts
    hits: Counts
    errors: Counts


def total(tallies: Sequence[Tally]) -> Tally:
    """Return the sum over some recordings, at least one."""
    parts = ("labels", "decisions", "hits", "errors")
    return Tally(*(np.sum([getattr(tally, part) for tally in tallies], axis=0) for part in parts))


def segment_tally(
    truth: Sequence[Event],
    found: Sequence[Event],
    *,
    classes: Sequence[str],
    segment_seconds: float = 1.0,
) -> Tally:
    """Count the segments of one recording, of `segment_seconds` from its beginning on.

    In a segment, a class that is missed and one that is found wrongly are one substitution.

    Raises:
        KikiwakeError: segments have no length, or an event is of no class.
    """
    if not segment_seconds > 0:
        remedy = "give the length of a segment, such as 1.0"
        raise KikiwakeError("must be above 0", where="segment_seconds", value=segment_seconds, remedy=remedy)
    there, heard = _rolls([truth, found], classes, segment_seconds)
    missed, wrong = (there & ~heard).sum(axis=1), (heard & ~there).sum(axis=1)
    substituted = np.minimum(missed, wrong)
    errors = [substituted.sum(), (missed - substituted).sum(), (wrong - substituted).sum()]
    return Tally(there.sum(axis=0), heard.sum(axis=0), (there & heard).sum(axis=0), np.array(errors))


def _rolls(
    lists: Sequence[Sequence[Event]], classes: Sequence[str], seconds: float
) -> list[NDArray[np.bool_]]:
    """Return, for each list of events, in which segments each class is. Shape: `[S, K]`."""
    numbers = {name: number for number, name in enumerate(classes)}
    slack = _TOLERANCE_SECONDS / seconds
    spans = []
    for events in lists:
        starts = np.array([event.start for event in events])
        ends = np.array([event.end for event in events])
        first = np.floor(starts / seconds + slack).astype(int)
        spans.append((first, np.maximum(np.ceil(ends / seconds - slack).astype(int), first + 1)))
    length = max((int(stop.max()) for _, stop in spans if len(stop)), default=0)
    rolls = [np.zeros((length, len(classes)), bool) for _ in lists]
    for roll, events, (first, stop) in zip(rolls, lists, spans, strict=True):
        for event, begin, end in zip(events, first.tolist(), stop.tolist(), strict=True):
            roll[begin:end, _number(event, numbers)] = True
    return rolls


def pairs(
    truth: Sequence[Event],
    found: Sequence[Event],
    *,
    collar_seconds: float = 0.2,
    offset_share: float = 0.2,
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Return which event of one recording was found as which: pairs of places in the two lists.

    An onset may be `collar_seconds` off, an offset that or `offset_share` of the true event's length,
    whichever is more. The first list has as many pairs of one class as can be. The second has, of the events
    that are left, those found at the right time as another class: each, in order, with the first free one.

    Raises:
        KikiwakeError: a collar is negative.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import maximum_bipartite_matching

    if not min(collar_seconds, offset_share) >= 0:
        raise KikiwakeError(
            "must be 0 or more",
            where="collar",
            value=(collar_seconds, offset_share),
            remedy="give collar_seconds and offset_share, such as 0.2 and 0.2; 0 allows no difference",
        )
    close = _close(truth, found, collar_seconds, offset_share)
    same = [(one, other) for one, other in close if truth[one].label == found[other].label]
    right: list[tuple[int, int]] = []
    if same:
        places = tuple(np.array(same).T)
        graph = coo_array((np.ones(len(same), bool), places), shape=(len(truth), len(found))).tocsr()
        partners = maximum_bipartite_matching(graph, perm_type="column")
        right = [(one, other) for one, other in enumerate(partners.tolist()) if other >= 0]
    taken_true, taken_found = {one for one, _ in right}, {other for _, other in right}
    confused: list[tuple[int, int]] = []
    for one, other in close:
        if one not in taken_true and other not in taken_found:
            confused.append((one, other))
            taken_true.add(one)
            taken_found.add(other)
    return right, confused


def _close(
    truth: Sequence[Event], found: Sequence[Event], collar_seconds: float, offset_share: float
) -> list[tuple[int, int]]:
    """Return the pairs, of any class, whose onsets and offsets agree, in the order of the lists."""
    order = np.argsort([event.start for event in found], kind="stable")
    starts = np.array([found[at].start for at in order.tolist()])
    reach = collar_seconds + _TOLERANCE_SECONDS
    close = []
    for one, event in enumerate(truth):
        late = max(collar_seconds, offset_share * (event.end - event.start)) + _TOLERANCE_SECONDS
        first, last = np.searchsorted(starts, (event.start - reach, event.start + reach))
        candidates = sorted(order[first:last].tolist())
        close += [(one, other) for other in candidates if abs(found[other].end - event.end) <= late]
    return close


def event_tally(
    truth: Sequence[Event],
    found: Sequence[Event],
    *,
    classes: Sequence[str],
    collar_seconds: float = 0.2,
    offset_share: float = 0.2,
) -> Tally:
    """Count the events of one recording, paired as `pairs` says.

    Raises:
        KikiwakeError: a collar is negative, or an event is of no class.
    """
    right, confused = pairs(truth, found, collar_seconds=collar_seconds, offset_share=offset_share)
    numbers = {name: number for number, name in enumerate(classes)}
    labels, decisions, hits = (
        np.bincount([_number(event, numbers) for event in events], minlength=len(classes))
        for events in (truth, found, [truth[one] for one, _ in right])
    )
    settled = len(right) + len(confused)
    return Tally(
        labels, decisions, hits, np.array([len(confused), len(truth) - settled, len(found) - settled])
    )


def _number(event: Event, numbers: dict[str, int]) -> int:
    if event.label not in numbers:
        raise KikiwakeError(
            "is none of the classes",
            where=event.path,
            value=event.label,
            remedy=f"name one of {listed(list(numbers))}, or leave the event out",
        )
    return numbers[event.label]


def scores(tally: Tally) -> dict[str, float | None]:
    """Return every score by name, in JSON's types; what is undefined is None.

    F1, precision and recall of all classes together (micro) and, F1 alone, as the mean over the classes that
    are there (macro). The error rate is the sum of the errors by what is there: 0 is perfect, and finding
    nothing gives 1. Its macro is the mean of the classes' own, which know no substitutions.
    """
    there = tally.labels > 0
    labels, decisions, hits = (int(part.sum()) for part in (tally.labels, tally.decisions, tally.hits))
    own = _per_class(tally)
    return {
        "micro_f1": plain(_ratio(2 * hits, labels + decisions)),
        "micro_precision": plain(_ratio(hits, decisions)),
        "micro_recall": plain(_ratio(hits, labels)),
        "macro_f1": plain(own["f1"][there].mean()) if there.any() else None,
        "error_rate": plain(_ratio(tally.errors.sum(), labels)),
        "macro_error_rate": plain(own["error_rate"][there].mean()) if there.any() else None,
    }


def per_class(tally: Tally, *, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return a row a class: class, labels, decisions, hits, f1, precision, recall, error_rate.

    What is undefined is None: precision without decisions, recall and error rate without labels.
    """
    own = _per_class(tally)
    counts = {"labels": tally.labels, "decisions": tally.decisions, "hits": tally.hits}
    return [
        {"class": name}
        | {column: int(values[number]) for column, values in counts.items()}
        | {column: plain(values[number]) for column, values in own.items()}
        for number, name in enumerate(classes)
    ]


def _per_class(tally: Tally) -> dict[str, NDArray[np.float64]]:
    labels, decisions, hits = tally.labels, tally.decisions, tally.hits
    return {
        "f1": _ratio(2 * hits, labels + decisions),
        "precision": _ratio(hits, decisions),
        "recall": _ratio(hits, labels),
        "error_rate": _ratio(labels + decisions - 2 * hits, labels),
    }


def _ratio(numerator: Any, denominator: Any) -> Any:
    """Divide; by 0 is NaN."""
    numerator, denominator = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    return np.divide(
        numerator, denominator, out=np.full(denominator.shape, np.nan), where=np.asarray(denominator > 0)
    )
