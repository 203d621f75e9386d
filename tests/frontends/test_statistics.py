"""Statistics of spectra over time: equal to librosa's on real recordings, and to what is known by hand."""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import pytest
import scipy.stats
import soundfile
import torch

from kikiwake.errors import RecipeError
from kikiwake.frontends._chroma import _filtered, _half_band, tuning_steps
from kikiwake.frontends._descriptors import (
    centroid_and_bandwidth,
    contrast,
    contrast_bands,
    rolloff,
    stretch_sums,
    stretch_weights,
    zero_crossing_rate,
)
from kikiwake.frontends._moments import MOMENTS, moments
from kikiwake.frontends.statistics import FMA_ROWS, Statistics

RATE = 44_100
TOLERANCES = dict.fromkeys(FMA_ROWS, 1e-4) | {
    "chroma_cqt": 0.01,
    "chroma_cens": 0.02,
    "tonnetz": 0.02,
    "spectral_contrast": 0.02,
}
"""Largest difference of maximum, mean, median, minimum and deviation, relative to the largest value. The
lowest octaves feel how long the resamplers are at a clip's ends; energy normalised chroma are rounded to five
levels, which tips over; valleys of the contrast can be but the rounding noise of the Fourier transform."""


def tone(hertz: float, *, seconds: float = 2.0) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    return (0.5 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def rows_of_librosa(samples: np.ndarray, rate: int) -> dict[str, np.ndarray]:
    """What the FMA paper's script measures, with one bin of the constant-Q transform a pitch class."""
    cq = np.abs(librosa.cqt(samples, sr=rate, hop_length=512, bins_per_octave=12, n_bins=84, tuning=None))
    octaves = {"C": cq, "n_chroma": 12, "n_octaves": 7, "bins_per_octave": 12}
    spectrum = np.abs(librosa.stft(samples, n_fft=2048, hop_length=512))
    mel = librosa.feature.melspectrogram(sr=rate, S=spectrum**2)
    cens = librosa.feature.chroma_cens(**octaves)
    return {
        "chroma_cens": cens,
        "chroma_cqt": librosa.feature.chroma_cqt(**octaves),
        "chroma_stft": librosa.feature.chroma_stft(S=spectrum**2, n_chroma=12, sr=rate),
        "mfcc": librosa.feature.mfcc(S=librosa.power_to_db(mel), n_mfcc=20),
        "rmse": librosa.feature.rms(S=spectrum),
        "spectral_bandwidth": librosa.feature.spectral_bandwidth(S=spectrum, sr=rate),
        "spectral_centroid": librosa.feature.spectral_centroid(S=spectrum, sr=rate),
        "spectral_contrast": librosa.feature.spectral_contrast(S=spectrum, n_bands=6, sr=rate),
        "spectral_rolloff": librosa.feature.spectral_rolloff(S=spectrum, sr=rate),
        "tonnetz": librosa.feature.tonnetz(chroma=cens),
        "zcr": librosa.feature.zero_crossing_rate(samples, frame_length=2048, hop_length=512),
    }


def moments_of_scipy(rows: np.ndarray) -> np.ndarray:
    values = rows.astype(np.float64)
    return np.stack(
        [
            scipy.stats.kurtosis(values, axis=1),
            values.max(1),
            values.mean(1),
            np.median(values, axis=1),
            values.min(1),
            scipy.stats.skew(values, axis=1),
            values.std(1),
        ]
    )


@pytest.fixture(scope="module")
def recordings(data_folder: Path) -> list[tuple[np.ndarray, int]]:
    """Three musical recordings that are never digitally silent."""
    found = []
    for path in sorted((data_folder / "instruments10" / "audio").glob("*.flac")):
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        samples = samples[: 5 * rate, 0]
        gaps = np.abs(samples[: len(samples) // 512 * 512]).reshape(-1, 512).max(1)
        if len(samples) > 2 * rate and gaps.min() > 1e-4:
            found.append((samples, rate))
        if len(found) == 3:
            break
    assert len(found) == 3
    return found


def vector(samples: np.ndarray, *, rate: int = RATE, **settings: object) -> dict[str, np.ndarray]:
    """The values of a mono clip by name: `[7, rows]` each."""
    part = Statistics(sample_rate=rate, in_channels=1, **settings)  # type: ignore[arg-type]
    values = part(torch.from_numpy(samples)[None, None])[0, :, 0].numpy()
    found, at = {}, 0
    for name, rows in FMA_ROWS.items():
        found[name] = values[at : at + 7 * rows].reshape(7, rows)
        at += 7 * rows
    return found


@pytest.mark.parametrize("name", FMA_ROWS)
def test_features_of_real_recordings_are_librosas(recordings, name):
    for samples, rate in recordings:
        rows = rows_of_librosa(samples, rate)[name]
        expected, found = moments_of_scipy(rows), vector(samples, rate=rate)[name]
        linear = [number for number, moment in enumerate(MOMENTS) if moment not in {"kurtosis", "skew"}]
        scale = float(np.abs(rows).max())
        assert found[linear] == pytest.approx(expected[linear], abs=TOLERANCES[name] * scale)
        bent = [number for number in range(7) if number not in linear]
        assert found[bent] == pytest.approx(expected[bent], rel=0.1, abs=0.2)


def test_log_mel_is_librosas(recordings):
    for samples, rate in recordings:
        mel = librosa.feature.melspectrogram(y=samples, sr=rate, n_fft=2048, hop_length=512, n_mels=128)
        levels = librosa.power_to_db(mel, top_db=None)
        part = Statistics(sample_rate=rate, in_channels=1, features=("log_mel",))
        found = part(torch.from_numpy(samples)[None, None])[0, :, 0].numpy()
        assert part.out_channels == 256
        assert found == pytest.approx(np.concatenate([levels.mean(1), levels.std(1)]), rel=1e-4, abs=1e-3)


def test_a_tone_gives_what_is_known_of_it():
    found = vector(tone(440.0))
    mean, median = MOMENTS.index("mean"), MOMENTS.index("median")
    for chroma in ("chroma_stft", "chroma_cqt", "chroma_cens"):
        assert found[chroma][mean].argmax() == 9  # A is the tenth pitch class from C on
    assert found["zcr"][median, 0] == pytest.approx(2 * 440 / RATE, rel=0.02)
    assert found["spectral_centroid"][median, 0] == pytest.approx(440, abs=5)
    assert found["rmse"][median, 0] == pytest.approx(0.5 / np.sqrt(2) * np.sqrt(3 / 8), rel=1e-3)
    assert abs(found["spectral_rolloff"][median, 0] - 440) < 2 * RATE / 2048


@pytest.mark.parametrize("cents", [-30, 0, 20])
def test_tuning_is_found(cents):
    chord = sum(tone(440.0 * 2 ** ((semitones + cents / 100) / 12)) for semitones in (0, 3, 7))
    spectrum = np.abs(librosa.stft(np.asarray(chord), n_fft=2048)).T.copy()
    steps = tuning_steps(torch.from_numpy(spectrum) ** 2, sample_rate=RATE, n_fft=2048)
    assert steps[0] == pytest.approx(cents, abs=5)
    theirs = [librosa.estimate_tuning(S=spectrum.T**exponent, sr=RATE) for exponent in (1, 2)]
    assert np.array(steps) / 100 == pytest.approx(theirs, abs=1e-9)


def test_tuning_of_noise_is_librosas_where_no_step_stands_out():
    for seed in range(20):
        noise = np.random.default_rng(seed).standard_normal(RATE).astype(np.float32)
        spectrum = np.abs(librosa.stft(noise, n_fft=2048)).T.copy()
        steps = tuning_steps(torch.from_numpy(spectrum) ** 2, sample_rate=RATE, n_fft=2048)
        theirs = [librosa.estimate_tuning(S=spectrum.T**exponent, sr=RATE) for exponent in (1, 2)]
        assert np.array(steps) / 100 == pytest.approx(theirs, abs=1e-9)


def test_moments_are_scipys():
    rows = np.random.default_rng(0).gamma(2.0, size=(5, 40))
    assert moments(torch.from_numpy(rows)).numpy() == pytest.approx(moments_of_scipy(rows))
    constant = moments(torch.full((1, 9), 0.3))
    assert constant[:, 0].tolist() == pytest.approx([0, 0.3, 0.3, 0.3, 0.3, 0, 0])


@pytest.mark.parametrize("n_fft", [222, 2048, 8192])
@pytest.mark.parametrize("levels", [3, 10_000])
def test_peaks_and_valleys_are_those_of_sorted_bands(n_fft, levels):
    bands = tuple(contrast_bands(torch.arange(n_fft // 2 + 1) * (RATE / n_fft)))
    power = np.random.default_rng(0).integers(1, levels, (7, n_fft // 2 + 1)).astype(np.float32)
    expected = []
    for first, end, count in bands:
        ordered = np.sort(np.sqrt(power[:, first:end]), axis=1)
        expected.append(10 * np.log10(ordered[:, -count:].mean(1) / ordered[:, :count].mean(1)))
    found = contrast(torch.from_numpy(power), bands)
    assert found.numpy() == pytest.approx(np.stack(expected), abs=1e-4)


def test_centroid_bandwidth_and_rolloff_are_those_of_single_bins():
    bins = np.arange(1056)
    noise = np.random.default_rng(0).random((4, 1056)).astype(np.float32)
    narrow = np.exp(-np.abs(bins - np.array([[3.3], [495.5], [512.0], [1020.0]]))).astype(np.float32)
    magnitudes = np.concatenate([noise, narrow, np.zeros((1, 1056), np.float32)])
    magnitudes[:, 1025:] = 0.0
    weights = magnitudes.astype(np.float64) / np.maximum(magnitudes.sum(1, keepdims=True), 1e-30)
    centre = weights @ bins
    spread = np.sqrt((weights * (bins - centre[:, None]) ** 2).sum(1))
    edge = (weights.cumsum(1) < 0.85 * weights.sum(1, keepdims=True)).sum(1)
    sums = stretch_sums(torch.from_numpy(magnitudes), stretch_weights())
    found = centroid_and_bandwidth(sums, bin_hz=20.0)
    assert found[0][0].numpy() == pytest.approx(20 * centre, rel=1e-6)
    assert found[1][0].numpy() == pytest.approx(20 * spread, rel=2e-5)
    assert rolloff(torch.from_numpy(magnitudes) ** 2, sums, bin_hz=20.0)[0].tolist() == (20 * edge).tolist()


@pytest.mark.parametrize("samples", [1, 200, 4321])
def test_halving_keeps_the_lowest_third_and_lets_nothing_fold_onto_it(samples):
    time = np.arange(samples)
    kept, folded = (np.sin(np.pi * share * time).astype(np.float32) for share in (1 / 3, 2 / 3))
    found = [_filtered(torch.from_numpy(tone), _half_band(), step=2).numpy() for tone in (kept, folded)]
    assert len(found[0]) == (samples + 1) // 2
    inner = slice(24, -24)
    assert found[0][inner] == pytest.approx(kept[::2][inner], abs=1e-5)
    assert found[1][inner] == pytest.approx(0, abs=1e-5)


def test_crossings_are_counted_inside_each_frame():
    samples = np.random.default_rng(0).standard_normal(5000).astype(np.float32)
    samples[1000:2000] = 0.0
    for frame, hop in [(2048, 512), (1000, 448), (64, 192)]:
        found = zero_crossing_rate(torch.from_numpy(samples), frame_length=frame, hop_length=hop)
        theirs = librosa.feature.zero_crossing_rate(samples, frame_length=frame, hop_length=hop)
        assert found.numpy() == pytest.approx(theirs, abs=1e-7)


@pytest.mark.parametrize("threads", [1, 2])
def test_vectors_are_plain_float32_whatever_mode_they_are_made_in(threads):
    part = Statistics(sample_rate=RATE, in_channels=1, features=("log_mel", "fma"))
    clips = torch.from_numpy(np.stack([tone(hertz, seconds=0.3) for hertz in (300, 800)]))[:, None]
    expected = part(clips)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(part(clips), expected)
        with torch.inference_mode():
            assert torch.equal(part(clips), expected)
        trained = part(clips.clone().requires_grad_())
    finally:
        torch.set_num_threads(before)
    assert torch.equal(trained, expected)
    assert expected.dtype == torch.float32
    assert not trained.requires_grad
    weights = torch.ones(1, part.out_channels, requires_grad=True)
    (weights @ trained[0]).sum().backward()  # refused for a tensor of inference mode
    assert torch.equal(weights.grad, expected[0].T)


@pytest.mark.parametrize("samples", [1, 100, 2047, 44_100])
def test_silent_and_short_clips_give_numbers(samples):
    part = Statistics(sample_rate=RATE, in_channels=1, features=("log_mel", "fma"))
    assert torch.isfinite(part(torch.zeros(1, 1, samples))).all()
    noise = torch.randn(1, 1, samples, generator=torch.Generator().manual_seed(0))
    assert torch.isfinite(part(noise)).all()


def test_padding_batch_and_threads_do_not_change_a_bit():
    part = Statistics(sample_rate=RATE, in_channels=1, features=("log_mel", "fma"))
    short, long = torch.from_numpy(tone(330.0, seconds=0.7)), torch.from_numpy(tone(500.0, seconds=1.1))
    batch = torch.zeros(2, 1, len(long))
    batch[0, 0, : len(short)], batch[1, 0] = short, long
    together = part(batch, lengths=torch.tensor([len(short), len(long)]))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = torch.cat([part(clip[None, None]) for clip in (short, long)])
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(together, alone)


def test_channels_follow_each_other_and_names_say_which_is_which():
    one = Statistics(sample_rate=RATE, in_channels=1)
    two = Statistics(sample_rate=RATE, in_channels=2)
    left, right = (torch.from_numpy(tone(hertz, seconds=0.5)) for hertz in (300.0, 900.0))
    found = two(torch.stack([left, right])[None])[0, :, 0]
    apart = [one(channel[None, None])[0, :, 0] for channel in (left, right)]
    assert torch.equal(found, torch.cat(apart))
    assert one.out_channels == len(one.names) == len(set(one.names)) == 518
    assert one.names[0] == "chroma_cens_kurtosis_01"
    assert one.names[-1] == "zcr_std_01"
    assert two.names[518] == "1:chroma_cens_kurtosis_01"
    place = one.names.index("spectral_centroid_mean_01")
    assert apart[1][place] == pytest.approx(900, rel=0.05)


@pytest.mark.filterwarnings("ignore:.*mel filters are empty")
def test_settings_that_cannot_be_are_refused():
    with pytest.raises(RecipeError, match=r"data\.sample_rate.*above 12800"):
        Statistics(sample_rate=12_000, in_channels=1)
    Statistics(sample_rate=8_000, in_channels=1, features=("log_mel",))
    with pytest.raises(RecipeError, match=r"frontend\.n_fft.*at least 222"):
        Statistics(sample_rate=RATE, in_channels=1, n_fft=128)
    least = Statistics(sample_rate=RATE, in_channels=1, n_fft=222)
    assert least(torch.from_numpy(tone(440.0))[None, None]).isfinite().all()
    Statistics(sample_rate=RATE, in_channels=1, n_fft=128, features=("log_mel",), n_mels=4)
    with pytest.raises(RecipeError, match="twice"):
        Statistics(sample_rate=RATE, in_channels=1, features=("fma", "fma"))
