"""The augmentations of the recipe birdclef_sed: the probabilities stated, applied once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from kikiwake import components
from kikiwake._stage_parts import build_augmentations
from kikiwake.randomness import generator
from kikiwake.recipe import Recipe

RATE = 32_000


@pytest.fixture(scope="module")
def groups() -> list[Any]:
    """The recipe's own lists: of the waveform, of the spectrogram, and of the first stage's batches."""
    recipe = Recipe.load("birdclef_sed")
    front_end = components.build(
        "frontends", recipe.frontend, where="frontend", sample_rate=RATE, in_channels=1, saved=None
    )
    assert recipe.data.sample_rate == RATE
    return build_augmentations(recipe, recipe.stages[0], front_end)


def near(share: float, expected: float, *, of: int) -> bool:
    """Whether a share lies within 4 standard deviations of what is expected of so many draws."""
    return abs(share - expected) <= 4 * (expected * (1 - expected) / of) ** 0.5


def call(seconds: float) -> np.ndarray:
    """A bird that sings a falling tone, over a little noise. Shape: `[1, T]`."""
    time = np.arange(round(seconds * RATE)) / RATE
    tone = 0.3 * np.sin(2 * np.pi * (5000 * time - 1500 * time**2 / max(seconds, 1)))
    return (tone + generator(1).normal(0, 0.01, tone.shape))[None].astype(np.float32)


def test_the_levels_are_those_of_the_parts(groups) -> None:
    assert [group.level for group in groups] == ["waveform", "spectrogram", "batch"]
    assert [len(group.parts) for group in groups] == [10, 2, 2]


@pytest.mark.parametrize("number", range(10))
def test_each_part_of_the_waveform_changes_a_call_of_five_seconds_and_leaves_it_there(groups, number) -> None:
    part = groups[0].parts[number]
    waveform = call(5.0)
    changed = part(waveform, sample_rate=RATE, rng=generator(0))
    assert changed.shape == waveform.shape
    assert np.isfinite(changed).all()
    assert not np.array_equal(changed, waveform)
    assert np.array_equal(part(waveform, sample_rate=RATE, rng=generator(0)), changed)
    # No filter takes the call away: it is not softer than the gain of 12 dB makes it.
    assert 20 * np.log10(changed.std() / waveform.std()) > -13


def test_eight_clips_in_ten_are_changed_as_waveforms(groups) -> None:
    waveform = call(0.05)
    draws = 300
    changed = [
        not np.array_equal(groups[0](waveform, sample_rate=RATE, rng=generator(0, draw)), waveform)
        for draw in range(draws)
    ]
    # Applied twice, 0.64 of them would be: 7 standard deviations away.
    assert near(np.mean(changed), 0.8, of=draws)


def test_six_spectrograms_in_ten_have_both_kinds_of_masks(groups) -> None:
    features = torch.randn(2000, 1, 40, 80, generator=torch.Generator().manual_seed(0))
    masked = groups[1](features, rng=generator(0)) != features
    assert near(float(masked.any(dim=(1, 2, 3)).float().mean()), 0.6, of=2000)
    bins, frames = masked.all(dim=(1, 3)).sum(dim=1), masked.all(dim=(1, 2)).sum(dim=1)
    assert 25 < bins.max() <= 30
    assert 55 < frames.max() <= 70
    # Two masks have no width at all in 1 of 256 and 1 of 1296 clips.
    assert near(float((bins > 0).float().mean()), 0.6 * 255 / 256, of=2000)
    assert near(float((frames > 0).float().mean()), 0.6 * 1295 / 1296, of=2000)


def test_seven_clips_in_ten_are_mixed_by_mixup_or_cutmix(groups) -> None:
    values = torch.arange(2000.0)
    features = values.view(-1, 1, 1, 1).expand(-1, 1, 1, 200)
    mixed, targets, weights = groups[2](features, targets=torch.eye(2000), weights=values, rng=generator(0))
    faded = (mixed[:, 0, 0].diff(dim=1) == 0).all(dim=1) & (mixed[:, 0, 0, 0] != values)
    cut = (mixed[:, 0, 0].diff(dim=1) != 0).any(dim=1)
    # Cutmix takes all of the 200 frames or none in 1 of 200 clips, and mixup with alpha 0.2 takes less than a
    # rounding step in about 1 of 50.
    assert near(float(cut.float().mean()), 0.35, of=2000)
    assert near(float(faded.float().mean()), 0.35, of=2000)
    assert near(float((faded | cut).float().mean()), 0.69, of=2000)
    torch.testing.assert_close(targets @ values, weights)
