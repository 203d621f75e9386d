"""Synthetic sounds: six kinds of event, and noise to lay them over.

Every sound is a function of two random generators: the source's, which fixes what all takes of one source
share, and the take's.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kikiwake.randomness import generator

Waveform = NDArray[np.float64]
Rng = np.random.Generator
Spectrum = Callable[[Waveform], Waveform]
"""Magnitudes as a function of frequencies in Hz."""


def whistle(source: Rng, take: Rng, *, sample_rate: int, rising: bool) -> Waveform:
    """One to three whistled notes that glide upward or downward."""
    low, ratio = between(source, 700, 2000), between(source, 1.5, 2.4)
    length, count = between(source, 0.2, 0.45), int(source.integers(1, 4))
    shift = between(take, 0.92, 1.08)
    time = _time(length * between(take, 0.85, 1.15), sample_rate)
    progress = time / time[-1] if rising else 1 - time / time[-1]
    frequency = _audible(low * shift * ratio**progress, sample_rate)
    note = np.sin(_phase(frequency, sample_rate)) * np.hanning(len(time)) ** 0.5
    return _repeated([note] * count, gap_seconds=0.08, sample_rate=sample_rate)


def trill(source: Rng, take: Rng, *, sample_rate: int) -> Waveform:
    """A tone whose pitch goes up and down many times a second, swelling and fading."""
    centre, depth = between(source, 900, 3000), between(source, 0.08, 0.25)
    rate = between(source, 14, 32) * between(take, 0.93, 1.07)
    time = _time(between(take, 0.5, 1.1), sample_rate)
    swing = np.sin(2 * np.pi * rate * time)
    frequency = _audible(centre * between(take, 0.95, 1.05) * (1 + depth * swing), sample_rate)
    return np.sin(_phase(frequency, sample_rate)) * np.hanning(len(time)) ** 0.5


def clicks(source: Rng, take: Rng, *, sample_rate: int) -> Waveform:
    """A train of short, ringing clicks."""
    ring, decay = between(source, 900, 3000), between(source, 0.002, 0.006)
    rate, count = between(source, 6, 18), int(take.integers(6, 16))
    time = _time(8 * decay, sample_rate)
    click = np.sin(_phase(_audible(np.full(len(time), ring), sample_rate), sample_rate)) * np.exp(
        -time / decay
    )
    return _repeated(
        [click * between(take, 0.6, 1.0) for _ in range(count)],
        gap_seconds=max(1 / rate - 8 * decay, 0.005),
        sample_rate=sample_rate,
    )


def rasp(source: Rng, take: Rng, *, sample_rate: int) -> Waveform:
    """Two to five bursts of noise in a band, each with a sharp start."""
    centre, width = between(source, 900, 3000), between(source, 0.3, 0.8)
    length, count = between(source, 0.06, 0.18), int(take.integers(2, 6))
    bursts = []
    for _ in range(count):
        time = _time(length * between(take, 0.8, 1.2), sample_rate)
        burst = noise(len(time), lambda hz: _bump(hz, centre, width), take, sample_rate=sample_rate)
        bursts.append(burst * np.exp(-3 * time / time[-1]))
    return _repeated(bursts, gap_seconds=between(source, 0.05, 0.15), sample_rate=sample_rate)


def buzz(source: Rng, take: Rng, *, sample_rate: int) -> Waveform:
    """A low tone with many harmonics and vibrato, coloured by one resonance."""
    low, depth = between(source, 120, 320), between(source, 0.01, 0.04)
    resonance, rate = between(source, 700, 2500), between(source, 4, 8)
    time = _time(between(take, 0.5, 1.3), sample_rate)
    vibrato = 1 + depth * np.sin(2 * np.pi * rate * time + between(take, 0, 6))
    phase = _phase(low * between(take, 0.95, 1.05) * vibrato, sample_rate)
    result = np.zeros(len(time))
    for harmonic in range(1, int(0.4 * sample_rate / (1.1 * low)) + 1):
        colour = np.exp(-0.5 * (np.log(harmonic * low / resonance) / 0.7) ** 2)
        if colour > 1e-3:
            result += colour * np.sin(harmonic * phase)
    return result * np.hanning(len(time)) ** 0.25


KINDS: dict[str, Callable[..., Waveform]] = {
    "buzz": buzz,
    "clicks": clicks,
    "falling_whistle": lambda source, take, **kw: whistle(source, take, rising=False, **kw),
    "rasp": rasp,
    "rising_whistle": lambda source, take, **kw: whistle(source, take, rising=True, **kw),
    "trill": trill,
}
"""The classes, and what makes an event of each from its source's and its take's random numbers."""


def event(name: str, *, seed: int, source: int, take: Rng, sample_rate: int) -> Waveform:
    """Return one event of a source in the room that belongs to the source, of root-mean-square 1."""
    rng = generator(seed, "source", name, source)
    dry = KINDS[name](rng, take, sample_rate=sample_rate)
    tail = _time(between(rng, 0.03, 0.15), sample_rate)
    room = rng.standard_normal(len(tail)) * np.exp(-5 * tail / tail[-1]) * 0.15
    room[0] = 1.0
    length = len(dry) + len(room) - 1
    size = 1 << (length - 1).bit_length()
    wet: Waveform = np.fft.irfft(np.fft.rfft(dry, size) * np.fft.rfft(room, size), size)[:length]
    return scaled(wet)


def background(rng: Rng) -> Spectrum:
    """Return the spectrum of a background: between white and brown noise, with one broad bump."""
    slope, height = between(rng, 0.0, 1.0), between(rng, 0.0, 0.3)
    centre, width = between(rng, 200, 3000), between(rng, 0.3, 1.0)

    def spectrum(frequency: Waveform) -> Waveform:
        audible = np.maximum(frequency, 20.0)
        result: Waveform = (audible / 20) ** -slope + height * _bump(audible, centre, width)
        return result

    return spectrum


def noise(samples: int, spectrum: Spectrum, rng: Rng, *, sample_rate: int) -> Waveform:
    """Return Gaussian noise of a spectrum, of root-mean-square 1."""
    size = 1 << (samples - 1).bit_length()
    frequency: Waveform = np.fft.rfftfreq(size, 1 / sample_rate).astype(np.float64)
    coloured: Waveform = np.fft.irfft(np.fft.rfft(rng.standard_normal(size)) * spectrum(frequency), size)
    return scaled(coloured[:samples])


def between(rng: Rng, low: float, high: float) -> float:
    """Return a number between two."""
    return float(rng.uniform(low, high))


def scaled(waveform: Waveform) -> Waveform:
    """Return a waveform with the root-mean-square 1."""
    result: Waveform = waveform / np.sqrt(np.mean(waveform**2))
    return result


def _bump(frequency: Waveform, centre: float, width: float) -> Waveform:
    """Return a bell over the logarithm of frequency; `width` in natural logarithms."""
    result: Waveform = np.exp(-0.5 * (np.log(np.maximum(frequency, 20.0) / centre) / width) ** 2)
    return result


def _time(seconds: float, sample_rate: int) -> Waveform:
    result: Waveform = np.arange(max(round(seconds * sample_rate), 2)) / sample_rate
    return result


def _phase(frequency: Waveform, sample_rate: int) -> Waveform:
    """Return the phase of a tone whose frequency in Hz varies: its integral."""
    result: Waveform = 2 * np.pi * np.cumsum(frequency) / sample_rate
    return result


def _audible(frequency: Waveform, sample_rate: int) -> Waveform:
    return np.minimum(frequency, 0.45 * sample_rate)


def _repeated(notes: list[Waveform], *, gap_seconds: float, sample_rate: int) -> Waveform:
    gap = np.zeros(round(gap_seconds * sample_rate))
    pieces = [piece for note in notes for piece in (note, gap)]
    return np.concatenate(pieces[:-1])
