"""Every fold is judged by a model that did not see it, once, however often the work is interrupted."""

from __future__ import annotations

import csv
import gc
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kikiwake import _fold_processes, crossvalidation, evaluation, figures
from kikiwake._bootstrap import Interval
from kikiwake._fold_processes import train_apart
from kikiwake.classifier import Classifier, build_classifier
from kikiwake.crossvalidation import CrossValidation, crossvalidate
from kikiwake.errors import ManifestError, RunError, TrainingError
from kikiwake.evaluation import Evaluation
from kikiwake.manifest import Manifest
from kikiwake.recipe import Recipe
from kikiwake.run import Run, open_run, start_run
from kikiwake.scoring import WindowScores
from processes import alive
from toys import toy_recipe, write_tones

FOLDS = 3


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """18 clips of three classes in 9 groups and the folds 0, 1 and 2."""
    return write_tones(tmp_path_factory.mktemp("data") / "tones", clips_per_class=6, folds=FOLDS)


@pytest.fixture
def recipe(tones: Path, tmp_path: Path) -> Recipe:
    stage = {"epochs": 1, "batch_size": 6, "optimizer": {"name": "adamw", "learning_rate": 0.01}}
    return toy_recipe(tones, tmp_path / "run", stages=[stage])


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("class_scores", "confusion_matrix", "reliability_diagram"):
        monkeypatch.setattr(figures, name, lambda *_, **__: None)


class Untrained:
    """Takes the place of `train`: the run is finished at once, with the weights it began with."""

    def __init__(self) -> None:
        self.trained: list[Recipe] = []
        self.trouble: dict[int, BaseException] = {}

    def __call__(self, recipe: Recipe) -> Run:
        if recipe.split.test in self.trouble:
            raise self.trouble[recipe.split.test]
        self.trained.append(recipe)
        run = start_run(recipe, Manifest.read(str(recipe.data.manifest)))
        run.write_model(build_classifier(recipe, classes=run.manifest.classes).state_dict(), about={})
        return run

    @property
    def folds(self) -> list[object]:
        return [recipe.split.test for recipe in self.trained]


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> Untrained:
    stand_in = Untrained()
    monkeypatch.setattr(crossvalidation, "train", stand_in)
    return stand_in


def states(folder: Path) -> dict[str, int]:
    """Every file of a finished fold, and when it was last written."""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file()
    }


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def judged(**scores: float | None) -> Evaluation:
    return Evaluation(
        run=Path("run"),
        folder=Path("run"),
        part="test",
        scores={name: Interval(value, None, None, 0.95, 0) for name, value in scores.items()},
        clips=1,
        groups=1,
        multilabel=False,
        notes=[],
        about={"split": {"validation": 1}},
    )


def test_mean_and_spread_are_those_worked_out_by_hand() -> None:
    folds = {1: judged(accuracy=0.5, macro_roc_auc=0.9), 2: judged(accuracy=0.7, macro_roc_auc=None)}
    found = CrossValidation(Path("run"), folds, judged(accuracy=0.6, macro_roc_auc=0.8))
    assert found.mean("accuracy") == pytest.approx(0.6)
    assert found.spread("accuracy") == pytest.approx(np.sqrt(2 * 0.1**2 / 1))
    # A fold where a score is undefined does not count, and one value has no spread.
    assert found.mean("macro_roc_auc") == 0.9
    assert found.spread("macro_roc_auc") is None
    assert "accuracy of each fold: 1: 0.5000, 2: 0.7000" in str(found)


