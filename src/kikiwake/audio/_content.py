"""What a file holds, told by its first bytes and never by its name."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from kikiwake.errors import AudioError

_WINDOW = 1 << 16

_NOT_AUDIO: tuple[tuple[bytes, str, str], ...] = (
    (
        b"version https://git-lfs",
        "is a Git LFS pointer, not the recording itself",
        "run 'git lfs pull' in its folder",
    ),
    (b"\x00\x05\x16\x07", "is an AppleDouble file that macOS puts beside the real one", "leave it out"),
    (b"\x00\x05\x16\x00", "is an AppleSingle file that macOS writes", "leave it out"),
    (b"\x1f\x8b", "is a gzip archive", "unpack it first"),
    (b"PK\x03\x04", "is a zip archive", "unpack it first"),
    (b"BZh", "is a bzip2 archive", "unpack it first"),
    (b"\xfd7zXZ\x00", "is an xz archive", "unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7-Zip archive", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "is a Zstandard archive", "unpack it first"),
    (b"Rar!\x1a\x07", "is a RAR archive", "unpack it first"),
    (b"\x89PNG\r\n\x1a\n", "is a PNG picture", "leave it out"),
    (b"\xff\xd8\xff", "is a JPEG picture", "leave it out"),
    (b"GIF8", "is a GIF picture", "leave it out"),
    (b"%PDF-", "is a PDF document", "leave it out"),
    (b"\x7fELF", "is a program", "leave it out"),
)

_FOREIGN: tuple[tuple[int, bytes, str], ...] = (
    (4, b"ftyp", "MP4 or M4A"),
    (0, b"\x1a\x45\xdf\xa3", "Matroska or WebM"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "Windows Media"),
    (0, b"wvpk", "WavPack"),
    (0, b"\x0b\x77", "AC-3"),
    (0, b"\xff\xf1", "AAC"),
    (0, b"\xff\xf9", "AAC"),
    (0, b"ADIF", "AAC"),
    (0, b"MAC ", "Monkey's Audio"),
    (0, b"TTA1", "True Audio"),
    (0, b"tBaK", "TAK"),
    (0, b"MPCK", "Musepack"),
    (0, b"MP+", "Musepack"),
    (0, b"DSD ", "DSF"),
    (0, b"FRM8", "DSDIFF"),
    (0, b"#!AMR", "AMR"),
    (0, b".RMF", "RealMedia"),
    (0, b"FLV\x01", "Flash video"),
    (8, b"AVI ", "AVI"),
    (0, b"\x00\x00\x01\xba", "MPEG video"),
)


class FileBytes:
    """A file's bytes by position, read through one window that moves."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.size = os.fstat(descriptor).st_size
        self._offset = 0
        self._window = b""

    def at(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on, fewer at the file's end."""
        begin = offset - self._offset
        if begin < 0 or begin + length > len(self._window):
            self._window = os.pread(self.descriptor, max(length, _WINDOW), offset)
            self._offset, begin = offset, 0
        return self._window[begin : begin + length]


def open_regular(path: Path) -> int:
    """Open `path` for reading and return its descriptor.

    Raises:
        AudioError: there is no such file, it is empty, may not be read, or is a folder, pipe or device.
    """
    try:
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            raise AudioError("is a folder, not a recording", where=path)
        if not stat.S_ISREG(kind):
            raise AudioError("is a pipe, socket or device, not a file", where=path)
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise AudioError(f"cannot be opened: {error.strerror}", where=path) from error
    if os.fstat(descriptor).st_size == 0:
        os.close(descriptor)
        raise AudioError("is empty (0 bytes)", where=path, remedy="copy or record it again")
    return descriptor


def refuse_what_is_no_audio(head: bytes, *, path: Path) -> None:
    """Name the usual things that stand where a recording should.

    Raises:
        AudioError: `head` begins an archive, a picture, a web page, a Git LFS pointer or the like.
    """
    for magic, what, remedy in _NOT_AUDIO:
        if head.startswith(magic):
            raise AudioError(what, where=path, remedy=remedy)
    beginning = head[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if beginning.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<svg")):
        raise AudioError("is a web page or XML: a download that failed", where=path, remedy="get it again")


def is_text(head: bytes) -> bool:
    """Whether `head` is plain text: printable UTF-8 and no control characters."""
    try:
        text = head[:512].decode()
    except UnicodeDecodeError as error:
        if error.start < len(head[:512]) - 3:
            return False
        text = head[: error.start].decode()
    return bool(text) and all(character.isprintable() or character in "\t\r\n\f" for character in text)


def foreign_format(head: bytes) -> str | None:
    """Return the name of a format that FFmpeg reads and libsndfile does not, or None."""
    for offset, magic, name in _FOREIGN:
        if head[offset : offset + len(magic)] == magic:
            return name
    return None


def id3_end(data: FileBytes, *, start: int = 0) -> int:
    """Return the position after all ID3v2 tags that stand one after another from `start`."""
    while (tag := data.at(start, 10))[:3] == b"ID3" and len(tag) == 10 and max(tag[6:]) < 0x80:
        size = (tag[6] << 21) | (tag[7] << 14) | (tag[8] << 7) | tag[9]
        start += 10 + size + (10 if tag[5] & 0x10 else 0)
    return start
