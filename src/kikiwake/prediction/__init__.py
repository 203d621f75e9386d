"""Slides windows over recordings of any length and scores them.

As many processes as there are cores take units of work, a few minutes of sound each; every one of them
decodes, resamples and runs the whole model on one thread, which is faster than one process on all cores. On a
GPU the processes decode and the network runs here. Finished units are kept on disk, so that the same command
goes on after an interruption and ends with the same bytes.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from kikiwake.prediction._finished import Finished, PredictSummary
from kikiwake.prediction._parts import Parts, changed
from kikiwake.prediction._recordings import find_recordings
from kikiwake.prediction._work import Options, Precision, Work, prepared
from kikiwake.predictions import Predictions, join, write_predictions, write_quarantine
from kikiwake.run import Run, logger_for, open_run

__all__ = ["Options", "PredictSummary", "Predictor", "load", "predict"]

PathLike = str | os.PathLike[str]


class Predictor:
    """A trained model, ready for recordings."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.classifier = run.classifier()
        self.classes = self.classifier.classes

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
        with prepared(self.run, self.classifier, find_recordings(_listed(files)), options) as work:
            rows = work.rows()
            chunks = list(rows(scores for unit in work.scores() for scores in unit))
        for note in rows.set_aside():
            logger_for(None).info("set aside: %s: %s", note.path, note.reason)
        return replace(join(chunks, classes=self.classes), set_aside=rows.set_aside())


def load(run: PathLike | Run) -> Predictor:
    """Load the trained model of a run directory.

    Raises:
        RunError: it is no run directory, or training has not ended.
    """
    return Predictor(run if isinstance(run, Run) else open_run(Path(run)))


def predict(
    run: PathLike | Run,
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

    `files`: recordings, folders of them, or patterns. `out`: a .csv or .parquet; beside it come a quarantine
    (`preds.quarantine.csv`: path, offset_seconds, reason, kind) and a summary (`preds.summary.json`). The
    other arguments are those of `Options`.

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
    started = time.monotonic()
    finished = Finished(Path(out))
    predictor = load(run)
    with prepared(predictor.run, predictor.classifier, find_recordings(_listed(files)), options) as work:
        if finished.job == work.job and (before := finished.summary()):
            return before
        return _written(work, finished, started=started)


def _written(work: Work, finished: Finished, *, started: float) -> PredictSummary:
    """Score what is not scored yet and write the files."""
    log = logger_for(None)
    if finished.job is not None and finished.job != work.job:
        what = _few(changed(finished.job, work.job))
        log.info("%s is there already and will be replaced, for it differs in: %s", finished.out, what)
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


def _namesakes(recordings: Sequence[Path]) -> int:
    """Return how many recordings have a name, without its suffix, that another one has."""
    names = Counter(path.stem for path in recordings)
    return sum(count for count in names.values() if count > 1)


def _listed(files: PathLike | Iterable[PathLike]) -> list[PathLike]:
    return [files] if isinstance(files, str | os.PathLike) else list(files)


def _few(reasons: Sequence[str]) -> str:
    more = f"; and {len(reasons) - 4} more" if len(reasons) > 4 else ""
    return "; ".join(reasons[:4]) + more
