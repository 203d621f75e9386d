"""Writes stems as WAV files."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import soundfile

from kikiwake import audio, components
from kikiwake.blocks import BLOCK
from kikiwake.errors import AudioError, KikiwakeError
from kikiwake.files import refuse_to_replace, replace_atomically
from kikiwake.manifest import Manifest
from kikiwake.parallel import progress
from kikiwake.predictions import QUARANTINE_COLUMNS, SetAside, path_text, write_quarantine
from kikiwake.recipe import Data
from kikiwake.separation._filling import recordings_of
from kikiwake.separation._summary import StemExport
from kikiwake.stems import Stems

PathLike = str | os.PathLike[str]


def export_stems(
    files: Iterable[PathLike],
    out: PathLike,
    data: Data,
    *,
    ids: Collection[str] = (),
    stems: Sequence[str] | None = None,
) -> StemExport:
    """Write stems as WAV files of 32-bit floats: `OUT/<recording>/<stem>.wav`.

    `files`: manifests, recordings and folders. `ids`: names of files without their suffixes; empty for all.
    `stems`: which; None for all that `data` names. What is kept is not separated again, and nothing new is
    kept. What cannot be read, or not to its end, stands in `OUT/stems.quarantine.csv`.

    Raises:
        KikiwakeError: no such recording or stem, or the separator fails.
        StorageError: a file cannot be written, or one that is no list of ours would be lost.
    """
    folder = Path(out)
    quarantine = folder / "stems.quarantine.csv"
    refuse_to_replace(quarantine, beginnings=[",".join(QUARANTINE_COLUMNS)], is_a="quarantine list")
    recordings = _named(files, ids)
    data = data.model_copy(update={"stems": list(stems)}) if stems is not None else data
    heard = Stems(data)
    written: list[Path] = []
    set_aside: list[SetAside] = []
    with progress(len(recordings), description="export", unit="recordings") as bar:
        for path, name in zip(recordings, _folder_names(recordings), strict=True):
            try:
                damage = _write_wavs(heard, path, folder / name)
            except AudioError as error:
                kind = "unreadable" if path.exists() else "missing"
                set_aside.append(SetAside(path_text(path), 0.0, error.what, kind))
            else:
                written += [folder / name / f"{stem}.wav" for stem in heard.names]
                set_aside += [SetAside(path_text(path), 0.0, damage, "partial")] if damage else []
            bar.advance()
    if set_aside or quarantine.exists():
        write_quarantine(quarantine, set_aside)
    return StemExport(folder, written, len(written) // len(heard.names), set_aside, quarantine)


def _folder_names(recordings: Sequence[Path]) -> list[str]:
    """Return a name for the stems of each recording: its own, with a number where another one has it."""
    names: dict[str, None] = {}
    for path in recordings:
        name, number = path.stem, 1
        while name in names:
            number += 1
            name = f"{path.stem}-{number}"
        names[name] = None
    return list(names)


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


def _write_wavs(heard: Stems, path: Path, folder: Path) -> str | None:
    """Write the stems of one recording, all at once and in flat memory; return what was lost of it.

    Raises:
        AudioError: it cannot be read; nothing is written.
        StorageError: a file cannot be written.
    """
    files = [folder / f"{name}.wav" for name in heard.names]
    try:
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
    except AudioError:
        with suppress(OSError):  # where there is an older export in it
            folder.rmdir()
        raise
    return stream.damage
