"""Windows become events: thresholds and merges worked out by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from kikiwake.errors import KikiwakeError
from kikiwake.events import Event, events_of
from kikiwake.predictions import Predictions


def table(*rows: tuple[str, float, float, float, float]) -> Predictions:
    """Windows as path, start, end and the probabilities of owl and frog."""
    paths, starts, ends, *probabilities = zip(*rows, strict=True)
    return Predictions(
        list(paths), np.array(starts), np.array(ends), np.array(probabilities, np.float32).T, ["owl", "frog"]
    )


def test_windows_that_touch_are_one_event_with_the_largest_probability() -> None:
    windows = table(
        ("a", 0.0, 2.0, 0.6, 0.1),
        ("a", 2.0, 4.0, 0.9, 0.5),
        ("a", 4.0, 6.0, 0.5, 0.49),
        ("a", 6.0, 8.0, 0.1, 0.7),
        ("a", 8.0, 8.5, 0.8, 0.7),
    )
    assert events_of(windows) == [
        Event("a", 0.0, 6.0, "owl", 0.9),
        Event("a", 2.0, 4.0, "frog", 0.5),
        Event("a", 6.0, 8.5, "frog", 0.7),
        Event("a", 8.0, 8.5, "owl", 0.8),
    ]


def test_an_event_must_reach_the_high_threshold_and_lasts_as_the_low_one_says() -> None:
    windows = table(
        ("a", 0.0, 1.0, 0.3, 0.4),
        ("a", 1.0, 2.0, 0.9, 0.2),
        ("a", 2.0, 3.0, 0.4, 0.1),
        ("a", 3.0, 4.0, 0.1, 0.3),
        ("a", 4.0, 5.0, 0.3, 0.7),
    )
    assert events_of(windows, threshold=0.3, high_threshold=0.9) == [Event("a", 0.0, 3.0, "owl", 0.9)]
    assert events_of(windows, threshold=0.3, high_threshold=0.7) == [
        Event("a", 0.0, 3.0, "owl", 0.9),
        Event("a", 3.0, 5.0, "frog", 0.7),
    ]
    assert events_of(windows, threshold=0.3, high_threshold=0.3) == events_of(windows, threshold=0.3)


@pytest.mark.parametrize(("high", "said"), [(0.2, "below the threshold of 0.5"), (1.5, "no probability")])
def test_a_high_threshold_below_the_other_or_no_probability_is_refused(high: float, said: str) -> None:
    with pytest.raises(KikiwakeError, match=said):
        events_of(table(("a", 0.0, 1.0, 0.3, 0.4)), high_threshold=high)


def test_windows_that_overlap_are_one_event_even_over_one_between_that_is_not() -> None:
    windows = table(
        ("a", 0.0, 4.0, 0.6, 0.0),
        ("a", 1.0, 5.0, 0.7, 0.0),
        ("a", 2.0, 6.0, 0.1, 0.0),  # 5 s and 4 s: the windows around it overlap all the same
        ("a", 4.0, 8.0, 0.5, 0.0),
        ("a", 9.0, 13.0, 0.5, 0.0),
    )
    assert events_of(windows) == [Event("a", 0.0, 8.0, "owl", 0.7), Event("a", 9.0, 13.0, "owl", 0.5)]


def test_an_event_reaches_to_the_end_of_its_longest_window() -> None:
    windows = table(("a", 0.0, 9.0, 0.6, 0.0), ("a", 1.0, 2.0, 0.7, 0.0), ("a", 8.0, 8.5, 0.5, 0.0))
    assert events_of(windows) == [Event("a", 0.0, 9.0, "owl", 0.7)]


def test_a_hop_longer_than_the_window_leaves_events_apart() -> None:
    windows = table(("a", 0.0, 1.0, 0.6, 0.0), ("a", 1.5, 2.5, 0.6, 0.0))
    assert [event.start for event in events_of(windows)] == [0.0, 1.5]


def test_times_that_a_table_has_rounded_still_touch() -> None:
    # 22,050 Hz, windows of 29,999 samples: ends and starts to the microsecond, as a CSV has them.
    edges = [round(number * 29_999 / 22_050, 6) for number in range(20)]
    windows = table(*(("a", start, end - 1e-6, 0.6, 0.0) for start, end in pairwise(edges)))
    (event,) = events_of(windows)
    assert (event.start, event.end) == (0.0, edges[-1] - 1e-6)
    one_sample_apart = table(("a", 0.0, 1.0, 0.6, 0.0), ("a", 1 + 1 / 384_000, 2.0, 0.6, 0.0))
    assert len(events_of(one_sample_apart)) == 2


def test_recordings_are_never_merged_and_their_windows_may_stand_in_any_order() -> None:
    windows = table(
        ("b", 2.0, 4.0, 0.6, 0.0),
        ("a", 4.0, 6.0, 0.6, 0.0),
        ("b", 0.0, 2.0, 0.7, 0.0),
        ("a", 0.0, 2.0, 0.8, 0.0),
    )
    assert events_of(windows) == [
        Event("b", 0.0, 4.0, "owl", 0.7),
        Event("a", 0.0, 2.0, "owl", 0.8),
        Event("a", 4.0, 6.0, "owl", 0.6),
    ]


@pytest.mark.parametrize(
    ("threshold", "count"), [(0, 2), (0.1, 2), (0.100001, 1), (0.9, 1), (0.900001, 0), (1, 0)]
)
def test_a_probability_that_equals_the_threshold_is_heard(threshold: float, count: int) -> None:
    assert len(events_of(table(("a", 0.0, 1.0, 0.9, 0.1)), threshold=threshold)) == count


@pytest.mark.parametrize("threshold", [-0.1, 1.01, float("nan"), 50])
def test_a_threshold_that_is_no_probability_is_refused(threshold: float) -> None:
    with pytest.raises(KikiwakeError, match=r"threshold: is no probability .*from 0 to 1"):
        events_of(table(("a", 0.0, 1.0, 0.9, 0.1)), threshold=threshold)


def test_no_windows_make_no_events() -> None:
    assert events_of(table(("a", 0.0, 1.0, 0.9, 0.1)).cut(0, 0)) == []


def frames(*owl: float) -> Predictions:
    """Frames of 0.1 s."""
    return table(*(("a", index / 10, (index + 1) / 10, value, 0.0) for index, value in enumerate(owl)))


def spans(events: list[Event]) -> list[tuple[float, float]]:
    return [(round(event.start, 6), round(event.end, 6)) for event in events]


def test_a_median_takes_single_windows_out_and_fills_single_holes() -> None:
    heard = frames(0.9, 0.0, 0.0, 0.9, 0.9, 0.0, 0.9, 0.7, 0.0, 0.0)
    assert spans(events_of(heard)) == [(0.0, 0.1), (0.3, 0.5), (0.6, 0.8)]
    # Three windows: 0 0 0 .9 .9 .9 .7 .7 0 0, the first from .9 .9 0.
    medians = events_of(heard, median_seconds=0.3)
    assert spans(medians) == [(0.0, 0.1), (0.3, 0.8)]
    assert [event.score for event in medians] == [0.9, 0.9]
    # 0.4 s are no odd number of windows: five, .9 .9 .9 0 .9 .9 .7 0 0 0, for the first from .9 .9 .9 0 0.
    assert spans(events_of(heard, median_seconds=0.4)) == [(0.0, 0.3), (0.4, 0.7)]
    assert events_of(heard, median_seconds=0.4) == events_of(heard, median_seconds=0.5)


def test_a_median_over_less_than_three_windows_is_refused() -> None:
    with pytest.raises(KikiwakeError, match=r"changes nothing: windows begin every 0\.1 s.*more than 0\.1 s"):
        events_of(frames(0.9, 0.0, 0.9), median_seconds=0.1)
    assert len(events_of(frames(0.9, 0.0, 0.9), median_seconds=0.15)) == 1  # over three windows
    assert len(events_of(frames(0.9), median_seconds=0.1)) == 1  # there are no neighbours


def test_gaps_are_closed_before_short_events_are_left_out() -> None:
    heard = frames(0.9, 0.0, 0.8, 0.0, 0.0, 0.7, 0.0, 0.0, 0.0, 0.6, 0.6)
    assert spans(events_of(heard, gap_seconds=0.1)) == spans(
        events_of(heard)
    )  # a gap of 0.1 s is not shorter
    assert spans(events_of(heard, gap_seconds=0.15)) == [(0.0, 0.3), (0.5, 0.6), (0.9, 1.1)]
    assert spans(events_of(heard, shortest_seconds=0.2)) == [(0.9, 1.1)]
    assert spans(events_of(heard, gap_seconds=0.25, shortest_seconds=0.3)) == [(0.0, 0.6)]


@pytest.mark.parametrize("name", ["median_seconds", "gap_seconds", "shortest_seconds"])
def test_negative_lengths_are_refused(name: str) -> None:
    with pytest.raises(KikiwakeError, match=name):
        events_of(frames(0.9), **{name: -0.1})
