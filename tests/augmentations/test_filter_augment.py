"""A curve over frequency, one a clip, straight between its points."""

from __future__ import annotations

import numpy as np
import torch

from kikiwake.augmentations.filter_augment import FilterAugment


def test_the_curve_is_one_a_clip_and_straight_between_two_points() -> None:
    features = torch.zeros(3, 2, 5, 4)
    curves = FilterAugment(amount=6.0, points=2)(features, rng=np.random.default_rng(0))
    assert torch.equal(curves[:, 0], curves[:, 1])
    assert torch.equal(curves[..., 0], curves[..., 3])
    steps = curves[:, 0, :, 0].diff(dim=1)
    assert torch.allclose(steps, steps[:, :1].expand(-1, 4), atol=1e-6)
    assert 0 < curves.abs().max() <= 6
    assert not torch.equal(curves[0], curves[1])


def test_clips_out_of_turn_stay_as_they_are() -> None:
    features = torch.randn(200, 1, 5, 2)
    changed = FilterAugment(amount=1.0, p=0.5)(features, rng=np.random.default_rng(0))
    same = (changed == features).flatten(1).all(1).float().mean()
    assert 0.4 < same < 0.6
