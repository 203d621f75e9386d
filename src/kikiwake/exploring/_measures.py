"""What is measured of one clip, in one pass over its samples and in flat memory.

Levels are in dB below full scale, where full scale is an amplitude of 1: a sine that touches it has a peak of
0 dBFS and an RMS of -3.01 dBFS.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kikiwake import audio
from kikiwake.errors import AudioError
from kikiwake.exploring._bandwidth import Bandwidth
from kikiwake.exploring._clipping import Clipping
from kikiwake.exploring._loudness import Loudness

SILENT_DBFS = -60.0
FRAME_SECONDS = 0.02
_FRAMES_A_STEP = 5
_BLOCK_SAMPLES = 1 << 16

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of a recording in seconds, None for its own start and end. `sr`: its rate, if known."""

    path: Path
    start: float | None = None
    end: float | None = None
    sr: int | None = None


@dataclass(frozen=True, slots=True)
class Measures:
    """What was measured of a clip.

    `format`: container and coding. `peak_dbfs`, `rms_dbfs`: over all samples and channels, -inf of zeros.
    `loudness_lufs`: of BS.1770-4, None below -70. `silent_share`: of the time, in frames of 20 ms with an RMS
    below -60 dBFS. `zero_share`: of the time, in such frames that are exactly zero. `clipped_share`: of the
    samples; `clipped_runs`: how many stretches they are. `dc_offset`: the mean of the channel where it is
    farthest from zero, 1 is full scale. `bandwidth_hz`: above it is nothing; None where too little sounds.
    `loudest_seconds`: from the clip's start to the middle of its loudest 0.1 s. `sound`: a hash of the
    samples. `damage`: what was lost of a recording that is read in part. `replaced_samples`: NaN and
    infinite ones, read as zero.
    """

    seconds: float
    sample_rate: int
    channels: int
    format: str
    peak_dbfs: float
    rms_dbfs: float
    loudness_lufs: float | None
    silent_share: float
    zero_share: float
    clipped_share: float
    clipped_runs: int
    dc_offset: float
    bandwidth_hz: float | None
    loudest_seconds: float
    sound: str
    damage: str | None = None
    replaced_samples: int = 0

    @property
    def bandwidth_share(self) -> float | None:
        """The bandwidth as a share of what the sample rate allows."""
        return None if self.bandwidth_hz is None else 2 * self.bandwidth_hz / self.sample_rate


def measure(stretch: Stretch) -> Measures:
    """Read a clip to its end and measure it.

    Raises:
        AudioError: nothing of it can be read.
    """
    with _opened(stretch) as stream:
        levels = _Levels(stream.sample_rate, stream.channels)
        for block in stream:
            levels.add(block)
        if levels.frames == 0:
            raise AudioError("there is nothing of this clip in the recording", where=stretch.path)
        return levels.measures(stream)


def _opened(stretch: Stretch) -> audio.Stream:
    """Open a clip at its recording's own rate, whatever rate was noted of it."""
    rate = stretch.sr or 0
    while True:
        start = round((stretch.start or 0.0) * rate)
        frames = None if stretch.end is None else max(round(stretch.end * rate) - start, 0)
        stream = audio.Stream(
            stretch.path, sample_rate=None, channels=None, block=_block(rate), start=start, frames=frames
        )
        if stream.sample_rate == rate:
            return stream
        rate = stream.sample_rate
        stream.close()


def _frame(rate: int) -> int:
    return max(round(FRAME_SECONDS * rate), 1)


def _block(rate: int) -> int:
    """Return how many samples are taken at once: whole steps of 0.1 s, so no frame lies in two blocks."""
    step = _FRAMES_A_STEP * _frame(rate)
    return step * max(_BLOCK_SAMPLES // step, 1)


class _Levels:
    """Adds up what is measured, block by block."""

    def __init__(self, sample_rate: int, channels: int) -> None:
        self.frames = 0
        self._rate, self._channels = sample_rate, channels
        self._frame = _frame(sample_rate)
        self._step = _FRAMES_A_STEP * self._frame
        self._peak = self._power = 0.0
        self._sums = np.zeros(channels)
        self._silent = self._zeros = 0
        self._loudest, self._loudest_at = -1.0, 0
        self._digest = blake2b(f"{sample_rate} {channels}".encode(), digest_size=12)
        self._clipping = Clipping(channels=channels)
        self._bandwidth = Bandwidth(sample_rate=sample_rate)
        self._loudness = Loudness(sample_rate=sample_rate, channels=channels, step=self._step)

    def add(self, block: Samples) -> None:
        """Take the next block. Shape: `[C, n]`."""
        exact = block.astype(np.float64)
        power = np.square(exact).mean(axis=0)
        self._peak = max(self._peak, float(np.abs(block).max()))
        self._power += float(power.sum())
        self._sums += exact.sum(axis=1)
        self._find_silence(power)
        self._find_loudest(power)
        # Sample by sample, so that blocks do not matter; 0 is added because -0 and 0 are the same sound.
        self._digest.update(np.ascontiguousarray(block.T + np.float32(0)).data)
        self._clipping.add(block)
        self._bandwidth.add(block)
        self._loudness.add(exact)
        self.frames += block.shape[1]

    def _find_silence(self, power: NDArray[np.float64]) -> None:
        """Count the samples in frames that are silent, or all zero. Shape: power `[n]`."""
        starts = np.arange(0, len(power), self._frame)
        lengths = np.diff(np.append(starts, len(power)))
        means = np.add.reduceat(power, starts) / lengths
        self._zeros += int(lengths[means == 0].sum())
        self._silent += int(lengths[means < 10 ** (SILENT_DBFS / 10)].sum())

    def _find_loudest(self, power: NDArray[np.float64]) -> None:
        starts = np.arange(0, len(power), self._step)
        powers = np.add.reduceat(power, starts)
        best = int(powers.argmax())
        if powers[best] > self._loudest:
            end = min(int(starts[best]) + self._step, len(power))
            self._loudest, self._loudest_at = (
                float(powers[best]),
                self.frames + (int(starts[best]) + end) // 2,
            )

    def measures(self, stream: audio.Stream) -> Measures:
        """Return what came of a stream that was read to its end."""
        self._clipping.finish()
        mean = self._sums / self.frames
        return Measures(
            seconds=self.frames / self._rate,
            sample_rate=self._rate,
            channels=self._channels,
            format=stream.format,
            peak_dbfs=_decibels(self._peak**2),
            rms_dbfs=_decibels(self._power / self.frames),
            loudness_lufs=self._loudness.lufs(),
            silent_share=self._silent / self.frames,
            zero_share=self._zeros / self.frames,
            clipped_share=self._clipping.samples / (self.frames * self._channels),
            clipped_runs=self._clipping.runs,
            dc_offset=float(mean[np.abs(mean).argmax()]),
            bandwidth_hz=self._bandwidth.hertz(),
            loudest_seconds=self._loudest_at / self._rate,
            sound=self._digest.hexdigest(),
            damage=stream.damage,
            replaced_samples=stream.replaced_samples,
        )


def _decibels(power: float) -> float:
    return 10 * math.log10(power) if power > 0 else -math.inf
