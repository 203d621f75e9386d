"""GTZAN (Tzanetakis & Cook 2002): `genres_original/blues/blues.00000.wav` or `genres/blues/blues.00000.au`.

`train_filtered.txt`, `valid_filtered.txt` and `test_filtered.txt` are the split of Kereliuk, Sturm & Larsen
(2015), "Deep Learning and Music Adversaries": without repeated and distorted excerpts, artists kept apart.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Literal

from kikiwake.datasets._scan import ClipSeconds, FoundClip, Scan, Tree, is_audio
from kikiwake.errors import ManifestError
from kikiwake.tables import Problems, read_text

GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
PLACES = ("genres_original", "genres", "Data/genres_original", ".")
"""Where the folders of genres may lie; the first place that has any is read."""

LISTS = {"train_filtered.txt": "train", "valid_filtered.txt": "validation", "test_filtered.txt": "test"}


def likeness(root: Path) -> int:
    """Say whether recordings named as GTZAN's lie in the folders of their genres."""
    return 2 if _find_place(root) is not None else 0


def scan(
    root: Path, *, split: Literal["auto", "filtered", "none"] = "auto", clip_seconds: ClipSeconds = None
) -> Scan:
    """Find the excerpts of the ten genres.

    `split`: filtered takes the excerpts of the fault-filtered lists alone, as the official split; none takes
    all excerpts and leaves folds to be made; auto is filtered where the lists are there, beside the folders
    of genres or above them. The artists are not known, so every excerpt is a group of its own: with none, an
    artist stands on several sides, and some excerpts are there twice. `clip_seconds`: clips end there where
    their recordings are longer.

    Raises:
        ManifestError: there are no such folders, a list is wanted and not there, or a line of it makes no
            sense.
    """
    place = _find_place(root)
    if place is None:
        remedy = (
            f"put {PLACES[0]}/blues/blues.00000.wav, or {PLACES[1]}/blues/blues.00000.au, and so on there"
        )
        raise ManifestError("no folders of GTZAN's genres are here", where=root, remedy=remedy)
    tree = Tree(root)
    result = Scan(tree, classes=GENRES)
    place = tree.root / place
    excerpts = _excerpts(place, result)
    lists = _find_lists(place, tree.root, needed=split == "filtered") if split != "none" else []
    if lists:
        listed = _read_lists(lists, excerpts, result)
        for name in sorted(excerpts.keys() - listed):
            result.left_out[excerpts.pop(name)] = "in none of the fault-filtered lists"
        result.tables = lists
        result.notes.append(f"split by {', '.join(LISTS)}; other excerpts are left out")
    else:
        listed = {}
        result.notes.append(
            "artists are not known: every excerpt is a group of its own, and artists stand on several sides "
            f"of a split; {', '.join(LISTS)} keep them apart"
        )
    for name, path in excerpts.items():
        genre = name.partition(".")[0]
        result.clips.append(FoundClip(path, genre, split=listed.get(name), seconds=clip_seconds))
    return result


def _find_place(root: Path) -> Path | None:
    """Return where at or below `root` the folders of genres lie."""
    for place in PLACES:
        for genre in GENRES:
            if any(is_audio(path) for path in (root / place / genre).glob(f"{genre}.[0-9]*")):
                return root / place
    return None


def _excerpts(place: Path, result: Scan) -> dict[str, Path]:
    """Return the excerpts below `place` by their names without suffix; say why others are left out."""
    excerpts: dict[str, Path] = {}
    result.unnamed = f"not in the folder of a genre in {place.name}"
    for path in result.tree.audio():
        genre = path.parent.name
        if path.parent.parent != place or genre not in GENRES:
            continue
        if not re.fullmatch(rf"{genre}\.[0-9]{{5}}", path.stem):
            result.left_out[path] = f"not named as an excerpt of {genre}: {genre}.00000{path.suffix}"
        elif path.stem in excerpts:
            result.left_out[path] = f"the same excerpt as {excerpts[path.stem].name}"
        else:
            excerpts[path.stem] = path
    return excerpts


def _find_lists(place: Path, root: Path, *, needed: bool) -> list[Path]:
    """Return the lists; none where none is there and none is needed."""
    found: list[Path] = []
    absent: list[str] = []
    for name in LISTS:
        path = next((folder / name for folder in (place, root) if (folder / name).is_file()), None)
        if path is None:
            absent.append(name)
        else:
            found.append(path)
    if absent and (found or needed):
        what = f"there is no {' and no '.join(absent)}"
        raise ManifestError(what, where=root, remedy="put all three lists there, or say split=none")
    return found


def _read_lists(lists: list[Path], excerpts: Mapping[str, Path], result: Scan) -> dict[str, str]:
    """Return the part of the split that each excerpt is in; note those that are not there."""
    problems = Problems()
    parts: dict[str, str] = {}
    above: dict[str, str] = {}
    for path in lists:
        for number, line in enumerate(read_text(path).splitlines(), start=1):
            where, written = f"{path.name}:{number}", PurePosixPath(line.strip())
            if not line.strip():
                continue
            name = written.stem if is_audio(Path(written)) else written.name
            genre = name.partition(".")[0]
            if genre not in GENRES or written.parent.name not in ("", genre):
                what = f"'{line.strip()}' is no excerpt of a genre"
                problems.error(where, what, "write <genre>/<genre>.00000.wav")
            elif above.setdefault(name, where) != where:
                problems.error(where, f"'{name}' stands in {above[name]} too", "keep one of the lines")
            elif name not in excerpts:
                result.missing.append((line.strip(), where))
            else:
                parts[name] = LISTS[path.name]
    problems.raise_errors("the fault-filtered lists")
    return parts
