"""Trains the stages of a recipe; killed at any point and started again, it ends with the same bytes."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from kikiwake import components, provenance
from kikiwake._stage_tables import keep_tables
from kikiwake.checkpoint import read_state
from kikiwake.checks import check
from kikiwake.classifier import build_classifier
from kikiwake.engine import Engine, engine
from kikiwake.errors import KikiwakeError, RunError
from kikiwake.fitting import fit_model
from kikiwake.manifest import Manifest
from kikiwake.recipe import Recipe
from kikiwake.run import Run, load_weights, logger_for, plan_run, start_run
from kikiwake.separation import separate_clips
from kikiwake.stage import Forgettable, Session, check_stages, run_stage
from kikiwake.stems import identified
from kikiwake.tracking import trackers


def train(
    source: str | Path | Recipe,
    *overrides: str,
    stage: str | None = None,
    forget: Collection[Forgettable] = (),
) -> Run:
    """Train a recipe in its run directory, or go on where an interrupted training stopped.

    `source`: a shipped recipe's name, a recipe file, or a Recipe; `overrides`: `key=value`. `stage`: train
    this one alone, from what the stage before it handed on in this directory; None trains all. `forget`: what
    of the checkpoint is left behind when going on: "optimizer" (its averages begin anew) or "schedule" (it
    runs once more, over the epochs that are left). The weights are then not those of an undisturbed run. The
    same call again goes on with what it has made since; one without `forget` in between leaves behind anew.

    Raises:
        RecipeError: the recipe is wrong.
        ManifestError: the manifest is wrong or cannot be split as asked.
        WeightsError: pretrained weights cannot be had.
        RunError: the run directory holds another training.
        TrainingError: the loss is no longer finite, or memory does not suffice.
    """
    recipe = Recipe.load(source, *overrides)
    recipe = recipe.model_copy(update={"data": identified(recipe.data)})
    manifest = recipe.read_manifest()
    with engine(recipe.engine) as computer:
        run = _begin(recipe, manifest, computer)
        log = logger_for(run.folder) if computer.first else logging.getLogger("kikiwake.silent")
        if run.finished:
            log.info("%s: already trained; nothing to do", run.folder)
            _say_nothing_is_left_behind(forget, "the training has ended", log)
            return run
        with run.locked() if computer.first else nullcontext():
            _train_stages(run, computer, log, stage, forget)
    return run


def _begin(recipe: Recipe, manifest: Manifest, computer: Engine) -> Run:
    """Make or open the run directory in the first process; the others wait for it."""
    failure: KikiwakeError | None = None
    if computer.first:
        try:
            keep_tables(start_run(recipe, manifest))
        except KikiwakeError as error:
            failure = error
    failure = computer.broadcast(failure)
    if failure is not None:
        raise failure
    return plan_run(recipe, manifest)


def _train_stages(
    run: Run, computer: Engine, log: logging.Logger, only: str | None, forget: Collection[Forgettable]
) -> None:
    """Run every stage that has not ended yet, or the one named `only`, and write the model after the last."""
    recipe, manifest = run.recipe, run.manifest
    log.info("run: %s", run.folder)
    log.info("device: %s", computer.describe())
    state = read_state(run.checkpoint_file) if run.checkpoint_file.is_file() else None
    saved = state["classifier"] if state else None
    classifier = build_classifier(recipe, classes=manifest.classes, saved=saved).to(computer.device)
    heard = [*run.indices("train"), *run.indices("validation")]
    separate_clips(manifest, heard, data=recipe.data, computer=computer, say=log.info)
    if recipe.model_is_fitted:
        _say_nothing_is_left_behind(forget, f"'{recipe.model['name']}' has none", log)
        fit_model(run, classifier, computer, log)
        return
    classifier.network.to(memory_format=computer.memory_format)  # type: ignore[call-overload]
    validation_clips = [
        index
        for index in run.indices("validation")
        if recipe.multilabel or manifest.soft is not None or manifest[index].label is not None
    ]
    session = Session(run, computer, log, classifier, run.indices("train"), validation_clips)
    parameters = sum(parameter.numel() for parameter in classifier.parameters())
    log.info("model: %s, %s parameters", recipe.model["name"], f"{parameters:,}")
    held_out = len(run.indices("test"))
    log.info(
        "clips: %d to train, %d to validate, %d held out to test",
        len(session.clips),
        len(session.validation_clips),
        held_out,
    )
    if unlabelled := len(run.indices("validation")) - len(validation_clips):
        log.info("note: %d validation clips have no class and are left out", unlabelled)
    for warning in check(manifest, training=session.clips, multilabel=recipe.multilabel):
        log.info("note: %s", warning)
    check_stages(session)
    first, leave = 0, frozenset[Forgettable]()
    if state is not None:
        first, session.history, session.multiplier = state["stage"], state["history"], state["multiplier"]
        load_weights(classifier, state["classifier"], where=run.checkpoint_file)
        log.info("going on after epoch %d and %d batches", len(session.history), state["batch"])
    numbers = _numbers(run, first, only)
    if only is not None and not numbers:
        log.info("stage %s: already trained, see %s; nothing to do", only, run.stage_file(str(only)))
        _say_nothing_is_left_behind(forget, "the stage has ended", log)
        return
    if state is None:
        _say_nothing_is_left_behind(forget, "the training begins", log)
    else:
        leave = _left_behind(session, state, forget)
    if computer.first:
        session.trackers = trackers(recipe, folder=run.folder)
    try:
        for number in numbers:
            if len(recipe.stages) > 1:
                names = [stage.name for stage in recipe.stages]
                log.info("stage %d of %d: %s", number + 1, len(names), " > ".join(_marked(names, number)))
            run_stage(session, number, state if number == first else None, forget=leave)
    except KeyboardInterrupt:
        log.info("interrupted; the same command goes on from the last checkpoint")
        raise
    if not computer.first:
        return
    if not numbers or numbers[-1] == len(recipe.stages) - 1:
        _finish(session)
        return
    for tracker in session.trackers:
        tracker.close()
    log.info("next: stage %s", recipe.stages[numbers[-1] + 1].name)


def _numbers(run: Run, first: int, only: str | None) -> Sequence[int]:
    """Return which stages are to be trained when those before number `first` have ended.

    Raises:
        RecipeError: there is no stage named `only`.
        RunError: it needs what a stage that has not ended hands on.
    """
    names = [stage.name for stage in run.recipe.stages]
    if only is None:
        return range(first, len(names))
    if only not in names:
        raise components.unknown("stage", only, names, where="--stage")
    number = names.index(only)
    if number > first:
        raise RunError(
            f"stage '{only}' begins with what '{names[number - 1]}' hands on, and this has not ended: "
            f"missing {'is' if number - first == 1 else 'are'} {', '.join(names[first:number])}",
            where=run.folder,
            remedy=f"train --stage {names[first]} first, or all stages in turn without --stage",
        )
    return [number] if number == first else []


def _marked(names: Sequence[str], number: int) -> list[str]:
    return [f"[{name}]" if at == number else name for at, name in enumerate(names)]


def _left_behind(
    session: Session, state: dict[str, Any], forget: Collection[Forgettable]
) -> frozenset[Forgettable]:
    """Return what of a checkpoint is left behind now, say it, and let the next checkpoints know it.

    What the command before this one has left behind is not left behind again: the same command goes on.
    """
    log = session.log
    before = frozenset(forget).intersection(state.get("forgotten", ()))
    now = frozenset(forget) - before
    if before:
        what = _states(before)
        log.info("left behind before, and not again: %s; a start without the option in between does it", what)
    session.forgotten = before
    if state["optimizer"] is None:
        coming = session.recipe.stages[state["stage"] :]
        why = f"stage {coming[0].name} begins" if coming else "all stages have ended"
        _say_nothing_is_left_behind(now, why, log)
        return frozenset()
    if now:
        log.info("left behind: %s", _states(now))
    session.forgotten |= now
    return now


def _say_nothing_is_left_behind(forget: Collection[Forgettable], why: str, log: logging.Logger) -> None:
    if forget:
        log.info("nothing to leave behind of %s: %s", _states(forget), why)


def _states(forget: Collection[Forgettable]) -> str:
    return f"the state of the {' and of the '.join(sorted(forget))}"


def _finish(session: Session) -> None:
    """Write the model, close the loggers, and say where everything is."""
    run, log = session.run, session.log
    kept = [row for row in session.history if row["kept"]]
    session.classifier.multilabel = run.recipe.multilabel
    about = {"kept": kept[-1], "stages": {one["stage"]: one["weights"] for one in provenance.read(run)}}
    run.write_model(session.classifier.state_dict(), about=about)
    run.best_file.unlink(missing_ok=True)
    for tracker in session.trackers:
        tracker.close()
    log.info("done: %d epochs in %d stages", len(session.history), len(run.recipe.stages))
    log.info("model: %s", run.model_file)
    log.info("curves: %s", run.folder / "curves.png")
    log.info("next: kikiwake evaluate %s", run.folder)
