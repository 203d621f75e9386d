"""Embeddings of music by MusicFM, a conformer trained on many thousand hours of songs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from kikiwake.errors import RecipeError, WeightsError
from kikiwake.frontends._frozen import FrozenEncoder, Pooling, chosen_layer
from kikiwake.frontends._hub import local_file
from kikiwake.frontends._musicfm_encoder import N_MELS, read_encoder, saved_encoder
from kikiwake.frontends._spectrogram import MelSpectrogram

SAMPLE_RATE = 24_000
HOP_LENGTH = 240

_REPOSITORY = "minzwon/MusicFM"


class Musicfm(FrozenEncoder):
    """MusicFM's vector of every 40 ms, or their mean or maximum over the clip (Won, Hung & Le 2024).

    "A foundation model for music informatics", arXiv 2311.03318: mel spectrogram in dB, two residual
    convolutions, twelve conformer layers. The encoder is as published and is not trained any further. It
    takes 24 kHz and one channel; how large it is, its weights tell.

    Args:
        sample_rate: of the waveforms, in Hz; supplied by the pipeline.
        in_channels: of the waveforms; supplied by the pipeline.
        saved: tensors of a trained model; supplied by the pipeline, which then needs no file.
        weights: a local file (`pretrained_msd.pt`, or its tensors as safetensors), or its name on the Hugging
            Face hub, `hub:minzwon/MusicFM/pretrained_msd.pt`: then it is fetched once (1.3 GB).
        statistics: the file that lies beside the weights, with mean and deviation of the spectrograms that
            they were trained on: `msd_stats.json`, or `hub:minzwon/MusicFM/msd_stats.json`.
        layer: whose output is taken: 1 is the first conformer layer, -1 the last, 0 what goes into the first.
            Layers behind it are neither computed nor kept.
        pooling: over time: `mean`, `max`, or `none`.
        chunk_seconds: a longer clip is encoded in chunks of this length, which do not see each other, and
            joined again; see `kikiwake.frontends._frozen`. The published model was trained on 30 s.

    Shape: `[B, 1, T]` -> `[B, out_channels, N]`, N = 1, or `frames(T)` without pooling.

    Raises:
        RecipeError: another sample rate, several channels, no such layer, no file named.
        WeightsError: the files cannot be had, or are not those of a MusicFM.
    """

    output: ClassVar[Literal["picture", "sequence"]] = "sequence"
    cached: ClassVar[bool] = True
    example: ClassVar[dict[str, Any] | None] = None  # there is none without files

    level_mean: Tensor
    level_deviation: Tensor

    def __init__(
        self,
        *,
        sample_rate: int,
        in_channels: int,
        saved: Mapping[str, Tensor] | None = None,
        weights: str | None = None,
        statistics: str | None = None,
        layer: int = -1,
        pooling: Pooling = "mean",
        chunk_seconds: Annotated[float, Field(ge=1)] = 30.0,
    ) -> None:
        super().__init__(
            title="MusicFM",
            sample_rate=sample_rate,
            expected_rate=SAMPLE_RATE,
            in_channels=in_channels,
            pooling=pooling,
            chunk_seconds=chunk_seconds,
        )
        mean, deviation = (0.0, 1.0)
        if saved is None:
            mean, deviation = _levels(_file(statistics, key="statistics", published="msd_stats.json"))
        # Part of the state, by which features that are kept are told apart.
        self.register_buffer("level_mean", torch.tensor(mean))
        self.register_buffer("level_deviation", torch.tensor(deviation))
        self.mel = MelSpectrogram(
            sample_rate=SAMPLE_RATE,
            n_fft=2048,
            hop_length=HOP_LENGTH,
            win_length=None,
            n_mels=N_MELS,
            f_min=0.0,
            f_max=None,
            mel_scale="htk",
            mel_norm=None,
            power=2.0,
            padding="reflect",
            decibels=True,
            amin=1e-10,
            ref=1.0,
            top_db=None,
        )
        if saved is None:
            self.encoder = read_encoder(_file(weights, key="weights", published="pretrained_msd.pt"))
            self.encoder.conformer.shorten(chosen_layer(layer, depth=self.encoder.depth))
        else:
            self.encoder = saved_encoder(saved, prefix="encoder.")
        self.out_channels = self.encoder.width
        self.requires_grad_(False).eval()

    def encode(self, chunks: Tensor) -> Tensor:
        """Return the vectors of chunks of one length. Shape: `[M, T]` -> `[M, N, D]`."""
        with torch.autocast(chunks.device.type, enabled=False):
            # The frame centred behind the last hop is left out, as in training.
            levels = self.mel(chunks)[..., : chunks.shape[-1] // HOP_LENGTH]
            levels = (levels - self.level_mean) / self.level_deviation
        found: Tensor = self.encoder(levels)
        return found

    def chunk_frames(self, samples: int) -> int:
        """Return the number of vectors of a chunk: one to four frames of the spectrogram."""
        return math.ceil(samples // HOP_LENGTH / 4)


def _file(name: str | None, *, key: str, published: str) -> Path:
    """Return where the file lies that a recipe names by `key`."""
    if name is None:
        raise RecipeError(
            f"MusicFM needs a file such as {published}",
            where=f"frontend.{key}",
            remedy=f"download it from https://huggingface.co/{_REPOSITORY} and give its path, or write "
            f"hub:{_REPOSITORY}/{published} for it to be fetched",
        )
    return local_file(name, where=f"frontend.{key}")


def _levels(path: Path) -> tuple[float, float]:
    """Return mean and standard deviation, in dB, of the spectrograms that MusicFM was trained on."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        mean, deviation = (float(content[f"melspec_2048_{what}"]) for what in ("mean", "std"))
    except OSError as error:
        what = f"the statistics cannot be read: {error.strerror or error}"
        raise WeightsError(what, where=path, remedy="check the path") from error
    except (ValueError, TypeError, KeyError) as error:
        raise WeightsError(
            f"these are not MusicFM's statistics: {type(error).__name__}: {error}",
            where=path,
            remedy="give the file with melspec_2048_mean and melspec_2048_std that lies beside the weights",
        ) from error
    if not math.isfinite(mean) or not 0 < deviation < math.inf:
        what = "mean and deviation must be finite, and the deviation above 0"
        raise WeightsError(what, where=path, value=(mean, deviation), remedy="download the file again")
    return mean, deviation
