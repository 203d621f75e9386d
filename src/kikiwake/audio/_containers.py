"""What a container promises: samples that the header counts and the file may not hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from kikiwake.audio._content import FileBytes

_STREAMED = 0x7FFF_0000
_MPEG_TAGS = (0x50, 0x55)
_BLOCK_CODEC_TAGS = (0x02, 0x11, 0x31)
_OGG_TAIL = 1 << 17

Order = Literal["little", "big"]


@dataclass(frozen=True)
class Promise:
    """What the header says beyond what libsndfile repeats.

    `damage`: what is missing, in words. `frames`: the true length, where a codec pads its last block of
    `padded_to` frames. `mpeg`: begin and end of MPEG audio inside another container. `unsized`: position of a
    size field of four bytes that says 0 although samples follow, as a recorder leaves it that lost power.
    """

    damage: str | None = None
    frames: int | None = None
    padded_to: int = 0
    mpeg: tuple[int, int] | None = None
    unsized: int | None = None


def read_promise(data: FileBytes) -> Promise:
    """Compare the sizes in the header of a WAV, RF64, W64, AIFF, AU, CAF or Ogg file with the file's own."""
    head = data.at(0, 16)
    if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64"):
        return _read_wave(data, order="big" if head[:4] == b"RIFX" else "little")
    if head[:4] == b"OggS":
        return Promise(damage=_ogg_damage(data))
    promised = None
    if head[:4] == b"FORM":
        promised = _data_size(_chunks(data, start=12, order="big"), name=b"SSND")
    elif head[:4] == b"caff":
        promised = _data_size(_chunks(data, start=8, order="big", size_width=8), name=b"data")
    elif head[:4] == b"riff":
        promised = _data_size(_guid_chunks(data), name=b"data")
    elif head[:4] in (b".snd", b"dns."):
        order: Order = "big" if head[:4] == b".snd" else "little"
        promised = (int.from_bytes(head[4:8], order), int.from_bytes(head[8:12], order))
    return Promise() if promised is None else Promise(damage=_shortfall(data, *promised))


def _read_wave(data: FileBytes, *, order: Order) -> Promise:
    codec = samples_per_block = 0
    counted: int | None = None
    long_size = 0
    for name, start, size in _chunks(data, start=12, order=order):
        body = data.at(start, min(size, 40))
        if name == b"fmt " and len(body) >= 14:
            codec = int.from_bytes(body[:2], order)
            samples_per_block = int.from_bytes(body[18:20], order)
        elif name == b"fact":
            counted = int.from_bytes(body[:4], order)
        elif name == b"ds64":
            long_size = int.from_bytes(body[8:16], "little")
        elif name == b"data":
            if size == 0xFFFF_FFFF and long_size:
                size = long_size
            if codec in _MPEG_TAGS:
                return Promise(mpeg=(start, min(start + size, data.size)))
            if size == 0:
                return Promise(unsized=start - 4 if _samples_follow(data, start, order=order) else None)
            padded_to = samples_per_block if codec in _BLOCK_CODEC_TAGS else 0
            return Promise(_shortfall(data, start, size), frames=counted, padded_to=padded_to)
    return Promise()


def _chunks(
    data: FileBytes, *, start: int, order: Order, size_width: int = 4
) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, position and size of each chunk's body."""
    while len(head := data.at(start, 4 + size_width)) == 4 + size_width:
        size = int.from_bytes(head[4:], order)
        yield head[:4], start + 4 + size_width, size
        start += 4 + size_width + size + (size & 1 if size_width == 4 else 0)


def _guid_chunks(data: FileBytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the chunks of a Sony Wave64 file: sizes count the head of 24 bytes, bodies fill eights."""
    start = 40
    while len(head := data.at(start, 24)) == 24:
        size = int.from_bytes(head[16:], "little") - 24
        if size < 0:
            return
        yield head[:4], start + 24, size
        start += 24 + (size + 7) // 8 * 8


def _data_size(chunks: Iterator[tuple[bytes, int, int]], *, name: bytes) -> tuple[int, int] | None:
    return next(((start, size) for found, start, size in chunks if found == name), None)


def _samples_follow(data: FileBytes, start: int, *, order: Order) -> bool:
    """Whether what stands after an empty data chunk is something else than further chunks."""
    if data.size - start < 4:
        return False
    end = start
    for name, begin, size in _chunks(data, start=start, order=order):
        if not name.isascii() or not name.decode().isprintable():
            return True
        end = begin + size
    return not data.size - 1 <= end <= data.size + 1


def _shortfall(data: FileBytes, start: int, size: int) -> str | None:
    there = max(data.size - start, 0)
    streamed = (_STREAMED <= size <= 0xFFFF_FFFF and data.size < _STREAMED) or size >= 1 << 62
    if there >= size or streamed:
        return None
    return f"the header promises {size} bytes of samples and {there} are there ({there / size:.0%})"


def _ogg_damage(data: FileBytes) -> str | None:
    """What the last page of an Ogg file tells: cut off, never finished, or of another stream (RFC 3533)."""
    serials, position = set(), 0
    while (page := data.at(position, 27 + 255))[:4] == b"OggS" and page[5] & 2:
        serials.add(page[14:18])
        position += 27 + page[26] + sum(page[27 : 27 + page[26]])
    tail_start = max(data.size - _OGG_TAIL, 0)
    tail = data.at(tail_start, _OGG_TAIL)
    last = tail.rfind(b"OggS\x00")
    if last < 0 or len(tail) - last < 27:
        return "the file is cut off: its last page is not complete"
    page = tail[last:]
    if len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]]):
        return "the file is cut off: its last page is not complete"
    if page[14:18] not in serials:
        return "further streams are chained to the first and were not read"
    if not page[5] & 4:
        return "the file is cut off: the mark at its stream's end is missing"
    return None
