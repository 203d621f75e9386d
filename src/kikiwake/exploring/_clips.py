"""The clips of a manifest with what was measured of each, and the table of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kikiwake.clip import Clip
from kikiwake.exploring._measures import Measures, Stretch, measure
from kikiwake.manifest import Manifest
from kikiwake.parallel import map_isolated, progress
from kikiwake.tables import write_table

UNLABELLED = "(without a class)"
_CLIP_COLUMNS = ("path", "class", "fold", "split", "group", "start", "end")
_MEASURE_COLUMNS = tuple(field.name for field in fields(Measures))
COLUMNS = (*_CLIP_COLUMNS, *_MEASURE_COLUMNS, "error")


@dataclass(frozen=True, slots=True)
class MeasuredClip:
    """A clip with its `measures`, or the `error` that there are none for.

    `name`: its path from the folder on that all recordings lie in.
    """

    clip: Clip
    name: str
    label: str
    group: str
    measures: Measures | None
    error: str | None = None

    @property
    def title(self) -> str:
        """The clip's name and, where it is a part of a recording, from when to when."""
        clip = self.clip
        if clip.start is None and clip.end is None:
            return self.name
        end = "the end" if clip.end is None else f"{clip.end:g} s"
        return f"{self.name}, {clip.start_seconds:g} s to {end}"


def measure_all(
    manifest: Manifest, folder: Path, *, workers: int, timeout_seconds: float, memory_bytes: int
) -> list[MeasuredClip]:
    """Measure every clip in processes that may crash; what cannot be read says why.

    `folder`: what all recordings lie in. The rest as in `map_isolated`.
    """
    groups = manifest.groups()
    numbers = manifest.class_ids()
    labels = [manifest.classes[number] if number >= 0 else UNLABELLED for number in numbers.tolist()]
    stretches = [Stretch(clip.path, clip.start, clip.end, clip.sr) for clip in manifest]
    results = map_isolated(
        measure, stretches, workers=workers, timeout_seconds=timeout_seconds, memory_bytes=memory_bytes
    )
    found = []
    with progress(len(manifest), description="measuring", unit="clips") as bar:
        for clip, label, group, (_, result) in zip(manifest, labels, groups, results, strict=True):
            error = (result.error or "").strip().splitlines()[-1:]
            name = _from(folder, clip.path)
            reason = error[0].removeprefix(f"{clip.path}: ") if error else None
            found.append(MeasuredClip(clip, name, label, group, result.value, reason))
            bar.advance()
    return found


def common_folder(manifest: Manifest) -> Path:
    """Return the deepest folder that all recordings lie in."""
    return Path(os.path.commonpath({_absolute(clip.path).parent for clip in manifest}))


def _from(folder: Path, path: Path) -> str:
    path = _absolute(path)
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - a link is a name of its own


def values(clips: Sequence[MeasuredClip], of: Callable[[Measures], float | None]) -> NDArray[np.float64]:
    """Return one number a clip, NaN where there is none. Shape: `[N]`."""
    numbers = (None if clip.measures is None else of(clip.measures) for clip in clips)
    return np.array([np.nan if number is None else number for number in numbers], dtype=np.float64)


def write_measurements(path: Path, clips: Sequence[MeasuredClip], *, folder: Path) -> None:
    """Write one row a clip, in the manifest's order: `COLUMNS`; what is not known is empty.

    `folder`: the manifest's; paths inside it are given from it on, as manifests do.

    Raises:
        StorageError: the file cannot be written.
    """
    write_table(
        path,
        COLUMNS,
        ([*_clip_cells(each, folder), *_measure_cells(each), each.error or ""] for each in clips),
    )


def _clip_cells(each: MeasuredClip, folder: Path) -> list[str]:
    clip = each.clip
    label = "" if each.label == UNLABELLED and clip.label is None else each.label
    return [
        _from(folder, clip.path),
        label,
        *map(_cell, (clip.fold, clip.split, clip.group, clip.start, clip.end)),
    ]


def _measure_cells(each: MeasuredClip) -> list[str]:
    if each.measures is None:
        return [""] * len(_MEASURE_COLUMNS)
    return [_cell(getattr(each.measures, column)) for column in _MEASURE_COLUMNS]


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.7g}" if isinstance(value, float) else str(value)
