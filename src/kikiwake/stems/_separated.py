"""Separating a span of a recording while it is read, in flat memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kikiwake import audio
from kikiwake.audio import SpanResampler
from kikiwake.blocks import BLOCK
from kikiwake.separators import Separator, SpanSeparation

Samples = NDArray[np.float32]


class Separated:
    """The stems of a recording's span, separated while they are read.

    `sample_rate`: of the stems, in Hz. `start`, `frames`: the span, at that rate. `places`: which of the
    separator's stems, in which order. `damage` and `replaced_samples` are complete after the last piece.
    """

    def __init__(
        self,
        separator: Separator,
        path: Path,
        *,
        sample_rate: int,
        start: int,
        frames: int | None,
        places: Sequence[int],
    ) -> None:
        self.separator, self.path = separator, path
        self.sample_rate = sample_rate
        self.start, self.frames = start, frames
        self._places = list(places)
        self.damage: str | None = None
        self.replaced_samples = 0

    def pieces(self) -> Iterator[Samples]:
        """Yield `[S, n]` of any n."""
        separator, rate = self.separator, self.sample_rate
        to_rate = SpanResampler(
            source_rate=separator.sample_rate, target_rate=rate, start=self.start, frames=self.frames
        )
        span = SpanSeparation(separator, start=to_rate.first, stop=to_rate.stop)
        frames = None if span.last is None else span.last - span.first
        with audio.stream(
            self.path,
            sample_rate=separator.sample_rate,
            channels=None,
            block=BLOCK,
            start=span.first,
            frames=frames,
        ) as mixture:
            heard = (self._fitted(block) for block in mixture)
            separated = (np.ascontiguousarray(piece[self._places].T) for piece in span(heard))
            for piece in to_rate(_marked(separated), channels=len(self._places)):
                yield np.ascontiguousarray(piece.reshape(len(piece), -1).T)
            self.damage, self.replaced_samples = mixture.damage, mixture.replaced_samples

    def _fitted(self, block: Samples) -> Samples:
        """Return the mixture in the channels that the separator hears. Shape: `[C, n]` -> `[channels, n]`."""
        wanted = self.separator.channels
        if len(block) == wanted:
            return block
        return audio.downmix(audio.downmix(block, channels=1), channels=wanted)


def _marked(pieces: Iterator[Samples]) -> Iterator[tuple[Samples, bool]]:
    """Say of each piece whether it is the last."""
    piece = next(pieces, None)
    while piece is not None:
        following = next(pieces, None)
        yield piece, following is None
        piece = following
