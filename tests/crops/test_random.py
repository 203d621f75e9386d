from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kikiwake.crops.random import Random
from kikiwake.randomness import generator


def no_reading(start: int, frames: int) -> np.ndarray:
    raise AssertionError("this crop needs no audio")


@settings(deadline=None)
@given(total=st.integers(0, 10**9), seconds=st.floats(0.01, 100), seed=st.integers(0, 99))
def test_the_crop_lies_inside_the_clip_and_is_as_long_as_can_be(
    total: int, seconds: float, seed: int
) -> None:
    start, frames = Random(seconds=seconds).choose(
        total, sample_rate=8000, rng=generator(seed), read=no_reading
    )
    assert frames == min(total, round(seconds * 8000))
    assert 0 <= start <= total - frames


def test_every_place_is_drawn_and_all_alike() -> None:
    rng = generator(0)
    crop = Random(seconds=6 / 8000)
    starts = [crop.choose(10, sample_rate=8000, rng=rng, read=no_reading)[0] for _ in range(5000)]
    counts = np.bincount(starts)
    assert len(counts) == 5
    assert np.all(np.abs(counts - 1000) < 150)  # five standard deviations are 141
