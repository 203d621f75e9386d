"""Writing files so that a crash leaves the old one or the new one, whole; hashes of what they hold."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from kikiwake.errors import StorageError


@contextmanager
def replace_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well, it becomes `path` in one step.

    The file is flushed to disk before the rename and the folder after it, so that a power cut leaves either
    the old content or the new. When the block fails, the temporary file is removed and `path` is untouched.

    Raises:
        StorageError: the folder cannot be made or written, or the disk is full.
    """
    temporary = path.with_name(f".{path.name[:50]}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.chmod(_usual_mode())  # some libraries write files that nobody else may read
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
        flush_folder(path.parent)
    except OSError as error:
        raise StorageError(
            f"cannot write: {error.strerror or error}",
            where=path,
            remedy="free some space or choose a folder that can be written, then run the same command again",
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def refuse_to_replace(path: Path, *, beginnings: Sequence[str], is_a: str) -> None:
    """Refuse to write over a file that does not begin with one of `beginnings`, as `is_a` would.

    Raises:
        StorageError: there is such a file, or a folder.
    """
    if path.is_dir():
        raise StorageError("this is a folder", where=path, remedy=f"give a file name for {is_a}")
    if not path.is_file():
        return
    with path.open("rb") as file:
        found = file.read(max(len(beginning.encode()) for beginning in beginnings))
    if found and not any(found.startswith(beginning.encode()) for beginning in beginnings):
        raise StorageError(
            f"there is a file of this name that is no {is_a}, and it would be lost",
            where=path,
            remedy="choose another name, or remove the file first",
        )


@cache
def _usual_mode() -> int:
    """Return the rights that new files have."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def flush_folder(folder: Path) -> None:
    """Make renames inside `folder` survive a power cut, where the file system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot
            raise
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with replace_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, data: Any) -> None:
    """Write `data` as indented JSON, atomically; NaN is refused, for no standard parser reads it."""
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def content_hash(path: Path) -> str:
    """Return the BLAKE2b-160 of a file's bytes, in hexadecimal."""
    digest = blake2b(digest_size=20)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def text_hash(text: str) -> str:
    """Return the BLAKE2b-160 of `text` in UTF-8, in hexadecimal."""
    return blake2b(text.encode(), digest_size=20).hexdigest()
