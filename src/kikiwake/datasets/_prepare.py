"""From a folder to a manifest: finds the clips, reads every recording once, and accounts for every file."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kikiwake import components
from kikiwake.clip import REQUIRED, Clip
from kikiwake.datasets._examine import Finding, examine_all
from kikiwake.datasets._quarantine import COLUMNS as QUARANTINE_COLUMNS
from kikiwake.datasets._quarantine import Quarantine
from kikiwake.datasets._scan import FoundClip, Scan, Tree
from kikiwake.errors import ManifestError
from kikiwake.files import refuse_to_replace
from kikiwake.folds import assign_folds, scarce_classes
from kikiwake.manifest import Manifest

TIMEOUT_SECONDS = 900.0
MEMORY_BYTES = 4 << 30
SHOWN_FAULTS = 5


@dataclass(frozen=True, slots=True)
class PrepareSummary:
    """What `prepare` made: counts of clips, recordings and classes, and of files set aside.

    `counts`: rows of the quarantine list by kind. `quarantined`: recordings that cannot be read, or only in
    part, or are missing; those alone make `kikiwake prepare` end with another exit status. `faults`: the
    first of them, each with its reason.
    """

    manifest: Path
    quarantine: Path
    clips: int
    recordings: int
    groups: int
    classes: int
    hours: float
    folds: list[int]
    counts: Mapping[str, int]
    quarantined: int
    faults: Sequence[str]
    notes: list[str]

    def __str__(self) -> str:
        folds = f"folds {', '.join(map(str, self.folds))}" if self.folds else "no folds"
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.counts.items()))
        lines = [
            f"{self.manifest}: {self.clips} clips of {self.classes} classes in {self.recordings} recordings "
            f"of {self.groups} groups, {self.hours:.2f} h, {folds}",
            *(f"note: {note}" for note in self.notes),
            f"{self.quarantine}: {kinds or 'nothing to report'}",
            *(f"  {fault}" for fault in self.faults),
        ]
        if self.quarantined > len(self.faults):
            lines.append(f"  ... and {self.quarantined - len(self.faults)} more")
        return "\n".join(lines)


def prepare(
    root: str | Path,
    out: str | Path,
    *,
    dataset: str = "auto",
    folds: int | None = 5,
    seed: int = 0,
    workers: int = 2,
    timeout_seconds: float = TIMEOUT_SECONDS,
    memory_bytes: int = MEMORY_BYTES,
    options: Mapping[str, Any] | None = None,
) -> PrepareSummary:
    """Write the manifest `out` of the recordings below `root`, and beside it `<out stem>.quarantine.csv`.

    `dataset`: the data-set module, or "auto" for the one that knows the layout; `options` are its own.
    `folds`: how many to make, grouped and stratified, where the data set brings none. Every recording is
    decoded to its end in one of `workers` child processes (0: in this one, without limits) that may take
    `timeout_seconds` and `memory_bytes` each. Every file of the tree is in the manifest, is a table that
    describes it, or has a row in the quarantine list.

    Killed at any point and started again it goes on, and ends with the same bytes.

    Raises:
        ManifestError: the folder's layout is not known, a table makes no sense, or nothing can be read.
        RecipeError: there is no such data set or option.
        StorageError: a file cannot be written.
    """
    root, out = Path(root), Path(out).absolute()
    if out.suffix != ".csv":
        raise ManifestError("a manifest's name ends in .csv", where="out", value=str(out))
    if workers < 0:
        raise ManifestError("there cannot be fewer than 0", where="workers", value=workers)
    if folds is not None and folds < 2:
        raise ManifestError("there must be at least 2 folds, or none", where="folds", value=folds)
    scan = scan_folder(root, dataset=dataset, options=options or {})
    if out in scan.tables or out.is_dir():
        raise ManifestError("would be overwritten", where=out, remedy="choose another name for the manifest")
    quarantine = Quarantine(out.with_name(f"{out.stem}.quarantine.csv"))
    refuse_to_replace(out, beginnings=[",".join(REQUIRED)], is_a="manifest")
    refuse_to_replace(quarantine.file, beginnings=[",".join(QUARANTINE_COLUMNS)], is_a="quarantine list")
    journal = out.with_name(f".{out.name}.journal")
    findings = examine_all(
        dict.fromkeys(clip.path for clip in scan.clips),
        journal=journal,
        workers=workers,
        timeout_seconds=timeout_seconds,
        memory_bytes=memory_bytes,
    )
    kept = [clip for clip in scan.clips if _keep(clip, findings[clip.path], quarantine)]
    for path, finding in findings.items():
        quarantine.add_finding(path, finding)
    quarantine.add_rest(scan, read=findings.keys(), out=out)
    notes = list(scan.notes)
    manifest = _manifest(kept, findings, quarantine, notes, order=scan.classes)
    quarantine.write()
    if not kept:
        remedy = f"{quarantine.file} says of every file why; check the folder and the data set's options"
        raise ManifestError("no clip can be read here", where=root, remedy=remedy)
    if folds and not manifest.folds():
        manifest = _dealt(manifest, folds, seed, notes)
    manifest.write(out)
    journal.unlink(missing_ok=True)
    return PrepareSummary(
        manifest=out,
        quarantine=quarantine.file,
        clips=len(manifest),
        recordings=len({clip.path for clip in manifest}),
        groups=len(set(manifest.groups())),
        classes=len(manifest.classes),
        hours=sum(clip.duration_seconds for clip in manifest) / 3600,
        folds=manifest.folds(),
        counts=quarantine.counts(),
        quarantined=quarantine.faulty(),
        faults=quarantine.first_faults(SHOWN_FAULTS),
        notes=notes,
    )


def scan_folder(root: Path, *, dataset: str, options: Mapping[str, Any]) -> Scan:
    """Let a data-set module scan `root`, the likeliest one for "auto".

    Raises:
        ManifestError: no module, or more than one, knows the layout.
        RecipeError: there is no such data set or option.
    """
    if not root.is_dir():
        raise ManifestError("there is no such folder", where=root, remedy="check the path")
    name = _recognise(root) if dataset == "auto" else dataset
    scan, arguments = components.validate("datasets", {"name": name, **options}, where="dataset")
    found: Scan = scan(root, **arguments)
    found.notes.insert(0, f"read as the data set '{name}'")
    return found


def _recognise(root: Path) -> str:
    likeness: dict[str, int] = {}
    for name in components.names("datasets"):
        module = importlib.import_module(f"kikiwake.datasets.{name}")
        if hasattr(module, "likeness"):
            likeness[name] = module.likeness(root)
    best = [name for name, value in likeness.items() if value and value == max(likeness.values())]
    if len(best) == 1:
        return best[0]
    if not Tree(root).audio():
        raise ManifestError("holds no recordings", where=root, remedy="check the path")
    what = f"looks like each of {', '.join(best)}" if best else "is no layout that is known"
    remedy = (
        "put the recordings into folders named by their classes, or name the data set with --dataset: "
        f"{', '.join(components.names('datasets'))}"
    )
    raise ManifestError(what, where=root, remedy=remedy)


def _keep(clip: FoundClip, finding: Finding, quarantine: Quarantine) -> bool:
    """Say whether there is anything of a clip to hear; note where it lies outside its recording."""
    if finding.error is not None:
        return False
    if not _is_unicode(clip.path):
        quarantine.add(clip.path, "error", "the name is not valid Unicode; rename it")
        return False
    seconds = finding.seconds
    if (clip.start or 0.0) >= seconds:
        reason = f"a clip starts at {clip.start:g} s, the recording can be read up to {seconds:g} s"
        quarantine.add(clip.path, "error", reason, offset_seconds=clip.start)
        return False
    audible = min(seconds, seconds if clip.end is None else clip.end) - (clip.start or 0.0)
    if audible < clip.least_seconds:
        reason = f"only {audible:.2f} s can be heard, and at least {clip.least_seconds:g} s are wanted"
        quarantine.add(clip.path, "error", reason, offset_seconds=clip.start)
        return False
    if clip.end is not None and clip.end > seconds + 0.05:
        reason = f"a clip ends at {clip.end:g} s, the recording can be read up to {seconds:g} s"
        quarantine.add(clip.path, "warning", reason, offset_seconds=clip.end)
    return True


def _is_unicode(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _manifest(
    found: Sequence[FoundClip],
    findings: Mapping[Path, Finding],
    quarantine: Quarantine,
    notes: list[str],
    *,
    order: Sequence[str],
) -> Manifest:
    labels = {clip.label for clip in found if clip.label is not None}
    classes = [*(name for name in order if name in labels), *sorted(labels.difference(order))]
    numbers = {name: index for index, name in enumerate(classes)}
    strangers = Counter(name for clip in found for name in clip.secondary if name not in numbers)
    if strangers:
        counted = ", ".join(f"'{name}' ({count})" for name, count in sorted(strangers.items()))
        what = f"{strangers.total()} secondary labels that no clip has as its class are left out"
        notes.append(f"{what}: {counted}")
    clips: dict[tuple[Path, float, float | None], Clip] = {}
    for clip in found:
        made = _clip(clip, findings[clip.path], numbers)
        if clips.setdefault((made.path, made.start_seconds, made.end), made) is not made:
            reason = f"a clip of '{clip.label}' is left out: cut short, it is the same stretch as another"
            quarantine.add(clip.path, "warning", reason, offset_seconds=made.start_seconds)
    return Manifest(list(clips.values()), classes)


def _clip(found: FoundClip, finding: Finding, numbers: Mapping[str, int]) -> Clip:
    start, end = found.start, found.end
    if found.seconds is not None:
        latest = (start or 0.0) + found.seconds
        if latest < min(finding.seconds, finding.seconds if end is None else end):
            start, end = start or 0.0, latest
    return Clip(
        path=found.path,
        label=found.label,
        class_id=None if found.label is None else numbers[found.label],
        fold=found.fold,
        frames=finding.frames,
        sr=finding.sample_rate,
        start=start,
        end=end,
        secondary=tuple(name for name in found.secondary if name in numbers),
        group=found.group,
        split=found.split,
        weight=found.weight,
        rating=found.rating,
    )


def _dealt(manifest: Manifest, folds: int, seed: int, notes: list[str]) -> Manifest:
    """Return the manifest in folds; where they cannot be made, as it is, with a note."""
    try:
        dealt = assign_folds(manifest, folds=folds, seed=seed)
    except ManifestError as error:
        notes.append(f"no folds were made: {error}")
        return manifest
    notes.extend(scarce_classes(dealt, folds=folds))
    return dealt
