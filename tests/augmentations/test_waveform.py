from __future__ import annotations

import pickle
import random

import numpy as np
import pytest

from kikiwake.augmentations.waveform import Waveform
from kikiwake.errors import RecipeError
from kikiwake.randomness import generator

RATE = 16_000


def tones(*frequencies: float, seconds: float = 1.0) -> np.ndarray:
    time = np.arange(int(RATE * seconds)) / RATE
    return np.stack([0.3 * np.sin(2 * np.pi * frequency * time) for frequency in frequencies]).astype("f")


def peak_hz(channel: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(channel * np.hanning(len(channel)), 8 * len(channel)))
    return float(np.argmax(spectrum)) * RATE / (8 * len(channel))


def apply(augmentation: Waveform, waveform: np.ndarray, *ids: int) -> np.ndarray:
    return augmentation(waveform, sample_rate=RATE, rng=generator(0, *ids))


def test_a_gain_of_six_db_doubles_the_waveform() -> None:
    augmentation = Waveform(transform="Gain", arguments={"min_gain_db": 6.0206, "max_gain_db": 6.0206}, p=1.0)
    waveform = tones(440.0)
    np.testing.assert_allclose(apply(augmentation, waveform), 2 * waveform, rtol=1e-5)


def test_channels_share_one_gain() -> None:
    waveform = tones(440.0, 880.0, 1320.0, 300.0)
    changed = apply(Waveform(transform="Gain", p=1.0), waveform)
    ratios = np.linalg.norm(changed, axis=1) / np.linalg.norm(waveform, axis=1)
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-5)
    assert abs(ratios[0] - 1.0) > 0.01


def test_stems_share_one_pitch_shift() -> None:
    frequencies = np.array([440.0, 880.0, 1320.0, 600.0])
    augmentation = Waveform(
        transform="PitchShift", arguments={"min_semitones": -3, "max_semitones": 3}, p=1.0
    )
    changed = apply(augmentation, tones(*frequencies), 3)
    ratios = np.array([peak_hz(channel) for channel in changed]) / frequencies
    # A peak of this signal is found within 2 Hz of 16 kHz / 16,000 samples.
    np.testing.assert_allclose(ratios, ratios[1], rtol=0.005)
    assert abs(ratios[0] - 1.0) > 0.02


def test_channels_share_the_place_of_a_time_mask() -> None:
    waveform = np.ones((3, RATE), dtype=np.float32)
    augmentation = Waveform(
        transform="TimeMask", arguments={"min_band_part": 0.1, "fade_duration": 0.0}, p=1.0
    )
    changed = apply(augmentation, waveform)
    assert 0.1 * RATE <= (changed[0] == 0).sum() <= 0.2 * RATE
    assert (changed == changed[0]).all()


def test_channels_have_noise_of_one_level_but_not_the_same_noise() -> None:
    waveform = np.zeros((2, RATE), dtype=np.float32)
    noise = apply(Waveform(transform="AddGaussianNoise", p=1.0), waveform)
    levels = noise.std(axis=1)
    np.testing.assert_allclose(levels[1], levels[0], rtol=0.03)
    assert abs(np.corrcoef(noise)[0, 1]) < 0.05


def test_a_transform_for_mono_alone_is_given_each_channel_with_one_draw(tmp_path) -> None:
    import soundfile

    soundfile.write(tmp_path / "ramp.wav", np.linspace(0.1, 0.9, 4 * RATE), RATE)
    waveform = tones(440.0, 440.0)
    augmentation = Waveform(transform="AddBackgroundNoise", arguments={"sounds_path": str(tmp_path)}, p=1.0)
    changed = apply(augmentation, waveform)
    np.testing.assert_array_equal(changed[0], changed[1])
    assert not np.array_equal(changed, waveform)


@pytest.mark.parametrize(
    ("transform", "arguments"),
    [
        ("TimeStretch", {"min_rate": 0.8, "max_rate": 0.8, "leave_length_unchanged": False}),
        ("TimeStretch", {"min_rate": 1.25, "max_rate": 1.25, "leave_length_unchanged": False}),
        ("Resample", {}),
        ("Reverse", {}),
        ("Trim", {}),
        ("Shift", {"min_shift": -0.2, "max_shift": 0.2}),
        ("AddGaussianSNR", {"min_snr_db": 5.0, "max_snr_db": 20.0}),
        ("BandPassFilter", {}),
    ],
)
@pytest.mark.parametrize(
    "waveform", [tones(440.0), tones(440.0, 880.0), np.zeros((1, 4000), "f"), np.ones((1, 1), "f")]
)
def test_no_clip_becomes_longer_and_the_input_is_untouched(transform, arguments, waveform) -> None:
    before = waveform.copy()
    changed = apply(Waveform(transform=transform, arguments=arguments, p=1.0), waveform)
    assert changed.shape[0] == waveform.shape[0]
    assert 1 <= changed.shape[1] <= waveform.shape[1]
    assert changed.dtype == np.float32
    assert changed.flags.c_contiguous
    assert np.isfinite(changed).all()
    assert not np.shares_memory(changed, waveform)
    np.testing.assert_array_equal(waveform, before)


