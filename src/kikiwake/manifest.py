"""Manifests: which stretch of which recording holds what, in which fold; one CSV row a clip.

The first columns are always `path,class_id,class,fold,frames,sr`; after them come those of `OPTIONAL` that
are used, then, where labels are soft, one column a class. Paths are relative to the CSV's folder or absolute.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kikiwake._manifest_rows import read_rows
from kikiwake.clip import COLUMNS, OPTIONAL, REQUIRED, Clip, cell
from kikiwake.errors import ManifestError
from kikiwake.files import text_hash
from kikiwake.tables import write_table

__all__ = ["COLUMNS", "Clip", "Manifest"]

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


class Manifest(Sequence[Clip]):
    """Clips, the names of the classes, and soft labels where there are any.

    `soft`: probabilities or confidences `[N, K]` in [0, 1] that take the place of the hard labels.

    Raises:
        ManifestError: a clip's class does not exist or its number and name disagree, or `soft` is misshapen.
    """

    def __init__(
        self, clips: Sequence[Clip], classes: Sequence[str], soft: npt.ArrayLike | None = None
    ) -> None:
        self.clips = list(clips)
        self.classes = list(classes)
        self.soft = None if soft is None else np.asarray(soft, dtype=np.float32)
        if len(set(self.classes)) != len(self.classes):
            raise ManifestError("a class is named twice", value=self.classes)
        numbers: dict[str | None, int | None] = {name: index for index, name in enumerate(self.classes)}
        numbers[None] = None
        for clip in self.clips:
            if clip.label not in numbers or numbers[clip.label] != clip.class_id:
                raise ManifestError(
                    f"class '{clip.label}' is not class number {clip.class_id} of {self.classes}",
                    where=clip.path,
                )
        if self.soft is not None and self.soft.shape != (len(self.clips), len(self.classes)):
            shape = (len(self.clips), len(self.classes))
            raise ManifestError(f"soft labels must have the shape {shape}", value=self.soft.shape)

    @classmethod
    def read(cls, path: str | Path, *, classes: Sequence[str] | None = None) -> Manifest:
        """Read a manifest CSV.

        `classes`: the names and order of the classes where a model fixes them; `class_id` is then found by
        name. Without it, classes stand in the order of `class_id` (closed up where numbers are missing), or
        of soft-label columns, or sorted by name.

        Raises:
            ManifestError: anything is wrong; the message is one table of all problems with line and remedy.
        """
        return cls(*read_rows(Path(path), classes=classes))

    def write(self, path: str | Path) -> None:
        """Write the manifest as CSV, atomically.

        Paths inside the CSV's folder are written relative to it, others absolute, so that a folder can be
        moved with its manifest. Reading gives the same manifest back; a class that no clip and no soft label
        names is not in the file.

        Raises:
            StorageError: the file cannot be written.
            ManifestError: a name cannot be written in this format.
        """
        path = Path(path)
        folder = path.absolute().parent
        for name in self.classes:
            if name == "" or ";" in name or (self.soft is not None and name in COLUMNS):
                raise ManifestError(
                    "this class name cannot be written", where=path, value=name, remedy="rename"
                )
        used = [column for column in OPTIONAL if any(cell(clip, column) for clip in self.clips)]
        columns = [*REQUIRED, *used]
        rows = (
            [_portable(clip.path, folder), *(cell(clip, column) for column in columns[1:]), *self._soft(row)]
            for row, clip in enumerate(self.clips)
        )
        write_table(path, columns + (self.classes if self.soft is not None else []), rows)

    def _soft(self, row: int) -> list[str]:
        return [] if self.soft is None else [str(value) for value in self.soft[row]]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Clip:  # type: ignore[override] # select() takes the place of slices
        return self.clips[index]

    def __iter__(self) -> Iterator[Clip]:
        return iter(self.clips)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Manifest):
            return NotImplemented
        same_soft = (self.soft is None) == (other.soft is None) and (
            self.soft is None or other.soft is None or np.array_equal(self.soft, other.soft)
        )
        return self.clips == other.clips and self.classes == other.classes and same_soft

    __hash__ = None  # type: ignore[assignment] # mutable lists inside

    def __repr__(self) -> str:
        return f"Manifest({len(self.clips)} clips, {len(self.classes)} classes)"

    def targets(self, *, secondary: float = 0.0) -> Floats:
        """Return what a model should say: 1 for a clip's class, `secondary` for its secondary classes.

        Soft labels are returned as they are. An unlabelled clip is a row of zeros.

        Shape:
            `[N, K]`, float32.
        """
        if self.soft is not None:
            return self.soft.copy()
        targets = np.zeros((len(self.clips), len(self.classes)), dtype=np.float32)
        numbers = {name: index for index, name in enumerate(self.classes)}
        for row, clip in enumerate(self.clips):
            for name in clip.secondary:
                targets[row, numbers[name]] = secondary
            if clip.class_id is not None:
                targets[row, clip.class_id] = 1.0
        return targets

    def class_ids(self) -> Integers:
        """Return each clip's class number, the likeliest of its soft labels where it has none, else -1."""
        hard = np.array(
            [-1 if clip.class_id is None else clip.class_id for clip in self.clips], dtype=np.int64
        )
        if self.soft is None or not self.classes:
            return hard
        likeliest = np.where(self.soft.any(axis=1), self.soft.argmax(axis=1), -1)
        return np.where(hard >= 0, hard, likeliest)

    def weights(self, *, rating_floor: float | None = None) -> Floats:
        """Return the clips' loss weights `[N]`.

        `rating_floor`: each weight is multiplied by clip(rating / best rating, `rating_floor`, 1); a clip
        without a rating keeps its weight. None leaves ratings alone.
        """
        weights = np.array([clip.weight for clip in self.clips], dtype=np.float32)
        best = max((clip.rating or 0.0 for clip in self.clips), default=0.0)
        if rating_floor is None or best == 0:
            return weights
        shares = [1.0 if clip.rating is None else clip.rating / best for clip in self.clips]
        return weights * np.clip(shares, rating_floor, 1.0).astype(np.float32)

    def groups(self) -> list[str]:
        """Return the name of each clip's group; a clip without one is grouped with its recording."""
        return [
            f"recording {clip.path}" if clip.group is None else f"group {clip.group}" for clip in self.clips
        ]

    def folds(self) -> list[int]:
        """Return the numbers of the folds that exist, sorted."""
        return sorted({clip.fold for clip in self.clips if clip.fold is not None})

    def with_folds(self, folds: Sequence[int | None]) -> Manifest:
        """Return the same clips in other folds."""
        clips = [replace(clip, fold=fold) for clip, fold in zip(self.clips, folds, strict=True)]
        return Manifest(clips, self.classes, self.soft)

    def select(self, indices: Sequence[int] | Integers) -> Manifest:
        """Return the clips at `indices`, with all classes."""
        chosen = [int(index) for index in indices]
        soft = None if self.soft is None else self.soft[chosen]
        return Manifest([self.clips[index] for index in chosen], self.classes, soft)

    def hash(self) -> str:
        """Return a hash of everything in the manifest but the folder that all recordings share.

        Data that moved to another disk keep their hash.
        """
        parents = {str(_absolute(clip.path).parent) for clip in self.clips}
        folder = Path(os.path.commonpath(parents)) if parents else Path()
        rows = [repr(self.classes)]
        for row, clip in enumerate(self.clips):
            cells = [_portable(clip.path, folder), *(cell(clip, column) for column in COLUMNS[1:])]
            rows.append(repr(cells + self._soft(row)))
        return text_hash("\n".join(rows))


def _portable(path: Path, folder: Path) -> str:
    absolute = _absolute(path)
    if absolute.is_relative_to(folder):
        return absolute.relative_to(folder).as_posix()
    return absolute.as_posix()


def _absolute(path: Path) -> Path:
    """Return `path` without "..", but with the links that users chose, which resolve() would follow."""
    return Path(os.path.abspath(path))  # noqa: PTH100
