"""Compression: loud moments become softer by the ratio, in all channels alike."""

from __future__ import annotations

import numpy as np
import pytest

from kikiwake.augmentations.compressor import Compressor
from kikiwake.errors import RecipeError
from kikiwake.randomness import generator

RATE = 32_000


def two_levels(difference_db: float) -> np.ndarray:
    """Half a second of a loud tone and half of a softer one; the second channel is half the first."""
    time = np.arange(RATE) / RATE
    tone = 0.5 * np.sin(2 * np.pi * 2000 * time)
    tone[RATE // 2 :] *= 10 ** (-difference_db / 20)
    return np.stack([tone, 0.5 * tone]).astype(np.float32)


def difference_db(waveform: np.ndarray) -> float:
    """How much louder the middle of the first half is than that of the second, in the first channel."""
    loud, soft = (waveform[0, start : start + RATE // 4].std() for start in (RATE // 8, 5 * RATE // 8))
    return float(20 * np.log10(loud / soft))


def compressed(waveform: np.ndarray, *, threshold_db: float, ratio: float) -> np.ndarray:
    part = Compressor(
        lowest_threshold_db=threshold_db,
        highest_threshold_db=threshold_db,
        lowest_ratio=ratio,
        highest_ratio=ratio,
        p=1.0,
    )
    return part(waveform, sample_rate=RATE, rng=generator(0))


@pytest.mark.parametrize(
    ("threshold_db", "ratio", "left_db"),
    [
        (-20.0, 4.0, 25.0),  # 20 dB above the threshold leave as 5: 40 - 15
        (-20.0, 1000.0, 20.02),  # a limiter
        (-30.0, 2.0, 25.0),  # 30 dB above the threshold leave as 15
        (-60.0, 2.0, 20.0),  # both are above: all differences are halved
        (-20.0, 1.0, 40.0),
        (0.0, 20.0, 40.0),  # nothing is above the loudest moment
    ],
)
def test_what_is_above_the_threshold_is_divided_by_the_ratio(threshold_db, ratio, left_db) -> None:
    waveform = two_levels(40.0)
    found = compressed(waveform, threshold_db=threshold_db, ratio=ratio)
    assert difference_db(waveform) == pytest.approx(40.0, abs=0.01)
    assert difference_db(found) == pytest.approx(left_db, abs=0.1)


def test_power_is_kept_and_channels_share_the_gain() -> None:
    waveform = two_levels(40.0)
    found = compressed(waveform, threshold_db=-20.0, ratio=4.0)
    assert found.dtype == np.float32
    assert np.mean(found**2, dtype=float) == pytest.approx(np.mean(waveform**2, dtype=float), rel=1e-4)
    np.testing.assert_allclose(found[1], 0.5 * found[0], atol=1e-6)


def test_a_soft_recording_is_changed_as_a_loud_one() -> None:
    loud = compressed(two_levels(40.0), threshold_db=-20.0, ratio=4.0)
    soft = compressed(0.001 * two_levels(40.0), threshold_db=-20.0, ratio=4.0)
    np.testing.assert_allclose(1000 * soft, loud, atol=1e-4)


def test_thresholds_and_ratios_are_drawn_and_p_is_applied_once() -> None:
    waveform = two_levels(40.0)[:, ::20].copy()
    part = Compressor(p=0.7)
    found = [part(waveform, sample_rate=RATE // 20, rng=generator(0, draw)) for draw in range(1000)]
    changed = [each for each in found if each is not waveform]
    assert abs(len(changed) - 700) < 4 * np.sqrt(1000 * 0.7 * 0.3)
    assert len({each.tobytes() for each in changed}) == len(changed)


def test_silence_stays_silent_and_ranges_upside_down_are_refused() -> None:
    silence = np.zeros((1, 100), np.float32)
    assert Compressor(p=1.0)(silence, sample_rate=RATE, rng=generator(0)) is silence
    with pytest.raises(RecipeError, match="'lowest_ratio' is above 'highest_ratio'"):
        Compressor(lowest_ratio=30.0)
    with pytest.raises(RecipeError, match="'lowest_threshold_db' is above 'highest_threshold_db'"):
        Compressor(lowest_threshold_db=-3.0)
