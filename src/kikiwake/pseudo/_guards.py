"""Guards: who may label which recording. No teacher labels what it was trained on.

Two files are the same recording if their resolved paths or their bytes are the same. A training recording
that is no longer there has no bytes to compare: then one of its name and length counts as the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kikiwake import audio
from kikiwake.cache import source_key
from kikiwake.clip import Clip
from kikiwake.errors import AudioError, KikiwakeError, RunError
from kikiwake.manifest import Manifest
from kikiwake.pseudo._teachers import Teacher

_SHOWN = 10


class NothingLeft(KikiwakeError):  # noqa: N818 - the name says it better than NothingLeftError
    """Every teacher was trained on all recordings."""


@dataclass(frozen=True, eq=False)
class Assignment:
    """Who labels what.

    `teachers`: of every recording that can be labelled, in the order given, the numbers of the teachers that
    never heard it. `refused`: recordings that all of them heard, with the reason. `copies`: recordings that
    are the same as one before them. `groups`: of those recordings that have one. `held_out`: recordings with
    labelled clips that the teachers' split validates or tests by, or of a group with such clips. `lost`:
    training recordings that are no longer there.
    """

    teachers: Mapping[Path, Sequence[int]]
    refused: Mapping[Path, str]
    copies: Mapping[Path, Path]
    groups: Mapping[Path, str]
    held_out: frozenset[Path]
    lost: int

    def refuse(self) -> None:
        """Refuse recordings that no teacher may label.

        Raises:
            RunError: there are such; the message lists them.
        """
        if self.refused:
            listed = [f"  {path}: {reason}" for path, reason in list(self.refused.items())[:_SHOWN]]
            if len(self.refused) > _SHOWN:
                listed.append(f"  and {len(self.refused) - _SHOWN} more")
            total = len(self.refused) + len(self.teachers)
            raise RunError(
                f"{len(self.refused)} of {total} recordings were heard by every teacher when it was trained\n"
                + "\n".join(listed)
                + "\nleave them out (--skip-known does), or name the folder of a cross-validation: the fold "
                "that held a recording out may label it"
            )


def assign(
    recordings: Mapping[Path, str | None], teachers: Sequence[Teacher], *, real: Manifest
) -> Assignment:
    """Choose for every recording the teachers that never heard it, nor anything of its group.

    `recordings`: with the group of each, where it is known. `real`: the clips of all teachers, with the
    splits that they agree on.
    """
    clips = [clip for teacher in teachers for clip in (*teacher.run.manifest, *teacher.trained_on)]
    marks = _Marks(recordings, clips)
    copies = dict(_copies(recordings, marks))
    distinct = [path for path in recordings if path not in copies]
    known = [_Known.of(teacher.trained_on, marks) for teacher in teachers]
    labelled = zip(real, real.class_ids().tolist(), strict=True)
    judges = (clip for clip, number in labelled if number >= 0 and clip.split in ("validation", "test"))
    held_out = _Known.of(judges, marks)
    named = {mark: clip.group for clip in real if clip.group for mark in marks.of_clip(clip)}
    chosen: dict[Path, list[int]] = {}
    refused: dict[Path, str] = {}
    groups: dict[Path, str] = {}
    kept_back = []
    for path in distinct:
        own = marks.of_recording(path)
        found = [recordings[path], *(named.get(mark) for mark in own)]
        belongs = list(dict.fromkeys(group for group in found if group))
        reasons = [one.reason(own, belongs) for one in known]
        free = [number for number, reason in enumerate(reasons) if reason is None]
        if free:
            chosen[path] = free
        else:
            refused[path] = str(reasons[0])
        if belongs:
            groups[path] = belongs[0]
        if held_out.reason(own, belongs) is not None:
            kept_back.append(path)
    return Assignment(chosen, refused, copies, groups, frozenset(kept_back), marks.lost)


@dataclass(frozen=True, eq=False)
class _Known:
    """What some clips are recognised by: marks with the recording that each is of, and groups."""

    marks: Mapping[str, Path]
    groups: frozenset[str]

    @classmethod
    def of(cls, clips: Iterable[Clip], marks: _Marks) -> _Known:
        found: dict[str, Path] = {}
        groups = set()
        for clip in clips:
            for mark in marks.of_clip(clip):
                found.setdefault(mark, clip.path)
            if clip.group:
                groups.add(clip.group)
        return cls(found, frozenset(groups))

    def reason(self, marks: Sequence[str], groups: Sequence[str]) -> str | None:
        """Say why a recording is one of them, None where it is not."""
        for mark in marks:
            if mark in self.marks:
                return _SAID[mark.partition(" ")[0]].format(self.marks[mark])
        return next(
            (f"of the group '{group}', as clips there" for group in groups if group in self.groups), None
        )


_SAID = {
    "path": "they were trained on it",
    "content": "the same bytes as {}",
    "name": "named and as long as {}, which is no longer there to compare",
}


class _Marks:
    """What files are recognised by: path, content and, for files that are gone, name and length.

    Only files that are as large as one of the recordings are read.
    """

    def __init__(self, recordings: Iterable[Path], clips: Sequence[Clip]) -> None:
        self._resolved = cache(Path.resolve)
        own = {self._resolved(path) for path in recordings}
        others = {self._resolved(path) for path in {clip.path for clip in clips}}
        self._sizes = {path: _size(path) for path in own | others}
        wanted = {self._sizes[path] for path in own} - {None}
        alike = Counter(size for size in self._sizes.values() if size in wanted)
        self._hashed = {path for path, size in self._sizes.items() if alike[size] > 1}
        gone = {path for path in others if self._sizes[path] is None}
        self.lost = len(gone)
        self._gone_names = {path.name for path in gone}
        self._of = cache(self._marks)

    def of_clip(self, clip: Clip) -> Sequence[str]:
        path = self._resolved(clip.path)
        if self._sizes[path] is None:
            return (f"path {path}", _name_mark(path, clip.frames, clip.sr))
        return self._of(path)

    def of_recording(self, path: Path) -> Sequence[str]:
        return self._of(self._resolved(path))

    def _marks(self, path: Path) -> Sequence[str]:
        marks = [f"path {path}"]
        with suppress(AudioError):  # what cannot be read will be set aside
            if path in self._hashed:
                marks.append(f"content {source_key(path)}")
            if path.name in self._gone_names:
                info = audio.probe(path)
                marks.append(_name_mark(path, info.frames, info.sample_rate))
        return marks


def _name_mark(path: Path, frames: int, sample_rate: int) -> str:
    return f"name {path.name} {frames} {sample_rate}"


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _copies(recordings: Iterable[Path], marks: _Marks) -> Iterator[tuple[Path, Path]]:
    """Yield each recording that is the same as one before it, and that one."""
    first: dict[str, Path] = {}
    for path in recordings:
        own = [mark for mark in marks.of_recording(path) if not mark.startswith("name ")]
        before = next((first[mark] for mark in own if mark in first), None)
        if before is not None:
            yield path, before
        for mark in own:
            first.setdefault(mark, path)
