"""Mixup."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from kikiwake.augmentations._draws import Probability, mixing_shares, per_clip


class Mixup:
    """Mixup (Zhang et al. 2018, section 2): each clip is faded with another of the batch, labels likewise.

    x = lambda x_i + (1 - lambda) x_j with lambda ~ Beta(alpha, alpha), j a random order of the batch; targets
    and weights are mixed with the same lambda.

    Args:
        alpha: 1 draws lambda evenly, less mostly near 0 and 1.
        per_item: each clip has a lambda of its own; otherwise one for the batch.
        p: probability that a clip (or, without `per_item`, the batch) is mixed.

    Shape: features `[B, ...]`, targets `[B, K]`, weights `[B]` -> same.
    """

    level: ClassVar[Literal["batch"]] = "batch"
    example: ClassVar[dict[str, Any]] = {"alpha": 1.0}

    def __init__(
        self, *, alpha: Annotated[float, Field(gt=0)], per_item: bool = True, p: Probability = 1.0
    ) -> None:
        self.alpha = alpha
        self.per_item = per_item
        self.p = p

    def __call__(
        self, features: Tensor, *, targets: Tensor, weights: Tensor, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return mixed features, targets and weights."""
        count = len(features)
        order = torch.from_numpy(rng.permutation(count))
        kept = mixing_shares(rng, count=count, alpha=self.alpha, p=self.p, per_item=self.per_item)

        def mix(values: Tensor) -> Tensor:
            share = per_clip(kept, like=values)
            return share * values + (1.0 - share) * values[order.to(values.device)]

        return mix(features), mix(targets), mix(weights)
