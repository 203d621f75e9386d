"""Pseudo labels: what trained runs hear in recordings that nobody has labelled, made into clips to train on.

pseudo.csv             a manifest of the windows that train: soft labels, weight, the recording as group
pseudo.combined.csv    the real clips of the teachers, and behind them the pseudo labels
pseudo.kept.csv        a table of predictions: all windows with a class above `keep`, training or not
pseudo.report.json     what each rule took away, classes real and pseudo, agreement, scores before and after
pseudo.report.txt .png the same to read and to see
pseudo.quarantine.csv  recordings that could not be read, or not to their end, and why
pseudo.teachers/       what each teacher predicts; from here an interrupted command goes on

No teacher labels a recording that it was trained on: for every recording those are chosen that never heard
it, nor anything of its group. So each fold of a cross-validation labels what was held out of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from kikiwake.ensembles import Ensemble
from kikiwake.errors import KikiwakeError, RunError
from kikiwake.joining import join_probabilities
from kikiwake.parallel import usable_cores
from kikiwake.pseudo import _report
from kikiwake.pseudo._content import content_of
from kikiwake.pseudo._files import Files
from kikiwake.pseudo._guards import NothingLeft, assign
from kikiwake.pseudo._job import Job
from kikiwake.pseudo._real import real_clips, real_counts
from kikiwake.pseudo._recordings import named_recordings
from kikiwake.pseudo._selection import Selection, select
from kikiwake.pseudo._settings import Settings
from kikiwake.pseudo._teachers import Teacher, open_teachers, told_apart
from kikiwake.run import Run

__all__ = [
    "NothingLeft",
    "PseudoSummary",
    "Selection",
    "Settings",
    "after",
    "check",
    "label",
    "model_hashes",
    "report_of",
    "select",
    "told_apart",
]

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class PseudoSummary:
    """What labelling came to.

    `out`: the manifest of the `trained` windows. `combined`: that of the real clips and of these. `kept`:
    the table of the windows with a class above `keep`, `stays` in number. `report`: the JSON; text and
    picture have its name. `content`: what stands in it.
    `quarantined`: recordings that could not be read, or not to their end, named in `quarantine`.
    """

    out: Path
    combined: Path
    kept: Path
    report: Path
    quarantine: Path
    quarantined: int
    content: Mapping[str, Any]

    @property
    def stays(self) -> int:
        """How many windows have a class above `keep` and are not silent."""
        return int(self.content["windows"]["kept"])

    @property
    def trained(self) -> int:
        """How many of them train: the rows of `out`."""
        return int(self.content["windows"]["trained"])

    def __str__(self) -> str:
        lines = [_report.text(self.content)]
        if self.quarantined:
            lines.append(
                f"set aside, wholly or in part: {self.quarantined} recordings, see {self.quarantine}"
            )
        lines += [
            f"labels: {self.out}",
            f"with the real clips, to train on: {self.combined}",
            f"all windows in the table: {self.kept}",
            f"report: {self.report}, and .txt and .png",
        ]
        return "\n".join(lines)


def label(
    runs: Sequence[PathLike | Run | Ensemble],
    recordings: PathLike | Iterable[PathLike],
    *,
    out: PathLike,
    settings: Settings | None = None,
    weights: Sequence[float] | None = None,
    real: Mapping[str, float] | None = None,
    skip_known: bool = False,
    workers: int | None = None,
    batch_size: int | None = None,
    engine: Literal["torch", "onnx"] = "torch",
    device: str | None = None,
    before: Mapping[str, float | None] | None = None,
    before_part: str | None = None,
    before_clips: int | None = None,
    evaluate: Callable[[Run], object] | None = None,
) -> PseudoSummary:
    """Label the windows of recordings by what teachers hear in them; an interrupted call goes on.

    `runs`: finished run directories; folders of cross-validations, which stand for their folds; and
    ensembles, which stand for their members with their shares and must be joined as `settings` say.
    `recordings`: files, folders, patterns and manifests. `out`: the manifest to write; other files have its
    name. `weights`: of the runs, where they are joined by mean or vote. `real`: the number of labelled clips
    of every class; by default those that trained one of the teachers. `skip_known`: leave out recordings that
    every teacher was trained on. `workers`, `batch_size`, `engine`, `device`: as for `prediction.predict`.
    `before`: what the first run scores on clips held out, for the report, where `evaluate` has stored
    nothing; `before_part`, `before_clips`: on which part, and how many. `evaluate`: called for other teachers
    without stored scores that have labelled clips held out.

    Raises:
        RunError: a run is not finished or tells other classes apart, or recordings have no teacher.
        NothingLeft: with `skip_known`, no recording is left.
        KikiwakeError: a setting is wrong, or a recording is not there.
        AudioError: a recording cannot be read any more.
        StorageError: a file cannot be written, or would be lost.
    """
    settings = settings or Settings()
    files = Files(Path(out))
    files.refuse_others()
    teachers = open_teachers(runs, weights, join=settings.join)
    weighed = _weighed(teachers, settings, given=weights is not None)
    secondary = settings.secondary_target
    if secondary is None:
        secondary = teachers[0].run.recipe.data.secondary_target
    clips = real_clips(teachers, secondary=secondary)
    counts = real_counts(teachers) if real is None else _in_order(real, clips.classes)
    assignment = assign(named_recordings(recordings), teachers, real=clips)
    if not skip_known:
        assignment.refuse()
    if not assignment.teachers:
        raise NothingLeft(
            "no recording is left to label: every teacher was trained on all of them",
            remedy="name other recordings, or the folder of a cross-validation",
        )
    job = Job(files, settings, teachers, weighed, clips, counts, assignment)
    tables = job.predict(workers=workers, batch_size=batch_size, engine=engine, device=device)
    for teacher in teachers[1:] if before is not None else teachers:
        if evaluate is not None and teacher.scores() is None and teacher.can_be_judged:
            evaluate(teacher.run)
    labels = job.write(tables, workers=usable_cores() if workers is None else workers)
    content = _report.with_known_after(
        files.report,
        content_of(
            job,
            labels,
            secondary=secondary,
            before=before,
            judged={"part": before_part, "clips": before_clips},
        ),
    )
    _report.write(files.report, content)
    return PseudoSummary(
        out=files.out,
        combined=files.combined,
        kept=files.kept,
        report=files.report,
        quarantine=files.quarantine,
        quarantined=labels.quarantined,
        content=content,
    )


def check(
    runs: Sequence[PathLike],
    recordings: Sequence[PathLike] | None,
    *,
    settings: Settings,
    classes: Sequence[str],
    multilabel: bool,
) -> None:
    """Refuse what could not label beside a model that is not trained yet, and recordings that are not there.

    `runs`: the teachers beside it. `recordings`: None where they are found later. `classes`, `multilabel`: of
    that model.

    Raises:
        RunError: a run is not finished, or tells other classes apart.
        KikiwakeError: recordings are not there, or teachers cannot be joined as `settings` say.
    """
    if recordings is not None:
        named_recordings(recordings)
    teachers = open_teachers(runs, None, join=settings.join) if runs else []
    for run in (teacher.run for teacher in teachers):
        if run.classes != list(classes) or run.multilabel != multilabel:
            raise RunError(
                "it does not tell the same classes apart in the same way as the model that is trained here",
                where=run.folder,
                remedy="name runs of the same classes, whose losses are of the kind of the stage before",
            )
    if teachers:
        _weighed(teachers, settings, given=False)


def model_hashes(runs: Sequence[PathLike | Run]) -> list[str]:
    """Return the hashes of the models of teachers, which tell whether they are still the same.

    Raises:
        RunError: one is no run, or not trained to the end.
    """
    return [teacher.model for teacher in open_teachers(runs, None)]


def after(
    report: PathLike,
    scores: Mapping[str, float | None],
    *,
    part: str | None = None,
    clips: int | None = None,
) -> None:
    """Add to a report what retraining with its labels scores, and draw it anew.

    `report`: `pseudo.report.json`. `scores`: by the names that `evaluate` gives them. `part`, `clips`: which
    clips were scored, and how many; only teachers that were judged by the same are compared with.

    Raises:
        RunError: there is no such report.
        StorageError: a file cannot be written.
    """
    path = Path(report)
    _report.write(path, _report.with_after(_report.read(path), scores, part=part, clips=clips))


def report_of(table: PathLike) -> Path:
    """Return where the report of a manifest of pseudo labels is, if there is any."""
    return Path(table).with_suffix(".report.json")


def _weighed(teachers: Sequence[Teacher], settings: Settings, *, given: bool) -> bool:
    """Return whether teachers count differently. `given`: whether the user gave weights.

    Raises:
        KikiwakeError: they cannot be joined so, which would be seen hours later.
    """
    shared = settings.join != "max" and len({teacher.weight for teacher in teachers}) > 1
    weighed = given or shared
    nothing = [np.zeros(1, np.float32)] * len(teachers)
    own = [teacher.weight for teacher in teachers] if weighed else None
    join_probabilities(nothing, by=settings.join, weights=own)
    return weighed


def _in_order(real: Mapping[str, float], classes: Sequence[str]) -> npt.NDArray[np.float64]:
    """Return given counts of clips in the order of the classes.

    Raises:
        KikiwakeError: a class is unknown or missing, or a count is below 0.
    """
    strange = sorted(set(real) ^ set(classes))
    if strange:
        raise KikiwakeError(
            "one count for each class of the teachers is needed",
            where="real",
            value=strange,
            remedy=f"the classes are {', '.join(classes)}",
        )
    counts = np.array([real[name] for name in classes], np.float64)
    if not np.isfinite(counts).all() or (counts < 0).any():
        wrong = {name: real[name] for name in classes if not (isfinite(real[name]) and real[name] >= 0)}
        raise KikiwakeError(
            "counts are numbers from 0 on", where="real", value=wrong, remedy="count the labelled clips again"
        )
    return counts
