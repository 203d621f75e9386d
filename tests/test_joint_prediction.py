"""An ensemble predicts wherever a run does, and says what its members say together."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from kikiwake import prediction as room
from kikiwake.cli import app
from kikiwake.ensembles import Ensemble, ensemble
from kikiwake.errors import KikiwakeError
from kikiwake.manifest import Clip, Manifest
from kikiwake.prediction import _parts, _units
from kikiwake.prediction._joint import JointRows, Windows
from kikiwake.predictions import Predictions, SetAside, join
from kikiwake.run import Run
from kikiwake.training import train
from toys import SAMPLE_RATE, STATISTICS, data_at, made_up_run, tone, toy_recipe, write_tones


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tones(tmp_path_factory.mktemp("data") / "tones", clips_per_class=4, folds=2)


@pytest.fixture(scope="module")
def runs(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    folder = tmp_path_factory.mktemp("runs")
    return [made_up_run(tones, folder / name, seed=seed) for seed, name in enumerate("ab")]


@pytest.fixture
def recordings(tmp_path: Path) -> list[Path]:
    """Sounds of 1.3 and 0.7 s, and a file that is none."""
    for number, seconds in enumerate([1.3, 0.7]):
        soundfile.write(
            tmp_path / f"{number}.wav", tone(600, seconds=seconds, seed=number), SAMPLE_RATE, subtype="FLOAT"
        )
    (tmp_path / "broken.wav").write_text("no sound")
    return [tmp_path / name for name in ("0.wav", "broken.wav", "1.wav")]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_probabilities_are_the_weighted_mean_of_what_the_members_say(
    runs: list[Run], recordings: list[Path], tmp_path: Path
) -> None:
    both = ensemble(runs, out=tmp_path / "both", weights=[3, 1])
    one, two = (room.load(run).predict(recordings, workers=0) for run in runs)
    assert np.abs(one.probabilities - two.probabilities).max() > 0.02

    joined = room.load(both).predict(recordings, workers=0)

    np.testing.assert_allclose(
        joined.probabilities, 0.75 * one.probabilities + 0.25 * two.probabilities, atol=1e-6
    )
    assert (joined.paths, joined.classes) == (one.paths, one.classes)
    np.testing.assert_array_equal(joined.starts, one.starts)
    np.testing.assert_array_equal(joined.ends, one.ends)
    assert joined.set_aside == one.set_aside


def test_a_table_holds_the_same_and_is_not_made_twice(
    runs: list[Run], recordings: list[Path], tmp_path: Path
) -> None:
    ensemble(runs, out=tmp_path / "both")
    joined = room.load(tmp_path / "both").predict(recordings, workers=0)
    out = tmp_path / "preds.parquet"

    summary = room.predict(tmp_path / "both", recordings, out=out, workers=0)

    found = Predictions.read(out)
    np.testing.assert_array_equal(found.probabilities, joined.probabilities)
    assert (summary.windows, summary.recordings, summary.quarantined) == (5, 2, 1)
    assert summary.sound_seconds == pytest.approx(2.0)
    assert "10 windows scored by 2 models" in str(summary)
    assert [row["kind"] for row in table(summary.quarantine)] == ["unreadable"]
    assert {path.name for path in tmp_path.glob("preds*")} == {
        "preds.parquet", "preds.quarantine.csv", "preds.summary.json"
    }  # fmt: skip
    written = out.stat().st_mtime_ns
    again = room.predict(tmp_path / "both", recordings, out=out, workers=0)
    assert "nothing to do" in str(again)
    assert out.stat().st_mtime_ns == written


def test_one_member_alone_says_what_it_says_without_an_ensemble(
    runs: list[Run], recordings: list[Path], tmp_path: Path
) -> None:
    ensemble(runs[:1], out=tmp_path / "alone")
    for name, model in (("run", runs[0].folder), ("ensemble", tmp_path / "alone")):
        room.predict(model, recordings, out=tmp_path / f"{name}.csv", workers=0)
    assert (tmp_path / "run.csv").read_bytes() == (tmp_path / "ensemble.csv").read_bytes()
    quarantines = [(tmp_path / f"{name}.quarantine.csv").read_bytes() for name in ("run", "ensemble")]
    assert quarantines[0] == quarantines[1]


def test_members_may_differ_in_rate_kind_and_order_of_classes(
    tones: Path, runs: list[Run], recordings: list[Path], tmp_path: Path
) -> None:
    low = made_up_run(tones, tmp_path / "low", data=data_at(tones, 4000))
    manifest = Manifest.read(tones)
    backwards = manifest.classes[::-1]
    turned = [
        Clip(clip.path, clip.label, backwards.index(str(clip.label)), clip.fold, clip.frames, clip.sr,
             group=clip.group)
        for clip in manifest
    ]  # fmt: skip
    Manifest(turned, backwards).write(tmp_path / "turned.csv")
    neighbours = toy_recipe(
        tmp_path / "turned.csv", tmp_path / "knn", data=data_at(tmp_path / "turned.csv", SAMPLE_RATE),
        split={"test": 0}, frontend=STATISTICS, model={"name": "knn"}, stages=[], augmentations=[],
        fit={"folds": 2, "grid": {"n_neighbors": [1]}},
    )  # fmt: skip
    different = [runs[0], low, train(neighbours)]
    ensemble(different, out=tmp_path / "all")
    each = [room.load(run).predict(recordings, workers=0).frame()[manifest.classes] for run in different]

    joined = room.load(tmp_path / "all").predict(recordings, workers=0)

    assert joined.classes == manifest.classes
    np.testing.assert_allclose(joined.probabilities, sum(one.to_numpy() for one in each) / 3, atol=1e-6)
    summary = room.predict(tmp_path / "all", recordings, out=tmp_path / "preds.csv", workers=0)
    assert json.loads((tmp_path / "preds.summary.json").read_text())["job"]["sample_rate"] == SAMPLE_RATE
    assert summary.models == 3


def test_an_ensemble_can_be_a_member(runs: list[Run], recordings: list[Path], tmp_path: Path) -> None:
    ensemble([run.folder for run in runs], out=tmp_path / "largest", by="max")
    outer = ensemble([tmp_path / "largest", runs[0]], out=tmp_path / "outer")
    one, two = (room.load(run).predict(recordings, workers=0).probabilities for run in runs)
    expected = (np.maximum(one, two) + one) / 2
    found = room.load(outer).predict(recordings, workers=0)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)
    room.predict(outer, recordings, out=tmp_path / "preds.csv", workers=0)
    np.testing.assert_allclose(Predictions.read(tmp_path / "preds.csv").probabilities, expected, atol=1e-5)
    assert "ensemble of 2, joined by largest probability" in str(outer)


def test_windows_that_differ_are_listed_and_can_be_given(
    tones: Path, runs: list[Run], recordings: list[Path], tmp_path: Path
) -> None:
    longer = made_up_run(tones, tmp_path / "longer", data=data_at(tones, 4000, seconds=0.6))
    made = ensemble([runs[0], longer], out=tmp_path / "both")
    assert "--window-seconds" in str(made)
    with pytest.raises(
        KikiwakeError, match=r"a: 0\.5 s every 0\.5 s; .*longer: 0\.6 s every 0\.6 s; .*--window"
    ):
        room.load(made).predict(recordings)
    found = room.load(made).predict(recordings, window_seconds=0.6, hop_seconds=0.3, workers=0)
    # 1.3 s: three windows to 1.2 s and a last one; 0.7 s: two.
    assert found.starts.tolist() == pytest.approx([0, 0.3, 0.6, 0.9, 0, 0.3])


def test_hops_that_would_drift_apart_are_refused(
    tones: Path, runs: list[Run], recordings: list[Path], tmp_path: Path
) -> None:
    low = made_up_run(tones, tmp_path / "low", data=data_at(tones, 3000))
    made = ensemble([runs[0], low], out=tmp_path / "both")
    with pytest.raises(
        KikiwakeError, match=r"hop_seconds: .*drift apart.* 3000 and 8000 Hz .*multiple of 0\.001 s"
    ):
        room.load(made).predict(recordings, window_seconds=0.5, hop_seconds=0.33333)
    assert room.load(made).plan(recordings, room.Options(hop_seconds=0.333)).windows.hop == Fraction("0.333")


def test_rows_of_frames_are_joined_row_by_row(tones: Path, recordings: list[Path], tmp_path: Path) -> None:
    stage = {"epochs": 1, "batch_size": 4, "loss": "binary_cross_entropy"}
    sed: dict[str, Any] = {
        "model": {"name": "sed", "backbone": "test_resnet"},
        "stages": [{**stage, "optimizer": {"name": "adam", "learning_rate": 1e-3}}],
        "predict": {"framewise": True},
        "augmentations": [],
    }
    members = [
        made_up_run(tones, tmp_path / str(rate), data=data_at(tones, rate), **sed) for rate in (8000, 4000)
    ]
    made = ensemble(members, out=tmp_path / "both")
    one, two = (room.load(run).predict(recordings, frame_seconds=0.1, workers=0) for run in members)
    summary = room.predict(made, recordings, out=tmp_path / "p.parquet", frame_seconds=0.1, workers=0)
    found = Predictions.read(tmp_path / "p.parquet")
    assert found.starts.tolist() == pytest.approx([k / 10 for k in (*range(13), *range(7))])
    np.testing.assert_allclose(found.probabilities, (one.probabilities + two.probabilities) / 2, atol=1e-6)
    assert summary.windows == 5  # each of five rows, or fewer at the end


def stand_ins(count: int) -> Any:
    """An ensemble of models that are not there."""
    members = [
        SimpleNamespace(folder=Path(f"m{n}"), classes=["a", "b"], multilabel=False) for n in range(count)
    ]
    return Ensemble(Path("none"), members)  # type: ignore[arg-type]


def rows(*spans: tuple[str, float, float], a: float) -> Predictions:
    """Rows of the given path, start and end, in all of which P(a) is `a`."""
    paths, starts, ends = (list(column) for column in zip(*spans, strict=True))
    probabilities = np.tile(np.array([a, 1 - a], np.float32), (len(spans), 1))
    return Predictions(paths, np.array(starts), np.array(ends), probabilities, ["a", "b"])


def pieces(whole: Predictions, sizes: list[int]) -> Iterator[Predictions]:
    """The rows in chunks of the given sizes, over and over."""
    at = number = 0
    while at < len(whole):
        size = sizes[number % len(sizes)]
        yield whole.cut(at, at + size)
        at, number = at + size, number + 1


WINDOWS = Windows(seconds=1, hop=1, whole=False, rates=(8000, 16000))  # type: ignore[arg-type]


@pytest.mark.parametrize("sizes", [([9], [9]), ([1], [9]), ([2], [3]), ([1, 4], [2, 1, 3])])
def test_only_rows_of_all_members_are_joined_however_they_are_cut(sizes: tuple[list[int], list[int]]) -> None:
    one = rows(("x", 0, 1), ("x", 1, 2), ("x", 2, 3), ("y", 0, 1), ("z", 0, 1), ("z", 1, 2), a=0.2)
    two = rows(("x", 0, 1), ("x", 2, 3), ("z", 0, 1), ("z", 1, 2), a=0.4)
    joint = JointRows(stand_ins(2), [Path("x"), Path("y"), Path("z")], WINDOWS)

    found = join(list(joint([pieces(one, sizes[0]), pieces(two, sizes[1])])), classes=["a", "b"])

    assert found.paths == ["x", "x", "z", "z"]
    assert found.starts.tolist() == [0, 2, 0, 1]
    np.testing.assert_allclose(found.probabilities[:, 0], 0.3, atol=1e-7)
    assert (joint.count, joint.recordings, joint.sound_seconds) == (4, 2, 5.0)
    notes = [[], [SetAside("y", 0.0, "its decoder died", "crashed")]]
    assert joint.set_aside(notes) == [
        SetAside("x", 1.0, "m1: this member has no such row", "partial"),
        SetAside("y", 0.0, "m1: its decoder died", "crashed"),
    ]


def test_what_all_members_set_aside_is_said_once_and_as_it_became() -> None:
    joint = JointRows(stand_ins(2), [Path("x"), Path("y")], WINDOWS)
    one, two = rows(("x", 0, 1), ("x", 1, 2), a=0.2), rows(("y", 0, 1), a=0.4)
    assert list(joint([[one], [two]])) == []
    broken = SetAside("x", 1.5, "damaged", "partial")
    assert joint.set_aside([[broken], [broken, SetAside("x", 0.0, "too odd", "unreadable")]]) == [
        SetAside("x", 0.0, "m1: too odd", "unreadable"),
        SetAside("x", 1.5, "damaged", "unreadable"),  # no joint row is left of it
        SetAside("y", 0.0, "m0: this member has no such row", "unreadable"),
    ]


def test_a_last_window_of_less_than_a_sample_is_no_loss() -> None:
    end = 1 + 1 / 16000
    one, two = rows(("x", 0, 1), a=0.2), rows(("x", 0, 1), ("x", 1, end), a=0.4)
    joint = JointRows(stand_ins(2), [Path("x")], WINDOWS)
    assert [len(chunk) for chunk in joint([[one], [two]])] == [1]
    assert joint.set_aside([[], []]) == []
    longer = rows(("x", 0, 1), ("x", 1, 1.01), a=0.4)
    joint = JointRows(stand_ins(2), [Path("x")], WINDOWS)
    assert [len(chunk) for chunk in joint([[one], [longer]])] == [1]
    assert [note.offset_seconds for note in joint.set_aside([[], []])] == [1.0]


def predict_in_a_fork(*arguments: Any, **options: Any) -> None:
    torch.set_num_threads(1)  # OpenMP's threads did not come along, and it would wait for them
    room.predict(*arguments, **options)


@pytest.mark.parametrize("reached", ["member1.parquet.parts/0*", "member2.parquet.parts/0*"])
def test_killed_it_goes_on_and_ends_with_the_same_bytes(
    runs: list[Run], tmp_path: Path, reached: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_parts, "SECONDS", 0.0)
    monkeypatch.setattr(_units, "UNIT_WINDOWS", 4)
    made = ensemble(runs, out=tmp_path / "both")
    sounds = [tmp_path / f"{k}.wav" for k in range(2)]
    for k, path in enumerate(sounds):
        soundfile.write(path, tone(600, seconds=6, seed=k), SAMPLE_RATE)
    whole = room.predict(made, sounds, out=tmp_path / "whole.csv", workers=0)
    out = tmp_path / "killed.csv"
    child = multiprocessing.get_context("fork").Process(
        target=predict_in_a_fork, args=(made, sounds), kwargs={"out": out, "workers": 0}
    )
    child.start()
    while child.exitcode is None and not list((tmp_path / "killed.csv.parts").glob(reached)):
        time.sleep(0.001)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert not out.exists()

    summary = room.predict(made, sounds, out=out, workers=0)

    assert summary.windows == whole.windows == 24
    assert summary.scored < whole.scored == 48
    for ending in (".csv", ".quarantine.csv", ".summary.json"):
        assert (tmp_path / f"killed{ending}").read_bytes() == (tmp_path / f"whole{ending}").read_bytes()
    assert not (tmp_path / "killed.csv.parts").exists()


def test_the_command_line_makes_and_uses_one(runs: list[Run], recordings: list[Path], tmp_path: Path) -> None:
    def invoke(*arguments: object) -> Any:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    folders, out = [run.folder for run in runs], tmp_path / "both"
    made = invoke("ensemble", *folders, "--out", out, "--by", "vote", "--weights", "3,1")
    assert made.exit_code == 0, made.output
    assert "2 models joined by weighted vote" in made.output
    predicted = invoke("predict", out, recordings[0], "--out", tmp_path / "preds.csv", "--workers", 0)
    assert predicted.exit_code == 0, predicted.output
    shares = Predictions.read(tmp_path / "preds.csv").probabilities
    assert set(np.unique(shares).tolist()) <= {0.0, 0.25, 0.75, 1.0}
    wrong = invoke("ensemble", *folders, "--out", out, "--weights", "3;1")
    assert isinstance(wrong.exception, KikiwakeError)
    assert "--weights: must be numbers" in str(wrong.exception)
