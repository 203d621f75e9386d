"""The numbers by which pseudo labels are made."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite
from typing import get_args

from kikiwake.errors import KikiwakeError
from kikiwake.joining import JoinBy

_HIGHEST = {
    "keep": 1.0,
    "train": 1.0,
    "max_share": inf,
    "max_per_class": inf,
    "silence_rms": inf,
    "smoothing": 1.0,
    "weight": inf,
    "secondary_target": 1.0,
}


@dataclass(frozen=True)
class Settings:
    """How windows become pseudo labels.

    `window_seconds`, `hop_seconds`: length of the windows, and from the start of one to the next; by default
    they overlap by half. `join`: how the probabilities of several teachers become one, "mean", "max" or
    "vote".

    `keep`: a class whose probability is above it stays in the table; a window without such a class does not.
    `train`: a window whose best class is above it trains. `max_share`: at most this share of a class's real
    clips, rounded down, in windows whose best class it is; the most confident ones stay. None sets no limit.
    `max_per_class`: no more than this in any case. Both count windows, overlapping ones of a recording, too.
    `silence_rms`: a window whose root mean square is at or below it holds nothing, whatever teachers say.

    `smoothing`: with `y` the probability of a class that stays and 0 of one that does not, the label of each
    of the K classes is `y (1 - smoothing) + smoothing / K`. `weight`: of each pseudo label in the loss;
    real clips keep theirs. `secondary_target`: label of real clips' secondary classes in the combined
    manifest; by default what the first teacher was trained with.
    """

    window_seconds: float = 5.0
    hop_seconds: float | None = None
    join: JoinBy = "mean"
    keep: float = 0.6
    train: float = 0.7
    max_share: float | None = 0.3
    max_per_class: int | None = None
    silence_rms: float = 0.001
    smoothing: float = 0.1
    weight: float = 0.7
    secondary_target: float | None = None

    def __post_init__(self) -> None:
        for name, high in _HIGHEST.items():
            value = getattr(self, name)
            if value is not None and not (isfinite(value) and 0 <= value <= high):
                span = "a number from 0 on" if high == inf else f"a number from 0 to {high:g}"
                raise KikiwakeError("this is out of range", where=name, value=value, remedy=f"give {span}")
        for name in ("window_seconds", "hop_seconds"):
            value = getattr(self, name)
            if value is not None and not 1e-3 <= value < inf:
                remedy = "give at least 0.001, in seconds"
                raise KikiwakeError("this is out of range", where=name, value=value, remedy=remedy)
        if self.train < self.keep:
            remedy = "give train >= keep"
            what = "what trains must stay in the table, but train is below keep"
            raise KikiwakeError(what, where="train", value=(self.train, self.keep), remedy=remedy)
        if self.join not in get_args(JoinBy):
            remedy = f"use {', '.join(get_args(JoinBy))}"
            raise KikiwakeError("there is no such way to join", where="join", value=self.join, remedy=remedy)

    @property
    def hop(self) -> float:
        """From the start of a window to that of the next one, in seconds."""
        return self.window_seconds / 2 if self.hop_seconds is None else self.hop_seconds
