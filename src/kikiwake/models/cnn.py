"""Any picture network of timm as a sound classifier: backbone, pooling, head."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from kikiwake.models._backbone_network import BackboneNetwork
from kikiwake.models._output import Output
from kikiwake.models._pooling import PoolingName, create_pooling
from kikiwake.models._segments import cut, join

Fraction = Annotated[float, Field(ge=0, lt=1)]


class Cnn(BackboneNetwork):
    """A timm backbone, pooled over frequency and time, and a head.

    Args:
        in_channels: of the features; supplied by the pipeline.
        num_classes: supplied by the pipeline.
        backbone: any network name of timm, with or without a tag (`resnet18`, `efficientnet_b3.ra2_in1k`).
        pretrained: start from timm's published weights, which are downloaded once. They see three channels;
            other numbers of channels are reached by `_widen.widen`.
        weights: start from a local file instead: timm's names of this backbone, or those of a kikiwake model.
        load_head: take pooling and head from `weights` too, where the file has them; false keeps new ones, as
            another set of classes needs.
        pooling: `avg`, `max`, `gem` (learnable, p = 3) or `avg_max` (half the sum).
        dropout: share of the pooled features that training hides before the head.
        hidden: width of a hidden layer with ReLU in the head; null for none.
        hidden_dropout: share of the hidden layer that training hides.
        drop_path: stochastic depth (Huang et al. 2016) at the last block, growing linearly from the first.
        segments: equal parts in time that a picture is cut into, in training alone. The backbone sees each by
            itself, as it sees short windows later; their feature maps are joined in time before the pooling,
            for the label holds somewhere in the clip (Henkel, Pfeiffer & Singer 2021, "Recognizing bird
            species in diverse soundscapes under weak supervision", CEUR-WS 2936, paper 134).
        backbone_arguments: passed to `timm.create_model`, such as `img_size` for transformers.

    Shape: `[B, in_channels, F, N]` -> clipwise `[B, num_classes]`.

    Raises:
        RecipeError: timm has no such backbone, or it does not take these arguments.
        WeightsError: the weights cannot be had or do not fit.
    """

    takes: ClassVar[Literal["picture", "sequence"]] = "picture"
    example: ClassVar[dict[str, Any]] = {"backbone": "test_resnet"}
    head_modules: ClassVar[tuple[str, ...]] = ("pooling", "head")
    output_weight: ClassVar[str] = "head.output.weight"

    def __init__(
        self,
        *,
        in_channels: int,
        num_classes: int,
        backbone: str,
        pretrained: bool = False,
        weights: Path | None = None,
        load_head: bool = True,
        pooling: PoolingName = "avg",
        dropout: Fraction = 0.0,
        hidden: Annotated[int, Field(ge=1)] | None = None,
        hidden_dropout: Fraction = 0.0,
        drop_path: Fraction = 0.0,
        segments: Annotated[int, Field(ge=1)] = 1,
        backbone_arguments: dict[str, Any] = {},  # noqa: B006 - never changed
    ) -> None:
        super().__init__(backbone, in_channels=in_channels, drop_path=drop_path, arguments=backbone_arguments)
        self.segments = segments
        self.pooling = create_pooling(pooling)
        self.head = Head(
            self.backbone.head_hidden_size,  # of the features before the classifier that timm would add
            num_classes=num_classes,
            dropout=dropout,
            hidden=hidden,
            hidden_dropout=hidden_dropout,
        )
        self.begin(backbone, pretrained=pretrained, weights=weights, load_head=load_head)

    def forward(self, features: Tensor) -> Output:
        """Return the logits of a batch."""
        if self.training and self.segments > 1:
            maps = self.feature_map(cut(features, count=self.segments))
            return Output(self.head(self.pooling(join(maps, count=self.segments))))
        return Output(self.head(self.pooling(self.feature_map(features))))


class Head(nn.Module):
    """Dropout, linear; with a hidden layer: dropout, linear, ReLU, dropout, linear.

    Shape: `[B, D]` -> `[B, num_classes]`.
    """

    def __init__(
        self, features: int, *, num_classes: int, dropout: float, hidden: int | None, hidden_dropout: float
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Linear(features, hidden) if hidden else None
        self.hidden_dropout = nn.Dropout(hidden_dropout)
        self.output = nn.Linear(hidden or features, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits of pooled features."""
        found: Tensor = self.dropout(features)
        if self.hidden is not None:
            found = self.hidden_dropout(self.hidden(found).relu())
        logits: Tensor = self.output(found)
        return logits
