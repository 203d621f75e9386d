"""Fits a model of scikit-learn: a grid search inside the training clips, and the best on all of them."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from kikiwake import components
from kikiwake.checks import check
from kikiwake.classifier import Classifier
from kikiwake.data import ClipDataset
from kikiwake.engine import Engine
from kikiwake.errors import ManifestError, RunError, TrainingError
from kikiwake.features import Features
from kikiwake.loader import Loader
from kikiwake.models._estimator import Estimator, Folds
from kikiwake.parallel import progress
from kikiwake.randomness import key
from kikiwake.recipe import Fit, Recipe
from kikiwake.run import Run
from kikiwake.scoring import window_frames, window_requests
from kikiwake.tables import Problems, read_table, write_table


class Rows(NamedTuple):
    """What is fitted: one row a window of a training clip.

    Shape: vectors `[R, D]`; targets `[R]`, class numbers; groups `[R]`, names.
    """

    vectors: np.ndarray
    targets: np.ndarray
    groups: np.ndarray


class Tried(NamedTuple):
    """A combination of settings, its score on each fold, and how long all of them took."""

    point: dict[str, Any]
    scores: list[float]
    seconds: float

    @property
    def mean(self) -> float:
        """Mean over the folds."""
        return float(np.mean(self.scores))


def fit_model(run: Run, classifier: Classifier, engine: Engine, log: logging.Logger) -> None:
    """Search the recipe's grid, fit the best combination to all training clips, and write the model.

    Combinations that were tried before an interruption are read from the run's grid.csv.

    Raises:
        RunError: several processes were started for it.
        ManifestError: there are too few training clips or groups for the folds.
        TrainingError: a combination cannot be fitted.
        AudioError: a recording cannot be read.
    """
    if engine.processes > 1:
        raise RunError("a model of scikit-learn is fitted in one process", remedy="start it without torchrun")
    recipe, fit = run.recipe, run.recipe.fit or Fit()
    clips = [index for index in run.indices("train") if run.manifest[index].label is not None]
    log.info("model: %s; clips: %d to fit, %d held out", recipe.model["name"], len(clips), _held_out(run))
    for warning in check(run.manifest, training=clips, multilabel=False):
        log.info("note: %s", warning)
    rows = _rows(run, classifier, engine, clips, say=log.info)
    log.info("features: %d rows of %d values", *rows.vectors.shape)
    jobs = torch.get_num_threads()
    calibrates = _build(recipe.model, classes=1).wants_calibration
    wanted = bool(fit.grid) or calibrates
    folds = grouped_folds(rows, folds=fit.folds, seed=recipe.seed) if wanted else []
    best = _search(run, fit, rows, folds, jobs=jobs, log=log) if fit.grid else None
    node = {**recipe.model, **(best.point if best else {})}
    fitted = _build(node, classes=len(classifier.classes))
    fitted.fit(rows.vectors, rows.targets, folds=folds, seed=_seed(recipe), jobs=jobs)
    fitted.save(run.fitted_file)
    about = {"model": node, "grid": {"best": best.point, fit.score: best.mean} if best else None}
    run.write_model(classifier.state_dict(), about=about)
    settings = {name: value for name, value in node.items() if name != "name"}
    log.info("done: %s with %s", node["name"], _spelled(settings))
    log.info("model: %s", run.fitted_file)
    log.info("next: kikiwake evaluate %s", run.folder)


def _held_out(run: Run) -> int:
    return len(run.indices("test")) + len(run.indices("validation"))


def _seed(recipe: Recipe) -> int:
    return key(recipe.seed, "fit", bits=32)


def _build(node: Mapping[str, Any], *, classes: int) -> Estimator:
    return cast(Estimator, components.build("models", node, where="model", num_classes=classes))


def _rows(
    run: Run, classifier: Classifier, engine: Engine, clips: Sequence[int], *, say: Callable[..., None]
) -> Rows:
    """Return the features of every window of the training clips that is half full, averaged over time."""
    recipe, manifest = run.recipe, run.manifest
    loader = Loader(ClipDataset(manifest, data=recipe.data, seed=recipe.seed), recipe.data.workers, say)
    window, hop = window_frames(recipe)
    found, sounding = window_requests(clips, total=loader.dataset.reader.total, window=window, hop=hop)
    # A clip's nearly empty last window is not an example of its class.
    requests = [
        request
        for request, frames in zip(found, sounding, strict=True)
        if not request.start or frames >= (window or 0) / 2
    ]
    try:
        features = Features(classifier, loader, recipe=recipe, engine=engine)(requests)
        vectors = np.stack([one.mean(axis=1, dtype=np.float64) for one in features]).astype(np.float32)
    finally:
        loader.close()
    wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if wrong.size:
        raise TrainingError(
            f"{wrong.size} of {len(vectors)} feature vectors are not finite",
            where=manifest[requests[wrong[0]].clip].path,
            remedy="listen to this recording, and take it out of the manifest if it is damaged",
        )
    of_clip = [request.clip for request in requests]
    groups = manifest.groups()
    return Rows(vectors, manifest.class_ids()[of_clip], np.array([groups[clip] for clip in of_clip]))


def grouped_folds(rows: Rows, *, folds: int, seed: int) -> Folds:
    """Return the rows to fit on and to judge by in each fold; no group is on both sides.

    Raises:
        ManifestError: there are fewer groups than folds, or one class only.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    count = len(set(rows.groups.tolist()))
    if count < folds:
        remedy = "set fit.folds to fewer, or bring more recordings"
        raise ManifestError(f"the training clips have {count} groups, for {folds} folds", remedy=remedy)
    clips = np.unique(rows.targets, return_counts=True)[1]
    if len(clips) < 2:
        raise ManifestError("the training clips are all of one class", remedy="bring clips of another class")
    if clips.max() < folds:
        what = f"no class has as many training clips as there are folds ({folds})"
        raise ManifestError(what, where="fit.folds", remedy="make fewer folds, or bring more recordings")
    dealer = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=key(seed, "fit", bits=32))
    return list(dealer.split(rows.vectors, rows.targets, rows.groups))


