from __future__ import annotations

import pytest
import torch

from kikiwake.models._pooling import GeM, create_pooling

# One feature over two bins and two frames.
MAP = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("avg", 3.0),
        ("max", 6.0),
        ("avg_max", 4.5),
        ("gem", ((1 + 8 + 27 + 216) / 4) ** (1 / 3)),
    ],
)
def test_pooling_by_hand(name, expected):
    assert create_pooling(name)(MAP).tolist() == [[pytest.approx(expected, rel=1e-6)]]


def test_gem_runs_from_the_mean_to_the_maximum():
    assert GeM(p=1.0)(MAP).item() == pytest.approx(3.0)
    assert GeM(p=40.0)(MAP).item() == pytest.approx(6.0, rel=0.05)


def test_the_exponent_of_gem_learns():
    pool = GeM()
    pool(MAP).sum().backward()
    assert pool.p.grad is not None
    assert pool.p.grad.item() > 0  # a larger p nears the maximum


def test_gem_of_negative_features_is_finite():
    pool = GeM()
    found = pool(-MAP)
    found.sum().backward()
    assert found.item() == pytest.approx(1e-6, rel=1e-3)
    assert torch.isfinite(pool.p.grad)


def test_gem_does_not_overflow_in_half_precision():
    # 60^3 = 216,000 is beyond float16's 65,504.
    assert GeM()(torch.full((1, 1, 2, 2), 60.0, dtype=torch.float16)).item() == pytest.approx(60, rel=1e-3)


@pytest.mark.parametrize("name", ["avg", "max", "avg_max", "gem"])
def test_memory_format_makes_no_difference(name):
    features = torch.rand(2, 8, 5, 7)
    pool = create_pooling(name)
    other = pool(features.to(memory_format=torch.channels_last))
    assert other.shape == (2, 8)
    torch.testing.assert_close(pool(features), other)
