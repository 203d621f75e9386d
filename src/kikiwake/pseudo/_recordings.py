"""The recordings that are to be labelled: found in folders, patterns and manifests; how loud windows are."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kikiwake import audio
from kikiwake.errors import KikiwakeError
from kikiwake.manifest import Manifest
from kikiwake.parallel import map_isolated, progress
from kikiwake.prediction._recordings import named_by
from kikiwake.predictions import Predictions, path_text

PathLike = str | os.PathLike[str]
Floats = npt.NDArray[np.float64]

_BLOCK = 1 << 18
_SECONDS, _SECONDS_A_SECOND = 120.0, 1.0
"""After how long a decoder that does not end is ended, by the length of what it reads."""


def named_recordings(files: PathLike | Iterable[PathLike]) -> dict[Path, str | None]:
    """Return the recordings that `files` name, each once, with their groups where a manifest tells them.

    `files`: recordings, folders of them, patterns such as `*.wav`, and manifests (`.csv`).

    Raises:
        KikiwakeError: one is not there, holds no recording, or has a name that is no text.
    """
    listed = [files] if isinstance(files, str | os.PathLike) else list(files)
    found: dict[str, tuple[Path, str | None]] = {}
    for named in map(Path, listed):
        for path, group in _named_by(named):
            if path_text(path) != str(path):
                raise KikiwakeError(
                    "a file name is not valid Unicode", value=path_text(path), remedy="rename it"
                )
            found.setdefault(os.path.abspath(path), (path, group))  # noqa: PTH100 - links stay links
    if not found:
        raise KikiwakeError("no recordings are named", remedy="name files, folders, or patterns as *.wav")
    return dict(found.values())


def _named_by(named: Path) -> Iterator[tuple[Path, str | None]]:
    for path in named_by(named):
        if not path.is_file():
            raise KikiwakeError("there is no such recording", where=path, remedy="check the path")
        if path.suffix.lower() == ".csv":
            yield from ((clip.path, clip.group) for clip in Manifest.read(path))
        else:
            yield path, None


@dataclass(eq=False)
class Loudness:
    """Tells the root mean square of windows, over all channels, at a model's sample rate.

    `recordings`: by the name that they have in predictions. `workers`: processes that decode. `headers`: the
    length in frames and the sample rate of every recording that was asked about.
    """

    recordings: Mapping[str, Path]
    sample_rate: int
    channels: int
    workers: int
    headers: dict[str, tuple[int, int]] = field(default_factory=dict)

    def __call__(self, windows: Predictions) -> Floats:
        """Return the root mean square of each window, reading every recording once at most.

        Shape: `[W]`.

        Raises:
            AudioError: a recording cannot be read.
        """
        rows: dict[str, list[int]] = {}
        for row, name in enumerate(windows.paths):
            rows.setdefault(name, []).append(row)
        asked = [
            _Asked(
                self.recordings[name],
                self.sample_rate,
                self.channels,
                np.rint(windows.starts[own] * self.sample_rate).astype(np.int64),
                np.rint(windows.ends[own] * self.sample_rate).astype(np.int64),
            )
            for name, own in rows.items()
        ]
        longest = max((int(one.ends.max()) / self.sample_rate for one in asked), default=0.0)
        found = np.zeros(len(windows))
        with progress(len(asked), description="measure", unit="recordings") as bar:
            measured = map_isolated(
                _measure,
                asked,
                workers=min(self.workers, len(asked)),
                timeout_seconds=_SECONDS + _SECONDS_A_SECOND * longest,
            )
            for (name, own), (_, result) in zip(rows.items(), measured, strict=True):
                found[own], self.headers[name] = result.get()
                bar.advance()
        return found


@dataclass(frozen=True, eq=False)
class _Asked:
    """Windows of one recording, in samples at `sample_rate`."""

    path: Path
    sample_rate: int
    channels: int
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]


def _measure(asked: _Asked) -> tuple[Floats, tuple[int, int]]:
    """Return the root mean square of windows, and the recording's frames and sample rate."""
    info = audio.probe(asked.path)
    first, stop = int(asked.starts.min()), int(asked.ends.max())
    energy = np.zeros(len(asked.starts))
    at = first
    with audio.stream(
        asked.path,
        sample_rate=asked.sample_rate,
        channels=asked.channels,
        block=_BLOCK,
        start=first,
        frames=stop - first,
    ) as stream:
        for block in stream:
            power = np.square(block, dtype=np.float64).mean(axis=0)
            so_far = np.concatenate([[0.0], np.cumsum(power)])
            begin, end = (np.clip(edge - at, 0, len(power)) for edge in (asked.starts, asked.ends))
            energy += so_far[end] - so_far[begin]
            at += len(power)
    lengths: Sequence[int] | npt.NDArray[np.int64] = np.maximum(1, asked.ends - asked.starts)
    return np.sqrt(np.maximum(0, energy) / lengths), (info.frames, info.sample_rate)
