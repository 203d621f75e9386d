"""What a model hears of recordings: the mixture, or the stems of it that a recipe asks for.

Stems are the channels of the waveform, in the order of `data.stems`; nothing after this room knows of
separation. Separating costs much, so that whole recordings are separated once and kept in files of blocks.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Generator, Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from kikiwake import audio, components
from kikiwake.audio import SpanResampler, reblocked
from kikiwake.blocks import BLOCK, BlockFile, DamagedBlocks, write_blocks
from kikiwake.cache import default_cache_folder, source_key
from kikiwake.cache import key as cache_key
from kikiwake.errors import KikiwakeError, RecipeError, StorageError
from kikiwake.recipe import Data
from kikiwake.separators import Separator, SpanSeparation

Samples = NDArray[np.float32]

OPEN_FILES = 64
_ARITHMETIC = 1
"""Counts up whenever decoding, separating or resampling changes what is kept."""
_ABANDONED_SECONDS = 3600.0


class Heard(Protocol):
    """A recording as the model hears it: an iterator over `[C, block]`, and a context manager.

    `damage` says what was lost of the recording; `replaced_samples` counts values that were not finite. Both
    are complete after the last block.
    """

    @property
    def damage(self) -> str | None: ...  # noqa: D102
    @property
    def replaced_samples(self) -> int: ...  # noqa: D102
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


def listener(data: Data, *, separation: bool = True) -> Listener:
    """Return what lets a recipe's model hear recordings.

    `separation`: False gives every channel the mixture in place of its stem.
    """
    if data.separator is None:
        return Mixture(data)
    return Stems(data) if separation else Unseparated(data)


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


class Stems:
    """Gives the stems of recordings, kept ones or new ones.

    Raises:
        RecipeError: when it separates first: the separator lacks a stem that is asked for, or its model is
            not the one that the recipe was resolved with.
    """

    def __init__(self, data: Data) -> None:
        assert data.separator is not None
        assert data.stems is not None
        self.data = data
        self.names = list(data.stems)
        self.sample_rate, self.channels = data.sample_rate, len(self.names)
        self.folder = (data.cache_folder or default_cache_folder()) / "stems"
        self._open: OrderedDict[Path, BlockFile] = OrderedDict()

    separates = True

    @property
    def on_device(self) -> bool:
        """Whether separating may take place on a GPU."""
        asked = (self.data.separator or {}).get("device", "cpu")
        return asked != "cpu" and (asked != "auto" or torch.cuda.is_available())

    @cached_property
    def separator(self) -> Separator:
        """The part, built when it is first needed."""
        separator: Separator = components.build(
            "separators", self.data.separator or {}, where="data.separator", sample_rate=self.sample_rate
        )
        for name in self.names:
            if name not in separator.stems:
                raise components.unknown("stem", name, separator.stems, where="data.stems")
        known = self.data.separator_identity
        if known is not None and known != separator.identity:
            raise RecipeError(
                "the separator's model is another one than when the recipe was resolved",
                where="data.separator",
                value=separator.identity,
                remedy=f"bring back the one whose identity is {known!r}, or train again in another directory",
            )
        return separator

    @cached_property
    def identity(self) -> str:
        """What tells the separator's model apart."""
        known = self.data.separator_identity
        return self.separator.identity if known is None else known

    def key(self, path: Path) -> str:
        """Return the name of what separating a recording gives: a function of its content and the settings.

        Raises:
            AudioError: it cannot be read.
        """
        return cache_key(source_key(path), **self._settings)

    def entry(self, path: Path) -> Path:
        """Return where a recording's stems are, or will be, kept.

        Raises:
            AudioError: the recording cannot be read.
        """
        source = source_key(path)
        return self.folder / source[:2] / f"{source}.{cache_key(source, **self._settings)}.stems"

    def others(self, path: Path) -> list[Path]:
        """Return the entries of the same recording that other settings made."""
        entry = self.entry(path)
        return [other for other in entry.parent.glob(f"{entry.name[:40]}.*.stems") if other != entry]

    def kept(self, path: Path, *, check: bool = False) -> BlockFile | None:
        """Return a recording's kept stems, None where there are none.

        One that is damaged is set aside, and that is said. `check`: compare all of its checksums now.

        Raises:
            AudioError: the recording cannot be read.
            StorageError: the entry cannot be read.
        """
        entry = self.entry(path)
        try:
            if entry not in self._open:
                self._open[entry] = BlockFile(entry)
                if len(self._open) > OPEN_FILES:
                    self._open.popitem(last=False)
            self._open.move_to_end(entry)
            if check:
                self._open[entry].check()
        except FileNotFoundError:
            return None
        except DamagedBlocks as error:
            self.set_aside(entry, error)
            return None
        except OSError as error:
            raise StorageError(f"cannot be read: {error.strerror or error}", where=entry) from error
        return self._open[entry]

    def set_aside(self, entry: Path, error: KikiwakeError) -> None:
        """Rename a damaged entry, so that it is made again."""
        self._open.pop(entry, None)
        logging.getLogger("kikiwake").warning("%s: %s; set aside, to be made again", entry, error.what)
        with suppress(FileNotFoundError):  # another process did the same
            entry.replace(entry.with_name(entry.name + ".damaged"))

    def read(self, path: Path, start: int, frames: int) -> Samples:
        """Return a stretch of kept stems. Shape: `[S, T]`, shorter where they end.

        Raises:
            AudioError: the recording cannot be read.
            StorageError: its stems are not kept, or damaged.
        """
        kept = self.kept(path)
        if kept is None:
            raise _missing(path, "the stems of this recording are not there")
        try:
            return kept.read(start, frames, channels=self._places(kept.about["stems"]))
        except DamagedBlocks as error:
            self.set_aside(kept.path, error)
            raise _missing(path, "the stems of this recording were damaged") from error

    def stream(self, path: Path, *, block: int, start: int = 0, frames: int | None = None) -> Heard:
        """Open a recording; what is kept of its stems is not separated again."""
        return _StemStream(self, path, block=block, start=start, frames=frames)

    def make(self, path: Path) -> str | None:
        """Separate a whole recording in flat memory and keep all of the separator's stems.

        Return what was lost of it, in words, or None.

        Raises:
            AudioError: it cannot be read.
            StorageError: the entry cannot be written.
        """
        entry = self.entry(path)
        for torn in entry.parent.glob(f".{entry.name[:50]}.*.tmp"):
            with suppress(FileNotFoundError):
                if time.time() - torn.stat().st_mtime > _ABANDONED_SECONDS:
                    torn.unlink()
        about = {"stems": list(self.separator.stems), "sample_rate": self.sample_rate, **self._settings}
        live = _Separated(self, path, start=0, frames=None, places=range(len(self.separator.stems)))
        write_blocks(entry, reblocked(live.pieces(), block=BLOCK), about=about)
        return live.damage

    def places(self) -> list[int]:
        """Return where in the separator's order the wanted stems are."""
        return self._places(list(self.separator.stems))

    def _places(self, stems: list[str]) -> list[int]:
        for name in self.names:
            if name not in stems:
                raise components.unknown("stem", name, stems, where="data.stems")
        return [stems.index(name) for name in self.names]

    @cached_property
    def _settings(self) -> dict[str, Any]:
        """All that stems depend on besides the recording, in JSON's types."""
        node = self.data.separator or {}
        free = components.part("separators", node["name"]).free
        return {
            "arithmetic": _ARITHMETIC,
            "separator": {key: value for key, value in node.items() if key not in free},
            "identity": self.identity,
            "sample_rate": self.sample_rate,
        }

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}


