from __future__ import annotations

import pytest
import torch
from torch import nn

from kikiwake.classifier import build_classifier
from kikiwake.errors import RecipeError, WeightsError
from kikiwake.models.fcn import Fcn
from kikiwake.recipe import Recipe


class Conv_2d(nn.Module):  # noqa: N801 - the published code, name by name
    def __init__(self, input_channels, output_channels, shape=3, stride=1, pooling=2):
        super().__init__()
        self.conv = nn.Conv2d(input_channels, output_channels, shape, stride=stride, padding=shape // 2)
        self.bn = nn.BatchNorm2d(output_channels)
        self.relu = nn.ReLU()
        self.mp = nn.MaxPool2d(pooling)

    def forward(self, x):
        return self.mp(self.relu(self.bn(self.conv(x))))


class AudioClassifierCNN(nn.Module):
    """The published network of artist20, given the mel spectrogram in dB that it makes by itself there."""

    def __init__(self, n_class=50):
        super().__init__()
        self.spec_bn = nn.BatchNorm2d(1)
        self.layer1 = Conv_2d(1, 64, pooling=(2, 2))
        self.layer2 = Conv_2d(64, 128, pooling=(2, 2))
        self.layer3 = Conv_2d(128, 128, pooling=(2, 2))
        self.layer4 = Conv_2d(128, 128, pooling=(2, 2))
        self.layer5 = Conv_2d(128, 64, pooling=(2, 2))
        self.global_pool = nn.AdaptiveAvgPool2d((1, 1))
        self.dense = nn.Linear(64, n_class)
        self.dropout = nn.Dropout(0.2)

    def forward(self, x):
        x = self.spec_bn(x)
        x = self.layer1(x)
        x = self.layer2(x)
        x = self.layer3(x)
        x = self.layer4(x)
        x = self.layer5(x)
        x = self.global_pool(x)
        x = x.view(x.size(0), -1)
        x = self.dropout(x)
        return self.dense(x)


@pytest.fixture
def spectrogram() -> torch.Tensor:
    return torch.randn(3, 1, 96, 187, generator=torch.Generator().manual_seed(0)) * 20 - 30


@pytest.fixture
def published(spectrogram) -> AudioClassifierCNN:
    """The published network with 20 classes and batch-norm statistics that are not trivial."""
    torch.manual_seed(1)
    network = AudioClassifierCNN(n_class=20).train()
    for _ in range(3):
        network(spectrogram + torch.randn_like(spectrogram))
    return network.eval()


@pytest.fixture
def checkpoint(published, tmp_path):
    """The published network's file: torchaudio's window and mel filters are among its tensors."""
    state = published.state_dict()
    state["spec.spectrogram.window"] = torch.hann_window(512)
    state["spec.mel_scale.fb"] = torch.rand(257, 96)
    torch.save(state, tmp_path / "task2_checkpoint.pth")
    return tmp_path / "task2_checkpoint.pth"


def test_the_published_checkpoint_gives_the_published_output(published, checkpoint, spectrogram):
    network = Fcn(in_channels=1, num_classes=20, weights=checkpoint).eval()
    with torch.inference_mode():
        expected = published(spectrogram)
        output = network(spectrogram)
    assert expected.std() > 1e-3
    torch.testing.assert_close(output.clipwise, expected, rtol=1e-6, atol=1e-6)
    assert output.framewise is None


def published_decibels(waveform: torch.Tensor) -> torch.Tensor:
    """What torchaudio's MelSpectrogram(16000, n_fft=512, f_max=8000, n_mels=96) and AmplitudeToDB give."""
    bins = torch.linspace(0, 8000, 257)
    top = 2595 * torch.log10(torch.tensor(1 + 8000 / 700))
    corners = 700 * (10 ** (torch.linspace(0, float(top), 98) / 2595) - 1)
    rising = (bins[:, None] - corners[:-2]) / corners.diff()[:-1]
    falling = (corners[2:] - bins[:, None]) / corners.diff()[1:]
    filters = torch.minimum(rising, falling).clamp(min=0)
    window = torch.hann_window(512)
    spectrum = torch.stft(waveform, 512, 256, window=window, pad_mode="reflect", return_complex=True)
    mel = (spectrum.abs().square().transpose(1, 2) @ filters).transpose(1, 2)
    return 10 * mel.clamp(min=1e-10).log10()[:, None]


@pytest.mark.filterwarnings("ignore:.*filter.*")
def test_the_recipe_gives_the_published_output_from_the_waveform_on(published, checkpoint):
    recipe = Recipe.load("artist20_fcn", f"model.weights={checkpoint}")
    classifier = build_classifier(recipe, classes=[f"artist {number:02}" for number in range(20)]).eval()
    rng = torch.Generator().manual_seed(4)
    waveform = 0.1 * torch.randn(2, 48_000, generator=rng)
    waveform += 0.3 * torch.sin(torch.arange(48_000) * torch.tensor([[0.2], [0.9]]))
    with torch.inference_mode():
        expected = published(published_decibels(waveform))
        output = classifier(waveform[:, None])
    assert (expected[0] - expected[1]).abs().max() > 1e-3
    torch.testing.assert_close(output.clipwise, expected, rtol=1e-4, atol=1e-4)


def test_names_and_shapes_are_the_published_ones(published):
    shapes = {name: tensor.shape for name, tensor in published.state_dict().items()}
    own = Fcn(in_channels=1, num_classes=20).state_dict()
    assert {name: tensor.shape for name, tensor in own.items()} == shapes


def test_a_checkpoint_of_other_classes_says_what_to_do(checkpoint):
    with pytest.raises(WeightsError, match=r"20 classes apart, this model 7.*load_head: false"):
        Fcn(in_channels=1, num_classes=7, weights=checkpoint)


def test_without_the_head_the_other_layers_are_loaded(published, checkpoint):
    network = Fcn(in_channels=1, num_classes=7, weights=checkpoint, load_head=False)
    assert torch.equal(network.get_parameter("layer5.conv.weight"), published.layer5.conv.weight)
    assert network.dense.weight.shape == (7, 64)


def test_a_checkpoint_of_other_widths_is_refused(checkpoint):
    with pytest.raises(WeightsError, match=r"layer1\.conv\.weight is \[64, 1, 3, 3\] in the file"):
        Fcn(in_channels=1, num_classes=20, widths=(8, 8, 8, 8, 8), weights=checkpoint)


def test_an_input_too_small_for_the_poolings_is_refused():
    network = Fcn(in_channels=1, num_classes=4)
    assert network(torch.zeros(2, 1, 32, 32)).clipwise.shape == (2, 4)
    with pytest.raises(RecipeError, match=r"at least 32 bands and 32 frames.*\(96, 31\)"):
        network(torch.zeros(2, 1, 96, 31))


def test_widths_and_pools_make_other_networks():
    network = Fcn(in_channels=2, num_classes=3, widths=(4, 8), pools=((2, 1), (3, 4)))
    assert network.smallest == (6, 4)
    assert network(torch.zeros(2, 2, 6, 4)).clipwise.shape == (2, 3)


def test_every_width_needs_a_pool():
    with pytest.raises(RecipeError, match="2 widths and 5 pools"):
        Fcn(in_channels=1, num_classes=3, widths=(4, 8))


def test_frozen_blocks_keep_weights_and_statistics(spectrogram):
    network = Fcn(in_channels=1, num_classes=4)
    assert network.groups() == ["spec_bn", "layer1", "layer2", "layer3", "layer4", "layer5"]
    network.freeze(3)
    network.train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network(spectrogram).clipwise.square().sum().backward()
    optimizer.step()
    changed = {
        name.split(".")[0]
        for name, tensor in network.state_dict().items()
        if not torch.equal(tensor, before[name])
    }
    assert changed == {"layer3", "layer4", "layer5", "dense"}
