"""One stem falls silent, never all."""

from __future__ import annotations

import numpy as np

from kikiwake.augmentations.stem_drop import StemDrop
from kikiwake.randomness import generator


def test_one_stem_falls_silent_and_each_has_its_turn() -> None:
    waveform = np.ones((4, 10), np.float32)
    silent = []
    for seed in range(60):
        found = StemDrop(p=1)(waveform, sample_rate=8000, rng=generator(seed))
        sums = found.sum(1).tolist()
        assert sorted(sums) == [0, 10, 10, 10]
        silent.append(sums.index(0))
    assert set(silent) == {0, 1, 2, 3}
    assert waveform.min() == 1


def test_it_happens_as_often_as_its_probability_says() -> None:
    waveform = np.ones((2, 3), np.float32)
    drop = StemDrop(p=0.3)
    dropped = sum(drop(waveform, sample_rate=8000, rng=generator(seed)).min() == 0 for seed in range(400))
    assert 90 < dropped < 150  # 120, and three standard deviations of 9.2


def test_the_only_channel_is_never_silenced() -> None:
    waveform = np.ones((1, 3), np.float32)
    assert all(StemDrop(p=1)(waveform, sample_rate=8000, rng=generator(s)).min() == 1 for s in range(20))
