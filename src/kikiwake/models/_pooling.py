"""Pooling of a feature map over frequency and time."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

PoolingName = Literal["avg", "max", "gem", "avg_max"]


class GeM(nn.Module):
    """Generalised mean over frequency and time, `mean(x^p)^(1/p)` with a learnable `p`.

    `p = 1` is the mean, a large `p` nears the maximum. Radenović, Tolias & Chum 2018, "Fine-tuning CNN image
    retrieval with no human annotation", equation 3. Values below `eps` count as `eps`. Computed in float32,
    for the third power of 41 does not fit in float16.

    Shape: `[B, D, F, N]` -> `[B, D]`.
    """

    def __init__(self, *, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor([p]))
        self.eps = eps

    def forward(self, features: Tensor) -> Tensor:
        """Return one value a feature."""
        p = self.p.float()
        return features.float().clamp(min=self.eps).pow(p).mean(dim=(-2, -1)).pow(1 / p)


class Pool(nn.Module):
    """Mean, maximum, or half the sum of both, over frequency and time.

    Shape: `[B, D, F, N]` -> `[B, D]`.
    """

    def __init__(self, kind: Literal["avg", "max", "avg_max"]) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, features: Tensor) -> Tensor:
        """Return one value a feature."""
        if self.kind == "avg":
            return features.mean(dim=(-2, -1))
        if self.kind == "max":
            return features.amax(dim=(-2, -1))
        return 0.5 * (features.mean(dim=(-2, -1)) + features.amax(dim=(-2, -1)))

    def extra_repr(self) -> str:
        return self.kind


def create_pooling(name: PoolingName) -> nn.Module:
    """Return the pooling layer of that name."""
    return GeM() if name == "gem" else Pool(name)


def mean_over_time(sequence: Tensor) -> Tensor:
    """Return the mean over the frames of embeddings: `[B, D, N]` -> `[B, D]`."""
    return sequence.float().mean(-1)
