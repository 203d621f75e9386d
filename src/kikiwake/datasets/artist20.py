"""Artist20: `train.json` and `val.json` list `./train_val/<artist>/<album>/<song>.mp3`; `test/`."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

from kikiwake.datasets._scan import ClipSeconds, FoundClip, Scan, Tree
from kikiwake.errors import ManifestError
from kikiwake.tables import Problems, read_text

LISTS = {"train.json": "train", "val.json": "validation"}
TEST = "test"


def likeness(root: Path) -> int:
    """Say whether both lists are there."""
    return 2 if all((root / name).is_file() for name in LISTS) else 0


def scan(root: Path, *, clip_seconds: ClipSeconds = None) -> Scan:
    """Find the songs of both lists, with the artist as class and the album as group, and those to be named.

    The recordings below `test/` get the split "test" and no class. `clip_seconds`: clips end there where
    their recordings are longer.

    Raises:
        ManifestError: a list is not there, is no list of paths, or names a song twice.
    """
    tree = Tree(root)
    result = Scan(tree, unnamed=f"named neither in {' nor in '.join(LISTS)}")
    problems = Problems()
    listed: dict[Path, str] = {}
    for name, split in LISTS.items():
        result.tables.append(tree.root / name)
        for place, song in _songs(tree.root / name, problems):
            path = tree.find(song, folders=[tree.root])
            if path is None:
                result.missing.append((song, place))
                continue
            if path in listed:
                problems.error(place, f"'{song}' stands in {listed[path]} too", "keep it in one list, once")
                continue
            listed[path] = place
            artist, album = PurePosixPath(song).parts[-3:-1]
            result.clips.append(
                FoundClip(path, artist, group=f"{artist}/{album}", split=split, seconds=clip_seconds)
            )
    problems.raise_errors(str(root))
    for path in tree.audio():
        if path not in listed and path.relative_to(tree.root).parts[0] == TEST:
            result.clips.append(FoundClip(path, None, split=TEST, seconds=clip_seconds))
    return result


def _songs(path: Path, problems: Problems) -> list[tuple[str, str]]:
    """Return the songs that a list names, each with its place in the list."""
    if not path.is_file():
        raise ManifestError("there is no such list", where=path, remedy=f"put {' and '.join(LISTS)} there")
    try:
        content: Any = json.loads(read_text(path))
    except ValueError as error:
        raise ManifestError(f"is not JSON: {error}", where=path, remedy="restore the list") from None
    if not isinstance(content, list):
        raise ManifestError(
            "is not a list", where=path, remedy='write ["./train_val/artist/album/song.mp3", ...]'
        )
    songs = []
    for number, song in enumerate(content, start=1):
        place = f"{path.name}, item {number}"
        if isinstance(song, str) and len(PurePosixPath(song).parts) >= 3:
            songs.append((place, song))
        else:
            problems.error(place, f"{song!r} is no path", "write ./train_val/<artist>/<album>/<song>")
    return songs
