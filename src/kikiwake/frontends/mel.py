"""Mel spectrograms as pictures for a network: one or several resolutions, normalised and resized."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from pydantic import AfterValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import TypedDict

from kikiwake.errors import RecipeError
from kikiwake.frontends import _normalise
from kikiwake.frontends._filterbank import MelNorm
from kikiwake.frontends._spectrogram import MelSpectrogram, Padding
from kikiwake.frontends._threads import each_row
from kikiwake.mel_scale import MelBands, MelScale

Count = Annotated[int, Field(ge=1)]
Window = Annotated[int, Field(ge=2)]
Hertz = Annotated[float, Field(ge=0)]
Power = Annotated[float, Field(ge=1, le=2, multiple_of=1)]
Positive = Annotated[float, Field(gt=0)]


class Resolution(TypedDict, total=False):
    """What one more spectrogram does differently from the first."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc] # pydantic's own way to refuse others

    n_fft: Window
    hop_length: Count
    win_length: Count
    n_mels: Count
    f_min: Hertz
    f_max: Hertz


def _known(node: str | dict[str, Any]) -> str | dict[str, Any]:
    try:
        _normalise.checked(node)
    except RecipeError as error:
        # Braces are placeholders to pydantic.
        raise PydanticCustomError("normalise", "{message}", {"message": str(error)}) from None
    return node


