"""Pooling of a feature map over frequency and time."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Axes = tuple[int, ...]
PoolingName = Literal["avg", "max", "gem", "avg_max"]


class GeM(nn.Module):
    """Generalised mean, `mean(x^p)^(1/p)` with a learnable `p`, over frequency and time or one of them.

    `p = 1` is the mean, a large `p` nears the maximum. Radenović, Tolias & Chum 2018, "Fine-tuning CNN image
    retrieval with no human annotation", equation 3. Values below `eps` count as `eps`. Computed in float32,
    for the third power of 41 does not fit in float16.

    `over`: the axes that go.

    Shape: `[B, D, F, N]` -> `[B, D]`, or with the axes that stay.
    """

    def __init__(self, *, p: float = 3.0, eps: float = 1e-6, over: Axes = (-2, -1)) -> None:
        super().__init__()
        self.over = over
        self.p = nn.Parameter(torch.tensor([p]))
        self.eps = eps

    def forward(self, features: Tensor) -> Tensor:
        """Return one value a feature."""
        p = self.p.float()
        return features.float().clamp(min=self.eps).pow(p).mean(dim=self.over).pow(1 / p)


class Pool(nn.Module):
    """Mean, maximum, or half the sum of both, over frequency and time or one of them.

    `over`: the axes that go.

    Shape: `[B, D, F, N]` -> `[B, D]`, or with the axes that stay.
    """

    def __init__(self, kind: Literal["avg", "max", "avg_max"], *, over: Axes = (-2, -1)) -> None:
        super().__init__()
        self.over = over
        self.kind = kind

    def forward(self, features: Tensor) -> Tensor:
        """Return one value a feature."""
        if self.kind == "avg":
            return features.mean(dim=self.over)
        if self.kind == "max":
            return features.amax(dim=self.over)
        return 0.5 * (features.mean(dim=self.over) + features.amax(dim=self.over))

    def extra_repr(self) -> str:
        return self.kind


def create_pooling(name: PoolingName, *, over: Axes = (-2, -1)) -> nn.Module:
    """Return the pooling layer of that name, over the axes `over`."""
    return GeM(over=over) if name == "gem" else Pool(name, over=over)


def mean_over_time(sequence: Tensor) -> Tensor:
    """Return the mean over the frames of embeddings: `[B, D, N]` -> `[B, D]`."""
    return sequence.float().mean(-1)
