"""Separates recordings ahead of time, and writes their stems as WAV files."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soundfile
import torch

from kikiwake import audio, components
from kikiwake.blocks import BLOCK
from kikiwake.engine import Engine
from kikiwake.errors import AudioError, KikiwakeError, RecipeError, StorageError
from kikiwake.files import replace_atomically
from kikiwake.manifest import Manifest
from kikiwake.parallel import map_isolated, progress
from kikiwake.predictions import SetAside, path_text, write_quarantine
from kikiwake.recipe import Data, Recipe
from kikiwake.stems import Stems, identified

PathLike = str | os.PathLike[str]
Say = Callable[..., object]

_MOST_WORKERS = 4
"""A model of Demucs takes about a gigabyte in each."""
_SECONDS, _SECONDS_A_SECOND = 300.0, 60.0
"""After which time a recording counts as one that hangs: at least, and for each second of sound."""
_SHARE = 0.6
"""Of 16-bit samples that usually is left when they are packed."""


@dataclass(frozen=True)
class SeparateSummary:
    """What separating came to.

    `made` recordings were separated now, in `elapsed_seconds`; `there` were kept already. `sound_seconds` of
    the former. `stems` of each. `set_aside`: what could not be separated, or only in part. `size`: bytes of
    all that is kept of these recordings. `others`: entries of them that other settings made, and stay.
    """

    folder: Path
    stems: Sequence[str]
    made: int
    there: int
    sound_seconds: float
    elapsed_seconds: float
    size: int
    others: int
    set_aside: Sequence[SetAside]
    quarantine: Path | None = None

    @property
    def failed(self) -> list[SetAside]:
        """The recordings of which there are no stems."""
        return [note for note in self.set_aside if note.kind != "partial"]

    def __str__(self) -> str:
        lines = [f"{self.made} recordings separated into {', '.join(self.stems)}; {self.there} were there"]
        if self.made:
            speed = self.sound_seconds / max(self.elapsed_seconds, 1e-9)
            lines.append(f"{self.elapsed_seconds:.1f} s, {speed:.1f} times real time")
        lines.append(f"stems: {_bytes(self.size)} in {self.folder}")
        if self.others:
            lines.append(f"note: {self.others} entries of other settings or layouts stay there unused")
        if self.set_aside:
            lines.append(f"set aside, wholly or in part: {len(self.set_aside)}")
            shown = self.set_aside[:5] if self.quarantine is None else ()
            lines += [f"  {note.path}: {note.reason.splitlines()[0]}" for note in shown]
            lines += [f"  see {self.quarantine}"] if self.quarantine else []
        return "\n".join(lines)


def separation_settings(
    *,
    recipe: str | Path | Recipe | None = None,
    overrides: Sequence[str] = (),
    separator: str | None = None,
    options: Mapping[str, Any] | None = None,
    sample_rate: int | None = None,
    cache_folder: Path | None = None,
) -> Data:
    """Return how to separate: as a recipe says, or with a separator, its `options` and a rate in Hz (22,050).

    Raises:
        RecipeError: both or none are given, the recipe separates nothing, or an option is wrong or of no use.
    """
    if (recipe is None) == (separator is None):
        raise RecipeError("give either a recipe or a separator", where="separate")
    if recipe is not None and (options or sample_rate):
        what = "the options and sample rate of a separator do not go with a recipe"
        raise RecipeError(
            what, where="separate", remedy="write data.separator={...} data.sample_rate=... behind"
        )
    if separator is not None and overrides:
        what = "settings of a recipe do not go with a separator alone"
        raise RecipeError(
            what, where="separate", value=list(overrides), remedy="use --option and --sample-rate"
        )
    if recipe is not None:
        data = Recipe.load(recipe, *overrides).data
        if data.separator is None:
            raise RecipeError("this recipe separates nothing", where="data.separator", value=None)
        return data if cache_folder is None else data.model_copy(update={"cache_folder": cache_folder})
    node = components.resolve("separators", {"name": separator, **(options or {})}, where="--separator")
    return Data(
        sample_rate=sample_rate or 22_050,
        crop={"name": "whole"},
        separator=node,
        stems=list(components.part("separators", node["name"]).stems),
        cache_folder=cache_folder,
    )


def separate(
    manifest: PathLike, data: Data, *, workers: int | None = None, say: Say = lambda *_: None
) -> SeparateSummary:
    """Separate every recording of a manifest that is not kept yet; interrupted, the same call goes on.

    What cannot be separated stands in a list beside the manifest (`clips.stems.quarantine.csv`). `workers`:
    processes; by default at most four on CPUs and one on a GPU; 0 for this one. `say`: is told, as a logger's
    `info`, how much there is to do.

    Raises:
        KikiwakeError: the manifest or the separator is wrong.
        StorageError: the disk cannot take what is expected, or an entry cannot be written.
    """
    path = Path(manifest)
    found = fill(data, recordings_of(Manifest.read(path)), workers=workers, say=say)
    quarantine = path.with_name(f"{path.stem}.stems.quarantine.csv")
    write_quarantine(quarantine, found.set_aside)
    return SeparateSummary(**{**vars(found), "quarantine": quarantine})


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
            *(_bytes(expected), stems.cache.folder),
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


def separate_clips(
    manifest: Manifest, rows: Iterable[int], *, data: Data, say: Say, computer: Engine | None = None
) -> None:
    """Separate what a model is about to hear; nothing where its recipe separates nothing.

    Under `torchrun` the processes share the work.

    Raises:
        AudioError: recordings cannot be separated.
    """
    if data.separator is None:
        return
    wanted = list(recordings_of(manifest, rows).items())
    mine = dict(wanted[computer.rank :: computer.processes] if computer else wanted)
    quiet = computer is not None and not computer.first
    found = fill(data, mine, say=say, workers=None if data.workers else 0, quiet=quiet)
    if computer is not None:
        computer.gather(None)  # no process reads before all have written
    if found.made:
        for line in str(found).splitlines():
            say("%s", line)
    if found.failed:
        first = found.failed[0]
        raise AudioError(
            f"{len(found.failed)} recordings cannot be separated; of the first it is said: {first.reason}",
            where=first.path,
            remedy="`kikiwake separate` lists all of them; take them out of the manifest",
        )


def export_stems(
    files: Iterable[PathLike],
    out: PathLike,
    data: Data,
    *,
    ids: Collection[str] = (),
    stems: Sequence[str] | None = None,
) -> list[Path]:
    """Write stems as WAV files of 32-bit floats: `OUT/<recording>/<stem>.wav`; return their names.

    `files`: manifests and recordings. `ids`: names of files without their suffixes; empty for all. `stems`:
    which; None for all that `data` names. What is kept is not separated again, and nothing new is kept.

    Raises:
        KikiwakeError: no such recording or stem.
        AudioError: a recording cannot be read.
        StorageError: a file cannot be written.
    """
    recordings = _named(files, ids)
    data = data.model_copy(update={"stems": list(stems)}) if stems is not None else data
    heard = Stems(data)
    seen: Counter[str] = Counter()
    written: list[Path] = []
    with progress(len(recordings), description="export", unit="recordings") as bar:
        for path in recordings:
            seen[path.stem] += 1
            number = f"-{seen[path.stem]}" if seen[path.stem] > 1 else ""
            written += _write_wavs(heard, path, Path(out) / f"{path.stem}{number}")
            bar.advance()
    return written


def _named(files: Iterable[PathLike], ids: Collection[str]) -> list[Path]:
    """Return the recordings that files and manifests name, each once."""
    found: dict[Path, None] = {}
    for file in map(Path, files):
        if file.suffix.lower() == ".csv":
            found.update(dict.fromkeys(recordings_of(Manifest.read(file))))
        elif file.is_dir():
            inside = sorted(path for path in file.rglob("*") if path.suffix.lower() in audio.AUDIO_SUFFIXES)
            found.update(dict.fromkeys(inside))
        else:
            found[file] = None
    chosen = [path for path in found if not ids or path.stem in ids]
    if absent := sorted(set(ids) - {path.stem for path in chosen}):
        raise components.unknown("id", absent[0], {path.stem for path in found}, where="--ids")
    if not chosen:
        raise KikiwakeError("no recordings are named", where="export-stems", remedy="name files or manifests")
    return chosen


def _write_wavs(heard: Stems, path: Path, folder: Path) -> list[Path]:
    """Write the stems of one recording, all at once and in flat memory."""
    files = [folder / f"{name}.wav" for name in heard.names]
    with ExitStack() as stack:
        temporary = [stack.enter_context(replace_atomically(file)) for file in files]
        sinks = [
            stack.enter_context(
                soundfile.SoundFile(file, "w", heard.sample_rate, 1, format="WAV", subtype="FLOAT")
            )
            for file in temporary
        ]
        with heard.stream(path, block=BLOCK) as stream:
            for block in stream:
                for sink, samples in zip(sinks, block, strict=True):
                    sink.write(samples)
    return files


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
            f"the stems will take about {_bytes(expected)}, and {_bytes(free)} are free",
            where=folder,
            remedy="free some space, or choose another folder with data.cache_folder",
        )


def _bytes(count: float) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


_stems: list[Stems] = []


def _begin(data: Data, threads: int | None) -> None:
    """Begin a worker."""
    if threads is not None:
        torch.set_num_threads(threads)
    _stems[:] = [Stems(data)]


def _make(path: Path) -> str | None:
    return _stems[0].make(path)
