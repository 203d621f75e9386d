"""Demucs: vocals, drums, bass and the rest of a piece of music.

Source: Rouard, Massa and Défossez, "Hybrid Transformers for Music Source Separation", ICASSP 2023.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from kikiwake.devices import find_device
from kikiwake.errors import RecipeError
from kikiwake.separators._demucs_files import read_bag


class Demucs:
    """Separates with a model of Demucs, of the extra `stems`; deterministic.

    Args:
        model: a bag (`htdemucs`, `htdemucs_ft`, `htdemucs_6s`, ...) or a single model's name.
        folder: where the model lies; null for what was fetched from the Hugging Face hub.
        download: fetch from there what is not on this machine yet. Nothing else uses the network.
        segment_seconds: what is separated at once; null for the model's own. Transformers take no more.
        overlap: of one segment with the next, as a share.
        device: "auto" takes a GPU where there is one; under `torchrun` each process has its own.
        batch_size: segments at once.

    The stems equal those of Demucs's `apply_model` with `shifts=0` within rounding, each mixed down to one
    channel. (Demucs's command line also scales a whole track to unit deviation first. Its networks do that to
    every segment, so all that it changes is by how much a constant of 1e-5 keeps silence from being raised.)
    Models of version 2, which hear more than a segment, get silence around it.

    Shape: `[B, C, T]` -> `[B, S, T]`.

    Raises:
        WeightsError: the model cannot be had or is unsafe to read.
        RecipeError: the segment is longer than the model's.
        MissingExtra: Demucs is not installed.
    """

    stems: ClassVar[tuple[str, ...]] = ("drums", "bass", "other", "vocals")
    free: ClassVar[frozenset[str]] = frozenset({"folder", "download", "device", "batch_size"})
    example: ClassVar[dict[str, Any] | None] = None
    saves_memory = (
        "data.separator.batch_size: 1, data.separator.device: cpu or, of a model that is no transformer, a "
        "shorter data.separator.segment_seconds"
    )

    def __init__(
        self,
        *,
        model: str = "htdemucs",
        folder: Path | None = None,
        download: bool = False,
        segment_seconds: Annotated[float, Field(gt=0)] | None = None,
        overlap: Annotated[float, Field(ge=0, lt=0.9)] = 0.25,
        device: str = "auto",
        batch_size: Annotated[int, Field(ge=1)] = 1,
    ) -> None:
        bag = read_bag(model, folder=folder, download=download)
        self.models, self.weights = bag.models, torch.tensor(bag.weights, dtype=torch.float32)
        first = cast(Any, bag.models[0])
        self.stems = tuple(first.sources)  # type: ignore[misc] # of this model
        self.sample_rate, self.channels = int(first.samplerate), int(first.audio_channels)
        self.identity = bag.identity
        self.batch_size = batch_size
        self.device = find_device(device, where="data.separator.device")
        own = min(float(cast(Any, one).segment) for one in bag.models)
        seconds = segment_seconds or bag.segment_seconds or own
        if seconds > own and any(hasattr(one, "crosstransformer") for one in bag.models):
            raise RecipeError(
                f"'{model}' separates at most {own:g} s at once",
                where="data.separator.segment_seconds",
                value=seconds,
                remedy="give less, or null; recordings may be of any length",
            )
        self.window = int(self.sample_rate * seconds)
        self.hop = int((1 - overlap) * self.window)
        for one in self.models:
            one.to(self.device)

    @torch.inference_mode()
    def __call__(self, mixture: Tensor) -> Tensor:
        """Return the stems of windows."""
        heard = mixture.to(self.device)
        total = torch.zeros(())
        for model, weights in zip(self.models, self.weights, strict=True):
            total = total + self._asked(model, heard) * weights[:, None]
        return total / self.weights.sum(0)[:, None]

    def _asked(self, model: Any, mixture: Tensor) -> Tensor:
        """Return one model's stems, on the CPU."""
        samples = mixture.shape[-1]
        missing = 0
        if hasattr(model, "valid_length") and not hasattr(model, "crosstransformer"):
            missing = max(0, model.valid_length(samples) - samples)
        before = missing // 2
        found: Tensor = model(functional.pad(mixture, (before, missing - before)))
        return found[..., before : before + samples].mean(2).float().cpu()
