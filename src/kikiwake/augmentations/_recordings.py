"""Folders of recordings that augmentations read."""

from __future__ import annotations

from pathlib import Path

from kikiwake import audio
from kikiwake.errors import AudioError, RecipeError


def probed(folder: Path, *, where: str, remedy: str) -> list[audio.AudioInfo]:
    """Return what the headers of a folder's recordings say, those of subfolders too, in the order of names.

    Raises:
        RecipeError: there is no recording in the folder, with `remedy`, or one cannot be read.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in audio.AUDIO_SUFFIXES)
    if not paths:
        raise RecipeError(
            "no recording is in this folder" if folder.is_dir() else "there is no such folder",
            where=where,
            value=str(folder),
            remedy=remedy,
        )
    try:
        return [audio.probe(path) for path in paths]
    except AudioError as error:
        raise RecipeError(
            f"a recording cannot be read: {error}", where=where, value=str(folder), remedy="take it out"
        ) from error
