"""Background noise: the ratio asked for, the stretch drawn, nothing hidden."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from kikiwake.augmentations.background_noise import BackgroundNoise
from kikiwake.errors import RecipeError
from kikiwake.randomness import generator

RATE = 8000


@pytest.fixture
def folder(tmp_path):
    """A ramp of 4 s, every value of which says where it stands, and a hum of half a second."""
    folder = tmp_path / "noise"
    (folder / "inside").mkdir(parents=True)
    ramp = np.linspace(0.1, 0.9, 4 * RATE, dtype=np.float32)
    soundfile.write(folder / "ramp.wav", ramp, RATE, subtype="FLOAT")
    hum = np.sin(np.arange(RATE // 2) * 0.1).astype(np.float32)
    soundfile.write(folder / "inside" / "hum.wav", hum, RATE, subtype="FLOAT")
    return folder


def clip(seconds=1.0):
    return generator(1).normal(0, 0.1, (2, round(seconds * RATE))).astype(np.float32)


def added(part, waveform, *, draw=0, rate=RATE):
    return part(waveform, sample_rate=rate, rng=generator(2, draw)) - waveform


@pytest.mark.parametrize("ratio", [-5.0, 0.0, 20.0])
def test_the_ratio_of_powers_is_the_one_asked_for(folder, ratio):
    part = BackgroundNoise(folder=folder, lowest_snr_db=ratio, highest_snr_db=ratio, p=1.0)
    noise = added(part, clip())
    found = 10 * np.log10(np.mean(clip() ** 2, dtype=float) / np.mean(noise**2, dtype=float))
    assert found == pytest.approx(ratio, abs=0.01)
    np.testing.assert_allclose(noise[0], noise[1], atol=1e-6)  # the same in every channel


def test_recordings_stretches_and_ratios_are_drawn(folder):
    part = BackgroundNoise(folder=folder, lowest_snr_db=0, highest_snr_db=10, p=1.0)
    noises = [added(part, clip(), draw=draw)[0] for draw in range(40)]
    ramps = [noise for noise in noises if np.all(np.diff(noise) > -1e-6)]
    assert 10 < len(ramps) < 30
    starts = [ramp[0] / (ramp[-1] - ramp[0]) for ramp in ramps]  # grows along the ramp, whatever the gain
    assert np.ptp(starts) > 2
    levels = [10 * np.log10(np.mean(noise**2, dtype=float)) for noise in noises]
    assert 7 < np.ptp(levels) <= 10.01
    again = added(part, clip(), draw=7)[0]
    np.testing.assert_array_equal(again, noises[7])


def test_a_short_recording_is_repeated_and_rates_are_converted(folder):
    (folder / "ramp.wav").unlink()
    part = BackgroundNoise(folder=folder, lowest_snr_db=0, highest_snr_db=0, p=1.0)
    noise = added(part, clip())[0]
    np.testing.assert_allclose(noise[: RATE // 2], noise[RATE // 2 :], atol=1e-6)
    waveform = clip(0.25)
    spectrum = np.abs(np.fft.rfft(added(part, waveform, rate=2 * RATE)[0]))
    pitch = spectrum.argmax() * 2 * RATE / waveform.shape[1]
    assert pitch == pytest.approx(0.1 * RATE / (2 * np.pi), abs=2 * RATE / waveform.shape[1])


def test_silence_and_clips_out_of_turn_stay_as_they_are(folder):
    silence = np.zeros((1, RATE), np.float32)
    assert not BackgroundNoise(folder=folder, p=1.0)(silence, sample_rate=RATE, rng=generator(0)).any()
    waveform = clip()
    assert BackgroundNoise(folder=folder, p=0.0)(waveform, sample_rate=RATE, rng=generator(0)) is waveform


def test_what_is_wrong_with_the_folder_is_said(folder, tmp_path):
    with pytest.raises(RecipeError, match="there is no such folder"):
        BackgroundNoise(folder=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecipeError, match="no recording is in this folder"):
        BackgroundNoise(folder=tmp_path / "empty")
    (folder / "broken.wav").write_bytes(b"RIFF")
    with pytest.raises(RecipeError, match=r"(?s)cannot be read.*broken\.wav"):
        BackgroundNoise(folder=folder)
    with pytest.raises(RecipeError, match="swap"):
        BackgroundNoise(folder=folder, lowest_snr_db=9, highest_snr_db=1)
