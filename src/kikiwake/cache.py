"""Arrays kept on disk under the hash of what they are made from, and read back as memory maps.

An entry is a `.npy` file with a footer, a mark and the BLAKE2b of all bytes before it; numpy reads it as is.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import time
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from kikiwake.errors import AudioError, StorageError
from kikiwake.files import content_hash, replace_atomically

Array = npt.NDArray[np.float32]
Stamp = tuple[int, int, int, int]

_MARK = b"kikiwake"
_DIGEST_SIZE = 20
_FOOTER_SIZE = len(_MARK) + _DIGEST_SIZE
_SETTLED_NS = 2_000_000_000  # a file changed more recently may change again within one tick of its clock


def default_cache_folder() -> Path:
    """Return where entries are kept unless told otherwise: below `XDG_CACHE_HOME`, or `~/.cache`.

    Raises:
        StorageError: the user has no home folder, as in some containers.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "kikiwake"
    except RuntimeError as error:
        remedy = "set the environment variable XDG_CACHE_HOME to a folder that you may write to"
        raise StorageError(
            "there is no home folder to keep the cache in", where="~", remedy=remedy
        ) from error


def key(source: str, **parameters: object) -> str:
    """Return the name of the entry made from `source` (a `source_key`) with `parameters` (plain data).

    >>> key("a1", sample_rate=8000) == key("a1", sample_rate=16000)
    False
    """
    text = json.dumps([source, parameters], sort_keys=True, ensure_ascii=False)
    return blake2b(text.encode(), digest_size=_DIGEST_SIZE).hexdigest()


class ArrayCache:
    """A folder of float32 arrays that any number of processes may use at once.

    An entry is checked against its checksum when a process first reads it. One that is damaged, cut short or
    not of this kind is renamed to `*.damaged`, and built anew.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser()
        self._verified: dict[str, Stamp] = {}

    def get(self, key: str, build: Callable[[], npt.ArrayLike]) -> Array:
        """Return the array named `key` as a read-only memory map; `build` makes it where it is not there.

        The map holds a file descriptor for as long as the array is kept.

        Raises:
            StorageError: the entry cannot be written or read.
        """
        path = self._path(key)
        array = self._open(path)
        if array is None:
            _store(path, build())
            array = self._open(path)
        if array is None:
            raise StorageError("a cache entry just written cannot be read back", where=path)
        return array

    def __contains__(self, key: str) -> bool:
        """Say whether there is an intact entry named `key`."""
        return self._open(self._path(key)) is not None

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.npy"

    def _open(self, path: Path) -> Array | None:
        try:
            stamp = _stamp(path)
            if self._verified.get(path.name) != stamp:
                if not _intact(path):
                    _set_aside(path)
                    return None
                self._verified[path.name] = stamp
            return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"cannot read a cache entry: {error.strerror or error}", where=path) from error


def _store(path: Path, values: npt.ArrayLike) -> None:
    """Write an entry in one step, so that processes that build the same one at once do no harm."""
    with replace_atomically(path) as temporary, temporary.open("wb") as file:
        hashing = _HashingWriter(file)
        array = np.require(values, dtype=np.float32, requirements="C")
        np.lib.format.write_array(hashing, array, allow_pickle=False)
        file.write(_MARK + hashing.digest.digest())


class _HashingWriter:
    """Passes bytes on to a file and hashes them on the way."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.digest = blake2b(digest_size=_DIGEST_SIZE)

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self.file.write(data)


def _intact(path: Path) -> bool:
    """Say whether an entry's bytes are those that were written."""
    digest = blake2b(digest_size=_DIGEST_SIZE)
    with path.open("rb") as file:
        left = os.fstat(file.fileno()).st_size - _FOOTER_SIZE
        while left > 0 and (block := file.read(min(left, 1 << 20))):
            digest.update(block)
            left -= len(block)
        return left == 0 and file.read() == _MARK + digest.digest()


def _set_aside(path: Path) -> None:
    aside = path.with_name(path.name + ".damaged")
    logging.getLogger(__name__).warning("%s: damaged cache entry, set aside and built anew", path)
    path.replace(aside)


def _stamp(path: Path) -> Stamp:
    """Return what changes whenever a file is written: size, both times, and inode."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def source_key(path: str | Path, *, index: str | Path | None = None) -> str:
    """Return the hash of a file's content, read anew only where the file has changed.

    `index`: the file that remembers hashes between processes, by default one in the default cache folder.

    Raises:
        AudioError: the file cannot be read.
    """
    remembered = _index(Path(index) if index else default_cache_folder() / "sources.jsonl")
    path = Path(path).absolute()
    try:
        return remembered.hash(path)
    except OSError as error:
        raise AudioError(f"cannot be read: {error.strerror or error}", where=path) from error


class _SourceIndex:
    """Hashes of files by path and stamp, in a file of JSON lines that processes only ever append to."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.known: dict[str, tuple[Stamp, str]] = {}
        for line in self._lines():
            try:
                path, stamp, found = json.loads(line)
                size, modified, changed, inode = map(int, stamp)
            except (ValueError, TypeError):
                continue  # an empty line, or one that a crash cut short
            self.known[path] = ((size, modified, changed, inode), found)

    def _lines(self) -> list[bytes]:
        try:
            return self.file.read_bytes().splitlines()
        except OSError:
            return []

    def hash(self, path: Path) -> str:
        name = os.fsencode(path).decode("utf-8", "backslashreplace")
        stamp = _stamp(path)
        if name in self.known and self.known[name][0] == stamp:
            return self.known[name][1]
        found = content_hash(path)
        settled = time.time_ns() - max(stamp[1], stamp[2]) > _SETTLED_NS
        if settled and _stamp(path) == stamp:
            self.known[name] = (stamp, found)
            self._append([name, stamp, found])
        return found

    def _append(self, entry: list[object]) -> None:
        line = f"\n{json.dumps(entry)}\n".encode()  # the first newline ends a line that a crash cut short
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)
        except OSError:
            pass  # the index saves time only: where it cannot be written, files are hashed again


@functools.cache
def _index(file: Path) -> _SourceIndex:
    return _SourceIndex(file)
