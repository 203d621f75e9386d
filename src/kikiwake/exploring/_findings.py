"""All that was found of a data set, and the few lines that say it in short."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kikiwake.exploring._clips import UNLABELLED, MeasuredClip, values
from kikiwake.exploring._confounds import Guess
from kikiwake.exploring._examples import Example, Plan
from kikiwake.exploring._oddities import CLIPPED_SHARE, SILENT_SHARE, Oddity

_NAMED = 12
_AT_EACH_END = 3


@dataclass(frozen=True)
class Findings:
    """All that a page tells. `classes`: clips by class, in the manifest's order.

    `folder`: what all recordings lie in, from which clips are named.
    """

    name: str
    table_name: str
    folder: str
    clips: Sequence[MeasuredClip]
    classes: Mapping[str, Sequence[MeasuredClip]]
    warnings: Sequence[str]
    guess: Guess | None
    oddities: Sequence[Oddity]
    plan: Plan
    examples: Mapping[str, Sequence[Example]]

    @property
    def read(self) -> list[MeasuredClip]:
        """The clips that could be read."""
        return [clip for clip in self.clips if clip.measures is not None]

    @property
    def unreadable(self) -> list[MeasuredClip]:
        """The clips that could not."""
        return [clip for clip in self.clips if clip.measures is None]


def overview(found: Findings) -> list[str]:
    """Return what is said of a data set in a few lines, on the page and on the console."""
    read = found.read
    seconds = values(read, lambda one: one.seconds)
    groups = len({clip.group for clip in found.clips})
    recordings = len({clip.clip.path for clip in found.clips})
    hours = f"{float(np.sum(seconds)) / 3600:.2f} h"
    unnamed = len(found.classes.get(UNLABELLED, ()))
    classes = f"{len(found.classes) - bool(unnamed):,} classes"
    classes += f" ({unnamed:,} without a class)" if unnamed else ""
    lines = [
        f"{len(found.clips):,} clips of {classes} in {recordings:,} recordings of {groups:,} groups, {hours}"
    ]
    if read:
        kinds = [
            Counter(f"{one.measures.sample_rate:,} Hz" for one in read if one.measures),
            Counter(channels(one.measures.channels) for one in read if one.measures),
            Counter(one.measures.format for one in read if one.measures),
        ]
        lines.append("; ".join(_shares(kind, len(read)) for kind in kinds))
        lines.append(
            f"duration {_range(seconds, 's', 2)}; RMS level "
            f"{_range(values(read, lambda one: one.rms_dbfs), 'dBFS', 1)}; bandwidth "
            f"{_range(values(read, lambda one: one.bandwidth_hz), 'Hz', 0)}"
        )
        silence = values(read, lambda one: one.silent_share)
        clipping = values(read, lambda one: one.clipped_share)
        lines.append(
            f"silence {_range(100 * silence, '% of the time', 0)}, {_reaching(silence, SILENT_SHARE)}; "
            f"clipping {_range(100 * clipping, '% of samples', 2)}, {_reaching(clipping, CLIPPED_SHARE)}"
        )
    return lines


def class_counts(found: Findings) -> list[str]:
    """Return, in a line, how many clips the classes have, the largest first; no line where there are none."""
    counts = Counter({name: len(clips) for name, clips in found.classes.items() if name != UNLABELLED})
    if not counts:
        return []
    ranked = [f"{name} {count:,}" for name, count in counts.most_common()]
    if len(ranked) <= _NAMED:
        return [f"clips by class: {', '.join(ranked)}"]
    largest, smallest = ", ".join(ranked[:_AT_EACH_END]), ", ".join(ranked[-_AT_EACH_END:])
    return [f"clips by class: {largest}, ... {smallest} (median {np.median([*counts.values()]):,g})"]


def _reaching(shares: NDArray[np.float64], limit: float) -> str:
    """Say how many clips reach a share from which on they are odd."""
    count = int((shares >= limit).sum())
    clips = "no clip" if not count else "1 clip" if count == 1 else f"{count:,} clips"
    return f"{100 * limit:g} % or more in {clips}"


def channels(count: int) -> str:
    """Say how many channels there are."""
    return {1: "mono", 2: "stereo"}.get(count, f"{count} channels")


def _shares(kinds: Counter[str], total: int) -> str:
    """Say how many clips are of which kind; only the name where all are."""
    first = kinds.most_common(4)
    if len(first) == 1:
        return f"all {first[0][0]}"
    more = f", {len(kinds) - 4} more" if len(kinds) > 4 else ""
    return ", ".join(f"{100 * count / total:.3g} % {name}" for name, count in first) + more


def _range(numbers: NDArray[np.float64], unit: str, digits: int) -> str:
    finite = numbers[np.isfinite(numbers)]
    if not len(finite):
        return "unknown"
    low, middle, high = (f"{number:,.{digits}f}" for number in np.percentile(finite, [0, 50, 100]))
    return f"{low} to {high} {unit} (median {middle})"
