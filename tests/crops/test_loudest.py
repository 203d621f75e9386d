from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from kikiwake.crops import loudest
from kikiwake.crops.loudest import Loudest
from kikiwake.randomness import generator

RATE = 1000


def choose(crop: Loudest, waveform: np.ndarray, *, seed: int = 0) -> tuple[int, int]:
    return crop.choose(
        waveform.shape[1],
        sample_rate=RATE,
        rng=generator(seed),
        read=lambda start, frames: waveform[:, start : start + frames],
    )


def quiet_with_burst(at_seconds: float, *, seconds: int = 30) -> np.ndarray:
    waveform = generator(0).normal(0, 0.01, (1, seconds * RATE)).astype(np.float32)
    start = round(at_seconds * RATE)
    waveform[:, start : start + RATE] += 0.5
    return waveform


@pytest.mark.parametrize("at", [0.0, 7.0, 12.5, 28.9])
def test_the_burst_is_inside_the_chosen_stretch(at: float) -> None:
    start, frames = choose(Loudest(seconds=4.0, jitter_seconds=0.0), quiet_with_burst(at))
    assert frames == 4 * RATE
    assert start <= at * RATE <= start + frames - RATE


def test_the_choice_is_that_of_the_plain_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loudest, "BLOCK", 777)
    waveform = generator(3).normal(0, 1, (2, 10_123)).astype(np.float32)
    starts = [*range(0, 10_123 - 2500, 300), 10_123 - 2500]
    rms = [np.sqrt(np.mean(waveform[:, start : start + 2500].astype(float) ** 2)) for start in starts]
    crop = Loudest(seconds=2.5, stride_seconds=0.3, jitter_seconds=0.0)
    assert choose(crop, waveform) == (starts[int(np.argmax(rms))], 2500)


def test_jitter_moves_the_stretch_both_ways_within_its_bound() -> None:
    crop = Loudest(seconds=4.0, jitter_seconds=2.0)
    still = choose(Loudest(seconds=4.0, jitter_seconds=0.0), quiet_with_burst(12.0))[0]
    moves = np.array([choose(crop, quiet_with_burst(12.0), seed=seed)[0] - still for seed in range(60)])
    assert np.abs(moves).max() <= 2 * RATE
    assert moves.min() < -RATE
    assert moves.max() > RATE


@pytest.mark.parametrize("at", [0.0, 29.0])
def test_a_moved_stretch_stays_inside_the_clip(at: float) -> None:
    for seed in range(20):
        start, frames = choose(Loudest(seconds=4.0, jitter_seconds=2.0), quiet_with_burst(at), seed=seed)
        assert 0 <= start <= 30 * RATE - frames


def test_opposite_channels_do_not_cancel() -> None:
    waveform = quiet_with_burst(12.0)
    start, _ = choose(Loudest(seconds=4.0, jitter_seconds=0.0), np.concatenate([waveform, -waveform]))
    assert 9 * RATE <= start <= 12 * RATE


@pytest.mark.parametrize("total", [0, 1, 1999, 2000])
def test_a_clip_no_longer_than_the_stretch_is_taken_whole(total: int) -> None:
    assert choose(Loudest(seconds=2.0), np.ones((1, total), np.float32)) == (0, total)


def test_memory_stays_flat_over_an_hour() -> None:
    block = np.ones((1, loudest.BLOCK), np.float32)
    tracemalloc.start()
    Loudest(seconds=10.0).choose(
        3600 * 32_000, sample_rate=32_000, rng=generator(0), read=lambda start, frames: block[:, :frames]
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6  # the hour itself is 460 MB
