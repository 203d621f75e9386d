"""Cuts recordings into windows, and windows into units of work.

What a unit holds is a function of the recordings' headers and the settings alone, never of the number of
workers or of how often the work was interrupted. Windows are batched within a unit, so neither are the last
bits of their scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kikiwake.judging import Judge
from kikiwake.prediction._recordings import Header, Unread

UNIT_WINDOWS = 32
WHOLE_SECONDS = 600
"""Longest piece that a model without a window of its own scores at once."""
_UNITS_OF_SLOW_SEEKING = 4
"""Into how many units a recording is cut that has to be read from its beginning to reach a later place."""


@dataclass(frozen=True)
class Cutting:
    """How recordings are cut: `window` and `hop` in samples at `sample_rate`; `batch_size` windows at once.

    `whole`: the model takes recordings as they are, and `window` is only the longest that it is given.
    `judge`: what is heard around a window, and how it is scored.
    """

    sample_rate: int
    channels: int
    window: int
    hop: int
    whole: bool
    pad: str
    batch_size: int
    judge: Judge


class Piece(NamedTuple):
    """Windows `first` to `first + windows` of a recording, counted from 0; `last`: and all that follow.

    `end`: the sample at which they end, as far as the header tells; None where it tells that more was there.
    """

    recording: int
    first: int
    windows: int
    end: int | None
    last: bool


Unit = tuple[Piece, ...]


def has_window(number: int, frames: int, *, window: int, hop: int) -> bool:
    """Whether `frames` samples have a window of this number: the one before it does not reach their end."""
    begin = number * hop
    return number == 0 or (begin < frames and begin - hop + window < frames)


def count_windows(frames: int, *, window: int, hop: int) -> int:
    """Return how many windows cover `frames` samples; the last may be shorter.

    >>> count_windows(12, window=5, hop=5), count_windows(12, window=2, hop=6)
    (3, 2)
    """
    covering = 1 - (-max(0, frames - window) // hop)
    return min(covering, max(1, -(-frames // hop)))


def units(headers: Sequence[Header | Unread], cutting: Cutting) -> Iterator[Unit]:
    """Yield the units of all recordings in order: stretches of a long one, or several short ones."""
    full = max(1, UNIT_WINDOWS // cutting.batch_size) * cutting.batch_size
    waiting: list[Piece] = []
    held = 0
    for recording, header in enumerate(headers):
        if isinstance(header, Unread):
            continue
        count = count_windows(header.frames, window=cutting.window, hop=cutting.hop)
        if held and held + count > full:
            yield tuple(waiting)
            waiting, held = [], 0
        end = None if header.cut else header.frames
        if count <= full:
            waiting.append(Piece(recording, 0, count, end, last=True))
            held += count
            continue
        step = full if header.seeks else _up_to_multiple(-(-count // _UNITS_OF_SLOW_SEEKING), full)
        for first in range(0, count, step):
            last = first + step >= count
            stop = end if last else (first + step - 1) * cutting.hop + cutting.window
            yield (Piece(recording, first, min(step, count - first), stop, last=last),)
    if waiting:
        yield tuple(waiting)


def _up_to_multiple(count: int, step: int) -> int:
    return -(-count // step) * step


def windows_of(unit: Unit) -> int:
    """Return how many windows a unit is planned to hold."""
    return sum(piece.windows for piece in unit)
