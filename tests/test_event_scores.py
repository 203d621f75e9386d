"""Scores of events: worked out by hand, and equal to sed_eval's."""

from __future__ import annotations

import random

import numpy as np
import pytest

from kikiwake import event_scores
from kikiwake.errors import KikiwakeError
from kikiwake.event_scores import event_tally, pairs, per_class, scores, segment_tally, total
from kikiwake.events import Event

CLASSES = ["frog", "owl", "toad", "wren"]


def events(*rows: tuple[float, float, str]) -> list[Event]:
    return [Event("a", *row) for row in rows]


def drawn() -> dict[str, tuple[list[Event], list[Event]]]:
    """Truth and what was found of three recordings, with misses, wrong classes, shifts and inventions."""
    rng = random.Random(7)
    lists: dict[str, tuple[list[Event], list[Event]]] = {}
    for path in ("a", "b", "c"):
        truth, found = lists.setdefault(path, ([], []))
        for _ in range(12):
            start, length = round(rng.uniform(0, 25), 3), round(rng.uniform(0.1, 4), 3)
            label = rng.choice(["owl", "frog", "toad"])
            truth.append(Event(path, start, round(start + length, 3), label))
            if rng.random() < 0.75:
                begin = round(max(0, start + rng.gauss(0, 0.12)), 3)
                end = round(max(begin + 0.05, start + length + rng.gauss(0, 0.25)), 3)
                heard = label if rng.random() < 0.8 else rng.choice(["owl", "frog", "toad", "wren"])
                found.append(Event(path, begin, end, heard))
            if rng.random() < 0.2:
                begin = max(0, round(start + rng.gauss(0, 0.1), 3))
                found.append(
                    Event(path, begin, round(begin + length, 3), rng.choice(["owl", "frog", "toad"]))
                )
        for _ in range(2):
            begin = round(rng.uniform(0, 25), 3)
            end = round(begin + rng.uniform(0.1, 3), 3)
            found.append(Event(path, begin, end, rng.choice(["owl", "frog", "toad"])))
    return lists


# Computed once with sed_eval 0.2.1 on `drawn()`, recording by recording, with all four classes in
# event_label_list: SegmentBasedMetrics(time_resolution=...), and EventBasedMetrics(t_collar=0.2,
# percentage_of_length=0.2, event_matching_type="optimal"), with empty_system_output_handling="zero_score";
# results_overall_metrics(), results_class_wise_average_metrics()["f_measure"], class_wise counts.
GOLDEN = {
    "segments of 1 s": (
        {
            "micro_f1": 0.7682926829268293,
            "micro_precision": 0.7682926829268293,
            "micro_recall": 0.7682926829268293,
            "macro_f1": 0.7958553791887125,
            "error_rate": 0.3414634146341463,
        },
        {"labels": [29, 26, 27, 0], "decisions": [27, 22, 27, 6], "hits": [22, 18, 23, 0]},
        [10, 9, 9],
    ),
    "segments of 0.1 s": (
        {
            "micro_f1": 0.7407407407407408,
            "micro_precision": 0.7288135593220338,
            "micro_recall": 0.7530647985989493,
            "macro_f1": 0.7660160579466232,
            "error_rate": 0.4185639229422067,
        },
        {"labels": [223, 185, 163, 0], "decisions": [209, 158, 185, 38], "hits": [164, 120, 146, 0]},
        [62, 79, 98],
    ),
    "events": (
        {
            "micro_f1": 0.4871794871794871,
            "micro_precision": 0.4523809523809524,
            "micro_recall": 0.5277777777777778,
            "macro_f1": 0.5093162393162394,
            "error_rate": 0.9166666666666666,
        },
        {"labels": [11, 13, 12, 0], "decisions": [13, 13, 13, 3], "hits": [7, 5, 7, 0]},
        [7, 10, 16],
    ),
}


