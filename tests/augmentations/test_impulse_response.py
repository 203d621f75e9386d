"""Rooms: where the direct sound stays, how long they ring, and what is kept of the clip."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import soundfile

from kikiwake import audio
from kikiwake.augmentations.impulse_response import ImpulseResponse
from kikiwake.errors import RecipeError
from kikiwake.randomness import generator

RATE = 32_000
DEFAULT_ROOMS = [(rt60, distance) for rt60 in (0.3, 0.6, 1.2) for distance in (0.5, 1.0, 2.0)]


def clip(seconds: float = 0.5) -> np.ndarray:
    return generator(1).normal(0, 0.1, (2, round(seconds * RATE))).astype(np.float32)


def click(at: int, *, seconds: float = 1.0) -> np.ndarray:
    waveform = np.zeros((1, round(seconds * RATE)), np.float32)
    waveform[0, at] = 0.5
    return waveform


def heard(part: ImpulseResponse, waveform: np.ndarray, *, draw: int = 0) -> np.ndarray:
    return part(waveform, sample_rate=RATE, rng=generator(2, draw))


def rms(waveform: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64))))


def room(rt60: float, distance: float) -> np.ndarray:
    """The response of one synthesised room, its direct sound scaled to 1."""
    part = ImpulseResponse(rt60_seconds=(rt60,), distances=(distance,), p=1.0)
    found = heard(part, click(0, seconds=1.5 * rt60))[0].astype(np.float64)
    return found / found[0]


@pytest.fixture
def folder(tmp_path):
    """A room recorded at 48 kHz: a direct sound after half a second, half of it again 100 ms later."""
    response = np.zeros((48_000, 2), np.float32)
    response[24_000, 0], response[28_800, 0] = -0.8, -0.4
    response[10_000, 1] = 1.0  # the second channel is not heard
    (tmp_path / "deeper").mkdir()
    soundfile.write(tmp_path / "deeper" / "hall.wav", response, 48_000, subtype="FLOAT")
    return tmp_path


def test_a_recorded_room_keeps_the_direct_sound_at_its_place(folder) -> None:
    found = heard(ImpulseResponse(folder=folder, p=1.0), click(8000))[0]
    assert np.abs(found).argmax() == 8000
    assert found[8000] > 0  # the response is turned so that its direct sound is positive
    echo = 8000 + RATE // 10
    assert found[echo] / found[8000] == pytest.approx(0.5, abs=0.01)
    # Nothing but the ringing of the resampling is heard elsewhere.
    elsewhere = np.abs(np.delete(found, np.r_[8000 - 99 : 8000 + 99, echo - 99 : echo + 99]))
    assert elsewhere.max() < 0.01 * found[8000]


def test_what_stands_before_the_direct_sound_is_cut(tmp_path) -> None:
    response = np.zeros(RATE, np.float32)
    response[1000], response[5000] = 0.3, 1.0
    soundfile.write(tmp_path / "noisy.wav", response, RATE, subtype="FLOAT")
    waveform = clip()
    np.testing.assert_allclose(heard(ImpulseResponse(folder=tmp_path, p=1.0), waveform), waveform, atol=1e-6)


@pytest.mark.parametrize("draw", range(4))
def test_length_and_power_are_kept_and_channels_share_the_room(draw) -> None:
    waveform = clip()
    waveform[1] = 0.25 * waveform[0]
    found = heard(ImpulseResponse(p=1.0), waveform, draw=draw)
    assert found.shape == waveform.shape
    assert found.dtype == np.float32
    assert rms(found) == pytest.approx(rms(waveform), rel=1e-4)
    assert rms(found - waveform) > 0.1 * rms(waveform)
    np.testing.assert_allclose(found[1], 0.25 * found[0], atol=1e-6)


@pytest.mark.parametrize(("rt60", "distance"), DEFAULT_ROOMS)
def test_a_synthesised_room_rings_as_long_and_as_strongly_as_stated(rt60, distance) -> None:
    response = room(rt60, distance)
    ratio_db = -10 * np.log10(np.sum(response[1:] ** 2))
    assert ratio_db == pytest.approx(-20 * np.log10(distance), abs=0.05)
    # Schroeder 1965: the energy still to come, fitted from -5 to -35 dB, behind the early reflections.
    late = response[round(rt60 * RATE / 16) :]
    energy = np.cumsum(late[::-1] ** 2)[::-1]
    level_db = 10 * np.log10(energy / energy[0] + 1e-12)
    fitted = (level_db < -5) & (level_db > -35)
    slope, _ = np.polyfit(np.flatnonzero(fitted) / RATE, level_db[fitted], 1)
    assert -60 / slope == pytest.approx(rt60, rel=0.05)


def test_synthesised_rooms_are_the_same_everywhere() -> None:
    response = room(0.3, 1.0)
    assert np.flatnonzero(np.abs(response[: round(0.3 * RATE / 16)]) > 1e-4).tolist() == [
        0,
        11,
        100,
        175,
        194,
        481,
        577,
    ]
    np.testing.assert_allclose(response[700:703], [0.00486809, 0.01870674, 0.00845289], rtol=1e-3)


def test_rooms_are_drawn_evenly_and_once_in_p_clips() -> None:
    part = ImpulseResponse(rt60_seconds=(0.05, 0.1), distances=(0.5, 2.0), p=0.8)
    waveform = click(10, seconds=0.02)
    found = [heard(part, waveform, draw=draw) for draw in range(1000)]
    changed = [each for each in found if each is not waveform]
    assert abs(len(changed) - 800) < 4 * np.sqrt(1000 * 0.8 * 0.2)
    rooms, counts = np.unique(np.round(np.concatenate(changed), 5), axis=0, return_counts=True)
    assert len(rooms) == 4
    assert abs(counts - len(changed) / 4).max() < 4 * np.sqrt(len(changed) * 0.25 * 0.75)


def test_wet_is_the_share_of_the_room(folder) -> None:
    waveform = click(8000)
    dry = heard(ImpulseResponse(folder=folder, wet=(0.0, 0.0), p=1.0), waveform)
    np.testing.assert_allclose(dry, waveform, atol=1e-6)
    half = heard(ImpulseResponse(folder=folder, wet=(0.5, 0.5), p=1.0), waveform)[0]
    # Direct 1 and echo a half become 0.5 + 0.5 and 0.25.
    assert half[8000 + RATE // 10] / half[8000] == pytest.approx(0.25, abs=0.01)
    part = ImpulseResponse(folder=folder, wet=(0.2, 0.8), p=1.0)
    echoes = [heard(part, waveform, draw=draw)[0] for draw in range(60)]
    shares = [2 * each[8000 + RATE // 10] / each[8000] for each in echoes]
    assert 0.19 < min(shares) < 0.3 < 0.7 < max(shares) < 0.81


def test_responses_are_cut_at_the_longest_time(folder) -> None:
    found = heard(ImpulseResponse(folder=folder, longest_seconds=0.09, p=1.0), click(8000))[0]
    assert np.abs(found[8000 + round(0.095 * RATE) :]).max() < 1e-6
    found = heard(ImpulseResponse(rt60_seconds=(2.0,), longest_seconds=0.1, p=1.0), click(0))[0]
    assert np.abs(found[round(0.09 * RATE) : round(0.1 * RATE)]).max() > 1e-4
    assert np.abs(found[1 + round(0.1 * RATE) :]).max() < 1e-6


def test_a_response_is_decoded_once_and_travels_undecoded(folder, monkeypatch) -> None:
    loads = []

    def load(path, **settings):
        loads.append(path)
        return original(path, **settings)

    original = audio.load
    monkeypatch.setattr(audio, "load", load)
    part = ImpulseResponse(folder=folder, p=1.0)
    first = heard(part, clip())
    assert np.array_equal(heard(part, clip()), first)
    assert len(loads) == 1
    copy = pickle.loads(pickle.dumps(part))
    assert np.array_equal(heard(copy, clip()), first)
    assert len(loads) == 2


def test_silence_and_clips_out_of_turn_stay_as_they_are(folder) -> None:
    silence = np.zeros((2, 100), np.float32)
    assert heard(ImpulseResponse(folder=folder, p=1.0), silence) is silence
    waveform = clip()
    assert heard(ImpulseResponse(p=0.0), waveform) is waveform


def test_mistakes_are_named(folder, tmp_path) -> None:
    with pytest.raises(RecipeError, match=r"impulse_response\.folder: there is no such folder"):
        ImpulseResponse(folder=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecipeError, match=r"no recording is in this folder.*or none to synthesise them"):
        ImpulseResponse(folder=tmp_path / "empty")
    with pytest.raises(RecipeError, match=r"impulse_response\.wet.*swap them"):
        ImpulseResponse(wet=(0.8, 0.2))
    with pytest.raises(RecipeError, match="remove either the folder or these"):
        ImpulseResponse(folder=folder, distances=(3.0,))
    soundfile.write(tmp_path / "empty" / "silent.wav", np.zeros(800), 8000)
    with pytest.raises(RecipeError, match=r"an impulse response is silent.*silent\.wav"):
        heard(ImpulseResponse(folder=tmp_path / "empty", p=1.0), clip())
