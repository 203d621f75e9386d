from __future__ import annotations

import pytest
import torch

from kikiwake.errors import RecipeError
from kikiwake.frontends._normalise import build


def normalised(node, features, *, lengths=None):
    valid = (
        None if lengths is None else torch.arange(features.shape[2]) < torch.tensor(lengths)[:, None, None]
    )
    return build(node, channels=1, bins=features.shape[1]).clipwise(features, valid=valid)


def test_none_leaves_features_alone() -> None:
    features = torch.rand(2, 3, 4)
    assert torch.equal(normalised("none", features), features)


def test_offset_and_scale_bring_minus_80_and_0_db_to_0_and_1() -> None:
    features = torch.tensor([[[-80.0, -40.0, 0.0]]])
    assert normalised("offset_scale", features).tolist() == [[[0.0, 0.5, 1.0]]]
    node = {"name": "offset_scale", "offset": 100, "scale": 50}
    assert normalised(node, features)[0, 0].tolist() == pytest.approx([0.4, 1.2, 2.0])


def test_each_row_is_standardised_by_itself() -> None:
    features = torch.tensor([[[1.0, 3.0]], [[10.0, 30.0]]])
    torch.testing.assert_close(
        normalised("standardise_channel", features), torch.tensor([[[-1.0, 1.0]], [[-1.0, 1.0]]])
    )


@pytest.mark.parametrize("node", ["standardise_channel", {"name": "image_8bit", "mean": 0.0, "std": 1.0}])
def test_padding_does_not_shift_the_statistics(node) -> None:
    clip = torch.rand(1, 8, 20) * 30 - 60
    padded = torch.cat([clip, torch.full((1, 8, 13), -100.0)], dim=2)
    alone = normalised(node, clip)
    torch.testing.assert_close(normalised(node, padded, lengths=[20])[..., :20], alone)
    assert not torch.allclose(normalised(node, padded)[..., :20], alone, atol=0.05)
    rest = normalised(node, padded, lengths=[20])[..., 20:]
    assert (rest == rest[0, 0, 0]).all()


@pytest.mark.parametrize("node", ["standardise_channel", {"name": "image_8bit", "mean": 0.0, "std": 1.0}])
def test_a_constant_becomes_zero(node) -> None:
    assert not normalised(node, torch.full((1, 128, 501), -100.0)).any()
    assert not normalised(node, torch.full((1, 128, 501), -33.3)).any()


def test_a_picture_has_whole_levels_from_0_to_255() -> None:
    features = torch.tensor([[[0.0, 1.0, 2.0, 4.0]]])
    levels = normalised({"name": "image_8bit", "mean": 0.0, "std": 1.0}, features) * 255
    # 255/4 = 63.75 and 127.5 (to even: 128).
    assert levels.flatten().tolist() == pytest.approx([0.0, 64.0, 128.0, 255.0], abs=1e-4)
    photograph = normalised("image_8bit", features)
    assert photograph.flatten()[[0, 3]].tolist() == pytest.approx([-0.449 / 0.226, 0.551 / 0.226], rel=1e-5)


@pytest.mark.parametrize(("node", "axis"), [("batch_norm", 1), ("batch_norm_bins", 2)])
def test_batch_norm_standardises_its_axis_and_learns(node, axis) -> None:
    module = build(node, channels=2, bins=5)
    features = torch.randn(4, 2, 5, 6) * torch.arange(1.0, 11.0).view(1, 2, 5, 1) + 7.0
    out = module.batchwise(features)
    others = [d for d in range(4) if d != axis]
    size = features.shape[axis]
    torch.testing.assert_close(out.mean(dim=others), torch.zeros(size), atol=1e-5, rtol=0.0)
    torch.testing.assert_close(out.std(dim=others, correction=0), torch.ones(size), atol=1e-3, rtol=0.0)
    out.square().mean().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ("ofset_scale", "did you mean 'offset_scale'"),
        ({"name": "offset_scale", "ofset": 3}, "did you mean 'offset'"),
        ({"name": "offset_scale", "scale": 0}, "scale: input should be greater than 0"),
        ({"offset": 3}, "unknown name"),
    ],
)
def test_wrong_nodes_are_refused(node, message) -> None:
    with pytest.raises(RecipeError, match=message):
        build(node, channels=1, bins=1)
