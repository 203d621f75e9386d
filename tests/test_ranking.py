"""Likeliest classes by hand, and scores against answers of every form that is allowed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kikiwake.cli import main
from kikiwake.errors import ManifestError
from kikiwake.predictions import Predictions
from kikiwake.ranking import rank, score

CLASSES = ["a", "b", "c"]


def predictions(*rows: tuple[str, float, float, list[float]]) -> Predictions:
    paths, starts, ends, probabilities = zip(*rows, strict=True)
    return Predictions(
        list(paths), np.array(starts), np.array(ends), np.array(probabilities, np.float32), CLASSES
    )


WINDOWS = predictions(
    ("x/001.mp3", 0.0, 4.0, [0.5, 0.3, 0.2]),
    ("x/001.mp3", 4.0, 5.0, [0.0, 0.2, 0.8]),
    ("x/002.mp3", 0.0, 4.0, [0.2, 0.4, 0.4]),
)


def write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_windows_count_by_their_lengths_and_ties_go_to_the_first_class() -> None:
    # 001: a 4/5 * 0.5 = 0.4; b 4/5 * 0.3 + 1/5 * 0.2 = 0.28; c 4/5 * 0.2 + 1/5 * 0.8 = 0.32.
    assert rank(WINDOWS) == {"001": ["a", "c", "b"], "002": ["b", "c", "a"]}
    assert rank(WINDOWS, top=1, by="max") == {"001": ["c"], "002": ["b"]}


def test_recordings_that_cannot_be_told_apart_are_refused() -> None:
    twice = predictions(("x/001.mp3", 0, 1, [1, 0, 0]), ("y/001.wav", 0, 1, [1, 0, 0]))
    with pytest.raises(ManifestError, match=r"y/001\.wav: 'x/001\.mp3' has the same name"):
        rank(twice)
    with pytest.raises(ManifestError, match="at least one class"):
        rank(WINDOWS, top=0)


@pytest.mark.parametrize("answers", [["a", "c", "b"], {"1": "a", "002": "c", "03": "b"}])
def test_scores_by_hand_with_missing_and_extra_ids(tmp_path: Path, answers: Any) -> None:
    guesses = {"001": ["a", "b", "c"], "2": ["b", "c", "a", "x"], "0300": "a", "mix": ["a"]}
    found = score(write(tmp_path / "answers.json", answers), write(tmp_path / "guesses.json", guesses))
    assert found.answers == 3
    assert found.top == {1: pytest.approx(1 / 3), 3: pytest.approx(2 / 3)}
    assert (found.missing, found.extra) == (["3"], ["300", "mix"])
    assert "counted as wrong: 1: 3" in str(found)
    assert "not counted: 2: 300, mix" in str(found)


def test_a_fourth_guess_is_too_late(tmp_path: Path) -> None:
    guesses = write(tmp_path / "guesses.json", {"1": ["b", "c", "d", "a"]})
    assert score(write(tmp_path / "answers.json", ["a"]), guesses).top == {1: 0.0, 3: 0.0}


@pytest.mark.parametrize(
    ("answers", "guesses", "complaint"),
    [
        ("[]", "{}", "answers.json: holds no answers"),
        ("3", "{}", "holds no answers"),
        ("[3]", "{}", "'1' .*3 is no class"),
        ('["a"]', "[]", "guesses.json: holds no predictions by id"),
        ('["a"]', '{"1": 3}', "3 is no list of classes"),
        ('["a"]', '{"1": ["a"], "01": ["b"]}', "'01' .*stands twice"),
        ('["a"]', '{"1": ["a"], "1": ["b"]}', "guesses.json: is not JSON: '1' stands twice"),
        ('["a"', "{}", "answers.json: is not JSON"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(
    tmp_path: Path, answers: str, guesses: str, complaint: str
) -> None:
    (tmp_path / "answers.json").write_text(answers)
    (tmp_path / "guesses.json").write_text(guesses)
    with pytest.raises(ManifestError, match=complaint):
        score(tmp_path / "answers.json", tmp_path / "guesses.json")


def test_from_a_table_to_a_score_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    WINDOWS.write(tmp_path / "preds.csv")
    ranked = tmp_path / "ranked.json"
    answers = write(tmp_path / "answers.json", ["c", "b"])
    for command in (["rank", str(tmp_path / "preds.csv"), str(ranked)], ["score", str(answers), str(ranked)]):
        monkeypatch.setattr("sys.argv", ["kikiwake", *command])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
    assert json.loads(ranked.read_text()) == {"001": ["a", "c", "b"], "002": ["b", "c", "a"]}
    assert "top-1 accuracy 0.5000\ntop-3 accuracy 1.0000" in capsys.readouterr().out