class Mel(nn.Module):
    """Mel spectrogram (Davis and Mermelstein 1980), equal to librosa's, inside the model.

    Args:
        sample_rate: of the waveforms, in Hz; supplied by the pipeline.
        in_channels: of the waveforms; supplied by the pipeline. Each is treated as a clip of its own.
        n_fft: length of the Fourier transform in samples.
        hop_length: samples from one frame to the next.
        win_length: length of the Hann window in samples, centred in `n_fft`; empty means `n_fft`.
        n_mels: number of bands.
        f_min: lower end of the lowest band in Hz.
        f_max: upper end of the highest band in Hz; empty means half the sample rate.
        mel_scale: `slaney` or `htk`.
        mel_norm: `slaney` gives every filter the same area, empty the same peak.
        power: 2 sums power in each band, 1 magnitude.
        padding: what lies before the first and behind the last sample, where a window reaches over it:
            `constant` (zeros, librosa's default), `reflect`, or `none` (no window reaches over it).
        decibels: 10 log10 of the power in each band (a magnitude is squared first).
        amin: the least power that counts, so that silence has a level.
        ref: the power of 0 dB; `max` is the loudest of the clip.
        top_db: lowers the range: nothing lies more than this below the loudest of the clip; empty means off.
        normalise: `none`, `standardise_channel`, `offset_scale`, `image_8bit`, `batch_norm` or
            `batch_norm_bins`, or, to set its numbers, a mapping such as `{name: offset_scale, offset: 80,
            scale: 80}`; see `kikiwake.frontends._normalise`.
        size: height and width that the picture is resized to (bilinear, antialiased); empty leaves it.
        resolutions: further spectrograms, each a mapping of what it does differently (`{n_fft: 4096,
            hop_length: 256}`). They are resized to the first one's shape and follow it as more channels.

    Shape: `[B, C, T]` -> `[B, out_channels, F, N]`, F = `n_mels` and N = `frames(T)` unless resized.

    On a CPU each clip is computed by one thread, and the result is the same to the last bit in any batch and
    with any number of threads. The spectrogram is float32 under autocast too, and has no gradient.

    Raises:
        RecipeError: arguments contradict each other or the sample rate.
    """

    output: ClassVar[Literal["picture", "sequence"]] = "picture"
    cached: ClassVar[bool] = False
    example: ClassVar[dict[str, Any]] = {"n_fft": 512, "hop_length": 256, "n_mels": 32}

    def __init__(
        self,
        *,
        sample_rate: int,
        in_channels: int,
        n_fft: Window,
        hop_length: Count,
        win_length: Count | None = None,
        n_mels: Count,
        f_min: Hertz = 0.0,
        f_max: Hertz | None = None,
        mel_scale: MelScale = "slaney",
        mel_norm: MelNorm | None = "slaney",
        power: Power = 2.0,
        padding: Padding = "constant",
        decibels: bool = True,
        amin: Positive = 1e-10,
        ref: Positive | Literal["max"] = 1.0,
        top_db: Annotated[float, Field(ge=0)] | None = None,
        normalise: Annotated[str | dict[str, Any], AfterValidator(_known)] = "none",
        size: tuple[Count, Count] | None = None,
        resolutions: Sequence[Resolution] = (),
    ) -> None:
        super().__init__()
        first: dict[str, Any] = {
            "n_fft": n_fft,
            "hop_length": hop_length,
            "win_length": win_length,
            "n_mels": n_mels,
            "f_min": f_min,
            "f_max": f_max,
        }
        spectrogram = partial(
            MelSpectrogram,
            sample_rate=sample_rate,
            mel_scale=mel_scale,
            mel_norm=mel_norm,
            power=power,
            padding=padding,
            decibels=decibels,
            amin=amin,
            ref=ref,
            top_db=top_db,
        )
        self.size = size
        self.height = n_mels if size is None else size[0]
        self.out_channels = in_channels * (1 + len(resolutions))
        each = [{**first, **other} for other in ({}, *resolutions)]
        self.spectrograms = nn.ModuleList(spectrogram(**one) for one in each)
        tops = [sample_rate / 2 if one["f_max"] is None else one["f_max"] for one in each]
        self.mel_bands = [
            MelBands(one["n_mels"], one["f_min"], top, mel_scale) for one, top in zip(each, tops, strict=True)
        ]
        self.normalisation = _normalise.build(normalise, channels=self.out_channels, bins=self.height)

    def frames(self, samples: int) -> int:
        """Return the width of the picture of a clip of `samples` samples."""
        if self.size is not None:
            return self.size[1]
        return self._spectrograms()[0].frames(samples)

    def forward(self, waveform: Tensor, *, lengths: Tensor | None = None) -> Tensor:
        """Return the pictures of a batch.

        Shape: `[B, C, T]` -> `[B, out_channels, F, N]`. `lengths` `[B]`: samples of each clip before it was
        padded; without it all T belong to the clip.
        """
        if torch.compiler.is_compiling():
            pictures = self._pictures(waveform.float(), lengths)
        elif waveform.device.type == "cpu":
            pictures = self._clip_by_clip(waveform, lengths)
        else:
            with torch.no_grad(), torch.autocast(waveform.device.type, enabled=False):
                pictures = self._pictures(waveform.float(), lengths)
        return self.normalisation.batchwise(pictures)

    def _clip_by_clip(self, waveform: Tensor, lengths: Tensor | None) -> Tensor:
        """Return the pictures of a batch on a CPU, where a clip at a time stays in the cache."""
        batch, channels, samples = waveform.shape
        inference = torch.is_inference_mode_enabled()
        shape = (batch, self.out_channels, self.height, self.frames(samples))
        pictures = torch.empty(shape, dtype=torch.float32)

        def fill(row: int) -> None:
            clip, channel = slice(row // channels, row // channels + 1), slice(row % channels, None, channels)
            length = None if lengths is None else lengths[clip]
            # A thread has modes of its own; leaving inference mode turns gradients on.
            with torch.inference_mode(inference), torch.no_grad(), torch.autocast("cpu", enabled=False):
                one = waveform[clip, row % channels : row % channels + 1].float()
                pictures[clip, channel] = self._pictures(one, length)

        each_row(fill, batch * channels)
        return pictures

    def _pictures(self, waveform: Tensor, lengths: Tensor | None) -> Tensor:
        """Return the picture of each channel in each resolution, the first resolution's channels first.

        Shape: `[B, C, T]` -> `[B, R * C, F, N]`.
        """
        batch, channels, _ = waveform.shape
        rows = waveform.flatten(0, 1)
        if lengths is not None:
            lengths = lengths.to(rows.device).repeat_interleave(channels)
        size = self.size
        pictures: list[Tensor] = []
        for spectrogram in self._spectrograms():
            features = spectrogram(rows)
            valid = None if lengths is None else spectrogram.valid(lengths, frames=features.shape[-1])
            features = self.normalisation.clipwise(features, valid=valid)
            picture = features.view(batch, channels, *features.shape[1:])
            size = size or (self.height, features.shape[-1])
            if picture.shape[-2:] != size:
                picture = functional.interpolate(picture, size, mode="bilinear", antialias=True)
            pictures.append(picture)
        return torch.cat(pictures, dim=1) if len(pictures) > 1 else pictures[0]

    def _spectrograms(self) -> list[MelSpectrogram]:
        return cast(list[MelSpectrogram], list(self.spectrograms))
