"""MPEG audio frames: counting them and leaving out what is none (ISO/IEC 11172-3 section 2.4.1.3).

libsndfile estimates the length of an MP3 without a Xing header from its first frame, and reads no further.
Here the frames are counted, and the stream is handed on behind a Xing header that says the truth.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from kikiwake.audio._content import FileBytes, id3_end

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_DECODER_DELAY = 529
_LEADING_LIMIT = 1 << 20
_SLACK_BYTES = 4096
_KBITS_PER_SECOND = {
    (1, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


@dataclass(frozen=True)
class FrameHeader:
    """The four bytes before a frame. `size` in bytes, head included; `samples` a channel; `rate` in Hz."""

    size: int
    samples: int
    rate: int
    layer: int
    mono: bool
    low_rate: bool

    @property
    def side_information(self) -> int:
        """Bytes between the header and the main data of a layer III frame, where a Xing tag stands."""
        if self.low_rate:
            return 9 if self.mono else 17
        return 17 if self.mono else 32


@lru_cache(maxsize=4096)
def parse_header(word: bytes) -> FrameHeader | None:
    """Read a frame's first four bytes; None where they are no header of known bit rate."""
    value = int.from_bytes(word, "big")
    version, layer_bits = value >> 19 & 3, value >> 17 & 3
    bitrate, rate_index = value >> 12 & 15, value >> 10 & 3
    if len(word) < 4 or value >> 21 != 0x7FF or version == 1 or layer_bits == 0:
        return None
    if bitrate in (0, 15) or rate_index == 3:
        return None
    layer, low_rate = 4 - layer_bits, version != 3
    kbits = _KBITS_PER_SECOND[(2 if low_rate else 1, layer)][bitrate]
    rate = (44100, 48000, 32000)[rate_index] >> {3: 0, 2: 1, 0: 2}[version]
    samples = 384 if layer == 1 else 576 if layer == 3 and low_rate else 1152
    slot = 4 if layer == 1 else 1
    size = (samples // 8 * kbits * 1000 // rate // slot + (value >> 9 & 1)) * slot
    return FrameHeader(size, samples, rate, layer, value >> 6 & 3 == 3, low_rate)


@dataclass(frozen=True)
class Tag:
    """A Xing or Info tag: how many frames and bytes its encoder wrote, where it says so."""

    frames: int | None
    size: int | None
    frames_field: int


@dataclass(frozen=True)
class MpegStream:
    """Where MPEG audio begins and ends in a file. `after_tags`: where it should begin."""

    after_tags: int
    start: int
    end: int
    first: FrameHeader
    tag: Tag | None

    @property
    def trustworthy(self) -> bool:
        """Whether the tag counts the frames, and of as many bytes as are there."""
        if self.tag is None or self.tag.frames is None or self.tag.size is None:
            return False
        return abs(self.end - self.start - self.tag.size) <= _SLACK_BYTES


@dataclass(frozen=True)
class Scan:
    """All whole frames of a stream. `parts`: position and size of the stretches that hold nothing else.

    `skipped`: bytes between and around them that are neither frames nor tags. `cut`: the last frame is not
    whole.
    """

    frames: int
    parts: Sequence[tuple[int, int]]
    skipped: int
    skipped_seconds: float
    cut: bool

    @property
    def damage(self) -> str | None:
        """What is wrong with the stream, in words."""
        notes = []
        if self.skipped:
            amount = f"{self.skipped} bytes (about {self.skipped_seconds:.2f} s)"
            notes.append(f"{amount} are no MPEG audio and were skipped")
        if self.cut:
            notes.append("the file is cut off inside a frame")
        return "; ".join(notes) or None


def find_stream(data: FileBytes, *, start: int = 0, end: int | None = None) -> MpegStream | None:
    """Find the first frame that is followed by others of its kind, after tags and little else."""
    end = data.size if end is None else end
    after_tags = id3_end(data, start=start)
    first = _find_frame(data, start=after_tags, end=end, limit=_LEADING_LIMIT)
    header = None if first is None else parse_header(data.at(first, 4))
    if first is None or header is None:
        return None
    tag = _read_tag(data.at(first, header.size), header)
    return MpegStream(after_tags, first, _without_trailing_tags(data, end), header, tag)


def scan(data: FileBytes, stream: MpegStream) -> Scan:
    """Walk over all frames of `stream`, over damage too."""
    parts: list[tuple[int, int]] = []
    position = begin = stream.start
    frames = 0
    leading = stream.start - stream.after_tags
    skipped = 0 if _is_padding(data, stream.after_tags, stream.start) else leading
    kind = (stream.first.rate, stream.first.layer, stream.first.low_rate)
    while position < stream.end:
        header = parse_header(data.at(position, 4))
        if header is not None and (header.rate, header.layer, header.low_rate) == kind:
            if position + header.size > stream.end:
                break
            frames += 1
            position += header.size
            continue
        if position > begin:
            parts.append((begin, position - begin))
        following = id3_end(data, start=position)
        if following == position:
            found = _find_frame(data, start=position + 1, end=stream.end, kind=kind)
            following = stream.end if found is None else found
            skipped += (
                0 if found is None and _is_padding(data, position, stream.end) else following - position
            )
        position = begin = following
    if min(position, stream.end) > begin:
        parts.append((begin, position - begin))
    whole = sum(size for _, size in parts)
    seconds = frames * stream.first.samples / stream.first.rate * skipped / max(whole, 1)
    return Scan(frames, parts, skipped, seconds, cut=position < stream.end)


def splice(data: FileBytes, stream: MpegStream, found: Scan) -> tuple[Spliced, int]:
    """Return a file of whole frames only, behind a true Xing header, and how many samples to leave out first.

    A decoder drops its own delay after a Xing header. Where the file had none, a silent frame is put before
    the first, so that dropping the rest of it gives what the bare stream gives.
    """
    parts: list[bytes | tuple[int, int]] = list(found.parts)
    if stream.first.layer != 3:
        return Spliced(data.descriptor, parts), 0
    if stream.tag is not None and stream.tag.frames is not None:
        head = bytearray(data.at(stream.start, stream.first.size))
        field = stream.tag.frames_field
        head[field : field + 4] = (found.frames - 1).to_bytes(4, "big")
        begin, size = found.parts[0]
        parts[0] = (begin + len(head), size - len(head))
        return Spliced(data.descriptor, [bytes(head), *parts]), 0
    silent = _silent_frame(data.at(stream.start, 4))
    head = bytearray(silent)
    field = 4 + stream.first.side_information
    head[field : field + 12] = b"Xing" + (1).to_bytes(4, "big") + (found.frames + 1).to_bytes(4, "big")
    return Spliced(data.descriptor, [bytes(head), silent, *parts]), stream.first.samples - _DECODER_DELAY


class Spliced(io.RawIOBase):
    """A file to read from that is made of byte strings and of parts of another file."""

    def __init__(self, descriptor: int, parts: Sequence[bytes | tuple[int, int]]) -> None:
        self._descriptor = descriptor
        self._parts = parts
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: sum(map(_size, self._parts))}[
            whence
        ]
        self._position = max(base + offset, 0)
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        done, begin = 0, 0
        for part in self._parts:
            inside = self._position - begin
            begin += _size(part)
            if inside >= _size(part):
                continue
            if done == len(view):
                break
            length = min(_size(part) - inside, len(view) - done)
            if isinstance(part, bytes):
                got = part[inside : inside + length]
            else:
                got = os.pread(self._descriptor, length, part[0] + inside)
            view[done : done + len(got)] = got
            done += len(got)
            self._position += len(got)
            if len(got) < length:
                break
        return done


