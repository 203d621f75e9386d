"""Descriptors of a spectrum: where its energy lies, and how it is spread. Equal to librosa's.

Spectra are the power `[N, F]` of N frames; each function returns one row or more over time, `[R, N]`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from kikiwake.frontends._vectorised import extremes, greater

CONTRAST_START_HZ = 200.0
CONTRAST_BANDS = 6
CONTRAST_SHARE = 0.02
ROLLOFF_SHARE = 0.85
TREND_FRAMES = 9
BINS_A_STRETCH = 32
SILENCE = 1e-10
"""Samples up to this count as 0 when signs are counted; less power than this counts as this in dB."""


def decibels(power: Tensor, *, top_db: float | None = None) -> Tensor:
    """Return 10 log10 of power; `top_db`: nothing lies more than this below the loudest of `[R, N]`."""
    levels = 10.0 * power.clamp(min=SILENCE).log10()
    if top_db is None:
        return levels
    return torch.maximum(levels, levels.amax(dim=(-2, -1), keepdim=True) - top_db)


def rms(power: Tensor, *, n_fft: int) -> Tensor:
    """Return the root mean square of each frame by Parseval's theorem: `[..., N, F]` -> `[..., 1, N]`."""
    ends = power[..., 0] + (power[..., -1] if n_fft % 2 == 0 else 0.0)
    return (2 * (power.sum(-1) - 0.5 * ends)).sqrt().div(n_fft)[..., None, :]


