"""The pseudo labels of a stage: made by the model that the stage before handed on."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kikiwake import pseudo
from kikiwake._stage_tables import copy_tables, pseudo_folder, stage_table
from kikiwake.checkpoint import read_weights
from kikiwake.engine import Engine
from kikiwake.errors import RecipeError
from kikiwake.files import content_hash
from kikiwake.manifest import Manifest
from kikiwake.recipe import Stage
from kikiwake.run import Run


def pseudo_table(run: Run, number: int, *, engine: Engine, log: logging.Logger) -> Path | None:
    """Return the manifest of the pseudo labels that stage `number` trains on; made here where none is given.

    The teacher is the model of the stage before, and further runs that the recipe names. What is there
    already is not made again. None where there is nothing to label.

    Raises:
        RecipeError: it is the first stage, which has no model before it.
        RunError: a teacher is no finished run, or was trained on what it should label.
        AudioError: a recording cannot be read any more.
    """
    stage = run.recipe.stages[number]
    assert stage.pseudo is not None
    if stage.pseudo.table is not None:
        return stage_table(run, stage)
    recordings = stage.pseudo.recordings or _unlabelled(run.manifest)
    if not recordings:
        return None
    table = pseudo_folder(run, stage) / "pseudo.csv"
    if engine.first:
        _label(run, number, recordings, table, log)
    while not table.is_file():  # a collective operation would give up after some minutes
        time.sleep(1.0)
    return table


def check_pseudo(run: Run) -> None:
    """Refuse, before the first stage trains, pseudo labels that could not be made.

    Raises:
        RecipeError: the first stage has no model before it, or recordings are not there.
    """
    for number, stage in enumerate(run.recipe.stages):
        if stage.pseudo is None:
            continue
        where = f"stages.{stage.name}.pseudo"
        if number == 0 and stage.pseudo.table is None:
            raise RecipeError(
                "no model is there to label anything before the first stage",
                where=where,
                remedy="put a stage before it, or name a 'table' that `kikiwake pseudo` made",
            )
        named = [stage.pseudo.table] if stage.pseudo.table else [*(stage.pseudo.recordings or ())]
        for path in (*named, *stage.pseudo.teachers):
            if not path.exists() and not set("*?[") & set(str(path)):
                raise RecipeError("there is no such file or folder", where=where, value=str(path))


def note_after(run: Run, stage: Stage, scores: Mapping[str, Any]) -> None:
    """Add to the report of a stage's labels what the stage scored on the validation clips."""
    report = pseudo_folder(run, stage) / "pseudo.report.json"
    if report.is_file():
        pseudo.after(report, _validation(scores), part="validation")


def _label(run: Run, number: int, recordings: list[Path], table: Path, log: logging.Logger) -> None:
    stage = run.recipe.stages[number]
    section = stage.pseudo
    assert section is not None
    teacher = _teacher(run, number, table.with_name("teacher"))
    log.info("stage %s: labelling %d files or folders", stage.name, len(recordings))
    summary = pseudo.label(
        [teacher, *section.teachers],
        recordings,
        out=table,
        settings=pseudo.Settings(
            window_seconds=section.window_seconds,
            hop_seconds=section.hop_seconds,
            join=section.join,
            keep=section.keep,
            train=section.train,
            max_share=section.max_share,
            silence_rms=section.silence_rms,
            smoothing=section.smoothing,
            weight=section.weight,
        ),
        before=_before(run, number),
        skip_known=True,
    )
    log.info(
        "stage %s: %d windows are labelled, %d of them train; see %s",
        stage.name,
        summary.stays,
        summary.trained,
        summary.report.with_suffix(".txt"),
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