@pytest.mark.parametrize("method", ["signalsmith_stretch", "librosa_phase_vocoder"])
def test_a_faster_clip_is_shorter_and_a_slower_one_is_cut(method) -> None:
    waveform = tones(440.0, 880.0)
    lengths = {}
    for rate in (0.8, 1.25):
        arguments = {"min_rate": rate, "max_rate": rate, "method": method}
        changed = apply(Waveform(transform="TimeStretch", arguments=arguments, p=1.0), waveform)
        lengths[rate] = changed.shape[1]
        assert np.abs(changed[:, -500:]).max() > 0.1  # it sounds up to its end
    assert lengths == {0.8: RATE, 1.25: RATE * 4 // 5}
    filled = {"min_rate": 1.25, "max_rate": 1.25, "leave_length_unchanged": True}
    changed = apply(Waveform(transform="TimeStretch", arguments=filled, p=1.0), waveform)
    assert changed.shape == waveform.shape  # whoever asks for it gets it


def test_a_transform_that_leaves_nothing_leaves_the_clip() -> None:
    augmentation = Waveform(transform="Reverse", p=1.0)
    augmentation._apply.apply = lambda samples, sample_rate: samples[..., :0]
    waveform = tones(440.0)
    assert apply(augmentation, waveform) is waveform


@pytest.mark.parametrize(
    ("transform", "arguments"),
    [
        ("AddColorNoise", {}),
        ("PitchShift", {}),
        ("TimeStretch", {"min_rate": 0.5, "max_rate": 0.5}),
        ("TimeStretch", {"min_rate": 0.3, "max_rate": 0.3, "method": "librosa_phase_vocoder"}),
    ],
)
def test_the_same_generator_gives_the_same_clip_again(transform, arguments) -> None:
    waveform = tones(440.0, 880.0)
    augmentation = Waveform(transform=transform, arguments=arguments, p=1.0)
    first = apply(augmentation, waveform, 1)
    other = apply(augmentation, waveform, 2)
    again = apply(augmentation, waveform, 1)
    np.testing.assert_array_equal(first, again)
    if transform != "TimeStretch":
        assert not np.array_equal(first, other)


def test_a_simulated_room_is_the_same_again() -> None:
    pytest.importorskip("pyroomacoustics")
    arguments = {"max_size_x": 4.0, "max_size_y": 4.0, "max_size_z": 3.0, "max_order": 2}
    augmentation = Waveform(transform="RoomSimulator", arguments=arguments, p=1.0)
    waveform = tones(440.0, seconds=0.25)
    np.testing.assert_array_equal(apply(augmentation, waveform, 1), apply(augmentation, waveform, 1))


def test_global_generators_are_left_as_they_were() -> None:
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    expected = random.random(), np.random.rand()  # noqa: NPY002
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    apply(Waveform(transform="AddGaussianNoise", p=1.0), tones(440.0))
    assert (random.random(), np.random.rand()) == expected  # noqa: NPY002


def test_the_probability_is_applied_once() -> None:
    augmentation = Waveform(transform="PolarityInversion", p=0.5)
    waveform = np.ones((1, 8), dtype=np.float32)
    inverted = sum(float(apply(augmentation, waveform, clip)[0, 0]) == -1.0 for clip in range(1000))
    # Applied twice it would be 250; the standard deviation of 500 is 16.
    assert 420 <= inverted <= 580
    assert apply(Waveform(transform="PolarityInversion", p=0.0), waveform) is waveform


def test_an_augmentation_that_was_used_can_be_pickled_and_goes_on_alike() -> None:
    augmentation = Waveform(transform="Gain", p=1.0)
    waveform = tones(440.0)
    expected = apply(augmentation, waveform, 1)
    copy = pickle.loads(pickle.dumps(augmentation))
    np.testing.assert_array_equal(apply(copy, waveform, 1), expected)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"transform": "PichShift"}, "did you mean 'PitchShift'"),
        ({"transform": "Gain", "arguments": {"min_gain": -3.0}}, "did you mean 'min_gain_db'"),
        ({"transform": "Gain", "arguments": {"p": 0.5}}, "move it one level up"),
        ({"transform": "Gain", "arguments": {"min_gain_db": 3.0, "max_gain_db": -3.0}}, "cannot be greater"),
        ({"transform": "TimeStretch", "arguments": {"min_rate": 0.4}}, "give at least 0.5"),
    ],
)
def test_mistakes_are_named_when_the_augmentation_is_built(node, message) -> None:
    with pytest.raises(RecipeError, match=message):
        Waveform(**node)


def test_a_failing_transform_is_named(tmp_path) -> None:
    augmentation = Waveform(transform="Limiter", p=1.0)
    augmentation._apply.randomize_parameters = lambda *_: 1 / 0
    with pytest.raises(RecipeError, match=r"Limiter failed on a clip of shape \(1, 16000\) at 16000 Hz"):
        apply(augmentation, tones(440.0))
