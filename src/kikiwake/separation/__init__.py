"""Separates recordings ahead of time, and writes their stems as WAV files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from kikiwake.engine import Engine
from kikiwake.errors import AudioError
from kikiwake.manifest import Manifest
from kikiwake.predictions import write_quarantine
from kikiwake.recipe import Data
from kikiwake.separation._filling import Say, fill, recordings_of
from kikiwake.separation._settings import separation_settings
from kikiwake.separation._summary import NO_ENTRIES, Entries, SeparateSummary, StemExport
from kikiwake.separation._wav_files import export_stems
from kikiwake.stems import OldEntries, Stems, identified, remove, size_of

__all__ = [
    "Entries",
    "SeparateSummary",
    "StemExport",
    "export_stems",
    "fill",
    "recordings_of",
    "separate",
    "separate_clips",
    "separation_settings",
]

PathLike = str | os.PathLike[str]
Prune = Literal["outdated", "all"]


def separate(
    manifest: PathLike,
    data: Data,
    *,
    workers: int | None = None,
    prune: Prune | None = None,
    say: Say = lambda *_: None,
) -> SeparateSummary:
    """Separate every recording of a manifest that is not kept yet; interrupted, the same call goes on.

    What cannot be separated stands in a list beside the manifest (`clips.stems.quarantine.csv`). `workers`:
    processes; by default at most four on CPUs and one on a GPU; 0 for this one. `prune`: first remove kept
    stems: "outdated" ones, of any recording, that no recipe can use any more; or "all" of these and what
    other settings made of this manifest's recordings. `say`: is told, as a logger's `info`, how much there
    is to do.

    Raises:
        KikiwakeError: the manifest or the separator is wrong.
        SeparationError: memory runs out, or the separator fails; what was made until then is kept.
        StorageError: the disk cannot take what is expected, or an entry cannot be written or removed.
    """
    path = Path(manifest)
    recordings = recordings_of(Manifest.read(path))
    data = identified(data)
    removed = _pruned(Stems(data).old(recordings), prune) if prune else NO_ENTRIES
    found = fill(data, recordings, workers=workers, say=say)
    quarantine = path.with_name(f"{path.stem}.stems.quarantine.csv")
    write_quarantine(quarantine, found.set_aside)
    old = Stems(data).old(recordings)
    return replace(
        found,
        quarantine=quarantine,
        outdated=Entries(len(old.outdated), size_of(old.outdated)),
        others=Entries(len(old.others), size_of(old.others)),
        removed=removed,
    )


def _pruned(old: OldEntries, prune: Prune) -> Entries:
    """Remove old entries, and say what they were."""
    files = old.outdated if prune == "outdated" else [*old.outdated, *old.others]
    removed = Entries(len(files), size_of(files))
    remove(files)
    return removed


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
        computer.wait()  # no process reads before all have written
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
