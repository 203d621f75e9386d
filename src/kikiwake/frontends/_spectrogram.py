"""Mel spectrograms of waveforms, equal to librosa's."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from kikiwake.errors import RecipeError
from kikiwake.frontends._filterbank import MelNorm, blocks, mel_filters
from kikiwake.mel_scale import MelScale

Padding = Literal["constant", "reflect", "none"]

_SAMPLES_AT_ONCE = 1 << 19
"""Windowed samples that one step takes on a CPU: 2 MiB, so that its results are still in the cache."""


class MelSpectrogram(nn.Module):
    """Energy in mel bands over time, linear or in decibels (`librosa.feature.melspectrogram`, `power_to_db`).

    Arguments are those of `kikiwake.frontends.mel.Mel`. A frame is centred on every `hop_length`-th sample,
    with `padding` at both ends; with `none` the first frame starts at the first sample. Input that is shorter
    than one window is filled with zeros.

    Shape: `[M, T]` -> `[M, n_mels, frames(T)]`; each of the M rows is a clip of its own.
    """

    window: Tensor
    filters: Tensor

    def __init__(
        self,
        *,
        sample_rate: int,
        n_fft: int,
        hop_length: int,
        win_length: int | None,
        n_mels: int,
        f_min: float,
        f_max: float | None,
        mel_scale: MelScale,
        mel_norm: MelNorm | None,
        power: float,
        padding: Padding,
        decibels: bool,
        amin: float,
        ref: float | Literal["max"],
        top_db: float | None,
    ) -> None:
        super().__init__()
        win_length = n_fft if win_length is None else win_length
        f_max = sample_rate / 2 if f_max is None else f_max
        _check(
            sample_rate=sample_rate,
            n_fft=n_fft,
            win_length=win_length,
            f_min=f_min,
            f_max=f_max,
            decibels=decibels,
            top_db=top_db,
        )
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.power = power
        self.padding = padding
        self.margin = 0 if padding == "none" else n_fft // 2
        self.decibels = decibels
        self.amin = amin
        self.ref = ref
        self.top_db = top_db
        left = (n_fft - win_length) // 2
        window = torch.hann_window(win_length, dtype=torch.float64).float()
        window = functional.pad(window, (left, n_fft - win_length - left))
        filters = mel_filters(
            sample_rate=sample_rate,
            n_fft=n_fft,
            n_mels=n_mels,
            f_min=f_min,
            f_max=f_max,
            scale=mel_scale,
            norm=mel_norm,
        )
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("filters", torch.from_numpy(filters), persistent=False)
        self.blocks = blocks(filters)

    def frames(self, samples: int) -> int:
        """Return the number of frames of a clip of `samples` samples."""
        return 1 + max(0, samples + 2 * self.margin - self.n_fft) // self.hop_length

    def valid(self, lengths: Tensor, *, frames: int) -> Tensor:
        """Return which of `frames` frames belong to clips of `lengths` samples, not to padding behind them.

        Shape: `[M]` -> bool `[M, 1, N]`.
        """
        starts = torch.arange(frames, device=lengths.device) * self.hop_length
        last = (lengths + 2 * self.margin - self.n_fft).clamp(min=0)
        return (starts <= last[:, None])[:, None]

    def forward(self, rows: Tensor) -> Tensor:
        """Return the mel spectrogram of each row."""
        frames = self._pad(rows).unfold(-1, self.n_fft, self.hop_length)
        if rows.device.type != "cpu" or torch.compiler.is_compiling():
            return self._scale(self.filters @ self._energy(frames).transpose(-1, -2))
        mel = rows.new_empty(len(rows), len(self.filters), frames.shape[1])
        for row, found in zip(frames, mel, strict=True):
            self._fill(found, row)
        return self._scale(mel)

    def _fill(self, mel: Tensor, frames: Tensor) -> None:
        """Write the energy in each band to `mel`, in steps that stay in a CPU's cache.

        Shape: frames `[N, n_fft]`, mel `[n_mels, N]`.
        """
        step = max(1, _SAMPLES_AT_ONCE // self.n_fft)
        weights = [self.filters[block.filters, block.bins] for block in self.blocks]
        heights = [len(block) for block in weights]
        for some, found in zip(torch.split(frames, step), torch.split(mel, step, dim=1), strict=True):
            energy = self._energy(some).T
            for block, weight, bands in zip(self.blocks, weights, torch.split(found, heights), strict=True):
                torch.mm(weight, energy[block.bins], out=bands)

    def _pad(self, rows: Tensor) -> Tensor:
        samples = rows.shape[-1]
        if self.padding == "reflect" and 0 < samples <= self.margin:
            # Reflected more than once, to and fro between both ends, as numpy does.
            positions = torch.arange(-self.margin, samples + self.margin, device=rows.device)
            period = max(1, 2 * (samples - 1))
            positions = positions % period
            return rows[:, torch.minimum(positions, period - positions).clamp(max=samples - 1)]
        if self.padding == "reflect" and samples:
            return functional.pad(rows, (self.margin, self.margin), mode="reflect")
        missing = max(0, self.n_fft - samples - 2 * self.margin)
        before = rows.new_zeros(rows.shape[0], self.margin)
        after = rows.new_zeros(rows.shape[0], self.margin + missing)
        return torch.cat([before, rows, after], dim=1)

    def _energy(self, frames: Tensor) -> Tensor:
        """Magnitude or power of the Fourier transform. Shape: `[..., N, n_fft]` -> `[..., N, bins]`."""
        spectrum = torch.view_as_real(torch.fft.rfft(frames * self.window)).square_()
        energy = spectrum[..., 0] + spectrum[..., 1]
        return energy.sqrt_() if self.power == 1.0 else energy

    def _scale(self, mel: Tensor) -> Tensor:
        """Turn energy into decibels, where asked. A magnitude m counts as the power m squared."""
        if not self.decibels:
            return mel
        factor = 10.0 * (2.0 / self.power)
        floor = self.amin ** (self.power / 2.0)
        levels = mel.clamp_(min=floor).log10_().mul_(factor)
        if self.ref == "max":
            levels = levels - levels.amax(dim=(1, 2), keepdim=True)
        elif self.ref != 1.0:
            levels = levels - 10.0 * math.log10(max(self.amin, self.ref))
        if self.top_db is not None:
            levels = torch.maximum(levels, levels.amax(dim=(1, 2), keepdim=True) - self.top_db)
        return levels


def _check(
    *,
    sample_rate: int,
    n_fft: int,
    win_length: int,
    f_min: float,
    f_max: float,
    decibels: bool,
    top_db: float | None,
) -> None:
    """Refuse arguments that contradict each other."""
    if n_fft < 2:
        raise RecipeError(
            "n_fft is too small", where="mel.n_fft", value=n_fft, remedy="give at least 2 samples"
        )
    if win_length > n_fft:
        raise RecipeError(
            "the window is longer than the Fourier transform",
            where="mel.win_length",
            value=win_length,
            remedy=f"give at most n_fft = {n_fft}",
        )
    if f_max > sample_rate / 2:
        raise RecipeError(
            f"f_max lies above half the sample rate of {sample_rate} Hz",
            where="mel.f_max",
            value=f_max,
            remedy=f"give at most {sample_rate / 2:g}, or leave it empty for just that",
        )
    if f_min >= f_max:
        raise RecipeError(
            "f_min is not below f_max", where="mel.f_min", value=f_min, remedy=f"give less than {f_max:g}"
        )
    if top_db is not None and not decibels:
        raise RecipeError(
            "top_db needs decibels",
            where="mel.top_db",
            value=top_db,
            remedy="set decibels: true or remove it",
        )
