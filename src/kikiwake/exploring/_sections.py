"""The parts of a page that count and draw: classes, folds and splits, distributions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from kikiwake import figures
from kikiwake.exploring._clips import MeasuredClip, values
from kikiwake.exploring._findings import Findings, channels
from kikiwake.exploring._html import Made, bar, element, paragraph, picture, table
from kikiwake.exploring._measures import Measures

_CLASSES_DRAWN = 40


def classes(found: Findings) -> list[Made]:
    """Return the table of classes."""
    largest = max(map(len, found.classes.values()), default=0)
    rows = []
    for name, clips in found.classes.items():
        seconds = values(clips, lambda one: one.seconds)
        rows.append(
            (
                name,
                bar(len(clips), largest),
                len({clip.group for clip in clips}),
                f"{np.nansum(seconds) / 60:,.1f}",
                _median(seconds, 2),
                _median(values(clips, lambda one: one.rms_dbfs), 1),
                _median(values(clips, lambda one: one.loudness_lufs), 1),
                _median(values(clips, lambda one: 100 * one.silent_share), 0),
                _median(values(clips, lambda one: one.bandwidth_hz), 0),
                _kinds(clips),
            )
        )
    columns = [
        "class",
        "clips",
        "groups",
        "minutes",
        "seconds a clip",
        "RMS (dBFS)",
        "loudness (LUFS)",
        "silence (%)",
        "bandwidth (Hz)",
        "files",
    ]
    lone = [name for name, clips in found.classes.items() if len({clip.group for clip in clips}) == 1]
    counts = [len(clips) for clips in found.classes.values()]
    fewest = min(counts, default=0)
    balance = f"{largest:,}" if fewest == largest else f"From {fewest:,} to {largest:,}"
    notes = [paragraph(f"{balance} clips a class. Numbers of a class are medians.")]
    if lone:
        named = ", ".join(lone[:10]) + (f" and {len(lone) - 10} more" if len(lone) > 10 else "")
        notes.append(paragraph("All clips are of one group, so nothing can be held out fairly: ", named, "."))
    return [element("h2", "Classes", id="classes"), *notes, table(columns, rows)]


def _kinds(clips: Sequence[MeasuredClip]) -> str:
    """Say of what rate, channels and format the clips of a class are."""
    kinds = Counter(
        f"{one.sample_rate:,} Hz {channels(one.channels)} {one.format}"
        for one in (clip.measures for clip in clips)
        if one is not None
    )
    return "; ".join(name if len(kinds) == 1 else f"{count} {name}" for name, count in kinds.most_common(3))


def _median(numbers: NDArray[np.float64], digits: int) -> str:
    finite = numbers[np.isfinite(numbers)]
    return f"{np.median(finite):,.{digits}f}" if len(finite) else "-"


def parts(found: Findings) -> list[Made]:
    """Return the table of folds and that of splits."""
    made = []
    for heading, of in (("Folds", lambda clip: clip.clip.fold), ("Splits", lambda clip: clip.clip.split)):
        rows = _part_rows(found, of)
        if rows:
            columns = [heading.lower().rstrip("s"), "clips", "groups", "classes without a clip"]
            made += [element("h2", heading), table(columns, rows)]
    return made


def _part_rows(found: Findings, of: Callable[[MeasuredClip], object]) -> list[tuple[object, ...]]:
    parts: dict[object, list[MeasuredClip]] = {}
    for clip in found.clips:
        parts.setdefault(of(clip), []).append(clip)
    if set(parts) <= {None}:
        return []
    rows: list[tuple[object, ...]] = []
    for part in sorted(parts, key=lambda one: (one is None, str(one).zfill(9))):
        clips = parts[part]
        present = {clip.label for clip in clips}
        absent = [name for name in found.classes if name not in present]
        named = ", ".join(absent[:8]) + (f" and {len(absent) - 8} more" if len(absent) > 8 else "")
        shown = "(none)" if part is None else str(part)
        rows.append((shown, f"{len(clips):,}", f"{len({clip.group for clip in clips}):,}", named or "none"))
    return rows


_HISTOGRAMS: Sequence[tuple[str, str, Callable[[Measures], float | None]]] = (
    ("Duration", "s", lambda one: one.seconds),
    ("Peak", "dBFS", lambda one: one.peak_dbfs),
    ("RMS level", "dBFS", lambda one: one.rms_dbfs),
    ("Loudness", "LUFS", lambda one: one.loudness_lufs),
    ("Silence", "% of the time", lambda one: 100 * one.silent_share),
    ("Clipping", "% of samples", lambda one: 100 * one.clipped_share),
    ("DC offset", "% of full scale", lambda one: 100 * one.dc_offset),
    ("Bandwidth", "kHz", lambda one: None if one.bandwidth_hz is None else one.bandwidth_hz / 1000),
)
_BY_CLASS = ("Duration", "RMS level", "Silence", "Bandwidth")


def distributions(found: Findings) -> list[Made]:
    """Return pictures of how properties are spread, over all clips and class by class."""
    if not found.read:
        return []
    everything = [
        picture(
            figures.histogram(values(found.read, of), heading=name, unit=unit),
            describes=f"Histogram of {name.lower()} over all clips",
        )
        for name, unit, of in _HISTOGRAMS
    ]
    by_class = []
    for name, unit, of in _HISTOGRAMS:
        if name in _BY_CLASS and len(found.classes) > 1:
            chosen = _most_unlike(found.classes, of)
            drawn = figures.class_ranges(chosen, heading=f"{name} by class", unit=unit)
            by_class.append(
                picture(drawn, describes=f"{name}, 10th to 90th percentile and median of each class")
            )
    said = "Lines reach from the 10th to the 90th percentile of a class, dots are its median."
    if len(found.classes) > _CLASSES_DRAWN:
        said += f" Shown are the {_CLASSES_DRAWN} classes that are least like the rest."
    return [
        element("h2", "Distributions", id="distributions"),
        paragraph("The dashed line is the median of all clips."),
        element("div", *everything, class_="pictures"),
        *([paragraph(said), element("div", *by_class, class_="pictures")] if by_class else []),
    ]


def _most_unlike(
    classes: Mapping[str, Sequence[MeasuredClip]], of: Callable[[Measures], float | None]
) -> dict[str, NDArray[np.float64]]:
    """Return the values of the classes to draw, in their own order: those farthest from the median."""
    spread = {name: values(clips, of) for name, clips in classes.items()}
    finite = {name: numbers[np.isfinite(numbers)] for name, numbers in spread.items()}
    everything = np.concatenate([*finite.values()])
    middle = float(np.median(everything)) if len(everything) else 0.0
    ranked = sorted(
        finite, key=lambda name: -abs(float(np.median(finite[name])) - middle) if len(finite[name]) else 0.0
    )
    chosen = set(ranked[:_CLASSES_DRAWN])
    return {name: numbers for name, numbers in spread.items() if name in chosen}
