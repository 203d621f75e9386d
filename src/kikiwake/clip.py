"""A clip, and how it stands in the columns of a manifest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

REQUIRED = ("path", "class_id", "class", "fold", "frames", "sr")
OPTIONAL = ("start", "end", "secondary", "group", "split", "weight", "rating")
COLUMNS = REQUIRED + OPTIONAL
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Clip:
    """A labelled stretch of a recording.

    `frames` and `sr` are the whole recording's length in samples and rate in Hz; `start` and `end` are in
    seconds, None for the recording's own. `label` is None where nobody has labelled it. `group` is what must
    not straddle a split (artist, recordist, source recording). `weight` multiplies the loss; `rating` is
    the quality from 0 to 5.
    """

    path: Path
    label: str | None
    class_id: int | None
    fold: int | None
    frames: int
    sr: int
    start: float | None = None
    end: float | None = None
    secondary: tuple[str, ...] = ()
    group: str | None = None
    split: str | None = None
    weight: float = 1.0
    rating: float | None = None

    @property
    def start_seconds(self) -> float:
        """Where the clip begins in its recording."""
        return self.start or 0.0

    @property
    def duration_seconds(self) -> float:
        """The clip's length: `end` beyond the recording's end counts no further than the recording."""
        length = self.frames / self.sr
        end = length if self.end is None else min(self.end, length)
        return max(0.0, end - self.start_seconds)


def cell(clip: Clip, column: str) -> str:
    """Return a clip's cell; empty for what is not there, and for the weight that all have by default."""
    if column == "class":
        return clip.label or ""
    if column == "secondary":
        return ";".join(clip.secondary)
    if column == "weight" and clip.weight == 1.0:
        return ""
    value = getattr(clip, column)
    return "" if value is None else str(value)
