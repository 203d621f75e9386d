"""Which windows become labels: rules and smoothing, on numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kikiwake.errors import KikiwakeError
from kikiwake.predictions import Predictions
from kikiwake.pseudo import Selection, Settings, select
from kikiwake.pseudo._content import drift
from kikiwake.pseudo._joined import Tally, _together
from kikiwake.pseudo._selection import confident, limits

CLASSES = ["frog", "owl"]

WINDOWS = np.array(
    [
        [0.95, 0.65],  # trains as frog, with a second class
        [0.60, 0.10],  # not above keep
        [0.65, 0.20],  # stays, does not train
        [0.10, 0.99],  # silent
        [0.70, 0.20],  # exactly at train: stays, does not train
        [0.80, 0.10],  # frog, less sure than the first
        [0.80, 0.10],  # as sure, but later
        [0.20, 0.90],  # trains as owl
        [0.30, 0.75],  # an owl that is held out
    ],
    np.float32,
)
RMS = np.array([0.1, 0.1, 0.1, 0.001, 0.1, 0.002, 0.1, 0.1, 0.1])


def predictions(probabilities: np.ndarray = WINDOWS, path: str = "night.wav") -> Predictions:
    starts = 2.5 * np.arange(len(probabilities))
    return Predictions([path] * len(starts), starts, starts + 5, probabilities, CLASSES)


def loudness(windows: Predictions) -> np.ndarray:
    return RMS[np.rint(windows.starts / 2.5).astype(int)]


def chosen(real: tuple[int, int] = (8, 4), **changes: Any) -> Selection:
    may_train = np.arange(len(WINDOWS)) != 8
    settings = Settings(**changes)
    return select(predictions(), real=real, settings=settings, rms=loudness, may_train=may_train)


def test_every_rule_takes_its_windows_and_the_most_confident_ones_stay() -> None:
    found = chosen()  # 30 % of 8 frogs are 2 windows, of 4 owls 1
    assert found.rows.tolist() == [0, 2, 4, 5, 6, 7, 8]
    assert found.rows[found.trains].tolist() == [0, 5, 7]
    assert found.classes.tolist() == [0, 0, 0, 0, 0, 1, 1]
    assert found.removed == {"keep": 1, "silence": 1, "held_out": 1, "train": 2, "cap": 1}


def test_what_is_not_heard_is_not_asked_for_its_loudness() -> None:
    asked: list[float] = []

    def remember(windows: Predictions) -> np.ndarray:
        asked.extend(windows.starts.tolist())
        return loudness(windows)

    select(predictions(), real=[8, 4], settings=Settings(), rms=remember)
    assert asked == [2.5 * row for row in (0, 2, 3, 4, 5, 6, 7, 8)]


def test_labels_keep_what_is_above_keep_and_are_smoothed_over_the_classes() -> None:
    labels = chosen().labels
    np.testing.assert_allclose(labels[0], [0.95 * 0.9 + 0.05, 0.65 * 0.9 + 0.05], rtol=1e-6)
    np.testing.assert_allclose(labels[3], [0.80 * 0.9 + 0.05, 0.05], rtol=1e-6)
    assert labels.dtype == np.float32
    np.testing.assert_array_equal(chosen(smoothing=0).labels[3], np.array([0.8, 0], np.float32))


@pytest.mark.parametrize(
    ("real", "changes", "trains"),
    [
        ((8, 4), {"max_share": None}, [0, 5, 6, 7]),
        ((8, 4), {"max_share": None, "max_per_class": 1}, [0, 7]),
        ((8, 4), {"max_share": 0.3, "max_per_class": 1}, [0, 7]),
        ((3, 100), {}, [7]),  # 30 % of 3 clips is no window
        ((0, 4), {}, [7]),  # a class without a real clip
        ((8, 4), {"train": 0.92}, [0]),
        ((8, 4), {"keep": 0.8, "train": 0.8}, [0, 7]),
    ],
)
def test_caps_and_thresholds_follow_the_settings(
    real: tuple[int, int], changes: dict[str, Any], trains: list[int]
) -> None:
    found = chosen(real, **changes)
    assert found.rows[found.trains].tolist() == trains


def test_a_share_is_counted_as_it_is_written() -> None:
    assert 0.29 * 100 < 29  # in floating point
    assert limits([100, 10], Settings(max_share=0.29)) == [29, 2]


def test_nothing_heard_gives_no_row() -> None:
    found = select(predictions(WINDOWS[:0]), real=[8, 4], settings=Settings(), rms=loudness)
    assert (len(found.rows), len(found.trains), found.labels.shape) == (0, 0, (0, 2))


def test_the_table_holds_what_is_above_keep() -> None:
    np.testing.assert_array_equal(
        confident(predictions(WINDOWS[[0, 2]]), Settings()).probabilities,
        np.array([[0.95, 0.65], [0.65, 0]], np.float32),
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"keep": 0.8},
        {"train": 1.1},
        {"max_share": -1},
        {"join": "median"},
        {"hop_seconds": 0.0},
        {"silence_rms": float("nan")},
        {"max_share": float("inf")},
        {"window_seconds": float("inf")},
    ],
)
def test_settings_without_sense_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(KikiwakeError):
        Settings(**changes)


def test_windows_overlap_by_half_unless_told() -> None:
    assert Settings(window_seconds=3).hop == 1.5
    assert Settings(hop_seconds=1).hop == 1


def test_windows_of_teachers_meet_by_their_number_and_are_joined() -> None:
    one = predictions(WINDOWS[:3])
    two = predictions(WINDOWS[3:5])  # heard at another rate: no third window, and starts that are rounded
    two.starts[:] = [0.0, 2.4999]
    found = _together({0: one, 3: two}, hop=2.5, by="mean", weights=[3.0, 1.0])
    np.testing.assert_allclose(
        found.joined.probabilities,
        (3 * WINDOWS[:2] + WINDOWS[3:5]) / 4,
        rtol=1e-6,
    )
    assert found.joined.starts.tolist() == [0.0, 2.5]
    assert (found.numbers, found.apart) == ([0, 3], 1)


def test_agreement_is_the_share_of_the_same_best_class_and_pearsons_correlation() -> None:
    rng = np.random.default_rng(0)
    one = rng.random((40, 2)).astype(np.float32)
    two = (0.5 * one + 0.5 * rng.random((40, 2))).astype(np.float32)
    tally = Tally()
    recordings = [
        _together({0: predictions(one[part]), 1: predictions(two[part])}, hop=2.5, by="mean", weights=None)
        for part in (slice(0, 15), slice(15, 40))
    ]
    assert list(tally.count(recordings)) == recordings
    (pair,) = tally.agreement(["a", "b"])
    expected = np.mean([np.corrcoef(one[:, k], two[:, k])[0, 1] for k in range(2)])
    assert (pair["first"], pair["second"], pair["windows"]) == ("a", "b", 40)
    assert pair["same_best"] == np.mean(one.argmax(1) == two.argmax(1))
    assert pair["correlation"] == pytest.approx(expected, abs=1e-6)
    assert tally.confidence.sum() == 40


def test_the_drift_of_classes_is_the_total_variation() -> None:
    assert drift([10, 10], [3, 1]) == 0.25
    assert drift([10, 0], [0, 2]) == 1
    assert drift([10, 0], [0, 0]) is None
