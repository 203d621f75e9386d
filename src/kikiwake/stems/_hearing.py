"""Hearing recordings as they are: what every way of hearing gives, and the ways without separation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kikiwake import audio
from kikiwake.recipe import Data

Samples = NDArray[np.float32]


class Heard(Protocol):
    """A recording as the model hears it: an iterator over `[C, block]`, and a context manager.

    `damage` says what was lost of the recording; `replaced_samples` counts values that were not finite. Both
    are complete after the last block.
    """

    @property
    def damage(self) -> str | None: ...
    @property
    def replaced_samples(self) -> int: ...
    def __iter__(self) -> Iterator[Samples]: ...
    def __enter__(self) -> Heard: ...
    def __exit__(self, *_: object) -> None: ...


class Listener(Protocol):
    """Lets a model hear recordings. `separates`: whether that is slow."""

    channels: int
    separates: bool

    def stream(self, path: Path, *, block: int, start: int = 0, frames: int | None = None) -> Heard:
        """Open a recording.

        `start`, `frames`: samples at the recipe's rate, as in `kikiwake.audio.stream`.

        Raises:
            AudioError: it cannot be read.
        """


class Mixture:
    """Gives recordings as they are, in as many channels as the recipe says."""

    separates = False

    def __init__(self, data: Data) -> None:
        self.sample_rate, self.channels = data.sample_rate, data.channels

    def stream(self, path: Path, *, block: int, start: int = 0, frames: int | None = None) -> Heard:
        """Open a recording."""
        return audio.stream(
            path,
            sample_rate=self.sample_rate,
            channels=self.channels,
            block=block,
            start=start,
            frames=frames,
        )


class Unseparated:
    """Gives every stem's channel the mixture, mixed down."""

    separates = False

    def __init__(self, data: Data) -> None:
        self.sample_rate, self.channels = data.sample_rate, data.waveform_channels

    def stream(self, path: Path, *, block: int, start: int = 0, frames: int | None = None) -> Heard:
        """Open a recording."""
        heard = audio.stream(
            path, sample_rate=self.sample_rate, channels=1, block=block, start=start, frames=frames
        )
        return _Repeated(heard, self.channels)


class _Repeated:
    """A mono recording, several times."""

    def __init__(self, heard: audio.Stream, channels: int) -> None:
        self._heard, self._channels = heard, channels

    def __iter__(self) -> Iterator[Samples]:
        for block in self._heard:
            yield np.repeat(block, self._channels, axis=0)

    def __enter__(self) -> Heard:
        return self

    def __exit__(self, *_: object) -> None:
        self._heard.close()

    @property
    def damage(self) -> str | None:
        return self._heard.damage

    @property
    def replaced_samples(self) -> int:
        return self._heard.replaced_samples