class _Separated:
    """The stems of a recording's span, separated while they are read."""

    def __init__(self, stems: Stems, path: Path, *, start: int, frames: int | None, places: Any) -> None:
        self.stems, self.path = stems, path
        self.start, self.frames = start, frames
        self._places = list(places)
        self.damage: str | None = None
        self.replaced_samples = 0

    def pieces(self) -> Iterator[Samples]:
        """Yield `[S, n]` of any n."""
        separator, rate = self.stems.separator, self.stems.sample_rate
        to_rate = SpanResampler(
            source_rate=separator.sample_rate, target_rate=rate, start=self.start, frames=self.frames
        )
        span = SpanSeparation(separator, start=to_rate.first, stop=to_rate.stop)
        frames = None if span.last is None else span.last - span.first
        with audio.stream(
            self.path,
            sample_rate=separator.sample_rate,
            channels=None,
            block=BLOCK,
            start=span.first,
            frames=frames,
        ) as mixture:
            heard = (self._fitted(block) for block in mixture)
            separated = (np.ascontiguousarray(piece[self._places].T) for piece in span(heard))
            for piece in to_rate(_marked(separated), channels=len(self._places)):
                yield np.ascontiguousarray(piece.reshape(len(piece), -1).T)
            self.damage, self.replaced_samples = mixture.damage, mixture.replaced_samples

    def _fitted(self, block: Samples) -> Samples:
        """Return the mixture in the channels that the separator hears. Shape: `[C, n]` -> `[channels, n]`."""
        wanted = self.stems.separator.channels
        if len(block) == wanted:
            return block
        return audio.downmix(audio.downmix(block, channels=1), channels=wanted)


class _StemStream:
    """Stems from where they are kept, and separated from where they are not."""

    def __init__(self, stems: Stems, path: Path, *, block: int, start: int, frames: int | None) -> None:
        self.damage: str | None = None
        self.replaced_samples = 0
        self._stems, self._path = stems, path
        self._span = start, frames
        self._pieces = self._read()
        self._blocks = reblocked(self._pieces, block=block)

    def __iter__(self) -> Iterator[Samples]:
        return self._blocks

    def __enter__(self) -> Heard:
        return self

    def __exit__(self, *_: object) -> None:
        self._pieces.close()

    def _read(self) -> Generator[Samples]:
        start, frames = self._span
        if kept := self._stems.kept(self._path):
            stop = kept.frames if frames is None else min(kept.frames, start + frames)
            try:
                while start < stop:
                    count = min(BLOCK - start % BLOCK, stop - start)
                    yield self._stems.read(self._path, start, count)
                    start += count
            except StorageError:  # said already; the rest is separated anew
                frames = None if frames is None else self._span[0] + frames - start
            else:
                return
        places = self._stems.places()
        live = _Separated(self._stems, self._path, start=start, frames=frames, places=places)
        try:
            yield from live.pieces()
        finally:
            self.damage, self.replaced_samples = live.damage, live.replaced_samples


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


def _marked(pieces: Iterator[Samples]) -> Iterator[tuple[Samples, bool]]:
    """Say of each piece whether it is the last."""
    piece = next(pieces, None)
    while piece is not None:
        following = next(pieces, None)
        yield piece, following is None
        piece = following


def _missing(path: Path, what: str) -> StorageError:
    return StorageError(
        what,
        where=path,
        remedy="give the same command again, which separates what is missing, or fill the cache ahead with "
        "`kikiwake separate`",
    )


def identified(data: Data) -> Data:
    """Return the section with the identity of its separator's model, where it has a separator.

    Raises:
        RecipeError: the separator cannot be built, or lacks a stem that is asked for.
        WeightsError: its model cannot be had.
    """
    if data.separator is None:
        return data
    stems = Stems(data)
    return data.model_copy(update={"separator_identity": stems.separator.identity})
