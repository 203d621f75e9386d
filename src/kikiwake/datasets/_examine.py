"""Decodes recordings to their end in child processes, and goes on where it was cut short."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from kikiwake import __version__, audio
from kikiwake.errors import KikiwakeError, StorageError
from kikiwake.parallel import map_isolated, progress

BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class Finding:
    """What decoding a recording showed.

    `frames` were read at `sample_rate` in Hz. `error`: why nothing can be read. `damage`: what is lost of a
    recording of which a part can be read. `remarks`: what is odd about one that can be read.
    """

    frames: int = 0
    sample_rate: int = 0
    error: str | None = None
    damage: str | None = None
    remarks: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """How far the recording can be read."""
        return self.frames / self.sample_rate if self.sample_rate else 0.0


def examine(path: Path) -> Finding:
    """Decode a recording to its end, in flat memory."""
    if not path.is_file():
        return Finding(error="is not a file" if path.exists() else "is a link to nothing")
    frames = sample_rate = 0
    levels = _Levels()
    try:
        with audio.stream(path, sample_rate=None, channels=None, block=BLOCK) as stream:
            sample_rate = stream.sample_rate
            for block in stream:
                frames += block.shape[1]
                levels.add(block)
    except KikiwakeError as error:
        reason = error.what + (f"; {error.remedy}" if error.remedy else "")
        return Finding(frames, sample_rate, damage=reason) if frames else Finding(error=reason)
    remarks = levels.remarks()
    if stream.replaced_samples:
        remarks.append(f"{stream.replaced_samples} NaN or infinite samples, read as zero")
    return Finding(frames, sample_rate, damage=stream.damage, remarks=tuple(remarks))


class _Levels:
    """The extremes of a recording and of the mean of its channels."""

    def __init__(self) -> None:
        self.peak = 0.0
        self.highest, self.lowest = -np.inf, np.inf

    def add(self, block: np.ndarray) -> None:
        self.peak = max(self.peak, float(block.max()), -float(block.min()))
        mean = block.mean(axis=0) if len(block) > 1 else block[0]
        self.highest = max(self.highest, float(mean.max()))
        self.lowest = min(self.lowest, float(mean.min()))

    def remarks(self) -> list[str]:
        """Return what is odd, in words."""
        if self.peak == 0:
            return ["silent: every sample is zero"]
        if max(self.highest, -self.lowest) < 1e-4 * self.peak:
            return ["the channels cancel each other out when they are mixed down"]
        if self.highest == self.lowest:
            return [f"constant: every sample is {self.highest:g}"]
        return []


def examine_all(
    paths: Iterable[Path], *, journal: Path, workers: int, timeout_seconds: float, memory_bytes: int
) -> dict[Path, Finding]:
    """Return the finding of each path.

    A decoder that crashes, hangs or eats the memory costs its one recording. What was read is noted in
    `journal`; recordings noted there, and unchanged since, are not read again.
    """
    findings: dict[Path, Finding] = {}
    paths = list(paths)
    with _Journal(journal) as notes, progress(len(paths), description="reading", unit="files") as bar:
        for path in paths:
            noted = notes.get(path)
            if noted is not None:
                findings[path] = noted
        bar.advance(len(findings))
        waiting = [path for path in paths if path not in findings]
        results = map_isolated(
            examine, waiting, workers=workers, timeout_seconds=timeout_seconds, memory_bytes=memory_bytes
        )
        for path, result in results:
            if result.value is not None:
                findings[path] = result.value
                notes.put(path, result.value)
            else:
                findings[path] = Finding(error=f"reading failed: {(result.error or '').splitlines()[-1]}")
            bar.advance(1)
    return findings


class _Journal:
    """Recordings that were read, one JSON line each, in a file that is only ever appended to.

    A line holds for a file of the same size and time, and for the same version of kikiwake. Errors are not
    kept: they are cheap to meet again, and may have been mended.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.noted: dict[tuple[Any, ...], Finding] = {}
        for stamp, found in self._entries():
            self.noted[stamp] = Finding(**{**found, "remarks": tuple(found["remarks"])})

    def __enter__(self) -> _Journal:
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self.writer = self.file.open("ab")
        except OSError as error:
            raise StorageError(f"cannot write: {error.strerror}", where=self.file) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.close()

    def get(self, path: Path) -> Finding | None:
        """Return what was noted of a file, if it has not changed since."""
        return self.noted.get(_stamp(path))

    def put(self, path: Path, finding: Finding) -> None:
        """Note what was found."""
        if finding.error is not None:
            return
        # The first newline ends a line that was cut short when an earlier process was killed.
        line = f"\n{json.dumps([_stamp(path), asdict(finding)])}\n"
        try:
            self.writer.write(line.encode())
            self.writer.flush()
        except OSError as error:
            remedy = "free some space, then run the same command again"
            raise StorageError(f"cannot write: {error.strerror}", where=self.file, remedy=remedy) from error

    def _entries(self) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
        lines = self.file.read_bytes().splitlines() if self.file.is_file() else []
        for line in filter(None, lines):
            try:
                stamp, found = json.loads(line)
            except ValueError:
                continue  # cut short
            yield tuple(stamp), found


def _stamp(path: Path) -> tuple[Any, ...]:
    try:
        status = path.stat()
    except OSError:
        return (__version__, str(path), None, None)
    return (__version__, str(path), status.st_size, status.st_mtime_ns)
