"""FilterAugment: bands are made louder or softer, as other microphones and rooms would make them."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from kikiwake.augmentations._draws import Probability


class FilterAugment:
    """Adds a random curve over frequency to logarithmic features (Nam et al. 2022, linear type).

    `amount`: each of `points` values, evenly spaced over the bins, is drawn from -amount to amount, in the
    unit of the features (dB, or standard deviations after standardising); between them the curve is straight.
    `p`: probability that a clip is changed. All channels of a clip share one curve.

    Shape: `[B, C, F, N]` -> same.
    """

    level: ClassVar[Literal["spectrogram"]] = "spectrogram"
    example: ClassVar[dict[str, Any]] = {"amount": 3.0}

    def __init__(
        self,
        *,
        amount: Annotated[float, Field(ge=0)],
        points: Annotated[int, Field(ge=2)] = 6,
        p: Probability = 1.0,
    ) -> None:
        self.amount = amount
        self.points = points
        self.p = p

    def __call__(self, features: Tensor, *, rng: np.random.Generator) -> Tensor:
        """Return the batch, its clips changed where it is their turn."""
        batch, _, bins, _ = features.shape
        turns = rng.random(batch) < self.p
        values = rng.uniform(-self.amount, self.amount, (batch, self.points)) * turns[:, None]
        places = np.linspace(0, bins - 1, self.points)
        curves = np.stack([np.interp(np.arange(bins), places, own) for own in values])
        return features + torch.from_numpy(curves).to(features)[:, None, :, None]
