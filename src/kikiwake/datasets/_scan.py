"""What a data-set module finds: clips before their recordings are read, and the tree of files they lie in."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import Field

from kikiwake.audio import AUDIO_SUFFIXES
from kikiwake.errors import ManifestError

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
}
"""What the parts of a split are called in the wild, in lower case."""


ClipSeconds = Annotated[float, Field(gt=0)] | None
"""An option that data-set modules share: the longest that a clip may be."""


@dataclass(frozen=True, slots=True)
class FoundClip:
    """A clip as a folder or table describes it; times in seconds.

    `seconds`: the clip is cut to that length where it is longer, which only its recording can tell.
    `least_seconds`: it is set aside where it is shorter.
    """

    path: Path
    label: str | None
    fold: int | None = None
    start: float | None = None
    end: float | None = None
    secondary: tuple[str, ...] = ()
    group: str | None = None
    split: str | None = None
    weight: float = 1.0
    rating: float | None = None
    seconds: float | None = None
    least_seconds: float = 0.0


@dataclass(slots=True)
class Scan:
    """Everything that a data-set module found in a tree.

    `tables`: files that describe the clips. `missing`: recordings that a table names and that are not there,
    with the place that names them. `left_out`: recordings that are there and not wanted, with the reason; any
    other recording that no clip names was `unnamed` for the reason given. `classes`: their order, where the
    data set has one. `notes`: what a person should know.
    """

    tree: Tree
    clips: list[FoundClip] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)
    missing: list[tuple[str, str]] = field(default_factory=list)
    left_out: dict[Path, str] = field(default_factory=dict)
    unnamed: str = "no clip names it"
    classes: Sequence[str] = ()
    notes: list[str] = field(default_factory=list)


class Tree:
    """All files below a folder, sorted; folders behind links too, each once.

    Raises:
        ManifestError: there is no such folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.unreadable: list[tuple[Path, str]] = []
        if not self.root.is_dir():
            raise ManifestError("there is no such folder", where=root, remedy="check the path")
        self.files = sorted(self._walk(), key=lambda path: path.relative_to(self.root).as_posix())
        self._by_name: dict[str, list[Path]] = {}
        self._by_stem: dict[str, list[Path]] = {}
        for path in self.files:
            self._by_name.setdefault(path.name, []).append(path)
            if is_audio(path) and not self.is_hidden(path):
                self._by_stem.setdefault(path.stem, []).append(path)

    def _walk(self) -> Iterable[Path]:
        seen: set[tuple[int, int]] = set()
        walk = os.walk(self.root, followlinks=True, onerror=self._note)
        for folder, subfolders, names in walk:
            status = Path(folder).stat()
            if (status.st_dev, status.st_ino) in seen:
                subfolders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            subfolders.sort()
            yield from (Path(folder, name) for name in names)

    def _note(self, error: OSError) -> None:
        self.unreadable.append((Path(error.filename), f"folder cannot be read: {error.strerror}"))

    def audio(self) -> list[Path]:
        """Return the files that have the suffix of a recording and are not hidden."""
        return [path for path in self.files if is_audio(path) and not self.is_hidden(path)]

    def is_hidden(self, path: Path) -> bool:
        """Say whether a file, or a folder on the way to it, is hidden."""
        return any(part.startswith(".") for part in path.relative_to(self.root).parts)

    def find(self, name: str, *, folders: Iterable[Path]) -> Path | None:
        """Return the recording that a table means by `name`, or None.

        It is looked for in each of `folders`, then anywhere in the tree where it is the only one whose path
        ends so; then the same without its suffix, for recordings that were converted since.
        """
        written = PurePosixPath(name.replace("\\", "/"))
        for folder in folders:
            if os.path.lexists(folder / name):
                return folder / name
        named = [path for path in self._by_name.get(written.name, []) if _ends_with(path, written)]
        if not named:
            for stem in dict.fromkeys((written.name, written.stem)):
                parent = written.parent
                candidates = self._by_stem.get(stem, [])
                named = named or [
                    path for path in candidates if _ends_with(path.parent / stem, parent / stem)
                ]
        return named[0] if len(named) == 1 else None


def _ends_with(path: Path, ending: PurePosixPath) -> bool:
    parts = [part for part in ending.parts if part not in (".", "..", "/")]
    return list(path.parts[-len(parts) :]) == parts


def is_audio(path: Path) -> bool:
    """Say whether a file has the suffix of a recording."""
    return path.suffix.lower() in AUDIO_SUFFIXES
