"""Energy in the twelve pitch classes, by Fourier and by constant-Q transform. Equal to librosa's."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from kikiwake.frontends._vectorised import greater, kth, true_places

A0_HZ = 27.5
"""Octaves are counted from here."""

C1_HZ = 440.0 * 2.0 ** ((24 - 69) / 12)
OCTAVES = 7
PITCHES = 12
SMOOTHING_FRAMES = 41

_LOWEST_HZ, _HIGHEST_HZ = 150.0, 4000.0
_HALF_BAND_TAPS, _AT_ONCE = 47, 16
"""Length of the low pass; samples of a filtered signal that one row of a matrix product makes."""
_RESOLUTION = 100
"""Tuning is told in hundredths of a semitone."""


def normalised(values: Tensor, *, order: Literal["max", "sum", "length"]) -> Tensor:
    """Return the columns of `[R, N]`, no value of which is negative, with a maximum, sum or length of 1.

    Columns without energy stay as they are.
    """
    if order == "length":  # of these, torch's own norm takes up to thirty times as long
        norms = values.square().sum(-2, keepdim=True).sqrt()
    else:
        norms = values.amax(-2, keepdim=True) if order == "max" else values.sum(-2, keepdim=True)
    return values / torch.where(norms > torch.finfo(values.dtype).tiny, norms, 1.0)


def tuning_steps(power: Tensor, *, sample_rate: int, n_fft: int) -> tuple[int, int]:
    """Return by how many hundredths of a semitone a recording is tuned above 440 Hz, from -50 to 49.

    Local maxima of the spectrum between 150 and 4000 Hz, from a tenth of their frame's largest value on, are
    placed by parabolic interpolation; of those that are louder than half of them, the most frequent deviation
    from the nearest semitone counts. The first step is found in magnitudes, the second in power.

    Shape: power `[N, F]` of one recording.
    """
    first = max(1, math.ceil(_LOWEST_HZ * n_fft / sample_rate))
    end = min(math.ceil(_HIGHEST_HZ * n_fft / sample_rate), power.shape[-1] - 1)
    near = power[:, first - 1 : end + 1].contiguous()
    largest = power.amax(-1, keepdim=True)
    values = near.view(-1)
    before, within, behind = values[:-2], values[1:-1], values[2:]
    # A tenth of the magnitude is a hundredth of the power. Frames follow each other: their ends are no peaks.
    peaks = greater(near, 0.01 * largest)
    peaks[:, 0] = peaks[:, -1] = False
    at = true_places(peaks.view(-1)[1:-1] & greater(within, before) & ~greater(behind, within))
    bins = torch.arange(first - 1, end + 1, device=power.device).float().repeat(len(near))[1:-1]
    found = [side.index_select(0, at) for side in (bins, before, within, behind)]
    loud = true_places(greater(near, 0.1 * largest).view(-1)[1:-1].index_select(0, at))
    louder = [side.index_select(0, loud) for side in found]
    bin_hz = sample_rate / n_fft
    of_magnitudes = _commonest_step(found[0], *(side.sqrt() for side in found[1:]), bin_hz=bin_hz)
    return of_magnitudes, _commonest_step(*louder, bin_hz=bin_hz)


def _commonest_step(bins: Tensor, before: Tensor, peak: Tensor, behind: Tensor, *, bin_hz: float) -> int:
    """Return the commonest deviation from a semitone, in hundredths, of the louder half of the peaks.

    Shape: `[P]` each: bins, and the values before, at and behind the peaks.
    """
    if not len(bins):
        return 0
    slope, bend = (behind - before) / 2, behind + before - 2 * peak
    shift = torch.where(greater(bend.abs(), slope.abs()), -slope / bend, 0.0)
    height = peak + 0.5 * slope * shift
    # Of an even number, those that reach the mean of the middle two are those that reach the upper one.
    loud = true_places(~greater(kth(height, len(height) // 2), height))
    # In single precision some peaks would count for the step beside their own.
    hertz = (bins.index_select(0, loud).double() + shift.index_select(0, loud)) * bin_hz
    # A step takes what lies above it: -0.01 to 0 semitones are step -1.
    above = PITCHES * _RESOLUTION * (hertz / A0_HZ).log2() + _RESOLUTION // 2
    steps = above.floor().remainder(_RESOLUTION).int()
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
def wavelets(*, sample_rate: float, step: int) -> Tensor:
    """Return the filters of the highest octave, `[24, n_fft]`: 12 real, 12 imaginary parts.

    Every octave has the same at its own sample rate. `step`: of the tuning.

    Complex tones under Hann windows of as many periods at every pitch (Brown 1991, "Calculation of a constant
    Q spectral transform"), scaled so that the length of the window does not show in the energy, and with the
    hundredth of the magnitude of their spectrum that is spread thinnest left out.
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
    # The sum of a spectrum's products with a row is that of the frame with the row's Fourier transform, and
    # so few filters are sooner multiplied than the frame is transformed.
    basis = torch.fft.fft(torch.stack(rows), n=n_fft)
    return torch.cat([basis.real, basis.imag]).float()


@lru_cache(maxsize=1)
def _half_band() -> Tensor:
    """Return the low pass before every second sample is dropped, as `_banded` lays it out.

    It falls by 110 dB from a third to two thirds of half the rate that it works at, so that what it lets pass
    too much comes back above two thirds of half the new rate: far from the filters of an octave, which end at
    0.4, and whose side lobes reach further.
    """
    places = torch.arange(_HALF_BAND_TAPS, dtype=torch.float64) - _HALF_BAND_TAPS // 2
    window = torch.kaiser_window(_HALF_BAND_TAPS, periodic=False, beta=12.0, dtype=torch.float64)
    taps = torch.sinc(places / 2) * window
    return _banded(taps / taps.sum(), step=2)


def _banded(taps: Tensor, *, step: int) -> Tensor:
    """Return a column a result, with the taps a step further down in each: `[L + step * 15, 16]`."""
    columns = torch.zeros(len(taps) + step * (_AT_ONCE - 1), _AT_ONCE)
    for column in range(_AT_ONCE):
        columns[step * column : step * column + len(taps), column] = taps
    return columns


def _filtered(values: Tensor, columns: Tensor, *, step: int) -> Tensor:
    """Return every `step`-th result of an odd number of taps, as `_banded` lays them out.

    Shape: `[..., T]` -> `[..., ceil(T / step)]`.
    """
    count = math.ceil(values.shape[-1] / step)
    hop = step * _AT_ONCE
    before = (len(columns) - hop + step) // 2
    behind = hop * ((count - 1) // _AT_ONCE) + len(columns) - before - values.shape[-1]
    frames = functional.pad(values, (before, behind)).unfold(-1, len(columns), hop)
    return (frames @ columns.to(values.device)).flatten(-2)[..., :count]


def constant_q(waveform: Tensor, *, sample_rate: int, hop_length: int, step: int) -> Tensor:
    """Return magnitudes in 7 octaves of 12 pitches from C1 on: `[84, N]`.

    Each octave is looked at in the waveform at half the rate of the octave above, with the same filters
    (Schörkhuber & Klapuri 2010, "Constant-Q transform toolbox for music processing"). `step`: of the tuning.

    Shape: waveform `[T]`.
    """
    early = halvings(sample_rate, hop_length)
    rate, hop = sample_rate / 2**early, hop_length >> early
    for _ in range(early):
        waveform = _filtered(waveform, _half_band(), step=2)
    filters = wavelets(sample_rate=rate, step=step).to(waveform.device)
    n_fft = filters.shape[1]
    frames = 1 + waveform.shape[-1] // hop
    found = waveform.new_empty(OCTAVES, len(filters), frames)
    for octave in range(OCTAVES):
        waveform = _filtered(waveform, _half_band(), step=2) if octave else waveform
        missing = (frames - 1) * (hop >> octave) + n_fft - n_fft // 2 - waveform.shape[-1]
        padded = functional.pad(waveform, (n_fft // 2, max(0, missing)))
        framed = padded.unfold(0, n_fft, hop >> octave)[:frames].contiguous()
        torch.mm(filters, framed.T, out=found[OCTAVES - 1 - octave])
    energy = found[:, :PITCHES].square() + found[:, PITCHES:].square()
    # Windows at lower pitches are longer, and so is what they collect.
    longer = 2.0 ** torch.arange(early + OCTAVES - 1, early - 1, -1, device=energy.device)
    return energy.mul_(longer[:, None, None]).sqrt_().reshape(OCTAVES * PITCHES, frames)


@lru_cache(maxsize=1)
def _smoothing() -> Tensor:
    """Return the window over which chroma are averaged, as `_banded` lays it out."""
    window = torch.hann_window(SMOOTHING_FRAMES + 2, periodic=False)
    return _banded(window / window.sum(), step=1)


def pitch_classes(constant_q_magnitudes: Tensor) -> Tensor:
    """Sum the octaves: `[84, N]` -> `[12, N]`, C first."""
    return constant_q_magnitudes.reshape(OCTAVES, PITCHES, -1).sum(0)


def cens(chroma: Tensor) -> Tensor:
    """Return chroma energy normalised statistics, which dynamics and articulation hardly move.

    Müller & Ewert 2011, "Chroma Toolbox", section 2.4. Shape: `[12, N]` -> `[12, N]`.
    """
    shares = normalised(chroma, order="sum")
    levels = torch.tensor([0.05, 0.1, 0.2, 0.4], device=chroma.device)
    coarse = torch.bucketize(shares, levels).to(chroma.dtype)
    smooth = _filtered(coarse, _smoothing(), step=1)
    return normalised(smooth, order="length")


def tonnetz(chroma: Tensor) -> Tensor:
    """Return where the harmony lies on circles of fifths, minor and major thirds: `[12, N]` -> `[6, N]`.

    Harte, Sandler & Gasser 2006, "Detecting harmonic change in musical audio".
    """
    return _circles().to(chroma) @ normalised(chroma, order="sum")


@lru_cache(maxsize=1)
def _circles() -> Tensor:
    """Return sine and cosine of each pitch class on the three circles: `[6, 12]`."""
    turns = torch.tensor([7 / 6, 7 / 6, 3 / 2, 3 / 2, 2 / 3, 2 / 3], dtype=torch.float64)[:, None]
    angles = math.pi * turns * torch.arange(PITCHES, dtype=torch.float64)
    radii = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.5, 0.5], dtype=torch.float64)[:, None]
    rows = [angles[row].sin() if row % 2 == 0 else angles[row].cos() for row in range(6)]
    return radii * torch.stack(rows)
