"""Any picture network of timm as a sound classifier: backbone, pooling, head."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from kikiwake.errors import RecipeError, WeightsError
from kikiwake.models._backbone import backbone_groups, create_backbone, published_weights
from kikiwake.models._freezing import Freezable, Group
from kikiwake.models._output import Output
from kikiwake.models._pooling import PoolingName, create_pooling
from kikiwake.models._segments import cut, join
from kikiwake.models._widen import widen_inputs
from kikiwake.weights import fill, read_tensors, strip_prefix, without

Fraction = Annotated[float, Field(ge=0, lt=1)]


class Cnn(Freezable):
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
        super().__init__()
        if pretrained and weights is not None:
            raise RecipeError(
                "'pretrained' and 'weights' exclude each other", where="model", remedy="remove one of them"
            )
        self.in_channels = in_channels
        self.segments = segments
        self.backbone = create_backbone(
            backbone, in_channels=in_channels, drop_path=drop_path, arguments=backbone_arguments
        )
        self.pooling = create_pooling(pooling)
        self.head = Head(
            self.backbone.head_hidden_size,  # of the features before the classifier that timm would add
            num_classes=num_classes,
            dropout=dropout,
            hidden=hidden,
            hidden_dropout=hidden_dropout,
        )
        if pretrained:
            published = published_weights(backbone, drop_path=drop_path, arguments=backbone_arguments)
            fill(self.backbone, self._widened(published), where=backbone)
        if weights is not None:
            self._load(weights, load_head=load_head)

    def forward(self, features: Tensor) -> Output:
        """Return the logits of a batch."""
        if self.training and self.segments > 1:
            maps = self._feature_map(cut(features, count=self.segments))
            return Output(self.head(self.pooling(join(maps, count=self.segments))))
        return Output(self.head(self.pooling(self._feature_map(features))))

    def layer_groups(self) -> list[Group]:
        """Return the stem and the stages of the backbone."""
        return backbone_groups(self.backbone)

    def _feature_map(self, features: Tensor) -> Tensor:
        """Return the backbone's last feature map as `[B, D, F, N]`; tokens become `[B, D, N, 1]`."""
        found: Tensor = self.backbone(features)
        if found.ndim == 3:
            class_tokens = getattr(self.backbone, "num_prefix_tokens", 0)
            return found[:, class_tokens:].transpose(1, 2).unsqueeze(-1)
        if getattr(self.backbone, "output_fmt", "NCHW") == "NHWC":
            return found.permute(0, 3, 1, 2)
        return found

    def _load(self, path: Path, *, load_head: bool) -> None:
        tensors = read_tensors(path)
        own = strip_prefix(tensors, self.state_dict())
        if own.keys() & self.state_dict().keys():
            self._load_whole(own, path, load_head=load_head)
        else:  # the names of the backbone alone, as timm gives them
            classifiers = self.backbone.pretrained_cfg.get("classifier") or ()
            layers = [classifiers] if isinstance(classifiers, str) else classifiers
            own = without(strip_prefix(tensors, self.backbone.state_dict()), [f"{name}." for name in layers])
            fill(self.backbone, self._widened(own), where=path, remedy=_SAME_MODEL)

    def _load_whole(self, tensors: dict[str, Tensor], path: Path, *, load_head: bool) -> None:
        own = without(tensors, ["frontend."] if load_head else ["frontend.", "pooling.", "head."])
        output = own.get("head.output.weight")
        if output is not None and len(output) != self.head.output.out_features:
            raise WeightsError(
                f"these weights tell {len(output)} classes apart, this model {self.head.output.out_features}",
                where=path,
                remedy="set load_head: false to take the backbone alone and begin with a new head",
            )
        optional = () if output is not None else ("pooling.", "head.")
        fill(self, self._widened(own, prefix="backbone."), where=path, optional=optional, remedy=_SAME_MODEL)

    def _widened(self, tensors: dict[str, Tensor], *, prefix: str = "") -> dict[str, Tensor]:
        expected = {prefix + name: tensor for name, tensor in self.backbone.state_dict().items()}
        return widen_inputs(tensors, expected=expected, in_channels=self.in_channels)


_SAME_MODEL = "give the 'backbone', 'pooling' and 'hidden' that the file was made with"


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
