"""Attention over time: hand-worked pooling, every switch alone and together, what learns and what exports."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from safetensors.torch import save_file

from kikiwake.errors import RecipeError
from kikiwake.models.sed import FramePooling, Sed, attention_pooled

SWITCHES = {
    "channels": [1, 2],  # a second resolution is a second channel
    "attention_heads": [0, 4],
    "skip": [False, True],
    "pooling": ["avg", "gem"],
    "layer_norm": [False, True],
}
COMBINATIONS = [dict(zip(SWITCHES, values, strict=True)) for values in itertools.product(*SWITCHES.values())]


def sed(*, channels: int = 1, backbone: str = "test_resnet", **options) -> Sed:
    torch.manual_seed(0)
    return Sed(in_channels=channels, num_classes=3, bins=64, backbone=backbone, **options)


def noise(channels: int = 1, *, batch: int = 2, frames: int = 160) -> torch.Tensor:
    return torch.randn(batch, channels, 64, frames, generator=torch.Generator().manual_seed(1))


def test_a_clip_is_the_attention_weighted_mean_of_its_frames_by_hand():
    # tanh(0.5493061) = 0.5 and tanh(-0.5493061) = -0.5: softmax gives e / (e + 1) = 0.7310586 and 0.2689414.
    attention = torch.tensor([[[0.5493061, -0.5493061]]])
    frames = torch.logit(torch.tensor([[[0.9, 0.2]]]))

    pooled = attention_pooled(frames, attention)

    torch.testing.assert_close(pooled.sigmoid(), torch.tensor([[0.7310586 * 0.9 + 0.2689414 * 0.2]]))


def test_logits_beyond_what_a_sigmoid_can_tell_are_kept_and_learn():
    frames = torch.tensor([[[60.0, 60.0]], [[-90.0, -90.0]]], requires_grad=True)

    pooled = attention_pooled(frames, torch.zeros(2, 1, 2))

    torch.testing.assert_close(pooled.flatten(), torch.tensor([60.0, -90.0]))
    pooled.sum().backward()
    torch.testing.assert_close(frames.grad, torch.full((2, 1, 2), 0.5))


def test_frames_are_the_maximum_plus_the_mean_of_three_by_hand():
    maps = torch.tensor([[[[0.0, 3.0, 0.0, 9.0], [0.0, 3.0, 6.0, 3.0]]]])  # mean over frequency: 0 3 3 6

    pooled = FramePooling("avg")(maps)

    # Maxima 3 3 6 6; means, with zeros outside, 1 2 4 3.
    torch.testing.assert_close(pooled, torch.tensor([[[4.0, 5.0, 10.0, 9.0]]]))


@pytest.mark.parametrize("options", COMBINATIONS, ids=str)
def test_every_switch_works_alone_and_with_all_others(options):
    # With timm's usual start, last norms of 0, residual branches learn from the second step on only.
    network = sed(backbone_arguments={"zero_init_last": False}, **options).train()
    features = noise(options["channels"])

    output = network(features)

    assert output.clipwise.shape == (2, 3)
    assert output.framewise.shape == (2, 3, 160)
    (output.clipwise.square().sum() + output.framewise.square().sum()).backward()
    still = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []
    if options["attention_heads"]:
        query, key, value = network.head.mixing.inward.bias.grad.abs().chunk(3)
        # A key's offset moves all scores of a query alike, and a softmax does not see that.
        assert key.max() < 1e-4 * min(query.max(), value.max())


@pytest.mark.parametrize("switch", ["attention_heads", "skip", "pooling", "layer_norm"])
def test_every_switch_changes_what_is_computed(switch):
    plain, changed = sed(), sed(**{switch: SWITCHES[switch][1]})
    shared = changed.state_dict()
    changed.load_state_dict({**shared, **{k: v for k, v in plain.state_dict().items() if k in shared}})

    with torch.inference_mode():
        assert not torch.allclose(plain.eval()(noise()).clipwise, changed.eval()(noise()).clipwise)


def test_attention_acts_over_time():
    """A class that is heard in one frame of many decides the clip once its frame is attended to."""
    frames = torch.full((1, 1, 50), -6.0)
    frames[0, 0, 20] = 6.0
    evenly, there = torch.zeros(1, 1, 50), torch.full((1, 1, 50), -9.0)
    there[0, 0, 20] = 9.0

    assert attention_pooled(frames, there).item() > attention_pooled(frames, evenly).item() + 1.5


def test_framewise_follows_the_sound_in_time():
    network = sed().eval()
    features = torch.zeros(1, 1, 64, 320)
    features[..., 224:256] = noise(frames=32)[:1]

    with torch.inference_mode():
        moved = (network(features).framewise - network(torch.zeros_like(features)).framewise).abs()[0].sum(0)

    assert 200 <= int(moved.argmax()) < 280
    assert moved[:64].max() < 0.05 * moved.max()


def test_the_network_with_all_switches_exports_to_onnx(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    options = COMBINATIONS[-1]
    network = sed(**options).eval()
    features = noise(options["channels"], batch=3)

    class Both(torch.nn.Module):
        def forward(self, features):
            return tuple(network(features))

    both = Both().eval()
    both.network = network
    torch.onnx.export(
        both,
        (features[:2],),
        str(tmp_path / "sed.onnx"),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        external_data=False,
        verbose=False,
    )
    session = onnxruntime.InferenceSession(str(tmp_path / "sed.onnx"))
    found = session.run(None, {session.get_inputs()[0].name: features.numpy()})

    with torch.inference_mode():
        for one, expected in zip(found, network(features), strict=True):
            torch.testing.assert_close(torch.from_numpy(one), expected, rtol=1e-3, atol=1e-4)


def test_the_weights_of_a_cnns_backbone_load(tmp_path):
    source = sed()
    save_file(source.backbone.state_dict(), tmp_path / "backbone.safetensors")
    torch.manual_seed(5)
    loaded = Sed(
        in_channels=1,
        num_classes=7,
        bins=64,
        backbone="test_resnet",
        weights=tmp_path / "backbone.safetensors",
    )

    assert torch.equal(loaded.backbone.conv1[0].weight, source.backbone.conv1[0].weight)


def test_a_whole_model_loads_with_its_head_or_without(tmp_path):
    source = sed(skip=True)
    with torch.no_grad():
        source.norm.weight.fill_(3.0)
    save_file(source.state_dict(), tmp_path / "sed.safetensors")

    whole = sed(skip=True, weights=tmp_path / "sed.safetensors")
    assert torch.equal(whole.head.classes.weight, source.head.classes.weight)
    torch.manual_seed(9)
    other = Sed(
        in_channels=1,
        num_classes=7,
        bins=64,
        backbone="test_resnet",
        skip=True,
        weights=tmp_path / "sed.safetensors",
        load_head=False,
    )
    assert torch.equal(other.norm.weight, source.norm.weight)
    assert other.head.classes.weight.shape[0] == 7


def test_freezing_the_stem_freezes_the_norm_before_it():
    network = sed()
    network.freeze(1)
    before = copy.deepcopy(network.norm.state_dict())
    network.train()(noise())

    assert not network.norm.weight.requires_grad
    assert all(torch.equal(network.norm.state_dict()[name], value) for name, value in before.items())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"backbone": "test_vit", "backbone_arguments": {"img_size": [64, 160]}}, "without an axis of time"),
        ({"attention_heads": 5}, "cannot be shared among 5 heads"),
    ],
)
def test_what_cannot_be_is_refused(options, said):
    with pytest.raises(RecipeError, match=said):
        sed(**options)
