from __future__ import annotations

import copy
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from kikiwake.errors import RecipeError, WeightsError
from kikiwake.models import _backbone
from kikiwake.models._torchvision import import_timm, import_torchvision
from kikiwake.models.cnn import Cnn

# timm's own small networks for tests: batch norm; a convolution after the stages; layer norm and drop path.
BACKBONES = ["test_resnet", "test_efficientnet", "test_convnext"]


def cnn(backbone="test_resnet", *, in_channels=1, num_classes=5, seed=0, **options) -> Cnn:
    torch.manual_seed(seed)
    return Cnn(in_channels=in_channels, num_classes=num_classes, backbone=backbone, **options)


def noise(channels=1, batch=2, bands=64, frames=96) -> torch.Tensor:
    return torch.randn(batch, channels, bands, frames, generator=torch.Generator().manual_seed(0))


def logits(network: Cnn, features: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return network.eval()(features).clipwise


@pytest.fixture
def timm_file(tmp_path):
    """A published-like file: three channels, 1,000 classes, timm's names."""
    torch.manual_seed(7)
    network = import_timm().create_model("test_resnet", num_classes=1000)
    save_file(network.state_dict(), tmp_path / "test_resnet.safetensors")
    return tmp_path / "test_resnet.safetensors"


@pytest.mark.parametrize("backbone", [*BACKBONES, "test_mambaout", "test_nfnet", "mobilenetv3_small_050"])
@pytest.mark.parametrize("channels", [1, 4])
def test_any_backbone_gives_logits(backbone, channels):
    output = cnn(backbone, in_channels=channels).eval()(noise(channels))
    assert output.clipwise.shape == (2, 5)
    assert torch.isfinite(output.clipwise).all()
    assert output.framewise is None


def test_transformers_are_pooled_over_their_tokens():
    network = cnn("test_vit", backbone_arguments={"img_size": [64, 96]})
    features = noise()
    tokens = network.eval().backbone(features)[:, 1:]
    expected = network.head(tokens.mean(dim=1))
    torch.testing.assert_close(network(features).clipwise, expected)


def test_average_pooling_equals_timms_own_network():
    network = cnn("mobilenetv3_small_050", in_channels=3)
    whole = import_timm().create_model("mobilenetv3_small_050", num_classes=5).eval()
    state = {f"classifier.{name}": network.head.output.get_parameter(name) for name in ("weight", "bias")}
    whole.load_state_dict(network.backbone.state_dict() | state)
    with torch.inference_mode():
        torch.testing.assert_close(logits(network, noise(3)), whole(noise(3)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pooling", ["avg", "max", "gem", "avg_max"])
def test_every_pooling_learns(pooling):
    network = cnn(pooling=pooling)
    network(noise()).clipwise.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_the_head_is_dropout_linear_relu_dropout_linear():
    network = cnn(dropout=0.5, hidden=16, hidden_dropout=0.3).eval()
    head, features = network.head, torch.randn(3, 96)
    hidden = functional.relu(functional.linear(features, head.hidden.weight, head.hidden.bias))
    expected = functional.linear(hidden, head.output.weight, head.output.bias)
    torch.testing.assert_close(head(features), expected)
    assert (head.dropout.p, head.hidden_dropout.p) == (0.5, 0.3)
    assert not torch.equal(head.train()(features), expected)


def test_drop_path_reaches_the_backbone():
    network = cnn("test_convnext", drop_path=0.5).train()
    rates = [module.drop_prob for module in network.modules() if hasattr(module, "drop_prob")]
    assert max(rates) == pytest.approx(0.5)


def test_channels_last_gives_the_same_logits():
    network, features = cnn(in_channels=3), noise(3)
    expected = logits(network, features)
    other = network.to(memory_format=torch.channels_last)
    found = logits(other, features.to(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_networks_go_through_pickle_and_copies():
    network = cnn(pooling="gem")
    network.freeze(2)
    for other in (pickle.loads(pickle.dumps(network)), copy.deepcopy(network)):
        assert torch.equal(logits(other, noise()), logits(network, noise()))
        assert not other.train().backbone.bn1.training


@pytest.mark.parametrize("channels", [1, 2])
def test_local_weights_answer_few_channels_as_a_grey_picture(timm_file, channels):
    def answer(count):
        network = cnn(in_channels=count, weights=timm_file).eval()
        return network.backbone(noise().expand(-1, count, -1, -1))

    torch.testing.assert_close(answer(channels), answer(3), rtol=1e-4, atol=1e-4)


def test_local_weights_for_four_stems_keep_three_channels_and_add_their_mean(timm_file):
    three = cnn(in_channels=3, weights=timm_file).backbone.state_dict()
    four = cnn(in_channels=4, weights=timm_file).backbone.state_dict()
    different = [name for name in three if three[name].shape != four[name].shape]
    assert len(different) == 1
    old, new = three[different[0]], four[different[0]]
    assert torch.equal(new[:, :3], old)
    torch.testing.assert_close(new[:, 3], old.mean(dim=1))
    assert all(torch.equal(three[name], four[name]) for name in three if name not in different)


@pytest.mark.parametrize("prefix", ["", "network.", "module."])
def test_a_kikiwake_models_file_loads_with_its_head(tmp_path, prefix):
    source = cnn(in_channels=4, pooling="gem", hidden=8, seed=1)
    with torch.no_grad():
        source.pooling.p.fill_(4.0)
    state = {prefix + name: tensor for name, tensor in source.state_dict().items()}
    save_file({**state, "frontend.filters": torch.ones(3)}, tmp_path / "model.safetensors")
    target = cnn(in_channels=4, pooling="gem", hidden=8, weights=tmp_path / "model.safetensors")
    assert torch.equal(logits(target, noise(4)), logits(source, noise(4)))


def test_a_file_of_other_classes_says_what_to_do(tmp_path):
    source = cnn(num_classes=9, seed=1)
    torch.save(source.state_dict(), tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"w\.pt.*9 classes apart, this model 5; set load_head: false"):
        cnn(weights=tmp_path / "w.pt")
    target = cnn(weights=tmp_path / "w.pt", load_head=False)
    assert target.head.output.weight.shape == (5, 96)
    assert torch.equal(target.backbone.conv1[0].weight, source.backbone.conv1[0].weight)


def test_weights_of_another_backbone_are_refused(timm_file):
    with pytest.raises(WeightsError, match=r"do not fit the model.*missing in the file.*'backbone'"):
        cnn("test_convnext", weights=timm_file)


def test_weights_of_another_head_are_refused(tmp_path):
    torch.save(cnn(hidden=8).state_dict(), tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"head\.output\.weight is \[5, 8\] in the file"):
        cnn(weights=tmp_path / "w.pt")


def test_published_weights_that_cannot_be_had_are_one_error_with_two_ways_out(monkeypatch):
    def unreachable(config):
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(_backbone, "_cached", unreachable)
    with pytest.raises(WeightsError) as caught:
        cnn(pretrained=True)
    message = str(caught.value)
    assert "the published weights of 'test_resnet' cannot be had: Name or service not known" in message
    assert "give the file as 'weights', or set pretrained: false" in message


def test_published_weights_on_the_disk_are_taken_from_there(monkeypatch, timm_file):
    monkeypatch.setattr(_backbone, "_cached", lambda config: str(timm_file))
    found = cnn(in_channels=4, pretrained=True)
    expected = cnn(in_channels=4, weights=timm_file)
    assert torch.equal(logits(found, noise(4)), logits(expected, noise(4)))


def test_pretrained_and_a_file_exclude_each_other(timm_file):
    with pytest.raises(RecipeError, match="exclude each other"):
        cnn(pretrained=True, weights=timm_file)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "efficientnet_b00"}, "no network 'efficientnet_b00'; did you mean .*efficientnet_b0"),
        ({"backbone": "hf-hub:timm/resnet18"}, "no network 'hf-hub:timm/resnet18'"),
        ({"backbone_arguments": {"depths": 1}}, "unexpected keyword argument 'depths'"),
        ({"backbone_arguments": {"in_chans": 3}}, "'in_chans' cannot be set here; the front end sets it"),
        ({"backbone_arguments": {"checkpoint_path": "x"}}, "use the key 'weights'"),
        ({"backbone": "vgg11", "drop_path": 0.2}, "timm cannot make 'vgg11'.*drop_path_rate"),
        ({"backbone": "test_vit"}, "pictures of one size.*img_size"),
    ],
)
def test_impossible_backbones_are_refused(options, message):
    with pytest.raises(RecipeError, match=message):
        cnn(**options)


@pytest.mark.parametrize("backbone", [*BACKBONES, "test_nfnet", "mobilenetv3_small_050"])
def test_every_backbone_parameter_belongs_to_one_group(backbone):
    network = cnn(backbone)
    grouped = [id(parameter) for group in network.layer_groups() for parameter in group.parameters]
    assert sorted(grouped) == sorted(id(parameter) for parameter in network.backbone.parameters())


def test_a_backbone_without_groups_is_one():
    network = cnn("poolformer_s12")
    assert network.groups() == ["backbone"]
    network.freeze(1)
    assert not any(parameter.requires_grad for parameter in network.backbone.parameters())


def test_groups_are_stem_and_stages():
    assert cnn().groups() == ["stem", "layer1", "layer2", "layer3", "layer4"]
    assert cnn("mobilenetv3_small_050").groups() == [
        "stem",
        *(f"blocks.{stage}" for stage in range(6)),
        "conv_head",
    ]


def test_efficientnet_b3_freezes_as_torchvisions_features_do():
    # Stem by hand: 40 filters of 3 x 3 over 3 channels, and batch norm's 2 x 40: 1,160.
    features = import_torchvision().models.efficientnet_b3(weights=None).features
    sizes = [sum(parameter.numel() for parameter in stage.parameters()) for stage in features]
    network = cnn("efficientnet_b3", in_channels=3)
    own = [sum(parameter.numel() for parameter in group.parameters) for group in network.layer_groups()]
    assert own[0] == 1160
    # timm counts the convolution after the last stage to that stage, torchvision by itself.
    assert own == [*sizes[:7], sizes[7] + sizes[8]]

    four = cnn("efficientnet_b3", in_channels=4, dropout=0.5, hidden=512, hidden_dropout=0.3)
    four.freeze(6)  # features[:6]
    frozen = sum(parameter.numel() for parameter in four.parameters() if not parameter.requires_grad)
    assert sum(sizes[:6]) == 2_190_154
    assert frozen == 2_190_154 + 40 * 9  # a fourth channel in the stem
    assert four.head.hidden.weight.shape == (512, 1536)


def changed_by_a_step(network: Cnn, channels: int = 1) -> set[str]:
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.train()
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.1, weight_decay=0.1)
    network(noise(channels, batch=4)).clipwise.square().sum().backward()
    optimizer.step()
    return {name for name, now in network.state_dict().items() if not torch.equal(now, before[name])}


