"""One labelling, all of it checked: teachers hear recordings, windows are chosen, files written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kikiwake import prediction
from kikiwake.manifest import Manifest
from kikiwake.predictions import Predictions, SetAside, join, path_text, write_quarantine
from kikiwake.pseudo._files import Files
from kikiwake.pseudo._guards import Assignment
from kikiwake.pseudo._joined import Tally, joined
from kikiwake.pseudo._real import combined, may_train, pseudo_clips
from kikiwake.pseudo._recordings import Loudness
from kikiwake.pseudo._selection import Selection, confident, heard, select
from kikiwake.pseudo._settings import Settings
from kikiwake.pseudo._teachers import Teacher, teacher_names
from kikiwake.run import logger_for
from kikiwake.tables import Problems, read_table


@dataclass(frozen=True, eq=False)
class Labels:
    """What a labelling came to: the windows that stay, a tally of all, and what could not be read."""

    chosen: Selection
    tally: Tally
    set_aside: Sequence[SetAside]

    @property
    def quarantined(self) -> int:
        """How many recordings could not be read, or not as they are."""
        return len({note.path for note in self.set_aside})


@dataclass(frozen=True, eq=False)
class Job:
    """One labelling.

    `weighed`: whether weights of the teachers were given. `real`: the clips of all teachers. `counts`: how
    many labelled ones each class has, `[K]`.
    """

    files: Files
    settings: Settings
    teachers: Sequence[Teacher]
    weighed: bool
    real: Manifest
    counts: npt.NDArray[np.float64]
    assignment: Assignment

    @property
    def recordings(self) -> dict[str, Path]:
        """The recordings that are labelled, by their names in predictions."""
        return {path_text(path): path for path in self.assignment.teachers}

    def recordings_of(self, number: int) -> list[Path]:
        """Return the recordings that a teacher labels."""
        return [path for path, numbers in self.assignment.teachers.items() if number in numbers]

    def predict(self, **options: Any) -> dict[int, Path]:
        """Let every teacher hear its recordings; return the tables by the teachers' numbers.

        What was predicted before is not predicted again. `options`: those of `prediction.predict`.
        """
        log = logger_for(None)
        self.files.teachers.mkdir(parents=True, exist_ok=True)
        tables = {}
        for number, (teacher, name) in enumerate(
            zip(self.teachers, teacher_names(self.teachers), strict=True)
        ):
            own = self.recordings_of(number)
            if not own:
                log.info("teacher %s labels nothing: it was trained on all recordings", name)
                continue
            log.info("teacher %s labels %d of %d recordings", name, len(own), len(self.assignment.teachers))
            tables[number] = self.files.teachers / f"{teacher.model[:16]}.parquet"
            prediction.predict(
                teacher.run,
                own,
                out=tables[number],
                window_seconds=self.settings.window_seconds,
                hop_seconds=self.settings.hop,
                **options,
            )
        return tables

    def write(self, tables: Mapping[int, Path], *, workers: int) -> Labels:
        """Choose windows and write them, the two manifests and the quarantine.

        `workers`: processes that measure how loud windows are.
        """
        windows, tally = self._confident(tables)
        data = self.teachers[0].run.recipe.data
        loudness = Loudness(self.recordings, data.sample_rate, data.channels, workers)
        free = may_train(windows, self.recordings, self.assignment, real=self.real)
        chosen = select(windows, real=self.counts, settings=self.settings, rms=loudness, may_train=free)
        labels = pseudo_clips(
            windows,
            chosen,
            recordings=self.recordings,
            groups=self.assignment.groups,
            headers=loudness.headers,
            folder=self.files.out.parent,
            weight=self.settings.weight,
        )
        set_aside = _set_aside(tables.values())
        confident(windows.at(chosen.rows), self.settings).write(self.files.kept)
        # A manifest without rows could not tell its soft labels from columns of other meaning.
        (labels if len(labels) else Manifest([], [])).write(self.files.out)
        multilabel = self.teachers[0].run.recipe.multilabel
        combined(self.real, labels, multilabel=multilabel).write(self.files.combined)
        write_quarantine(self.files.quarantine, set_aside)
        return Labels(chosen, tally, set_aside)

    def _confident(self, tables: Mapping[int, Path]) -> tuple[Predictions, Tally]:
        """Return the windows that have a class above `keep`, in flat memory, and a tally of all."""
        tally = Tally()
        recordings = joined(
            tables,
            {path_text(path): numbers for path, numbers in self.assignment.teachers.items()},
            hop=self.settings.hop,
            by=self.settings.join,
            weights=[teacher.weight for teacher in self.teachers] if self.weighed else None,
        )
        kept = [
            one.joined.at(np.flatnonzero(heard(one.joined, self.settings))) for one in tally.count(recordings)
        ]
        return join(kept, classes=self.real.classes), tally


def _set_aside(tables: Iterable[Path]) -> list[SetAside]:
    """Return what teachers could not read, each recording and kind once."""
    found: dict[tuple[str, str], SetAside] = {}
    for table in tables:
        for row in read_table(table.with_name(f"{table.stem}.quarantine.csv"), problems=Problems()).rows:
            note = SetAside(row["path"], float(row["offset_seconds"]), row["reason"], row["kind"])
            found.setdefault((note.path, note.kind), note)
    return list(found.values())
