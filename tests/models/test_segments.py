"""Segments: crops that are mixed whole, cut in time, and joined again before the pooling."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kikiwake.augmentations.mixup import Mixup
from kikiwake.errors import RecipeError
from kikiwake.models._segments import cut, join
from kikiwake.models.cnn import Cnn


def cnn(**options) -> Cnn:
    torch.manual_seed(0)
    return Cnn(in_channels=1, num_classes=3, backbone="test_resnet", pooling="gem", **options)


def test_pictures_are_cut_in_time_and_the_frame_left_over_is_dropped():
    # Two pictures of 2 bands and 5 frames: 0 1 2 3 4 over 5 6 7 8 9, and the same plus 10.
    pictures = torch.arange(20.0).view(2, 1, 2, 5)
    parts = cut(pictures, count=2)
    assert parts[:, 0].tolist() == [
        [[0, 1], [5, 6]],
        [[2, 3], [7, 8]],
        [[10, 11], [15, 16]],
        [[12, 13], [17, 18]],
    ]
    assert torch.equal(join(parts, count=2), pictures[..., :4])


def test_mixing_whole_crops_mixes_each_segment_with_its_like():
    class Draws:
        """The second clip is mixed with the first at lambda 0.25, the first with the second at 0.75."""

        def permutation(self, count):
            return np.array([1, 0])

        def random(self, count):
            return np.zeros(count)

        def beta(self, alpha, beta, size):
            assert (alpha, beta) == (1.0, 1.0)
            return np.array([0.75, 0.25])

    crops = torch.tensor([[4.0, 8.0, 12.0, 16.0], [0.0, 4.0, 8.0, 0.0]]).view(2, 1, 1, 4)
    targets, weights = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([1.0, 0.2])
    mixed, targets, weights = Mixup(alpha=1.0)(crops, targets=targets, weights=weights, rng=Draws())
    # 0.75 of the first and 0.25 of the second; then 0.25 of the second and 0.75 of the first.
    assert cut(mixed, count=2).flatten(1).tolist() == [[3, 7], [11, 12], [3, 7], [11, 12]]
    assert targets.tolist() == [[0.75, 0.25], [0.75, 0.25]]
    assert weights.tolist() == pytest.approx([0.8, 0.8])


def test_training_joins_the_maps_of_the_segments_before_the_pooling():
    network, pictures = cnn(segments=3).train(), torch.randn(2, 1, 64, 97)
    found = network(pictures).clipwise
    parts = [pictures[clip : clip + 1, ..., 32 * at : 32 * at + 32] for clip in range(2) for at in range(3)]
    maps = cnn().train().backbone(torch.cat(parts))  # all in one batch: batch norm sees them together
    per_clip = [torch.cat(list(maps[3 * clip : 3 * clip + 3]), dim=-1) for clip in range(2)]
    pooled = [own.clamp(min=1e-6).pow(3).mean((-2, -1)).pow(1 / 3) for own in per_clip]
    torch.testing.assert_close(found, network.head(torch.stack(pooled)))


def test_a_window_is_pooled_whole_when_it_is_judged():
    network, window = cnn(segments=6).eval(), torch.randn(1, 1, 64, 100)
    maps = network.backbone(window)
    # The paper's formula: (mean of max(x, 1e-6) ** p) ** (1 / p), here worked in float64.
    values = maps.double().clamp(min=1e-6).flatten(2)
    pooled = ((values**3).sum(-1) / values.shape[-1]) ** (1 / 3)
    torch.testing.assert_close(network.pooling(maps).double(), pooled, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(network(window).clipwise, network.head(pooled.float()))
    torch.testing.assert_close(network(window).clipwise, cnn().eval()(window).clipwise)


def test_the_power_of_the_pooling_is_learned_through_the_segments():
    network = cnn(segments=2).train()
    network(torch.randn(2, 1, 64, 64)).clipwise.sum().backward()
    assert network.pooling.p.item() == 3
    assert network.pooling.p.grad.abs().item() > 0


def test_more_segments_than_frames_are_refused():
    with pytest.raises(RecipeError, match="pictures of 4 frames cannot be cut into 6 segments"):
        cnn(segments=6).train()(torch.randn(1, 1, 64, 4))