@pytest.mark.parametrize("way", list(GOLDEN))
def test_numbers_are_those_of_sed_eval(way: str) -> None:
    lists = drawn().values()
    if way == "events":
        tally = total([event_tally(*pair, classes=CLASSES) for pair in lists])
    else:
        seconds = float(way.split()[-2])
        tally = total([segment_tally(*pair, classes=CLASSES, segment_seconds=seconds) for pair in lists])
    values, counts, errors = GOLDEN[way]
    for name, count in counts.items():
        assert getattr(tally, name).tolist() == count
    assert tally.errors.tolist() == errors
    found = scores(tally)
    assert {name: found[name] for name in values} == pytest.approx(values, abs=1e-12)


@pytest.mark.parametrize("way", ["segments", "events"])
def test_numbers_are_those_of_sed_eval_where_it_is_installed(way: str) -> None:
    sed_eval = pytest.importorskip("sed_eval")
    if way == "events":
        theirs = sed_eval.sound_event.EventBasedMetrics(
            CLASSES, t_collar=0.2, percentage_of_length=0.2, event_matching_type="optimal"
        )
    else:
        theirs = sed_eval.sound_event.SegmentBasedMetrics(CLASSES, time_resolution=1.0)
    ours = []
    for truth, found in drawn().values():
        rows = [
            [
                {"file": e.path, "event_onset": e.start, "event_offset": e.end, "event_label": e.label}
                for e in each
            ]
            for each in (truth, found)
        ]
        theirs.evaluate(*rows)
        tally = event_tally if way == "events" else segment_tally
        ours.append(tally(truth, found, classes=CLASSES))
    overall = theirs.results_overall_metrics()
    assert scores(total(ours))["micro_f1"] == pytest.approx(overall["f_measure"]["f_measure"], abs=1e-12)
    assert scores(total(ours))["error_rate"] == pytest.approx(overall["error_rate"]["error_rate"], abs=1e-12)


def test_segments_worked_out_by_hand() -> None:
    """Segments of 1 s: owl is in 0 1 2, frog in 4; found are owl in 1 2 3 and toad in 4."""
    truth = events((0.9, 2.1, "owl"), (4.0, 5.0, "frog"))
    found = events((1.0, 4.0, "owl"), (4.2, 4.3, "toad"))
    tally = segment_tally(truth, found, classes=CLASSES)
    assert tally.labels.tolist() == [1, 3, 0, 0]
    assert tally.decisions.tolist() == [0, 3, 1, 0]
    assert tally.hits.tolist() == [0, 2, 0, 0]
    # Frog taken for toad in 4, owl missed in 0, owl invented in 3.
    assert tally.errors.tolist() == [1, 1, 1]
    assert scores(tally) == pytest.approx(
        {
            "micro_f1": 2 * 2 / (4 + 4),
            "micro_precision": 2 / 4,
            "micro_recall": 2 / 4,
            "macro_f1": (2 / 3 + 0) / 2,  # owl and frog; toad is not there
            "error_rate": 3 / 4,
            "macro_error_rate": (2 / 3 + 1) / 2,
        }
    )


def test_a_time_on_the_edge_of_a_segment_does_not_touch_the_next_one() -> None:
    """0.1 + 0.2 is a little more than 0.3, which would be a fourth segment of 0.1 s."""
    tally = segment_tally(events((0.0, 0.1 + 0.2, "owl")), [], classes=CLASSES, segment_seconds=0.1)
    assert tally.labels.tolist() == [0, 3, 0, 0]
    tally = segment_tally([], events((0.3 - 1e-9, 0.7, "owl")), classes=CLASSES, segment_seconds=0.1)
    assert tally.decisions.tolist() == [0, 4, 0, 0]
    point = segment_tally(events((2.0, 2.0, "owl")), [], classes=CLASSES)
    assert point.labels.sum() == 1


