from __future__ import annotations

import pytest
import torch

from kikiwake import components
from kikiwake.augmentations.gaussian_noise import GaussianNoise
from kikiwake.augmentations.volume import Volume
from kikiwake.errors import RecipeError
from kikiwake.randomness import generator


def test_noise_has_the_standard_deviation_that_was_asked_for() -> None:
    noisy = GaussianNoise(sigma=0.1)(torch.full((2, 1, 100, 100), 3.0), rng=generator(0))
    # Of 20,000 draws the deviation is known to within 0.5 %, the mean to 0.0007.
    assert abs(float(noisy.std()) - 0.1) < 0.002
    assert abs(float(noisy.mean()) - 3.0) < 0.003


def test_noise_at_20_db_has_a_tenth_of_the_spread_of_its_clip() -> None:
    features = torch.tensor([1.0, -1.0]).repeat(5000).view(1, 1, 100, 100)
    features = torch.cat([features + 50.0, 3.0 * features])
    noise = GaussianNoise(snr_db=(20.0, 20.0))(features, rng=generator(0)) - features
    torch.testing.assert_close(noise.std(dim=(1, 2, 3)), torch.tensor([0.1, 0.3]), rtol=0.03, atol=0.0)


def test_noise_comes_to_some_clips_only_and_constant_clips_have_none_by_ratio() -> None:
    features = torch.zeros(400, 1, 2, 2)
    changed = (GaussianNoise(sigma=1.0, p=0.3)(features, rng=generator(0)) != 0).any(dim=(1, 2, 3))
    assert 85 < int(changed.sum()) < 155
    assert torch.equal(GaussianNoise(snr_db=(5.0, 20.0))(features, rng=generator(0)), features)
    assert torch.equal(GaussianNoise(sigma=1.0, p=0.0)(features, rng=generator(0)), features)


def test_volume_multiplies_by_one_of_the_factors() -> None:
    louder = Volume(factors=[1.5, 0.5])(torch.full((64, 2, 1, 3), 2.0), rng=generator(0))
    assert set(louder.flatten().tolist()) == {3.0, 1.0}
    assert (louder == louder[:, :1, :, :1]).all()
    assert 20 < int((louder[:, 0, 0, 0] == 3.0).sum()) < 44


def test_volume_of_levels_is_a_step_of_decibels() -> None:
    features = torch.zeros(1, 1, 1, 1)
    # 20 log10(10) = 20 dB, a quarter of 80.
    assert float(Volume(factors=[10.0], unit_db=1.0)(features, rng=generator(0))) == 20.0
    assert float(Volume(factors=[10.0], unit_db=80.0)(features, rng=generator(0))) == 0.25


def test_volume_between_two_factors_and_not_for_all() -> None:
    changed = Volume(between=(0.5, 0.9), p=0.5)(torch.ones(200, 1, 1, 1), rng=generator(0)).flatten()
    others = changed[changed != 1.0]
    assert 70 < len(others) < 130
    assert 0.5 <= float(others.min()) < 0.55
    assert 0.85 < float(others.max()) <= 0.9


@pytest.mark.parametrize("part", [GaussianNoise(sigma=1.0), Volume(factors=[2.0])])
def test_input_is_untouched_and_draws_repeat(part) -> None:
    features = torch.rand(3, 1, 4, 4)
    before = features.clone()
    first = part(features, rng=generator(1))
    assert torch.equal(features, before)
    assert torch.equal(first, part(features, rng=generator(1)))


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"name": "gaussian_noise"}, "set either sigma or snr_db"),
        ({"name": "gaussian_noise", "sigma": 1, "snr_db": [5, 20]}, "set either sigma or snr_db"),
        ({"name": "gaussian_noise", "snr_db": [20, 5]}, "lower end lies above"),
        ({"name": "volume"}, "set either factors or between"),
        ({"name": "volume", "between": [2, 1]}, "lower end lies above"),
        ({"name": "volume", "factors": []}, "at least 1 item"),
        ({"name": "volume", "factors": [-1]}, "greater than 0"),
        ({"name": "time_mask", "max_width": 5, "p": 1.5}, "less than or equal to 1"),
        ({"name": "mixup", "alpha": 0}, "greater than 0"),
        ({"name": "cutmix", "alpha": 1, "box": "frequency"}, "time_frequency"),
    ],
)
def test_wrong_recipes_are_refused(node, message) -> None:
    with pytest.raises(RecipeError, match=message):
        components.build("augmentations", node, where="recipe.yaml: augmentations.0")
