"""What separating and exporting came to, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kikiwake.predictions import SetAside


@dataclass(frozen=True)
class Entries:
    """How many files of stems there are, and their bytes."""

    count: int
    size: int

    def __str__(self) -> str:
        return f"{self.count} entries, {spelled_bytes(self.size)}"


NO_ENTRIES = Entries(0, 0)


@dataclass(frozen=True)
class SeparateSummary:
    """What separating came to.

    `made` recordings were separated now, in `elapsed_seconds`; `there` were kept already. `sound_seconds` of
    the former. `stems` of each. `set_aside`: what could not be separated, or only in part. `size`: bytes of
    all that is kept of these recordings. `outdated`: entries of any recording that no recipe can use any
    more; `others`: entries of these recordings that other settings made. `removed`: old entries that were.
    """

    folder: Path
    stems: Sequence[str]
    made: int
    there: int
    sound_seconds: float
    elapsed_seconds: float
    size: int
    set_aside: Sequence[SetAside]
    quarantine: Path | None = None
    outdated: Entries = NO_ENTRIES
    others: Entries = NO_ENTRIES
    removed: Entries = NO_ENTRIES

    @property
    def failed(self) -> list[SetAside]:
        """The recordings of which there are no stems."""
        return [note for note in self.set_aside if note.kind != "partial"]

    def __str__(self) -> str:
        lines = [f"{self.made} recordings separated into {', '.join(self.stems)}; {self.there} were there"]
        if self.made:
            speed = self.sound_seconds / max(self.elapsed_seconds, 1e-9)
            lines.append(f"{self.elapsed_seconds:.1f} s, {speed:.1f} times real time")
        lines.append(f"stems: {spelled_bytes(self.size)} in {self.folder}")
        if self.removed.count:
            lines.append(f"removed: {self.removed}")
        if self.outdated.count:
            lines.append(f"outdated or damaged: {self.outdated}; --prune outdated removes them")
        if self.others.count:
            lines.append(f"of other settings: {self.others}; --prune all removes them, too")
        return "\n".join([*lines, *_set_aside_lines(self.set_aside, self.quarantine)])


@dataclass(frozen=True)
class StemExport:
    """What an export of stems came to: `files` of `recordings` in `folder`.

    `set_aside`: what could not be read, or only in part; it stands in the list `quarantine`.
    """

    folder: Path
    files: Sequence[Path]
    recordings: int
    set_aside: Sequence[SetAside]
    quarantine: Path

    def __str__(self) -> str:
        written = f"{self.folder}: {len(self.files)} files of {self.recordings} recordings"
        return "\n".join([written, *_set_aside_lines(self.set_aside, self.quarantine)])


def _set_aside_lines(set_aside: Sequence[SetAside], quarantine: Path | None) -> list[str]:
    """Say what was set aside: where it stands, or the first of it."""
    if not set_aside:
        return []
    shown = set_aside[:5] if quarantine is None else ()
    return [
        f"set aside, wholly or in part: {len(set_aside)}",
        *(f"  {note.path}: {note.reason.splitlines()[0]}" for note in shown),
        *([f"  see {quarantine}"] if quarantine else []),
    ]


def spelled_bytes(count: float) -> str:
    """Spell a size."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
