"""Classical models on ESC-10 and on spoken digits, and the grid search beside scikit-learn's.

Every model sees 504 statistics a clip: seven of MFCCs with two derivatives, contrast, centroid, bandwidth,
rolloff, RMS and zero crossings. Settings are searched inside the training folds. The digits are told apart
with a speaker left out and with clips drawn by chance: the gap is what an honest split shows.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import GridSearchCV
from threadpoolctl import threadpool_limits

from kikiwake import fitting
from kikiwake.crossvalidation import crossvalidate
from kikiwake.datasets import prepare
from kikiwake.fitting import Rows, grouped_folds
from kikiwake.recipe import Recipe
from kikiwake.run import Run

FEATURES = (
    "[mfcc, mfcc_delta, mfcc_delta2, rmse, spectral_bandwidth, spectral_centroid, spectral_contrast, "
    "spectral_rolloff, zcr]"
)
MODELS = {
    "knn": ("{n_neighbors: [1, 3, 5], metric: [euclidean, manhattan], scaling: [standard, rank]}", 0.81),
    "svm": ("{C: [1, 3, 10, 30], kernel: [linear, rbf], scaling: [standard, rank]}", 0.88),
    "random_forest": ("{n_estimators: [500], max_features: [sqrt, 0.1]}", 0.87),
    "extra_trees": ("{n_estimators: [500], max_features: [sqrt, 0.1]}", None),
}
RECIPE = """\
seed: 0
run: {folder}/{name}
data:
  manifest: {manifest}
  sample_rate: {rate}
  crop: {{name: whole, seconds: {seconds}}}
  cache_folder: {folder}/cache
split: {{test: 1}}
frontend: {{name: statistics, features: {features}}}
model: {{name: {model}}}
fit: {{grid: {grid}}}
"""


def recipe(folder: Path, manifest: Path, *, name: str, model: str, rate: int, seconds: float) -> Recipe:
    path = folder / f"{name}.yaml"
    features = FEATURES if rate > 16_000 else "[mfcc, mfcc_delta, mfcc_delta2, rmse, zcr]"
    path.write_text(
        RECIPE.format(
            folder=folder,
            manifest=manifest,
            name=name,
            model=model,
            rate=rate,
            seconds=seconds,
            features=features,
            grid=MODELS[model][0],
        )
    )
    return Recipe.load(path)


def esc10(folder: Path, data: Path) -> dict[str, Any]:
    """Return accuracy of each model over the official folds."""
    manifest = folder / "esc10.csv"
    prepare(data / "esc10", manifest, dataset="esc50", workers=2, options={"clip_seconds": 5})
    results = {}
    for model, (_, least) in MODELS.items():
        found = crossvalidate(
            recipe(folder, manifest, name=f"esc10_{model}", model=model, rate=22_050, seconds=5.0)
        )
        value = found.out_of_fold.scores["accuracy"]
        results[model] = {
            "accuracy": value.value,
            "interval": [value.low, value.high],
            "folds": [one.scores["accuracy"].value for one in found.folds.values()],
            "at least": least,
        }
    return results


def digits(
    folder: Path, data: Path, models: Sequence[str] = ("knn", "svm", "random_forest")
) -> dict[str, Any]:
    """Return accuracy of each model on spoken digits, speakers kept apart and not."""
    with (data / "fsdd" / "fsdd.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    speakers = len({row["speaker"] for row in rows})
    results: dict[str, Any] = {}
    for name, group in (("a speaker left out", True), ("clips drawn by chance", False)):
        table = folder / f"digits_{'grouped' if group else 'random'}.csv"
        lines = ["path,class,group"]
        for row in rows:
            whose = row["speaker"] if group else row["filename"]
            lines.append(f"{(data / 'fsdd' / 'audio' / row['filename']).resolve()},{row['digit']},{whose}")
        table.write_text("\n".join(lines) + "\n")
        manifest = table.with_suffix(".manifest.csv")
        options = {"table": str(table)}
        prepare(data / "fsdd", manifest, dataset="table", folds=speakers, workers=2, options=options)
        for model in models:
            own = recipe(folder, manifest, name=f"{table.stem}_{model}", model=model, rate=8_000, seconds=1.0)
            found = crossvalidate(own, replicates=0)
            results.setdefault(model, {})[name] = found.out_of_fold.scores["accuracy"].value
    return results


def grid_search(*, repetitions: int = 5) -> dict[str, Any]:
    """Return the seconds of kikiwake's and of scikit-learn's search over the same rows and folds."""
    rng = np.random.default_rng(0)
    targets = np.arange(400) % 10
    rows = Rows(
        (rng.normal(size=(400, 774)) + 0.12 * targets[:, None]).astype(np.float32),
        targets,
        np.array([f"g{number}" for number in range(400)]),
    )
    folds = grouped_folds(rows, folds=5, seed=0)
    threads = torch.get_num_threads()
    times: dict[str, list[float]] = {"kikiwake": [], "scikit-learn": []}
    quiet = logging.getLogger("quiet")
    quiet.addHandler(logging.NullHandler())
    quiet.propagate = False
    with tempfile.TemporaryDirectory() as scratch:
        own = recipe(Path(scratch), Path("none.csv"), name="grid", model="svm", rate=22_050, seconds=5.0)
        assert own.fit is not None
        grid = {name: values for name, values in own.fit.grid.items() if name != "scaling"}
        fit = own.fit.model_copy(update={"grid": grid})
        own = own.model_copy(update={"fit": fit})
        names = {f"svc__{name}": values for name, values in grid.items()}
        for _ in range(repetitions):
            run = Run(own.run, own, None)  # type: ignore[arg-type] # the clips are not asked for
            run.grid_file.unlink(missing_ok=True)
            begun = time.perf_counter()
            ours = fitting._search(run, fit, rows, folds, jobs=threads, log=quiet)
            times["kikiwake"].append(time.perf_counter() - begun)
            begun = time.perf_counter()
            pipeline = fitting._build(own.model, classes=10).unfitted(rows=320, seed=0)
            with threadpool_limits(1):
                theirs = GridSearchCV(pipeline, names, cv=folds, n_jobs=threads, refit=False)
                theirs.fit(rows.vectors, rows.targets)
            times["scikit-learn"].append(time.perf_counter() - begun)
            assert abs(ours.mean - theirs.best_score_) < 1e-9
    medians = {name: median(values) for name, values in times.items()}
    return {**medians, "ratio": medians["kikiwake"] / medians["scikit-learn"], "at most": 1.10}


def run(*, data: Path) -> dict[str, Any]:
    """Measure everything and return the figures."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        return {
            "grid search of an SVM": grid_search(),
            "esc10": esc10(folder, data),
            "spoken digits": digits(folder, data),
        }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    print(json.dumps(run(data=parser.parse_args().data), indent=2))


if __name__ == "__main__":
    main()
