"""CutMix."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from kikiwake.augmentations._draws import Probability, mixing_shares, per_clip


class Cutmix:
    """CutMix (Yun et al. 2019, section 3.1): a box of each clip comes from another of the batch.

    The box has the share 1 - lambda of the picture, lambda ~ Beta(alpha, alpha), rounded to whole frames and
    bins; it lies anywhere inside, evenly drawn (the paper lets it reach over the edge, and cuts it there).
    Targets and weights are mixed by the box's true share.

    Args:
        alpha: 1 draws lambda evenly, less mostly near 0 and 1, more mostly near a half.
        box: `time` cuts frames over all bins; `time_frequency` a box of the picture's own proportions.
        per_item: each clip has a lambda and a place of its own; otherwise one for the batch.
        p: probability that a clip (or, without `per_item`, the batch) is mixed.

    Shape: features `[B, C, F, N]`, targets `[B, K]`, weights `[B]` -> same.
    """

    level: ClassVar[Literal["batch"]] = "batch"
    example: ClassVar[dict[str, Any]] = {"alpha": 1.0}

    def __init__(
        self,
        *,
        alpha: Annotated[float, Field(gt=0)],
        box: Literal["time", "time_frequency"] = "time",
        per_item: bool = True,
        p: Probability = 1.0,
    ) -> None:
        self.alpha = alpha
        self.box = box
        self.per_item = per_item
        self.p = p

    def __call__(
        self, features: Tensor, *, targets: Tensor, weights: Tensor, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return mixed features, targets and weights."""
        count, _, height, width = features.shape
        order = torch.from_numpy(rng.permutation(count))
        taken = 1.0 - mixing_shares(rng, count=count, alpha=self.alpha, p=self.p, per_item=self.per_item)
        places = rng.random((2, count if self.per_item else 1))
        if self.box == "time":
            inside = _stretch(taken, size=width, places=places[1])[:, None, :]
        else:
            rows = _stretch(np.sqrt(taken), size=height, places=places[0])
            inside = rows[:, :, None] & _stretch(np.sqrt(taken), size=width, places=places[1])[:, None, :]
        kept = 1.0 - inside.mean(axis=(1, 2))

        def mix(values: Tensor) -> Tensor:
            share = per_clip(kept, like=values)
            return share * values + (1.0 - share) * values[order.to(values.device)]

        from_other = torch.from_numpy(inside).to(features.device)[:, None]
        mixed = torch.where(from_other, features[order.to(features.device)], features)
        return mixed, mix(targets), mix(weights)


def _stretch(
    shares: npt.NDArray[np.float64], *, size: int, places: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    """Return which of `size` positions lie in a stretch of the given share; a place of 0 is the first.

    Shape: `[B]`, `[B]` or `[1]` -> `[B, size]`.
    """
    lengths = np.rint(shares * size).astype(int)
    starts = np.floor(places * (size - lengths + 1)).astype(int)
    positions = np.arange(size)
    inside: npt.NDArray[np.bool_] = (positions >= starts[:, None]) & (positions < (starts + lengths)[:, None])
    return inside
