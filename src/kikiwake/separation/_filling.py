"""Separates what is not kept yet, in processes that may crash."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch

from kikiwake.devices import describe_device, out_of_memory
from kikiwake.errors import AudioError, KikiwakeError, SeparationError, StorageError
from kikiwake.manifest import Manifest
from kikiwake.parallel import Result, map_isolated, progress
from kikiwake.predictions import SetAside, path_text
from kikiwake.recipe import Data
from kikiwake.separation._summary import SeparateSummary, spelled_bytes
from kikiwake.separators import memory_remedy
from kikiwake.stems import FEWER_AT_ONCE, Stems, identified

Say = Callable[..., object]

_MOST_WORKERS = 4
"""A model of Demucs takes about a gigabyte in each."""
_SECONDS, _SECONDS_A_SECOND = 300.0, 60.0
"""After which time a recording counts as one that hangs: at least, and for each second of sound."""
_SHARE = 0.6
"""Of 16-bit samples that usually is left when they are packed."""


class _Made(NamedTuple):
    """What was lost of a recording that was separated, and how many segments at once there was memory for."""

    damage: str | None
    batch_size: int


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
        SeparationError: memory runs out, or the separator fails; what was made until then is kept.
        StorageError: the disk cannot take what is expected, or an entry cannot be written.
    """
    data = data if data.separator_identity is not None else identified(data)
    stems = Stems(data)
    todo, unread = _missing(stems, recordings)
    set_aside = list(unread)
    seconds = sum(recordings[path] for path in todo)
    workers = _workers(stems) if workers is None else workers
    workers = min(workers, len(todo))
    if todo:
        expected = 2.0 * seconds * data.sample_rate * len(stems.separator.stems) * _SHARE
        say(
            "separating %d of %d recordings (%.2f h) into %s on %s: about %s in %s",
            *(len(todo), len(recordings), seconds / 3600, ", ".join(stems.separator.stems)),
            *(describe_device(stems.separator.device), spelled_bytes(expected), stems.cache.folder),
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
        heard, at_once = 0.0, stems.separator.batch_size
        for path, result in results:
            bar.advance(round(heard + recordings[path]) - round(heard))
            heard += recordings[path]
            if result.value is None:
                set_aside.append(_failed(path, result, stems=stems, say=say))
                continue
            if result.value.damage:
                set_aside.append(SetAside(path_text(path), 0.0, result.value.damage, "partial"))
            if result.value.batch_size < at_once:
                say(FEWER_AT_ONCE, at_once, result.value.batch_size)
                at_once = result.value.batch_size
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


def _failed(path: Path, result: Result[_Made], *, stems: Stems, say: Say) -> SetAside:
    """Return what is noted of a recording that cannot be read, or makes its decoder crash or hang.

    Raises:
        KikiwakeError: anything else, for it is not the recording's fault and others would meet it, too.
    """
    error = result.exception
    if isinstance(error, AudioError):
        return SetAside(path_text(path), 0.0, error.what, "unreadable")
    if isinstance(error, KikiwakeError):
        raise error
    kept = "what is separated already is kept"
    if result.starved or (error is not None and out_of_memory(error)):
        raise SeparationError(
            f"memory ran out: {result.error.splitlines()[-1] if result.error else error}",
            where=path,
            remedy=f"{memory_remedy(stems.separator.saves_memory)}; {kept}",
        ) from error
    if result.crashed:
        return SetAside(path_text(path), 0.0, str(result.error), "crashed")
    say("%s", result.error)  # the traceback
    raise SeparationError(
        f"separating failed: {str(result.error).splitlines()[-1]}",
        where=path,
        remedy=f"this is not the recording's fault: report it, with what is said above; {kept}",
    ) from error


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


def _make(path: Path) -> _Made:
    damage = _stems[0].make(path)
    return _Made(damage, _stems[0].separator.batch_size)
