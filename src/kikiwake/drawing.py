"""Draws predictions over the spectrogram of their recording, and counts the known events that they found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kikiwake import audio, figures
from kikiwake.errors import ManifestError
from kikiwake.predictions import Predictions
from kikiwake.truth import read_truth

Event = tuple[float, float, str]


@dataclass(frozen=True)
class Drawing:
    """A picture of predictions; `right` of `events` known events have the class that was predicted there."""

    picture: Path
    events: int
    right: int

    def __str__(self) -> str:
        found = f"{self.right} of {self.events} events have the right class\n" if self.events else ""
        return f"{found}wrote {self.picture}"


def draw(recording: Path, predictions: Path, picture: Path, *, truth: Path | None = None) -> Drawing:
    """Draw the spectrogram of `recording` and below it, over time, the probability of every class.

    `predictions`: a table of `kikiwake predict`. `truth`: what `read_truth` reads; its events are outlined.

    Raises:
        AudioError: the recording cannot be read.
        ManifestError: a table cannot be read, or has no row of this recording, or of several so named.
        StorageError: the picture cannot be written.
    """
    heard = audio.load(recording, sample_rate=None)
    table = Predictions.read(predictions)
    rows = _rows_of(recording, table, where=predictions)
    starts, ends = table.starts[rows], table.ends[rows]
    probabilities = table.probabilities[rows]
    events = _events(truth, recording) if truth else []
    figures.predictions_over_time(
        heard.waveform[0],
        heard.sample_rate,
        starts,
        ends,
        probabilities,
        table.classes,
        picture,
        truth=events,
        heading=recording.name,
    )
    likeliest = [_over(event, starts, ends, probabilities).argmax() for event in events]
    right = sum(table.classes[int(at)] == event[2] for at, event in zip(likeliest, events, strict=True))
    return Drawing(picture, len(events), right)


def _rows_of(recording: Path, table: Predictions, *, where: Path) -> list[int]:
    """Return the rows of a recording: by its path, or by its name where only one is so called."""
    named = {path for path in table.paths if Path(path).name == recording.name}
    same = {path for path in named if Path(path).absolute() == recording.absolute()} or named
    if len(same) != 1:
        what = f"{len(same) or 'no'} recordings in it are called {recording.name}"
        raise ManifestError(what, where=where, remedy="give the recording's path as it stands in the table")
    return [row for row, path in enumerate(table.paths) if path in same]


def _events(path: Path, recording: Path) -> list[Event]:
    """Return start, end and label of the events of one recording."""
    truth = read_truth(path)
    name = truth.names_of([str(recording)]).get(str(recording))
    return [(each.start, each.end, each.label) for each in truth.events[name]] if name is not None else []


def _over(event: Event, starts: np.ndarray, ends: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the probabilities `[K]` of the windows over an event, weighted by how much of it they cover."""
    start, end, _ = event
    overlap = np.clip(np.minimum(ends, end) - np.maximum(starts, start), 0, None)
    return np.asarray(overlap @ probabilities)
