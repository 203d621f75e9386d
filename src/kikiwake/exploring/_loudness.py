"""Loudness as ITU-R BS.1770-4 defines it, of recordings of any length: two filters, blocks, two gates."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

STEP_SECONDS = 0.1
_STEPS_A_BLOCK = 4
_ABSOLUTE_GATE_LUFS = -70.0
_RELATIVE_GATE = -10.0
_LOWEST_RATE_HZ = 4000

Samples = NDArray[np.float64]


class Loudness:
    """Adds up the loudness of blocks of one recording.

    All channels count alike, so a mono file is 3 LU below the same sound in stereo, as the standard has it.
    `step`: samples of 0.1 s; all blocks but the last are multiples of it.
    """

    def __init__(self, *, sample_rate: int, channels: int, step: int) -> None:
        self.possible = sample_rate >= _LOWEST_RATE_HZ
        self._step = step
        self._powers: list[Samples] = []
        self._rest = np.zeros(0)
        if self.possible:
            self._sections = _k_weighting(sample_rate)
            self._state = np.zeros((len(self._sections), channels, 2))

    def add(self, block: Samples) -> None:
        """Take the next block. Shape: `[C, n]`."""
        if not self.possible:
            return
        from scipy.signal import sosfilt

        weighted, self._state = sosfilt(self._sections, block, axis=-1, zi=self._state)
        power = np.square(weighted).sum(axis=0)
        whole = len(power) // self._step * self._step
        self._powers.append(power[:whole].reshape(-1, self._step).mean(axis=1))
        self._rest = power[whole:]

    def lufs(self) -> float | None:
        """Return the integrated loudness; None of what is below -70 LUFS throughout, or below 4 kHz of rate.

        Sounds that are shorter than one block of 0.4 s are one block.
        """
        steps = np.concatenate(self._powers) if self._powers else np.zeros(0)
        if len(steps) >= _STEPS_A_BLOCK:
            blocks = np.convolve(steps, np.full(_STEPS_A_BLOCK, 1 / _STEPS_A_BLOCK), mode="valid")
        else:
            total = steps.sum() * self._step + self._rest.sum()
            blocks = np.array([total / max(len(steps) * self._step + len(self._rest), 1)])
        heard = blocks[blocks > _power(_ABSOLUTE_GATE_LUFS)]
        if not len(heard):
            return None
        heard = heard[heard > heard.mean() * 10 ** (_RELATIVE_GATE / 10)]
        return float(-0.691 + 10 * math.log10(heard.mean()))


def _power(lufs: float) -> float:
    """Return the power of a loudness (BS.1770-4, equation 2 turned round)."""
    return float(10 ** ((lufs + 0.691) / 10))


def _k_weighting(sample_rate: int) -> Samples:
    """Return the two filters of BS.1770-4 (tables 1 and 2) for any rate.

    The standard gives coefficients for 48 kHz alone; these are the analogue filters behind them, turned
    digital by the bilinear transform; from 8 kHz on a tone of 997 Hz is right to 0.05 LU.

    Shape: `[2, 6]`, second-order sections.
    """
    tangent, q = math.tan(math.pi * 1681.974450955533 / sample_rate), 0.7071752369554196
    high = 10 ** (3.999843853973347 / 20)
    middle = high**0.4996667741545416
    scale = 1 + tangent / q + tangent**2
    shelf = [
        (high + middle * tangent / q + tangent**2) / scale,
        2 * (tangent**2 - high) / scale,
        (high - middle * tangent / q + tangent**2) / scale,
        1,
        2 * (tangent**2 - 1) / scale,
        (1 - tangent / q + tangent**2) / scale,
    ]
    tangent, q = math.tan(math.pi * 38.13547087602444 / sample_rate), 0.5003270373238773
    scale = 1 + tangent / q + tangent**2
    highpass = [1, -2, 1, 1, 2 * (tangent**2 - 1) / scale, (1 - tangent / q + tangent**2) / scale]
    return np.array([shelf, highpass])
