"""What lies in a folder of kept stems and is of no use, or only to other settings."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from kikiwake.blocks import LAYOUT, BlockFile, DamagedBlocks, layout_of
from kikiwake.errors import StorageError

ABANDONED_SECONDS = 3600.0
_ENTRY = re.compile(r"(?P<source>[0-9a-f]{40})\.[0-9a-f]{40}\.stems")
_DAMAGED = re.compile(rf"{_ENTRY.pattern}\.damaged")
_TORN = re.compile(r"\.(?P<source>[0-9a-f]{40})\.[0-9a-f]{9}\.\d+\.\d+\.tmp")


class OldEntries(NamedTuple):
    """Files that the cache wrote. `outdated`: no recipe can use them; `others`: other settings can."""

    outdated: list[Path]
    others: list[Path]


def old_entries(folder: Path, current: Collection[Path], *, arithmetic: int) -> OldEntries:
    """Look through a folder of kept stems.

    Outdated are, of any recording: what an older layout or arithmetic made, entries set aside as damaged, and
    what crashes left half written. Others are the entries of the same recordings as `current` that other
    settings made. Files that do not look in name and content as the cache writes them are neither, and
    neither are those of a newer version.

    Raises:
        StorageError: the folder cannot be read.
    """
    sources = {entry.name[:40] for entry in current}
    found = OldEntries([], [])
    for file in _files(folder):
        name = file.name
        match = _ENTRY.fullmatch(name) or _DAMAGED.fullmatch(name) or _TORN.fullmatch(name)
        if match is None or match["source"][:2] != file.parent.name or file in current:
            continue
        if _DAMAGED.fullmatch(name) or (_TORN.fullmatch(name) and _abandoned(file)):
            found.outdated.append(file)
        elif _ENTRY.fullmatch(name):
            age = _age(file, arithmetic=arithmetic)
            if age == "outdated":
                found.outdated.append(file)
            elif age == "current" and match["source"] in sources:
                found.others.append(file)
    return found


def size_of(files: Iterable[Path]) -> int:
    """Return how many bytes files hold; those that are gone hold none."""
    total = 0
    for file in files:
        try:
            total += file.stat().st_size
        except FileNotFoundError:
            continue
    return total


def remove(files: Iterable[Path]) -> None:
    """Remove files.

    Raises:
        StorageError: one cannot be removed.
    """
    for file in files:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            what = f"cannot be removed: {error.strerror or error}"
            raise StorageError(what, where=file, remedy="look who owns its folder") from error


def _files(folder: Path) -> list[Path]:
    """Return the files of all entries' folders, links left out, in order."""
    try:
        return sorted(
            file
            for file in folder.glob("[0-9a-f][0-9a-f]/*")
            if file.is_file() and not file.is_symlink() and not file.parent.is_symlink()
        )
    except OSError as error:
        raise StorageError(f"cannot be read: {error.strerror or error}", where=folder) from error


def _abandoned(file: Path) -> bool:
    try:
        return time.time() - file.stat().st_mtime > ABANDONED_SECONDS
    except FileNotFoundError:
        return False


def _age(file: Path, *, arithmetic: int) -> str:
    """Say whether an entry is "outdated", "current", or "unknown": newer, gone, or none of ours."""
    layout = layout_of(file)
    if layout is None or layout > LAYOUT:
        return "unknown"
    if layout < LAYOUT:
        return "outdated"
    try:
        made_with = BlockFile(file).about.get("arithmetic", 0)
    except DamagedBlocks:
        return "outdated"
    except (OSError, StorageError):
        return "unknown"
    if made_with > arithmetic:
        return "unknown"
    return "outdated" if made_with < arithmetic else "current"
