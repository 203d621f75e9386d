"""Losses with soft targets, label smoothing, class weights and clip weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from kikiwake.errors import TrainingError

LossName = Literal["cross_entropy", "binary_cross_entropy"]


@dataclass(frozen=True, eq=False)
class Loss:
    """A loss as a function of logits, targets and clip weights.

    Calling it gives the mean over the clips of a batch, each clip counted with its weight:
    `sum(weights * per_clip) / sum(weights)`. With equal weights this is torch's own mean.

    `label_smoothing`: share of the target that is spread (Szegedy et al. 2016, section 7). For cross entropy
    over all classes evenly, `y (1 - s) + s / K`; for binary cross entropy each class is a question of two
    answers, `y (1 - s) + s / 2`.
    `class_weights`: factors of the classes' terms, `[K]`, as torch's `weight`.
    """

    name: LossName
    label_smoothing: float = 0.0
    class_weights: Tensor | None = None

    def __call__(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Return the weighted mean over the clips; 0 for a batch in which no clip has weight.

        Shape: logits and targets `[B, K]`, weights `[B]` -> scalar, float32.

        Raises:
            TrainingError: the shapes do not fit each other.
        """
        if weights.shape != logits.shape[:1]:
            raise TrainingError(
                "one weight a clip is needed", where="loss", value=(tuple(logits.shape), tuple(weights.shape))
            )
        weights = weights.float()
        total = (weights * self.per_clip(logits, targets)).sum()
        return total / weights.sum().clamp(min=torch.finfo(torch.float32).tiny)

    def per_clip(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each clip, in float32 whatever the precision of the logits.

        Cross entropy is the sum over the classes, binary cross entropy their mean.

        Shape: `[B, K]`, `[B, K]` -> `[B]`.

        Raises:
            TrainingError: the shapes do not fit each other.
        """
        if logits.ndim != 2 or logits.shape != targets.shape:
            raise TrainingError(
                "logits and targets must both be [clips, classes]",
                where="loss",
                value=(tuple(logits.shape), tuple(targets.shape)),
            )
        logits, targets = logits.float(), targets.float()
        factors = None if self.class_weights is None else self.class_weights.to(logits.device)
        if self.name == "cross_entropy":
            return functional.cross_entropy(
                logits, targets, weight=factors, label_smoothing=self.label_smoothing, reduction="none"
            )
        targets = targets * (1 - self.label_smoothing) + self.label_smoothing / 2
        terms = functional.binary_cross_entropy_with_logits(logits, targets, weight=factors, reduction="none")
        return terms.mean(dim=1)


def loss_function(
    name: LossName, *, label_smoothing: float = 0.0, class_weights: Tensor | None = None
) -> Loss:
    """Return the loss of that name.

    Raises:
        TrainingError: there is no such loss, or `label_smoothing` is not in [0, 1).
    """
    if name not in ("cross_entropy", "binary_cross_entropy"):
        raise TrainingError(
            "there is no such loss", value=name, remedy="use cross_entropy or binary_cross_entropy"
        )
    if not 0 <= label_smoothing < 1:
        raise TrainingError("label_smoothing must be at least 0 and below 1", value=label_smoothing)
    return Loss(name, label_smoothing, class_weights)


def balanced_class_weights(counts: np.ndarray | Sequence[float]) -> Tensor:
    """Return class weights inverse to the class counts, so that all classes weigh the same in total.

    `clips / (classes * count)` as scikit-learn's "balanced" (King & Zeng 2001): their mean over the clips
    is 1. A class without clips gets weight 1 and is not counted among the classes.

    Shape: `[K]` -> float32 `[K]`.

    >>> balanced_class_weights([30, 10, 0]).tolist()
    [0.6666666865348816, 2.0, 1.0]

    Raises:
        TrainingError: a count is negative or not finite, or all are 0.
    """
    numbers = np.asarray(counts, dtype=np.float64)
    if numbers.ndim != 1 or not np.isfinite(numbers).all() or (numbers < 0).any() or not numbers.any():
        raise TrainingError("class counts must be numbers from 0 on, not all 0", value=numbers.tolist())
    present = numbers > 0
    weights = np.ones_like(numbers)
    weights[present] = numbers.sum() / (present.sum() * numbers[present])
    return torch.from_numpy(weights.astype(np.float32))
