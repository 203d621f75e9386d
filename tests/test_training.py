"""Training ends with the same bytes however often it is killed; and says clearly why it cannot go on."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from kikiwake.checkpoint import read_weights
from kikiwake.data import ClipReader
from kikiwake.errors import ManifestError, RecipeError, RunError, TrainingError, WeightsError
from kikiwake.manifest import Manifest
from kikiwake.models.fcn import Fcn
from kikiwake.optimization import Step
from kikiwake.recipe import Recipe
from kikiwake.run import open_run, start_run
from kikiwake.stage import StageRun
from kikiwake.training import train
from processes import alive, children
from toys import STATISTICS, toy_recipe, write_tones

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["kikiwake.training", "kikiwake.models.fcn", "kikiwake.frontends.mel", "audiomentations"]
)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tones(tmp_path_factory.mktemp("data") / "tones")


def results(folder: Path) -> dict[str, bytes]:
    """The files of a run that must not depend on what happened to it."""
    names = ["model.safetensors", "metrics.csv", "model.json", "manifest.csv"]
    return {name: (folder / name).read_bytes() for name in names}


def two_stages(**changes: Any) -> list[dict[str, Any]]:
    stage = {
        "batch_size": 4,
        "optimizer": {"name": "adamw", "learning_rate": 0.01},
        "schedule": {"name": "cosine"},
        "augmentations": [{"name": "mixup", "alpha": 0.4}],
    }
    return [
        {**stage, "name": "first", "epochs": 2, "ema": 0.9, **changes},
        {
            **stage,
            "name": "second",
            "sampling": "balanced",
            "epochs": 2,
            "freeze": 2,
            "optimizer": {"name": "sgd", "learning_rate": 0.01, "momentum": 0.9},
        },
    ]


def train_in_child(recipe: Recipe, *, kill_after: float | None) -> bool:
    """Train in a child process, kill it after some seconds, and say whether it ended by itself."""
    child = CONTEXT.Process(target=train, args=(recipe,))
    child.start()
    child.join(kill_after)
    if child.exitcode is None:
        os.kill(child.pid or 0, signal.SIGKILL)
    child.join()
    return child.exitcode == 0


@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_training_ends_as_an_undisturbed_one(manifest: Path, tmp_path: Path, workers: int) -> None:
    stages = two_stages()
    undisturbed = toy_recipe(manifest, tmp_path / "undisturbed", stages=stages)
    recipe = toy_recipe(manifest, tmp_path / "killed", stages=stages, checkpoint_seconds=0.001)
    recipe = Recipe.load(recipe, f"data.workers={workers}")
    started = time.monotonic()
    assert train_in_child(undisturbed, kill_after=None)
    whole = time.monotonic() - started
    rng = random.Random(time.time_ns())
    kills = 0
    while not (recipe.run / "model.json").is_file():
        ended = train_in_child(recipe, kill_after=rng.uniform(0.1, 0.8) * whole * (1 + kills / 4))
        kills += not ended
        assert kills < 40, "no progress between the kills"
        if ended and kills == 0:  # faster than the first run: kill earlier
            shutil.rmtree(recipe.run)
            whole /= 2
    assert results(recipe.run) == results(undisturbed.run)


def test_torchrun_processes_resume_exactly(manifest: Path, tmp_path: Path) -> None:
    """In the only epoch, whose weights the first process writes while the other one waits for them."""
    outcomes = []
    stages = [{"epochs": 1, "batch_size": 4, "optimizer": {"name": "adamw", "learning_rate": 0.01}}]
    for name, killed in (("undisturbed", False), ("killed", True)):
        recipe = toy_recipe(manifest, tmp_path / name, stages=stages, checkpoint_seconds=0.001)
        command = [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
            *("-m", "kikiwake", "train", str(tmp_path / f"{name}.yaml")),
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        if killed:
            process = subprocess.Popen(command, env=environment, start_new_session=True)
            deadline = time.monotonic() + 120
            while not (recipe.run / "checkpoint.safetensors").is_file():
                assert time.monotonic() < deadline
                time.sleep(0.01)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            assert not (recipe.run / "model.json").is_file()
        subprocess.run(command, env=environment, check=True, timeout=240)
        outcomes.append(results(recipe.run))
    assert outcomes[0] == outcomes[1]


def test_training_learns_to_tell_tones_apart(manifest: Path, tmp_path: Path) -> None:
    stages = [{"epochs": 12, "batch_size": 4, "optimizer": {"name": "adamw", "learning_rate": 0.01}}]
    run = train(toy_recipe(manifest, tmp_path / "run", stages=stages))
    kept = json.loads((run.folder / "model.json").read_text())["kept"]
    assert kept["validation_accuracy"] == 1.0
    assert {"recipe.yaml", "manifest.csv", "log.txt", "metrics.csv", "curves.png"} <= {
        p.name for p in run.folder.iterdir()
    }


def test_the_log_file_holds_what_the_console_showed(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(toy_recipe(manifest, tmp_path / "run"))
    lines = (run.folder / "log.txt").read_text().splitlines()
    console = capsys.readouterr().err
    assert all(line in console for line in lines)
    assert any("epoch 2/2" in line and "clips/s" in line for line in lines)
    assert "device: cpu" in "\n".join(lines)


def test_a_finished_run_is_left_alone(manifest: Path, tmp_path: Path) -> None:
    recipe = toy_recipe(manifest, tmp_path / "run")
    train(recipe)
    before = results(recipe.run)
    train(recipe)
    assert results(recipe.run) == before


def test_another_training_in_the_same_directory_is_refused_with_the_difference(
    manifest: Path, tmp_path: Path
) -> None:
    recipe = toy_recipe(manifest, tmp_path / "run")
    train(recipe)
    with pytest.raises(RunError, match=r"stages\.0\.epochs: was 2, now 3"):
        train(recipe, "stages.train.epochs=3")
    train(recipe, "data.workers=1")  # does not touch a number


def test_two_processes_do_not_train_in_one_directory(manifest: Path, tmp_path: Path) -> None:
    recipe = toy_recipe(manifest, tmp_path / "run")
    run = start_run(recipe, Manifest.read(manifest))
    held, let_go = CONTEXT.Event(), CONTEXT.Event()
    other = CONTEXT.Process(target=hold_lock, args=(run.folder, held, let_go))
    other.start()
    assert held.wait(60)
    with pytest.raises(RunError, match="another process is training"):
        train(recipe)
    let_go.set()
    assert train(recipe).finished
    other.join()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends processes with their parent")
def test_loader_workers_die_with_a_killed_training(manifest: Path, tmp_path: Path) -> None:
    stages = [{"epochs": 100_000, "batch_size": 4, "optimizer": {"name": "sgd", "learning_rate": 0.01}}]
    recipe = Recipe.load(toy_recipe(manifest, tmp_path / "run", stages=stages), "data.workers=2")
    child = CONTEXT.Process(target=train, args=(recipe,))
    child.start()
    limit = time.monotonic() + 60
    while len(workers := children(child.pid or 0)) < 2 or not (recipe.run / "metrics.csv").is_file():
        assert time.monotonic() < limit
        time.sleep(0.02)
    os.kill(child.pid or 0, signal.SIGKILL)
    child.join()
    limit = time.monotonic() + 2
    while any(alive(worker) for worker in workers):
        assert time.monotonic() < limit
        time.sleep(0.02)


def hold_lock(folder: Path, held: Any, let_go: Any) -> None:
    with open_run(folder).locked():
        held.set()
        let_go.wait(60)


def test_early_stopping_keeps_the_best_epoch(manifest: Path, tmp_path: Path) -> None:
    stages = [
        {
            "epochs": 30,
            "batch_size": 4,
            "optimizer": {"name": "adam", "learning_rate": 0.01},
            "early_stopping": 2,
        }
    ]
    run = train(toy_recipe(manifest, tmp_path / "run", stages=stages))
    rows = (run.folder / "metrics.csv").read_text().splitlines()
    scores = [float(row.split(",")[rows[0].split(",").index("validation_accuracy")]) for row in rows[1:]]
    kept = json.loads((run.folder / "model.json").read_text())["kept"]
    assert len(scores) < 30
    assert kept["epoch"] == scores.index(max(scores)) + 1 == len(scores) - 2


def test_without_validation_the_last_epoch_is_kept_and_early_stopping_refused(
    manifest: Path, tmp_path: Path
) -> None:
    recipe = toy_recipe(manifest, tmp_path / "run", split={"test": 0})
    run = train(recipe)
    assert json.loads((run.folder / "model.json").read_text())["kept"]["epoch"] == 2
    with pytest.raises(RecipeError, match="needs validation clips"):
        train(recipe, "stages.train.early_stopping=1", f"run={tmp_path / 'other'}")


def test_frozen_groups_do_not_move(manifest: Path, tmp_path: Path) -> None:
    run = train(toy_recipe(manifest, tmp_path / "run", stages=two_stages()))
    first = read_weights(run.stage_file("first"))
    second = read_weights(run.stage_file("second"))
    moved = {name for name in first if not torch.equal(first[name], second[name])}
    network: Any = open_run(run.folder).classifier().network
    network.freeze(2)
    frozen = {f"network.{name}" for name, p in network.named_parameters() if not p.requires_grad}
    assert frozen
    assert not moved & frozen
    assert "network.dense.weight" in moved


def test_memory_that_runs_out_halves_the_batch_and_says_so(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    forward = Fcn.forward

    def hungry(self: Fcn, features: torch.Tensor) -> Any:
        if self.training and len(features) > 1:
            raise torch.OutOfMemoryError("no memory")
        return forward(self, features)

    monkeypatch.setattr(Fcn, "forward", hungry)
    run = train(toy_recipe(manifest, tmp_path / "run"))
    assert run.finished
    said = capsys.readouterr().err
    assert "out of memory with 4 clips at a time: from now on 2, accumulated over 2 parts" in said
    assert "out of memory with 2 clips at a time: from now on 1, accumulated over 4 parts" in said


def test_an_attempt_that_failed_for_memory_leaves_no_trace(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = {"epochs": 1, "batch_size": 4, "optimizer": {"name": "sgd", "learning_rate": 0.01}}
    halves = [{**stage, "accumulation": 2}]
    expected = read_weights(train(toy_recipe(manifest, tmp_path / "halves", stages=halves)).model_file)
    forward = Fcn.forward

    def hungry_at_the_end(self: Fcn, features: torch.Tensor) -> Any:
        output = forward(self, features)
        if self.training and len(features) > 2:
            raise torch.OutOfMemoryError("no memory")
        return output

    monkeypatch.setattr(Fcn, "forward", hungry_at_the_end)
    found = read_weights(train(toy_recipe(manifest, tmp_path / "hungry", stages=[stage])).model_file)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_memory_that_never_suffices_is_an_error_with_remedies(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def starving(self: Fcn, features: torch.Tensor) -> Any:
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(Fcn, "forward", starving)
    with pytest.raises(TrainingError, match=r"out of memory with 1 clips at a time.*lower batch_size"):
        train(toy_recipe(manifest, tmp_path / "run"))


def test_accumulated_gradients_equal_those_of_the_whole_batch(manifest: Path, tmp_path: Path) -> None:
    # Without batch norm's dependence on the batch there would be equality; the first loss has none of it.
    losses = []
    for accumulation in (1, 2):
        stage = {
            "epochs": 1,
            "batch_size": 4,
            "accumulation": accumulation,
            "optimizer": {"name": "sgd", "learning_rate": 1e-12},
            "freeze": "all",
        }
        model = {"name": "fcn", "widths": [4, 8, 8, 8, 8], "dropout": 0.0}
        run = train(
            toy_recipe(
                manifest, tmp_path / f"run{accumulation}", stages=[stage], model=model, augmentations=[]
            )
        )
        losses.append(json.loads((run.folder / "model.json").read_text())["kept"]["train_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_loss_that_is_not_finite_stops_with_clips_named_and_keeps_the_last_good_state(
    manifest: Path, tmp_path: Path
) -> None:
    stages = [{"epochs": 3, "batch_size": 4, "optimizer": {"name": "sgd", "learning_rate": 1e38}}]
    recipe = toy_recipe(manifest, tmp_path / "run", stages=stages, checkpoint_seconds=0.001)
    with pytest.raises(TrainingError, match=r"no longer finite in epoch 1, batch \d+, clips \[.*wav"):
        train(recipe)
    for name, tensor in open_run(recipe.run).recipe and _classifier_state(recipe.run).items():
        assert torch.isfinite(tensor.float()).all(), name


def _classifier_state(folder: Path) -> dict[str, torch.Tensor]:
    from kikiwake.checkpoint import read_state

    state: dict[str, torch.Tensor] = read_state(folder / "checkpoint.safetensors")["classifier"]
    return state


def test_weights_that_are_not_finite_are_neither_judged_nor_kept(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Step.__call__

    def breaking(self: Step, *arguments: Any, **named: Any) -> torch.Tensor:
        loss = step(self, *arguments, **named)
        if named["draw"][1:3] == (1, 2):  # the last batch of the second epoch
            next(self.classifier.parameters()).data.fill_(float("nan"))
        return loss

    recipe = toy_recipe(manifest, tmp_path / "run")
    with monkeypatch.context() as patched:
        patched.setattr(Step, "__call__", breaking)
        with pytest.raises(TrainingError, match=r"weights are no longer finite in epoch 2, after batch 3"):
            train(recipe)
    assert train(recipe).finished  # the checkpoint of epoch 1 was good


def test_a_start_that_failed_does_not_stand_in_the_way(manifest: Path, tmp_path: Path) -> None:
    recipe = toy_recipe(manifest, tmp_path / "run")
    with pytest.raises(WeightsError):
        train(recipe, "model.weights=/nowhere.safetensors")
    assert train(recipe).finished


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("stages.second.freeze=99", "99"),
        ("stages.second.augmentations.mixup.p=0.5", None),
        ("stages.second.early_stopping=2", "needs validation clips"),
        ("augmentations.waveform.transform=Gian", "Gain"),
    ],
)
def test_what_would_stop_a_later_stage_is_refused_before_the_first(
    manifest: Path, tmp_path: Path, setting: str, expected: str | None
) -> None:
    recipe = toy_recipe(manifest, tmp_path / "run", stages=two_stages(), split={"test": 0})
    if expected is None:
        assert train(recipe, setting).finished
        return
    with pytest.raises(RecipeError, match=expected):
        train(recipe, setting)
    assert not (recipe.run / "checkpoint.safetensors").exists()


def test_a_run_goes_on_after_its_recordings_have_moved(manifest: Path, tmp_path: Path) -> None:
    recipe = toy_recipe(manifest, tmp_path / "run")
    train(recipe)
    moved = shutil.copytree(manifest.parent, tmp_path / "moved")
    run = train(recipe, f"data.manifest={moved / 'manifest.csv'}")
    assert {clip.path.parent for clip in open_run(run.folder).manifest} == {moved}


def test_learning_rates_follow_warm_up_and_schedule(manifest: Path, tmp_path: Path) -> None:
    stage = {
        "epochs": 4,
        "batch_size": 12,  # one batch an epoch
        "optimizer": {"name": "sgd", "learning_rate": 0.08},
        "schedule": {"name": "step", "every_epochs": 3, "factor": 0.5},
        "warmup_epochs": 2,
    }
    run = train(toy_recipe(manifest, tmp_path / "run", stages=[stage]))
    with run.metrics_file.open() as file:
        rates = [float(row["learning_rate"]) for row in csv.DictReader(file)]
    assert rates == pytest.approx([0.04, 0.08, 0.08, 0.04])


def test_training_without_a_manifest_says_how_to_make_one(manifest: Path, tmp_path: Path) -> None:
    recipe = toy_recipe(manifest, tmp_path / "run")
    with pytest.raises(RecipeError, match="kikiwake prepare"):
        train(recipe, "data.manifest=null")


def test_a_fold_that_does_not_exist_is_refused_before_any_audio_is_read(
    manifest: Path, tmp_path: Path
) -> None:
    with pytest.raises(ManifestError, match="0, 1, 2, 3"):
        train(toy_recipe(manifest, tmp_path / "run", split={"test": 9}))


@pytest.mark.parametrize(
    "change",
    [
        {"loss": "binary_cross_entropy", "monitor": "macro_roc_auc"},
        {"label_smoothing": 0.1, "class_weights": "balanced", "sampling": "balanced"},
        {
            "optimizer": {"name": "sgd", "learning_rate": 0.01, "momentum": 0.9, "nesterov": True},
            "gradient_clip": 1.0,
        },
        {"optimizer": {"name": "rmsprop", "learning_rate": 0.001, "momentum": 0.5}, "warmup_epochs": 0.5},
        {"schedule": {"name": "plateau", "patience": 1}, "monitor": "loss"},
        {"schedule": {"name": "step", "every_epochs": 1}, "keep": "last"},
    ],
    ids=lambda change: "-".join(change),
)
def test_every_setting_of_a_stage_trains(manifest: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    stage = {"epochs": 2, "batch_size": 8, "optimizer": {"name": "adamw", "learning_rate": 0.01}, **change}
    run = train(toy_recipe(manifest, tmp_path / "run", stages=[stage]))
    assert run.finished


def test_weights_that_cannot_be_had_are_an_error_before_any_audio_is_read(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr(ClipReader, "read", lambda *_: pytest.fail("audio was read"))
    model = {"name": "cnn", "backbone": "resnet10t", "pretrained": True}
    with pytest.raises(WeightsError, match="as 'weights', or set pretrained: false"):
        train(toy_recipe(manifest, tmp_path / "run", model=model))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_trains_on_a_cpu_when_asked(manifest: Path, tmp_path: Path, precision: str) -> None:
    run = train(
        toy_recipe(manifest, tmp_path / "run", engine={"device": "cpu", "threads": 1, "precision": precision})
    )
    assert run.finished


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_training_runs_on_a_gpu(manifest: Path, tmp_path: Path) -> None:
    assert train(toy_recipe(manifest, tmp_path / "run", engine={"device": "cuda"})).finished


STEPPED = {
    "epochs": 6,
    "batch_size": 12,  # one batch an epoch
    "optimizer": {"name": "sgd", "learning_rate": 0.08, "momentum": 0.9},
    "schedule": {"name": "step", "every_epochs": 2, "factor": 0.5},
}
"""A stage whose learning rates, undisturbed, are 0.08, 0.08, 0.04, 0.04, 0.02 and 0.02."""


def interrupt_after(epoch: int, recipe: Recipe, *, stage: int = 0, forget: tuple[Any, ...] = ()) -> None:
    """Train until an epoch of a stage has ended, and no further."""
    checkpoint = StageRun._checkpoint

    def interrupted(self: StageRun) -> None:
        checkpoint(self)
        if (self.number, self.epoch) == (stage, epoch):
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StageRun, "_checkpoint", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, forget=forget)


def learning_rates(recipe: Recipe) -> list[float]:
    with (recipe.run / "metrics.csv").open(newline="") as file:
        return [float(row["learning_rate"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize("forget", [(), ("optimizer",), ("schedule",), ("optimizer", "schedule")])
def test_optimizer_and_schedule_can_each_be_left_behind(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forget: tuple[Any, ...]
) -> None:
    recipe = toy_recipe(manifest, tmp_path / "run", stages=[STEPPED])
    restore, remembered = StageRun._restore, []

    def looked_at(self: StageRun, state: Any, *, forget: Any) -> None:
        restore(self, state, forget=forget)
        remembered.append(len(self.optimizer.state))

    interrupt_after(3, recipe)
    monkeypatch.setattr(StageRun, "_restore", looked_at)
    run = train(recipe, forget=forget)
    again = [0.08, 0.08, 0.04] if "schedule" in forget else [0.04, 0.02, 0.02]
    assert learning_rates(recipe) == pytest.approx([0.08, 0.08, 0.04, *again])
    assert (remembered == [0]) == ("optimizer" in forget)
    told = "left behind: the state of the " + " and of the ".join(forget)
    assert (told in (run.folder / "log.txt").read_text()) == bool(forget)


def test_what_is_left_behind_once_is_not_left_behind_again_by_the_same_command(
    manifest: Path, tmp_path: Path
) -> None:
    recipe = toy_recipe(manifest, tmp_path / "run", stages=[STEPPED, {**STEPPED, "name": "second"}])
    log = recipe.run / "log.txt"
    interrupt_after(1, recipe)
    interrupt_after(4, recipe, forget=("schedule",))
    interrupt_after(3, recipe, stage=1, forget=("schedule",))
    assert learning_rates(recipe) == pytest.approx([0.08, *[0.08, 0.08, 0.04, 0.04, 0.02], 0.08, 0.08, 0.04])
    assert "left behind before, and not again: the state of the schedule" in log.read_text()
    interrupt_after(4, recipe, stage=1, forget=("schedule",))  # of another stage, but the same command
    assert learning_rates(recipe)[-1] == pytest.approx(0.04)
    interrupt_after(5, recipe, stage=1)
    assert learning_rates(recipe)[-1] == pytest.approx(0.02)
    train(recipe, forget=("schedule",))
    assert learning_rates(recipe)[-1] == pytest.approx(0.08)
    assert log.read_text().count("left behind: the state of the schedule") == 2


def test_options_with_nothing_to_leave_behind_say_so(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = [{**STEPPED, "epochs": 1, "name": name} for name in ("first", "second")]
    recipe = toy_recipe(manifest, tmp_path / "run", stages=stages)
    hand_on = StageRun._hand_on

    def interrupted(self: StageRun) -> None:
        hand_on(self)
        raise KeyboardInterrupt

    def last_line_about_it() -> str:
        return [line for line in (recipe.run / "log.txt").read_text().splitlines() if "leave behind" in line][
            -1
        ]

    monkeypatch.setattr(StageRun, "_hand_on", interrupted)
    endings = [
        "the training begins",
        "stage second begins",
        "all stages have ended",
        "the training has ended",
    ]
    for number, ending in enumerate(endings):
        if number < 2:
            with pytest.raises(KeyboardInterrupt):
                train(recipe, forget=("optimizer", "schedule"))
        else:
            train(recipe, forget=("optimizer", "schedule"))
        said = f"nothing to leave behind of the state of the optimizer and of the schedule: {ending}"
        assert last_line_about_it().endswith(said)


def test_a_model_that_is_fitted_leaves_nothing_behind_and_says_so(manifest: Path, tmp_path: Path) -> None:
    changes = {"frontend": STATISTICS, "augmentations": [], "model": {"name": "knn"}, "stages": [], "fit": {}}
    run = train(toy_recipe(manifest, tmp_path / "run", **changes), forget=("optimizer",))
    said = "nothing to leave behind of the state of the optimizer: 'knn' has none"
    assert said in (run.folder / "log.txt").read_text()
