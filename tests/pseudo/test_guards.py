"""No teacher labels what it was trained on, under whatever name it comes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kikiwake._stage_clips import stage_clips
from kikiwake._stage_tables import stage_table
from kikiwake.ensembles import ensemble
from kikiwake.errors import KikiwakeError, RunError
from kikiwake.manifest import Manifest
from kikiwake.pseudo import Settings, _weighed, told_apart
from kikiwake.pseudo._guards import Assignment, assign
from kikiwake.pseudo._real import real_clips, real_counts
from kikiwake.pseudo._recordings import named_recordings
from kikiwake.pseudo._teachers import Teacher, open_teachers
from kikiwake.run import Run, plan_run
from toys import toy_recipe, write_tones


@pytest.fixture(autouse=True)
def own_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def tones(tmp_path: Path) -> Path:
    """Tones of three classes in four folds: high_0 and high_1 are in fold 0, high_2 and high_3 in fold 1."""
    return write_tones(tmp_path / "tones")


def teacher(manifest: Path, folder: Path, *, test: int | None = 0, **changes: Any) -> Teacher:
    """A teacher that tests one fold, validates by the next, and was trained on the others."""
    parts = {"test": test, "validation": None if test is None else (test + 1) % 4}
    recipe = toy_recipe(manifest, folder, split=parts, **changes)
    return Teacher(plan_run(recipe, Manifest.read(manifest)), folder.name, 1.0)


def assigned(
    recordings: Sequence[Path], teachers: Sequence[Teacher], *, groups: dict[Path, str] | None = None
) -> Assignment:
    named = {path: (groups or {}).get(path) for path in recordings}
    return assign(named, teachers, real=real_clips(teachers, secondary=0))


def test_a_recording_that_trained_or_validated_is_refused(tones: Path, tmp_path: Path) -> None:
    one = teacher(tones, tmp_path / "run")
    held_out, validated, trained = (tones.parent / f"high_{k}.wav" for k in (0, 2, 4))
    found = assigned([held_out, validated, trained], [one])
    assert dict(found.teachers) == {held_out: [0]}
    assert list(found.refused) == [validated, trained]
    with pytest.raises(RunError, match=r"2 of 3 recordings .*\n.*high_2.wav.*\n.*high_4.wav.*\n.*skip-known"):
        found.refuse()


def test_links_and_copies_under_other_names_are_noticed(tones: Path, tmp_path: Path) -> None:
    original, copy, link = tones.parent / "high_4.wav", tmp_path / "field" / "new.wav", tmp_path / "link.wav"
    copy.parent.mkdir()
    shutil.copy(original, copy)
    link.symlink_to(original)
    (tmp_path / "other.wav").write_bytes(original.read_bytes()[:-2] + b"\x01\x02")  # as large, not the same
    found = assigned([copy, link, tmp_path / "other.wav"], [teacher(tones, tmp_path / "run")])
    assert list(found.teachers) == [tmp_path / "other.wav"]
    assert found.refused == {copy: f"the same bytes as {original}"}
    assert found.copies == {link: copy}


def test_a_recording_of_a_group_that_was_trained_on_is_refused(tones: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.wav"
    new.write_bytes(b"something new")
    one = teacher(tones, tmp_path / "run")
    assert assigned([new], [one], groups={new: "high-2"}).refused == {
        new: "of the group 'high-2', as clips there"
    }
    assert dict(assigned([new], [one], groups={new: "another"}).teachers) == {new: [0]}


def test_a_group_that_one_teacher_tells_guards_against_the_others(tones: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.wav"
    new.write_bytes(b"something new")
    manifest = Manifest.read(tones)
    clip = replace(manifest[0], path=new, group="high-3", fold=3)
    Manifest([*manifest, clip], manifest.classes).write(tmp_path / "more.csv")
    knows = teacher(tmp_path / "more.csv", tmp_path / "a", test=3)  # has the new recording in its test fold
    trained = teacher(tones, tmp_path / "b", test=0)
    assert dict(assigned([new], [knows, trained]).teachers) == {new: [0]}


def test_every_fold_labels_what_it_held_out_and_all_label_what_is_new(tones: Path, tmp_path: Path) -> None:
    folds = [teacher(tones, tmp_path / f"fold{k}", test=k) for k in range(4)]
    new = tmp_path / "new.wav"
    new.write_bytes(b"something new")
    paths = [tones.parent / f"low_{k}.wav" for k in (0, 2, 7)]
    found = assigned([*paths, new], folds)
    assert [list(found.teachers[path]) for path in paths] == [[0], [1], [3]]
    assert list(found.teachers[new]) == [0, 1, 2, 3]
    assert found.groups == {paths[0]: "low-0", paths[1]: "low-1", paths[2]: "low-3"}
    assert not found.held_out  # no clip is held out of all


def test_what_a_single_split_holds_out_is_labelled_and_marked(tones: Path, tmp_path: Path) -> None:
    tested = tones.parent / "low_0.wav"
    assert assigned([tested], [teacher(tones, tmp_path / "run")]).held_out == {tested}


def test_clips_that_are_there_to_be_named_are_not_held_out(tones: Path, tmp_path: Path) -> None:
    manifest = Manifest.read(tones)
    soundscape = tmp_path / "soundscape.wav"
    soundscape.write_bytes(b"something new")
    unnamed = replace(manifest[0], path=soundscape, label=None, class_id=None, fold=None, group=None)
    Manifest([*manifest, replace(unnamed, split="test")], manifest.classes).write(tmp_path / "more.csv")
    found = assigned([soundscape], [teacher(tmp_path / "more.csv", tmp_path / "run")])
    assert dict(found.teachers) == {soundscape: [0]}
    assert not found.held_out


def test_a_training_recording_that_is_gone_is_known_by_name_and_length(tones: Path, tmp_path: Path) -> None:
    one = teacher(tones, tmp_path / "run")
    moved = tmp_path / "elsewhere" / "high_4.wav"
    shorter = tmp_path / "shorter" / "high_4.wav"
    for path in (moved, shorter):
        path.parent.mkdir()
    shutil.copy(tones.parent / "high_2.wav", shorter)
    (tones.parent / "high_4.wav").rename(moved)
    found = assigned([moved, shorter], [one])
    assert list(found.refused) == [moved, shorter]
    assert "no longer there" in found.refused[moved]
    assert found.refused[shorter].startswith("the same bytes as")
    assert found.lost == 1


def test_stages_with_other_data_count(tones: Path, tmp_path: Path) -> None:
    stage = {"epochs": 1, "batch_size": 4, "optimizer": {"name": "sgd", "learning_rate": 0.1}}
    manifest = Manifest.read(tones)
    fewer = [index for index, clip in enumerate(manifest) if clip.path.name != "high_4.wav"]
    manifest.select(fewer).write(tmp_path / "fewer.csv")
    whole = {**stage, "manifest": str(tones)}
    table = {**stage, "name": "retrain", "pseudo": {"table": str(tmp_path / "labels.csv")}}
    own = {**stage, "name": "retrain", "pseudo": {}}
    asked = tones.parent / "high_4.wav"
    labels = manifest.select([4])
    for name, stages, written in (
        ("none", [stage], None),
        ("manifest", [whole], None),
        ("table", [stage, table], tmp_path / "labels.csv"),
        ("own", [stage, own], "own"),
    ):
        one = teacher(tmp_path / "fewer.csv", tmp_path / name, stages=stages)
        if written is not None:
            to = stage_table(one.run, one.run.recipe.stages[1])
            to.parent.mkdir(parents=True, exist_ok=True)
            labels.write(to)
        assert (asked in assigned([asked], [one]).refused) == (name != "none"), name
    gone = teacher(tmp_path / "fewer.csv", tmp_path / "gone", stages=[stage, table])
    (tmp_path / "labels.csv").unlink()
    with pytest.raises(RunError, match="nobody can tell what its stage 'retrain' was trained on"):
        assigned([asked], [gone])


def test_real_clips_keep_splits_on_which_teachers_agree(tones: Path, tmp_path: Path) -> None:
    folds = [teacher(tones, tmp_path / f"fold{k}", test=k) for k in (0, 1)]
    clips = real_clips(folds, secondary=0)
    assert clips.clips == [replace(clip, split=None) if clip.fold in (0, 1, 2) else clip for clip in clips]
    assert [clip.fold for clip in clips] == [clip.fold for clip in Manifest.read(tones)]
    alone = real_clips(folds[:1], secondary=0)
    assert {(clip.fold, clip.split) for clip in alone} == {
        (0, "test"), (1, "validation"), (2, "train"), (3, "train")
    }  # fmt: skip
    assert real_counts(folds[:1]).tolist() == [4, 4, 4]
    assert real_counts(folds).tolist() == [6, 6, 6]  # folds 2, 3 and 0


def test_secondary_classes_of_real_clips_get_the_stated_label(tones: Path, tmp_path: Path) -> None:
    manifest = Manifest.read(tones)
    clips = [replace(manifest[0], secondary=("low",)), *manifest.clips[1:]]
    Manifest(clips, manifest.classes).write(tones)
    real = real_clips([teacher(tones, tmp_path / "run")], secondary=0.5)
    assert real.soft is not None
    assert real.soft[0].tolist() == [1, 0.5, 0]


def test_recordings_are_found_in_folders_patterns_and_manifests_each_once(
    tones: Path, tmp_path: Path
) -> None:
    folder = tones.parent
    found = named_recordings([folder, folder / "low_0.wav", str(folder / "low_*.wav")])
    assert len(found) == 24
    assert set(found.values()) == {None}
    assert named_recordings(tones)[folder / "low_2.wav"] == "low-1"
    with pytest.raises(KikiwakeError, match="there is no such recording"):
        named_recordings([folder, tmp_path / "rnu"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(KikiwakeError, match="holds no recordings"):
        named_recordings(tmp_path / "empty")


def finished(folder: Path, manifest: Path, *, weights: bytes, **changes: Any) -> Run:
    """A run that counts as finished, of any weights."""
    one = teacher(manifest, folder, **changes).run
    folder.mkdir(parents=True)
    one.manifest.write(folder / "manifest.csv")
    (folder / "recipe.yaml").write_text(one.recipe.to_yaml())
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "model.json").write_text("{}")
    return one


def test_runs_and_crossvalidations_are_told_from_recordings(tones: Path, tmp_path: Path) -> None:
    finished(tmp_path / "run", tones, weights=b"1")
    for k in (0, 1):
        finished(tmp_path / "cv" / f"fold{k}", tones, weights=b"2%d" % k)
    runs, recordings = told_apart([tmp_path / "run", tmp_path / "cv", tones.parent, tmp_path / "x.wav"])
    assert (runs, recordings) == ([tmp_path / "run", tmp_path / "cv"], [tones.parent, tmp_path / "x.wav"])
    teachers = open_teachers(runs, [1, 3])
    assert [one.run.folder.name for one in teachers] == ["run", "fold0", "fold1"]
    assert [one.weight for one in teachers] == [1, 3, 3]


def test_an_ensemble_stands_for_its_members_with_their_weights(tones: Path, tmp_path: Path) -> None:
    for name in "abc":
        finished(tmp_path / name, tones, weights=name.encode(), test=0 if name == "a" else 1)
    inner = ensemble([tmp_path / "b", tmp_path / "c"], out=tmp_path / "inner", weights=[1, 3])
    outer = ensemble([tmp_path / "a", inner], out=tmp_path / "outer", weights=[1, 2])
    for named in (outer, tmp_path / "outer"):
        teachers = open_teachers([named], [0.5])
        # Prediction joins b and c by 1/4 and 3/4, and this with a by 2/3 and 1/3.
        weights = {one.run.folder.name: one.weight for one in teachers}
        assert weights == pytest.approx({"a": 0.5 / 3, "b": 0.5 * 2 / 3 / 4, "c": 0.5 * 2 / 3 * 3 / 4})
    assert told_apart([tmp_path / "outer"])[0] == [tmp_path / "outer"]
    asked = tones.parent / "low_2.wav"  # in the test of b and c
    assert dict(assigned([asked], teachers).teachers) == {asked: [1, 2]}


def test_teachers_that_cannot_teach_together_are_refused(tones: Path, tmp_path: Path) -> None:
    first = finished(tmp_path / "run", tones, weights=b"1")
    again = finished(tmp_path / "again", tones, weights=b"1")
    loss = [{"epochs": 1, "batch_size": 4, "loss": "binary_cross_entropy"}]
    loss[0]["optimizer"] = {"name": "sgd", "learning_rate": 0.1}  # type: ignore[assignment]
    other = finished(tmp_path / "other", tones, weights=b"2", stages=loss)
    open_ended = finished(tmp_path / "open", tones, weights=b"3")
    (tmp_path / "open" / "model.json").unlink()
    for runs, weights, said in (
        ([], None, "no teacher is named"),
        ([tones.parent], None, "not a run directory"),
        ([first, again], None, "the same model as"),
        ([first, other], None, "does not tell the same classes apart"),
        ([first, open_ended], None, "no trained model yet"),
        ([first], [1, 2], "one weight above 0 a run is needed"),
        ([first], [0], "one weight above 0 a run is needed"),
    ):
        with pytest.raises(KikiwakeError, match=said):
            open_teachers(runs, weights)


def test_without_copies_a_table_must_be_what_the_stage_was_trained_on(tones: Path, tmp_path: Path) -> None:
    stage = {"epochs": 1, "batch_size": 4, "optimizer": {"name": "sgd", "learning_rate": 0.1}}
    table = tmp_path / "labels.csv"
    manifest = Manifest.read(tones)
    manifest.select([4]).write(table)
    again = {**stage, "name": "retrain", "pseudo": {"table": str(table)}}
    old = teacher(tones, tmp_path / "run", stages=[stage, again])
    clips = stage_clips(old.run, old.run.recipe.stages[1], pseudo=table)
    data = {"manifest": clips.manifest.hash(), "pseudo_labelled_clips": len(clips.beside)}
    beside = tmp_path / "run" / "stages" / "retrain.json"
    beside.parent.mkdir(parents=True)
    beside.write_text(json.dumps({"left_out": None, "data": data}))
    assert manifest[4] in [replace(clip, weight=1.0, split=None) for clip in old.trained_on]
    manifest.select([5]).write(table)
    with pytest.raises(RunError, match="no longer what it was when the stage was trained"):
        _ = teacher(tones, tmp_path / "run", stages=[stage, again]).trained_on


def test_an_ensemble_that_is_joined_in_another_way_is_refused(tones: Path, tmp_path: Path) -> None:
    for name in "abc":
        finished(tmp_path / name, tones, weights=name.encode())
    made = ensemble([tmp_path / "a", tmp_path / "b"], out=tmp_path / "both", by="max")
    teachers = open_teachers([made, tmp_path / "c"], None, join="max")
    assert [one.run.folder.name for one in teachers] == ["a", "b", "c"]
    assert not _weighed(teachers, Settings(join="max"), given=False)  # the largest knows no shares
    with pytest.raises(RunError, match=r"both: this ensemble is joined by max, .* by mean; .*--join max"):
        open_teachers([made], None, join="mean")