def zero_crossing_rate(waveform: Tensor, *, frame_length: int, hop_length: int) -> Tensor:
    """Return the share of samples in each frame whose sign differs from the one before: `[1, N]`.

    Shape: waveform `[T]`.
    """
    half = frame_length // 2
    negative = greater(waveform.new_tensor(-SILENCE), waveform)
    # The first and the last sample go on for ever, so that no sign differs before and behind the clip.
    changes = functional.pad(negative[1:] != negative[:-1], (half, half + 1))
    frames = 1 + (len(changes) - frame_length) // hop_length
    block = math.gcd(frame_length, hop_length)
    counts = changes[: len(changes) // block * block].view(-1, block).sum(-1, dtype=torch.int32)
    a_frame = counts.unfold(0, frame_length // block, hop_length // block)[:frames].sum(-1)
    # The change from a frame's last sample to the next frame's first is in neither.
    between = changes[frame_length - 1 :: hop_length][:frames]
    return (a_frame - between.to(a_frame)).float().div(frame_length)[None]


def stretch_weights() -> Tensor:
    """Return 1, d and d squared for each of 32 bins, d being its distance from their middle: `[3, 32]`."""
    distance = torch.arange(BINS_A_STRETCH) - (BINS_A_STRETCH - 1) / 2
    return torch.stack([distance**power for power in range(3)])


def stretch_sums(magnitudes: Tensor, weights: Tensor) -> Tensor:
    """Return sums over every 32 bins of their magnitudes times `stretch_weights`: `[N, F]` -> `[3, N, S]`.

    F is a multiple of 32.
    """
    return (weights @ magnitudes.view(-1, BINS_A_STRETCH).T).view(3, len(magnitudes), -1)


def centroid_and_bandwidth(sums: Tensor, *, bin_hz: float) -> tuple[Tensor, Tensor]:
    """Return the mean frequency and the spread about it in Hz, both `[1, N]`, of `stretch_sums`."""
    total = sums[0].sum(-1)
    total = torch.where(total > torch.finfo(total.dtype).tiny, total, 1.0)
    middles = BINS_A_STRETCH * (torch.arange(sums.shape[-1], device=sums.device) + 0.5) - 0.5
    centre = (sums[0] @ middles + sums[1].sum(-1)) / total
    # Not the mean square less the squared mean, whose difference has no digits left for a high tone: each
    # stretch is moved by its middle's distance from the centre, which is short where the magnitudes are.
    away = middles - centre[:, None]
    squares = (sums[0] * away + 2 * sums[1]) * away + sums[2]
    spread = (squares.sum(-1) / total).clamp(min=0).sqrt()
    return bin_hz * centre[None], bin_hz * spread[None]


def rolloff(power: Tensor, sums: Tensor, *, bin_hz: float) -> Tensor:
    """Return the frequency in Hz below which lies 85 % of the magnitude: `[1, N]`.

    `stretch_sums` tell where to look; the running sum is made there alone.

    Shape: power `[N, F]`, F a multiple of 32.
    """
    running = sums[0].cumsum(-1)
    wanted = ROLLOFF_SHARE * running[:, -1:]
    stretch = torch.searchsorted(running, wanted).clamp(max=running.shape[-1] - 1)
    before = torch.where(stretch > 0, running.gather(1, (stretch - 1).clamp(min=0)), 0.0)
    at = stretch[..., None].expand(-1, -1, BINS_A_STRETCH)
    inside = power.view(*running.shape, BINS_A_STRETCH).gather(1, at)[:, 0].sqrt().cumsum(-1)
    within = torch.searchsorted(inside, wanted - before)[:, 0].clamp(max=BINS_A_STRETCH - 1)
    return (bin_hz * (BINS_A_STRETCH * stretch[:, 0] + within))[None]


class Band(NamedTuple):
    """Frequency bins of a band of the spectral contrast, and how many of them make its peak and valley."""

    first: int
    end: int
    extremes: int


def contrast_bands(frequencies: Tensor) -> Iterator[Band]:
    """Yield the bands: below 200 Hz, octaves above it, and all that is left above those.

    A band begins one bin before its lower end, and all but the last leave out their last bin.
    """
    edges = [0.0, *(CONTRAST_START_HZ * 2.0**octave for octave in range(CONTRAST_BANDS + 1))]
    for number, (low, high) in enumerate(pairwise(edges)):
        inside = ((frequencies >= low) & (frequencies <= high)).nonzero()[:, 0]
        first, end = int(inside[0]) - (number > 0), int(inside[-1]) + 1
        if number == CONTRAST_BANDS:
            end = len(frequencies)
        count = max(1, round(CONTRAST_SHARE * (end - first)))
        yield Band(first, end - (number < CONTRAST_BANDS), count)


def contrast(power: Tensor, bands: tuple[Band, ...]) -> Tensor:
    """Return how far the peaks of each band stand above its valleys: `[N, F]` -> `[7, N]`.

    Both are means of the largest and of the smallest magnitudes, of which librosa, and this, takes dB as if
    they were power.

    Jiang et al. 2002, "Music type classification by spectral contrast feature".
    """
    peaks, valleys = [], []
    for first, end, count in bands:
        band = power[:, first:end]
        if count == 1:
            peaks.append(band.amax(-1).sqrt())
            valleys.append(band.amin(-1).sqrt())
            continue
        smallest, largest = extremes(band, count)
        peaks.append(largest.sqrt().mean(-1))
        valleys.append(smallest.sqrt().mean(-1))
    return decibels(torch.stack(peaks), top_db=80.0) - decibels(torch.stack(valleys), top_db=80.0)


def cosine_basis(inputs: int, outputs: int) -> Tensor:
    """Return the orthonormal cosine transform (DCT-II) that makes MFCCs: `[outputs, inputs]`."""
    order = torch.arange(outputs, dtype=torch.float64)[:, None]
    places = torch.arange(inputs, dtype=torch.float64) + 0.5
    basis = (math.pi / inputs * order * places).cos() * math.sqrt(2 / inputs)
    basis[0] /= math.sqrt(2)
    return basis.float()


def trend(rows: Tensor, *, order: Literal[1, 2]) -> Tensor:
    """Return the first or second derivative of rows over time: `[R, N]` -> `[R, N]`.

    A straight line or a parabola is fitted to nine frames about each (Savitzky & Golay 1964); the first and
    last four frames have what is fitted to the nine at their end. Rows of fewer than nine are lengthened.
    """
    half = TREND_FRAMES // 2
    missing = max(0, TREND_FRAMES - rows.shape[1])
    lengthened = torch.cat([rows, rows[:, -1:].expand(-1, missing)], dim=1)
    places = torch.arange(-half, half + 1, dtype=torch.float64)
    powers = torch.stack([places**power for power in range(order + 1)], dim=1)
    taps = (order * torch.linalg.pinv(powers)[order]).to(rows)
    inner = lengthened.unfold(1, TREND_FRAMES, 1) @ taps
    ends = inner[:, :1].expand(-1, half), inner[:, -1:].expand(-1, half)
    return torch.cat([ends[0], inner, ends[1]], dim=1)[:, : rows.shape[1]]
