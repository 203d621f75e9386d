"""Learning rates at points that are worked out by hand."""

from __future__ import annotations

import math

import pytest

from kikiwake.schedules.constant import Constant
from kikiwake.schedules.cosine import Cosine
from kikiwake.schedules.plateau import Plateau
from kikiwake.schedules.step import Step


def test_constant_stays() -> None:
    assert Constant().rate(0.1, epoch=7.5, epochs=10, scores=[]) == 0.1


@pytest.mark.parametrize(("epoch", "expected"), [(0, 1.0), (2, 0.1 + 0.9 * 0.75), (3, 0.55), (6, 0.1)])
def test_cosine_falls_along_half_a_period(epoch: float, expected: float) -> None:
    # A third of the way: 0.5 * (1 + cos 60 degrees) = 0.75.
    assert math.isclose(Cosine(minimum=0.1).rate(1.0, epoch=epoch, epochs=6, scores=[]), expected)


@pytest.mark.parametrize(("epoch", "expected"), [(0, 1.0), (9.99, 1.0), (10, 0.1), (25, 0.01)])
def test_step_divides_every_ten_epochs(epoch: float, expected: float) -> None:
    assert math.isclose(Step(every_epochs=10).rate(1.0, epoch=epoch, epochs=30, scores=[]), expected)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([], 1.0),
        ([0.5, 0.4], 1.0),
        ([0.5, 0.4, 0.5], 0.1),
        ([0.5, 0.4, 0.6, 0.6], 1.0),
        ([0.5, 0.4, 0.4, 0.3, 0.3], 0.01),
    ],
)
def test_plateau_divides_after_two_epochs_without_gain(scores: list[float], expected: float) -> None:
    rate = Plateau(patience=2).rate(1.0, epoch=len(scores), epochs=9, scores=scores)
    assert math.isclose(rate, expected)


def test_plateau_stops_at_its_minimum() -> None:
    assert Plateau(patience=1, minimum=0.05).rate(1.0, epoch=4, epochs=9, scores=[1, 0, 0, 0]) == 0.05
