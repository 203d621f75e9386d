"""Slides windows over recordings of any length and scores them.

As many processes as there are cores take units of work, a few minutes of sound each; every one of them
decodes, resamples and runs the whole model on one thread, which is faster than one process on all cores. On a
GPU the processes decode and the network runs here. Finished units are kept on disk, so that the same command
goes on after an interruption and ends with the same bytes.
"""

from __future__ import annotations

import os
import shutil
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from kikiwake.ensembles import Ensemble, open_model
from kikiwake.prediction._finished import Finished, PredictSummary
from kikiwake.prediction._joint import JointRows, Plan, joint_plan
from kikiwake.prediction._parts import Parts, changed
from kikiwake.prediction._recordings import find_recordings
from kikiwake.prediction._work import Options, Precision, Work, prepared
from kikiwake.predictions import (
    Predictions,
    join,
    read_chunks,
    read_quarantine,
    write_predictions,
    write_quarantine,
)
from kikiwake.run import Run, logger_for

__all__ = ["Options", "PredictSummary", "Predictor", "load", "predict"]

PathLike = str | os.PathLike[str]


class Predictor(ABC):
    """A trained model or an ensemble, ready for recordings.

    `classes`: the names of the columns of probabilities.
    """

    classes: Sequence[str]

    def predict(
        self,
        files: PathLike | Iterable[PathLike],
        *,
        window_seconds: float | None = None,
        hop_seconds: float | None = None,
        frame_seconds: float | None = None,
        workers: int | None = None,
        batch_size: int | None = None,
        engine: Literal["torch", "onnx"] = "torch",
        precision: Precision = "fp32",
        device: str | None = None,
        separation: bool = True,
    ) -> Predictions:
        """Score every window of some recordings; what could not be read is in the result's `set_aside`.

        `files`: recordings, folders of them, or patterns. The other arguments are those of `Options`.

        Raises:
            KikiwakeError: nothing is found, an option is wrong, or the model cannot score.
        """
        options = Options(
            window_seconds,
            hop_seconds,
            frame_seconds,
            workers,
            batch_size,
            engine,
            precision,
            device,
            separation,
        )
        found = self.scored(find_recordings(_as_list(files)), options)
        for note in found.set_aside:
            logger_for(None).info("set aside: %s: %s", note.path, note.reason)
        return found

    @abstractmethod
    def plan(self, recordings: list[Path], options: Options) -> Plan:
        """Return how the recordings would be cut, and everything that the scores depend on."""

    @abstractmethod
    def scored(self, recordings: list[Path], options: Options) -> Predictions:
        """Return the rows of all windows, and what could not be read."""

    @abstractmethod
    def write(self, recordings: list[Path], options: Options, finished: Finished) -> PredictSummary:
        """Write the rows of all windows, unless they are written already."""


