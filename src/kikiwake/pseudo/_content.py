"""What stands in the report of a labelling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from kikiwake._bootstrap import plain
from kikiwake.pseudo._job import Job, Labels
from kikiwake.pseudo._joined import BINS, Tally
from kikiwake.pseudo._report import before_by_clips, mean_of
from kikiwake.pseudo._selection import limits
from kikiwake.pseudo._teachers import Teacher, teacher_names


def content_of(
    job: Job,
    labels: Labels,
    *,
    secondary: float,
    before: Mapping[str, float | None] | None,
    judged: Mapping[str, Any],
) -> dict[str, Any]:
    """Return a report in JSON's types.

    `secondary`: the label of secondary classes of real clips. `before`: scores of the first teacher, where
    none are stored; `judged`: on which part and how many clips.
    """
    assignment, chosen, tally = job.assignment, labels.chosen, labels.tally
    teachers = _teachers(job)
    if before is not None and teachers[0]["before"] is None:
        scores = {name: plain(value) for name, value in before.items()}
        teachers[0]["before"] = {**judged, "notes": [], "scores": scores}
    trained = _per_class(job, chosen.classes[chosen.trains])
    real = job.counts.tolist()
    given = (assignment.teachers, assignment.refused, assignment.copies)
    removed = dict(chosen.removed)
    removed["keep"] = tally.windows - len(chosen.rows) - removed["silence"]
    return {
        "settings": {**asdict(job.settings), "hop_seconds": job.settings.hop, "secondary_target": secondary},
        "teachers": teachers,
        "real_clips": len(job.real),
        "recordings": {
            "given": sum(map(len, given)),
            "labelled": len(assignment.teachers),
            "quarantined": labels.quarantined,
            "left_out": {path.as_posix(): why for path, why in assignment.refused.items()},
            "copies": {path.as_posix(): of.as_posix() for path, of in assignment.copies.items()},
            "held_out": sorted(path.as_posix() for path in assignment.held_out),
        },
        "windows": {
            "heard": tally.windows,
            "removed": removed,
            "kept": len(chosen.rows),
            "trained": int(chosen.trains.sum()),
        },
        "classes": {
            name: {"real": own, "kept": kept, "limit": limit, "trained": trains}
            for name, own, kept, limit, trains in zip(
                job.real.classes,
                real,
                _per_class(job, chosen.classes),
                limits(real, job.settings),
                trained,
                strict=True,
            )
        },
        "drift": drift(real, trained),
        "confidence": {
            "edges": np.linspace(0, 1, BINS + 1).round(6).tolist(),
            "windows": tally.confidence.tolist(),
        },
        "agreement": _agreement(tally, teacher_names(job.teachers)),
        "before": before_by_clips(teachers),
        "after": None,
        "notes": _notes(job, tally, teachers, trained),
    }


def drift(real: Sequence[float], pseudo: Sequence[float]) -> float | None:
    """Return how far two class distributions lie apart: half the sum of the differences of their shares.

    0 is the same distribution, 1 no class in common (total variation distance).

    >>> drift([10, 10], [3, 1])
    0.25
    """
    if not sum(real) or not sum(pseudo):
        return None
    shares = [np.asarray(counts, np.float64) / sum(counts) for counts in (real, pseudo)]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)


def _per_class(job: Job, numbers: Any) -> list[int]:
    """Count windows by the number of their best class."""
    counts: list[int] = np.bincount(numbers, minlength=len(job.real.classes)).tolist()
    return counts


def _teachers(job: Job) -> list[dict[str, Any]]:
    """Describe the teachers, with what they scored when they were evaluated."""
    return [
        {
            "name": name,
            "run": teacher.run.folder.as_posix(),
            "model": teacher.model,
            "weight": teacher.weight,
            "recordings": len(job.recordings_of(number)),
            "before": teacher.scores(),
        }
        for number, (name, teacher) in enumerate(zip(teacher_names(job.teachers), job.teachers, strict=True))
    ]


def _agreement(tally: Tally, names: Sequence[str]) -> dict[str, Any] | None:
    """Describe how far teachers agree: means over pairs, and the pairs; None where none heard the same."""
    pairs = tally.agreement(names)
    if not pairs:
        return None
    means = {key: mean_of([pair[key] for pair in pairs]) for key in ("same_best", "correlation")}
    return {**means, "pairs": pairs}


def _notes(
    job: Job, tally: Tally, teachers: Sequence[Mapping[str, Any]], trained: Sequence[int]
) -> list[str]:
    """Say what a reader of the labels must know."""
    found = job.assignment
    unscored = [teacher["name"] for teacher in teachers if teacher["before"] is None]
    without = sum(count == 0 for count in trained)
    notes = {
        f"{len(found.refused)} recordings are left out, for every teacher was trained on them": found.refused,
        f"{len(found.copies)} recordings are the same as others, and labelled once": found.copies,
        f"{found.lost} recordings that teachers were trained on are no longer there: copies of them are "
        "recognised by name and length only": found.lost,
        f"{len(found.held_out)} recordings are, or belong to, clips that validate or test: they are "
        "labelled, and do not train": found.held_out,
        f"{tally.apart} last windows that not all teachers have are left out": tally.apart,
        "every real clip shaped one of the teachers: what a student scores on these clips is flattered": (
            len(teachers) > 1 and not _any_unheard(job.teachers)
        ),
        f"nothing is known of the scores of {', '.join(unscored)}: evaluate them first": unscored,
        f"{without} of {len(trained)} classes get no pseudo label to train on": without,
    }
    return [note for note, holds in notes.items() if holds]


def _any_unheard(teachers: Sequence[Teacher]) -> bool:
    """Say whether there are labelled clips by which a student can be judged: that shaped no teacher."""
    shaped = {clip.path for teacher in teachers for clip in teacher.trained_on}
    return any(
        clip.label is not None and clip.path not in shaped
        for teacher in teachers
        for clip in teacher.run.manifest
    )
