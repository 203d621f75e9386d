"""Stages follow each other: one alone, each with its own data, loss and labels; where weights come from."""

from __future__ import annotations

import json
import logging
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import kikiwake.prediction._work
from kikiwake import _stage_pseudo, metrics, provenance, pseudo
from kikiwake._stage_clips import stage_clips
from kikiwake.checkpoint import read_weights
from kikiwake.clip import Clip
from kikiwake.data import ClipDataset, Request
from kikiwake.errors import ManifestError, RecipeError, RunError, TrainingError
from kikiwake.files import content_hash
from kikiwake.manifest import Manifest
from kikiwake.pseudo import _job
from kikiwake.pseudo._teachers import open_teachers
from kikiwake.recipe import Recipe
from kikiwake.run import open_run, plan_run
from kikiwake.stage import StageRun
from kikiwake.training import train
from toys import made_up_run, tone, toy_recipe, write_tones

OPTIMIZER = {"name": "adam", "learning_rate": 1e-3}


def stage(name: str, **settings) -> dict:
    return {"name": name, "epochs": 1, "batch_size": 4, "optimizer": OPTIMIZER, **settings}


@pytest.fixture
def manifest(tmp_path) -> Path:
    return write_tones(tmp_path / "tones", clips_per_class=8)


@pytest.fixture(autouse=True)
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Label in this process: starting others takes longer than labelling tones."""
    for module in (kikiwake.prediction._work, pseudo):
        monkeypatch.setattr(module, "usable_cores", lambda: 0)


def recipe(manifest: Path, run: Path, *stages: dict):
    return toy_recipe(manifest, run, stages=list(stages), augmentations=[])


def test_stages_trained_one_by_one_end_with_the_bytes_of_all_at_once(manifest, tmp_path):
    stages = [stage("first"), stage("second", loss="binary_cross_entropy")]
    whole = train(recipe(manifest, tmp_path / "whole", *stages))
    single = recipe(manifest, tmp_path / "single", *stages)

    train(single, stage="first")
    assert not plan_run(single, Manifest.read(manifest)).finished
    run = train(single, stage="second")

    assert run.finished
    for name, tensor in read_weights(whole.model_file).items():
        assert torch.equal(read_weights(run.model_file)[name], tensor), name


def test_a_stage_alone_says_which_stages_before_it_are_missing(manifest, tmp_path):
    own = recipe(manifest, tmp_path / "run", stage("a"), stage("b"), stage("c"))
    with pytest.raises(RunError, match=r"'c' begins with what 'b' hands on.*missing are a, b"):
        train(own, stage="c")
    train(own, stage="a")
    with pytest.raises(RunError, match=r"missing is b; train --stage b first, or all stages"):
        train(own, stage="c")
    with pytest.raises(RecipeError, match="unknown stage 'd'"):
        train(own, stage="d")


def test_a_stage_that_has_ended_is_not_trained_again(manifest, tmp_path, capsys):
    own = recipe(manifest, tmp_path / "run", stage("a"), stage("b"))
    run = train(own, stage="a")
    before = content_hash(run.stage_file("a"))

    train(own, stage="a")

    assert content_hash(run.stage_file("a")) == before
    assert "already trained" in capsys.readouterr().err


def test_every_stage_says_where_its_weights_come_from(manifest, tmp_path):
    run = train(recipe(manifest, tmp_path / "run", stage("a"), stage("b", label_smoothing=0.1)))

    first, second = provenance.read(run)
    assert first["parent"] is None
    assert second["parent"] == {"stage": "a", "weights": content_hash(run.stage_file("a"))}
    assert second["weights"] == content_hash(run.stage_file("b"))
    assert second["settings"]["label_smoothing"] == 0.1
    assert second["data"]["clips"] == len(run.indices("train"))
    assert second["kept"]["stage"] == "b"
    described = json.loads((run.folder / "model.json").read_text())
    assert described["stages"] == {"a": first["weights"], "b": second["weights"]}


def test_a_stages_own_manifest_leaves_out_what_is_held_out(manifest, tmp_path):
    own = recipe(manifest, tmp_path / "run", stage("a", manifest=str(manifest)))
    run = plan_run(own, Manifest.read(manifest))

    clips = stage_clips(run, own.stages[0])

    assert [clips.manifest[row].path for row in clips.own] == [
        run.manifest[row].path for row in run.indices("train")
    ]
    assert clips.left_out == len(run.manifest) - len(run.indices("train"))


def test_a_copy_in_the_group_of_a_test_clip_is_left_out(manifest, tmp_path):
    read = Manifest.read(manifest)
    run = plan_run(recipe(manifest, tmp_path / "run", stage("a")), read)
    held = run.manifest[run.indices("test")[0]]
    copy = tmp_path / "copy.wav"
    copy.write_bytes(held.path.read_bytes())
    Manifest([replace(held, path=copy, split=None)], read.classes).write(tmp_path / "more.csv")

    own = recipe(manifest, tmp_path / "run", stage("a", manifest=str(tmp_path / "more.csv")))
    with pytest.raises(ManifestError, match="held out"):
        stage_clips(run, own.stages[0])


def further_tones(folder: Path, **changes) -> Manifest:
    """Tones of recordings and groups that the run does not know."""
    read = Manifest.read(write_tones(folder, clips_per_class=2))
    return Manifest([replace(clip, group=f"more {clip.group}", **changes) for clip in read], read.classes)


def test_a_stages_own_manifest_follows_its_own_split(manifest, tmp_path):
    more = further_tones(tmp_path / "more")
    splits = ["train", None, "validation", "test", None, None]
    clips = [replace(clip, split=split) for clip, split in zip(more, splits, strict=True)]
    Manifest(clips, more.classes).write(tmp_path / "more.csv")
    own = recipe(manifest, tmp_path / "run", stage("a", manifest=str(tmp_path / "more.csv")))

    found = stage_clips(plan_run(own, Manifest.read(manifest)), own.stages[0])

    assert found.own == [0, 1, 4, 5]
    assert found.left_out == 2


def test_clips_that_are_there_to_be_named_do_not_train_as_clips_of_no_class(manifest, tmp_path):
    read = Manifest.read(manifest)
    unnamed = [
        Clip(path, None, None, None, 12_000, 8000) for path in sorted(wild(tmp_path / "wild").iterdir())
    ]
    # The run is told by its split; the stage's manifest has the second one without, and a third of no class.
    known = [replace(clip, split="test") for clip in unnamed[:2]]
    Manifest([*read, known[0], *unnamed[1:]], read.classes).write(tmp_path / "more.csv")
    own = recipe(manifest, tmp_path / "run", stage("a", manifest=str(tmp_path / "more.csv"), **BINARY))
    run = plan_run(own, Manifest([*read, *known], read.classes))

    found = stage_clips(run, own.stages[0])

    assert found.own == [*run.indices("train"), len(read) + 2]
    assert found.left_out == len(read) + 3 - len(found.own)


def test_what_should_be_known_of_a_stages_own_manifest_is_logged(manifest, tmp_path):
    read = Manifest.read(manifest)
    silent = Clip(next(wild(tmp_path / "wild").iterdir()), None, None, None, 12_000, 8000)
    Manifest([*read, silent], read.classes).write(tmp_path / "more.csv")
    run = train(recipe(manifest, tmp_path / "run", stage("a", manifest=str(tmp_path / "more.csv"), **BINARY)))

    log = (run.folder / "log.txt").read_text()
    assert "note: stage a: train: 1 clip without a class; they count as clips of no class" in log


def test_a_loss_that_is_not_finite_names_the_stages_own_clips(manifest, tmp_path):
    further_tones(tmp_path / "more").write(tmp_path / "more.csv")
    diverging = stage("a", manifest=str(tmp_path / "more.csv"), batch_size=2)
    diverging["optimizer"] = {"name": "sgd", "learning_rate": 1e38}
    with pytest.raises(TrainingError, match=r"no longer finite in epoch 1, batch 2, clips") as refused:
        train(recipe(manifest, tmp_path / "run", diverging))
    assert str(refused.value).count(f"{tmp_path}/more/") == 2


def test_secondary_labels_count_as_each_stage_says(manifest, tmp_path):
    read = Manifest.read(manifest)
    clips = [replace(clip, secondary=("high",)) if clip.label == "low" else clip for clip in read]
    marked = Manifest(clips, read.classes)
    run = plan_run(recipe(manifest, tmp_path / "run", stage("a"), stage("b", secondary_target=0.9)), marked)

    first, second = (stage_clips(run, one) for one in run.recipe.stages)

    low = [row for row, clip in enumerate(marked) if clip.label == "low"]
    high = marked.classes.index("high")
    assert first.manifest.targets()[low, high].tolist() == [0.0] * len(low)
    np.testing.assert_allclose(second.manifest.targets()[low, high], 0.9)


@pytest.mark.parametrize("own_target", [None, 0.0])
def test_the_validation_loss_has_the_targets_that_the_stage_teaches(manifest, tmp_path, own_target):
    read = Manifest.read(manifest)
    clips = [replace(clip, secondary=("high",)) if clip.label == "low" else clip for clip in read]
    Manifest(clips, read.classes).write(tmp_path / "marked.csv")
    taught = recipe(tmp_path / "marked.csv", tmp_path / "run", stage("a", secondary_target=own_target))
    taught = Recipe.load(taught, "data.secondary_target=0.9", "data.crop={name: whole, seconds: 0.7}")
    run = train(taught)

    dataset = ClipDataset(run.manifest, data=taught.data, seed=taught.seed)
    rows = run.indices("validation")
    with torch.inference_mode():
        batch = dataset[[Request(row, start=0, frames=5600) for row in rows]]
        logits = run.classifier()(batch.inputs, batch.lengths).clipwise.numpy().astype(np.float64)
    targets = np.zeros_like(logits)
    for number, row in enumerate(rows):
        clip = run.manifest[row]
        targets[number, [run.classes.index(name) for name in clip.secondary]] = own_target is None and 0.9
        targets[number, clip.class_id] = 1.0
    losses = targets * (np.log(np.exp(logits).sum(1, keepdims=True)) - logits)
    kept = provenance.read(run)[0]["kept"]
    assert kept["validation_loss"] == pytest.approx(losses.sum(1).mean(), rel=1e-5)
    # The truth of the other scores is the recipe's in either case: two classes of some clips.
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    scores = metrics.scores(dataset.targets[rows].astype(np.float64), probabilities, multilabel=True)
    assert kept["validation_macro_roc_auc"] == pytest.approx(scores["macro_roc_auc"])
    assert kept["validation_accuracy"] == pytest.approx(scores["accuracy"])


def test_balanced_sampling_counts_secondary_labels_as_told(manifest, tmp_path):
    read = Manifest.read(manifest)
    clips = [replace(clip, secondary=("high",)) if clip.label == "low" else clip for clip in read]
    own = recipe(manifest, tmp_path / "run", stage("a", sampling="balanced", sampling_secondary=0.5))
    run = plan_run(own, Manifest(clips, read.classes))

    found = stage_clips(run, own.stages[0])

    labels = [found.manifest[row].label for row in found.own]
    each = labels.count("low")
    # high counts its own clips whole and those of low half; low is rarest to itself.
    expected = {"high": 1 / (1.5 * each), "low": 1 / each, "middle": 1 / each}
    np.testing.assert_allclose(found.chances, [expected[label] for label in labels], rtol=1e-6)


def pseudo_table(manifest: Path, folder: Path) -> Path:
    """Two windows of recordings of their own, labelled as high with a probability of 0.8."""
    read = Manifest.read(manifest)
    source = next(clip for clip in read if clip.label == "high")
    clips = []
    for number in range(2):
        path = folder / f"wild{number}.wav"
        path.write_bytes(source.path.read_bytes())
        clips.append(
            replace(source, path=path, start=0.1, end=0.4, fold=None, split="train", group=path.name)
        )
    soft = np.tile([0.8, 0.0, 0.1], (2, 1))
    Manifest(clips, read.classes, soft).write(folder / "pseudo.csv")
    return folder / "pseudo.csv"


def test_pseudo_labels_are_drawn_beside_the_clips_with_their_weight(manifest, tmp_path):
    table = pseudo_table(manifest, tmp_path)
    own = recipe(manifest, tmp_path / "run", stage("a", pseudo={"table": str(table), "ratio": 0.5}))
    run = plan_run(own, Manifest.read(manifest))

    clips = stage_clips(run, own.stages[0], pseudo=table)
    requests = clips.requests(own.stages[0], seed=3, epoch=0)

    own_count = len(run.indices("train"))
    drawn = [request.clip for request in requests]
    assert sorted(row for row in drawn if row in clips.own) == sorted(clips.own)
    assert len([row for row in drawn if row in clips.beside]) == round(0.5 * own_count)
    counts = [drawn.count(row) for row in clips.beside]
    assert max(counts) - min(counts) <= 1
    np.testing.assert_allclose(clips.manifest.targets()[clips.beside], [[0.8, 0.0, 0.1]] * 2, rtol=1e-6)
    np.testing.assert_allclose(clips.manifest.weights()[clips.beside], 0.7)
    assert requests == clips.requests(own.stages[0], seed=3, epoch=0)
    assert requests != clips.requests(own.stages[0], seed=3, epoch=1)


def test_a_stage_trains_on_pseudo_labels_and_says_so(manifest, tmp_path):
    table = pseudo_table(manifest, tmp_path)
    stages = [
        stage("a", loss="binary_cross_entropy"),
        stage("again", loss="binary_cross_entropy", pseudo={"table": str(table)}),
    ]
    run = train(recipe(manifest, tmp_path / "run", *stages))

    assert [one["data"]["pseudo_labelled_clips"] for one in provenance.read(run)] == [0, 2]


def test_a_network_without_frames_refuses_a_loss_of_frames(manifest, tmp_path):
    with pytest.raises(RecipeError, match="judges clips and not frames"):
        train(recipe(manifest, tmp_path / "run", stage("a", framewise_loss=0.5)))


@pytest.mark.parametrize(
    ("pseudo", "said"),
    [
        ({"keep": 0.8, "train": 0.7}, "'train' must be at least 'keep'"),
        ({"table": "a.csv", "recordings": ["b"]}, "has its labels already"),
    ],
)
def test_pseudo_settings_that_contradict_each_other_are_refused(manifest, tmp_path, pseudo, said):
    with pytest.raises(RecipeError, match=said):
        recipe(manifest, tmp_path / "run", stage("a", pseudo=pseudo))


def wild(folder: Path, *, count: int = 3) -> Path:
    """Recordings that nobody has labelled, of the classes of the tones."""
    folder.mkdir()
    for number, pitch in enumerate((1600.0, 600.0, 200.0)[:count]):
        soundfile.write(folder / f"wild{number}.wav", tone(pitch, seconds=1.5, seed=70 + number), 8000)
    return folder


PSEUDO = {"window_seconds": 0.5, "hop_seconds": 0.25, "keep": 0.2, "train": 0.2, "max_share": None}
BINARY = {"loss": "binary_cross_entropy"}


def staged(manifest: Path, run: Path, *recordings: Path, **changes):
    again = {**PSEUDO, "recordings": [str(path) for path in recordings] or None, **changes}
    return recipe(manifest, run, stage("first", **BINARY), stage("again", pseudo=again, **BINARY))


def test_a_stage_labels_recordings_by_the_model_before_it_and_trains_on_them(manifest, tmp_path):
    run = train(staged(manifest, tmp_path / "run", wild(tmp_path / "wild")))

    folder = run.folder / "pseudo" / "again"
    teacher = open_run(folder / "teacher")
    for name, tensor in read_weights(run.stage_file("first")).items():
        assert torch.equal(read_weights(teacher.model_file)[name], tensor)
    trained = Manifest.read(folder / "pseudo.csv", classes=run.manifest.classes)
    assert {clip.path.name for clip in trained} <= {"wild0.wav", "wild1.wav", "wild2.wav"}
    assert len(trained) > 0
    assert provenance.read(run)[1]["data"]["pseudo_labelled_clips"] == len(trained)
    report = json.loads((folder / "pseudo.report.json").read_text())
    first, again = (one["kept"]["validation_macro_roc_auc"] for one in provenance.read(run))
    (before,), after = report["before"], report["after"]
    assert before["scores"]["macro_roc_auc"] == pytest.approx(first)
    assert (before["part"], before["clips"]) == (after["part"], after["clips"]) == ("validation", 6)
    assert report["after"]["scores"]["macro_roc_auc"] == pytest.approx(again)
    assert (folder / "pseudo.report.png").is_file()


def test_stages_with_pseudo_labels_go_on_to_the_same_bytes(manifest, tmp_path):
    recordings = wild(tmp_path / "wild")
    whole = train(staged(manifest, tmp_path / "whole", recordings))
    single = staged(manifest, tmp_path / "single", recordings)
    train(single, stage="first")
    run = train(single, stage="again")
    for name, tensor in read_weights(whole.model_file).items():
        assert torch.equal(read_weights(run.model_file)[name], tensor), name


def test_without_recordings_to_label_the_stage_is_left_out_and_says_so(manifest, tmp_path):
    stages = [stage("first", **BINARY), stage("again", pseudo=PSEUDO, **BINARY)]
    run = train(recipe(manifest, tmp_path / "run", *stages))

    first, again = provenance.read(run)
    assert again["left_out"] == "there is nothing to label"
    assert again["weights"] == first["weights"]
    assert "stage again: left out: there is nothing to label" in (run.folder / "log.txt").read_text()


def test_the_manifests_own_unlabelled_recordings_are_labelled(manifest, tmp_path):
    read = Manifest.read(manifest)
    unnamed = [
        Clip(path, None, None, None, 12_000, 8000, split="test")
        for path in sorted(wild(tmp_path / "wild").iterdir())
    ]
    Manifest([*read, *unnamed], read.classes).write(tmp_path / "both.csv")
    stages = [stage("first", **BINARY), stage("again", pseudo=PSEUDO, **BINARY)]
    run = train(recipe(tmp_path / "both.csv", tmp_path / "run", *stages))

    assert provenance.read(run)[1]["data"]["pseudo_labelled_clips"] > 0


def test_recordings_that_the_teacher_was_trained_on_are_not_labelled(manifest, tmp_path):
    own = staged(manifest, tmp_path / "run", wild(tmp_path / "wild", count=1))
    known = Manifest.read(manifest)
    training = plan_run(own, known).indices("train")
    (tmp_path / "wild" / "copy.wav").write_bytes(known[training[0]].path.read_bytes())
    (tmp_path / "wild" / "broken.wav").write_text("no sound")
    run = train(own)

    rows = Manifest.read(run.folder / "pseudo" / "again" / "pseudo.csv", classes=run.manifest.classes)
    assert {clip.path.name for clip in rows} == {"wild0.wav"}
    assert "stage again: 1 recordings are left out: every teacher" in (run.folder / "log.txt").read_text()
    assert "stage again: 1 recordings could not be read" in (run.folder / "log.txt").read_text()


@pytest.mark.parametrize(
    ("recordings", "changes"),
    [(["nowhere"], {}), ([], {"table": "nowhere.csv"}), (["tones"], {"teachers": ["no"]})],
)
def test_pseudo_labels_that_cannot_be_made_are_refused_first(manifest, tmp_path, recordings, changes):
    named = [tmp_path / name for name in recordings]
    with pytest.raises(RecipeError, match="no such file or folder"):
        train(staged(manifest, tmp_path / "run", *named, **changes))


def test_the_first_stage_has_no_model_to_label_with(manifest, tmp_path):
    own = stage("again", pseudo={**PSEUDO, "recordings": [str(tmp_path)]})
    with pytest.raises(RecipeError, match="before the first stage"):
        train(recipe(manifest, tmp_path / "run", own))


def labelled_recordings(run) -> set[str]:
    rows = Manifest.read(run.folder / "pseudo" / "third" / "pseudo.csv", classes=run.manifest.classes)
    return {clip.path.name for clip in rows}


def test_the_teacher_of_a_second_pseudo_stage_never_labels_what_the_first_trained_on(manifest, tmp_path):
    known, new = wild(tmp_path / "known", count=1), wild(tmp_path / "new", count=2)
    (new / "wild0.wav").rename(new / "other.wav")
    soundfile.write(new / "other.wav", tone(600.0, seconds=1.5, seed=99), 8000)
    third = {**PSEUDO, "recordings": [str(known), str(new)]}
    whole = staged(manifest, tmp_path / "run", known)
    run = train(recipe(manifest, tmp_path / "run", *stages_of(whole), stage("third", pseudo=third, **BINARY)))

    assert "wild1.wav" in labelled_recordings(run) or "other.wav" in labelled_recordings(run)
    assert "wild0.wav" not in labelled_recordings(run)
    report = json.loads((run.folder / "pseudo" / "third" / "pseudo.report.json").read_text())
    assert list(report["recordings"]["left_out"]) == [(known / "wild0.wav").as_posix()]
    teacher = open_run(run.folder / "pseudo" / "third" / "teacher")
    shutil.move(run.folder / "pseudo" / "again", tmp_path / "away")
    assert known / "wild0.wav" in {clip.path for clip in open_teachers([teacher], None)[0].trained_on}
    with pytest.raises(RunError, match=r"nobody can tell what its stage 'again' was trained on.*is gone"):
        _ = open_teachers([run], None)[0].trained_on


def stages_of(own) -> list[dict]:
    return own.plain()["stages"]


def test_a_run_keeps_copies_of_its_tables_and_refuses_others_on_the_way(manifest, tmp_path, monkeypatch):
    read = Manifest.read(manifest)
    extra = tone(200.0, seconds=0.6, seed=77)
    soundfile.write(tmp_path / "extra.wav", extra, 8000)
    low = next(clip for clip in read if clip.label == "low")
    clip = replace(low, path=tmp_path / "extra.wav", group="extra", frames=len(extra), fold=None)
    Manifest([clip, *read], read.classes).write(tmp_path / "own.csv")
    table = pseudo_table(manifest, tmp_path)
    stages = [
        stage("a", manifest=str(tmp_path / "own.csv"), **BINARY),
        stage("b", pseudo={"table": str(table)}, **BINARY),
    ]
    own = recipe(manifest, tmp_path / "run", *stages)
    run = train(own, stage="a")
    text = table.read_text()
    table.write_text(text.replace("0.8", "0.7"))
    with pytest.raises(RunError, match=r"stages.b.pseudo.table: .*another content .*remove the copy"):
        train(own)
    table.write_text(text)
    (tmp_path / "own.csv").unlink()
    run = train(own)  # the copies stand for what is gone
    heard = {clip.path for clip in open_teachers([run], None)[0].trained_on}
    assert {tmp_path / "extra.wav", tmp_path / "wild0.wav", tmp_path / "wild1.wav"} <= heard

    table.unlink()
    assert {clip.path for clip in open_teachers([run], None)[0].trained_on} == heard
    copy = run.folder / "pseudo" / "b" / "pseudo.csv"
    Manifest([], []).write(copy)
    with pytest.raises(RunError, match="no longer what it was when the stage was trained"):
        _ = open_teachers([run], None)[0].trained_on


def interrupted(monkeypatch: pytest.MonkeyPatch, place: object, name: str, own, *, at: str) -> None:
    """Train until a method is called in stage `at`, and interrupt it before it does anything."""
    method = getattr(place, name)

    def dies(self, *arguments, **named):
        where = getattr(self, "stage", None)
        if where is None or (where.name == at and self.epoch == 1):
            raise KeyboardInterrupt
        return method(self, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(place, name, dies)
        with pytest.raises(KeyboardInterrupt):
            train(own)


def test_a_stage_of_pseudo_labels_killed_anywhere_ends_with_the_same_bytes(manifest, tmp_path, monkeypatch):
    recordings = wild(tmp_path / "wild", count=2)

    def of(name: str):
        own = [stage("first", **BINARY), {**stage("again", pseudo=PSEUDO, **BINARY), "epochs": 2}]
        own[1]["pseudo"] = {**PSEUDO, "recordings": [str(recordings)]}
        return recipe(manifest, tmp_path / name, *own)

    whole = train(of("whole"))
    soundfile.write(recordings / "late.wav", tone(600.0, seconds=1.5, seed=3), 8000)
    interrupted(monkeypatch, _job.Job, "write", of("run"), at="again")
    folder = tmp_path / "run" / "pseudo" / "again"
    assert not (folder / "labels.json").exists()
    (recordings / "late.wav").rename(tmp_path / "late.wav")
    interrupted(monkeypatch, StageRun, "_train_epoch", of("run"), at="again")
    (tmp_path / "late.wav").rename(recordings / "late.wav")
    shutil.copytree(tmp_path / "run", tmp_path / "other")

    run = train(of("run"))

    assert "the labels of before are used again" in (run.folder / "log.txt").read_text()
    for name in ("model.safetensors", "metrics.csv", "pseudo/again/pseudo.kept.csv"):
        assert (run.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name

    other = tmp_path / "other" / "pseudo" / "again"
    (other / "labels.json").unlink()
    table = (other / "pseudo.csv").read_text()
    (other / "pseudo.csv").write_text(table.replace(",0.5,", ",0.25,", 1))
    with pytest.raises(RunError, match="come to a checkpoint with another content of this table"):
        train(of("other"))
    (other / "pseudo.csv").write_text(table)  # nothing has labelled anew in between
    assert train(of("other")).model_file.read_bytes() == whole.model_file.read_bytes()


def test_what_cannot_be_labelled_is_refused_first_and_can_be_corrected(manifest, tmp_path):
    (tmp_path / "empty").mkdir()
    made_up_run(manifest, tmp_path / "softmax")
    made_up_run(manifest, tmp_path / "open", stages=[stage("a", **BINARY)])
    (tmp_path / "open" / "model.json").unlink()
    read = Manifest.read(manifest)
    fewer = read.select([row for row, clip in enumerate(read) if clip.label != "low"])
    Manifest(fewer.clips, ["high", "low", "middle"]).write(tmp_path / "fewer.csv")
    made_up_run(tmp_path / "fewer.csv", tmp_path / "two", stages=[stage("a", **BINARY)])
    good = wild(tmp_path / "wild", count=1)
    for recordings, teachers, said in (
        (tmp_path / "empty", [], "holds no recordings"),
        (tmp_path / "none*.wav", [], "nothing matches this pattern"),
        (good, ["open"], "no trained model yet"),
        (good, ["softmax"], "does not tell the same classes apart"),
        (good, ["two"], "does not tell the same classes apart"),
    ):
        named = [str(tmp_path / name) for name in teachers]
        with pytest.raises(RecipeError, match=rf"stages\.again\.pseudo: .*{said}.*; "):
            train(staged(manifest, tmp_path / "run", recordings, teachers=named))
    train(staged(manifest, tmp_path / "run", good), stage="first")

    changed = train(staged(manifest, tmp_path / "run", good, keep=0.1, train=0.1))
    report = json.loads((changed.folder / "pseudo" / "again" / "pseudo.report.json").read_text())
    assert report["settings"]["keep"] == 0.1
    with pytest.raises(RunError, match=r"another training; different are stages.1.pseudo.keep"):
        train(staged(manifest, tmp_path / "run", good))


def test_what_a_stage_in_between_leaves_may_not_change_but_what_comes_may(manifest, tmp_path):
    train(recipe(manifest, tmp_path / "run", stage("a"), stage("b")), stage="a")
    other = {**stage("a"), "batch_size": 3}
    with pytest.raises(RunError, match=r"different are stages.0.batch_size: was 4, now 3"):
        train(recipe(manifest, tmp_path / "run", other, stage("b")))
    with pytest.raises(RunError, match=r"different are stages.1.loss"):
        train(recipe(manifest, tmp_path / "run", stage("a"), stage("b", **BINARY)))
    run = train(recipe(manifest, tmp_path / "run", stage("a"), {**stage("b"), "batch_size": 3}))
    assert provenance.read(run)[1]["settings"]["batch_size"] == 3


def test_a_stage_to_come_may_make_its_labels_in_place_of_a_given_table(manifest, tmp_path):
    given = pseudo_table(manifest, tmp_path)
    first = stage("first", **BINARY)
    train(
        recipe(manifest, tmp_path / "run", first, stage("again", pseudo={"table": str(given)}, **BINARY)),
        stage="first",
    )
    (tmp_path / "more").mkdir()
    run = train(staged(manifest, tmp_path / "run", wild(tmp_path / "more" / "wild")))
    trained = Manifest.read(run.folder / "pseudo" / "again" / "pseudo.csv", classes=run.manifest.classes)
    assert {clip.path.parent.parent.name for clip in trained} == {"more"}


def test_a_stage_whose_recordings_are_all_known_is_left_out(manifest, tmp_path):
    read = Manifest.read(manifest)
    known = [clip.path for clip in read if clip.fold == 2][:1]
    run = train(staged(manifest, tmp_path / "run", *known))
    assert provenance.read(run)[1]["left_out"] == "there is nothing to label"
    assert "every teacher was trained on all of them" in (run.folder / "log.txt").read_text()


def test_the_report_beside_a_given_table_is_completed(manifest, tmp_path):
    made = train(staged(manifest, tmp_path / "plain", wild(tmp_path / "wild", count=1)))
    away = tmp_path / "by_hand"
    shutil.copytree(made.folder / "pseudo" / "again", away)
    before = json.loads((away / "pseudo.report.json").read_text())["after"]
    again = {**stage("again", pseudo={"table": str(away / "pseudo.csv")}, **BINARY), "batch_size": 3}
    run = train(recipe(manifest, tmp_path / "run", stage("first", **BINARY), again))
    after = json.loads((away / "pseudo.report.json").read_text())["after"]
    kept = provenance.read(run)[1]["kept"]
    assert after["scores"]["macro_roc_auc"] == pytest.approx(kept["validation_macro_roc_auc"])
    assert after["scores"] != before["scores"]

    (away / "pseudo.report.json").write_text("{}")  # of others: no training ends for it
    log = train(recipe(manifest, tmp_path / "two", stage("first", **BINARY), again)).folder / "log.txt"
    assert "stage again: the scores are not added to the report" in log.read_text()


class Rank:
    """A process of several, played by a thread."""

    def __init__(self, barrier: threading.Barrier, *, first: bool) -> None:
        self.barrier, self.first = barrier, first

    def wait(self):
        self.barrier.wait(timeout=30)


def test_other_processes_read_no_labels_that_the_first_makes_anew(manifest, tmp_path, monkeypatch):
    run = train(staged(manifest, tmp_path / "run", wild(tmp_path / "wild", count=1)), stage="first")
    folder = run.folder / "pseudo" / "again"
    folder.mkdir(parents=True)
    (folder / "pseudo.csv").write_text("old")
    stale = {"teacher": "of another training", "further_teachers": [], "table": "of then", "settings": {}}
    (folder / "labels.json").write_text(json.dumps(stale))

    def labels(*arguments, **named) -> bool:
        time.sleep(0.3)
        (folder / "pseudo.csv").write_text("new")
        return True

    monkeypatch.setattr(_stage_pseudo, "_label", labels)
    barrier, found = threading.Barrier(2), {}

    def play(first: bool) -> None:
        log = logging.getLogger("kikiwake.silent")
        rank = Rank(barrier, first=first)
        table = _stage_pseudo.pseudo_table(run, 1, engine=rank, log=log, judged=6)
        found[first] = table.read_text()

    threads = [threading.Thread(target=play, args=(first,)) for first in (False, True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == {False: "new", True: "new"}
