"""Decodes a unit of work and scores its windows, in whichever process it is called."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from kikiwake.data import fill
from kikiwake.errors import AudioError, RunError
from kikiwake.prediction._recordings import reason
from kikiwake.prediction._scorers import Scorer
from kikiwake.prediction._units import Cutting, Piece, Unit, has_window
from kikiwake.predictions import SetAside, path_text
from kikiwake.stems import Listener

_BLOCK = 1 << 18


class Span(NamedTuple):
    """Where a window lies: the recording's number, first sample, and samples of sound."""

    recording: int
    start: int
    frames: int


class Heard(NamedTuple):
    """What is heard for a window: sound `[C, t]`, with as much silence before it as `before` samples."""

    span: Span
    waveform: np.ndarray
    before: int


class Batch(NamedTuple):
    """Windows that the network sees at once. Shape: waveforms `[B, C, T]`; lengths `[B]`."""

    spans: list[Span]
    waveforms: np.ndarray
    lengths: np.ndarray


@dataclass(frozen=True)
class ReadUnit:
    """A unit's batches, read for a network that runs in another process, and what could not be read."""

    batches: Sequence[Batch]
    set_aside: Sequence[SetAside]


@dataclass(frozen=True)
class UnitScores:
    """What became of a unit: its windows in order, and what of it could not be read.

    Shape: spans `[W, 3]` (as `Span`); probabilities `[W, R, K]`, R rows a window.
    """

    spans: np.ndarray
    probabilities: np.ndarray
    set_aside: Sequence[SetAside]


class UnitReader:
    """Turns units into batches; `set_aside` gathers what could not be read of the last unit."""

    def __init__(self, recordings: Sequence[Path], cutting: Cutting, listener: Listener) -> None:
        self.recordings = recordings
        self.cutting = cutting
        self.listener = listener
        self.set_aside: list[SetAside] = []

    def __call__(self, unit: Unit) -> ReadUnit:
        """Read a unit whole."""
        return ReadUnit(list(self.batches(unit)), self.set_aside)

    def batches(self, unit: Unit) -> Iterator[Batch]:
        """Yield the unit's windows, in order, filled up as in training; flat in memory.

        A recording that cannot be read, or not to its end, is noted, and the next one goes on.
        """
        self.set_aside = []
        size = 1 if self.cutting.whole else self.cutting.batch_size
        waiting: list[Heard] = []
        for piece in unit:
            for window in self._windows(piece):
                waiting.append(window)
                if len(waiting) == size:
                    yield self._batch(waiting)
                    waiting = []
        if waiting:
            yield self._batch(waiting)

    def _batch(self, windows: Sequence[Heard]) -> Batch:
        cutting = self.cutting
        frames = cutting.judge.stretch
        if cutting.whole:
            frames = max(cutting.sample_rate, *(one.span.frames for one in windows))
        # Torch's own memory: vector code may round differently at other alignments.
        filled = torch.zeros(len(windows), cutting.channels, frames).numpy()
        for row, one in zip(filled, windows, strict=True):
            fill(row, one.waveform, pad=cutting.pad, before=one.before)
        ends = [one.before + one.waveform.shape[1] for one in windows]
        lengths = [end if cutting.pad == "zero" else frames for end in ends]
        return Batch([one.span for one in windows], filled, np.array(lengths))

    def _windows(self, piece: Piece) -> Iterator[Heard]:
        """Yield the windows of one piece that are there, whatever its header promised."""
        cutting, path = self.cutting, self.recordings[piece.recording]
        window, hop, margin = cutting.window, cutting.hop, cutting.judge.margin
        number, start = piece.first, piece.first * hop
        heard = first = max(0, start - margin)
        held = np.empty((cutting.channels, 0), np.float32)

        def cut(frames: int) -> Heard:
            """Return what is held of window `number`, of which `frames` samples are there."""
            begin = number * hop - margin
            at = max(0, begin) - (heard - held.shape[1])
            stretch = held[:, at : begin + window + 2 * margin - (heard - held.shape[1])]
            return Heard(Span(piece.recording, number * hop, frames), stretch, max(0, -begin))

        try:
            with self.listener.stream(
                path,
                block=_BLOCK,
                start=first,
                frames=None if piece.last or piece.end is None else piece.end + margin - first,
            ) as stream:
                for block in stream:
                    heard += block.shape[1]
                    held = np.concatenate([held, block], axis=1)
                    while number * hop + window + margin <= heard:
                        yield cut(window)
                        number += 1
                    held = held[:, max(0, number * hop - margin - (heard - held.shape[1])) :]
            while (
                heard > start
                and (piece.last or number < piece.first + piece.windows)
                and has_window(number, heard, window=window, hop=hop)
            ):
                yield cut(min(window, heard - number * hop))
                number += 1
            if stream.damage:
                short = piece.end is None or heard < piece.end - 1
                self._note(path, heard if short else start, stream.damage, "partial")
            if stream.replaced_samples:
                self._note(path, start, "has samples that are NaN or infinite; they count as 0", "repaired")
        except AudioError as error:
            self._note(path, heard, reason(error), "partial" if heard else "unreadable")

    def _note(self, path: Path, offset: int, what: str, kind: str) -> None:
        seconds = offset / self.cutting.sample_rate
        self.set_aside.append(SetAside(path_text(path), seconds, what, kind))


class UnitScorer:
    """Reads units and scores them."""

    def __init__(self, reader: UnitReader, scorer: Scorer) -> None:
        self.reader = reader
        self.scorer = scorer

    def __call__(self, unit: Unit) -> UnitScores:
        """Return the scores of a unit's windows.

        Raises:
            RunError: the model gives no finite number.
        """
        scored = [
            (batch.spans, self.scorer(batch.waveforms, batch.lengths)) for batch in self.reader.batches(unit)
        ]
        return join_batches(scored, self.reader, self.reader.set_aside)


def join_batches(
    scored: Sequence[tuple[list[Span], np.ndarray]], reader: UnitReader, set_aside: Sequence[SetAside]
) -> UnitScores:
    """Join the scored batches of one unit.

    Raises:
        RunError: the model gave no finite number.
    """
    spans = np.array([span for batch, _ in scored for span in batch], np.int64).reshape(-1, 3)
    found = [probabilities for _, probabilities in scored]
    probabilities = np.concatenate(found) if found else np.empty((0, 0, 0), np.float32)
    wrong = np.flatnonzero(~np.isfinite(probabilities).all((1, 2)))
    if len(wrong):
        recording, start, _ = spans[wrong[0]].tolist()
        raise RunError(
            f"the model gives no finite number for the window at {start / reader.cutting.sample_rate:g} s",
            where=reader.recordings[recording],
            remedy="use precision fp32; if it is that already, train again",
        )
    return UnitScores(spans, probabilities, list(set_aside))
