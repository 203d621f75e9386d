"""An evaluation's numbers, tables and warnings, on probabilities that can be worked out by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kikiwake import evaluation, figures
from kikiwake._scored_clips import ScoredClips, read_probabilities
from kikiwake.classifier import build_classifier
from kikiwake.errors import RunError
from kikiwake.evaluation import evaluate, stored_evaluation
from kikiwake.manifest import Clip, Manifest
from kikiwake.predictions import Predictions
from kikiwake.run import Run, open_run, start_run
from kikiwake.scoring import WindowScores
from toys import toy_recipe, write_tones

CLASSES = ["a", "b", "c", "d"]


def untrained(manifest: Path, folder: Path, **changes: Any) -> Run:
    """A run that counts as trained, with the weights that it began with."""
    recipe = toy_recipe(manifest, folder, **changes)
    run = start_run(recipe, Manifest.read(manifest))
    run.write_model(build_classifier(recipe, classes=run.manifest.classes).state_dict(), about={})
    return open_run(folder)


def multilabel(epochs: int = 1) -> list[dict[str, Any]]:
    optimizer = {"name": "sgd", "learning_rate": 0.1}
    loss = "binary_cross_entropy"
    return [{"epochs": epochs, "batch_size": 4, "loss": loss, "optimizer": optimizer}]


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tones(tmp_path_factory.mktemp("data") / "tones", clips_per_class=6, folds=3)


def four_clips(folder: Path, *, groups: str = "gghi", secondary: tuple[str, ...] = ()) -> Path:
    """A manifest of four test clips a, b, c, d of 2 s and one training clip a class, of files not there."""
    testing = [
        Clip(folder / f"{k}.wav", CLASSES[k], k, 0, 16_000, 8000, group=groups[k], secondary=secondary)
        for k in range(4)
    ]
    training = [
        Clip(folder / f"t{k}.wav", CLASSES[k], k, 1, 16_000, 8000, 0.5, 1.5, group=f"t{k}") for k in range(4)
    ]
    Manifest([*testing, *training], CLASSES).write(folder / "manifest.csv")
    return folder / "manifest.csv"


SPLIT = {"test": 0, "validation": None}

# Two windows a clip, the second half as long. By clip: a is right, b is taken for a, c is right, d third.
WINDOWS = np.array(
    [
        [[0.9, 0.1, 0.0, 0.0], [0.6, 0.1, 0.3, 0.0]],
        [[0.7, 0.3, 0.0, 0.0], [0.7, 0.3, 0.0, 0.0]],
        [[0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 1.0, 0.0]],
        [[0.4, 0.4, 0.0, 0.2], [0.7, 0.1, 0.0, 0.2]],
    ],
    np.float32,
)
JOINED = np.array([[0.8, 0.1, 0.1, 0], [0.7, 0.3, 0, 0], [0, 0, 1, 0], [0.5, 0.3, 0, 0.2]])


def made_up(windows: np.ndarray) -> Any:
    def score_clips(*_: Any, indices: list[int], **__: Any) -> WindowScores:
        assert len(indices) == len(windows)
        return WindowScores(
            clips=np.repeat(indices, 2),
            starts=np.tile([0, 8000], len(indices)),
            frames=np.tile([8000, 4000], len(indices)),
            logits=np.zeros((2 * len(indices), windows.shape[-1]), np.float32),
            probabilities=windows.reshape(-1, windows.shape[-1]),
        )

    return score_clips


@pytest.fixture
def real_pictures() -> None:
    """Asked for by tests that look at pictures, which take a second."""


@pytest.fixture(autouse=True)
def no_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "real_pictures" not in request.fixturenames:
        for name in ("class_scores", "confusion_matrix", "reliability_diagram"):
            monkeypatch.setattr(figures, name, lambda *_, **__: None)


@pytest.fixture
def fabricated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(evaluation, "score_clips", made_up(WINDOWS))
    return untrained(four_clips(tmp_path / "data"), tmp_path / "run", split=SPLIT)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_scores_are_those_worked_out_by_hand(fabricated: Run) -> None:
    evaluate(fabricated, replicates=20)
    found = json.loads((fabricated.folder / "evaluation" / "scores.json").read_text())
    values = {name: score["value"] for name, score in found["scores"].items()}
    assert found["part"] == "test"
    assert (found["clips"], found["groups"], found["windows"]) == (4, 3, 8)
    assert found["predict"]["aggregate"] == "mean"
    assert values["accuracy"] == 0.5
    assert values["top_3_accuracy"] == 1.0
    # F1: a 2/(1 + 3), b 0, c 1, d 0.
    assert values["macro_f1"] == pytest.approx((0.5 + 0 + 1 + 0) / 4)
    assert values["micro_f1"] == pytest.approx(0.5)
    assert values["log_loss"] == pytest.approx(-np.log([0.8, 0.3, 1.0, 0.2]).mean(), rel=1e-6)
    # ROC-AUC: a, c and d rank their one positive first; b ties with d.
    assert values["macro_roc_auc"] == pytest.approx((1 + (2 + 0.5) / 3 + 1 + 1) / 4)
    # Confidences .8 right, .7 wrong, 1 right, .5 wrong, each in a bin of its own.
    assert values["expected_calibration_error"] == pytest.approx((0.2 + 0.7 + 0 + 0.5) / 4, rel=1e-6)


def test_intervals_draw_whole_groups(fabricated: Run) -> None:
    # Clips of 3 groups, right 1 of 2, 1 of 1, 0 of 1: a resample's accuracy runs from 0 to 1.
    interval = evaluate(fabricated, replicates=200).scores["accuracy"]
    assert (interval.low, interval.high) == (0.0, 1.0)
    assert interval == evaluate(fabricated, replicates=200).scores["accuracy"]


def test_one_group_gives_no_interval_but_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "score_clips", made_up(WINDOWS))
    run = untrained(four_clips(tmp_path / "data", groups="gggg"), tmp_path / "run", split=SPLIT)
    found = evaluate(run, replicates=20)
    assert found.scores["accuracy"].value == 0.5
    assert found.scores["accuracy"].low is None
    assert any("one group" in note for note in found.notes)
    assert "one group" in str(found)


def test_few_groups_are_said(fabricated: Run) -> None:
    assert "only 3 groups" in str(evaluate(fabricated, replicates=20))


def test_clips_have_one_row_each_that_reads_back_exactly(fabricated: Run) -> None:
    evaluate(fabricated, replicates=0)
    path = fabricated.folder / "evaluation" / "clips.csv"
    rows = table(path)
    assert [row["class"] for row in rows] == CLASSES
    assert [row["predicted"] for row in rows] == ["a", "a", "c", "a"]
    assert [row["correct"] for row in rows] == ["1", "0", "1", "0"]
    assert [row["group"] for row in rows] == list("gghi")
    expected = ((WINDOWS * np.array([8000, 4000])[:, None]).sum(1) / 12_000).astype(np.float32)
    read = read_probabilities(path, classes=CLASSES, clips=4)
    assert np.array_equal(read, [[np.float32(row[name]) for name in CLASSES] for row in rows])
    np.testing.assert_allclose(read, expected, atol=1e-7)
    np.testing.assert_allclose(read, JOINED, atol=1e-6)


def test_windows_are_predictions_with_times_in_the_recording(fabricated: Run) -> None:
    evaluate(fabricated, replicates=0)
    found = Predictions.read(fabricated.folder / "evaluation" / "predictions.csv")
    assert found.starts.tolist() == [0, 1] * 4
    assert found.ends.tolist() == [1, 1.5] * 4
    assert found.classes == CLASSES
    np.testing.assert_allclose(found.probabilities, WINDOWS.reshape(-1, 4), atol=1e-6)


def test_windows_of_an_excerpt_start_where_it_starts(fabricated: Run) -> None:
    evaluate(fabricated, part="train", replicates=0)
    found = Predictions.read(fabricated.folder / "evaluation" / "train" / "predictions.csv")
    assert found.starts.tolist() == [0.5, 1.5] * 4


def test_classes_and_confusion_are_those_worked_out_by_hand(fabricated: Run) -> None:
    evaluate(fabricated, replicates=50)
    folder = fabricated.folder / "evaluation"
    a, b, c, d = table(folder / "classes.csv")
    assert (a["support"], a["precision"], a["recall"], a["f1"]) == ("1", "0.333333", "1.000000", "0.500000")
    assert (b["precision"], b["recall"], b["f1"]) == ("", "0.000000", "0.000000")
    assert (c["precision"], c["f1"], c["f1_low"], c["f1_high"]) == ("1.000000",) * 4
    assert d["average_precision"] == "1.000000"
    rows = [list(row.values()) for row in table(folder / "confusion.csv")]
    assert rows == [list("a1000"), list("b1000"), list("c0010"), list("d1000")]


def test_reliability_counts_every_clip_once(fabricated: Run) -> None:
    evaluate(fabricated, replicates=0)
    rows = [row for row in table(fabricated.folder / "evaluation" / "reliability.csv") if row["clips"] != "0"]
    found = [(float(row["confidence"]), float(row["accuracy"]), row["clips"]) for row in rows]
    assert found == [(0.5, 0, "1"), (0.7, 0, "1"), (0.8, 1, "1"), (1, 1, "1")]


def test_another_part_does_not_replace_the_test_clips_scores(fabricated: Run) -> None:
    evaluate(fabricated, replicates=0)
    before = (fabricated.folder / "evaluation" / "scores.json").read_bytes()
    found = evaluate(fabricated, part="train", replicates=0)
    assert found.folder == fabricated.folder / "evaluation" / "train"
    assert (fabricated.folder / "evaluation" / "scores.json").read_bytes() == before
    assert "was trained on these clips" in str(found)


def test_validation_clips_are_judged_with_a_warning_where_none_are_held_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "score_clips", made_up(WINDOWS))
    manifest = four_clips(tmp_path / "data")
    run = untrained(manifest, tmp_path / "run", split={"test": None, "validation": 0})
    found = evaluate(run, replicates=0)
    assert found.part == "validation"
    assert any("flatter" in note for note in found.notes)


def test_no_held_out_clips_is_an_error_that_counts_what_there_is(tmp_path: Path) -> None:
    run = untrained(four_clips(tmp_path / "data"), tmp_path / "run", split={})
    with pytest.raises(RunError, match=r"no labelled test clips \(it has 8 train, 0 validation, 0 test\)"):
        evaluate(run)
    with pytest.raises(RunError, match="no such part"):
        evaluate(run, part="dev")


def test_an_untrained_run_says_how_to_go_on(tmp_path: Path) -> None:
    recipe = toy_recipe(four_clips(tmp_path / "data"), tmp_path / "run", split=SPLIT)
    start_run(recipe, Manifest.read(tmp_path / "data" / "manifest.csv"))
    with pytest.raises(RunError, match="no trained model yet"):
        evaluate(tmp_path / "run")


def test_clips_without_a_class_are_left_out_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = Manifest.read(four_clips(tmp_path / "data"))
    unlabelled = Clip(tmp_path / "data" / "u.wav", None, None, 0, 16_000, 8000)
    Manifest([unlabelled, *manifest], CLASSES).write(tmp_path / "data" / "manifest.csv")
    monkeypatch.setattr(evaluation, "score_clips", made_up(WINDOWS))
    found = evaluate(
        untrained(tmp_path / "data" / "manifest.csv", tmp_path / "run", split=SPLIT), replicates=0
    )
    assert found.clips == 4
    assert found.scores["accuracy"].value == 0.5
    assert "1 test clips without a class are left out" in found.notes


def test_multilabel_runs_have_scores_of_their_kind_and_no_confusion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = np.zeros((4, 2, 4), np.float32)
    windows[0, :] = [0.9, 0.8, 0, 0]  # is a and b: all right
    windows[1, :] = [0.9, 0.4, 0, 0]  # is b: wrong
    windows[2, :] = [0.2, 0.6, 0.9, 0]  # is c and b: all right
    windows[3, :] = [0, 0.7, 0, 0.3]  # is d and b: b found, d missed
    monkeypatch.setattr(evaluation, "score_clips", made_up(windows))
    data = toy_recipe(tmp_path, tmp_path / "plain").plain()["data"] | {"secondary_target": 1.0}
    manifest = four_clips(tmp_path / "data", secondary=("b",))
    data["manifest"] = str(manifest)
    run = untrained(manifest, tmp_path / "run", split=SPLIT, stages=multilabel(), data=data)
    found = evaluate(run, replicates=10)
    assert found.multilabel
    assert found.main_score == "macro_average_precision"
    assert found.scores["accuracy"].value == 0.5
    # 7 labels, 6 decisions, 5 of them right.
    assert found.scores["micro_f1"].value == pytest.approx(2 * 5 / (7 + 6))
    folder = run.folder / "evaluation"
    assert not (folder / "confusion.csv").exists()
    assert not (folder / "confusion.png").exists()
    rows = table(folder / "clips.csv")
    assert [row["class"] for row in rows] == ["a;b", "b", "b;c", "b;d"]
    assert [row["correct"] for row in rows] == ["1", "0", "1", "1"]
    assert sum(int(row["decisions"]) for row in table(folder / "reliability.csv")) == 16


def test_a_class_without_a_clip_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = Manifest.read(four_clips(tmp_path / "data")).clips
    Manifest(clips[:3] + clips[4:], CLASSES).write(tmp_path / "data" / "manifest.csv")
    monkeypatch.setattr(evaluation, "score_clips", made_up(WINDOWS[:3]))
    run = untrained(tmp_path / "data" / "manifest.csv", tmp_path / "run", split=SPLIT)
    found = evaluate(run, replicates=30)
    assert "no clip of d: nothing is said about them" in found.notes
    assert table(run.folder / "evaluation" / "classes.csv")[3]["recall"] == ""


def test_a_stored_evaluation_counts_only_for_its_own_model(fabricated: Run) -> None:
    assert stored_evaluation(fabricated) is None
    made = evaluate(fabricated, replicates=20)
    assert stored_evaluation(fabricated) == made
    fabricated.model_file.write_bytes(fabricated.model_file.read_bytes() + b" ")
    assert stored_evaluation(fabricated) is None


@pytest.mark.usefixtures("real_pictures")
def test_a_real_model_scores_real_clips_into_the_folder_asked_for(tones: Path, tmp_path: Path) -> None:
    run = untrained(tones, tmp_path / "run")
    found = evaluate(tmp_path / "run", out=tmp_path / "judged", replicates=20)
    assert found.clips == len(run.indices("test")) == 6
    names = {path.name for path in (tmp_path / "judged").iterdir()}
    tables = {
        "predictions.csv",
        "clips.csv",
        "classes.csv",
        "confusion.csv",
        "reliability.csv",
        "scores.json",
    }
    assert names == tables | {"confusion.png", "reliability.png", "class_scores.png"}
    assert not (tmp_path / "run" / "evaluation").exists()
    # Clips of .6 s and more in windows of .5 s: two windows each.
    assert len(Predictions.read(tmp_path / "judged" / "predictions.csv")) == 12
    text = str(found)
    assert "6 test clips in 3 groups" in text
    assert "accuracy" in text
    assert str(tmp_path / "judged") in text


def test_probabilities_of_other_clips_are_refused(tmp_path: Path) -> None:
    manifest = Manifest(
        [Clip(Path("x.wav"), "a", 0, 0, 8, 8), Clip(Path("y.wav"), "b", 1, 0, 8, 8)], ["a", "b"]
    )
    recipe = toy_recipe(tmp_path / "none.csv", tmp_path / "run")
    clips = ScoredClips.of(manifest, rows=[0, 1], probabilities=np.eye(2, dtype=np.float32), recipe=recipe)
    clips.write(tmp_path, clips="clips.csv", replicates=0)
    assert read_probabilities(tmp_path / "clips.csv", classes=["a", "b"], clips=2).tolist() == [
        [1, 0],
        [0, 1],
    ]
    with pytest.raises(RunError, match="not those of this run"):
        read_probabilities(tmp_path / "clips.csv", classes=["a", "b"], clips=3)
    with pytest.raises(RunError, match="cannot be read"):
        read_probabilities(tmp_path / "none.csv", classes=["a", "b"], clips=2)
    text = (tmp_path / "clips.csv").read_text()
    (tmp_path / "clips.csv").write_text(text.replace("0.0,1.0\n", "0.0,one\n"))
    with pytest.raises(RunError, match=r"clips\.csv:3: .*b 'one' is no number; evaluate the run again"):
        read_probabilities(tmp_path / "clips.csv", classes=["a", "b"], clips=2)
