from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kikiwake.augmentations.cutmix import Cutmix
from kikiwake.augmentations.mixup import Mixup
from kikiwake.randomness import generator

COUNT = 64


def batch(height: int = 4, width: int = 10) -> tuple[Tensor, Tensor, Tensor]:
    """Clip i has i in every pixel, class i, and weight i."""
    features = torch.arange(float(COUNT)).view(-1, 1, 1, 1).expand(COUNT, 2, height, width).clone()
    return features, torch.eye(COUNT), torch.arange(float(COUNT))


@pytest.mark.parametrize("augmentation", [Mixup(alpha=1.0), Cutmix(alpha=1.0)])
def test_targets_and_weights_are_mixed_as_the_features(augmentation) -> None:
    features, targets, weights = batch()
    mixed, mixed_targets, mixed_weights = augmentation(
        features, targets=targets, weights=weights, rng=generator(0)
    )
    mean = mixed.mean(dim=(1, 2, 3))
    torch.testing.assert_close(mean, mixed_targets @ weights)
    torch.testing.assert_close(mean, mixed_weights)
    torch.testing.assert_close(mixed_targets.sum(dim=1), torch.ones(COUNT))


@pytest.mark.parametrize("augmentation", [Mixup(alpha=0.4), Cutmix(alpha=0.4)])
def test_input_is_untouched_and_draws_repeat(augmentation) -> None:
    features, targets, weights = batch()
    first = augmentation(features, targets=targets, weights=weights, rng=generator(5))
    again = augmentation(features, targets=targets, weights=weights, rng=generator(5))
    for before, now in zip(batch(), (features, targets, weights), strict=True):
        assert torch.equal(before, now)
    for one, two in zip(first, again, strict=True):
        assert torch.equal(one, two)


def shares(augmentation: Mixup | Cutmix) -> Tensor:
    """The share of itself that each clip keeps."""
    features, targets, weights = batch(width=1000)
    _, mixed, _ = augmentation(features, targets=targets, weights=weights, rng=generator(0))
    return mixed.diagonal()


@pytest.mark.parametrize("part", [Mixup, Cutmix])
def test_one_share_for_the_batch_or_one_a_clip(part) -> None:
    # One clip of 64 is its own partner in this order at most a few times, and keeps everything then.
    together = shares(part(alpha=1.0, per_item=False))
    assert len(together[together < 1.0].unique()) == 1
    assert len(shares(part(alpha=1.0)).unique()) > COUNT // 2


@pytest.mark.parametrize("part", [Mixup, Cutmix])
def test_probability_zero_changes_nothing_and_half_about_half(part) -> None:
    features, targets, weights = batch()
    same, _, _ = part(alpha=1.0, p=0.0)(features, targets=targets, weights=weights, rng=generator(0))
    assert torch.equal(same, features)
    changed = int((shares(part(alpha=1.0, p=0.5)) < 1.0).sum())
    assert COUNT // 4 < changed < 3 * COUNT // 4


def test_a_small_alpha_mixes_little() -> None:
    def middle(alpha: float) -> float:
        kept = shares(Mixup(alpha=alpha))
        return float(torch.minimum(kept, 1.0 - kept).mean())

    # Beta(1, 1) has a mean distance of 1/4 from the nearer end; Beta(0.1, 0.1) about 0.04.
    assert abs(middle(1.0) - 0.25) < 0.06
    assert middle(0.1) < 0.1


def test_a_box_in_time_reaches_over_all_bins_and_channels() -> None:
    features, targets, weights = batch()
    mixed, mixed_targets, _ = Cutmix(alpha=1.0)(features, targets=targets, weights=weights, rng=generator(2))
    assert (mixed == mixed[:, :1, :1]).all()
    taken = (mixed != features)[:, 0, 0].float()
    torch.testing.assert_close(taken.mean(dim=1), 1.0 - mixed_targets.diagonal())
    edges = torch.diff(taken, dim=1).abs().sum(dim=1)
    assert edges.max() <= 2


def test_a_box_in_time_and_frequency_has_the_true_share() -> None:
    features, targets, weights = batch(height=7, width=11)
    mixed, mixed_targets, _ = Cutmix(alpha=1.0, box="time_frequency")(
        features, targets=targets, weights=weights, rng=generator(2)
    )
    taken = (mixed != features)[:, 0]
    pixels = taken.sum(dim=(1, 2))
    assert torch.equal(pixels, taken.any(dim=1).sum(dim=1) * taken.any(dim=2).sum(dim=1))
    torch.testing.assert_close(pixels / 77, 1.0 - mixed_targets.diagonal())


def test_one_clip_alone_is_left_as_it_is() -> None:
    for augmentation in (Mixup(alpha=1.0), Cutmix(alpha=1.0)):
        features = torch.rand(1, 1, 4, 4)
        mixed, targets, _ = augmentation(
            features, targets=torch.ones(1, 1), weights=torch.ones(1), rng=generator(0)
        )
        torch.testing.assert_close(mixed, features)
        torch.testing.assert_close(targets, torch.ones(1, 1))
