"""Time stretch and pitch shift of spectrograms: what is heard, when, and in which band."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kikiwake._stage_parts import build_augmentations
from kikiwake.augmentations.pitch_shift import PitchShift
from kikiwake.augmentations.time_stretch import TimeStretch
from kikiwake.classifier import build_classifier
from kikiwake.errors import RecipeError
from kikiwake.frontends.mel import Mel
from kikiwake.mel_scale import MelBands
from kikiwake.randomness import generator
from kikiwake.recipe import Recipe
from kikiwake.training import train
from toys import STATISTICS, toy_recipe, write_tones

RATE = 22_050


def stretched(rate: float, features: torch.Tensor) -> torch.Tensor:
    return TimeStretch(slowest=rate, fastest=rate, p=1.0)(features, rng=generator(0))


BANDS = MelBands(n_mels=32, f_min=0.0, f_max=RATE / 2, scale="slaney")


def shifted(
    semitones: float, features: torch.Tensor, *, bands: Sequence[MelBands] = (BANDS,)
) -> torch.Tensor:
    part = PitchShift(mel_bands=bands, lowest=semitones, highest=semitones, p=1.0)
    return part(features, rng=generator(0))


def test_frames_are_read_at_another_pace_and_the_end_is_silent():
    ramp = torch.arange(9.0).view(1, 1, 1, 9)  # each frame says when it was
    assert stretched(2.0, ramp).flatten().tolist() == pytest.approx([0, 2, 4, 6, 8, 0, 0, 0, 0], abs=1e-5)
    assert stretched(0.5, ramp).flatten().tolist() == pytest.approx(
        [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4], abs=1e-5
    )


@pytest.mark.parametrize("semitones", [-7.0, -2.0, 2.0, 5.0])
@pytest.mark.parametrize("pitch", [330.0, 2000.0])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"mel_scale": "htk"},
        {"f_min": 150.0, "f_max": 4000.0},
        {"f_max": 6000.0, "mel_scale": "htk", "size": (300, 40)},
        {"n_mels": 40, "size": (64, 40), "resolutions": [{"n_mels": 24}]},
    ],
)
def test_a_tone_lands_where_the_shifted_tone_would(semitones, pitch, settings):
    front_end = Mel(
        sample_rate=RATE, in_channels=1, **{"n_fft": 4096, "hop_length": 512, "n_mels": 128, **settings}
    )

    def picture(hertz: float) -> torch.Tensor:
        time = torch.arange(RATE) / RATE
        return front_end(torch.sin(2 * torch.pi * hertz * time)[None, None])

    moved = shifted(semitones, picture(pitch), bands=front_end.mel_bands)[0].mean(-1)
    wanted = picture(pitch * 2 ** (semitones / 12))[0].mean(-1)
    assert (moved.argmax(-1) - wanted.argmax(-1)).abs().max() <= 1 + moved.shape[-1] // 128


def test_bands_from_outside_the_range_are_silent():
    features = torch.ones(1, 2, 64, 5)
    features[0, :, 3, 2] = torch.tensor([-4.0, -7.0])  # the least value of each channel
    down = shifted(-12.0, features)
    assert down[0, 0, -5:].eq(-4.0).all()
    assert down[0, 1, -5:].eq(-7.0).all()


@pytest.mark.parametrize("part", [TimeStretch(p=0.5), PitchShift(mel_bands=[BANDS], p=0.5)])
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
        PitchShift(mel_bands=[BANDS], lowest=2, highest=-2)


def recipe_with(manifest: Path, run: Path, **frontend: Any) -> Recipe:
    changes = {"frontend": frontend, "augmentations": [{"name": "pitch_shift", "p": 1.0}]}
    return toy_recipe(manifest, run, **changes)


def test_the_recipe_has_the_bands_of_its_front_end_and_cannot_have_others(tmp_path):
    mel = {"name": "mel", "n_fft": 512, "hop_length": 256, "n_mels": 40}
    own = {**mel, "f_min": 100.0, "f_max": 3000.0, "mel_scale": "htk"}
    recipe = recipe_with(tmp_path / "none.csv", tmp_path / "run", **own)
    front_end = build_classifier(recipe, classes=["a", "b"]).frontend
    (part,) = build_augmentations(
        recipe, recipe.stages[0].model_copy(update={"augmentations": []}), front_end
    )
    assert part.bands == MelBands(40, 100.0, 3000.0, "htk")
    with pytest.raises(RecipeError, match=r"augmentations\.0: unknown key 'f_max'"):
        Recipe.load(recipe.model_copy(update={"augmentations": [{"name": "pitch_shift", "f_max": 3000.0}]}))


def test_a_front_end_that_cannot_be_shifted_is_refused_before_training(tmp_path):
    manifest = write_tones(tmp_path / "tones")
    mel = {"name": "mel", "n_fft": 512, "hop_length": 256, "n_mels": 32, "resolutions": [{"f_max": 2000.0}]}
    with pytest.raises(RecipeError, match=r"0 to 4000 Hz and 0 to 2000 Hz; give them one f_min and f_max"):
        train(recipe_with(manifest, tmp_path / "mel", **mel))
    with pytest.raises(RecipeError, match=r"makes no mel spectrograms; shift waveforms"):
        train(recipe_with(manifest, tmp_path / "statistics", **STATISTICS), "model={name: mlp}")


def test_half_precision_stays():
    features = torch.rand(2, 1, 32, 40).to(torch.bfloat16)
    assert TimeStretch(p=1.0)(features, rng=np.random.default_rng(0)).dtype == torch.bfloat16
