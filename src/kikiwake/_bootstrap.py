"""Bootstrap intervals of scores, clustered by group."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kikiwake.errors import KikiwakeError

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """A score, its interval, and in how many replicates it could be computed; None where in none."""

    value: float | None
    low: float | None
    high: float | None
    level: float
    replicates: int


def bootstrap(
    statistic: Callable[[Floats, Floats], float | None],
    targets: Floats,
    probabilities: Floats,
    *,
    groups: Sequence[Hashable] | None = None,
    replicates: int = 1000,
    level: float = 0.95,
    rng: np.random.Generator,
) -> Interval:
    """Return a percentile interval of a statistic (Efron & Tibshirani 1993, section 13.3).

    Whole groups are drawn with replacement, for clips of one recording do not vary independently (Field &
    Welsh 2007, "Bootstrapping clustered data"). `groups`: the group of each clip; a clip without one (None)
    is its own. Replicates in which the statistic is undefined are left out and not counted.

    Raises:
        KikiwakeError: not one group a clip, fewer than one replicate, a level not between 0 and 1.
    """
    named = bootstrap_all(
        lambda *arrays: {"value": statistic(*arrays)},
        targets,
        probabilities,
        groups=groups,
        replicates=replicates,
        level=level,
        rng=rng,
    )
    return named["value"]


def bootstrap_all(
    statistics: Callable[[Floats, Floats], Mapping[str, float | None]],
    targets: Floats,
    probabilities: Floats,
    *,
    groups: Sequence[Hashable] | None = None,
    replicates: int = 1000,
    level: float = 0.95,
    rng: np.random.Generator,
) -> dict[str, Interval]:
    """Return an interval for each named statistic, all from the same replicates; see `bootstrap`."""
    clips = len(targets)
    if groups is not None and len(groups) != clips:
        raise KikiwakeError("one group a clip is needed", where="bootstrap", value=(len(groups), clips))
    if replicates < 1 or not 0 < level < 1:
        raise KikiwakeError(
            "at least one replicate and a level between 0 and 1 are needed",
            where="bootstrap",
            value={"replicates": replicates, "level": level},
        )
    whole = statistics(targets, probabilities)
    drawn = [
        statistics(targets[rows], probabilities[rows])
        for rows in _resampled(range(clips) if groups is None else groups, replicates, rng)
    ]
    tails = [(1 - level) / 2, (1 + level) / 2]
    intervals = {}
    for name, value in whole.items():
        values = np.array([replicate[name] for replicate in drawn], dtype=np.float64)  # None becomes NaN
        values = values[np.isfinite(values)]
        low, high = np.quantile(values, tails) if len(values) else (None, None)
        intervals[name] = Interval(plain(value), plain(low), plain(high), level, len(values))
    return intervals


def plain(value: Any) -> float | None:
    """Return a number as JSON has it: a float, or None for what is undefined."""
    return float(value) if value is not None and np.isfinite(value) else None


def _resampled(
    groups: Sequence[Hashable], replicates: int, rng: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of each replicate: all those of as many groups as there are, drawn with replacement."""
    rows_of_group: dict[Hashable, list[int]] = {}
    for row, group in enumerate(groups):
        own = ("clip", row) if group is None else ("group", group)
        rows_of_group.setdefault(own, []).append(row)
    members = [np.array(rows, dtype=np.int64) for rows in rows_of_group.values()]
    for _ in range(replicates):
        yield np.concatenate([members[group] for group in rng.integers(len(members), size=len(members))])
