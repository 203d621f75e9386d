"""The stems of recordings: read where they are kept, and separated where they are not."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kikiwake import components
from kikiwake.audio import reblocked
from kikiwake.blocks import BLOCK, LAYOUT, BlockFile, DamagedBlocks
from kikiwake.cache import default_cache_folder, source_key
from kikiwake.cache import key as cache_key
from kikiwake.devices import out_of_memory
from kikiwake.errors import AudioError, RecipeError, SeparationError, StorageError
from kikiwake.recipe import Data
from kikiwake.separators import Separator, memory_remedy
from kikiwake.stems._hearing import Heard
from kikiwake.stems._kept import KeptStems
from kikiwake.stems._old import OldEntries, old_entries
from kikiwake.stems._separated import Separated

Samples = NDArray[np.float32]

FEWER_AT_ONCE = "out of memory with %d segments at a time: from now on %d"

_ARITHMETIC = 1
"""Counts up whenever decoding, separating or resampling changes what is kept."""


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
        self.cache = KeptStems((data.cache_folder or default_cache_folder()) / "stems")

    separates = True

    @property
    def on_device(self) -> bool:
        """Whether separating may take place on a GPU."""
        asked = (self.data.separator or {}).get("device", "cpu")
        return asked != "cpu" and (asked != "auto" or torch.cuda.is_available())

    @cached_property
    def separator(self) -> Separator:
        """The part, built when it is first needed."""
        try:
            separator: Separator = components.build(
                "separators", self.data.separator or {}, where="data.separator", sample_rate=self.sample_rate
            )
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            part = components.part("separators", (self.data.separator or {})["name"])
            remedy = memory_remedy(part.saves_memory)
            what = "out of memory when the model is loaded"
            raise SeparationError(what, where="data.separator", remedy=remedy) from error
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
        return self.cache.entry(source, cache_key(source, **self._settings))

    def old(self, recordings: Iterable[Path]) -> OldEntries:
        """Return what lies beside the entries of recordings; those that cannot be read have none.

        Raises:
            StorageError: the folder cannot be read.
        """
        current: set[Path] = set()
        for path in recordings:
            with suppress(AudioError):
                current.add(self.entry(path))
        return old_entries(self.cache.folder, current, arithmetic=_ARITHMETIC)

    def kept(self, path: Path, *, check: bool = False) -> BlockFile | None:
        """Return a recording's kept stems, None where there are none.

        One that is damaged is set aside, and that is said. `check`: compare all of its checksums now.

        Raises:
            AudioError: the recording cannot be read.
            StorageError: the entry cannot be read.
        """
        return self.cache.open(self.entry(path), check=check)

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
            self.cache.set_aside(kept.path, error)
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
        about = {"stems": list(self.separator.stems), "sample_rate": self.sample_rate, **self._settings}
        live = self.separated(path, places=range(len(self.separator.stems)))
        self.cache.write(self.entry(path), live.pieces(), about=about)
        return live.damage

    def separated(
        self, path: Path, *, start: int = 0, frames: int | None = None, places: Sequence[int] | None = None
    ) -> Separated:
        """Open a recording to be separated now, whatever is kept.

        `places`: where in the separator's order the stems are; None for those that the recipe asks for.
        """
        return Separated(
            self.separator,
            path,
            sample_rate=self.sample_rate,
            start=start,
            frames=frames,
            places=self._places(list(self.separator.stems)) if places is None else places,
        )

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
            "layout": LAYOUT,
            "separator": {key: value for key, value in node.items() if key not in free},
            "identity": self.identity,
            "sample_rate": self.sample_rate,
        }


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
        live = self._stems.separated(self._path, start=start, frames=frames)
        at_once = live.separator.batch_size
        try:
            yield from live.pieces()
        finally:
            if live.separator.batch_size < at_once:
                log = logging.getLogger("kikiwake")
                log.warning(FEWER_AT_ONCE, at_once, live.separator.batch_size)
            self.damage, self.replaced_samples = live.damage, live.replaced_samples


def _missing(path: Path, what: str) -> StorageError:
    return StorageError(
        what,
        where=path,
        remedy="give the same command again, which separates what is missing, or fill the cache ahead with "
        "`kikiwake separate`",
    )
