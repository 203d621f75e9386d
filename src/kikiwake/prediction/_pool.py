"""Scores units in worker processes, so that a recording that crashes its decoder is set aside alone."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from kikiwake.parallel import Result, map_isolated
from kikiwake.prediction._scorers import Scorer, TorchScorer
from kikiwake.prediction._units import Unit, windows_of
from kikiwake.prediction._window_scores import ReadUnit, UnitReader, UnitScorer, UnitScores, join_batches
from kikiwake.predictions import SetAside, path_text

_SECONDS = 120.0
_SECONDS_A_WINDOW = 10.0
_SECONDS_TO_SEPARATE = 60.0
"""A second of sound, at most."""

START_METHOD = "fork" if sys.platform == "linux" else None
"""Forked workers begin at once and share the model's memory; they run no OpenMP threads (see `_hold`)."""


class Pool:
    """`workers` processes that do units; 0 does them here, without protection from crashes."""

    def __init__(self, reader: UnitReader, scorer: Scorer, *, workers: int) -> None:
        self.reader = reader
        self.scorer = scorer
        self.workers = workers

    def scores(self, units: Sequence[Unit]) -> Iterator[tuple[Unit, list[UnitScores]]]:
        """Yield each unit with its scores, in order; a unit of which something crashed has several.

        Raises:
            KikiwakeError: the model cannot score.
        """
        scorer = self.scorer
        if isinstance(scorer, TorchScorer) and scorer.computer.device.type != "cpu":
            yield from self._scored_here(units, scorer)
        else:
            yield from self._results(UnitScorer(self.reader, scorer), units, self._nothing_scored)

    def _scored_here(
        self, units: Sequence[Unit], scorer: TorchScorer
    ) -> Iterator[tuple[Unit, list[UnitScores]]]:
        """Let workers read, and score on the device, which begins a unit before the last one is fetched."""
        begun: deque[tuple[Unit, list[Any], list[SetAside]]] = deque()
        for unit, parts in self._results(self.reader, units, _nothing_read):
            started = [
                (batch.spans, scorer.start(batch.waveforms, batch.lengths))
                for part in parts
                for batch in part.batches
            ]
            begun.append((unit, started, [note for part in parts for note in part.set_aside]))
            if len(begun) > 1:
                yield self._fetched(*begun.popleft())
        while begun:
            yield self._fetched(*begun.popleft())

    def _fetched(
        self, unit: Unit, started: list[Any], set_aside: list[SetAside]
    ) -> tuple[Unit, list[UnitScores]]:
        scored = [(spans, probabilities.cpu().numpy()) for spans, probabilities in started]
        return unit, [join_batches(scored, self.reader, set_aside)]

    def _results(
        self, work: Callable[[Unit], Any], units: Sequence[Unit], nothing: Callable[[SetAside], Any]
    ) -> Iterator[tuple[Unit, list[Any]]]:
        for unit, result in self._mapped(work, units, workers=self.workers):
            if result.value is not None:
                yield unit, [result.value]
            elif _blames_recording(result):
                yield unit, self._again(work, unit, nothing)
            else:
                result.get()

    def _again(
        self, work: Callable[[Unit], Any], unit: Unit, nothing: Callable[[SetAside], Any]
    ) -> list[Any]:
        """Do a unit again; if it crashes again, piece by piece, to lose no more than the guilty one."""
        ((_, result),) = self._mapped(work, [unit], workers=min(1, self.workers))
        if result.value is not None:
            return [result.value]
        found: list[Any] = []
        for (piece,), result in self._mapped(
            work, [(piece,) for piece in unit], workers=min(1, self.workers)
        ):
            if result.value is None and not _blames_recording(result):
                result.get()
            path = path_text(self.reader.recordings[piece.recording])
            offset = piece.first * self.reader.cutting.hop / self.reader.cutting.sample_rate
            note = SetAside(path, offset, f"while it was read: {result.error}", "crashed")
            found.append(nothing(note) if result.value is None else result.value)
        return found

    def _mapped(
        self, work: Callable[[Unit], Any], units: Sequence[Unit], *, workers: int
    ) -> Iterator[tuple[Unit, Result[Any]]]:
        longest = max(map(windows_of, units), default=0)
        seconds_a_window = _SECONDS_A_WINDOW
        if self.reader.listener.separates:
            cutting = self.reader.cutting
            seconds_a_window += _SECONDS_TO_SEPARATE * cutting.window / cutting.sample_rate
        return map_isolated(
            _do,
            units,
            workers=min(workers, len(units)),
            timeout_seconds=_SECONDS + seconds_a_window * longest,
            initializer=_hold,
            initargs=(work,),
            start_method=START_METHOD,
        )

    @staticmethod
    def _nothing_scored(note: SetAside) -> UnitScores:
        return UnitScores(np.empty((0, 3), np.int64), np.empty((0, 0, 0), np.float32), [note])


def _nothing_read(note: SetAside) -> ReadUnit:
    return ReadUnit([], [note])


def _blames_recording(result: Result[Any]) -> bool:
    """Whether the process died, hung or had no memory left: no error that every unit would meet."""
    return result.crashed or result.exception is None


_work: list[Callable[[Unit], Any]] = []


def _hold(work: Callable[[Unit], Any]) -> None:
    """Begin a worker: on one thread, for a fork takes none along that OpenMP could wait for."""
    torch.set_num_threads(1)
    _work[:] = [work]


def _do(unit: Unit) -> Any:
    return _work[0](unit)
