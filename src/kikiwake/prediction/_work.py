"""One prediction, prepared: which recordings, how they are cut, and what scores them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from math import gcd
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from kikiwake import __version__
from kikiwake.classifier import Classifier
from kikiwake.engine import Engine
from kikiwake.engine import engine as set_up
from kikiwake.errors import KikiwakeError
from kikiwake.files import text_hash
from kikiwake.judging import judge_of, lengths_near
from kikiwake.parallel import progress, usable_cores
from kikiwake.prediction._onnx import exported_network
from kikiwake.prediction._pool import START_METHOD, Pool
from kikiwake.prediction._recordings import Header, Unread, fingerprint, probe_recordings
from kikiwake.prediction._rows import Rows
from kikiwake.prediction._scorers import OnnxScorer, Scorer, TorchScorer, for_prediction, precision_error
from kikiwake.prediction._units import WHOLE_SECONDS, Cutting, Unit, units, windows_of
from kikiwake.prediction._window_scores import UnitReader, UnitScores
from kikiwake.run import Run
from kikiwake.scoring import window_frames
from kikiwake.stems import Stems, listener

CPU_BATCH, GPU_BATCH = 4, 64

Precision = Literal["fp32", "bf16", "fp16", "int8"]


@dataclass(frozen=True)
class Options:
    """How to predict; None takes what the recipe says or, for `workers` and `batch_size`, what is fastest.

    `window_seconds`, `hop_seconds`: length of the windows and from the start of one to the next.
    `frame_seconds`: length of rows that are shorter than a window, for models that judge frames: what
    overlapping windows say of a row is averaged. By default each window is a row.
    `workers`: processes; 0 does everything in this one, where a decoder that crashes takes it along.
    `batch_size`: windows that the network sees at once. `engine`: "torch", or "onnx" for ONNX Runtime, which
    is often faster on a CPU. `precision`: other than "fp32" is faster on some processors and less exact;
    "int8" goes with "onnx" and is calibrated on the model's training clips. `separation`: False gives a model
    that hears stems the mixture in place of each of them, which is faster and not what it was trained on.
    """

    window_seconds: float | None = None
    hop_seconds: float | None = None
    frame_seconds: float | None = None
    workers: int | None = None
    batch_size: int | None = None
    engine: Literal["torch", "onnx"] = "torch"
    precision: Precision = "fp32"
    device: str | None = None
    separation: bool = True

    def __post_init__(self) -> None:
        for name, least in (
            ("window_seconds", 1e-3),
            ("hop_seconds", 1e-3),
            ("frame_seconds", 1e-3),
            ("workers", 0),
            ("batch_size", 1),
        ):
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise KikiwakeError(f"must be at least {least:g}", where=name, value=value)
        for name, allowed in (("engine", ("torch", "onnx")), ("precision", get_args(Precision))):
            if getattr(self, name) not in allowed:
                raise KikiwakeError(
                    "there is no such choice",
                    where=name,
                    value=getattr(self, name),
                    remedy=f"use one of: {', '.join(allowed)}",
                )


class Work:
    """One prediction."""

    def __init__(
        self, run: Run, classifier: Classifier, recordings: list[Path], options: Options, computer: Engine
    ) -> None:
        self.run = run
        self.classifier = classifier
        self.recordings = recordings
        self.options = options
        self.computer = computer
        self.listener = listener(run.recipe.data, separation=options.separation)
        self.cutting = _cutting(run, options, on_gpu=computer.device.type != "cpu")

    @cached_property
    def job(self) -> dict[str, Any]:
        """Everything that the scores depend on, in JSON's types."""
        recipe = self.run.recipe
        structure = json.dumps([recipe.frontend, recipe.model, self.classifier.classes, recipe.multilabel])
        return {
            "kikiwake": __version__,
            "torch": torch.__version__,
            "model": text_hash(self.run.model_hash() + structure),
            "recordings": fingerprint(self.recordings),
            "engine": self.options.engine,
            "precision": self.options.precision,
            "device": self.computer.device.type,
            "separation": self.listener.separates,
            **json.loads(json.dumps(asdict(self.cutting))),
        }

    @cached_property
    def workers(self) -> int:
        """Processes; by default one for each core that may be used."""
        if isinstance(self.listener, Stems) and self.listener.on_device:
            return 0  # a device cannot be used from forked processes
        if self.options.workers is not None:
            return self.options.workers
        return usable_cores()

    @cached_property
    def headers(self) -> list[Header | Unread]:
        """What is known of each recording before it is decoded."""
        return probe_recordings(
            self.recordings,
            sample_rate=self.cutting.sample_rate,
            workers=self.workers,
            start_method=START_METHOD,
        )

    @cached_property
    def units(self) -> list[Unit]:
        """The work in portions."""
        return list(units(self.headers, self.cutting))

    def rows(self) -> Rows:
        """Return what turns scores into rows."""
        return Rows(
            self.recordings,
            self.headers,
            sample_rate=self.cutting.sample_rate,
            classes=self.classifier.classes,
            row=self.cutting.judge.row,
        )

    def scores(self, *, skip: int = 0) -> Iterator[list[UnitScores]]:
        """Yield what becomes of each unit but the first `skip`, in order, and show how far it is.

        Raises:
            KikiwakeError: the model cannot score.
        """
        todo = self.units[skip:]
        if not todo:
            return
        pool = Pool(
            UnitReader(self.recordings, self.cutting, self.listener), self._scorer, workers=self.workers
        )
        with progress(sum(map(windows_of, todo)), description="predict", unit="windows") as bar:
            for unit, found in pool.scores(todo):
                bar.advance(windows_of(unit))
                yield found

    def describe(self) -> str:
        """Say in a line what computes."""
        network = "ONNX Runtime" if self.options.engine == "onnx" else "torch"
        processes = min(self.workers, len(self.units))
        return f"{network} {self.options.precision} on {self.computer.device}, {processes} processes"

    @cached_property
    def error(self) -> float | None:
        """By how much logits differ from those of torch in fp32, relative to the largest, on noise."""
        if self.options.engine == "onnx":
            return self._exported[1]
        if self.options.precision == "fp32":
            return None
        return precision_error(self._scorer, frames=self._frames)

    @cached_property
    def _frames(self) -> int:
        """Samples that the network typically hears at once."""
        return self.cutting.sample_rate if self.cutting.whole else self.cutting.judge.heard

    @cached_property
    def _exported(self) -> tuple[Path, float]:
        return exported_network(
            self.run, frames=self._frames, precision=self.options.precision, start_method=START_METHOD
        )

    @cached_property
    def _scorer(self) -> Scorer:
        if self.options.engine == "onnx":
            return OnnxScorer(self.classifier, judge=self.cutting.judge, path=self._exported[0])
        ready = for_prediction(self.classifier, frames=self._frames, computer=self.computer)
        return TorchScorer(ready, judge=self.cutting.judge, computer=self.computer)


