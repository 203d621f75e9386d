"""Sound event detection from weak labels: any picture network of timm with attention over time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from kikiwake.errors import RecipeError
from kikiwake.models._backbone_network import BackboneNetwork
from kikiwake.models._freezing import Group
from kikiwake.models._output import Output
from kikiwake.models._pooling import create_pooling

Fraction = Annotated[float, Field(ge=0, lt=1)]


class Sed(BackboneNetwork):
    """A timm backbone whose feature map is judged frame by frame, and a clip by the frames that matter.

    Kong et al. 2020, "PANNs", section III-C, in the form of the second place of BirdCLEF 2023: batch
    norm of each bin, backbone, one vector a frame, maximum plus mean of each three frames, dropout, a layer
    with ReLU, dropout; then two 1x1 convolutions over time: one judges each frame (`framewise`), the other
    says with softmax(tanh(.)) over time how much it counts. A clip's probability is the weighted mean of its
    frames' sigmoids, and its logit is computed from their logarithms, so that nothing is clamped or lost.

    Args:
        in_channels: of the features; supplied by the pipeline.
        num_classes: supplied by the pipeline.
        bins: height of the features; supplied by the pipeline.
        backbone: any network name of timm, with or without a tag.
        pretrained: start from timm's published weights, which are downloaded once. They see three channels;
            other numbers of channels are reached by `_widen.widen`.
        weights: start from a local file instead: timm's names of this backbone, or those of a kikiwake model.
        load_head: take the head from `weights` too, where the file has it; false keeps a new one, as another
            set of classes needs.
        pooling: how the frequencies of a frame become one vector: `avg`, or `gem` (learnable, p = 3).
        attention_heads: of self-attention over time before the judging, added to what goes in (Vaswani et al.
            2017); 0 for none.
        skip: add a path around the layer with ReLU, through a quarter of its width.
        layer_norm: layer normalisation of each frame's vector before the judging.
        dropout: share that training hides before and after the layer with ReLU.
        drop_path: stochastic depth (Huang et al. 2016) at the last block, growing linearly from the first.
        backbone_arguments: passed to `timm.create_model`.

    Shape: `[B, in_channels, F, N]` -> clipwise `[B, num_classes]`, framewise `[B, num_classes, N]`: the
    backbone's frames, fewer than N, are spread over the N of the input by linear interpolation.

    Raises:
        RecipeError: timm has no such backbone, it keeps no time axis, or arguments do not fit.
        WeightsError: the weights cannot be had or do not fit.
    """

    takes: ClassVar[Literal["picture", "sequence"]] = "picture"
    framewise: ClassVar[bool] = True
    example: ClassVar[dict[str, Any]] = {"backbone": "test_resnet"}
    head_modules: ClassVar[tuple[str, ...]] = ("pooling", "head")
    output_weight: ClassVar[str] = "head.classes.weight"

    def __init__(
        self,
        *,
        in_channels: int,
        num_classes: int,
        bins: int,
        backbone: str,
        pretrained: bool = False,
        weights: Path | None = None,
        load_head: bool = True,
        pooling: Literal["avg", "gem"] = "avg",
        attention_heads: Annotated[int, Field(ge=0)] = 0,
        skip: bool = False,
        layer_norm: bool = False,
        dropout: Fraction = 0.5,
        drop_path: Fraction = 0.0,
        backbone_arguments: dict[str, Any] = {},  # noqa: B006 - never changed
    ) -> None:
        super().__init__(backbone, in_channels=in_channels, drop_path=drop_path, arguments=backbone_arguments)
        if hasattr(self.backbone, "num_prefix_tokens"):
            raise RecipeError(
                "this backbone gives tokens without an axis of time, and events need one",
                where="model.backbone",
                value=backbone,
                remedy="choose a convolutional one, such as seresnext26t_32x4d",
            )
        self.norm = nn.BatchNorm2d(bins)
        self.pooling = FramePooling(pooling)
        self.head = FrameHead(
            self.backbone.head_hidden_size,
            num_classes=num_classes,
            attention_heads=attention_heads,
            skip=skip,
            layer_norm=layer_norm,
            dropout=dropout,
        )
        self.begin(backbone, pretrained=pretrained, weights=weights, load_head=load_head)

    def forward(self, features: Tensor) -> Output:
        """Return the logits of a batch, of each clip and of each frame."""
        normed = self.norm(features.transpose(1, 2)).transpose(1, 2)
        maps = self.feature_map(normed)
        frames, attention = self.head(self.pooling(maps))
        clipwise = attention_pooled(frames, attention)
        framewise = functional.interpolate(
            frames.float(), features.shape[-1], mode="linear", align_corners=False
        )
        return Output(clipwise, framewise)

    def layer_groups(self) -> list[Group]:
        """Return the stem, with the batch norm before it, and the stages of the backbone."""
        stem, *stages = super().layer_groups()
        norm = Group(stem.name, [*self.norm.parameters(), *stem.parameters], [self.norm, *stem.modules])
        return [norm, *stages]


def attention_pooled(frames: Tensor, attention: Tensor) -> Tensor:
    """Return the logits of p = sum over time of softmax(tanh(attention)) * sigmoid(frames), in float32.

    The weights sum to 1, so 1 - p is the same sum with sigmoid(-frames), and the logit is the difference of
    the two logarithms, each computed without leaving the logarithms.

    Shape: `[B, K, N]`, `[B, K, N]` -> `[B, K]`.
    """
    frames = frames.float()
    weights = attention.float().tanh().log_softmax(-1)
    present = torch.logsumexp(weights + functional.logsigmoid(frames), -1)
    absent = torch.logsumexp(weights + functional.logsigmoid(-frames), -1)
    return present - absent


class FramePooling(nn.Module):
    """Mean, or generalised mean, over frequency; then the maximum plus the mean of each three frames.

    Shape: `[B, D, F, N]` -> `[B, D, N]`.
    """

    def __init__(self, kind: Literal["avg", "gem"]) -> None:
        super().__init__()
        self.over_frequency = create_pooling(kind, over=(-2,))

    def forward(self, maps: Tensor) -> Tensor:
        """Return one vector a frame."""
        frames = self.over_frequency(maps)
        peaks = functional.max_pool1d(frames, 3, stride=1, padding=1)
        means = functional.avg_pool1d(frames, 3, stride=1, padding=1)
        return peaks + means


class FrameHead(nn.Module):
    """What each frame says of each class, and how much it counts.

    Shape: `[B, D, N]` -> logits `[B, K, N]`, attention `[B, K, N]`.
    """

    def __init__(
        self,
        width: int,
        *,
        num_classes: int,
        attention_heads: int,
        skip: bool,
        layer_norm: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        if attention_heads and width % attention_heads:
            raise RecipeError(
                f"{width} features cannot be shared among {attention_heads} heads",
                where="model.attention_heads",
                value=attention_heads,
                remedy="give a divisor of that number",
            )
        self.before = nn.Dropout(dropout)
        self.layer = nn.Linear(width, width)
        narrow = max(1, width // 4)
        path = nn.Sequential(nn.Linear(width, narrow), nn.ReLU(), nn.Linear(narrow, width))
        self.skip = path if skip else None
        self.mixing = _SelfAttention(width, heads=attention_heads) if attention_heads else None
        self.norm = nn.LayerNorm(width) if layer_norm else None
        self.after = nn.Dropout(dropout)
        self.classes = nn.Conv1d(width, num_classes, 1)
        self.attention = nn.Conv1d(width, num_classes, 1)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits and the attention of each frame."""
        given = self.before(frames.transpose(1, 2))
        found = self.layer(given).relu()
        if self.skip is not None:
            found = found + self.skip(given)
        if self.mixing is not None:
            found = found + self.mixing(found)
        if self.norm is not None:
            found = self.norm(found)
        found = self.after(found).transpose(1, 2)
        return self.classes(found), self.attention(found)


class _SelfAttention(nn.Module):
    """Scaled dot-product attention of every frame to all (Vaswani et al. 2017, section 3.2).

    Torch's own layer takes another way when it only predicts, which neither exports nor rounds alike.

    Shape: `[B, N, D]` -> same.
    """

    def __init__(self, width: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.inward = nn.Linear(width, 3 * width)
        self.outward = nn.Linear(width, width)

    def forward(self, frames: Tensor) -> Tensor:
        """Return what each frame takes from all frames."""
        batch, count, width = frames.shape
        shaped = self.inward(frames).view(batch, count, 3, self.heads, width // self.heads)
        query, key, value = shaped.permute(2, 0, 3, 1, 4)
        found = functional.scaled_dot_product_attention(query, key, value)
        return cast(Tensor, self.outward(found.transpose(1, 2).reshape(batch, count, width)))
