"""Models of scikit-learn are fitted by grid search and are then models like the others."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import toys
from kikiwake import fitting
from kikiwake.crossvalidation import crossvalidate
from kikiwake.errors import KikiwakeError, ManifestError, RecipeError, TrainingError, WeightsError
from kikiwake.evaluation import evaluate
from kikiwake.fitting import Rows, grouped_folds
from kikiwake.manifest import Manifest
from kikiwake.prediction import load
from kikiwake.recipe import Recipe
from kikiwake.run import Run, open_run
from kikiwake.training import train

GRID = {"C": [0.01, 1.0], "kernel": ["linear", "rbf"]}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toys.write_tones(tmp_path_factory.mktemp("tones"))


def recipe(manifest: Path, run: Path, **changes: Any) -> Recipe:
    """A recipe that fits an SVM to statistics of tones; `changes` replace top-level keys."""
    content: dict[str, Any] = {
        "seed": 5,
        "run": str(run),
        "data": {
            "manifest": str(manifest),
            "sample_rate": toys.SAMPLE_RATE,
            "crop": {"name": "whole", "seconds": 0.6},
            "workers": 0,
            "cache_folder": str(manifest.parent / "cache"),
        },
        "split": {"test": 0},
        "frontend": toys.STATISTICS,
        "model": {"name": "svm"},
        "fit": {"grid": GRID, "folds": 3},
    }
    path = run.parent / f"{run.name}.json.yaml"
    path.write_text(json.dumps({**content, **changes}))
    return Recipe.load(path)


@pytest.fixture(scope="module")
def fitted(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(recipe(manifest, tmp_path_factory.mktemp("runs") / "svm"))


def grid_of(run: Run) -> list[dict[str, str]]:
    with run.grid_file.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_grid_is_searched_as_scikit_learn_searches_it(fitted, manifest, monkeypatch, tmp_path):
    kept: list[Any] = []
    search = fitting._search

    def spied(run, fit, rows, folds, **named):
        kept[:] = [rows, folds]
        return search(run, fit, rows, folds, **named)

    monkeypatch.setattr(fitting, "_search", spied)
    train(recipe(manifest, tmp_path / "again"))
    rows, folds = kept
    pipeline = make_pipeline(StandardScaler(), SVC())
    names = {f"svc__{name}": values for name, values in GRID.items()}
    direct = GridSearchCV(pipeline, names, cv=folds, scoring="accuracy").fit(rows.vectors, rows.targets)
    ours = {(row["C"], row["kernel"]): float(row["mean"]) for row in grid_of(fitted)}
    theirs = {
        (str(point["svc__C"]), point["svc__kernel"]): score
        for point, score in zip(
            direct.cv_results_["params"], direct.cv_results_["mean_test_score"], strict=True
        )
    }
    assert ours == pytest.approx(theirs)
    best = json.loads((fitted.folder / "model.json").read_text())["grid"]["best"]
    assert theirs[(str(best["C"]), best["kernel"])] == pytest.approx(direct.best_score_)


def test_every_combination_and_the_best_are_logged(fitted):
    log = (fitted.folder / "log.txt").read_text()
    for place, (c, kernel) in enumerate(((c, k) for c in GRID["C"] for k in GRID["kernel"]), start=1):
        assert f"{place}/4: C={c} kernel={kernel}: accuracy " in log
    assert "best of 4: C=" in log


def test_nearly_empty_last_windows_are_no_examples(fitted, manifest, tmp_path):
    data = {**fitted.recipe.data.model_dump(mode="json"), "crop": {"name": "whole", "seconds": 0.55}}
    run = train(recipe(manifest, tmp_path / "short", data=data))
    # 18 clips of 0.6 to 0.7 s: a window of 0.55 s each, and no rest that is half a window.
    assert "features: 18 rows" in (run.folder / "log.txt").read_text()


def test_no_group_is_on_both_sides_of_a_fold():
    groups = np.repeat([f"g{number}" for number in range(12)], 3)
    targets = np.repeat(np.arange(12) % 3, 3)
    folds = grouped_folds(Rows(np.zeros((36, 2)), targets, groups), folds=4, seed=1)
    assert sorted(np.concatenate([judged for _, judged in folds]).tolist()) == list(range(36))
    for learn, judged in folds:
        assert not set(groups[learn]) & set(groups[judged])
        assert set(targets[judged]) == {0, 1, 2}


def test_an_interrupted_search_goes_on_and_ends_with_the_same_model(fitted, manifest, tmp_path, monkeypatch):
    wanted = recipe(manifest, tmp_path / "killed")
    write, written = fitting._write_grid, []

    def killed(run, tried):
        write(run, tried)
        written.append(len(tried))
        if len(tried) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(fitting, "_write_grid", killed)
    with pytest.raises(KeyboardInterrupt):
        train(wanted)
    monkeypatch.setattr(fitting, "_write_grid", write)
    run = train(wanted)
    assert written == [1, 2]
    log = (run.folder / "log.txt").read_text()
    assert "going on after 2 of 4 combinations" in log
    assert log.count("1/4: C=0.01 kernel=linear: accuracy") == 1
    assert [row["mean"] for row in grid_of(run)] == [row["mean"] for row in grid_of(fitted)]
    tones = manifest.parent / "high_0.wav"
    assert np.array_equal(load(run).predict(tones).probabilities, load(fitted).predict(tones).probabilities)


def test_a_run_of_other_settings_is_not_gone_on_with(fitted, manifest):
    other = recipe(manifest, fitted.folder, fit={"grid": {"C": [5.0]}, "folds": 3})
    with pytest.raises(KikiwakeError, match="another training"):
        train(other)


def test_evaluation_prediction_and_a_copy_of_the_run_agree(fitted, manifest, tmp_path):
    found = evaluate(fitted, replicates=0)
    assert found.scores["accuracy"].value == 1.0
    assert (found.folder / "confusion.png").is_file()
    shutil.copytree(fitted.folder, tmp_path / "copy")
    copied = load(tmp_path / "copy")
    test_clips = [clip for clip in open_run(fitted.folder).manifest if clip.split == "test"]
    predicted = copied.predict([clip.path for clip in test_clips])
    windows = np.loadtxt(
        found.folder / "predictions.csv",
        delimiter=",",
        skiprows=1,
        usecols=range(5, 8),
    )
    assert predicted.probabilities == pytest.approx(windows, abs=1e-6)
    assert predicted.probabilities.sum(1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    "model",
    [{"name": "knn"}, *({"name": trees, "n_estimators": 30} for trees in ("random_forest", "extra_trees"))],
    ids=lambda model: model["name"],
)
def test_every_fold_is_fitted_and_all_are_summed_up(manifest, tmp_path, model):
    found = crossvalidate(recipe(manifest, tmp_path / "run", model=model, fit=None), replicates=0)
    assert len(found.folds) == 4
    assert found.out_of_fold.scores["accuracy"].value >= 0.9
    fold = open_run(tmp_path / "run" / "fold0")
    assert not fold.grid_file.exists()
    assert json.loads((fold.folder / "model.json").read_text())["grid"] is None
    assert not list(fold.folder.rglob("*.pkl"))


def test_probabilities_of_an_svm_keep_the_order_of_its_decisions(fitted):
    network: Any = fitted.classifier().network
    rows = np.random.default_rng(0).normal(0, 1, (50, network.pipeline.n_features_in_))
    decided = network.pipeline.calibrated_classifiers_[0].estimator.decision_function(rows)
    logits = network(torch.from_numpy(rows)[..., None]).clipwise
    assert np.array_equal(decided.argmax(1), logits.argmax(1).numpy())


def test_a_saved_model_with_foreign_types_is_refused(fitted, tmp_path):
    class Foreign(LogisticRegression):
        pass

    Foreign.__module__ = "somewhere.else"
    shutil.copytree(fitted.folder, tmp_path / "run")
    path = tmp_path / "run" / "model.skops"
    with path.open("wb") as file:
        skops.io.dump(Foreign(), file)
    with pytest.raises(WeightsError, match=r"somewhere\.else"):
        open_run(tmp_path / "run").classifier()
    path.write_bytes(b"no archive")
    with pytest.raises(WeightsError, match="cannot be read"):
        open_run(tmp_path / "run").classifier()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"fit": {"grid": {"c": [1.0]}}}, "unknown key 'c'"),
        ({"fit": {"grid": {"C": ["much"]}}}, "fit.grid"),
        ({"fit": {"grid": {"C": []}}}, "at least 1 item"),
        ({"augmentations": [{"name": "volume"}]}, "takes no augmentations"),
        ({"model": {"name": "mlp"}}, "trained in stages"),
        ({"model": {"name": "mlp"}, "fit": None}, "at least one stage"),
        (
            {"stages": [{"epochs": 1, "batch_size": 4, "optimizer": {"name": "adam", "learning_rate": 1}}]},
            "takes no stages",
        ),
    ],
)
def test_recipes_that_make_no_sense_are_refused(manifest, tmp_path, changes, said):
    with pytest.raises(RecipeError, match=said):
        recipe(manifest, tmp_path / "run", **changes)


def test_a_network_of_pictures_does_not_take_vectors(manifest, tmp_path):
    stages = [{"epochs": 1, "batch_size": 4, "optimizer": {"name": "adam", "learning_rate": 0.01}}]
    wrong = recipe(manifest, tmp_path / "run", model={"name": "fcn"}, fit=None, stages=stages)
    with pytest.raises(RecipeError, match=r"'fcn' takes pictures.*'statistics' makes sequences"):
        train(wrong)


def test_more_folds_than_groups_are_refused(manifest, tmp_path):
    with pytest.raises(ManifestError, match="groups, for 50 folds"):
        train(recipe(manifest, tmp_path / "run", fit={"grid": GRID, "folds": 50}))


def test_onnx_runtime_is_refused(fitted, manifest):
    with pytest.raises(KikiwakeError, match="scikit-learn"):
        load(fitted).predict(manifest.parent / "high_0.wav", engine="onnx")


def one_recording_of_low(manifest: Path, folder: Path) -> Path:
    """A manifest in which one class has a single clip."""
    read = Manifest.read(manifest)
    low = [row for row, clip in enumerate(read) if clip.label == "low" and clip.fold != 0]
    kept = [row for row, clip in enumerate(read) if clip.label != "low"] + low[:1]
    read.select(sorted(kept)).write(folder / "few.csv")
    return folder / "few.csv"


def test_a_class_with_one_recording_is_calibrated_on_the_folds_that_train_it(manifest, tmp_path):
    few = one_recording_of_low(manifest, tmp_path)
    run = train(recipe(few, tmp_path / "run", fit={"grid": {"C": [1.0]}, "folds": 3}))
    assert run.finished


def test_more_folds_than_clips_of_any_class_are_refused(manifest, tmp_path):
    read = Manifest.read(manifest)
    few = [next(row for row, clip in enumerate(read) if clip.label == name) for name in ("low", "high")]
    read.select(few).write(tmp_path / "two.csv")
    settings = {"split": {}, "fit": {"grid": {}, "folds": 2}}
    with pytest.raises(ManifestError, match="no class has as many training clips"):
        train(recipe(tmp_path / "two.csv", tmp_path / "run", **settings))


def test_a_model_that_cannot_answer_is_not_called_done(manifest, tmp_path):
    settings = {"model": {"name": "knn", "n_neighbors": 1000}, "fit": {}}
    with pytest.raises(TrainingError, match="cannot be fitted"):
        train(recipe(manifest, tmp_path / "run", **settings))


def test_folds_are_not_asked_for_where_nothing_is_chosen_or_calibrated(manifest, tmp_path):
    settings = {"model": {"name": "knn"}, "fit": {"grid": {}, "folds": 1000}}
    assert train(recipe(manifest, tmp_path / "run", **settings)).finished


def test_a_model_without_its_file_says_so(fitted, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(fitted.folder, copy)
    (copy / "model.skops").unlink()
    with pytest.raises(WeightsError, match="the fitted model is not there"):
        evaluate(copy)
