"""Models are compared on the same clips, by paired differences."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from kikiwake.comparison import compare
from kikiwake.errors import RunError

CLASSES = ["a", "b"]


def write_crossval(
    folder: Path, probabilities: list[float], *, labels: str = "abababab", fold: int = 1, end: float = 1.0
) -> Path:
    """What a cross-validation leaves: clips of two classes, two clips a group, P(a) as given."""
    folder.mkdir()
    (folder / "summary.json").write_text(json.dumps({"out_of_fold": {"multilabel": False}}))
    with (folder / "out_of_fold.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "start", "end", "group", "fold", "class", "predicted", "correct", *CLASSES])
        for row, (label, p) in enumerate(zip(labels, probabilities, strict=True)):
            found = "a" if p >= 0.5 else "b"
            place = [f"/{row}.wav", "0.0", str(end), f"g{row // 2}", str(fold)]
            writer.writerow([*place, label, found, int(found == label), p, 1 - p])
    return folder


RIGHT = [0.9, 0.1] * 4
ONE_WRONG = [0.9, 0.1, 0.9, 0.1, 0.9, 0.1, 0.9, 0.8]
ALL_WRONG = [0.1, 0.9] * 4


def test_scores_and_paired_differences_are_those_worked_out_by_hand(tmp_path):
    right = write_crossval(tmp_path / "right", RIGHT)
    one_wrong = write_crossval(tmp_path / "one_wrong", ONE_WRONG)
    found = compare([one_wrong, right], replicates=500, out=tmp_path / "out")
    assert found.best == "right"
    assert list(found.scores) == ["right", "one_wrong"]
    assert found.scores["right"]["accuracy"].value == 1.0
    assert found.scores["one_wrong"]["accuracy"].value == 7 / 8
    (difference,) = [one for one in found.differences if one.score == "accuracy"]
    assert (difference.first, difference.second) == ("right", "one_wrong")
    assert difference.interval.value == pytest.approx(1 / 8)
    # A group of two clips holds the wrong one: k of 4 draws of it give a difference of k / 8.
    assert difference.interval.low == 0.0
    assert difference.interval.high == pytest.approx(3 / 8)
    assert difference.in_doubt
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "scores.csv",
        "differences.csv",
        "comparison.png",
    }
    assert "best by accuracy: right" in str(found)


def test_a_difference_that_holds_in_every_resample_is_not_in_doubt(tmp_path):
    found = compare(
        [write_crossval(tmp_path / "x", ALL_WRONG), write_crossval(tmp_path / "y", RIGHT)], replicates=50
    )
    (difference,) = [one for one in found.differences if one.score == "accuracy"]
    assert difference.interval[:3] == (1.0, 1.0, 1.0)
    assert not difference.in_doubt


def test_pairing_narrows_the_interval_of_a_difference(tmp_path):
    rng = np.random.default_rng(0)
    labels = "".join(rng.choice(list("ab"), 80))
    hard = rng.random(80) < 0.4
    base = [float((label == "a") != wrong) * 0.8 + 0.1 for label, wrong in zip(labels, hard, strict=True)]
    worse = list(base)
    for row in (3, 17, 41):
        worse[row] = 0.9 if labels[row] == "b" else 0.1
    one = write_crossval(tmp_path / "one", base, labels=labels)
    two = write_crossval(tmp_path / "two", worse, labels=labels)
    found = compare([one, two], replicates=300)
    (difference,) = [d for d in found.differences if d.score == "accuracy"]
    alone = found.scores["one"]["accuracy"]
    assert difference.interval.high - difference.interval.low < (alone.high - alone.low) / 2


def test_the_order_of_the_clips_does_not_matter(tmp_path):
    one = write_crossval(tmp_path / "one", RIGHT)
    two = write_crossval(tmp_path / "two", ONE_WRONG)
    before = compare([one, two], replicates=0)
    table = two / "out_of_fold.csv"
    head, *rows = table.read_text().splitlines()
    table.write_text("\n".join([head, *reversed(rows)]) + "\n")
    assert compare([one, two], replicates=0) == before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"fold": 2}, "fold"),
        ({"labels": "bbababab"}, "class"),
        ({"end": 2.0}, "0.0 to"),
    ],
)
def test_runs_of_other_clips_folds_or_classes_are_refused(tmp_path, changes, said):
    one = write_crossval(tmp_path / "one", RIGHT)
    two = write_crossval(tmp_path / "two", RIGHT, **changes)
    with pytest.raises(RunError, match="clips that one was judged by") as error:
        compare([one, two])
    assert said in str(error.value)


def test_what_is_no_run_is_refused(tmp_path):
    one = write_crossval(tmp_path / "one", RIGHT)
    with pytest.raises(RunError, match="neither a run directory nor"):
        compare([one, tmp_path])
    with pytest.raises(RunError, match="two runs or more"):
        compare([one])
    with pytest.raises(RunError, match="each once"):
        compare([one, one])


def test_what_an_evaluation_notes_of_its_scores_is_not_lost(tmp_path):
    folders = [write_crossval(tmp_path / name, RIGHT) for name in ("chosen", "honest")]
    about = {"multilabel": False, "notes": ["only 4 groups"]}
    (folders[0] / "summary.json").write_text(
        json.dumps({"out_of_fold": {**about, "notes": ["these clips chose the weights", *about["notes"]]}})
    )
    (folders[1] / "summary.json").write_text(json.dumps({"out_of_fold": about}))
    told = str(compare(folders, replicates=20))
    assert "note: chosen: these clips chose the weights" in told
    assert told.count("note: only 4 groups") == 1


def test_without_replicates_nothing_is_said_of_doubt_and_fewer_are_refused(tmp_path):
    folders = [write_crossval(tmp_path / name, RIGHT) for name in ("one", "two")]
    told = str(compare(folders, replicates=0))
    assert "in doubt" not in told
    assert "paired" not in told
    with pytest.raises(RunError, match="replicates"):
        compare(folders, replicates=-5)


def test_a_cell_that_is_no_number_is_told_with_its_line(tmp_path):
    folders = [write_crossval(tmp_path / name, RIGHT) for name in ("one", "two")]
    table = folders[1] / "out_of_fold.csv"
    table.write_text(table.read_text().replace("0.1,0.9", "0.1,?", 1))
    with pytest.raises(RunError, match=r"two/out_of_fold\.csv:3: .*b '\?' is no number"):
        compare(folders, replicates=0)


def test_clips_of_other_parts_are_not_compared(tmp_path):
    folders = [write_crossval(tmp_path / name, RIGHT) for name in ("one", "two")]
    (folders[0] / "summary.json").write_text(
        json.dumps({"out_of_fold": {"multilabel": False, "part": "validation"}})
    )
    with pytest.raises(RunError, match="one was judged by validation clips, two by out-of-fold clips"):
        compare(folders, replicates=0)
