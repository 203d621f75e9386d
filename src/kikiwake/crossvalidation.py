"""Trains and evaluates every fold of a manifest, and says what all of them are worth together."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kikiwake import __version__
from kikiwake._fold_processes import train_apart
from kikiwake._score_table import aligned, interval, shown
from kikiwake._scored_clips import LEVEL, ScoredClips
from kikiwake.checks import check
from kikiwake.errors import AudioError, ManifestError, RecipeError, RunError, TrainingError
from kikiwake.evaluation import (
    Evaluation,
    evaluate,
    group_notes,
    scored_rows,
    stored_evaluation,
    stored_probabilities,
)
from kikiwake.files import write_json, write_text
from kikiwake.folds import split, to_be_named
from kikiwake.manifest import Manifest
from kikiwake.recipe import Recipe
from kikiwake.run import logger_for, open_run, start_run
from kikiwake.separation import separate_clips
from kikiwake.stems import identified
from kikiwake.tables import write_table
from kikiwake.training import train

Trained = Generator[tuple[Path, str | None], None, None]


@dataclass(frozen=True)
class CrossValidation:
    """What every fold scored, and what all held-out clips together score.

    `folds`: the evaluation of each fold on its own clips, by the fold's number. `out_of_fold`: every clip
    judged by the model that did not see it, all in one pot. Scores that rank clips (ROC-AUC, average
    precision) then also compare probabilities of different models, and may lie below their mean over folds.
    """

    folder: Path
    folds: dict[int, Evaluation]
    out_of_fold: Evaluation

    def mean(self, score: str) -> float | None:
        """Return the mean of a score over the folds where it is defined."""
        values = self._values(score)
        return float(np.mean(values)) if values else None

    def spread(self, score: str) -> float | None:
        """Return the standard deviation of a score over the folds (n - 1 below the fraction bar)."""
        values = self._values(score)
        return float(np.std(values, ddof=1)) if len(values) > 1 else None

    def _values(self, score: str) -> list[float]:
        found = [fold.scores[score].value for fold in self.folds.values()]
        return [value for value in found if value is not None]

    def plain(self) -> dict[str, Any]:
        """Return everything but the folders in JSON's types."""
        names = list(self.out_of_fold.scores)
        return {
            "kikiwake": __version__,
            "folds": {
                str(test): {
                    "validation": found.about["split"]["validation"],
                    "clips": found.clips,
                    "groups": found.groups,
                    "scores": {name: found.scores[name].value for name in names},
                }
                for test, found in self.folds.items()
            },
            "mean": {name: self.mean(name) for name in names},
            "spread": {name: self.spread(name) for name in names},
            "out_of_fold": self.out_of_fold.plain(),
        }

    def __str__(self) -> str:
        whole = self.out_of_fold
        table = [("score", "mean", "spread", "out of fold", f"{LEVEL:.0%} interval")]
        table += [
            (name, shown(self.mean(name)), shown(self.spread(name)), shown(score.value), interval(score))
            for name, score in whole.scores.items()
        ]
        main = whole.main_score
        each = ", ".join(f"{test}: {shown(found.scores[main].value)}" for test, found in self.folds.items())
        return "\n".join(
            [
                f"{self.folder}: {len(self.folds)} folds, {whole.clips} clips in {whole.groups} groups",
                "",
                *aligned(table),
                "",
                f"{main} of each fold: {each}",
                "mean and spread (standard deviation) are over folds; out of fold are all clips at once,",
                "each judged by the model that did not see it; intervals are from resampling whole groups",
                *(f"note: {note}" for note in whole.notes),
                f"tables and pictures: {self.folder}",
            ]
        )


