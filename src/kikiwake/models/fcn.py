"""A small fully convolutional network for log-mel spectrograms (Choi et al. 2016)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from kikiwake.errors import RecipeError, WeightsError
from kikiwake.models._freezing import Freezable, Group
from kikiwake.models._output import Output
from kikiwake.weights import fill, read_tensors, strip_prefix, without

Size = Annotated[int, Field(ge=1)]


class Fcn(Freezable):
    """Batch norm, blocks of convolution, batch norm, ReLU and maximum pooling, global average, linear.

    After Choi, Fazekas & Sandler 2016, "Automatic tagging using deep convolutional neural networks", in the
    form that classifies artist20: its published checkpoint loads as `weights`. Such a checkpoint expects mel
    bands in dB as torchaudio makes them: 16 kHz, `n_fft` and window 512, hop 256, 96 bands of the HTK scale
    up to 8 kHz without area normalisation, power, `10 log10` with no limit below but 1e-10.

    Args:
        in_channels: of the features; supplied by the pipeline.
        num_classes: supplied by the pipeline.
        widths: channels of the blocks.
        pools: of each block, the pooling over (frequency, time).
        dropout: share of the averaged features that training hides before the linear layer.
        weights: a local file with this network's names.
        load_head: take the last layer from `weights` too; false keeps a new one for another set of classes.

    Shape: `[B, in_channels, F, N]` -> clipwise `[B, num_classes]`; F and N at least the product of the pools.

    Raises:
        RecipeError: as many pools as widths are needed.
        WeightsError: the weights cannot be had or do not fit.
    """

    takes: ClassVar[Literal["picture", "sequence"]] = "picture"
    example: ClassVar[dict[str, Any]] = {"widths": [4, 6], "pools": [[2, 2], [2, 4]]}

    def __init__(
        self,
        *,
        in_channels: int,
        num_classes: int,
        widths: tuple[Size, ...] = (64, 128, 128, 128, 64),
        pools: tuple[tuple[Size, Size], ...] = ((2, 2),) * 5,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2,
        weights: Path | None = None,
        load_head: bool = True,
    ) -> None:
        super().__init__()
        if not widths or len(widths) != len(pools):
            raise RecipeError(
                f"{len(widths)} widths and {len(pools)} pools make no network",
                where="model",
                remedy="give one (frequency, time) pool a width",
            )
        self.spec_bn = nn.BatchNorm2d(in_channels)
        self.depth = len(widths)
        before = in_channels
        for number, (width, pool) in enumerate(zip(widths, pools, strict=True), start=1):
            self.add_module(f"layer{number}", Block(before, width, pool=tuple(pool)))
            before = width
        self.global_pool = nn.AdaptiveAvgPool2d((1, 1))
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(before, num_classes)
        self.smallest = tuple(math.prod(sizes) for sizes in zip(*pools, strict=True))
        if weights is not None:
            self._load(weights, load_head=load_head)

    def forward(self, features: Tensor) -> Output:
        """Return the logits of a batch.

        Raises:
            RecipeError: the spectrogram is smaller than one output of the poolings.
        """
        bands, frames = features.shape[-2:]
        if bands < self.smallest[0] or frames < self.smallest[1]:
            raise RecipeError(
                f"the poolings need at least {self.smallest[0]} bands and {self.smallest[1]} frames",
                where="model",
                value=(bands, frames),
                remedy="use longer clips, more bands, or smaller 'pools'",
            )
        found = self.spec_bn(features)
        for layer in self._layers():
            found = layer(found)
        return Output(self.dense(self.dropout(self.global_pool(found).flatten(1))))

    def layer_groups(self) -> list[Group]:
        """Return the input's batch norm as the stem, then the blocks."""
        named = [("spec_bn", self.spec_bn), *((f"layer{n}", b) for n, b in enumerate(self._layers(), 1))]
        return [Group(name, list(module.parameters()), [module]) for name, module in named]

    def _layers(self) -> list[nn.Module]:
        return [self.get_submodule(f"layer{number}") for number in range(1, self.depth + 1)]

    def _load(self, path: Path, *, load_head: bool) -> None:
        tensors = strip_prefix(read_tensors(path), self.state_dict())
        # "spec." are the window and filters of torchaudio's mel spectrogram, which the front end takes over.
        tensors = without(tensors, ["spec.", "frontend."] if load_head else ["spec.", "frontend.", "dense."])
        output = tensors.get("dense.weight")
        if output is not None and len(output) != self.dense.out_features:
            raise WeightsError(
                f"these weights tell {len(output)} classes apart, this model {self.dense.out_features}",
                where=path,
                remedy="set load_head: false to take all but the last layer and begin with a new one",
            )
        fill(self, tensors, where=path, optional=() if load_head else ("dense.",))


class Block(nn.Module):
    """Convolution over 3 x 3, batch norm, ReLU, maximum pooling; named as in the published checkpoint.

    Shape: `[B, C, F, N]` -> `[B, width, F // pool[0], N // pool[1]]`.
    """

    def __init__(self, channels: int, width: int, *, pool: tuple[int, ...]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3, padding=1)
        self.bn = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.mp = nn.MaxPool2d(pool)

    def forward(self, features: Tensor) -> Tensor:
        """Return the pooled feature map."""
        found: Tensor = self.mp(self.relu(self.bn(self.conv(features))))
        return found
