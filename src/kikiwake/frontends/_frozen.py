"""What front ends share that are trained elsewhere and only ever asked here."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from kikiwake.errors import RecipeError

Pooling = Literal["mean", "max", "none"]

LEAST_SECONDS = 0.1
"""What is shorter says nothing, and is less than some encoders' first frame needs."""

_SECONDS_AT_ONCE = 120.0
"""Audio encoded at once: the first layers of large encoders take up to 30 MB of memory a second."""


class Span(NamedTuple):
    """Samples `start` to `stop` of a row of a batch."""

    row: int
    start: int
    stop: int


class FrozenEncoder(nn.Module, ABC):
    """Turns clips of any length into vectors, with an encoder whose weights never change.

    A clip is encoded from its own samples alone, not from what pads it in a batch: in chunks that do not see
    each other where it is long, filled with silence where it is shorter than `LEAST_SECONDS`. A rest shorter
    than that behind the last whole chunk is left out. Autocast may act inside; the vectors are float32 and
    have no gradient.

    Args:
        title: of the encoder, for messages.
        sample_rate: of the waveforms, in Hz.
        expected_rate: in Hz, at which the encoder was trained.
        in_channels: of the waveforms.
        pooling: over time: the mean (chunks count by their lengths), the maximum, or none.
        chunk_seconds: the longest stretch that is encoded at once.

    Shape: `[B, 1, T]` -> `[B, out_channels, frames(T)]`; without pooling, frames behind a clip's end are 0.

    Raises:
        RecipeError: the waveforms have another rate or several channels.
    """

    out_channels: int

    def __init__(
        self,
        *,
        title: str,
        sample_rate: int,
        expected_rate: int,
        in_channels: int,
        pooling: Pooling,
        chunk_seconds: float,
    ) -> None:
        super().__init__()
        if sample_rate != expected_rate:
            raise RecipeError(
                f"{title} expects {expected_rate} Hz",
                where="data.sample_rate",
                value=sample_rate,
                remedy=f"set data.sample_rate: {expected_rate}: recordings are converted when they are read",
            )
        if in_channels != 1:
            raise RecipeError(
                f"{title} hears one channel",
                where="data.channels",
                value=in_channels,
                remedy="set data.channels: 1",
            )
        self.in_channels = in_channels
        self.pooling = pooling
        self.chunk = round(chunk_seconds * sample_rate)
        self.least = math.ceil(LEAST_SECONDS * sample_rate)
        self.samples_at_once = round(_SECONDS_AT_ONCE * sample_rate)

    @abstractmethod
    def encode(self, chunks: Tensor) -> Tensor:
        """Return the vectors of chunks of one length, each by itself. Shape: `[M, T]` -> `[M, N, D]`."""

    @abstractmethod
    def chunk_frames(self, samples: int) -> int:
        """Return the number N of vectors of a chunk of `samples` samples."""

    def frames(self, samples: int) -> int:
        """Return the number of vectors of a clip of `samples` samples: 1 where they are pooled."""
        if self.pooling != "none":
            return 1
        return sum(
            self.chunk_frames(max(span.stop - span.start, self.least)) for span in self._spans(0, samples)
        )

    def train(self, mode: bool = True) -> FrozenEncoder:  # noqa: ARG002 - the same call for all modules
        """Stay in evaluation mode: batch norms and dropout do not notice that the network is trained."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, waveform: Tensor, *, lengths: Tensor | None = None) -> Tensor:
        """Return the vectors of a batch.

        `lengths` `[B]`: samples of each clip before it was padded; without it all T belong to the clip.
        """
        batch, _, samples = waveform.shape
        ends = [samples] * batch if lengths is None else [int(end) for end in lengths.tolist()]
        spans = [span for row, end in enumerate(ends) for span in self._spans(row, end)]
        found: dict[Span, Tensor] = {}
        for some in self._batches(spans):
            chunks = torch.stack([waveform[span.row, 0, span.start : span.stop] for span in some]).float()
            missing = max(0, self.least - chunks.shape[-1])
            hidden = self.encode(functional.pad(chunks, (0, missing))).float()
            found.update(zip(some, map(self._pooled, hidden), strict=True))
        rows: list[list[Span]] = [[] for _ in ends]
        for span in spans:
            rows[span.row].append(span)
        joined = [self._joined(own, [found[span] for span in own]) for own in rows]
        frames = self.frames(samples)
        return torch.stack([functional.pad(vectors, (0, frames - vectors.shape[1])) for vectors in joined])

    def _spans(self, row: int, end: int) -> list[Span]:
        """Cut a clip of `end` samples into chunks."""
        starts = range(0, max(end, 1), self.chunk)
        spans = [Span(row, start, min(start + self.chunk, end)) for start in starts]
        rest_is_short = spans[-1].stop - spans[-1].start < self.least
        return spans[:-1] if rest_is_short and len(spans) > 1 else spans

    def _batches(self, spans: Sequence[Span]) -> Iterator[list[Span]]:
        """Put together spans of one length, as many as are encoded at once."""
        by_length: dict[int, list[Span]] = defaultdict(list)
        for span in spans:
            by_length[span.stop - span.start].append(span)
        for length, same in by_length.items():
            size = max(1, self.samples_at_once // max(length, self.least))
            yield from (same[at : at + size] for at in range(0, len(same), size))

    def _pooled(self, vectors: Tensor) -> Tensor:
        """Pool the vectors of a chunk. Shape: `[N, D]` -> `[D, 1]`, or `[D, N]` without pooling."""
        if self.pooling == "mean":
            return vectors.mean(0)[:, None]
        if self.pooling == "max":
            return vectors.amax(0)[:, None]
        return vectors.T

    def _joined(self, spans: Sequence[Span], parts: Sequence[Tensor]) -> Tensor:
        """Join what was found in the chunks of one clip. Shape: parts `[D, N]` -> `[D, N]`."""
        if len(parts) == 1:
            return parts[0]
        joined = torch.cat(list(parts), dim=1)
        if self.pooling == "mean":
            lengths = joined.new_tensor([span.stop - span.start for span in spans])
            return (joined * (lengths / lengths.sum())).sum(1, keepdim=True)
        return joined.amax(1, keepdim=True) if self.pooling == "max" else joined


def chosen_layer(layer: int, *, depth: int) -> int:
    """Return the number of the layer that a recipe names: 0 is the first one's input, -1 the last one.

    Raises:
        RecipeError: there is no such layer.

    >>> chosen_layer(-1, depth=12)
    12
    """
    if not -depth <= layer <= depth:
        raise RecipeError(
            f"the encoder has {depth} layers",
            where="frontend.layer",
            value=layer,
            remedy=f"give 0 to {depth}, or -1 for the last",
        )
    return layer if layer >= 0 else depth + 1 + layer
