"""What turns a batch of waveforms into probabilities: torch, or ONNX Runtime for the network."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from kikiwake.classifier import Classifier
from kikiwake.engine import Engine
from kikiwake.judging import Judge
from kikiwake.models._output import Output
from kikiwake.prediction._folding import fold_batch_norms
from kikiwake.randomness import torch_generator


class Scorer(Protocol):
    """Scores a batch. Shape: waveforms `[B, C, T]`, lengths `[B]` -> probabilities `[B, R, K]`."""

    def __call__(self, waveforms: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Return the probabilities of a batch."""


class TorchScorer:
    """The classifier as it was trained, in the precision and on the device of `computer`.

    `judge`: how windows are scored.
    """

    def __init__(self, classifier: Classifier, *, judge: Judge, computer: Engine) -> None:
        self.classifier = classifier
        self.judge = judge
        self.computer = computer

    def __call__(self, waveforms: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Return the probabilities of a batch."""
        return self.start(waveforms, lengths).cpu().numpy()

    @torch.inference_mode()
    def start(self, waveforms: np.ndarray, lengths: np.ndarray) -> Tensor:
        """Return the probabilities where they are computed; on a GPU they may not be there yet."""
        with self.computer.autocast():
            return self.judge(self.classifier, self._sent(waveforms), self._sent(lengths)).probabilities

    def _sent(self, values: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(values)
        if self.computer.device.type != "cuda":
            return tensor.to(self.computer.device)
        return tensor.pin_memory().to(self.computer.device, non_blocking=True)


class OnnxScorer:
    """The front end in torch and the network in ONNX Runtime, on one thread."""

    def __init__(self, classifier: Classifier, *, judge: Judge, path: Path) -> None:
        self.classifier = classifier
        self.judge = judge
        self.path = path
        self._session: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_session": None}

    @torch.inference_mode()
    def __call__(self, waveforms: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Return the probabilities of a batch."""
        stretches, samples = torch.from_numpy(waveforms), torch.from_numpy(lengths)
        judged = self.judge(self.classifier, stretches, samples, network=self._network)
        return judged.probabilities.numpy()

    def _network(self, waveforms: Tensor, lengths: Tensor) -> Output:
        if self._session is None:  # made where it is used: a session does not pass into another process
            self._session = open_session(self.path)
        features = self.classifier.frontend(waveforms, lengths=lengths)
        return Output(*map(torch.from_numpy, self._session.run(None, {"features": features.numpy()})))


def open_session(path: Path) -> Any:
    """Return an ONNX Runtime session on one thread of the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def noise(classifier: Classifier, *, count: int, frames: int) -> Tensor:
    """Return windows of noise, always the same. Shape: `[count, C, frames]`."""
    shape = (count, classifier.channels, frames)
    return 0.1 * torch.randn(shape, generator=torch_generator(0, "noise"))


@torch.no_grad()
def for_prediction(classifier: Classifier, *, frames: int, computer: Engine) -> Classifier:
    """Return the classifier laid out for speed: batch norms folded, images channels last, on its device.

    `frames`: samples of a window.
    """
    features = classifier.frontend(noise(classifier, count=1, frames=frames))
    prepared = Classifier(
        copy.deepcopy(classifier.frontend),
        fold_batch_norms(classifier.network, features),
        classes=classifier.classes,
        sample_rate=classifier.sample_rate,
        channels=classifier.channels,
        multilabel=classifier.multilabel,
    ).eval()
    return prepared.to(computer.device).to(memory_format=computer.memory_format)  # type: ignore[call-overload,no-any-return]


@torch.no_grad()
def precision_error(scorer: Scorer, *, frames: int) -> float:
    """Return by how much a torch scorer's logits differ from fp32's, relative to the largest, on noise.

    `frames`: samples of a window.
    """
    assert isinstance(scorer, TorchScorer)
    device = scorer.computer.device
    waveforms = noise(scorer.classifier, count=4, frames=frames).to(device)
    exact = scorer.classifier(waveforms).clipwise
    with scorer.computer.autocast():
        found = scorer.classifier(waveforms).clipwise.float()
    return float((found - exact).abs().max() / exact.abs().max().clamp(min=1e-6))
