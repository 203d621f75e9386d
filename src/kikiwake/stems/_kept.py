"""Stems on disk: a file of blocks for every recording and every way of separating it."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kikiwake.audio import reblocked
from kikiwake.blocks import BLOCK, BlockFile, Compared, DamagedBlocks, write_blocks
from kikiwake.errors import KikiwakeError, StorageError
from kikiwake.stems._old import ABANDONED_SECONDS

Samples = NDArray[np.float32]

OPEN_FILES = 64


class KeptStems:
    """A folder of stems that any number of processes may use at once; a few files stay open."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: OrderedDict[Path, BlockFile] = OrderedDict()
        self._compared: dict[Path, Compared] = {}

    def entry(self, source: str, key: str) -> Path:
        """Return where stems are kept: `source` names the recording's content, `key` how it is separated."""
        return self.folder / source[:2] / f"{source}.{key}.stems"

    def open(self, entry: Path, *, check: bool = False) -> BlockFile | None:
        """Return an entry's stems, None where there are none.

        One that is damaged is set aside, and that is said. `check`: compare all of its checksums now.

        Raises:
            StorageError: the entry cannot be read.
        """
        try:
            if entry not in self._open:
                self._open[entry] = BlockFile(entry, known=self._compared.get(entry))
                self._compared[entry] = self._open[entry].compared
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

    def write(self, entry: Path, pieces: Iterator[Samples], *, about: Mapping[str, Any]) -> None:
        """Write an entry from pieces `[S, n]` of any n, in flat memory; what a crash left of it goes.

        Raises:
            StorageError: the entry cannot be written.
        """
        for torn in entry.parent.glob(f".{entry.name[:50]}.*.tmp"):
            with suppress(FileNotFoundError):
                if time.time() - torn.stat().st_mtime > ABANDONED_SECONDS:
                    torn.unlink()
        write_blocks(entry, reblocked(pieces, block=BLOCK), about=about)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict(), "_compared": {}}
