"""Labelling from end to end: small networks hear tones; files, report, interruption and the command."""

from __future__ import annotations

import csv
import inspect
import json
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner, Result

from kikiwake import evaluation, figures, prediction, pseudo
from kikiwake.classifier import build_classifier
from kikiwake.cli import app
from kikiwake.cli._recordings import pseudo as pseudo_command
from kikiwake.errors import KikiwakeError, RunError, StorageError
from kikiwake.folds import split
from kikiwake.manifest import Manifest
from kikiwake.predictions import Predictions
from kikiwake.pseudo import Settings, _job
from kikiwake.pseudo._recordings import Loudness
from kikiwake.pseudo._teachers import Teacher
from kikiwake.run import Run, open_run, start_run
from toys import PITCHES, SAMPLE_RATE, tone, toy_recipe, write_tones

SHORT = {"window_seconds": 0.5, "smoothing": 0.0}
SOME = Settings(**SHORT, keep=0.34, train=0.4, max_share=1.0)
"""Thresholds that some windows of an untrained network pass."""

FILES = [
    *("pseudo.csv", "pseudo.combined.csv", "pseudo.kept.csv", "pseudo.quarantine.csv"),
    *("pseudo.report.json", "pseudo.report.txt", "pseudo.report.png"),
]


@pytest.fixture(scope="module", autouse=True)
def own_caches(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def real_pictures() -> None:
    """Asked for by tests that look at pictures, which take a second."""


@pytest.fixture(autouse=True)
def no_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "real_pictures" not in request.fixturenames:
        monkeypatch.setattr(figures, "pseudo_labels", lambda *_, **__: None)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tones with two runs and a night of recordings that nobody has labelled; the last second is silent."""
    folder = tmp_path_factory.mktemp("place")
    manifest = write_tones(folder / "tones", clips_per_class=8)
    for seed in (1, 2):
        untrained(manifest, folder / f"run{seed}", seed=seed, split={"test": 0, "validation": 1})
    for k in range(2):
        untrained(manifest, folder / "cv" / f"fold{k}", seed=3 + k, split={"test": k, "validation": None})
    night(folder / "night")
    return folder


def untrained(manifest: Path, folder: Path, *, seed: int, **changes: Any) -> Run:
    """A run that counts as trained, with weights by chance that make it rather sure of itself."""
    recipe = toy_recipe(manifest, folder, **changes)
    run = start_run(recipe, Manifest.read(manifest))
    chance = torch.Generator().manual_seed(seed)
    weights = build_classifier(recipe, classes=run.manifest.classes).state_dict()
    shape = weights["network.dense.weight"].shape
    weights["network.dense.weight"] = 20 * torch.randn(shape, generator=chance)
    run.write_model(weights, about={})
    return run


def night(folder: Path, *, recordings: int = 3) -> None:
    folder.mkdir()
    for k in range(recordings):
        pitches = [PITCHES[name] for name in sorted(PITCHES)]
        sounds = [tone(pitches[(k + j) % 3], seconds=0.6, seed=10 * k + j) for j in range(4)]
        samples = np.concatenate([*sounds, np.zeros(SAMPLE_RATE, np.float32)])
        soundfile.write(folder / f"{k}.wav", samples, SAMPLE_RATE)


def label(place: Path, out: Path, *, runs: tuple[str, ...] = ("run1", "run2"), **changes: Any) -> Any:
    changes = {"settings": SOME, "workers": 0, **changes}
    return pseudo.label([place / run for run in runs], place / "night", out=out, **changes)


@pytest.fixture(scope="module")
def labelled(place: Path) -> pseudo.PseudoSummary:
    found: pseudo.PseudoSummary = label(place, place / "first" / "pseudo.csv")
    return found


def test_labels_are_those_that_the_teachers_give_together(
    labelled: pseudo.PseudoSummary, place: Path
) -> None:
    each = [
        prediction.load(place / run).predict(place / "night", window_seconds=0.5, hop_seconds=0.25)
        for run in ("run1", "run2")
    ]
    mean = (each[0].probabilities + each[1].probabilities) / 2
    silent = each[0].starts >= 2.4
    stays = (mean > 0.34).any(axis=1) & ~silent
    kept = Predictions.read(labelled.kept)
    assert 0 < len(kept) == stays.sum() < len(mean)
    np.testing.assert_allclose(kept.probabilities, np.where(mean > 0.34, mean, 0)[stays], atol=1e-6)
    manifest = Manifest.read(labelled.out)
    assert manifest.soft is not None
    assert manifest.classes == sorted(PITCHES)
    place_of = {
        (path, start): row
        for row, (path, start) in enumerate(zip(each[0].paths, each[0].starts, strict=True))
    }
    for clip, soft in zip(manifest, manifest.soft, strict=True):
        row = place_of[str(clip.path), clip.start]
        np.testing.assert_allclose(soft, np.where(mean[row] > 0.34, mean[row], 0), atol=1e-6)
        assert mean[row].max() > 0.4
        assert clip.class_id == mean[row].argmax()
        assert (clip.split, clip.fold, clip.weight) == ("train", None, 0.7)
        assert (clip.frames, clip.sr) == (round(3.4 * SAMPLE_RATE), SAMPLE_RATE)
        assert clip.group == f"../night/{clip.path.name}"


def test_the_report_counts_every_window_once(labelled: pseudo.PseudoSummary) -> None:
    content = json.loads(labelled.report.read_text())
    windows, classes = content["windows"], content["classes"]
    removed = windows["removed"]
    assert windows["heard"] == 39  # 13 of each recording
    assert windows["kept"] == windows["heard"] - removed["keep"] - removed["silence"] == labelled.stays
    assert windows["trained"] == windows["kept"] - removed["held_out"] - removed["train"] - removed["cap"]
    assert windows["trained"] == len(Manifest.read(labelled.out)) == labelled.trained > 0
    assert removed["silence"] > 0
    assert sum(one["trained"] for one in classes.values()) == windows["trained"]
    assert {one["real"] for one in classes.values()} == {4}  # folds 2 and 3
    assert all(one["trained"] <= one["limit"] == 4 for one in classes.values())
    assert sum(content["confidence"]["windows"]) == 39
    assert [pair["windows"] for pair in content["agreement"]["pairs"]] == [39]
    assert content["before"] == []
    assert any("run1, run2" in note for note in content["notes"])
    assert labelled.report.with_suffix(".txt").read_text() in f"{labelled}\n"
    assert labelled.report.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_the_combined_manifest_trains_with_the_splits_of_the_teachers(
    labelled: pseudo.PseudoSummary, place: Path
) -> None:
    real, both = Manifest.read(place / "run1" / "manifest.csv"), Manifest.read(labelled.combined)
    assert both.clips[:24] == real.clips
    assert both.clips[24:] == Manifest.read(labelled.out).clips
    assert both.soft is not None
    np.testing.assert_array_equal(both.soft[:24], real.targets())
    parts = split(both, test="split", validation=0.1, seed=0)
    assert parts.test.tolist() == [row for row, clip in enumerate(real) if clip.fold == 0]
    assert parts.validation.tolist() == [row for row, clip in enumerate(real) if clip.fold == 1]
    assert set(range(24, len(both))) < set(parts.train.tolist())


def test_killed_anywhere_and_given_again_it_ends_with_the_same_bytes(
    labelled: pseudo.PseudoSummary, place: Path, monkeypatch: pytest.MonkeyPatch, real_pictures: None
) -> None:
    out = place / "again" / "pseudo.csv"
    predict, predicted = prediction.predict, []

    def dies_at_the_second(run: Run, *arguments: Any, **named: Any) -> Any:
        if predicted:
            raise KeyboardInterrupt
        predicted.append(run.folder.name)
        return predict(run, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(_job.prediction, "predict", dies_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            label(place, out)
    assert predicted == ["run1"]
    assert [path.name for path in out.parent.iterdir()] == ["pseudo.teachers"]
    with monkeypatch.context() as patch:
        patch.setattr(pseudo._report, "write", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            label(place, out)
    scored = [summary for summary in _summaries(monkeypatch, lambda: label(place, out)) if summary.scored]
    assert scored == []  # both tables were there
    for name in FILES:
        assert (out.parent / name).read_bytes() == (labelled.out.parent / name).read_bytes(), name


def _summaries(monkeypatch: pytest.MonkeyPatch, act: Any) -> list[Any]:
    """What each prediction came to while something is done."""
    predict, found = prediction.predict, []

    def remember(*arguments: Any, **named: Any) -> Any:
        found.append(predict(*arguments, **named))
        return found[-1]

    with monkeypatch.context() as patch:
        patch.setattr(_job.prediction, "predict", remember)
        act()
    return found


def test_known_recordings_stop_it_before_any_work_or_are_left_out(place: Path, tmp_path: Path) -> None:
    copy = tmp_path / "field" / "new name.wav"
    copy.parent.mkdir()
    shutil.copy(place / "tones" / "low_4.wav", copy)
    shutil.copy(place / "night" / "0.wav", copy.parent / "0.wav")
    asked: dict[str, Any] = {"settings": SOME, "workers": 0}
    with pytest.raises(RunError, match="1 of 2 recordings were heard"):
        pseudo.label([place / "run1"], copy.parent, out=tmp_path / "pseudo.csv", **asked)
    assert list(tmp_path.iterdir()) == [copy.parent]
    found = pseudo.label([place / "run1"], copy.parent, out=tmp_path / "pseudo.csv", skip_known=True, **asked)
    assert list(found.content["recordings"]["left_out"]) == [copy.as_posix()]
    assert "1 recordings are left out" in str(found)
    assert set(Predictions.read(found.kept).paths) <= {str(copy.parent / "0.wav")}
    with pytest.raises(KikiwakeError, match="no recording is left to label"):
        pseudo.label([place / "run1"], copy, out=tmp_path / "none.csv", skip_known=True, **asked)


def test_folds_label_what_they_held_out_and_keep_its_group(place: Path, tmp_path: Path) -> None:
    tones = [place / "tones" / f"{name}_{k}.wav" for name in PITCHES for k in (0, 2)]  # folds 0 and 1
    settings = Settings(**SHORT, keep=0.0, train=0.0, max_share=None)
    found = pseudo.label([place / "cv"], tones, out=tmp_path / "p.csv", settings=settings, workers=0)
    assert [teacher["recordings"] for teacher in found.content["teachers"]] == [3, 3]
    assert found.content["agreement"] is None  # none was heard by both
    assert any("flattered" in note for note in found.content["notes"])
    alone = prediction.load(place / "cv" / "fold1").predict(
        place / "tones" / "low_2.wav", window_seconds=0.5, hop_seconds=0.25
    )
    manifest = Manifest.read(found.out)
    assert manifest.soft is not None
    own = [row for row, clip in enumerate(manifest) if clip.path.name == "low_2.wav"]
    np.testing.assert_allclose(manifest.soft[own], alone.probabilities, atol=1e-6)
    assert {manifest[row].group for row in own} == {"low-1"}
    Manifest.read(found.combined)


def test_what_the_split_holds_out_is_in_the_table_and_does_not_train(place: Path, tmp_path: Path) -> None:
    settings = Settings(**SHORT, keep=0.0, train=0.0, max_share=None)
    tested = place / "tones" / "low_0.wav"
    found = pseudo.label([place / "run1"], tested, out=tmp_path / "p.csv", settings=settings, workers=0)
    assert (found.stays, found.trained) == (2, 0)
    assert found.content["windows"]["removed"]["held_out"] == 2
    assert len(Manifest.read(found.out)) == 0
    assert len(Manifest.read(found.out, classes=sorted(PITCHES))) == 0
    assert len(Manifest.read(found.combined)) == 24


def test_given_counts_weights_and_joins_are_followed(place: Path, tmp_path: Path) -> None:
    counts = {"high": 1, "low": 1, "middle": 1}
    found = label(place, tmp_path / "p.csv", real=counts, weights=[3, 1])
    assert all(one["trained"] <= 1 for one in found.content["classes"].values())
    alone = [
        prediction.load(place / run).predict(place / "night", window_seconds=0.5, hop_seconds=0.25)
        for run in ("run1", "run2")
    ]
    mean = (3 * alone[0].probabilities + alone[1].probabilities) / 4
    stays = (mean > 0.34).any(axis=1) & (alone[0].starts < 2.4)
    kept = Predictions.read(found.kept)
    np.testing.assert_allclose(kept.probabilities, np.where(mean > 0.34, mean, 0)[stays], atol=1e-6)
    with pytest.raises(KikiwakeError, match="one count for each class"):
        label(place, tmp_path / "q.csv", real={"high": 1})
    with pytest.raises(KikiwakeError, match="the largest knows no weights"):
        label(place, tmp_path / "q.csv", weights=[3, 1], settings=Settings(join="max"))
    assert not (tmp_path / "q.teachers").exists()


def test_files_of_others_are_never_replaced(place: Path, tmp_path: Path) -> None:
    mine = tmp_path / "clips.csv"
    mine.write_text("my manifest")
    with pytest.raises(StorageError, match="would be lost"):
        label(place, mine)
    assert [path.name for path in tmp_path.iterdir()] == ["clips.csv"]
    with pytest.raises(KikiwakeError, match=r"ends in \.csv"):
        label(place, tmp_path / "labels.parquet")


def test_what_cannot_be_read_is_set_aside(place: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_text("no sound")
    recordings = [place / "night" / "0.wav", tmp_path / "broken.wav"]
    found = pseudo.label([place / "run1"], recordings, out=tmp_path / "p.csv", settings=SOME, workers=0)
    assert found.quarantined == 1
    with found.quarantine.open(newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == [str(tmp_path / "broken.wav")]
    assert f"set aside, wholly or in part: 1 recordings, see {found.quarantine}" in str(found)


def test_loudness_is_the_root_mean_square_at_the_rate_of_the_model(tmp_path: Path) -> None:
    seconds = np.arange(16_000 * 4) / 16_000
    samples = 0.2 * np.sin(2 * np.pi * 440 * seconds)
    samples[16_000 * 2 :] = 0
    soundfile.write(tmp_path / "a.wav", np.stack([samples, samples], axis=1), 16_000)
    starts = np.array([0.0, 1.0, 1.5, 2.5])
    windows = Predictions(["a"] * 4, starts, starts + 1, np.zeros((4, 2), np.float32), ["x", "y"])
    loudness = Loudness({"a": tmp_path / "a.wav"}, 8000, 1, 0)
    expected = 0.2 / np.sqrt(2) * np.array([1, 1, np.sqrt(0.5), 0])
    np.testing.assert_allclose(loudness(windows), expected, atol=1e-4)
    assert loudness.headers == {"a": (64_000, 16_000)}


def test_scores_before_are_read_or_handed_in_and_those_after_are_added(place: Path, tmp_path: Path) -> None:
    given = {"before": {"accuracy": 0.25, "log_loss": None}, "before_part": "test", "before_clips": 6}
    scored = label(place, tmp_path / "p.csv", runs=("run1",), **given)
    assert scored.content["before"] == [
        {"part": "test", "clips": 6, "teachers": 1, "scores": {"accuracy": 0.25, "log_loss": None}}
    ]
    untouched = scored.out.read_bytes()
    pseudo.after(scored.report, {"accuracy": 0.5}, part="test")
    content = json.loads(scored.report.read_text())
    assert content["after"] == {"part": "test", "clips": None, "scores": {"accuracy": 0.5}}
    assert content["windows"] == scored.content["windows"]
    assert "+0.2500" in scored.report.with_suffix(".txt").read_text()
    again = label(place, tmp_path / "p.csv", runs=("run1",), **given)
    assert again.content["after"] == content["after"]  # the same labels: what they came to is still true
    assert scored.out.read_bytes() == untouched
    other = label(place, tmp_path / "p.csv", runs=("run1",), before={"accuracy": 0.3})
    assert other.content["after"] is None
    with pytest.raises(RunError, match="no report of pseudo labels"):
        pseudo.after(tmp_path / "p.csv", {})


def test_scores_of_different_clips_are_not_compared(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[dict[str, Any]] = []
    monkeypatch.setattr(figures, "pseudo_labels", lambda path, **content: drawn.append(content))
    judged = {"part": "test", "clips": 6, "notes": [], "scores": {"accuracy": 0.75}}
    monkeypatch.setattr(
        Teacher, "scores", lambda teacher: judged if teacher.run.folder.name == "run2" else None
    )
    given = {"before": {"accuracy": 0.25}, "before_part": "validation", "before_clips": 7}
    found = label(place, tmp_path / "p.csv", **given)
    assert [one["scores"]["accuracy"] for one in found.content["before"]] == [0.25, 0.75]

    pseudo.after(found.report, {"accuracy": 0.5}, part="validation", clips=7)
    lines = [" ".join(line.split()) for line in found.report.with_suffix(".txt").read_text().splitlines()]
    at = lines.index("score on 7 validation clips before (1 teacher) after change")
    assert lines[at + 1] == "accuracy 0.2500 0.5000 +0.2500"
    assert lines[lines.index("score on 6 test clips before (1 teacher)") + 1] == "accuracy 0.7500"
    assert drawn[-1]["scores"] == {"accuracy": ([0.25], 0.5)}
    assert drawn[-1]["judged_by"] == "7 validation clips"

    pseudo.after(found.report, {"accuracy": 0.5}, part="validation", clips=9)
    lines = [" ".join(line.split()) for line in found.report.with_suffix(".txt").read_text().splitlines()]
    assert lines[lines.index("score on 9 validation clips after") + 1] == "accuracy 0.5000"
    assert "before and after are of different clips, and not compared" in lines
    assert drawn[-1]["scores"] == {"accuracy": ([0.25], None)}


def test_teachers_without_scores_are_evaluated_where_that_is_wanted(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "run1", tmp_path / "run1")
    asked: list[str] = []

    def evaluate(run: Run) -> None:
        asked.append(run.folder.name)
        evaluation.evaluate(run, replicates=0)

    for _ in range(2):
        found = pseudo.label(
            [tmp_path / "run1"],
            place / "night",
            out=tmp_path / "p.csv",
            settings=SOME,
            workers=0,
            evaluate=evaluate,
        )
    assert asked == ["run1"]
    stored = evaluation.stored_evaluation(open_run(tmp_path / "run1"))
    assert stored is not None
    before = found.content["teachers"][0]["before"]
    assert before["scores"] == {name: score.value for name, score in stored.scores.items()}
    assert (before["part"], before["clips"]) == ("test", 6)


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_tells_runs_from_recordings(
    labelled: pseudo.PseudoSummary, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "evaluate", lambda run: None)
    out = place / "command" / "pseudo.csv"
    options = ["--window-seconds", 0.5, "--smoothing", 0, "--keep", 0.34, "--train", 0.4, "--max-share", 1]
    options += ["--workers", 0]
    done = invoke("pseudo", place / "run1", place / "run2", place / "night", "--out", out, *options)
    assert done.exit_code == 0, done.output
    assert f"labels: {out}" in done.output
    assert out.read_bytes() == labelled.out.read_bytes()
    wrong = invoke("pseudo", place / "run1", place / "rnu2", place / "night", "--out", out)
    assert isinstance(wrong.exception, KikiwakeError)
    assert "rnu2: there is no such recording" in str(wrong.exception)


def test_the_commands_defaults_are_those_of_the_settings() -> None:
    parameters = inspect.signature(pseudo_command).parameters
    for field in fields(Settings):
        assert parameters[field.name].default == field.default, field.name


def test_settings_out_of_range_say_which_would_do(tmp_path: Path) -> None:
    for wrong, said in (
        ({"keep": 1.5}, r"keep: this is out of range \(got 1.5\); give a number from 0 to 1"),
        ({"weight": -1.0}, r"weight: this is out of range \(got -1.0\); give a number from 0 on"),
        ({"hop_seconds": 0.0}, r"hop_seconds: this is out of range \(got 0.0\); give at least 0.001"),
    ):
        with pytest.raises(KikiwakeError, match=said):
            Settings(**wrong)  # type: ignore[arg-type]
    with pytest.raises(KikiwakeError, match=r"out: .*labels.parquet.*; give for instance .*labels.csv"):
        pseudo.label([], [], out=tmp_path / "labels.parquet")
