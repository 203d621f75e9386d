"""Writes stems as WAV files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

import soundfile

from kikiwake import audio, components
from kikiwake.blocks import BLOCK
from kikiwake.errors import KikiwakeError
from kikiwake.files import replace_atomically
from kikiwake.manifest import Manifest
from kikiwake.parallel import progress
from kikiwake.recipe import Data
from kikiwake.separation._filling import recordings_of
from kikiwake.stems import Stems

PathLike = str | os.PathLike[str]


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
