"""Windows are joined to clips as worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from kikiwake.data import Request
from kikiwake.scoring import WindowScores, window_requests

SCORES = WindowScores(
    clips=np.array([4, 4, 2]),
    starts=np.array([0, 10, 0]),
    frames=np.array([10, 2, 0]),
    logits=np.zeros((3, 2)),
    probabilities=np.array([[0.9, 0.1], [0.3, 0.7], [0.5, 0.5]], np.float32),
)


def test_the_mean_weighs_windows_by_their_sound() -> None:
    # (10 * 0.9 + 2 * 0.3) / 12 = 0.8
    assert SCORES.clipwise([2, 4], aggregate="mean") == pytest.approx(np.array([[0.5, 0.5], [0.8, 0.2]]))


def test_the_maximum_takes_each_class_where_it_is_loudest() -> None:
    assert SCORES.clipwise([4], aggregate="max") == pytest.approx(np.array([[0.9, 0.7]]))


def test_clips_are_cut_into_windows_or_taken_whole() -> None:
    requests, sounding = window_requests([7], total=lambda _: 12, window=5, hop=5)
    assert requests == [Request(7, start=at, frames=5) for at in (0, 5, 10)]
    assert sounding == [5, 5, 2]
    assert window_requests([7], total=lambda _: 12, window=None, hop=None) == ([Request(7, start=0)], [12])
