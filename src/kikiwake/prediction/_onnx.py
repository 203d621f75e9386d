"""Exports a run's network to ONNX once, and proves that it computes the same, or nearly so in int8."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kikiwake.errors import KikiwakeError, RunError, require
from kikiwake.files import replace_atomically, write_json
from kikiwake.parallel import map_isolated
from kikiwake.prediction._folding import fold_batch_norms
from kikiwake.prediction._int8 import LARGEST_ERROR as LARGEST_INT8_ERROR
from kikiwake.prediction._int8 import quantize, separate_training_clips
from kikiwake.prediction._scorers import noise, open_session
from kikiwake.run import Run, open_run

LARGEST_ERROR = 1e-4


def exported_network(
    run: Run, *, frames: int, precision: str, start_method: str | None
) -> tuple[Path, float]:
    """Return the run's network as an ONNX file and by how much its logits differ, relative to the largest.

    `frames`: samples of the windows that it will be given. It takes features `[B, C, F, N]`: the front end
    stays in torch, whose Fourier transform is several times as fast. `precision`: "fp32", or "int8" for a
    quantized copy. A file is made where it is not there or belongs to other weights, in a process of its own,
    since that takes much memory.

    Raises:
        MissingExtra: the packages of the extra "onnx" are not installed.
        RunError: the network cannot be exported or calibrated, or differs by more than it may.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        module = require(package, extra="onnx")
    about: dict[str, Any] = {"weights": run.model_hash(), "window_frames": frames, "torch": torch.__version__}
    exact = run.folder / "network.onnx"
    task: tuple[Any, ...] = (_export, run.folder, exact, frames)
    error = _made_once(exact, about, task, at_most=LARGEST_ERROR, start_method=start_method)
    if precision == "fp32":
        return exact, error
    path = run.folder / "network.int8.onnx"
    about["onnxruntime"] = module.__version__
    task = (quantize, run.folder, exact, path, frames)
    if not _is_made(path, about):
        separate_training_clips(run)
    return path, _made_once(path, about, task, at_most=LARGEST_INT8_ERROR, start_method=start_method)


def _made_once(
    path: Path, wanted: dict[str, Any], task: tuple[Any, ...], *, at_most: float, start_method: str | None
) -> float:
    """Make `path` by a function and its arguments, unless it is there already; return its error."""
    about = path.with_suffix(".onnx.json")
    if _is_made(path, wanted):
        return float(_read(about)["error"])
    about.unlink(missing_ok=True)
    ((_, result),) = map_isolated(_make, [task], workers=1, start_method=start_method)
    if isinstance(result.exception, KikiwakeError):
        raise result.exception
    if result.value is None:
        reason = f"the network cannot be exported: {result.error}"
        raise RunError(reason, where=path, remedy="use the engine torch")
    if not result.value <= at_most:
        raise RunError(
            f"the exported network's logits differ from torch's by {result.value:.1e} of the largest",
            where=path,
            remedy="use the engine torch" if at_most == LARGEST_ERROR else "use the precision fp32",
        )
    write_json(about, {**wanted, "error": result.value})
    return result.value


def _is_made(path: Path, wanted: dict[str, Any]) -> bool:
    """Whether a file is there that was made of what is wanted."""
    known = _read(path.with_suffix(".onnx.json"))
    return path.is_file() and {key: known.get(key) for key in wanted} == wanted


def _make(task: tuple[Any, ...]) -> float:
    function, *arguments = task
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about its own insides
        made: float = function(*arguments)
    return made


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content


class _Logits(nn.Module):
    """The network's logits as a tuple: of clips and, where it judges them, of frames."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        return tuple(logits for logits in self.network(features) if logits is not None)


@torch.no_grad()
def _export(folder: Path, path: Path, frames: int) -> float:
    torch.set_num_threads(1)
    classifier = open_run(folder).classifier()
    features = classifier.frontend(noise(classifier, count=5, frames=frames))
    network = _Logits(fold_batch_norms(classifier.network, features[:2])).eval()
    with replace_atomically(path) as temporary:
        torch.onnx.export(
            network,
            (features[:2],),
            str(temporary),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=["features"],
            output_names=["logits", "frames"][: len(network(features[:2]))],
            external_data=False,
            verbose=False,
        )
    found = open_session(path).run(None, {"features": features.numpy()})
    expected = [logits for logits in classifier.network(features) if logits is not None]
    return max(map(_difference, map(torch.from_numpy, found), expected))


def _difference(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference, relative to the largest that was expected."""
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-6))