def crossvalidate(
    source: str | Path | Recipe, *overrides: str, jobs: int = 1, replicates: int = 1000
) -> CrossValidation:
    """Train and evaluate every fold of the recipe's manifest in `<run>/fold<k>`, and sum them up in `<run>`.

    Fold k is the test; the validation is what the recipe says, or the next fold where that is k itself. The
    same command goes on after an interruption, and a finished fold is not run again. Writes summary.json and
    summary.txt, folds.csv (a row a fold), out_of_fold.csv (a row a clip) and, of all clips together, the
    tables and pictures of an evaluation.

    `source`, `overrides`: as for `train`. `jobs`: folds trained side by side, each in a process with its
    share of the cores, which on a CPU is faster than all cores on one fold after the other. A fold goes on
    with the number of threads that it was begun with, for its last digits depend on it. `replicates`:
    resamples of whole groups behind the intervals.

    Raises:
        RecipeError: the recipe is wrong.
        ManifestError: there are fewer than two folds, or one of them cannot be trained.
        RunError: a fold's directory holds another training.
        TrainingError: folds failed; the others are finished and kept.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RunError(
            "cross-validation does not run under torchrun",
            remedy="train each fold with `torchrun ... train RECIPE split.test=K run=RUN/foldK` before it",
        )
    if jobs < 1:
        raise RecipeError("at least one fold must run at a time", where="jobs", value=jobs)
    recipe = Recipe.load(source, *overrides)
    recipe = recipe.model_copy(update={"data": identified(recipe.data)})
    manifest = recipe.read_manifest()
    folds, notes = _plan(recipe, manifest, jobs=jobs)
    if (recipe.run / "recipe.yaml").is_file():
        raise RunError(
            "a training stands in this folder, and its files would mix with those of the folds",
            where=recipe.run,
            remedy="choose another folder with run=...",
        )
    log = logger_for(recipe.run)
    log.info("cross-validation: %d folds, %d at a time, in %s", len(folds), min(jobs, len(folds)), recipe.run)
    for note in notes:
        log.info("note: %s", note)
    finished: dict[int, Evaluation] = {}
    try:
        separate_clips(manifest, range(len(manifest)), data=recipe.data, say=log.info)
        failed = _run(folds, finished, jobs=jobs, replicates=replicates, say=log.info)
    except BaseException:
        log.info("stopped with %d of %d folds finished: the same command goes on", len(finished), len(folds))
        raise
    if failed:
        reasons = "\n".join(f"fold {test}: {reason}" for test, reason in sorted(failed.items()))
        raise TrainingError(
            f"{len(failed)} of {len(folds)} folds failed\n{reasons}\n{len(finished)} are finished and kept",
            where=recipe.run,
            remedy="mend the cause, and the same command goes on with the others",
        )
    finished = {test: finished[test] for test in folds}
    return _sum_up(recipe, manifest, finished, notes=notes, replicates=replicates)


def _folder(recipe: Recipe, test: int) -> Path:
    return recipe.run / f"fold{test}"


def _plan(recipe: Recipe, manifest: Manifest, *, jobs: int) -> tuple[dict[int, Recipe], list[str]]:
    """Return the recipe of every fold, and what should be known of them, after all that can be is checked.

    Raises:
        ManifestError: there are fewer than two folds, or one cannot be trained.
        RunError: a fold's directory holds another training.
    """
    numbers = manifest.folds()
    if len(numbers) < 2:
        raise ManifestError(
            "cross-validation needs at least two folds",
            where=recipe.data.manifest,
            value=numbers,
            remedy="make folds with: kikiwake prepare --folds 5",
        )
    folds: dict[int, Recipe] = {}
    notes = []
    named = to_be_named(manifest).tolist()
    without = sum(clip.fold is None and not later for clip, later in zip(manifest, named, strict=True))
    if without:
        notes.append(f"{without} clips without a fold train in every fold and are never judged")
    for position, test in enumerate(numbers):
        validation = recipe.split.validation
        if validation == test:
            validation = numbers[(position + 1) % len(numbers)]
            notes.append(f"fold {test} cannot validate itself: there, fold {validation} does")
        rows = split(manifest, test=test, validation=validation, seed=recipe.seed)
        check(manifest, training=rows.train.tolist(), multilabel=recipe.multilabel, files=not folds)
        folder = _folder(recipe, test)
        parts = recipe.split.model_copy(update={"test": test, "validation": validation})
        engine = recipe.engine.model_copy(update={"threads": _threads(recipe, folder=folder, jobs=jobs)})
        folds[test] = recipe.model_copy(update={"run": folder, "split": parts, "engine": engine})
    for own in folds.values():
        if (own.run / "recipe.yaml").is_file():
            start_run(own, manifest)
    return folds, notes


def _threads(recipe: Recipe, *, folder: Path, jobs: int) -> int | None:
    """Return the recipe's threads, or those that the fold was begun with, or its share of the cores."""
    begun = folder / "recipe.yaml"
    if recipe.engine.threads is not None:
        return recipe.engine.threads
    if begun.is_file():
        return Recipe.load(begun).engine.threads
    return max(1, _cores() // jobs) if jobs > 1 else None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _run(
    folds: dict[int, Recipe],
    finished: dict[int, Evaluation],
    *,
    jobs: int,
    replicates: int,
    say: Callable[..., None],
) -> dict[int, str]:
    """Train and evaluate the folds that are not finished; return why folds failed, by their number."""
    tests = {recipe.run: test for test, recipe in folds.items()}
    for folder, test in tests.items():
        found = stored_evaluation(open_run(folder)) if (folder / "model.json").is_file() else None
        if found is not None:
            finished[test] = found
            say("fold %d: finished before, %s", test, _standing(found, finished))
    waiting = {folder: folds[test] for folder, test in tests.items() if test not in finished}
    for folder, recipe in waiting.items():
        (folder.parent / "summary.json").unlink(missing_ok=True)
        if jobs > 1:
            start_run(recipe, Manifest.read(str(recipe.data.manifest)))
    failed: dict[int, str] = {}
    trained = train_apart(list(waiting), jobs=jobs) if jobs > 1 else _train_here(waiting)
    with contextlib.closing(trained):
        for folder, reason in trained:
            test = tests[folder]
            if reason is None:
                try:
                    finished[test] = evaluate(folder, part="test", replicates=replicates)
                    say("fold %d: %s", test, _standing(finished[test], finished))
                except AudioError as error:
                    reason = str(error)
            if reason is not None:
                failed[test] = reason
                say("fold %d failed: %s", test, reason)
    return failed


