"""The pseudo labels of a stage: made by the model that the stage before handed on."""

from __future__ import annotations

import glob
import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kikiwake import pseudo
from kikiwake._stage_tables import copy_tables, described, pseudo_folder, stage_table
from kikiwake.checkpoint import read_weights
from kikiwake.engine import Engine
from kikiwake.errors import KikiwakeError, RecipeError
from kikiwake.files import content_hash, write_json
from kikiwake.manifest import Manifest
from kikiwake.recipe import Pseudo, Stage
from kikiwake.run import Run


def pseudo_table(
    run: Run, number: int, *, engine: Engine, log: logging.Logger, judged: int, begun: bool = False
) -> Path | None:
    """Return the manifest of the pseudo labels that stage `number` trains on; made here where none is given.

    The teacher is the model of the stage before, and further runs that the recipe names. Labels that are
    there, of these teachers and with these settings, are used again, whatever became of the recordings. None
    where there is nothing to label. `judged`: how many validation clips score the stages. `begun`: the stage
    has come to a checkpoint, which knows its labels: what is there is never made anew.

    Raises:
        RunError: a teacher is no finished run, or nobody can tell what it was trained on.
        AudioError: a recording cannot be read any more.
    """
    stage = run.recipe.stages[number]
    assert stage.pseudo is not None
    if stage.pseudo.table is not None:
        return stage_table(run, stage)
    recordings = stage.pseudo.recordings or _unlabelled(run.manifest)
    if not recordings:
        return None
    table, done = stage_table(run, stage), _done_file(run, stage)
    used_again = f"stage {stage.name}: the labels of before are used again: {table}"
    if begun and table.is_file():
        log.info("%s", used_again)
        return table
    teachers: list[Run | Path] = []
    if engine.first:
        own = _teacher(run, number, table.with_name("teacher"))
        if _made_by(own, run, stage):
            log.info("%s", used_again)
        else:
            done.unlink(missing_ok=True)
            teachers = [own, *stage.pseudo.teachers]
    engine.wait()  # no process looks for the file before the first has decided
    if teachers:
        labelled = _label(run, number, teachers, recordings, table, log, judged=judged)
        _write_done(done, teachers, stage, table if labelled else None)
    while not done.is_file():  # a collective operation would give up after some minutes
        time.sleep(1.0)
    return table if json.loads(done.read_text(encoding="utf-8"))["table"] else None


def check_pseudo(run: Run) -> None:
    """Refuse, before the first stage trains, pseudo labels that could not be made.

    Stages that have ended, and labels that are made, need nothing any more.

    Raises:
        RecipeError: the first stage has no model before it, recordings or teachers are not there, or a
            teacher is not finished or tells other classes apart.
    """
    begun = run.checkpoint_file.is_file()
    for number, stage in enumerate(run.recipe.stages):
        section = stage.pseudo
        if section is None:
            continue
        where = f"stages.{stage.name}.pseudo"
        if number == 0 and section.table is None:
            raise RecipeError(
                "no model is there to label anything before the first stage",
                where=where,
                remedy="put a stage before it, or name a 'table' that `kikiwake pseudo` made",
            )
        if section.table is not None or (begun and described(run, stage)) or _labels(run, stage):
            continue
        for path in (*(section.recordings or ()), *section.teachers):
            if not path.exists() and not glob.has_magic(str(path)):
                raise RecipeError("there is no such file or folder", where=where, value=str(path))
        try:
            pseudo.check(
                section.teachers,
                section.recordings or None,
                settings=_settings(section),
                classes=run.classes,
                multilabel=run.recipe.stages[number - 1].multilabel,
            )
        except KikiwakeError as error:
            raise RecipeError(str(error), where=where) from error


def note_after(
    run: Run, stage: Stage, scores: Mapping[str, Any], *, judged: int, log: logging.Logger
) -> None:
    """Add to the report of a stage's labels what the stage scored on the validation clips.

    The report of a table that was given lies beside the original. `judged`: how many clips these are.
    """
    table = stage.pseudo.table if stage.pseudo else None
    report = pseudo.report_of(table or stage_table(run, stage))
    if not report.is_file() or not (found := _validation(scores)):
        return
    try:
        pseudo.after(report, found, part="validation", clips=judged)
    except KikiwakeError as error:  # a report of others is not worth a training
        log.info("stage %s: the scores are not added to the report: %s", stage.name, error)


def _done_file(run: Run, stage: Stage) -> Path:
    """Return the file that is written last, and says by which teachers the labels were made."""
    return pseudo_folder(run, stage) / "labels.json"