def _size(part: bytes | tuple[int, int]) -> int:
    return len(part) if isinstance(part, bytes) else part[1]


def _silent_frame(first: bytes) -> bytes:
    """A frame of the kind of `first` whose bit rate leaves room for a tag, without checksum, all zero."""
    word = int.from_bytes(first, "big") & ~0x0000_F200 | 0x0001_9000
    header = parse_header(word.to_bytes(4, "big"))
    assert header is not None, "bit rate index 9 is valid in every version and layer"
    return word.to_bytes(4, "big") + bytes(header.size - 4)


def _read_tag(frame: bytes, header: FrameHeader) -> Tag | None:
    for begin in (4 + header.side_information, 6 + header.side_information):
        if header.layer == 3 and frame[begin : begin + 4] in (b"Xing", b"Info"):
            flags = int.from_bytes(frame[begin + 4 : begin + 8], "big")
            numbers = [int.from_bytes(frame[begin + at : begin + at + 4], "big") for at in (8, 12)]
            counted = flags & 1 != 0
            size = numbers[1 if counted else 0] if flags & 2 else None
            return Tag(numbers[0] if counted else None, size, begin + 8)
    return None


def _find_frame(
    data: FileBytes,
    *,
    start: int,
    end: int,
    limit: int | None = None,
    kind: tuple[int, int, bool] | None = None,
) -> int | None:
    """Return where the next frame begins that others of its kind follow, or that ends the stream."""
    stop = end if limit is None else min(end, start + limit)
    while start < stop:
        window = data.at(start, min(1 << 15, stop - start))
        ahead = window.find(b"\xff")
        if ahead < 0:
            start += max(len(window), 1)
        elif _begins_chain(data, start + ahead, end=end, kind=kind):
            return start + ahead
        else:
            start += ahead + 1
    return None


def _begins_chain(data: FileBytes, position: int, *, end: int, kind: tuple[int, int, bool] | None) -> bool:
    for following in range(3):
        header = parse_header(data.at(position, 4))
        if header is None:
            return following > 0 and (position >= end or _is_tag(data.at(position, 11)))
        if kind is not None and kind != (header.rate, header.layer, header.low_rate):
            return False
        kind = (header.rate, header.layer, header.low_rate)
        if position + header.size > end:
            return following > 0
        position += header.size
    return True


def _is_tag(head: bytes) -> bool:
    return head.startswith((b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN"))


def _is_padding(data: FileBytes, start: int, end: int) -> bool:
    """Whether what stands from `start` to `end` is nothing, zeros or a tag."""
    head = data.at(start, min(end - start, 1 << 15))
    return _is_tag(head) or not head.strip(b"\0")


def _without_trailing_tags(data: FileBytes, end: int) -> int:
    if data.at(end - 128, 3) == b"TAG":
        end -= 128
    footer = data.at(max(end - 32, 0), 32)
    if footer.startswith(b"APETAGEX"):
        has_header = int.from_bytes(footer[20:24], "little") >> 31
        end -= int.from_bytes(footer[12:16], "little") + 32 * has_header
    return max(end, 0)
