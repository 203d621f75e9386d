"""What a row of values over time is like: seven statistics of it."""

from __future__ import annotations

import torch
from torch import Tensor

from kikiwake.frontends._vectorised import ascending

MOMENTS = ("kurtosis", "max", "mean", "median", "min", "skew", "std")
"""In the order of `moments`."""


def moments(rows: Tensor) -> Tensor:
    """Return the statistics of each row of values over time, as scipy and numpy define them.

    Standard deviation, skew and kurtosis (0 for a normal distribution) are those of the rows as they are, not
    estimates for a population. Skew and kurtosis of a row that does not vary are undefined: they are 0.

    Shape: `[..., R, N]` -> `[..., 7, R]`, float64.
    """
    values = rows.double()
    mean = values.mean(-1, keepdim=True)
    deviation = values - mean
    squares = deviation.square()
    variance = squares.mean(-1)
    varies = variance > (torch.finfo(torch.float64).eps * mean[..., 0]).square()
    safe = torch.where(varies, variance, 1.0)
    skew = (squares * deviation).mean(-1) / safe**1.5
    kurtosis = squares.square().mean(-1) / safe.square() - 3.0
    count = values.shape[-1]
    ordered = ascending(rows)  # before they are made doubles: half the time
    lower, upper = ordered[..., (count - 1) // 2].double(), ordered[..., count // 2].double()
    found = (
        torch.where(varies, kurtosis, 0.0),
        ordered[..., -1].double(),
        mean[..., 0],
        (lower + upper) / 2,
        ordered[..., 0].double(),
        torch.where(varies, skew, 0.0),
        variance.sqrt(),
    )
    return torch.stack(found, dim=-2)
