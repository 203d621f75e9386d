"""The network of MusicFM, in the names of its published weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from kikiwake.errors import WeightsError
from kikiwake.frontends._conformer import Conformer, Size
from kikiwake.weights import fill, read_tensors, strip_prefix, without

N_MELS = 128

UNUSED = ("cls_token", "linear.", "quantizer_", "preprocessor_", "conformer.pos_conv_embed.")
"""Beginnings of the names of tensors that no embedding depends on: they serve training, or are window and
filters of the mel spectrogram. The position convolution is never called where positions are rotary."""

_TELLING = {
    "channels": "conv.conv.0.conv1.weight",
    "width": "conv.linear.weight",
    "hidden": "conformer.layers.0.ffn1.intermediate_dense.weight",
    "kernel": "conformer.layers.0.conv_module.depthwise_conv.weight",
    "head": "conformer.embed_positions.inv_freq",
}
"""Tensors whose shapes tell the sizes of the network."""


def read_encoder(path: Path) -> MusicfmEncoder:
    """Return the encoder of a weight file: the published one, or its tensors alone.

    Raises:
        WeightsError: no such file, damaged or unsafe, or not a MusicFM.
    """
    tensors = strip_prefix(read_tensors(path), _TELLING.values())
    encoder = encoder_like(tensors, where=path).to_empty(device="cpu")
    for buffer in encoder.buffers():
        buffer.zero_()  # also a counter of batch norm that the file leaves out
    fill(encoder, without(tensors, UNUSED), where=path)
    return encoder


def saved_encoder(tensors: Mapping[str, Tensor], *, prefix: str) -> MusicfmEncoder:
    """Return an encoder of the size of the `tensors` below `prefix`, still without their values."""
    own = {name.removeprefix(prefix): found for name, found in tensors.items() if name.startswith(prefix)}
    encoder = encoder_like(own, where="model.safetensors").to_empty(device="cpu")
    if "conformer.layer_norm.weight" not in own:
        encoder.conformer.layer_norm = nn.Identity()
    return encoder


def encoder_like(tensors: Mapping[str, Tensor], *, where: str | Path) -> MusicfmEncoder:
    """Return an encoder of the size of `tensors`, on the device "meta": it has shapes and takes no memory.

    Raises:
        WeightsError: tensors that tell the size are missing.
    """
    if missing := [name for name in _TELLING.values() if name not in tensors]:
        raise WeightsError(
            f"these are not the weights of a MusicFM: there is no {missing[0]}",
            where=where,
            remedy="give pretrained_msd.pt or pretrained_fma.pt of https://huggingface.co/minzwon/MusicFM",
        )
    shapes = {key: tensors[name].shape for key, name in _TELLING.items()}
    layers = {name.split(".")[2] for name in tensors if name.startswith("conformer.layers.")}
    size = Size(
        width=shapes["width"][0],
        depth=len(layers),
        hidden=shapes["hidden"][0],
        kernel=shapes["kernel"][-1],
        head=2 * shapes["head"][0],
    )
    with torch.device("meta"):
        return MusicfmEncoder(size, channels=shapes["channels"][0])


class MusicfmEncoder(nn.Module):
    """Two residual convolutions that leave a fourth of the frames, and a conformer.

    `width` of its vectors, `depth` in conformer layers.

    Shape: `[B, N_MELS, N]` -> `[B, N / 4, width]`, rounded up.
    """

    def __init__(self, size: Size, *, channels: int) -> None:
        super().__init__()
        self.width = size.width
        self.depth = size.depth
        self.conv = Subsampling(channels, size.width)
        self.conformer = Conformer(size)

    def forward(self, mel: Tensor) -> Tensor:
        """Return the vectors of mel spectrograms."""
        found: Tensor = self.conformer(self.conv(mel))
        return found


class Subsampling(nn.Module):
    """Two residual blocks that halve bands and frames, and a linear layer over what a frame then holds.

    Shape: `[B, N_MELS, N]` -> `[B, N / 4, width]`, rounded up.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(Halving(1, channels), Halving(channels, channels))
        self.linear = nn.Linear(channels * N_MELS // 4, width)

    def forward(self, mel: Tensor) -> Tensor:
        """Return the vectors of mel spectrograms."""
        found: Tensor = self.linear(self.conv(mel[:, None]).flatten(1, 2).transpose(1, 2))
        return found


class Halving(nn.Module):
    """A residual block of convolutions over 3 x 3 with stride 2.

    Shape: `[B, before, F, N]` -> `[B, after, F / 2, N / 2]`, rounded up.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, padding=1, stride=2)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(after)
        self.conv3 = nn.Conv2d(before, after, 3, padding=1, stride=2)
        self.bn3 = nn.BatchNorm2d(after)

    def forward(self, picture: Tensor) -> Tensor:
        """Return the smaller picture."""
        found = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(picture)))))
        return functional.relu(found + self.bn3(self.conv3(picture)))
