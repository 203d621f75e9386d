"""Draws for a batch, made on the host, and how they meet a batch on any device."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

Probability = Annotated[float, Field(ge=0, le=1)]


def turns(rng: np.random.Generator, *, count: int, p: float) -> npt.NDArray[np.bool_]:
    """Return which of `count` clips are changed, each with probability `p`."""
    return rng.random(count) < p


def mixing_shares(
    rng: np.random.Generator, *, count: int, alpha: float, p: float, per_item: bool
) -> npt.NDArray[np.float64]:
    """Return lambda ~ Beta(`alpha`, `alpha`) for each of `count` clips: the share of itself that it keeps.

    With `per_item` each clip has a lambda and a turn (probability `p`) of its own, otherwise all have the
    same. A clip whose turn it is not keeps all: lambda 1.
    """
    drawn = count if per_item else 1
    kept = np.where(turns(rng, count=drawn, p=p), rng.beta(alpha, alpha, size=drawn), 1.0)
    return np.broadcast_to(kept, count)


def per_clip(values: npt.NDArray[Any], *, like: Tensor) -> Tensor:
    """Return one value a clip as a tensor that broadcasts against `like` `[B, ...]`, on its device.

    Shape: `[B]` -> `[B, 1, ...]`. Booleans stay booleans, numbers take the type of `like`.
    """
    kind = torch.bool if values.dtype == np.bool_ else like.dtype
    tensor = torch.from_numpy(np.array(values)).to(like.device, kind)
    return tensor.view(-1, *[1] * (like.dim() - 1))