def _standing(found: Evaluation, finished: dict[int, Evaluation]) -> str:
    """Say what a fold scored and what the mean over the finished folds is now."""
    main = found.main_score
    known = [value for fold in finished.values() if (value := fold.scores[main].value) is not None]
    mean = shown(float(np.mean(known)) if known else None)
    count = f"{len(finished)} fold{'s' * (len(finished) != 1)}"
    return f"{main} {shown(found.scores[main].value)}; mean of {count} {mean}"


def _train_here(folders: dict[Path, Recipe]) -> Trained:
    """Train one run after the other in this process; yield each when it ends, and why if it failed."""
    for folder, recipe in folders.items():
        reason = None
        try:
            train(recipe)
        except (AudioError, TrainingError) as error:
            reason = str(error)
        yield folder, reason


def _sum_up(
    recipe: Recipe,
    manifest: Manifest,
    finished: dict[int, Evaluation],
    *,
    notes: Sequence[str],
    replicates: int,
) -> CrossValidation:
    """Judge all held-out clips together and write the tables, pictures and the summary."""
    folder = recipe.run
    rows: list[int] = []
    probabilities = []
    for test in finished:
        run = open_run(_folder(recipe, test))
        own = scored_rows(run, part="test")
        rows += own
        probabilities.append(stored_probabilities(run, rows=own))
    order = np.argsort(rows)
    clips = ScoredClips.of(
        manifest,
        rows=[rows[at] for at in order],
        probabilities=np.concatenate(probabilities)[order],
        recipe=recipe,
    )
    clips.write(folder, clips="out_of_fold.csv", replicates=replicates)
    whole = Evaluation(
        run=folder,
        folder=folder,
        part="out-of-fold",
        scores=clips.scores(replicates=replicates),
        clips=len(rows),
        groups=clips.group_count,
        multilabel=clips.multilabel,
        notes=[*notes, *group_notes(clips)],
        about={"predict": recipe.predict.model_dump(mode="json")},
    )
    result = CrossValidation(folder, finished, whole)
    names = list(whole.scores)
    table = [
        [str(test), str(found.about["split"]["validation"]), str(found.clips), str(found.groups)]
        + ["" if found.scores[name].value is None else f"{found.scores[name].value:.6f}" for name in names]
        for test, found in finished.items()
    ]
    write_table(folder / "folds.csv", ["fold", "validation", "clips", "groups", *names], table)
    write_text(folder / "summary.txt", f"{result}\n")
    write_json(folder / "summary.json", result.plain())
    return result
