"""The stretch with the most energy, where a sound of unknown time most likely is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

BLOCK = 1 << 18
"""Samples that are read at once: memory stays flat however long the clip is."""


class Loudest:
    """The stretch of `seconds` with the highest RMS, moved by chance.

    Stretches are compared every `stride_seconds` and at the clip's end; the loudest is moved by up to
    `jitter_seconds` either way, all moves alike, and stays inside the clip.
    """

    drawn: ClassVar[bool] = True
    example: ClassVar[dict[str, Any]] = {"seconds": 2.0}

    def __init__(
        self,
        *,
        seconds: Annotated[float, Field(gt=0)],
        stride_seconds: Annotated[float, Field(gt=0)] = 1.0,
        jitter_seconds: Annotated[float, Field(ge=0)] = 2.0,
    ) -> None:
        self.seconds = seconds
        self.stride_seconds = stride_seconds
        self.jitter_seconds = jitter_seconds

    def choose(
        self,
        total: int,
        *,
        sample_rate: int,
        rng: np.random.Generator,
        read: Callable[[int, int], np.ndarray],
    ) -> tuple[int, int]:
        """Return the first sample and the number of samples, of `total` at `sample_rate`.

        `read`: gives the waveform `[C, T]` from a first sample on, for a number of samples.
        """
        frames = min(total, round(self.seconds * sample_rate))
        if frames == total:
            return 0, total
        stride = max(1, round(self.stride_seconds * sample_rate))
        starts = np.append(np.arange(0, total - frames, stride), total - frames)
        edges = np.union1d(starts, starts + frames)
        before = energy_before(edges, read=read)
        energies = before[np.searchsorted(edges, starts + frames)] - before[np.searchsorted(edges, starts)]
        jitter = round(self.jitter_seconds * sample_rate)
        moved = int(starts[np.argmax(energies)]) + int(rng.integers(-jitter, jitter, endpoint=True))
        return min(max(moved, 0), total - frames), frames


def energy_before(
    positions: npt.NDArray[np.int64], *, read: Callable[[int, int], np.ndarray]
) -> npt.NDArray[np.float64]:
    """Return the sum of squares of all channels before each of the ascending `positions`.

    Shape:
        positions `[P]` -> `[P]`.
    """
    energies = np.zeros(len(positions))
    so_far = 0.0
    last = int(positions[-1])
    for start in range(0, last, BLOCK):
        waveform = read(start, min(BLOCK, last - start)).astype(np.float64)
        sums = so_far + np.concatenate([[0.0], np.cumsum(np.square(waveform).sum(axis=0))])
        inside = (positions >= start) & (positions < start + len(sums))
        energies[inside] = sums[positions[inside] - start]
        so_far = float(sums[-1])
    return energies
