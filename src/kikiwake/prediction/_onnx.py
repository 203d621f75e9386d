"""Exports a run's network to ONNX once, and proves that it computes the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kikiwake.errors import RunError, require
from kikiwake.files import content_hash, replace_atomically, write_json
from kikiwake.parallel import map_isolated
from kikiwake.prediction._folding import fold_batch_norms
from kikiwake.prediction._scorers import noise, open_session
from kikiwake.run import Run, open_run

LARGEST_ERROR = 1e-4


def exported_network(run: Run, *, frames: int, start_method: str | None) -> tuple[Path, float]:
    """Return the run's network as an ONNX file and by how much its logits differ, relative to the largest.

    `frames`: samples of the windows that it will be given. It takes features `[B, C, F, N]`: the front end
    stays in torch, whose Fourier transform is several times as fast. The file is made where it is not there
    or belongs to other weights, in a process of its own, since exporting takes much memory.

    Raises:
        MissingExtra: the packages of the extra "onnx" are not installed.
        RunError: the network cannot be exported, or differs by more than 1e-4.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        require(package, extra="onnx")
    path = run.folder / "network.onnx"
    about = path.with_suffix(".onnx.json")
    wanted = {"weights": content_hash(run.model_file), "window_frames": frames, "torch": torch.__version__}
    known = _read(about)
    if path.is_file() and {key: known.get(key) for key in wanted} == wanted:
        return path, float(known["error"])
    about.unlink(missing_ok=True)
    task = (run.folder, path, frames)
    for _, result in map_isolated(_export, [task], workers=1, start_method=start_method):
        if result.value is None:
            raise RunError(
                f"the network cannot be exported: {result.error}", where=path, remedy="use the engine torch"
            )
        error = result.value
    if not error <= LARGEST_ERROR:
        raise RunError(
            f"the exported network's logits differ from torch's by {error:.1e} of the largest",
            where=path,
            remedy="use the engine torch",
        )
    write_json(about, {**wanted, "error": error})
    return path, error


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content


class _Clipwise(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.network(features).clipwise
        return logits


@torch.no_grad()
def _export(task: tuple[Path, Path, int]) -> float:
    folder, path, frames = task
    torch.set_num_threads(1)
    classifier = open_run(folder).classifier()
    features = classifier.frontend(noise(classifier, count=5, frames=frames))
    network = _Clipwise(fold_batch_norms(classifier.network, features[:2])).eval()
    with replace_atomically(path) as temporary:
        torch.onnx.export(
            network,
            (features[:2],),
            str(temporary),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=["features"],
            output_names=["logits"],
            external_data=False,
            verbose=False,
        )
    expected = classifier.network(features).clipwise
    found = torch.from_numpy(open_session(path).run(None, {"features": features.numpy()})[0])
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-6))
