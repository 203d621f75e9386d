"""Time stretch and pitch shift of spectrograms: what is heard, when, and in which band."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kikiwake.augmentations.pitch_shift import PitchShift
from kikiwake.augmentations.time_stretch import TimeStretch
from kikiwake.errors import RecipeError
from kikiwake.frontends.mel import Mel
from kikiwake.randomness import generator

RATE = 22_050


def stretched(rate: float, features: torch.Tensor) -> torch.Tensor:
    return TimeStretch(slowest=rate, fastest=rate, p=1.0)(features, rng=generator(0))


def shifted(semitones: float, features: torch.Tensor, **options) -> torch.Tensor:
    part = PitchShift(sample_rate=RATE, lowest=semitones, highest=semitones, p=1.0, **options)
    return part(features, rng=generator(0))


def test_frames_are_read_at_another_pace_and_the_end_is_silent():
    ramp = torch.arange(9.0).view(1, 1, 1, 9)  # each frame says when it was
    assert stretched(2.0, ramp).flatten().tolist() == pytest.approx([0, 2, 4, 6, 8, 0, 0, 0, 0], abs=1e-5)
    assert stretched(0.5, ramp).flatten().tolist() == pytest.approx(
        [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4], abs=1e-5
    )


@pytest.mark.parametrize("semitones", [-7.0, -2.0, 2.0, 5.0])
@pytest.mark.parametrize("pitch", [330.0, 2000.0])
@pytest.mark.parametrize("scale", ["slaney", "htk"])
def test_a_tone_lands_where_the_shifted_tone_would(semitones, pitch, scale):
    front_end = Mel(sample_rate=RATE, in_channels=1, n_fft=4096, hop_length=512, n_mels=128, mel_scale=scale)

    def picture(hertz: float) -> torch.Tensor:
        time = torch.arange(RATE) / RATE
        return front_end(torch.sin(2 * torch.pi * hertz * time)[None, None])

    moved = shifted(semitones, picture(pitch), mel_scale=scale)[0, 0].mean(-1)
    wanted = picture(pitch * 2 ** (semitones / 12))[0, 0].mean(-1)
    assert abs(int(moved.argmax()) - int(wanted.argmax())) <= 1


def test_bands_from_outside_the_range_are_silent():
    features = torch.ones(1, 2, 64, 5)
    features[0, :, 3, 2] = torch.tensor([-4.0, -7.0])  # the least value of each channel
    down = shifted(-12.0, features)
    assert down[0, 0, -5:].eq(-4.0).all()
    assert down[0, 1, -5:].eq(-7.0).all()


@pytest.mark.parametrize("part", [TimeStretch(p=0.5), PitchShift(sample_rate=RATE, p=0.5)])
def test_only_clips_whose_turn_it_is_change_and_all_channels_alike(part):
    one = torch.rand(1, 1, 32, 40, generator=torch.Generator().manual_seed(0))
    features = one.expand(64, 4, 32, 40).clone()
    found = part(features, rng=generator(3))
    changed = (found != features).flatten(1).any(1)
    assert 16 < int(changed.sum()) < 48
    assert torch.equal(found[:, :1].expand_as(found), found)
    assert torch.equal(part(features, rng=generator(3)), found)


def test_no_change_leaves_features_as_they_are():
    features = torch.rand(2, 1, 32, 40)
    for found in (stretched(1.0, features), shifted(0.0, features)):
        torch.testing.assert_close(found, features, rtol=0, atol=1e-4)


def test_limits_in_the_wrong_order_are_refused():
    with pytest.raises(RecipeError, match="slowest"):
        TimeStretch(slowest=1.2, fastest=0.8)
    with pytest.raises(RecipeError, match="lowest"):
        PitchShift(sample_rate=RATE, lowest=2, highest=-2)
    with pytest.raises(RecipeError, match="f_min"):
        PitchShift(sample_rate=RATE, f_min=9000, f_max=8000)


def test_half_precision_stays():
    features = torch.rand(2, 1, 32, 40).to(torch.bfloat16)
    assert TimeStretch(p=1.0)(features, rng=np.random.default_rng(0)).dtype == torch.bfloat16