@contextmanager
def prepared(run: Run, classifier: Classifier, recordings: list[Path], options: Options) -> Iterator[Work]:
    """Set up the device for the length of the block.

    Raises:
        RecipeError: the device is not there.
        KikiwakeError: an option does not fit the model.
    """
    on_onnx = options.engine == "onnx"
    if options.precision not in (("fp32", "int8") if on_onnx else ("fp32", "bf16", "fp16")):
        raise KikiwakeError(
            f"the engine {options.engine} does not compute in it",
            where="precision",
            value=options.precision,
            remedy="use fp32 or int8" if on_onnx else "use fp32, bf16 or fp16, or the engine onnx",
        )
    if on_onnx and run.recipe.model_is_fitted:
        what = f"the model '{run.recipe.model['name']}' is scikit-learn's, which runs on torch's engine only"
        raise KikiwakeError(what, where="engine", value="onnx", remedy="use torch")
    changes: dict[str, Any] = {"precision": "fp32" if on_onnx else options.precision, "threads": 1}
    if options.device or on_onnx:
        changes["device"] = options.device or "cpu"
    with set_up(run.recipe.engine.model_copy(update=changes)) as computer:
        if on_onnx and computer.device.type != "cpu":
            raise KikiwakeError("the engine onnx runs on the CPU", where="engine", remedy="use torch")
        yield Work(run, classifier, recordings, options, computer)


def _cutting(run: Run, options: Options, *, on_gpu: bool) -> Cutting:
    data = run.recipe.data
    window, hop = window_frames(run.recipe)
    if options.window_seconds is not None:
        window = hop = round(options.window_seconds * data.sample_rate)
    whole = window is None
    if whole and (options.hop_seconds is not None or options.engine == "onnx"):
        raise KikiwakeError(
            "this model was trained on whole clips of any length",
            where="window_seconds",
            remedy="say how long the windows are",
        )
    if whole and (run.recipe.predict.context_seconds or run.recipe.predict.shifts):
        raise KikiwakeError(
            "context and shifts belong to windows, and this model was trained on whole clips",
            where="window_seconds",
            remedy="say how long the windows are",
        )
    window = max(1, window or WHOLE_SECONDS * data.sample_rate)
    if options.hop_seconds is not None:
        hop = round(options.hop_seconds * data.sample_rate)
    hop = max(1, hop or window)
    judge = judge_of(run.recipe, window=window, frame_seconds=options.frame_seconds)
    if judge.row is not None and hop % judge.row:
        raise KikiwakeError(
            f"windows every {hop / data.sample_rate:g} s do not begin where rows of them do",
            where="frame_seconds",
            value=options.frame_seconds,
            remedy=f"give {lengths_near(judge.row, part_of=gcd(hop, window), sample_rate=data.sample_rate)}",
        )
    return Cutting(
        sample_rate=data.sample_rate,
        channels=data.waveform_channels,
        window=window,
        hop=hop,
        whole=whole,
        pad=data.pad,
        batch_size=options.batch_size or (GPU_BATCH if on_gpu else CPU_BATCH),
        judge=judge,
    )
