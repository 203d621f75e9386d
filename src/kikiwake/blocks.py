"""Sound on disk in packed blocks, of which any stretch and any channel is read without the rest.

Samples become 16-bit integers, with a scale of their own for each block and channel: the smallest power of
two that its loudest sample does not exceed, and at least 2^-6. A sample is off by at most 1/65534 of that
scale, which is 96 dB below it. They are packed without loss (`kikiwake._bitpacking`) in a third of float32's
size or less, and read about as fast as float32 itself.

A file is written in one step, in flat memory. Every block has a checksum, which is compared when a process
first reads it.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from kikiwake.errors import StorageError
from kikiwake.files import replace_atomically

Samples = NDArray[np.float32]

BLOCK = 1 << 16
"""Samples a channel in a block, but for the last one."""

LAYOUT = 2
"""Counts up whenever files are laid out in another way."""

_NAME = b"kikiwake blocks "
_MARK = _NAME + b"%d\n" % LAYOUT
_TAIL = struct.Struct("<QQ20s")  # bytes of the table and of the description, and the hash of both
_ROW = np.dtype([("at", "<u8"), ("size", "<u4"), ("scale", "<f4"), ("check", "<u4")])
_FULL = 32767
_LEAST_SCALE = 2.0**-6


class Compared(NamedTuple):
    """Which blocks of a file were compared with their checksums. `stamp`: tells the file apart."""

    stamp: tuple[int, int, int]
    blocks: NDArray[np.bool_]


class DamagedBlocks(StorageError):  # noqa: N818 - says what is found, and is handled more often than shown
    """A file of blocks is not what was written, or not of this kind."""


def write_blocks(path: Path, pieces: Iterable[Samples], *, about: Mapping[str, Any]) -> int:
    """Write sound and return its length in samples.

    `pieces`: `[C, n]`, all of `BLOCK` samples but the last one. `about`: what to say of it, in JSON's types.

    Raises:
        StorageError: it cannot be written.
    """
    from kikiwake import _bitpacking

    frames = 0
    rows: list[tuple[int, int, float, int]] = []
    tables: list[bytes] = []
    with replace_atomically(path) as temporary, temporary.open("wb") as file:
        at = file.write(_MARK)
        for piece in pieces:
            assert not frames % BLOCK, "only the last piece may be shorter"
            frames += piece.shape[1]
            for samples in piece:
                whole, scale = _as_integers(samples)
                table, words = _bitpacking.packed(whole)
                content = words.astype("<u4", copy=False).tobytes()
                rows.append((at, len(content), scale, crc32(content)))
                tables.append(table.astype("<i4", copy=False).tobytes())
                at += file.write(content)
        index = np.array(rows, _ROW).tobytes() + b"".join(tables)
        description = json.dumps({"frames": frames, "blocks": len(rows), "about": dict(about)}).encode()
        file.write(index + description)
        file.write(_TAIL.pack(len(index), len(description), _hash(index + description)) + _MARK)
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

    `known`: another opening of what may be the same file. What was compared there is not compared again,
    unless the file is another one. Processes that are forked may read the same one.

    Raises:
        DamagedBlocks: its end is not what was written.
        StorageError: it cannot be read; FileNotFoundError is passed on.
    """

    def __init__(self, path: Path, *, known: Compared | None = None) -> None:
        self.path = path
        self._descriptor = -1
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._read_index()
        except BaseException:
            self.close()
            raise
        found = os.fstat(self._descriptor)
        stamp = found.st_ino, found.st_size, found.st_mtime_ns
        fresh = Compared(stamp, np.zeros(len(self._rows), bool))
        self.compared = known if known is not None and known.stamp == stamp else fresh

    def _read_index(self) -> None:
        from kikiwake._bitpacking import ROW, words_before

        size = os.fstat(self._descriptor).st_size
        tail = size - _TAIL.size - len(_MARK)
        if tail < len(_MARK) or self._bytes(size - len(_MARK), len(_MARK)) != _MARK:
            raise DamagedBlocks("cut short, or no file of blocks", where=self.path)
        index_size, description_size, hashed = _TAIL.unpack(self._bytes(tail, _TAIL.size))
        begin = tail - index_size - description_size
        index = self._bytes(begin, tail - begin) if begin >= len(_MARK) else b""
        if _hash(index) != hashed:
            raise DamagedBlocks("its index is damaged", where=self.path)
        description = json.loads(index[index_size:])
        self.frames: int = description["frames"]
        self.about: dict[str, Any] = description["about"]
        blocks: int = description["blocks"]
        self._rows = np.frombuffer(index, _ROW, blocks)
        tables = index[blocks * _ROW.itemsize : index_size]
        self._tables = np.frombuffer(tables, "<i4").reshape(-1, ROW)
        self._words = words_before(self._tables)
        self._channels = blocks // max(1, -(-self.frames // BLOCK))

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
            low, high = max(start, begin), min(stop, begin + BLOCK)
            for row, channel in zip(found, channels, strict=True):
                self._read_block(number, channel, low - begin, row[low - start : high - start])
        return found

    def _read_block(self, number: int, channel: int, start: int, out: NDArray[np.float32]) -> None:
        """Fill `out` with a block's samples of one channel from its sample `start` on."""
        from kikiwake._bitpacking import FRAME, unpack

        place = number * self._channels + channel
        row = self._rows[place]
        frames = -(-min(BLOCK, self.frames - number * BLOCK) // FRAME)
        before = number * self._channels * (BLOCK // FRAME) + channel * frames
        first, last = before + start // FRAME, before - (-(start + len(out)) // FRAME)
        self._compare(place)
        at, stop = (
            int(row["at"]) + 4 * int(self._words[frame] - self._words[before]) for frame in (first, last)
        )
        unpack(
            np.frombuffer(self._bytes(at, stop - at), "<u4"),
            self._tables[first:last],
            skip=start % FRAME,
            step=np.float32(row["scale"] / _FULL),
            out=out,
        )

    def check(self) -> None:
        """Compare all checksums.

        Raises:
            DamagedBlocks: a block is not what was written.
            StorageError: it cannot be read.
        """
        self.compared.blocks[:] = False
        for place in range(len(self._rows)):
            self._compare(place)

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        self.close()

    def _compare(self, place: int) -> None:
        """Compare a block with its checksum, unless that was done."""
        if self.compared.blocks[place]:
            return
        row = self._rows[place]
        if crc32(self._bytes(int(row["at"]), int(row["size"]))) != row["check"]:
            raise DamagedBlocks("a block is damaged", where=self.path)
        self.compared.blocks[place] = True

    def _bytes(self, at: int, count: int) -> bytes:
        try:
            return os.pread(self._descriptor, count, at)
        except OSError as error:
            raise StorageError(f"cannot be read: {error.strerror or error}", where=self.path) from error


def _as_integers(samples: Samples) -> tuple[NDArray[np.int16], float]:
    """Return the samples as 16-bit integers, and their scale."""
    peak = float(np.abs(samples).max(initial=0.0))
    scale = 2.0 ** np.ceil(np.log2(max(peak, _LEAST_SCALE)))
    return np.rint(samples * np.float32(_FULL / scale)).astype(np.int16), float(scale)


def _hash(content: bytes) -> bytes:
    return blake2b(content, digest_size=20).digest()
