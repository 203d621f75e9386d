"""An 8-bit copy of an exported network: calibrated on training clips, its error measured on others."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kikiwake.data import ClipReader, fill
from kikiwake.errors import AudioError, RunError
from kikiwake.files import replace_atomically
from kikiwake.prediction._scorers import open_session
from kikiwake.run import Run, open_run
from kikiwake.separation import separate_clips

CALIBRATION_WINDOWS, CHECK_WINDOWS = 48, 16
LARGEST_ERROR = 0.1
_BATCH = 4


@torch.no_grad()
def quantize(folder: Path, exact: Path, path: Path, frames: int) -> float:
    """Write the 8-bit copy of the network `exact` of the run `folder`; return by how much its logits differ.

    The difference is relative to the largest logit, on windows that were not used to calibrate. Weights have
    7 bits of the 8, since sums of larger ones overflow on processors without VNNI. `frames`: samples of a
    window.

    Source: Jacob et al., "Quantization and Training of Neural Networks", CVPR 2018, section 2 (the scheme).

    Raises:
        RunError: the training clips cannot be read.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    logging.disable(logging.WARNING)  # its hints are for those who call it by hand
    torch.set_num_threads(1)
    features = _features(open_run(folder), frames=frames)
    checked = max(1, len(features) * CHECK_WINDOWS // (CALIBRATION_WINDOWS + CHECK_WINDOWS))
    with replace_atomically(path) as temporary:
        quantize_static(
            str(exact),
            str(temporary),
            _Windows(features[checked:] if len(features) > checked else features),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
        )
    outputs = [open_session(network).run(None, {"features": features[:checked]}) for network in (exact, path)]
    return max(
        float(np.abs(found - expected).max() / max(1e-6, np.abs(expected).max()))
        for expected, found in zip(*outputs, strict=True)
    )


def separate_training_clips(run: Run) -> None:
    """Separate the clips that int8 is calibrated on, where the run's model hears stems that are not kept.

    Raises:
        RunError: they cannot be read.
    """
    say = logging.getLogger("kikiwake").info
    try:
        separate_clips(run.manifest, _calibrated_on(run), data=run.recipe.data, say=say)
    except AudioError as error:
        raise _unreadable(run, error) from error


def _calibrated_on(run: Run) -> list[int]:
    """Return training clips from all over the manifest, those that the error is measured on first."""
    clips = run.indices("train")
    wanted = min(len(clips), CALIBRATION_WINDOWS + CHECK_WINDOWS)
    # Neighbours in a manifest are often of one class: both parts get clips of all.
    chosen = np.array(clips)[np.linspace(0, len(clips) - 1, wanted).round().astype(int)]
    spread = np.argsort(np.arange(wanted) % (1 + CALIBRATION_WINDOWS // CHECK_WINDOWS), kind="stable")
    rows: list[int] = chosen[spread].tolist()
    return rows


def _unreadable(run: Run, error: AudioError) -> RunError:
    return RunError(
        f"int8 is calibrated on training clips, and one cannot be read: {error}",
        where=run.folder,
        remedy="bring it back, or use the precision fp32",
    )


def _features(run: Run, *, frames: int) -> np.ndarray:
    """Return what the network sees of the middles of training clips."""
    data, clips = run.recipe.data, _calibrated_on(run)
    reader = ClipReader(run.manifest, data=data)
    wanted = len(clips)
    waveforms = np.zeros((wanted, data.waveform_channels, frames), np.float32)
    lengths = np.empty(wanted, np.int64)
    for row, clip in enumerate(clips):
        try:
            total = reader.total(clip)
            sound = reader.read(clip, max(0, (total - frames) // 2), min(frames, total))
        except AudioError as error:
            raise _unreadable(run, error) from error
        fill(waveforms[row], sound, pad=data.pad)
        lengths[row] = sound.shape[1] if data.pad == "zero" else frames
    classifier = run.classifier()
    found = [
        classifier.frontend(
            torch.from_numpy(waveforms[at : at + _BATCH]), lengths=torch.from_numpy(lengths[at : at + _BATCH])
        )
        for at in range(0, wanted, _BATCH)
    ]
    return np.ascontiguousarray(torch.cat(found).numpy())


class _Windows:
    """Features in batches, as ONNX Runtime's calibration asks for them."""

    def __init__(self, features: np.ndarray) -> None:
        self._batches = iter(np.split(features, range(_BATCH, len(features), _BATCH)))

    def get_next(self) -> dict[str, Any] | None:
        """Return the next batch, None after the last."""
        batch = next(self._batches, None)
        return None if batch is None else {"features": batch}
