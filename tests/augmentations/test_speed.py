"""A clip at another speed: pitch and tempo change together, and it never becomes longer."""

from __future__ import annotations

import numpy as np
import pytest

from kikiwake.augmentations.speed import Speed
from kikiwake.errors import RecipeError

RATE = 8000


def peak_hz(waveform: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(waveform.size)))
    return float(spectrum.argmax() * RATE / waveform.size)


def tone() -> np.ndarray:
    samples = np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE).astype(np.float32)
    return np.stack([samples, 0.5 * samples])


@pytest.mark.parametrize(("factor", "pitch", "sounding"), [(2.0, 880, RATE // 2), (0.5, 220, RATE)])
def test_the_pitch_follows_the_speed_and_nothing_is_filled(
    factor: float, pitch: float, sounding: int
) -> None:
    part = Speed(slowest=factor, fastest=factor, p=1.0)
    changed = part(tone(), sample_rate=RATE, rng=np.random.default_rng(0))
    assert changed.shape == (2, sounding)
    assert changed.dtype == np.float32
    assert peak_hz(changed[0]) == pytest.approx(pitch, abs=2)
    assert np.allclose(changed[1], 0.5 * changed[0], atol=1e-5)


def test_nothing_changes_out_of_turn() -> None:
    waveform = tone()
    assert Speed(p=0.0)(waveform, sample_rate=RATE, rng=np.random.default_rng(0)) is waveform


def test_limits_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(RecipeError, match="'slowest' is above 'fastest'"):
        Speed(slowest=1.2, fastest=1.1)
