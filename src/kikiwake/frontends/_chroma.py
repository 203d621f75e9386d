"""Energy in the twelve pitch classes, by Fourier and by constant-Q transform. Equal to librosa's."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

A0_HZ = 27.5
"""Octaves are counted from here."""

C1_HZ = 440.0 * 2.0 ** ((24 - 69) / 12)
OCTAVES = 7
PITCHES = 12
SMOOTHING_FRAMES = 41

_LOWEST_HZ, _HIGHEST_HZ = 150.0, 4000.0
_REACH, _AT_ONCE = 95, 64
_RESOLUTION = 100
"""Tuning is told in hundredths of a semitone."""


def normalised(values: Tensor, *, order: float) -> Tensor:
    """Return the columns of `[..., R, N]` with norm 1; those without energy stay as they are."""
    norms = torch.linalg.vector_norm(values, ord=order, dim=-2, keepdim=True)
    return values / torch.where(norms > torch.finfo(values.dtype).tiny, norms, 1.0)


def tuning_step(spectrum: Tensor, *, sample_rate: int, n_fft: int) -> int:
    """Return by how many hundredths of a semitone a recording is tuned above 440 Hz, from -50 to 49.

    Local maxima of the spectrum between 150 and 4000 Hz, from a tenth of their frame's largest value on, are
    placed by parabolic interpolation; of those that are louder than half of them, the most frequent deviation
    from the nearest semitone counts.

    Shape: spectrum `[N, F]`, magnitudes or powers of one recording.
    """
    first = max(1, math.ceil(_LOWEST_HZ * n_fft / sample_rate))
    end = min(math.ceil(_HIGHEST_HZ * n_fft / sample_rate), spectrum.shape[-1] - 1)
    near = spectrum[:, first - 1 : end + 1].contiguous()
    left, here, right = near[:, :-2], near[:, 1:-1], near[:, 2:]
    quiet = 0.1 * spectrum.amax(-1, keepdim=True)
    # What is not above `quiet` counts as nothing: a peak beside it is a peak though it may not be the higher.
    peaks = (here > quiet) & ((here > left) | (left <= quiet)) & ((here >= right) | (right <= quiet))
    at = peaks.flatten().nonzero()[:, 0]
    if not len(at):
        return 0
    frame, place = at // (end - first), at % (end - first)
    middle_of_three = frame * near.shape[1] + place + 1
    before, peak, after = (near.view(-1)[middle_of_three + step] for step in (-1, 0, 1))
    slope, bend = (after - before) / 2, after + before - 2 * peak
    shift = torch.where(slope.abs() < bend.abs(), -slope / bend, 0.0)
    height = peak + 0.5 * slope * shift
    pitch = (first + place + shift) * (sample_rate / n_fft)
    ordered = height.sort().values
    middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    octaves = (pitch[height >= middle].double() / A0_HZ).log2()
    residual = (PITCHES * octaves).remainder(1.0)
    residual = torch.where(residual >= 0.5, residual - 1.0, residual)
    edges = torch.linspace(-0.5, 0.5, _RESOLUTION + 1, dtype=torch.float64, device=residual.device)
    steps = (torch.bucketize(residual, edges, right=True) - 1).clamp(max=_RESOLUTION - 1)
    return int(torch.bincount(steps, minlength=_RESOLUTION).argmax()) - _RESOLUTION // 2


@lru_cache(maxsize=2 * _RESOLUTION)
def chroma_filters(*, sample_rate: int, n_fft: int, step: int) -> Tensor:
    """Return what sums the powers of a spectrum into pitch classes from C on: `[12, n_fft // 2 + 1]`.

    Each class takes a Gaussian share of the bins near it in every octave, most in the octaves about the fifth
    (Ellis 2007, "Chroma feature analysis and synthesis"). `step`: of the tuning.
    """
    hertz = torch.arange(1, n_fft, dtype=torch.float64) * (sample_rate / n_fft)
    reference = A0_HZ * 2.0 ** (step / _RESOLUTION / PITCHES)
    places = PITCHES * (hertz / reference).log2()
    places = torch.cat([places[:1] - 1.5 * PITCHES, places])
    widths = torch.cat([places.diff().clamp(min=1.0), torch.ones(1, dtype=torch.float64)])
    distance = places - torch.arange(PITCHES, dtype=torch.float64)[:, None]
    distance = (distance + PITCHES // 2 + 10 * PITCHES).remainder(PITCHES) - PITCHES // 2
    weights = functional.normalize((-0.5 * (2 * distance / widths).square()).exp(), dim=0)
    weights = weights * (-0.5 * ((places / PITCHES - 5.0) / 2.0).square()).exp()
    return weights.roll(-3, dims=0)[:, : 1 + n_fft // 2].float()


class Wavelets(NamedTuple):
    """One octave's filters in the frequency domain; every octave has the same at its own sample rate.

    Shape: real, imaginary `[n_fft // 2 + 1, 12]`.
    """

    n_fft: int
    real: Tensor
    imaginary: Tensor


def halvings(sample_rate: int, hop_length: int) -> int:
    """Return how often the waveform is halved in rate before the highest octave is looked at."""
    spare = max(0, math.ceil(math.log2(sample_rate / 2 / highest_hz())) - 2)
    hop_allows = max(0, (hop_length & -hop_length).bit_length() - 1 - OCTAVES + 1)
    return min(spare, hop_allows)


def highest_hz(step: int = _RESOLUTION // 2) -> float:
    """Return the upper end of the highest filter: 1.5 bins of its Hann window above its centre."""
    top: float = C1_HZ * 2.0 ** (OCTAVES - 1 / PITCHES + step / _RESOLUTION / PITCHES)
    return top * (1 + 0.5 * 1.50018310546875 * _relative_bandwidth())


def _relative_bandwidth() -> float:
    ratio: float = 2.0 ** (2 / PITCHES)
    return (ratio - 1) / (ratio + 1)


@lru_cache(maxsize=2 * _RESOLUTION)
def wavelets(*, sample_rate: float, step: int) -> Wavelets:
    """Return the filters of the highest octave; `step`: of the tuning.

    Complex tones under Hann windows of as many periods at every pitch (Brown 1991, "Calculation of a constant
    Q spectral transform"), scaled so that the length of the window does not show in the energy, and with the
    hundredth of their magnitude that is spread thinnest left out.
    """
    tuned = C1_HZ * 2.0 ** (step / _RESOLUTION / PITCHES)
    pitches = [tuned * 2.0 ** (OCTAVES - 1 + pitch / PITCHES) for pitch in range(PITCHES)]
    lengths = [sample_rate / (_relative_bandwidth() * pitch) for pitch in pitches]
    n_fft = 2 ** math.ceil(math.log2(max(lengths)))
    rows = []
    for pitch, length in zip(pitches, lengths, strict=True):
        places = torch.arange(-length // 2, length // 2, dtype=torch.float64)
        window = torch.hann_window(len(places), dtype=torch.float64)
        tone = torch.polar(window, 2 * math.pi * pitch / sample_rate * places)
        tone = tone / tone.abs().sum() * (length / n_fft) / math.sqrt(length)
        left = (n_fft - len(places)) // 2
        row = torch.fft.fft(functional.pad(tone, (left, n_fft - len(places) - left)))[: n_fft // 2 + 1]
        size = row.abs()
        ordered = size.sort().values
        thin = (ordered.cumsum(0) / ordered.sum() < 0.01).sum()
        rows.append(torch.where(size >= ordered[thin], row, 0.0))
    basis = torch.stack(rows, dim=1)
    return Wavelets(n_fft, basis.real.float().contiguous(), basis.imag.float().contiguous())


@lru_cache(maxsize=1)
def _half_band() -> Tensor:
    """Return the low pass before every second sample is dropped, for many results at once.

    It falls by 110 dB from 0.42 to 0.58 of half the rate that it works at, so that what it lets pass too much
    comes back above 0.8 of half the new rate: far from the filters of an octave, which end at 0.4.

    Shape: `[_REACH + 2 * (_AT_ONCE - 1), _AT_ONCE]`: a column a result, each two samples further down.
    """
    places = torch.arange(_REACH, dtype=torch.float64) - _REACH // 2
    window = torch.kaiser_window(_REACH, periodic=False, beta=12.0, dtype=torch.float64)
    taps = torch.sinc(places / 2) * window
    columns = torch.zeros(_REACH + 2 * (_AT_ONCE - 1), _AT_ONCE)
    for column in range(_AT_ONCE):
        columns[2 * column : 2 * column + _REACH, column] = (taps / taps.sum()).float()
    return columns


def _halved(waveform: Tensor) -> Tensor:
    """Return the waveform at half its sample rate: `[T]` -> `[ceil(T / 2)]`."""
    count = math.ceil(len(waveform) / 2)
    rows = math.ceil(count / _AT_ONCE)
    columns = _half_band().to(waveform.device)
    needed = (rows - 1) * 2 * _AT_ONCE + len(columns)
    padded = functional.pad(waveform, (_REACH // 2, needed - _REACH // 2 - len(waveform)))
    found = padded.unfold(0, len(columns), 2 * _AT_ONCE) @ columns
    return found.flatten()[:count]


def constant_q(waveform: Tensor, *, sample_rate: int, hop_length: int, step: int) -> Tensor:
    """Return magnitudes in 7 octaves of 12 pitches from C1 on: `[84, N]`.

    Each octave is looked at in the waveform at half the rate of the octave above, with the same filters
    (Schörkhuber & Klapuri 2010, "Constant-Q transform toolbox for music processing"). `step`: of the tuning.

    Shape: waveform `[T]`.
    """
    early = halvings(sample_rate, hop_length)
    for _ in range(early):
        waveform = _halved(waveform)
    hop = hop_length >> early
    n_fft, real, imaginary = wavelets(sample_rate=sample_rate / 2**early, step=step)
    frames = 1 + waveform.shape[-1] // hop
    octaves = []
    for octave in range(OCTAVES):
        waveform = _halved(waveform) if octave else waveform
        missing = (frames - 1) * (hop >> octave) + n_fft - n_fft // 2 - waveform.shape[-1]
        padded = functional.pad(waveform, (n_fft // 2, max(0, missing)))
        # Windows at lower pitches are longer, and so is what they collect.
        octaves.append(padded.unfold(0, n_fft, hop >> octave)[:frames] * 2.0 ** ((octave + early) / 2))
    spectra = torch.fft.rfft(torch.stack(octaves[::-1]))
    across, up = spectra.real, spectra.imag
    real, imaginary = real.to(waveform.device), imaginary.to(waveform.device)
    found = torch.hypot(across @ real - up @ imaginary, across @ imaginary + up @ real)
    return found.transpose(1, 2).reshape(OCTAVES * PITCHES, frames)


def pitch_classes(constant_q_magnitudes: Tensor) -> Tensor:
    """Sum the octaves: `[84, N]` -> `[12, N]`, C first."""
    return constant_q_magnitudes.reshape(OCTAVES, PITCHES, -1).sum(0)


def cens(chroma: Tensor) -> Tensor:
    """Return chroma energy normalised statistics, which dynamics and articulation hardly move.

    Müller & Ewert 2011, "Chroma Toolbox", section 2.4. Shape: `[12, N]` -> `[12, N]`.
    """
    shares = normalised(chroma, order=1)
    coarse = sum(0.25 * (shares > level).to(chroma.dtype) for level in (0.4, 0.2, 0.1, 0.05))
    window = torch.hann_window(SMOOTHING_FRAMES + 2, periodic=False, device=chroma.device)
    window = (window / window.sum())[None, None]
    reach = (SMOOTHING_FRAMES + 2) // 2
    smooth = functional.conv1d(torch.as_tensor(coarse)[:, None], window, padding=reach)[:, 0]
    return normalised(smooth, order=2)


def tonnetz(chroma: Tensor) -> Tensor:
    """Return where the harmony lies on circles of fifths, minor and major thirds: `[12, N]` -> `[6, N]`.

    Harte, Sandler & Gasser 2006, "Detecting harmonic change in musical audio".
    """
    turns = torch.tensor([7 / 6, 7 / 6, 3 / 2, 3 / 2, 2 / 3, 2 / 3], dtype=torch.float64)[:, None]
    angles = math.pi * turns * torch.arange(PITCHES, dtype=torch.float64)
    radii = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.5, 0.5], dtype=torch.float64)[:, None]
    rows = [angles[row].sin() if row % 2 == 0 else angles[row].cos() for row in range(6)]
    basis = (radii * torch.stack(rows)).to(chroma)
    return basis @ normalised(chroma, order=1)
