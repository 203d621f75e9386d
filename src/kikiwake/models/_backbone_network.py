"""What picture networks on a timm backbone have in common: the backbone, its weights, its groups."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from kikiwake.errors import RecipeError, WeightsError
from kikiwake.models._backbone import backbone_groups, create_backbone, published_weights
from kikiwake.models._freezing import Freezable, Group
from kikiwake.models._widen import widen_inputs
from kikiwake.weights import fill, read_tensors, strip_prefix, without

_SAME_MODEL = "give the 'backbone' and the settings of the head that the file was made with"


class BackboneNetwork(Freezable):
    """A timm backbone; what sits on it is made by the class above, which then calls `begin`.

    `head_modules`: the names of the modules on the backbone. `output_weight`: the name of the last layer's
    weight, whose first axis are the classes.
    """

    head_modules: ClassVar[tuple[str, ...]]
    output_weight: ClassVar[str]

    def __init__(
        self, backbone: str, *, in_channels: int, drop_path: float, arguments: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self._made: dict[str, Any] = {"drop_path": drop_path, "arguments": arguments}
        self.backbone = create_backbone(
            backbone, in_channels=in_channels, drop_path=drop_path, arguments=arguments
        )

    def begin(self, backbone: str, *, pretrained: bool, weights: Path | None, load_head: bool) -> None:
        """Take the first weights from where the recipe says, once the network is complete.

        Raises:
            RecipeError: two places are named.
            WeightsError: the weights cannot be had or do not fit.
        """
        if pretrained and weights is not None:
            raise RecipeError(
                "'pretrained' and 'weights' exclude each other", where="model", remedy="remove one of them"
            )
        if pretrained:
            fill(self.backbone, self._widened(published_weights(backbone, **self._made)), where=backbone)
        if weights is not None:
            self._load(weights, load_head=load_head)

    def layer_groups(self) -> list[Group]:
        """Return the stem and the stages of the backbone."""
        return backbone_groups(self.backbone)

    def feature_map(self, features: Tensor) -> Tensor:
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
        head = [f"{name}." for name in self.head_modules]
        own = without(tensors, ["frontend."] if load_head else ["frontend.", *head])
        output, classes = own.get(self.output_weight), len(self.state_dict()[self.output_weight])
        if output is not None and len(output) != classes:
            raise WeightsError(
                f"these weights tell {len(output)} classes apart, this model {classes}",
                where=path,
                remedy="set load_head: false to take the backbone alone and begin with a new head",
            )
        optional = () if output is not None else tuple(head)
        fill(self, self._widened(own, prefix="backbone."), where=path, optional=optional, remedy=_SAME_MODEL)

    def _widened(self, tensors: dict[str, Tensor], *, prefix: str = "") -> dict[str, Tensor]:
        expected = {prefix + name: tensor for name, tensor in self.backbone.state_dict().items()}
        return widen_inputs(tensors, expected=expected, in_channels=self.in_channels)
