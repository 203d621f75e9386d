"""Fully connected layers on embeddings."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from kikiwake.models._freezing import Freezable, Group
from kikiwake.models._output import Output
from kikiwake.models._pooling import mean_over_time


class Mlp(Freezable):
    """Mean over time, then linear layers with ReLU and dropout between them.

    Args:
        in_channels: values an embedding; supplied by the pipeline.
        num_classes: supplied by the pipeline.
        hidden: widths of the hidden layers; empty makes a linear classifier.
        dropout: share of each hidden layer's values that training hides.
        batch_norm: normalise the embeddings first, by statistics learned in training.

    Shape: `[B, in_channels, N]` -> clipwise `[B, num_classes]`.
    """

    takes: ClassVar[Literal["picture", "sequence"]] = "sequence"
    example: ClassVar[dict[str, Any]] = {"hidden": [8]}

    def __init__(
        self,
        *,
        in_channels: int,
        num_classes: int,
        hidden: tuple[Annotated[int, Field(ge=1)], ...] = (128,),
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(in_channels) if batch_norm else nn.Identity()
        widths = (in_channels, *hidden)
        self.hidden = nn.Sequential(
            *(
                nn.Sequential(nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout))
                for before, after in pairwise(widths)
            )
        )
        self.output = nn.Linear(widths[-1], num_classes)

    def forward(self, features: Tensor) -> Output:
        """Return the logits of a batch."""
        return Output(self.output(self.hidden(self.norm(mean_over_time(features)))))

    def layer_groups(self) -> list[Group]:
        """Return the norm, where there is one, then the hidden layers."""
        named = [(f"hidden{n}", layer) for n, layer in enumerate(self.hidden, 1)]
        if any(True for _ in self.norm.parameters()):
            named.insert(0, ("norm", self.norm))
        return [Group(name, list(module.parameters()), [module]) for name, module in named]