def test_every_clip_is_judged_once_by_the_model_that_did_not_see_it(
    recipe: Recipe, untrained: Untrained, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def score_clips(*_: Any, indices: list[int], recipe: Recipe, **__: Any) -> WindowScores:
        """The model of fold k is sure of class k, whatever it hears."""
        assert isinstance(recipe.split.test, int)
        seen.append((recipe.split.test, indices))
        count = len(indices)
        sure = np.tile(np.eye(3, dtype=np.float32)[recipe.split.test], (count, 1))
        zeros = np.zeros(count, int)
        return WindowScores(np.array(indices), zeros, zeros + 4000, sure, sure)

    monkeypatch.setattr(evaluation, "score_clips", score_clips)
    found = crossvalidate(recipe, replicates=50)
    manifest = Manifest.read(str(recipe.data.manifest))
    rows = table(recipe.run / "out_of_fold.csv")
    assert [row["path"] for row in rows] == [str(clip.path) for clip in manifest]
    names = {str(fold): manifest.classes[fold] for fold in range(FOLDS)}
    assert all(row["predicted"] == names[row["fold"]] for row in rows)
    assert [test for test, _ in seen] == [0, 1, 2]
    assert all(manifest[row].fold == test for test, indices in seen for row in indices)
    # Each fold holds two clips of each of three classes, and calls all six by one name.
    assert found.out_of_fold.scores["accuracy"].value == pytest.approx(1 / 3)
    assert found.mean("accuracy") == pytest.approx(1 / 3)
    assert found.spread("accuracy") == pytest.approx(0)
    summary = json.loads((recipe.run / "summary.json").read_text())
    assert summary["mean"]["accuracy"] == pytest.approx(1 / 3)
    assert summary["out_of_fold"]["clips"] == 18
    assert summary["out_of_fold"]["groups"] == 9
    assert summary["folds"]["1"]["scores"]["accuracy"] == pytest.approx(1 / 3)
    low, high = (summary["out_of_fold"]["scores"]["accuracy"][end] for end in ("low", "high"))
    assert low <= 1 / 3 <= high
    assert [(row["fold"], row["clips"]) for row in table(recipe.run / "folds.csv")] == [
        ("0", "6"),
        ("1", "6"),
        ("2", "6"),
    ]
    confusion = [list(row.values())[1:] for row in table(recipe.run / "confusion.csv")]
    assert confusion == [["2", "2", "2"]] * 3
    assert (recipe.run / "summary.txt").read_text() == f"{found}\n"


def test_a_fold_that_cannot_validate_itself_is_validated_by_the_next(
    recipe: Recipe, untrained: Untrained, capsys: pytest.CaptureFixture[str]
) -> None:
    crossvalidate(recipe, "split.validation=2", replicates=0)
    assert [(own.split.test, own.split.validation) for own in untrained.trained] == [(0, 2), (1, 2), (2, 0)]
    assert "fold 2 cannot validate itself: there, fold 0 does" in capsys.readouterr().err
    assert [row["validation"] for row in table(recipe.run / "folds.csv")] == ["2", "2", "0"]


def test_the_running_mean_is_said_after_every_fold(
    recipe: Recipe, untrained: Untrained, capsys: pytest.CaptureFixture[str]
) -> None:
    found = crossvalidate(recipe, replicates=0)
    said = re.findall(r"fold (\d): accuracy (\S+); mean of (\d) folds? (\S+)", capsys.readouterr().err)
    values = [score for fold in found.folds.values() if (score := fold.scores["accuracy"].value) is not None]
    means = [np.mean(values[: count + 1]) for count in range(FOLDS)]
    assert said == [
        (str(fold), f"{values[fold]:.4f}", str(fold + 1), f"{means[fold]:.4f}") for fold in range(FOLDS)
    ]


def test_an_interrupted_cross_validation_goes_on_and_leaves_finished_folds_alone(
    recipe: Recipe, untrained: Untrained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    untrained.trouble = {1: KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        crossvalidate(recipe, replicates=30)
    assert "stopped with 1 of 3 folds finished: the same command goes on" in capsys.readouterr().err
    before = states(recipe.run / "fold0")
    assert not (recipe.run / "summary.json").exists()
    untrained.trouble = {}
    crossvalidate(recipe, replicates=30)
    assert untrained.folds == [0, 1, 2]
    assert states(recipe.run / "fold0") == before
    other = recipe.model_copy(update={"run": tmp_path / "undisturbed"})
    crossvalidate(other, replicates=30)
    for name in ("out_of_fold.csv", "folds.csv", "summary.json", "classes.csv"):
        assert (other.run / name).read_bytes() == (recipe.run / name).read_bytes()


def test_a_fold_that_is_trained_but_not_judged_is_judged(recipe: Recipe, untrained: Untrained) -> None:
    crossvalidate(recipe, replicates=0)
    (recipe.run / "fold1" / "evaluation" / "scores.json").unlink()
    before = {fold: states(recipe.run / f"fold{fold}") for fold in (0, 2)}
    crossvalidate(recipe, replicates=0)
    assert (recipe.run / "fold1" / "evaluation" / "scores.json").is_file()
    assert {fold: states(recipe.run / f"fold{fold}") for fold in (0, 2)} == before


def test_a_failing_fold_leaves_the_others_finished(recipe: Recipe, untrained: Untrained) -> None:
    untrained.trouble = {1: TrainingError("the loss is no longer finite")}
    with pytest.raises(TrainingError) as caught:
        crossvalidate(recipe, replicates=0)
    message = str(caught.value)
    assert "1 of 3 folds failed" in message
    assert "fold 1: the loss is no longer finite" in message
    assert "2 are finished and kept" in message
    assert "goes on" in message
    assert untrained.folds == [0, 2]
    untrained.trouble = {}
    crossvalidate(recipe, replicates=0)
    assert untrained.folds == [0, 2, 1]


def test_folds_of_another_recipe_are_refused_before_anything_is_trained(
    recipe: Recipe, untrained: Untrained
) -> None:
    untrained.trouble = {1: KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        crossvalidate(recipe, replicates=0)
    untrained.trouble = {}
    with pytest.raises(RunError, match="fold0: this directory holds another training; different are seed"):
        crossvalidate(recipe, "seed=6", replicates=0)
    assert untrained.folds == [0]


def test_what_is_wrong_with_the_manifest_is_said_before_anything_is_trained(
    recipe: Recipe, untrained: Untrained, tmp_path: Path
) -> None:
    manifest = Manifest.read(str(recipe.data.manifest))
    manifest.with_folds([1] * len(manifest)).write(tmp_path / "one.csv")
    with pytest.raises(ManifestError, match="at least two folds"):
        crossvalidate(recipe, f"data.manifest={tmp_path / 'one.csv'}")
    clips = [clip for clip in manifest if clip.label != "low" or clip.fold == 2]
    Manifest(clips, manifest.classes).write(tmp_path / "scarce.csv")
    with pytest.raises(ManifestError, match="'low' has no clip in train"):
        crossvalidate(recipe, f"data.manifest={tmp_path / 'scarce.csv'}")
    assert not recipe.run.exists()


def test_clips_without_a_fold_are_counted_and_not_judged(
    recipe: Recipe, untrained: Untrained, tmp_path: Path
) -> None:
    manifest = Manifest.read(str(recipe.data.manifest))
    first = {row for row, clip in enumerate(manifest) if clip.group == manifest[0].group}
    folds = [None if row in first else clip.fold for row, clip in enumerate(manifest)]
    manifest.with_folds(folds).write(tmp_path / "some.csv")
    found = crossvalidate(recipe, f"data.manifest={tmp_path / 'some.csv'}", replicates=0)
    assert found.out_of_fold.clips == 16
    assert "2 clips without a fold train in every fold and are never judged" in found.out_of_fold.notes


def test_folds_share_the_cores_and_keep_their_threads(
    recipe: Recipe, untrained: Untrained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crossvalidation, "_cores", lambda: 8)
    free = recipe.model_copy(update={"engine": recipe.engine.model_copy(update={"threads": None})})
    started = []

    def apart(folders: list[Path], *, jobs: int) -> Any:
        for folder in folders:
            started.append(open_run(folder).recipe.engine.threads)
            untrained(open_run(folder).recipe)
            yield folder, "full disk" if folder.name == "fold2" else None

    monkeypatch.setattr(crossvalidation, "train_apart", apart)
    with pytest.raises(TrainingError, match="full disk"):
        crossvalidate(free, jobs=2, replicates=0)
    assert started == [4, 4, 4]
    crossvalidate(free, replicates=0)
    assert [own.engine.threads for own in untrained.trained] == [4, 4, 4, 4]


def test_torchrun_and_no_job_at_all_are_refused(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Exception, match="at least one fold"):
        crossvalidate(recipe, jobs=0)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RunError, match="torchrun"):
        crossvalidate(recipe)


def scripted(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Let child processes run `script` with the folder as its argument."""
    monkeypatch.setattr(
        _fold_processes, "_command", lambda folder: [sys.executable, "-c", script, str(folder)]
    )


def test_a_failing_process_is_reported_with_its_last_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = """if 1:
        import os, pathlib, sys
        folder = pathlib.Path(sys.argv[1])
        (folder / "log.txt").write_text("epoch 1\\n")
        print("epoch 1")
        if folder.name == "bad":
            sys.exit("kikiwake: no memory for a batch")
        if folder.name == "killed":
            os.kill(os.getpid(), 9)
    """
    scripted(monkeypatch, script)
    folders = [tmp_path / name for name in ("bad", "good", "killed")]
    for folder in folders:
        folder.mkdir()
    found = {folder.name: reason for folder, reason in train_apart(folders, jobs=2)}
    assert found["good"] is None
    assert found["bad"] is not None
    assert "exit status 1" in found["bad"]
    assert found["bad"].endswith("epoch 1\n  kikiwake: no memory for a batch")
    assert found["killed"] is not None
    assert "SIGKILL" in found["killed"]
    # What the log lacked is added to it, once.
    assert (tmp_path / "bad" / "log.txt").read_text() == "epoch 1\nkikiwake: no memory for a batch\n"
    assert (tmp_path / "good" / "log.txt").read_text() == "epoch 1\n"
    assert not list(tmp_path.rglob("console.txt"))


def test_as_many_processes_run_at_once_as_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = """if 1:
        import pathlib, sys, time
        folder = pathlib.Path(sys.argv[1])
        mark = folder / "running"
        mark.touch()
        beside = len(list(folder.parent.glob("*/running")))
        (folder / "beside").write_text(str(beside))
        limit = time.monotonic() + 20
        while len(list(folder.parent.glob("*/beside"))) < 2 and time.monotonic() < limit:
            time.sleep(0.01)
        mark.unlink()
    """
    scripted(monkeypatch, script)
    folders = [tmp_path / str(number) for number in range(4)]
    for folder in folders:
        folder.mkdir()
    assert all(reason is None for _, reason in train_apart(folders, jobs=2))
    assert max(int((folder / "beside").read_text()) for folder in folders) == 2


def wait_for(path: Path, *, seconds: float = 60) -> None:
    limit = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < limit, f"{path} did not come"
        time.sleep(0.02)


SLEEPER = """if 1:
    import os, pathlib, sys, time
    written = pathlib.Path(sys.argv[1]) / "writing"
    written.write_text(str(os.getpid()))
    written.rename(written.with_name("pid"))
    time.sleep(120)
"""


def test_processes_end_when_the_work_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = SLEEPER.replace("time.sleep(120)", "time.sleep(0 if 'quick' in sys.argv[1] else 120)")
    scripted(monkeypatch, quick)
    for name in ("quick", "slow"):
        (tmp_path / name).mkdir()
    running = train_apart([tmp_path / "slow", tmp_path / "quick"], jobs=2)
    assert next(running) == (tmp_path / "quick", None)
    wait_for(tmp_path / "slow" / "pid")
    running.close()
    assert not alive(int((tmp_path / "slow" / "pid").read_text()))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_processes_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = f"""if 1:
        import sys
        from pathlib import Path
        from kikiwake import _fold_processes
        _fold_processes._command = lambda folder: [sys.executable, "-c", {SLEEPER!r}, str(folder)]
        list(_fold_processes.train_apart([Path(sys.argv[1])], jobs=1))
    """
    parent = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)])
    wait_for(tmp_path / "pid")
    child = int((tmp_path / "pid").read_text())
    assert alive(child)
    parent.kill()
    parent.wait()
    limit = time.monotonic() + 10
    while alive(child) and time.monotonic() < limit:
        time.sleep(0.02)
    assert not alive(child)


def classifiers_in_memory() -> set[int]:
    gc.collect()
    return {id(item) for item in gc.get_objects() if type(item) is Classifier}


def test_real_folds_side_by_side_killed_and_gone_on_with_end_as_if_undisturbed(
    recipe: Recipe, tmp_path: Path
) -> None:
    """The command is killed, with its processes, once a fold is finished; the rest is trained here."""
    held_by_others = classifiers_in_memory()
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe.to_yaml())
    command = subprocess.Popen(
        [sys.executable, "-m", "kikiwake", "crossval", str(path), "--jobs", "2"],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        limit = time.monotonic() + 300
        while not (finished := list(recipe.run.glob("fold*/evaluation/scores.json"))):
            assert command.poll() is None
            assert time.monotonic() < limit
            time.sleep(0.02)
    finally:
        command.kill()
        command.wait()
    fold = finished[0].parent.parent
    assert "stage" in (fold / "log.txt").read_text()
    before = states(fold)
    crossvalidate(path, replicates=20)
    assert states(fold) == before
    whole = recipe.model_copy(update={"run": tmp_path / "undisturbed"})
    crossvalidate(whole, replicates=20)
    for name in ("out_of_fold.csv", "folds.csv", "summary.json"):
        assert (whole.run / name).read_bytes() == (recipe.run / name).read_bytes()
    # Folds do not add up in memory.
    assert classifiers_in_memory() <= held_by_others