class RunPredictor(Predictor):
    """The trained model of one run, ready for recordings."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.classifier = run.classifier()
        self.classes = self.classifier.classes

    def plan(self, recordings: list[Path], options: Options) -> Plan:
        """Return how the recordings would be cut, and everything that the scores depend on."""
        with prepared(self.run, self.classifier, recordings, options) as work:
            return Plan.of(work)

    def scored(self, recordings: list[Path], options: Options) -> Predictions:
        """Return the rows of all windows, and what could not be read."""
        with prepared(self.run, self.classifier, recordings, options) as work:
            rows = work.rows()
            chunks = list(rows(scores for unit in work.scores() for scores in unit))
        return replace(join(chunks, classes=self.classes), set_aside=rows.set_aside())

    def write(self, recordings: list[Path], options: Options, finished: Finished) -> PredictSummary:
        """Write the rows of all windows, unless they are written already."""
        started = time.monotonic()
        with prepared(self.run, self.classifier, recordings, options) as work:
            if finished.job == work.job and (before := finished.summary()):
                return before
            return _written(work, finished, started=started)


class EnsemblePredictor(Predictor):
    """The models of an ensemble, ready for recordings; the rows that all of them have are joined."""

    def __init__(self, ensemble: Ensemble) -> None:
        self.ensemble = ensemble
        self.members = [load(member) for member in ensemble.members]
        self.classes = ensemble.classes

    def plan(self, recordings: list[Path], options: Options) -> Plan:
        """Return how the recordings would be cut, and everything that the scores depend on."""
        return joint_plan(self.ensemble, [member.plan(recordings, options) for member in self.members])

    def scored(self, recordings: list[Path], options: Options) -> Predictions:
        """Return the rows of all windows, and what could not be read."""
        plan = self.plan(recordings, options)
        found = [member.scored(recordings, options) for member in self.members]
        rows = JointRows(self.ensemble, recordings, plan.windows)
        joined = join(list(rows([[one] for one in found])), classes=self.classes)
        return replace(joined, set_aside=rows.set_aside([one.set_aside for one in found]))

    def write(self, recordings: list[Path], options: Options, finished: Finished) -> PredictSummary:
        """Write the rows of all windows, unless they are written already.

        Every member's table is finished by itself beside the ensemble's, which are then joined.
        """
        started = time.monotonic()
        plan = self.plan(recordings, options)
        if finished.job == plan.job and (before := finished.summary()):
            return before
        _say_replaced(finished, plan.job)
        folder = finished.out.with_name(finished.out.name + ".parts")
        found = []
        for number, member in enumerate(self.members, start=1):
            place = self.ensemble.members[number - 1].folder
            logger_for(None).info("member %d of %d: %s", number, len(self.members), place)
            found.append(member.write(recordings, options, Finished(folder / f"member{number}.parquet")))
        rows = JointRows(self.ensemble, recordings, plan.windows)
        chunks = rows([read_chunks(summary.out) for summary in found])
        write_predictions(finished.out, chunks, classes=self.classes)
        set_aside = rows.set_aside([read_quarantine(summary.quarantine) for summary in found])
        write_quarantine(finished.quarantine, set_aside)
        errors = [summary.error for summary in found if summary.error is not None]
        summary = PredictSummary(
            out=finished.out,
            quarantine=finished.quarantine,
            windows=rows.count if plan.windows.row is None else min(summary.windows for summary in found),
            recordings=rows.recordings,
            sound_seconds=rows.sound_seconds,
            quarantined=len({note.path for note in set_aside}),
            scored=sum(summary.scored for summary in found),
            elapsed_seconds=time.monotonic() - started,
            error=max(errors, default=None),
            namesakes=_namesakes(recordings),
            models=sum(summary.models for summary in found),
        )
        finished.write(plan.job, summary)
        shutil.rmtree(folder)
        return summary


def load(run: PathLike | Run | Ensemble) -> Predictor:
    """Load the trained model of a run directory, or those of an ensemble.

    Raises:
        RunError: it is neither, training has not ended, or a member was changed.
    """
    model = run if isinstance(run, Run | Ensemble) else open_model(Path(run))
    return EnsemblePredictor(model) if isinstance(model, Ensemble) else RunPredictor(model)


def predict(
    run: PathLike | Run | Ensemble,
    files: PathLike | Iterable[PathLike],
    *,
    out: PathLike,
    window_seconds: float | None = None,
    hop_seconds: float | None = None,
    frame_seconds: float | None = None,
    workers: int | None = None,
    batch_size: int | None = None,
    engine: Literal["torch", "onnx"] = "torch",
    precision: Precision = "fp32",
    device: str | None = None,
    separation: bool = True,
) -> PredictSummary:
    """Score every window of some recordings and write a table, in flat memory; an interrupted one goes on.

    `run`: a run or an ensemble. `files`: recordings, folders of them, or patterns. `out`: a .csv or .parquet;
    beside it come a quarantine (`preds.quarantine.csv`: path, offset_seconds, reason, kind) and a summary
    (`preds.summary.json`). The other arguments are those of `Options`.

    Raises:
        KikiwakeError: nothing is found, an option is wrong, or the model cannot score.
        StorageError: a file cannot be written.
    """
    options = Options(
        window_seconds,
        hop_seconds,
        frame_seconds,
        workers,
        batch_size,
        engine,
        precision,
        device,
        separation,
    )
    finished = Finished(Path(out))
    return load(run).write(find_recordings(_as_list(files)), options, finished)


def _written(work: Work, finished: Finished, *, started: float) -> PredictSummary:
    """Score what is not scored yet and write the files."""
    log = logger_for(None)
    _say_replaced(finished, work.job)
    parts = Parts(finished.out.with_name(finished.out.name + ".parts"), work.job)
    if parts.changes:
        log.info("started anew: the interrupted prediction differs in: %s", _few(parts.changes))
    if parts.done:
        log.info("going on after %d of %d units of work", parts.done, len(work.units))
    log.info("predicting %d recordings: %s", len(work.recordings), work.describe())
    if work.cutting.hop > work.cutting.window:
        log.info("note: the hop is longer than the window: what lies between windows is not listened to")
    scored = 0
    try:
        for found in work.scores(skip=parts.done):
            parts.add(found)
            scored += sum(len(scores.spans) for scores in found)
    finally:
        parts.flush()
    rows = work.rows()
    write_predictions(finished.out, rows(parts), classes=work.classifier.classes)
    set_aside = rows.set_aside()
    write_quarantine(finished.quarantine, set_aside)
    summary = PredictSummary(
        out=finished.out,
        quarantine=finished.quarantine,
        windows=rows.windows,
        recordings=rows.recordings,
        sound_seconds=rows.sound_seconds,
        quarantined=len({note.path for note in set_aside}),
        scored=scored,
        elapsed_seconds=time.monotonic() - started,
        error=work.error,
        namesakes=_namesakes(work.recordings),
    )
    finished.write(work.job, summary)
    parts.remove()
    return summary


def _say_replaced(finished: Finished, job: Mapping[str, Any]) -> None:
    """Say that a finished prediction of something else is replaced, if there is one."""
    if finished.job is not None and finished.job != job:
        what = _few(changed(finished.job, job))
        logger_for(None).info(
            "%s is there already and will be replaced, for it differs in: %s", finished.out, what
        )


def _namesakes(recordings: Sequence[Path]) -> int:
    """Return how many recordings have a name, without its suffix, that another one has."""
    names = Counter(path.stem for path in recordings)
    return sum(count for count in names.values() if count > 1)


def _as_list(files: PathLike | Iterable[PathLike]) -> list[PathLike]:
    return [files] if isinstance(files, str | os.PathLike) else list(files)


def _few(reasons: Sequence[str]) -> str:
    more = f"; and {len(reasons) - 4} more" if len(reasons) > 4 else ""
    return "; ".join(reasons[:4]) + more
