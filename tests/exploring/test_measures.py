"""What is measured of a clip: signals whose numbers are known by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kikiwake.errors import AudioError
from kikiwake.exploring import _measures
from kikiwake.exploring._clipping import Clipping
from kikiwake.exploring._measures import Measures, Stretch, measure

RATE = 16_000


def sine(hertz: float, *, seconds: float = 2.0, rate: int = RATE, peak_dbfs: float = 0.0) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    return 10 ** (peak_dbfs / 20) * np.sin(2 * np.pi * hertz * time)


def band_of_noise(low: float, high: float, *, seconds: float, rate: int, rms: float) -> np.ndarray:
    """Noise whose every frequency outside the band is exactly zero."""
    size = round(seconds * rate)
    spectrum = np.fft.rfft(np.random.default_rng(0).normal(size=size))
    frequencies = np.fft.rfftfreq(size, 1 / rate)
    spectrum[(frequencies < low) | (frequencies > high)] = 0
    noise = np.fft.irfft(spectrum, size)
    return rms * noise / np.sqrt(np.mean(noise**2))


def measured(
    folder: Path, waveform: np.ndarray, rate: int = RATE, *, subtype: str = "FLOAT", **stretch: float
) -> Measures:
    path = folder / "clip.wav"
    soundfile.write(path, waveform, rate, subtype=subtype)
    return measure(Stretch(path, **stretch))  # type: ignore[arg-type]


def test_a_sine_of_minus_20_db_has_its_levels(tmp_path: Path) -> None:
    found = measured(tmp_path, sine(1000, peak_dbfs=-20))
    assert found.peak_dbfs == pytest.approx(-20, abs=0.001)
    assert found.rms_dbfs == pytest.approx(-20 - 10 * math.log10(2), abs=0.001)
    assert (found.seconds, found.sample_rate, found.channels, found.format) == (2.0, RATE, 1, "WAV FLOAT")
    assert found.silent_share == found.clipped_share == found.clipped_runs == 0
    assert found.dc_offset == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000, 96_000])
def test_loudness_is_that_of_the_standards_own_example(tmp_path: Path, rate: int) -> None:
    # BS.1770-4, annex 1: a sine of 997 Hz at 0 dBFS in one channel has a loudness of -3.01 LUFS.
    found = measured(tmp_path, sine(997, seconds=3, rate=rate), rate)
    assert found.loudness_lufs == pytest.approx(-3.01, abs=0.02)


def test_pauses_do_not_lower_loudness(tmp_path: Path) -> None:
    tone = sine(997, seconds=4, rate=48_000, peak_dbfs=-20)
    found = measured(tmp_path, np.concatenate([tone, np.zeros_like(tone)]), 48_000)
    # 37 blocks of 0.4 s lie in the tone and three over its end, with three, two and one quarter of its power,
    # all within 10 LU of the mean: (37 + 0.75 + 0.5 + 0.25) / 40 of the power. Later ones are left out.
    assert found.loudness_lufs == pytest.approx(-23.01 + 10 * math.log10(38.5 / 40), abs=0.02)
    assert found.rms_dbfs == pytest.approx(-26.02, abs=0.01)


def test_half_of_a_clip_is_silent(tmp_path: Path) -> None:
    tone = sine(500, seconds=1.0)
    found = measured(tmp_path, np.concatenate([tone, np.zeros(RATE)]))
    assert found.silent_share == 0.5
    assert found.zero_share == 0.5
    assert 0 < found.loudest_seconds < 1
    faint = measured(tmp_path, np.concatenate([tone, 1e-4 * tone]))
    assert (faint.silent_share, faint.zero_share) == (0.5, 0)


def test_zeros_alone_have_no_level(tmp_path: Path) -> None:
    found = measured(tmp_path, np.zeros(RATE))
    assert found.peak_dbfs == found.rms_dbfs == -math.inf
    assert found.loudness_lufs is None
    assert found.bandwidth_hz is None
    assert found.silent_share == found.zero_share == 1


@pytest.mark.parametrize("subtype", ["FLOAT", "PCM_16", "PCM_24"])
def test_a_sine_of_twice_full_scale_is_clipped_in_ten_of_twelve_samples(tmp_path: Path, subtype: str) -> None:
    # 12 samples a period: 2 sin gives 0, 1, 1.73, 2, 1.73, 1, 0, -1, ...: ten of them are cut to full scale.
    # What is 1 in theory is set to it, for rounding may put it below.
    clipped = np.round(np.clip(2 * np.sin(2 * np.pi * np.arange(12) / 12), -1, 1), 6)
    found = measured(tmp_path, np.tile(clipped, 1000), 12_000, subtype=subtype)
    assert found.clipped_share == pytest.approx(10 / 12)
    assert found.clipped_runs == 2000


@pytest.mark.parametrize("hertz", [100, 1000, 5000])
def test_a_sine_that_touches_full_scale_is_not_clipped(tmp_path: Path, hertz: float) -> None:
    found = measured(tmp_path, sine(hertz, rate=44_100), 44_100, subtype="PCM_16")
    assert found.clipped_runs == 0


def test_runs_are_whole_across_blocks() -> None:
    row = np.zeros(100, np.float32)
    row[[0, 1, 2]] = 1.0  # a run of three at the start
    row[10:12] = -1.0  # two are no run
    row[40:60] = 1.0
    row[60:63] = -1.0  # another run: the sign changes, but both lie at full scale
    row[97:] = 0.995  # to the end
    for block in (1, 7, 41, 50, 100):
        counted = Clipping(channels=1)
        for start in range(0, 100, block):
            counted.add(row[None, start : start + block])
        counted.finish()
        assert (counted.samples, counted.runs) == (3 + 23 + 3, 3), block


def test_the_mean_of_a_shifted_channel_is_its_offset(tmp_path: Path) -> None:
    tone = sine(500, peak_dbfs=-20)
    found = measured(tmp_path, np.stack([tone + 0.01, tone - 0.05], axis=1))
    assert found.dc_offset == pytest.approx(-0.05, abs=1e-6)
    assert found.channels == 2


@pytest.mark.parametrize("subtype", ["FLOAT", "PCM_24", "PCM_16"])
@pytest.mark.parametrize("limit", [2_000, 4_000, 7_000])
def test_noise_below_a_limit_has_that_bandwidth(tmp_path: Path, limit: float, subtype: str) -> None:
    noise = band_of_noise(50, limit, seconds=3, rate=RATE, rms=0.1)
    found = measured(tmp_path, noise, subtype=subtype)
    assert found.bandwidth_hz == pytest.approx(limit, abs=0.01 * RATE)


def test_white_noise_fills_what_the_rate_allows(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 2 * RATE)
    found = measured(tmp_path, noise)
    assert found.bandwidth_hz == RATE / 2
    assert found.bandwidth_share == 1


def test_a_recording_brought_up_from_half_the_rate_is_found_out(tmp_path: Path) -> None:
    import soxr

    low = np.random.default_rng(0).normal(0, 0.1, 3 * 11_025)
    found = measured(tmp_path, soxr.resample(low, 11_025, 44_100, "HQ"), 44_100, subtype="PCM_16")
    assert found.bandwidth_hz == pytest.approx(5_512, abs=250)
    # A hard cut to silence holds all frequencies for two frames, and does not count.
    padded = np.concatenate([soxr.resample(low, 11_025, 44_100, "HQ"), np.zeros(44_100)])
    assert measured(tmp_path, padded, 44_100).bandwidth_hz == pytest.approx(5_512, abs=250)


def test_a_full_scale_tone_does_not_fill_the_spectrum(tmp_path: Path) -> None:
    found = measured(tmp_path, sine(3000, peak_dbfs=-0.1))
    assert found.bandwidth_hz == pytest.approx(3000, abs=0.01 * RATE)


def test_noise_at_the_limit_of_what_counts(tmp_path: Path) -> None:
    tone = sine(1000, seconds=3, peak_dbfs=-20)
    noise = np.random.default_rng(0).normal(0, 1, len(tone))
    below = measured(tmp_path, tone + 10 ** (-97 / 20) * noise)
    above = measured(tmp_path, tone + 10 ** (-85 / 20) * noise)
    assert below.bandwidth_hz == pytest.approx(1000, abs=0.01 * RATE)
    assert above.bandwidth_hz == pytest.approx(RATE / 2, abs=0.01 * RATE)


def test_a_stretch_is_measured_and_nothing_around_it(tmp_path: Path) -> None:
    whole = np.concatenate([np.zeros(RATE), sine(1000, seconds=1), np.zeros(RATE)])
    for noted in (None, RATE, 44_100):  # a manifest may be wrong about the rate
        found = measured(tmp_path, whole, start=1.0, end=2.0, sr=noted)
        assert found.seconds == 1.0
        assert found.silent_share == 0
        assert found.rms_dbfs == pytest.approx(-3.01, abs=0.01)
    with pytest.raises(AudioError, match="nothing of this clip"):
        measured(tmp_path, whole, start=4.0, end=5.0)


def test_blocks_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(1).normal(0, 0.5, (5 * RATE + 123, 2)).clip(-1, 1)
    whole = measured(tmp_path, noise)
    monkeypatch.setattr(_measures, "_BLOCK_SAMPLES", 1)
    pieces = measured(tmp_path, noise)
    for name in Measures.__slots__:
        expected = getattr(whole, name)
        if isinstance(expected, float):
            assert getattr(pieces, name) == pytest.approx(expected, rel=1e-9, abs=1e-12), name
        else:
            assert getattr(pieces, name) == expected, name


@pytest.mark.parametrize("samples", [1, 50, 700, 5000])
def test_very_short_clips_are_measured(tmp_path: Path, samples: int) -> None:
    found = measured(tmp_path, np.random.default_rng(0).normal(0, 0.1, samples))
    assert found.seconds == samples / RATE
    assert math.isfinite(found.rms_dbfs)
    assert found.loudness_lufs is not None


def test_the_same_samples_have_the_same_hash_in_any_file(tmp_path: Path) -> None:
    noise = np.round(np.random.default_rng(0).normal(0, 0.1, RATE) * 32768) / 32768
    as_pcm = measured(tmp_path, noise, subtype="PCM_16").sound
    as_float = measured(tmp_path, noise, subtype="FLOAT").sound
    other = measured(tmp_path, noise[::-1], subtype="PCM_16").sound
    assert as_pcm == as_float != other
