"""Judges sound event detection: events made of predictions, held against the events that are there.

scores.json    every score with its interval, and the settings; written last
classes.csv    a row a class: how much is there, found and right, in events and in segments
events.csv     a row an event: hit, missed, inserted, or confused with another class; when it is and was found
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kikiwake import event_scores
from kikiwake._bootstrap import Interval, bootstrap_all
from kikiwake._score_table import aligned, interval, shown
from kikiwake.errors import ManifestError, listed
from kikiwake.event_scores import Tally, event_tally, pairs, segment_tally, total
from kikiwake.events import Event, events_of
from kikiwake.files import write_json
from kikiwake.predictions import by_recording, read_chunks
from kikiwake.randomness import generator
from kikiwake.tables import write_table
from kikiwake.truth import Truth, read_truth

LEVEL = 0.95
"""How often an interval should hold the true score."""

_FEW = 30


@dataclass(frozen=True)
class Settings:
    """How events are made of predictions (`events_of`) and held against the truth (`event_scores`)."""

    threshold: float = 0.5
    collar_seconds: float = 0.2
    offset_share: float = 0.2
    segment_seconds: float = 1.0
    median_seconds: float = 0.0
    gap_seconds: float = 0.0
    shortest_seconds: float = 0.0
    high_threshold: float | None = None


@dataclass(frozen=True)
class Detection:
    """What events found in some recordings are worth.

    `scores`: by "event" and "segment", each score with its interval from a bootstrap over recordings.
    `classes`: rows of both for each class. `missing`: recordings of the truth without predictions; `extra`:
    the other way round; neither counts. `notes`: what a reader of the scores must know.
    """

    recordings: int
    settings: Settings
    scores: Mapping[str, Mapping[str, Interval]]
    classes: Sequence[Mapping[str, Any]]
    missing: Sequence[str]
    extra: Sequence[str]
    notes: Sequence[str]
    folder: Path | None = None

    def __str__(self) -> str:
        table = [("score", "value", f"{LEVEL:.0%} interval")]
        table += [
            (f"{way}_{name}", shown(score.value), interval(score))
            for way, found in self.scores.items()
            for name, score in found.items()
        ]
        rows = [("class", "events", "found", "right", "event F1", "segment F1")]
        for row in self.classes:
            there, found, right = (str(row[f"event_{name}"]) for name in ("labels", "decisions", "hits"))
            f1 = shown(row["event_f1"]), shown(row["segment_f1"])
            rows.append((row["class"], there, found, right, *f1))
        events, decisions = (sum(row[f"event_{n}"] for row in self.classes) for n in ("labels", "decisions"))
        return "\n".join(
            [
                f"{self.recordings} recordings: {events} events, {decisions} found at threshold "
                + self._thresholds,
                "",
                *aligned(table),
                "",
                *aligned(rows),
                *[""][: len(self.notes)],
                *(f"note: {note}" for note in self.notes),
                *([f"tables: {self.folder}"] if self.folder else []),
            ]
        )

    @property
    def _thresholds(self) -> str:
        low, high = self.settings.threshold, self.settings.high_threshold
        return f"{low:g}" if high is None else f"{low:g}, and {high:g} somewhere in them"

    def plain(self) -> dict[str, Any]:
        """Return everything but the folder and the classes in JSON's types."""
        return {
            "recordings": self.recordings,
            "settings": asdict(self.settings),
            "scores": {
                way: {name: score._asdict() for name, score in found.items()}
                for way, found in self.scores.items()
            },
            "missing": list(self.missing),
            "extra": list(self.extra),
            "notes": list(self.notes),
        }


@dataclass
class _Counted:
    """Tallies of the recordings, by way, and the rows of events.csv."""

    tallies: dict[str, list[Tally]] = field(default_factory=lambda: {"event": [], "segment": []})
    rows: list[tuple[str, ...]] = field(default_factory=list)


def score_events(
    predictions: str | Path,
    truth: str | Path,
    *,
    settings: Settings | None = None,
    out: Path | None = None,
    replicates: int = 1000,
) -> Detection:
    """Score the events in a table of `kikiwake predict` against those that are there.

    `truth`: what `read_truth` reads; recordings are matched by name. Classes are those of either side: one
    that the model does not know is missed, one that is not there is found wrongly. `out`: a folder for
    tables. `replicates`: resamples of whole recordings behind the intervals; 0 for none.

    Raises:
        ManifestError: a table cannot be read, or no recording is in both.
        KikiwakeError: a setting is out of range.
        StorageError: a table cannot be written.
    """
    settings = settings or Settings()
    known = read_truth(truth)
    found, model_classes = _found(Path(predictions), settings)
    names = known.names_of(found)
    if not names:
        raise ManifestError(
            f"no recording of {predictions} is in it",
            where=truth,
            value=sorted(known.events)[:5],
            remedy="names of files must be the same in both, but for the suffix",
        )
    there = Counter(event.label for name in names.values() for event in known.events[name])
    classes = [*model_classes, *sorted(set(there).difference(model_classes))]
    counted = _Counted()
    for path, name in names.items():
        _count(counted, name, known.events[name], found[path], classes, settings)
    missing = sorted(set(known.events).difference(names.values()))
    extra = sorted(path for path in found if path not in names)
    detection = Detection(
        recordings=len(names),
        settings=settings,
        scores={way: _intervals(tallies, replicates) for way, tallies in counted.tallies.items()},
        classes=_per_class(counted, classes),
        missing=missing,
        extra=extra,
        notes=_notes(known, len(names), missing, extra, there, model_classes),
        folder=out,
    )
    if out is not None:
        _write(detection, counted, out)
    return detection


