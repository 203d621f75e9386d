"""Separating where memory runs out, and where a separator fails."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from kikiwake.errors import SeparationError, WeightsError
from kikiwake.separators import SpanSeparation
from kikiwake.separators.bands import Bands

RATE = 8000


class Limited(Bands):
    """Has memory for some windows at once, and asks torch for 36 petabytes where there are more."""

    saves_memory = "data.separator.batch_size: 1"

    def __init__(self, *, batch_size: int, room: int) -> None:
        super().__init__(sample_rate=RATE)
        self.batch_size = batch_size
        self.room = room
        self.asked: list[int] = []

    def __call__(self, mixture: Tensor) -> Tensor:
        self.asked.append(len(mixture))
        if len(mixture) > self.room:
            torch.empty(1 << 55, dtype=torch.uint8)
        return super().__call__(mixture)


class Failing(Bands):
    """Fails as it is told."""

    def __init__(self, fail: Callable[[], object]) -> None:
        super().__init__(sample_rate=RATE)
        self.fail = fail

    def __call__(self, mixture: Tensor) -> Tensor:
        self.fail()
        return super().__call__(mixture)


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 0.1, (1, round(seconds * RATE))).astype(np.float32)


def stems(separator: Bands, mixture: np.ndarray) -> np.ndarray:
    return np.concatenate(list(SpanSeparation(separator, start=0, stop=None)([mixture])), axis=1)


def test_where_memory_runs_out_fewer_windows_are_separated_at_once_from_then_on() -> None:
    limited = Limited(batch_size=8, room=3)
    mixture = noise(50)  # 11.1 hops: 12 windows
    np.testing.assert_allclose(stems(limited, mixture), stems(Bands(sample_rate=RATE), mixture), atol=1e-6)
    assert limited.batch_size == 2
    assert limited.asked == [8, 4, 2, 2, 2, 2, 2, 2]
    limited.asked.clear()
    stems(limited, noise(20))
    assert max(limited.asked) == 2


def test_a_batch_that_is_cut_short_by_the_end_is_halved_from_its_own_size() -> None:
    limited = Limited(batch_size=64, room=1)
    stems(limited, noise(12))
    assert limited.asked == [3, 1, 1, 1]


def test_memory_that_does_not_suffice_for_one_window_is_an_error_with_remedies() -> None:
    with pytest.raises(
        SeparationError, match=r"with 1 segment at a time; set data\.separator\.batch_size: 1;"
    ):
        stems(Limited(batch_size=2, room=0), noise(12))
    starving = Failing(lambda: np.empty(1 << 55))
    with pytest.raises(SeparationError, match="out of memory with 1 segment at a time; use fewer workers"):
        stems(starving, noise(1))


def test_an_error_that_nobody_thought_of_names_what_failed_where() -> None:
    failing = Failing(lambda: torch.ones(2) @ torch.ones(3))
    message = r"data\.separator: the separator failed: RuntimeError: .* \(test_batches\.py:\d+\); this is not"
    with pytest.raises(SeparationError, match=message):
        stems(failing, noise(1))


def test_errors_of_our_own_pass() -> None:
    def fail() -> None:
        raise WeightsError("gone")

    with pytest.raises(WeightsError, match="gone"):
        stems(Failing(fail), noise(1))
