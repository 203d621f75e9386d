from __future__ import annotations

import numpy as np
import pytest
import torch

from kikiwake.augmentations.frequency_mask import FrequencyMask
from kikiwake.augmentations.time_mask import TimeMask
from kikiwake.randomness import generator

PARTS = [(TimeMask, 3), (FrequencyMask, 2)]


@pytest.mark.parametrize(("part", "axis"), PARTS)
def test_whole_lines_are_hidden_in_all_channels_alike(part, axis) -> None:
    features = torch.rand(16, 2, 20, 30) + 1.0
    masked = part(max_width=6, value=0.0)(features, rng=generator(0))
    hidden = masked == 0.0
    other = 5 - axis
    widths = hidden.all(dim=(1, other)).sum(dim=1)
    assert (hidden.sum(dim=(1, 2, 3)) == widths * 2 * features.shape[other]).all()
    assert widths.max() <= 6
    assert len(set(widths.tolist())) > 2
    assert torch.equal(masked[~hidden], features[~hidden])


def test_one_mask_is_one_stretch() -> None:
    masked = TimeMask(max_width=9, value=0.0)(torch.ones(200, 1, 1, 30), rng=generator(0))[:, 0, 0]
    rises = (torch.diff(masked, dim=1, prepend=torch.ones(200, 1)) < 0).sum(dim=1)
    assert rises.max() == 1
    # Every frame can be hidden, the first and the last too.
    assert (masked == 0).any(dim=0).all()


def test_widths_are_drawn_evenly_from_zero_to_the_widest() -> None:
    masked = TimeMask(max_width=4, value=0.0)(torch.ones(5000, 1, 1, 30), rng=generator(0))
    counts = torch.bincount((masked == 0).sum(dim=(1, 2, 3)), minlength=5)
    # 1000 each with a standard deviation of 28.
    assert len(counts) == 5
    assert counts.min() > 880
    assert counts.max() < 1120


def test_two_masks_of_35_frames_hide_70_at_most() -> None:
    masked = TimeMask(max_width=35, masks=2, value=0.0)(torch.ones(500, 1, 1, 400), rng=generator(0))
    hidden = (masked == 0).sum(dim=(1, 2, 3))
    assert 50 < hidden.max() <= 70


def test_the_mean_of_clip_and_channel_fills() -> None:
    features = torch.arange(12.0).reshape(1, 2, 2, 3)
    masked = TimeMask(max_width=10**6, masks=8)(features, rng=generator(1))
    assert torch.equal(masked[0, 0], torch.full((2, 3), 2.5))
    assert torch.equal(masked[0, 1], torch.full((2, 3), 8.5))


def test_probability_is_by_clip() -> None:
    masked = TimeMask(max_width=30, masks=20, p=0.6, value=0.0)(torch.ones(2000, 1, 1, 30), rng=generator(0))
    share = float((masked == 0).any(dim=3).float().mean())
    assert abs(share - 0.6) < 0.04


@pytest.mark.parametrize(("part", "axis"), PARTS)
def test_input_is_untouched_and_draws_repeat(part, axis) -> None:
    features = torch.rand(4, 1, 8, 8)
    before = features.clone()
    first = part(max_width=8)(features, rng=generator(3))
    assert torch.equal(features, before)
    assert torch.equal(first, part(max_width=8)(features, rng=generator(3)))
    assert not torch.equal(first, part(max_width=8)(features, rng=generator(4)))


def test_draws_do_not_depend_on_the_type_of_the_features() -> None:
    features = torch.ones(4, 1, 8, 8)
    masks = [
        TimeMask(max_width=8, value=0.0)(features.to(kind), rng=generator(3)) == 0
        for kind in (torch.float32, torch.bfloat16)
    ]
    np.testing.assert_array_equal(*masks)
