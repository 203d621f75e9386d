"""An ensemble is judged by what its members say together of clips that all of them hold out."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kikiwake import evaluation, figures
from kikiwake.comparison import compare
from kikiwake.ensembles import ensemble
from kikiwake.errors import RunError
from kikiwake.evaluation import evaluate, stored_evaluation
from kikiwake.manifest import Clip, Manifest
from kikiwake.recipe import Recipe
from kikiwake.scoring import WindowScores
from toys import made_up_run, write_tones


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("class_scores", "confusion_matrix", "reliability_diagram"):
        monkeypatch.setattr(figures, name, lambda *_, **__: None)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def four_clips(folder: Path, *, backwards: bool = False, groups: str = "gghi") -> Path:
    """A manifest of test clips of x, y, x, y; backwards in clips and classes if asked for."""
    classes = ["y", "x"] if backwards else ["x", "y"]
    clips = [
        Clip(folder / f"{k}.wav", "xyxy"[k], classes.index("xyxy"[k]), 0, 8000, 8000, group=groups[k])
        for k in range(4)
    ]
    training = [
        Clip(folder / f"t{k}.wav", "xy"[k], classes.index("xy"[k]), 1, 8000, 8000, group=f"t{k}")
        for k in (0, 1)
    ]
    folder.mkdir(exist_ok=True)
    path = folder / f"{groups}{backwards}.csv"
    Manifest([*(clips[::-1] if backwards else clips), *training], classes).write(path)
    return path


def says(answers: dict[str, Any]) -> Any:
    """Takes the place of score_clips: each run, by its folder's name, says what is given of its clips."""

    def score_clips(*_: Any, indices: list[int], recipe: Recipe, **__: Any) -> WindowScores:
        said = np.array(answers[recipe.run.name], np.float32)
        zeros = np.zeros(len(indices), int)
        return WindowScores(np.array(indices), zeros, zeros + 4000, said, said)

    return score_clips


def test_clips_are_judged_by_what_the_members_say_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = made_up_run(four_clips(tmp_path / "data"), tmp_path / "one")
    two = made_up_run(four_clips(tmp_path / "data", backwards=True), tmp_path / "two")
    answers = {
        "one": [[0.9, 0.1], [0.6, 0.4], [0.8, 0.2], [0.2, 0.8]],  # wrong in the second
        "two": [[0.6, 0.4], [0.6, 0.4], [0.9, 0.1], [0.2, 0.8]],  # clips 3 to 0 in P(y), P(x): wrong in 2
    }
    monkeypatch.setattr(evaluation, "score_clips", says(answers))
    made = ensemble([one, two], out=tmp_path / "both")

    found = evaluate(tmp_path / "both", replicates=20)

    rows = table(tmp_path / "both" / "evaluation" / "clips.csv")
    assert [Path(row["path"]).name for row in rows] == ["0.wav", "1.wav", "2.wav", "3.wav"]
    joined = [float(row["x"]) for row in rows]
    assert joined == pytest.approx([(0.9 + 0.8) / 2, (0.6 + 0.1) / 2, (0.8 + 0.4) / 2, (0.2 + 0.4) / 2])
    assert found.scores["accuracy"].value == 1.0
    assert (found.clips, found.groups, found.part) == (4, 3, "test")
    assert stored_evaluation(made) == found
    assert stored_evaluation(one) is not None
    compared = compare([tmp_path / "one", tmp_path / "both"], replicates=20)
    assert compared.best == "both"
    (difference,) = [one for one in compared.differences if one.score == "accuracy"]
    assert difference.interval.value == pytest.approx(1 - 3 / 4)


def test_one_member_alone_is_worth_what_it_is_without_an_ensemble(tmp_path: Path) -> None:
    run = made_up_run(write_tones(tmp_path / "tones", clips_per_class=4, folds=2), tmp_path / "run")
    ensemble([run], out=tmp_path / "alone")
    own, joined = evaluate(run, replicates=20), evaluate(tmp_path / "alone", replicates=20)
    assert joined.scores == own.scores
    assert joined.notes == own.notes
    clips = [folder / "evaluation" / "clips.csv" for folder in (run.folder, tmp_path / "alone")]
    assert clips[0].read_bytes() == clips[1].read_bytes()


def test_members_evaluated_before_are_not_evaluated_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = made_up_run(four_clips(tmp_path / "data"), tmp_path / "one")
    monkeypatch.setattr(evaluation, "score_clips", says({"one": [[0.9, 0.1]] * 4}))
    evaluate(one, replicates=0)
    monkeypatch.setattr(evaluation, "score_clips", None)
    ensemble([one], out=tmp_path / "alone")
    assert evaluate(tmp_path / "alone", replicates=0).scores["accuracy"].value == 0.5


def test_members_that_hold_out_other_clips_are_refused(tmp_path: Path) -> None:
    one = made_up_run(four_clips(tmp_path / "data"), tmp_path / "one")
    other = made_up_run(four_clips(tmp_path / "data", groups="gjhi"), tmp_path / "other")
    folds = made_up_run(
        four_clips(tmp_path / "data"), tmp_path / "fold1", split={"test": 1, "validation": None}
    )
    ensemble([one, other], out=tmp_path / "groups")
    with pytest.raises(
        RunError, match=r"1 of the test clips of .*one are not among .*1\.wav, 0\.0+ to 1\.0+ s, group g"
    ):
        evaluate(tmp_path / "groups")
    ensemble([one, folds], out=tmp_path / "folds")
    with pytest.raises(RunError, match=r"0\.wav: .*like the folds of a cross-validation"):
        evaluate(tmp_path / "folds")
    labels = made_up_run(four_clips(tmp_path / "data"), tmp_path / "labels")
    clips = (labels.folder / "manifest.csv").read_text()
    (labels.folder / "manifest.csv").write_text(clips.replace("1.wav,1,y", "1.wav,0,x"))
    ensemble([one, labels], out=tmp_path / "truths")
    with pytest.raises(RunError, match=r"1\.wav: .*other classes of this clip"):
        evaluate(tmp_path / "truths")
