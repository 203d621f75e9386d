"""Joins what several models say of the same windows into one prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from kikiwake.errors import KikiwakeError
from kikiwake.metrics import THRESHOLD

JoinBy = Literal["mean", "max", "vote"]

Floats = npt.NDArray[np.float32]


def join_probabilities(
    probabilities: Sequence[Floats], *, by: JoinBy = "mean", weights: Sequence[float] | None = None
) -> Floats:
    """Join the probabilities of several models.

    `by`: "mean" is the weighted mean; "max" the largest; "vote" the weighted share of models whose
    probability is at least a half. `weights`: one a model, by default all alike; "max" takes none.

    Shape: `[..., K]` of each model -> same.

    Raises:
        KikiwakeError: no model, shapes that differ, no such way to join, or weights that do not fit.
    """
    if by not in get_args(JoinBy):
        raise KikiwakeError(
            "there is no such way to join", where="by", value=by, remedy=f"use {', '.join(get_args(JoinBy))}"
        )
    if not probabilities or len({one.shape for one in probabilities}) > 1:
        shapes = [one.shape for one in probabilities]
        raise KikiwakeError(
            "every model must say something of the same windows and classes",
            where="probabilities",
            value=shapes,
            remedy="give one array a model, at least one, all of the same recordings, windows and classes",
        )
    if by == "max":
        if weights is not None:
            raise KikiwakeError("the largest knows no weights", where="weights", remedy="leave them out")
        largest: Floats = np.maximum.reduce(list(probabilities))
        return largest
    shares = _shares(weights, count=len(probabilities))
    stacked = np.stack(probabilities).astype(np.float64)
    if by == "vote":
        stacked = (stacked >= THRESHOLD).astype(np.float64)
    joined: Floats = np.tensordot(shares, stacked, axes=1).astype(np.float32)
    return joined


def _shares(weights: Sequence[float] | None, *, count: int) -> npt.NDArray[np.float64]:
    """Return the weights `[M]` of `count` models, whose sum is 1."""
    shares = np.ones(count) if weights is None else np.asarray(weights, np.float64)
    if shares.shape != (count,) or not np.isfinite(shares).all() or (shares < 0).any() or not shares.any():
        raise KikiwakeError(
            "one weight a model is needed, none below 0 and one above",
            where="weights",
            value=None if weights is None else list(weights),
            remedy=f"give {count} numbers",
        )
    return shares / float(shares.sum())
