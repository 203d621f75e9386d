"""Recordings put together: sounds laid over noise, and written as FLAC."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kikiwake._sounds import Waveform, background, noise
from kikiwake.errors import StorageError
from kikiwake.files import replace_atomically
from kikiwake.randomness import generator

TRUTH_COLUMNS = ("filename", "start", "end", "label")

_BLOCK_SECONDS = 10


class Placed(NamedTuple):
    """A sound in a recording, which begins at the sample `start`."""

    start: int
    sound: Waveform
    label: str

    @property
    def end(self) -> int:
        """The sample after the last one."""
        return self.start + len(self.sound)


def lay(heard: Waveform, placed: Iterable[Placed], *, first: int = 0) -> None:
    """Add sounds to a stretch `[T]` of a recording that begins at the sample `first`, in place."""
    for start, sound, _ in placed:
        begin, end = max(start, first), min(start + len(sound), first + len(heard))
        if begin < end:
            heard[begin - first : end - first] += sound[begin - start : end - start]


def noisy_blocks(
    placed: Sequence[Placed], *, seconds: float, noise_db: float, sample_rate: int, seed: int
) -> Iterator[Waveform]:
    """Yield a recording 10 s at a time: sounds over noise that is cross-faded from block to block.

    `noise_db`: RMS of the noise, in dB below full scale.
    """
    block, total = _BLOCK_SECONDS * sample_rate, round(seconds * sample_rate)
    spectrum = background(generator(seed, "long", "background"))
    # sin² + cos² = 1: independent noises so weighted keep their power through the fade.
    fade = np.sin(np.pi * (np.arange(2 * block) + 0.5) / (2 * block))

    def faded_noise(number: int) -> Waveform:
        rng = generator(seed, "long", "noise", number)
        return noise(2 * block, spectrum, rng, sample_rate=sample_rate) * fade

    before = faded_noise(0)
    for number, first in enumerate(range(0, total, block)):
        after = faded_noise(number + 1)
        heard = (before[block:] + after[:block]) * 10 ** (noise_db / 20)
        lay(heard, placed, first=first)
        yield heard[: total - first]
        before = after


def faded(waveform: Waveform, *, seconds: float, sample_rate: int) -> Waveform:
    """Return a waveform that begins and ends without a click, over `seconds` at each end."""
    edge = min(round(seconds * sample_rate), len(waveform) // 2)
    ramp = np.linspace(0, 1, edge)
    waveform[:edge] *= ramp
    waveform[len(waveform) - edge :] *= ramp[::-1]
    return waveform


def write_flac(path: Path, blocks: Iterable[Waveform], sample_rate: int) -> None:
    """Write mono blocks as 16-bit FLAC; what exceeds full scale is clipped, as a recorder would.

    Raises:
        StorageError: the file cannot be written.
    """
    import soundfile

    with (
        replace_atomically(path) as temporary,
        soundfile.SoundFile(
            temporary, "w", samplerate=sample_rate, channels=1, format="FLAC", subtype="PCM_16"
        ) as file,
    ):
        for block in blocks:
            file.write(np.clip(block, -1.0, 1.0 - 2**-15))


def refuse_others(folder: Path, own: set[str]) -> None:
    """Refuse a folder whose sounds would mix with the new ones, `own`, which are paths below it.

    Raises:
        StorageError: it holds other sounds.
    """
    found = sorted(folder.rglob("*.flac"))
    others = [path for path in found if path.relative_to(folder).as_posix() not in own]
    if others:
        raise StorageError(
            f"{len(others)} other sounds are in this folder, the first is {others[0].name}",
            where=folder,
            remedy="choose an empty folder, or remove this one",
        )


def refuse_tables(tables: Mapping[Path, Sequence[str]]) -> None:
    """Refuse to write over tables whose columns are others than those that will be written.

    Raises:
        StorageError: there is such a table, or it cannot be read.
    """
    for path, columns in tables.items():
        try:
            with path.open(encoding="utf-8", errors="replace") as file:
                found = file.readline().rstrip("\r\n")
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StorageError(f"cannot be read: {error.strerror or error}", where=path) from error
        if found != ",".join(columns):
            raise StorageError(
                "another table has the name of one that is to be written, and would be lost",
                where=path,
                remedy="choose an empty folder, or rename it",
            )
