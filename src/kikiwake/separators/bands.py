"""A stand-in for a separator: sound that lasts and sound that strikes, and three bands of the former.

It needs no weights and knows nothing of instruments: its stems bear the names of Demucs's so that a recipe
can be tried, tested and taught without a download. It does not separate sources.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from kikiwake.errors import RecipeError

_WINDOW_SECONDS, _HOP_SECONDS = 6.0, 4.5
_FRAME_SECONDS = 0.1
_MEDIAN = 17
"""Frames, and bins, around a point of the spectrogram that say whether it lasts or strikes."""
_SLOPE = 8
"""Of the bands' edges: 8 is 24 dB an octave."""


class Bands:
    """Splits a mixture by duration and pitch; the four stems sum to the mixture.

    What strikes is "drums". Of what lasts, pitches below `bass_below_hz` are "bass", those above it and below
    `vocals_below_hz` "vocals", the others "other".

    Source: Fitzgerald, "Harmonic/percussive separation using median filtering", DAFx 2010 (soft masks).

    Shape: `[B, 1, T]` -> `[B, 4, T]`.

    Raises:
        RecipeError: the bands do not ascend.
    """

    stems: ClassVar[tuple[str, ...]] = ("drums", "bass", "other", "vocals")
    free: ClassVar[frozenset[str]] = frozenset()
    example: ClassVar[dict[str, Any]] = {}
    channels, batch_size, identity, device = 1, 1, "", torch.device("cpu")
    saves_memory = ""

    def __init__(
        self,
        *,
        sample_rate: int,
        bass_below_hz: Annotated[float, Field(gt=0)] = 250.0,
        vocals_below_hz: Annotated[float, Field(gt=0)] = 4000.0,
    ) -> None:
        if bass_below_hz >= vocals_below_hz:
            raise RecipeError(
                "the bands must ascend",
                where="data.separator.bass_below_hz",
                value=bass_below_hz,
                remedy=f"give less than vocals_below_hz, {vocals_below_hz:g}",
            )
        self.sample_rate = sample_rate
        self.window = round(_WINDOW_SECONDS * sample_rate)
        self.hop = round(_HOP_SECONDS * sample_rate)
        self.n_fft = 2 ** round(torch.log2(torch.tensor(_FRAME_SECONDS * sample_rate)).item())
        self.edges = bass_below_hz, vocals_below_hz

    @torch.inference_mode()
    def __call__(self, mixture: Tensor) -> Tensor:
        """Return the stems of windows."""
        frames = torch.hann_window(self.n_fft)
        settings = {"n_fft": self.n_fft, "hop_length": self.n_fft // 4, "window": frames}
        spectrum = torch.stft(mixture[:, 0], **settings, return_complex=True)
        masks = self._masks(spectrum.abs())
        parts = (masks * spectrum[:, None]).flatten(0, 1)
        stems: Tensor = torch.istft(parts, **settings, length=mixture.shape[-1])
        return stems.reshape(len(mixture), len(self.stems), -1)

    def _masks(self, magnitude: Tensor) -> Tensor:
        """Return what share of each point belongs to each stem. Shape: `[B, F, N]` -> `[B, S, F, N]`."""
        lasting = _median(magnitude).square()
        striking = _median(magnitude.transpose(1, 2)).transpose(1, 2).square()
        lasts = lasting / (lasting + striking).clamp(min=1e-20)
        pitch = torch.fft.rfftfreq(self.n_fft, 1 / self.sample_rate)[:, None]
        low, below = (1 / (1 + (pitch / edge) ** _SLOPE) for edge in self.edges)
        bass, rest = lasts * low, lasts * (1 - low)
        return torch.stack([1 - lasts, bass, rest * (1 - below), rest * below], 1)


def _median(magnitude: Tensor) -> Tensor:
    """Return the median of each point and its neighbours along the last axis. Shape: `[B, M, N]` -> same."""
    half = _MEDIAN // 2
    padded = np.pad(magnitude.numpy(), ((0, 0), (0, 0), (half, half)), mode="edge")
    around = np.lib.stride_tricks.sliding_window_view(padded, _MEDIAN, axis=-1)
    # A partition takes a sixth of the time of torch's median, which sorts.
    return torch.from_numpy(np.partition(around, half, axis=-1)[..., half])
