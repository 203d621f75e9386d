"""Separates what is not kept yet, in processes that may crash."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch

from kikiwake.errors import AudioError, KikiwakeError, StorageError
from kikiwake.manifest import Manifest
from kikiwake.parallel import map_isolated, progress
from kikiwake.predictions import SetAside, path_text
from kikiwake.recipe import Data
from kikiwake.separation._summary import SeparateSummary, spelled_bytes
from kikiwake.stems import Stems, identified

Say = Callable[..., object]

_MOST_WORKERS = 4
"""A model of Demucs takes about a gigabyte in each."""
_SECONDS, _SECONDS_A_SECOND = 300.0, 60.0
"""After which time a recording counts as one that hangs: at least, and for each second of sound."""
_SHARE = 0.6
"""Of 16-bit samples that usually is left when they are packed."""


def recordings_of(manifest: Manifest, rows: Iterable[int] | None = None) -> dict[Path, float]:
    """Return the recordings of a manifest's rows, each once, with their lengths in seconds."""
    clips = [manifest[row] for row in (range(len(manifest)) if rows is None else rows)]
    return {clip.path: clip.frames / clip.sr for clip in clips}


def fill(
    data: Data,
    recordings: Mapping[Path, float],
    *,
    workers: int | None = None,
    say: Say = lambda *_: None,
    quiet: bool = False,
) -> SeparateSummary:
    """Separate the recordings whose stems are not kept, or damaged; `recordings` gives lengths in seconds.

    Raises:
        KikiwakeError: the separator cannot be built.
        StorageError: the disk cannot take what is expected, or an entry cannot be written.
    """
    data = identified(data)
    stems = Stems(data)
    todo, unread = _missing(stems, recordings)
    set_aside = list(unread)
    seconds = sum(recordings[path] for path in todo)
    workers = _workers(stems) if workers is None else workers
    workers = min(workers, len(todo))
    if todo:
        expected = 2.0 * seconds * data.sample_rate * len(stems.separator.stems) * _SHARE
        say(
            "separating %d of %d recordings (%.2f h) into %s: about %s in %s",
            *(len(todo), len(recordings), seconds / 3600, ", ".join(stems.separator.stems)),
            *(spelled_bytes(expected), stems.cache.folder),
        )
        _check_space(stems.cache.folder, expected)
    started = time.monotonic()
    longest = max((recordings[path] for path in todo), default=0.0)
    with progress(max(1, round(seconds)), description="separate", unit="s of sound", quiet=quiet) as bar:
        results = map_isolated(
            _make,
            todo,
            workers=workers,
            timeout_seconds=_SECONDS + _SECONDS_A_SECOND * longest,
            initializer=_begin,
            initargs=(data, max(1, _cores() // max(1, workers)) if workers else None),
        )
        heard = 0.0
        for path, result in results:
            bar.advance(round(heard + recordings[path]) - round(heard))
            heard += recordings[path]
            error = result.exception
            if isinstance(error, KikiwakeError) and not isinstance(error, AudioError):
                raise error
            if result.error is not None:
                kind = "crashed" if result.crashed else "unreadable"
                reason = error.what if isinstance(error, AudioError) else result.error
                set_aside.append(SetAside(path_text(path), 0.0, reason, kind))
            elif result.value:
                set_aside.append(SetAside(path_text(path), 0.0, result.value, "partial"))
    failed = {note.path for note in set_aside if note.kind != "partial"}
    kept = [path for path in recordings if path_text(path) not in failed]
    return SeparateSummary(
        folder=stems.cache.folder,
        stems=stems.separator.stems,
        made=sum(path_text(path) not in failed for path in todo),
        there=len(recordings) - len(todo) - len(unread),
        sound_seconds=seconds,
        elapsed_seconds=time.monotonic() - started,
        size=sum(stems.entry(path).stat().st_size for path in kept),
        others=sum(len(stems.others(path)) for path in kept),
        set_aside=set_aside,
    )


def _missing(stems: Stems, recordings: Iterable[Path]) -> tuple[list[Path], list[SetAside]]:
    """Return the recordings whose stems are not kept whole, and those that cannot even be opened."""
    todo: list[Path] = []
    unread: list[SetAside] = []
    for path in recordings:
        try:
            if stems.kept(path, check=True) is None:
                todo.append(path)
        except AudioError as error:
            unread.append(SetAside(path_text(path), 0.0, error.what, "missing"))
    return todo, unread


def _workers(stems: Stems) -> int:
    return min(_MOST_WORKERS, _cores()) if stems.separator.device.type == "cpu" else 1


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check_space(folder: Path, expected: float) -> None:
    """Refuse to begin what the disk cannot hold.

    Raises:
        StorageError: it has less space than is expected.
    """
    there = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(there).free
    if expected > free:
        raise StorageError(
            f"the stems will take about {spelled_bytes(expected)}, and {spelled_bytes(free)} are free",
            where=folder,
            remedy="free some space, or choose another folder with data.cache_folder",
        )


_stems: list[Stems] = []


def _begin(data: Data, threads: int | None) -> None:
    """Begin a worker."""
    if threads is not None:
        torch.set_num_threads(threads)
    _stems[:] = [Stems(data)]


def _make(path: Path) -> str | None:
    return _stems[0].make(path)
