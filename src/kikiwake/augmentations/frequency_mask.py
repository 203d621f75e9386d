"""Frequency masking."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from torch import Tensor

from kikiwake.augmentations._draws import Probability
from kikiwake.augmentations._masks import mask_axis


class FrequencyMask:
    """Frequency masking (Park et al. 2019, section 2): hides stretches of bins.

    Args:
        max_width: the widest that a stretch can be, in bins; widths are drawn evenly from 0 to this.
        masks: number of stretches; they may overlap.
        p: probability that a clip is masked.
        value: what hidden bins are set to: a number, or the `mean` of the clip and channel.

    Shape: `[B, C, F, N]` -> same. All channels have the same stretches.
    """

    level: ClassVar[Literal["spectrogram"]] = "spectrogram"
    example: ClassVar[dict[str, Any]] = {"max_width": 8}

    def __init__(
        self,
        *,
        max_width: Annotated[int, Field(ge=0)],
        masks: Annotated[int, Field(ge=1)] = 1,
        p: Probability = 1.0,
        value: float | Literal["mean"] = "mean",
    ) -> None:
        self.max_width = max_width
        self.masks = masks
        self.p = p
        self.value = value

    def __call__(self, features: Tensor, *, rng: np.random.Generator) -> Tensor:
        """Return features with some bins hidden."""
        return mask_axis(
            features,
            axis=2,
            max_width=self.max_width,
            masks=self.masks,
            p=self.p,
            value=self.value,
            rng=rng,
        )