def trainable() -> Cnn:
    """A network in which a gradient reaches every parameter: no batch norm starts at 0."""
    return cnn(backbone_arguments={"zero_init_last": False})


def test_frozen_groups_keep_weights_and_batch_norm_statistics():
    network = trainable()
    network.freeze(3)
    frozen = ("backbone.conv1", "backbone.bn1", "backbone.layer1", "backbone.layer2")
    expected = {name for name in network.state_dict() if not name.startswith(frozen)}
    assert changed_by_a_step(network) == expected


def test_freezing_all_leaves_the_head_alone_to_learn():
    network = cnn(pooling="gem")
    network.freeze("all")
    assert changed_by_a_step(network) == {"pooling.p", "head.output.weight", "head.output.bias"}
    assert not any(module.training for module in network.backbone.modules())
    assert network.head.training


def test_a_frozen_backbone_answers_the_same_in_training_mode():
    network = cnn("test_convnext", drop_path=0.9)
    network.freeze("all")
    expected = logits(network, noise())
    torch.testing.assert_close(network.train()(noise()).clipwise, expected)


def test_drop_path_of_a_frozen_stage_is_off():
    network = cnn("test_convnext", drop_path=0.5)
    network.freeze(3)
    network.train()
    assert not any(module.training for module in network.backbone.stages[1].modules())
    assert all(module.training for module in network.backbone.stages[2].modules())


def test_freezing_0_unfreezes():
    network = trainable()
    network.freeze("all")
    network.freeze(0)
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert all(module.training for module in network.train().modules())
    assert changed_by_a_step(network) == set(network.state_dict())


def test_freezing_keeps_evaluation_mode():
    network = cnn().eval()
    network.freeze(1)
    assert not any(module.training for module in network.modules())


def test_more_groups_than_there_are_is_refused():
    with pytest.raises(RecipeError, match=r"5 groups to freeze \(got 6\).*1 stem, 2 layer1"):
        cnn().freeze(6)
