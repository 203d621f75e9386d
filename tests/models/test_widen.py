from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from kikiwake.models._widen import widen, widen_inputs


def test_a_fourth_channel_gets_the_mean_and_the_three_stay():
    weight = torch.tensor([[[[1.0]], [[2.0]], [[6.0]]], [[[0.0]], [[-3.0]], [[0.0]]]])
    assert widen(weight, in_channels=4)[:, :, 0, 0].tolist() == [[1, 2, 6, 3], [0, -3, 0, -1]]


@pytest.mark.parametrize("channels", [1, 2])
def test_fewer_channels_share_the_sum(channels):
    weight = torch.randn(8, 3, 3, 3)
    picture = torch.randn(2, 1, 9, 9)
    grey = functional.conv2d(picture.expand(-1, 3, -1, -1), weight)
    found = functional.conv2d(picture.expand(-1, channels, -1, -1), widen(weight, in_channels=channels))
    torch.testing.assert_close(found, grey, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_every_number_of_channels_is_reached(channels):
    found = widen(torch.randn(8, 3, 5, 5), in_channels=channels)
    assert found.shape == (8, channels, 5, 5)
    assert found.is_contiguous()


def test_only_convolutions_over_a_picture_are_widened():
    tensors = {
        "stem.weight": torch.ones(4, 3, 3, 3),
        "depthwise.weight": torch.ones(3, 1, 3, 3),
        "wrong.weight": torch.ones(4, 3, 5, 5),
        "linear.weight": torch.ones(4, 3),
    }
    expected = {
        "stem.weight": torch.empty(4, 2, 3, 3),
        "depthwise.weight": torch.empty(3, 1, 3, 3),
        "wrong.weight": torch.empty(4, 2, 3, 3),
        "linear.weight": torch.empty(4, 2),
    }
    found = widen_inputs(tensors, expected=expected, in_channels=2)
    assert found["stem.weight"].shape == (4, 2, 3, 3)
    assert all(found[name] is tensors[name] for name in tensors if name != "stem.weight")