def _write_done(done: Path, teachers: Sequence[Run | Path], stage: Stage, table: Path | None) -> None:
    assert stage.pseudo is not None
    own, *further = pseudo.model_hashes(teachers)
    content = {
        "teacher": own,
        "further_teachers": further,
        "settings": stage.pseudo.model_dump(mode="json"),
        "table": None if table is None else content_hash(table),
    }
    write_json(done, content)


def _labels(run: Run, stage: Stage) -> dict[str, Any] | None:
    """Return what is known of labels that are there, whole and made with these settings; None without."""
    assert stage.pseudo is not None
    table = stage_table(run, stage)
    try:
        found: dict[str, Any] = json.loads(_done_file(run, stage).read_text(encoding="utf-8"))
        same = found["settings"] == stage.pseudo.model_dump(mode="json")
        return found if same and found["table"] == content_hash(table) else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _made_by(own: Run, run: Run, stage: Stage) -> bool:
    """Say whether the labels are there and were made by these teachers, or those of them that still are."""
    assert stage.pseudo is not None
    found = _labels(run, stage)
    if found is None or found["teacher"] != own.model_hash():
        return False
    further = stage.pseudo.teachers
    gone = not all(path.exists() for path in further)
    return gone or not further or found["further_teachers"] == pseudo.model_hashes(further)


def _label(
    run: Run,
    number: int,
    teachers: Sequence[Run | Path],
    recordings: Sequence[Path],
    table: Path,
    log: logging.Logger,
    *,
    judged: int,
) -> bool:
    """Label recordings; say whether there were any that the teachers were not trained on."""
    stage = run.recipe.stages[number]
    assert stage.pseudo is not None
    log.info("stage %s: labelling %d files or folders", stage.name, len(recordings))
    try:
        summary = pseudo.label(
            teachers,
            recordings,
            out=table,
            settings=_settings(stage.pseudo),
            before=_before(run, number),
            before_part="validation",
            before_clips=judged,
            skip_known=True,
        )
    except pseudo.NothingLeft as error:
        log.info("stage %s: %s", stage.name, error.what)
        return False
    known = len(summary.content["recordings"]["left_out"])
    if known:
        log.info("stage %s: %d recordings are left out: every teacher was trained on them", stage.name, known)
    if summary.quarantined:
        log.info(
            "stage %s: %d recordings could not be read, wholly or in part; see %s",
            stage.name,
            summary.quarantined,
            summary.quarantine,
        )
    log.info(
        "stage %s: %d windows are labelled, %d of them train; see %s",
        stage.name,
        summary.stays,
        summary.trained,
        summary.report.with_suffix(".txt"),
    )
    return True


def _settings(section: Pseudo) -> pseudo.Settings:
    return pseudo.Settings(
        window_seconds=section.window_seconds,
        hop_seconds=section.hop_seconds,
        join=section.join,
        keep=section.keep,
        train=section.train,
        max_share=section.max_share,
        silence_rms=section.silence_rms,
        smoothing=section.smoothing,
        weight=section.weight,
    )


def _teacher(run: Run, number: int, folder: Path) -> Run:
    """Return the model that stage `number` begins with as a finished run of its own."""
    before = run.recipe.stages[number - 1]
    recipe = run.recipe.model_copy(update={"run": folder, "stages": run.recipe.stages[:number]})
    teacher = Run(folder, recipe, run.manifest)
    handed_on = run.stage_file(before.name)
    about = {"stage": before.name, "of": str(run.folder), "weights": content_hash(handed_on)}
    teacher.write_plan()
    for stage in recipe.stages:
        copy_tables(run, stage, teacher)
    if _made_of(teacher) != about["weights"]:  # of a training before this one in the same directory
        teacher.write_model(read_weights(handed_on), about=about)
    return teacher


def _made_of(teacher: Run) -> str | None:
    """Return the hash of the weights that a teacher was made of, None where it is not there yet."""
    try:
        found = json.loads((teacher.folder / "model.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found.get("weights") if teacher.model_file.is_file() else None


def _unlabelled(manifest: Manifest) -> list[Path]:
    """Return the recordings of a run's manifest that have no label and take no part in training."""
    numbers = manifest.class_ids().tolist()
    clips = zip(manifest, numbers, strict=True)
    return list(dict.fromkeys(clip.path for clip, k in clips if k < 0 and clip.split in (None, "test")))


def _before(run: Run, number: int) -> dict[str, float] | None:
    """Return what the weights that stage `number` begins with scored on the validation clips."""
    before = run.stage_file(run.recipe.stages[number - 1].name).with_suffix(".json")
    kept = json.loads(before.read_text(encoding="utf-8"))["kept"]
    return _validation(kept) or None if kept else None


def _validation(row: Mapping[str, Any]) -> dict[str, float]:
    return {
        name.removeprefix("validation_"): float(value)
        for name, value in row.items()
        if name.startswith("validation_") and value is not None
    }
