"""What the teachers say of the same windows: joined, compared and counted, one recording after another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kikiwake._bootstrap import plain
from kikiwake.joining import JoinBy, join_probabilities
from kikiwake.predictions import Predictions, by_recording, read_chunks

BINS = 20

_FLAT = 1e-12
"""Below this variance a class's probability does not move, and correlates with nothing."""


@dataclass(frozen=True, eq=False)
class Heard:
    """One recording. `numbers`: of the teachers that heard it.

    Shape: each `[M, W, K]`, teachers by windows by classes. `apart`: windows that not all of them have.
    """

    joined: Predictions
    numbers: Sequence[int]
    each: npt.NDArray[np.float32]
    apart: int


def joined(
    tables: Mapping[int, Path],
    chosen: Mapping[str, Sequence[int]],
    *,
    hop: float,
    by: JoinBy,
    weights: Sequence[float] | None,
) -> Iterator[Heard]:
    """Yield what the teachers chosen for each recording say of it together, in flat memory.

    `tables`: predictions of each teacher, in the order of `chosen`. `chosen`: the teachers of each recording.
    `hop`: in seconds. A recording that none could read is left out.
    """
    heads = {number: _Head(by_recording(read_chunks(path))) for number, path in tables.items()}
    for name, numbers in chosen.items():
        found = {number: own for number in numbers if (own := heads[number].take(name)) is not None}
        if found:
            shares = None if weights is None else [weights[number] for number in found]
            yield _together(found, hop=hop, by=by, weights=shares)


def _together(
    found: Mapping[int, Predictions], *, hop: float, by: JoinBy, weights: Sequence[float] | None
) -> Heard:
    """Join what teachers say of one recording.

    Windows are told by their number: at other sample rates their edges differ by less than a sample, and one
    teacher may have a last window that another has not.
    """
    windows = [np.rint(own.starts / hop).astype(np.int64) for own in found.values()]
    common = reduce(np.intersect1d, windows)
    rows = [np.searchsorted(numbers, common) for numbers in windows]
    each = np.stack([own.probabilities[at] for own, at in zip(found.values(), rows, strict=True)])
    first = next(iter(found.values()))
    together = Predictions(
        [first.paths[0]] * len(common),
        first.starts[rows[0]],
        first.ends[rows[0]],
        join_probabilities(list(each), by=by, weights=weights),
        first.classes,
    )
    return Heard(together, list(found), each, max(map(len, windows)) - len(common))


class _Head:
    """The recordings of a table one after another, the next of which can be looked at."""

    def __init__(self, recordings: Iterator[Predictions]) -> None:
        self._recordings = recordings
        self._next = next(recordings, None)

    def take(self, name: str) -> Predictions | None:
        """Return the rows of a recording if it is the next one."""
        found = self._next
        if found is None or found.paths[0] != name:
            return None
        self._next = next(self._recordings, None)
        return found


class Tally:
    """Counts over all windows, as they pass: how sure the teachers are, and how far they agree.

    Shape: `confidence` `[BINS]`, windows by the probability of their best class.
    """

    def __init__(self) -> None:
        self.windows = 0
        self.apart = 0
        self.confidence = np.zeros(BINS, np.int64)
        self._pairs: dict[tuple[int, int], _Pair] = {}

    def count(self, recordings: Iterable[Heard]) -> Iterator[Heard]:
        """Pass recordings on, counted."""
        for heard in recordings:
            best = heard.joined.probabilities.max(axis=1, initial=0)
            self.windows += len(best)
            self.apart += heard.apart
            self.confidence += np.histogram(best, bins=BINS, range=(0, 1))[0]
            for one, two in combinations(range(len(heard.numbers)), 2):
                pair = self._pairs.setdefault((heard.numbers[one], heard.numbers[two]), _Pair())
                pair.add(heard.each[one], heard.each[two])
            yield heard

    def agreement(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Return of each pair of teachers that heard the same windows how far they agree."""
        return [
            {"first": names[one], "second": names[two], **pair.plain()}
            for (one, two), pair in sorted(self._pairs.items())
        ]


class _Pair:
    """How far two teachers agree: sums over windows from which shares and correlations follow."""

    def __init__(self) -> None:
        self.windows = 0
        self.same = 0
        self.sums: npt.NDArray[np.float64] | None = None

    def add(self, one: npt.NDArray[np.float32], two: npt.NDArray[np.float32]) -> None:
        """Add windows `[W, K]`."""
        self.windows += len(one)
        self.same += int((one.argmax(axis=1) == two.argmax(axis=1)).sum())
        x, y = one.astype(np.float64), two.astype(np.float64)
        sums = np.stack([part.sum(axis=0) for part in (x, y, x * x, y * y, x * y)])
        self.sums = sums if self.sums is None else self.sums + sums

    def correlation(self) -> float:
        """Return Pearson's correlation of a class's probabilities, the mean over the classes that move."""
        if self.sums is None or not self.windows:
            return float("nan")
        x, y, xx, yy, xy = self.sums / self.windows
        variances = (xx - x * x) * (yy - y * y)
        moves = np.minimum(xx - x * x, yy - y * y) > _FLAT
        return (
            float(np.mean((xy - x * y)[moves] / np.sqrt(variances[moves]))) if moves.any() else float("nan")
        )

    def plain(self) -> dict[str, Any]:
        """Return windows, share of the same best class, and correlation in JSON's types."""
        same = self.same / self.windows if self.windows else float("nan")
        return {"windows": self.windows, "same_best": plain(same), "correlation": plain(self.correlation())}
