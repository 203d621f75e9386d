"""Looks at a data set before anything is trained: one page to read and hear, one table of measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kikiwake.errors import KikiwakeError, ManifestError
from kikiwake.exploring._clips import (
    COLUMNS,
    UNLABELLED,
    MeasuredClip,
    common_folder,
    measure_all,
    write_measurements,
)
from kikiwake.exploring._confounds import confounds, header_guess, split_shifts
from kikiwake.exploring._examples import choose, plan, render_all
from kikiwake.exploring._findings import Findings, class_counts, overview
from kikiwake.exploring._oddities import oddities
from kikiwake.exploring._page import MARK, render_page
from kikiwake.files import refuse_to_replace, write_text
from kikiwake.manifest import Manifest

__all__ = ["Exploration", "explore"]

TIMEOUT_SECONDS = 900.0
MEMORY_BYTES = 4 << 30
_SHOWN = 5


@dataclass(frozen=True)
class Exploration:
    """What a data set is like, in short; all of it stands in `page` (HTML) and `table` (CSV).

    `warnings`: what a model could tell classes apart by that is not their sound, and what else misleads.
    `odd`: how many clips are odd in which way. `unreadable`: clips that could not be read, each with its
    reason. `examples`: clips that can be looked at and heard in the page.
    """

    page: Path
    table: Path
    lines: Sequence[str]
    warnings: Sequence[str]
    odd: dict[str, int]
    unreadable: Sequence[str]
    examples: int

    def __str__(self) -> str:
        lines = [*self.lines]
        if self.odd:
            lines.append("odd: " + ", ".join(f"{count:,} {name}" for name, count in self.odd.items()))
        if self.unreadable:
            lines.append(f"not read: {len(self.unreadable):,} clips")
            lines += _first(self.unreadable)
        if self.warnings:
            lines.append("what a model could cheat with, or be misled by:")
            lines += _first(self.warnings)
        megabytes = self.page.stat().st_size / 1e6 if self.page.is_file() else 0.0
        lines.append(f"page: {self.page} ({self.examples} examples, {megabytes:.1f} MB)")
        lines.append(f"measurements: {self.table}")
        return "\n".join(lines)


def _first(lines: Sequence[str]) -> list[str]:
    more = [f"  ... and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return [f"  {line}" for line in lines[:_SHOWN]] + more


def explore(
    manifest: str | Path,
    *,
    out: str | Path | None = None,
    examples: int = 3,
    seed: int = 0,
    workers: int = 2,
    timeout_seconds: float = TIMEOUT_SECONDS,
    memory_bytes: int = MEMORY_BYTES,
) -> Exploration:
    """Measure every clip of a manifest, and write a page of what there is and a table of the measurements.

    `out`: an HTML file, beside which the table gets the same name with .csv, or a folder for explored.html
    and explored.csv; by default <manifest stem>.explored.html beside the manifest. `examples`: clips of each
    class to look at and hear, fewer where the page would grow beyond some 15 MB; `seed` draws them. Every
    clip is read to its end in one of `workers` processes (0: in this one, without limits) that may take
    `timeout_seconds` and `memory_bytes` each. The same manifest and recordings give the same bytes.

    Raises:
        ManifestError: the manifest cannot be read, or holds no clip.
        KikiwakeError: there cannot be so many examples or workers.
        StorageError: a file cannot be written, or one that is no exploration would be lost.
    """
    manifest = Path(manifest)
    for name, count in (("examples", examples), ("workers", workers)):
        if count < 0:
            raise KikiwakeError("there cannot be fewer than 0", where=name, value=count)
    page, table = _places(manifest, None if out is None else Path(out))
    refuse_to_replace(page, beginnings=[MARK], is_a="page of kikiwake explore")
    refuse_to_replace(table, beginnings=[",".join(COLUMNS)], is_a="table of kikiwake explore")
    read = Manifest.read(manifest)
    if not len(read):
        raise ManifestError("there is no clip to explore", where=manifest)
    limits = {"workers": workers, "timeout_seconds": timeout_seconds, "memory_bytes": memory_bytes}
    folder = common_folder(read)
    clips = measure_all(read, folder, **limits)  # type: ignore[arg-type]
    classes = _by_class(clips, read.classes)
    planned = plan(len(classes), examples)
    chosen = {
        name: choose(classes[name], planned.examples, seed=seed, name=name)
        for name in list(classes)[: planned.classes]
    }
    guess = header_guess(clips, seed=seed)
    warnings = [*([str(guess)] if guess and guess.telling else []), *confounds(clips), *split_shifts(clips)]
    found = Findings(
        name=manifest.name,
        table_name=table.name,
        folder=str(folder),
        clips=clips,
        classes=classes,
        warnings=warnings,
        guess=None if guess and guess.telling else guess,
        oddities=oddities(clips),
        plan=planned,
        examples=render_all(chosen, planned.seconds, **limits),  # type: ignore[arg-type]
    )
    write_measurements(table, clips, folder=manifest.absolute().parent)
    write_text(page, render_page(found))
    first, *rest = overview(found)
    return Exploration(
        page=page,
        table=table,
        lines=[f"{manifest}: {first}", *class_counts(found), *rest],
        warnings=warnings,
        odd={one.name: len(one.clips) for one in found.oddities if one.flagged},
        unreadable=[f"{clip.title}: {clip.error}" for clip in found.unreadable],
        examples=sum(map(len, found.examples.values())),
    )


def _places(manifest: Path, out: Path | None) -> tuple[Path, Path]:
    """Return where page and table are written."""
    if out is None:
        page = manifest.with_name(f"{manifest.stem}.explored.html")
    elif out.suffix.lower() in (".html", ".htm"):
        page = out
    else:
        page = out / "explored.html"
    return page, page.with_suffix(".csv")


def _by_class(clips: Sequence[MeasuredClip], names: Sequence[str]) -> dict[str, list[MeasuredClip]]:
    """Return the clips of each class that has any, in the manifest's order; those without one come last."""
    found: dict[str, list[MeasuredClip]] = {name: [] for name in [*names, UNLABELLED]}
    for clip in clips:
        found[clip.label].append(clip)
    return {name: own for name, own in found.items() if own}
