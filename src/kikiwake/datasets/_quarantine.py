"""The list of files that are not in the manifest, or are and need a look: each with its reason."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kikiwake.datasets._examine import Finding
from kikiwake.datasets._scan import Scan, is_audio
from kikiwake.tables import write_table

COLUMNS = ("path", "offset_seconds", "kind", "reason")

Kind = Literal["error", "partial", "warning", "skipped"]


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """A file, how far into it, how bad and why."""

    path: str
    kind: Kind
    offset: str
    reason: str


class Quarantine:
    """Faults by kind.

    error: the recording, or a clip of it, is not in the manifest. partial: it is, as far as it can be read,
    which is `offset_seconds`. warning: it is, and something is odd. skipped: it was not asked for.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.faults: set[Fault] = set()

    def add(self, path: Path | str, kind: Kind, reason: str, *, offset_seconds: float | None = None) -> None:
        """Note a fault; a file name of any bytes is made readable."""
        name = os.fsencode(self._portable(path)).decode("utf-8", "backslashreplace")
        self.faults.add(Fault(name, kind, "" if offset_seconds is None else f"{offset_seconds:.3f}", reason))

    def _portable(self, path: Path | str) -> str:
        if isinstance(path, Path) and path.is_relative_to(self.file.parent):
            return path.relative_to(self.file.parent).as_posix()
        return str(path)

    def add_finding(self, path: Path, finding: Finding) -> None:
        """Note what is wrong with a recording."""
        if finding.error is not None:
            self.add(path, "error", finding.error, offset_seconds=0.0)
        if finding.damage is not None:
            self.add(path, "partial", finding.damage, offset_seconds=finding.seconds)
        for remark in finding.remarks:
            self.add(path, "warning", remark)

    def add_rest(self, scan: Scan, *, read: Collection[Path], out: Path) -> None:
        """Note everything in the tree but the recordings in `read` and what kikiwake writes beside `out`."""
        for name, where in scan.missing:
            self.add(name, "error", f"missing: {where} names it, and it is not there")
        for folder, reason in scan.tree.unreadable:
            self.add(folder, "error", reason)
        known = {*read, *scan.tables, out, self.file}
        own = (f".{out.name}.", f".{self.file.name}.")  # the journal, and what a killed process leaves
        for path in scan.tree.files:
            if path not in known and not (path.parent == out.parent and path.name.startswith(own)):
                self.add(path, "skipped", _why_skipped(path, scan))

    def counts(self) -> Counter[str]:
        """Return the number of rows of each kind."""
        return Counter(fault.kind for fault in self.faults)

    def faulty(self) -> int:
        """Return the number of recordings that cannot be read, or only in part."""
        return len({fault.path for fault in self.faults if fault.kind in ("error", "partial")})

    def first_faults(self, count: int) -> list[str]:
        """Return the first recordings that cannot be read, or only in part, each with its reason."""
        faulty = sorted(fault for fault in self.faults if fault.kind in ("error", "partial"))
        first = {fault.path: fault for fault in reversed(faulty)}
        return [f"{path}: {first[path].reason}" for path in sorted(first)[:count]]

    def write(self) -> None:
        """Write the list, sorted, atomically.

        Raises:
            StorageError: it cannot be written.
        """
        rows = ([fault.path, fault.offset, fault.kind, fault.reason] for fault in sorted(self.faults))
        write_table(self.file, COLUMNS, rows)


def _why_skipped(path: Path, scan: Scan) -> str:
    if path.name.startswith("._"):
        return "what macOS adds beside a file (AppleDouble), no recording"
    if scan.tree.is_hidden(path):
        return "hidden"
    if path in scan.left_out:
        return scan.left_out[path]
    if is_audio(path):
        return scan.unnamed
    return f"not audio: {path.suffix.lower() or 'no suffix'}"