@pytest.mark.parametrize(
    ("found", "right"),
    [
        ((1.2, 3.0), True),  # an onset on the edge of its collar, rounded up or not
        ((0.8, 3.0), True),
        ((1.21, 3.0), False),
        ((1.0, 3.4), True),  # 20 % of 2 s
        ((1.0, 2.6), True),
        ((1.0, 3.41), False),
        ((1.0, 2.59), False),
    ],
)
def test_the_collars_worked_out_by_hand(found: tuple[float, float], right: bool) -> None:
    tally = event_tally(events((1.0, 3.0, "owl")), events((*found, "owl")), classes=CLASSES)
    assert tally.hits.sum() == right
    # Of a short event the collar in seconds is the wider one.
    short = event_tally(events((1.0, 1.1, "owl")), events((1.0, 1.3, "owl")), classes=CLASSES)
    assert short.hits.sum() == 1


def test_as_many_events_as_can_be_are_paired() -> None:
    """The first could take either, the second only the one that is nearer to the first, too."""
    truth = events((1.0, 2.0, "owl"), (1.3, 2.3, "owl"))
    found = events((1.15, 2.15, "owl"), (0.85, 1.85, "owl"))
    right, confused = pairs(truth, found)
    assert sorted(right) == [(0, 1), (1, 0)]
    assert confused == []
    # One that was found stands for one event at most.
    assert event_tally(truth, found[:1], classes=CLASSES).hits.sum() == 1


def test_errors_of_events_worked_out_by_hand() -> None:
    truth = events((0.0, 1.0, "owl"), (5.0, 6.0, "frog"), (8.0, 9.0, "frog"))
    found = events((0.1, 1.1, "owl"), (5.0, 6.0, "toad"), (20.0, 21.0, "frog"), (5.1, 6.1, "wren"))
    tally = event_tally(truth, found, classes=CLASSES)
    assert tally.errors.tolist() == [1, 1, 2]  # frog taken for toad; frog missed; frog and wren invented
    assert scores(tally)["error_rate"] == pytest.approx(4 / 3)
    rows = {row["class"]: row for row in per_class(tally, classes=CLASSES)}
    assert rows["owl"] == {
        "class": "owl", "labels": 1, "decisions": 1, "hits": 1, "f1": 1.0, "precision": 1.0, "recall": 1.0,
        "error_rate": 0.0,
    }  # fmt: skip
    assert (rows["frog"]["f1"], rows["frog"]["error_rate"]) == (0.0, 1.5)
    assert (rows["toad"]["recall"], rows["toad"]["error_rate"], rows["toad"]["f1"]) == (None, None, 0.0)


def test_what_is_undefined_is_none() -> None:
    nothing = event_tally([], [], classes=CLASSES)
    assert set(scores(nothing).values()) == {None}
    silent = scores(event_tally(events((1, 2, "owl")), [], classes=CLASSES))
    assert (silent["micro_f1"], silent["micro_precision"], silent["error_rate"]) == (0.0, None, 1.0)
    invented = scores(segment_tally([], events((1, 2, "owl")), classes=CLASSES))
    assert (invented["micro_f1"], invented["macro_f1"], invented["error_rate"]) == (0.0, None, None)


def test_many_events_are_paired_fast_and_all() -> None:
    """10,000 events a second apart, all a little late."""
    truth = [Event("a", float(at), at + 0.5, "owl") for at in range(10_000)]
    found = [Event("a", at + 0.1, at + 0.6, "owl") for at in range(10_000)]
    order = np.random.default_rng(0).permutation(10_000).tolist()
    right, confused = pairs(truth, [found[at] for at in order])
    assert len(right) == 10_000
    assert all(order[other] == one for one, other in right)
    assert confused == []


def test_wrong_settings_and_strange_classes_are_refused() -> None:
    with pytest.raises(KikiwakeError, match=r"segment_seconds: must be above 0.*; give the length"):
        segment_tally([], [], classes=CLASSES, segment_seconds=0)
    with pytest.raises(KikiwakeError, match=r"collar: must be 0 or more.*; give collar_seconds"):
        pairs([], [], collar_seconds=-0.1)
    said = rf"none of the classes \(got 'bat'\); name one of {', '.join(CLASSES)}"
    for tally in (event_scores.event_tally, event_scores.segment_tally):
        with pytest.raises(KikiwakeError, match=said):
            tally(events((1, 2, "bat")), [], classes=CLASSES)