def _search(run: Run, fit: Fit, rows: Rows, folds: Folds, *, jobs: int, log: logging.Logger) -> Tried:
    """Try every combination of the grid, and return the best, or the first of several that are best."""
    from threadpoolctl import threadpool_limits

    points = fit.points()
    before = _read_grid(run, points, folds=len(folds))
    if before:
        log.info("going on after %d of %d combinations", len(before), len(points))
    tried = list(before)
    total, done = len(points) * len(folds), len(before) * len(folds)
    shown = progress(total, description="grid search", unit="fits", done=done)
    with shown as bar, threadpool_limits(1):  # the fits run side by side, each on one thread
        for found in _tried(run.recipe, points[len(before) :], rows, folds, jobs=jobs, advance=bar.advance):
            tried.append(found)
            _write_grid(run, tried)
            place = f"{len(tried)}/{len(points)}"
            spread = f"{found.mean:.4f} ± {np.std(found.scores):.4f}"
            log.info("%s: %s: %s %s (%.1f s)", place, _spelled(found.point), fit.score, spread, found.seconds)
    best = max(tried, key=lambda one: one.mean)
    log.info("best of %d: %s: %s %.4f", len(tried), _spelled(best.point), fit.score, best.mean)
    return best


def _tried(
    recipe: Recipe,
    points: Sequence[dict[str, Any]],
    rows: Rows,
    folds: Folds,
    *,
    jobs: int,
    advance: Callable[[int], None],
) -> Iterator[Tried]:
    """Yield what each combination scores on each fold; fits run on `jobs` threads side by side."""
    fit = recipe.fit or Fit()
    score = _score_function(fit.score)

    def judge(point: Mapping[str, Any], fold: tuple[np.ndarray, np.ndarray]) -> tuple[float, float]:
        started = time.perf_counter()
        learn, judged = fold
        pipeline = _build({**recipe.model, **point}, classes=1).unfitted(rows=len(learn), seed=_seed(recipe))
        pipeline.fit(rows.vectors[learn], rows.targets[learn])
        value = score(rows.targets[judged], pipeline.predict(rows.vectors[judged]))
        return value, time.perf_counter() - started

    with ThreadPoolExecutor(jobs) as pool:
        work = [[pool.submit(judge, point, fold) for fold in folds] for point in points]
        try:
            for point, fits in zip(points, work, strict=True):
                yield _judged(point, fits, advance=advance)
        finally:
            for fit_to_come in chain(*work):
                fit_to_come.cancel()


def _judged(
    point: dict[str, Any], fits: Sequence[Future[tuple[float, float]]], *, advance: Callable[[int], None]
) -> Tried:
    """Wait for all fits of a combination.

    Raises:
        TrainingError: one of them failed.
    """
    pairs = []
    for fit in fits:
        try:
            pairs.append(fit.result())
        except (ValueError, ArithmeticError) as error:
            remedy = "take this combination out of fit.grid"
            raise TrainingError(f"cannot be fitted: {error}", where=_spelled(point), remedy=remedy) from error
        advance(1)
    return Tried(point, [value for value, _ in pairs], sum(seconds for _, seconds in pairs))


def _score_function(name: str) -> Callable[[np.ndarray, np.ndarray], float]:
    """Return scikit-learn's function of true and predicted class numbers, higher is better."""
    from sklearn import metrics

    if name == "macro_f1":
        return lambda true, found: float(metrics.f1_score(true, found, average="macro", zero_division=0.0))
    function = metrics.accuracy_score if name == "accuracy" else metrics.balanced_accuracy_score
    return lambda true, found: float(function(true, found))


def _write_grid(run: Run, tried: Sequence[Tried]) -> None:
    folds = len(tried[0].scores)
    columns = [*tried[0].point, "mean", "spread", *(f"fold_{n}" for n in range(1, folds + 1)), "seconds"]
    write_table(
        run.grid_file,
        columns,
        (
            [
                *map(_cell, one.point.values()),
                *map(repr, (one.mean, float(np.std(one.scores)), *one.scores)),
                f"{one.seconds:.3f}",
            ]
            for one in tried
        ),
    )


def _read_grid(run: Run, points: Sequence[dict[str, Any]], *, folds: int) -> list[Tried]:
    """Return the combinations, in the grid's order, that were tried before an interruption."""
    if not run.grid_file.is_file():
        return []
    tried = []
    for point, row in zip(points, read_table(run.grid_file, problems=Problems()).rows, strict=False):
        if [row[name] for name in point] != [*map(_cell, point.values())]:
            break
        scores = [float(row[f"fold_{number}"]) for number in range(1, folds + 1)]
        tried.append(Tried(point, scores, float(row["seconds"])))
    return tried


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _spelled(point: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in point.items())
