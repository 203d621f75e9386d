"""The recordings that a prediction is asked for: found in folders, each once, their headers read."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from kikiwake import audio
from kikiwake.errors import AudioError, KikiwakeError, listed
from kikiwake.files import text_hash
from kikiwake.parallel import Result, map_isolated
from kikiwake.predictions import path_text

PROBE_SECONDS = 120.0
_AT_ONCE = 64
_SLOW_TO_SEEK = ("mpeg", "mp1", "mp2", "mp3")


class Header(NamedTuple):
    """What is known of a recording before it is decoded: its length in samples at the model's rate.

    `seeks`: whether a decoder reaches any place in it at once. `cut`: whether it was longer once.
    """

    frames: int
    seeks: bool
    cut: bool = False


@dataclass(frozen=True)
class Unread:
    """Why a recording has no header."""

    reason: str
    kind: str


def find_recordings(files: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Return the recordings that `files` name, each once, in the order given; folders are walked and sorted.

    A name that does not exist is returned as it is, unless it is a pattern such as `*.wav`, or none exists.

    Raises:
        KikiwakeError: a pattern or a folder holds no recording, or nothing that is named is there.
    """
    found: dict[str, Path] = {}
    for named in files:
        for path in named_by(Path(named)):
            found.setdefault(os.path.abspath(path), path)  # noqa: PTH100 - a link is a name of its own
    if not found:
        raise KikiwakeError(
            "no recordings are named", remedy="name files, folders, or patterns such as *.wav"
        )
    if not any(os.path.lexists(path) for path in found.values()):
        raise KikiwakeError(
            "there is no such file", where=next(iter(found.values())), remedy="check the path"
        )
    return list(found.values())


def named_by(named: Path) -> Sequence[Path]:
    """Return the recordings that one name stands for: a folder's, a pattern's, or itself, there or not.

    Raises:
        KikiwakeError: the folder holds no recording, or nothing matches the pattern.
    """
    if named.is_dir():
        inside = [Path(folder, name) for folder, _, names in os.walk(named) for name in names]
        recordings = sorted(path for path in inside if path.suffix.lower() in audio.AUDIO_SUFFIXES)
        if not recordings:
            remedy = (
                f"name another, or files themselves; recordings end in {listed(sorted(audio.AUDIO_SUFFIXES))}"
            )
            raise KikiwakeError("this folder holds no recordings", where=named, remedy=remedy)
        return recordings
    if os.path.lexists(named) or not glob.has_magic(str(named)):
        return [named]
    matching = sorted(glob.glob(str(named), recursive=True))  # noqa: PTH207 - takes absolute patterns too
    if not matching:
        raise KikiwakeError("nothing matches this pattern", where=named, remedy="check the path")
    return [path for match in matching for path in named_by(Path(match))]


def fingerprint(recordings: Iterable[Path]) -> str:
    """Return a hash of the recordings' paths, sizes and times of change."""
    return text_hash("\n".join(f"{path_text(path)}\0{_stamp(path)}" for path in recordings))


def _stamp(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return "none"
    return f"{status.st_size} {status.st_mtime_ns}"


def probe_recordings(
    recordings: Sequence[Path], *, sample_rate: int, workers: int, start_method: str | None
) -> list[Header | Unread]:
    """Read all headers in processes of their own; a file that makes its decoder crash harms no other."""
    portions = [
        (sample_rate, tuple(recordings[at : at + _AT_ONCE])) for at in range(0, len(recordings), _AT_ONCE)
    ]
    found: list[Header | Unread] = []
    for portion, result in _probed(portions, workers=min(workers, len(portions)), start_method=start_method):
        if result.value is not None:
            found += result.value
            continue
        singly = [(sample_rate, (path,)) for path in portion[1]]
        for _, one in _probed(singly, workers=min(workers, len(singly)), start_method=start_method):
            found += one.value or [Unread(str(one.error), "crashed" if one.crashed else "unreadable")]
    return found


Portion = tuple[int, tuple[Path, ...]]


def _probed(
    portions: Sequence[Portion], *, workers: int, start_method: str | None
) -> Iterator[tuple[Portion, Result[list[Header | Unread]]]]:
    return map_isolated(
        _probe, portions, workers=workers, timeout_seconds=PROBE_SECONDS, start_method=start_method
    )


def _probe(portion: Portion) -> list[Header | Unread]:
    sample_rate, paths = portion
    return [_header(path, sample_rate) for path in paths]


def _header(path: Path, sample_rate: int) -> Header | Unread:
    if not os.path.lexists(path):
        return Unread("there is no such file", "missing")
    try:
        info = audio.probe(path)
    except AudioError as error:
        return Unread(reason(error), "unreadable")
    seeks = info.decoder == "soundfile" and not info.format.lower().startswith(_SLOW_TO_SEEK)
    return Header(info.frames_at(sample_rate), seeks, cut=info.damage is not None)


def reason(error: AudioError) -> str:
    """Return an error's words without the path, which stands in a column of its own."""
    return str(AudioError(error.what, value=error.value, remedy=error.remedy))
