"""Gaussian noise on spectrograms."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from kikiwake.augmentations._draws import Probability, per_clip, turns
from kikiwake.errors import RecipeError


class GaussianNoise:
    """Adds Gaussian noise to features; give either its standard deviation or its level below the features.

    Args:
        sigma: standard deviation, in the unit of the features.
        snr_db: lowest and highest signal-to-noise ratio in dB; each clip's is drawn evenly between them. The
            signal is how far the clip's features lie from their mean (standard deviation).
        p: probability that a clip gets noise.

    Shape: `[B, C, F, N]` -> same. Each value has noise of its own.

    Raises:
        RecipeError: both or neither of `sigma` and `snr_db` are given, or `snr_db` is upside down.
    """

    level: ClassVar[Literal["spectrogram"]] = "spectrogram"
    example: ClassVar[dict[str, Any]] = {"sigma": 0.1}

    def __init__(
        self,
        *,
        sigma: Annotated[float, Field(ge=0)] | None = None,
        snr_db: tuple[float, float] | None = None,
        p: Probability = 1.0,
    ) -> None:
        if (sigma is None) == (snr_db is None):
            raise RecipeError(
                "the level of the noise must be given once",
                where="gaussian_noise",
                value={"sigma": sigma, "snr_db": snr_db},
                remedy="set either sigma or snr_db",
            )
        if snr_db is not None and snr_db[0] > snr_db[1]:
            raise RecipeError(
                "the lower end lies above the upper",
                where="gaussian_noise.snr_db",
                value=snr_db,
                remedy="swap them",
            )
        self.sigma = sigma
        self.snr_db = snr_db
        self.p = p

    def __call__(self, features: Tensor, *, rng: np.random.Generator) -> Tensor:
        """Return features with noise."""
        count = len(features)
        chosen = np.flatnonzero(turns(rng, count=count, p=self.p))
        ratios = rng.uniform(*(self.snr_db or (0.0, 0.0)), size=count)[chosen]
        noise = rng.standard_normal((len(chosen), *features.shape[1:]), dtype=np.float32)
        index = torch.from_numpy(chosen).to(features.device)
        signal = features[index]
        if self.sigma is not None:
            scale = per_clip(np.full(len(chosen), self.sigma), like=signal)
        else:
            spread = signal.std(dim=(1, 2, 3), correction=0, keepdim=True)
            scale = spread * per_clip(10.0 ** (-ratios / 20.0), like=signal)
        noisy = signal + scale * torch.from_numpy(noise).to(signal)
        return features.index_copy(0, index, noisy)
