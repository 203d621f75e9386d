"""Resampling piece by piece, so that a span of a signal equals the same span of the whole."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import soxr
from numpy.typing import NDArray

Samples = NDArray[np.float32]

_MARGIN = 512


class SpanResampler:
    """Gives samples `start` to `start + frames` at `target_rate` of a signal that is at `source_rate`.

    Rates in Hz; `frames` None for all that follow. `first` and `stop` are the source's samples that are
    needed for it; `stop` is None where they go to the end. For `down` samples of
    the source there are `up` of the target.
    """

    def __init__(self, *, source_rate: int, target_rate: int, start: int, frames: int | None) -> None:
        divisor = math.gcd(source_rate, target_rate)
        up, down = target_rate // divisor, source_rate // divisor
        margin = 0 if up == down else _MARGIN * max(1, -(-down // up))
        self.first = max(start * down // up - margin, 0) // down * down
        self.stop = None if frames is None else -(-(start + frames) * down // up) + margin
        self.up, self.down = up, down
        self._rates = source_rate, target_rate
        self._skip = start - self.first // down * up
        self._frames = frames

    def __call__(self, pieces: Iterable[tuple[Samples, bool]], *, channels: int) -> Iterator[Samples]:
        """Yield the span in pieces of any length.

        `pieces`: the source from `first` to `stop`, or to its end, each with whether it is the last.

        Shape: `[n]`, or `[n, channels]` where there are several -> the same.
        """
        source, target = self._rates
        resampler = None
        if source != target:
            resampler = soxr.ResampleStream(source, target, channels, dtype="float32", quality="HQ")
        skip, left = self._skip, self._frames
        for given, last in pieces:
            piece = given.copy() if resampler is None else resampler.resample_chunk(given, last=last)
            if skip:
                skip, piece = max(skip - len(piece), 0), piece[skip:]
            if left is not None:
                piece = piece[:left]
                left -= len(piece)
            if len(piece):
                yield piece


def reblocked(pieces: Iterable[Samples], *, block: int) -> Iterator[Samples]:
    """Cut and join `[C, n]` of any n into `[C, block]`, the last one shorter."""
    waiting: list[Samples] = []
    held = 0
    for piece in pieces:
        taken = 0
        while held + piece.shape[1] - taken >= block:
            waiting.append(piece[:, taken : taken + block - held])
            taken += block - held
            yield np.concatenate(waiting, axis=1)
            waiting, held = [], 0
        if taken < piece.shape[1]:
            waiting.append(piece[:, taken:])
            held += piece.shape[1] - taken
    if waiting:
        yield np.concatenate(waiting, axis=1)
