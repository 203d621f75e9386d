"""Sound on disk in compressed blocks, of which any stretch and any channel is read without the rest.

Samples become 16-bit integers, with a scale of their own for each block and channel: the smallest power of
two that its loudest sample does not exceed, and at least 2^-6. A sample is off by at most 1/65534 of that
scale, which is 96 dB below it. What is kept is the difference of each sample to the one before, upper and
lower bytes apart, packed by Zstandard: a quarter of float32 for most music, and faster to read than FLAC.

A file is written in one step, in flat memory. Every block has a checksum, which is compared when it is read.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from kikiwake.errors import StorageError
from kikiwake.files import replace_atomically

Samples = NDArray[np.float32]

BLOCK = 1 << 16
"""Samples a channel in a block, but for the last one."""

LAYOUT = 1
"""Counts up whenever files are laid out in another way."""

_NAME = b"kikiwake blocks "
_MARK = _NAME + b"%d\n" % LAYOUT
_TAIL = struct.Struct("<QQ20s")  # bytes of the table and of the description, and the hash of both
_ROW = np.dtype([("at", "<u8"), ("upper", "<u4"), ("lower", "<u4"), ("scale", "<f4"), ("check", "<u4")])
_FULL = 32767
_LEAST_SCALE = 2.0**-6


class DamagedBlocks(StorageError):  # noqa: N818 - says what is found, and is handled more often than shown
    """A file of blocks is not what was written, or not of this kind."""


def write_blocks(path: Path, pieces: Iterable[Samples], *, about: Mapping[str, Any]) -> int:
    """Write sound and return its length in samples.

    `pieces`: `[C, n]`, all of `BLOCK` samples but the last one. `about`: what to say of it, in JSON's types.

    Raises:
        StorageError: it cannot be written.
    """
    frames = 0
    rows: list[list[tuple[int, int, int, float, int]]] = []
    with replace_atomically(path) as temporary, temporary.open("wb") as file:
        at = file.write(_MARK)
        for piece in pieces:
            assert not frames % BLOCK, "only the last piece may be shorter"
            frames += piece.shape[1]
            rows.append([])
            for samples in piece:
                upper, lower, scale = _packed(samples)
                rows[-1].append((at, len(upper), len(lower), scale, crc32(lower, crc32(upper))))
                at += file.write(upper) + file.write(lower)
        table = np.array(rows, _ROW).tobytes()
        description = json.dumps({"frames": frames, "about": dict(about)}).encode()
        file.write(table + description)
        file.write(_TAIL.pack(len(table), len(description), _hash(table + description)) + _MARK)
    return frames


def layout_of(path: Path) -> int | None:
    """Return the layout that a file of blocks says it has, None where it is none or cannot be read."""
    try:
        with path.open("rb") as file:
            number = file.read(len(_NAME) + 4).removeprefix(_NAME).partition(b"\n")[0]
            file.seek(0)
            return int(number) if file.read(len(_NAME)) == _NAME and number.isdigit() else None
    except OSError:
        return None


class BlockFile:
    """Sound that `write_blocks` wrote, opened; `about` is what was said of it.

    Processes that are forked may read the same one.

    Raises:
        DamagedBlocks: its end is not what was written.
        StorageError: it cannot be read; FileNotFoundError is passed on.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._read_index()
        except BaseException:
            self.close()
            raise

    def _read_index(self) -> None:
        size = os.fstat(self._descriptor).st_size
        tail = size - _TAIL.size - len(_MARK)
        if tail < len(_MARK) or self._bytes(size - len(_MARK), len(_MARK)) != _MARK:
            raise DamagedBlocks("cut short, or no file of blocks", where=self.path)
        table_size, description_size, found = _TAIL.unpack(self._bytes(tail, _TAIL.size))
        begin = tail - table_size - description_size
        index = self._bytes(begin, tail - begin) if begin >= len(_MARK) else b""
        if _hash(index) != found:
            raise DamagedBlocks("its index is damaged", where=self.path)
        description = json.loads(index[table_size:])
        self.frames: int = description["frames"]
        self.about: dict[str, Any] = description["about"]
        rows = np.frombuffer(index[:table_size], _ROW)
        self._rows = rows.reshape(max(1, -(-self.frames // BLOCK)), -1) if len(rows) else rows.reshape(0, 0)

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return os.fstat(self._descriptor).st_size

    def read(self, start: int, frames: int, *, channels: Sequence[int]) -> Samples:
        """Return samples `start` to `start + frames` of some channels, fewer where the sound ends.

        Shape: `[len(channels), frames]`.

        Raises:
            DamagedBlocks: a block is not what was written.
            StorageError: it cannot be read.
        """
        stop = min(start + frames, self.frames)
        found = np.empty((len(channels), max(0, stop - start)), np.float32)
        if stop <= start:
            return found
        for number in range(start // BLOCK, -(-stop // BLOCK)):
            begin = number * BLOCK
            length = min(BLOCK, self.frames - begin)
            low, high = max(start, begin), min(stop, begin + length)
            for row, channel in zip(found, channels, strict=True):
                entry = self._rows[number, channel]
                values = _unpacked(*self._parts(entry), length=length)[: high - begin]
                step = np.float32(entry["scale"] / _FULL)
                np.multiply(values[low - begin :], step, out=row[low - start : high - start])
        return found

    def check(self) -> None:
        """Compare all checksums.

        Raises:
            DamagedBlocks: a block is not what was written.
            StorageError: it cannot be read.
        """
        for entry in self._rows.ravel():
            self._parts(entry)

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        self.close()

    def _parts(self, entry: Any) -> tuple[bytes, bytes]:
        """Return the packed upper and lower bytes of one channel of one block."""
        upper, lower = int(entry["upper"]), int(entry["lower"])
        both = self._bytes(int(entry["at"]), upper + lower)
        if crc32(both) != entry["check"]:
            raise DamagedBlocks("a block is damaged", where=self.path)
        return both[:upper], both[upper:]

    def _bytes(self, at: int, count: int) -> bytes:
        try:
            return os.pread(self._descriptor, count, at)
        except OSError as error:
            raise StorageError(f"cannot be read: {error.strerror or error}", where=self.path) from error


def _packed(samples: Samples) -> tuple[bytes, bytes, float]:
    """Return the upper and the lower bytes of the samples' differences, packed, and their scale."""
    peak = float(np.abs(samples).max(initial=0.0))
    scale = 2.0 ** np.ceil(np.log2(max(peak, _LEAST_SCALE)))
    whole = np.rint(samples * np.float32(_FULL / scale)).astype("<i2")
    steps = np.diff(whole, prepend=np.zeros(1, "<i2"))  # modulo 2^16, as is the sum that undoes it
    lower, upper = np.ascontiguousarray(steps.view(np.uint8).reshape(-1, 2).T)
    codec = _codec()
    return codec.compress(upper.data, asbytes=True), codec.compress(lower.data, asbytes=True), float(scale)


def _unpacked(upper: bytes, lower: bytes, *, length: int) -> NDArray[np.int16]:
    codec = _codec()
    steps = np.frombuffer(codec.decompress(upper, length), np.uint8).astype(np.uint16)
    steps <<= 8
    steps |= np.frombuffer(codec.decompress(lower, length), np.uint8)
    return np.cumsum(steps.view(np.int16), dtype=np.int16)


@cache
def _codec() -> Any:
    import pyarrow  # type: ignore[import-untyped]

    return pyarrow.Codec("zstd", 3)


def _hash(content: bytes) -> bytes:
    return blake2b(content, digest_size=20).digest()