def _found(path: Path, settings: Settings) -> tuple[dict[str, list[Event]], list[str]]:
    """Return the events of each recording of a table, in flat memory, and the classes of the model."""
    chunks = read_chunks(path)
    classes = list(next(chunks).classes)
    found = {
        recording.paths[0]: events_of(
            recording,
            threshold=settings.threshold,
            median_seconds=settings.median_seconds,
            gap_seconds=settings.gap_seconds,
            shortest_seconds=settings.shortest_seconds,
            high_threshold=settings.high_threshold,
        )
        for recording in by_recording(chunks)
    }
    return found, classes


def _count(
    counted: _Counted,
    name: str,
    truth: Sequence[Event],
    found: Sequence[Event],
    classes: Sequence[str],
    settings: Settings,
) -> None:
    collars = {"collar_seconds": settings.collar_seconds, "offset_share": settings.offset_share}
    counted.tallies["event"].append(event_tally(truth, found, classes=classes, **collars))
    counted.tallies["segment"].append(
        segment_tally(truth, found, classes=classes, segment_seconds=settings.segment_seconds)
    )
    right, confused = pairs(truth, found, **collars)
    rows: list[tuple[str, Event | None, Event | None]] = [
        (kind, truth[one], found[other])
        for kind, listed in (("hit", right), ("confused", confused))
        for one, other in listed
    ]
    settled = [*right, *confused]
    known, heard = {one for one, _ in settled}, {other for _, other in settled}
    rows += [("missed", event, None) for one, event in enumerate(truth) if one not in known]
    rows += [("inserted", None, event) for other, event in enumerate(found) if other not in heard]
    counted.rows += [
        (name, kind, *_cells(one), *_cells(other), _score(other))
        for kind, one, other in sorted(rows, key=lambda row: min(e.start for e in row[1:] if e is not None))
    ]


def _cells(event: Event | None) -> tuple[str, str, str]:
    return ("", "", "") if event is None else (event.label, f"{event.start:.4f}", f"{event.end:.4f}")


def _score(event: Event | None) -> str:
    return "" if event is None or event.score is None else str(event.score)


def _intervals(tallies: Sequence[Tally], replicates: int) -> dict[str, Interval]:
    """Return each score with its interval; recordings are drawn whole, with replacement."""
    if replicates < 1 or len(tallies) < 2:
        return {
            name: Interval(value, None, None, LEVEL, 0)
            for name, value in event_scores.scores(total(tallies)).items()
        }
    counts = np.array([np.stack([tally.labels, tally.decisions, tally.hits]) for tally in tallies])
    errors = np.array([tally.errors for tally in tallies])

    def scores(counts: Any, errors: Any) -> dict[str, float | None]:
        labels, decisions, hits = counts.sum(axis=0)
        return event_scores.scores(Tally(labels, decisions, hits, errors.sum(axis=0)))

    rng = generator(0, "score-events")
    return bootstrap_all(scores, counts, errors, replicates=replicates, level=LEVEL, rng=rng)


def _per_class(counted: _Counted, classes: Sequence[str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [{"class": name} for name in classes]
    for way, tallies in counted.tallies.items():
        for row, own in zip(rows, event_scores.per_class(total(tallies), classes=classes), strict=True):
            row.update({f"{way}_{column}": value for column, value in own.items() if column != "class"})
    return rows


def _notes(
    truth: Truth,
    recordings: int,
    missing: Sequence[str],
    extra: Sequence[str],
    there: Mapping[str, int],
    model_classes: Sequence[str],
) -> list[str]:
    notes = []
    if recordings < _FEW:
        notes.append(f"only {recordings} recordings: the intervals are rough, and rather too narrow")
    if missing:
        notes.append(f"{len(missing)} recordings of {truth.path} have no predictions: {listed(missing)}")
    if extra:
        notes.append(f"{len(extra)} recordings with predictions are not in {truth.path}: {listed(extra)}")
    if strange := [f"{name} ({count})" for name, count in there.items() if name not in model_classes]:
        notes.append(f"the model does not know {listed(sorted(strange))}: all of it is missed")
    if absent := [name for name in model_classes if not there.get(name)]:
        notes.append(f"not there, and in no mean over classes: {listed(absent)}")
    return notes


def _write(detection: Detection, counted: _Counted, folder: Path) -> None:
    columns = list(detection.classes[0]) if detection.classes else ["class"]
    rows = ([_cell(row[column]) for column in columns] for row in detection.classes)
    write_table(folder / "classes.csv", columns, rows)
    heads = ("filename", "kind", "label", "start", "end", "found_label", "found_start", "found_end", "score")
    write_table(folder / "events.csv", heads, counted.rows)
    write_json(folder / "scores.json", detection.plain())


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.6f}" if isinstance(value, float) else str(value)
