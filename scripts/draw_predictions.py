"""Draws the predictions of a recording over its spectrogram, and counts the known events that were found."""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import numpy as np

from kikiwake import audio, figures


def main() -> None:
    """Read the tables, draw, and say how many events were recognised."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recording", type=Path)
    parser.add_argument("predictions", type=Path, help="CSV that `kikiwake predict` wrote")
    parser.add_argument("picture", type=Path, help="PNG to write")
    parser.add_argument("--truth", type=Path, help="CSV with filename,start,end,label")
    arguments = parser.parse_args()

    with arguments.predictions.open(newline="", encoding="utf-8") as file:
        table = csv.reader(file)
        classes = next(table)[5:]
        rows = [row for row in table if Path(row[0]).name == arguments.recording.name]
    starts, ends = (np.array([float(row[column]) for row in rows]) for column in (2, 3))
    probabilities = np.array([[float(cell) for cell in row[5:]] for row in rows])
    events = read_events(arguments.truth, arguments.recording.name) if arguments.truth else []

    heard = audio.load(arguments.recording, sample_rate=None)
    figures.predictions_over_time(
        heard.waveform[0],
        heard.sample_rate,
        starts,
        ends,
        probabilities,
        classes,
        arguments.picture,
        truth=events,
        heading=arguments.recording.name,
    )
    if events:
        right = sum(
            classes[int(event_probabilities(start, end, starts, ends, probabilities).argmax())] == label
            for start, end, label in events
        )
        sys.stdout.write(f"{right} of {len(events)} events have the right class\n")
    sys.stdout.write(f"wrote {arguments.picture}\n")


def read_events(path: Path, filename: str) -> list[tuple[float, float, str]]:
    """Return start, end and label of the events of one recording."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            (float(row["start"]), float(row["end"]), row["label"])
            for row in csv.DictReader(file)
            if row["filename"] == filename
        ]


def event_probabilities(
    start: float, end: float, starts: np.ndarray, ends: np.ndarray, probabilities: np.ndarray
) -> np.ndarray:
    """Return the probabilities `[K]` of the windows over an event, weighted by how much of it they cover."""
    overlap = np.clip(np.minimum(ends, end) - np.maximum(starts, start), 0, None)
    return np.asarray(overlap @ probabilities)


if __name__ == "__main__":
    main()
