"""Masks over one axis of a spectrogram (SpecAugment, Park et al. 2019, section 2)."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from kikiwake.augmentations._draws import turns


def mask_axis(
    features: Tensor,
    *,
    axis: Literal[2, 3],
    max_width: int,
    masks: int,
    p: float,
    value: float | Literal["mean"],
    rng: np.random.Generator,
) -> Tensor:
    """Return features in which up to `masks` stretches along `axis` are replaced, all channels alike.

    A clip's turn comes with probability `p`. Then each stretch has a width drawn evenly from 0 to `max_width`
    and a place drawn evenly from those where it fits; stretches may overlap. `mean` is the mean of each clip
    and channel.

    Shape: `[B, C, F, N]` -> same.
    """
    size = features.shape[axis]
    shape = (len(features), masks)
    chosen = turns(rng, count=len(features), p=p)
    widths = rng.integers(0, min(max_width, size), endpoint=True, size=shape)
    starts = rng.integers(0, size - widths, endpoint=True)
    positions = np.arange(size)
    inside = (positions >= starts[..., None]) & (positions < (starts + widths)[..., None])
    masked = torch.from_numpy(inside.any(axis=1) & chosen[:, None]).to(features.device)
    masked = masked[:, None, None, :] if axis == 3 else masked[:, None, :, None]
    if value == "mean":
        return torch.where(masked, features.mean(dim=(2, 3), keepdim=True), features)
    return features.masked_fill(masked, value)
