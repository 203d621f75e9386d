"""Events are made of predictions and held against the truth: by hand, and on a set made from real clips."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from kikiwake import audio
from kikiwake.cli import app
from kikiwake.detection import Settings, score_events
from kikiwake.errors import KikiwakeError, ManifestError
from kikiwake.events import Event
from kikiwake.labelfiles.audacity import Audacity
from kikiwake.manifest import Clip, Manifest
from kikiwake.predictions import Predictions
from kikiwake.soundscapes import synthesise_set


def write_frames(path: Path, recordings: dict[str, dict[str, list[tuple[float, float]]]]) -> Path:
    """Predictions of 10 s in frames of 0.1 s: 0.9 where a class is said to be heard, else 0.1."""
    classes = sorted({name for spans in recordings.values() for name in spans})
    starts = np.arange(100) / 10
    probabilities = np.full((len(recordings), 100, len(classes)), 0.1, np.float32)
    for number, spans in enumerate(recordings.values()):
        for name, stretches in spans.items():
            for start, end in stretches:
                probabilities[number, round(10 * start) : round(10 * end), classes.index(name)] = 0.9
    Predictions(
        [f"site/{name}" for name in recordings for _ in starts],
        np.tile(starts, len(recordings)),
        np.tile(starts + 0.1, len(recordings)),
        probabilities.reshape(-1, len(classes)),
        classes,
    ).write(path)
    return path


def write_truth(path: Path, *rows: tuple[str, object, object, str]) -> Path:
    lines = ["filename,start,end,label", *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def heard(tmp_path: Path) -> tuple[Path, Path]:
    predictions = write_frames(
        tmp_path / "heard.csv",
        {
            "a.wav": {"owl": [(1.0, 2.1), (5.0, 6.0)], "frog": [(7.0, 8.0)], "wren": []},
            "b.wav": {"owl": [], "frog": [(0.0, 1.0)], "wren": []},
            "extra.wav": {"owl": [(0.0, 9.0)], "frog": [], "wren": []},
        },
    )
    truth = write_truth(
        tmp_path / "truth.csv",
        ("a.wav", 1.05, 2.0, "owl"),
        ("a.wav", 7.0, 8.0, "toad"),
        ("b.wav", "", "", ""),
        ("missing.wav", 0, 1, "owl"),
    )
    return predictions, truth


def test_scores_worked_out_by_hand(heard: tuple[Path, Path]) -> None:
    """One owl found, one invented; the toad, which no model knows, taken for a frog; a frog invented in b."""
    found = score_events(*heard, replicates=0)
    assert found.recordings == 2
    event = {name: score.value for name, score in found.scores["event"].items()}
    assert event == pytest.approx(
        {
            "micro_f1": 2 * 1 / (2 + 4),
            "micro_precision": 1 / 4,
            "micro_recall": 1 / 2,
            "macro_f1": (2 / 3 + 0) / 2,  # owl, toad
            "error_rate": (1 + 0 + 2) / 2,
            "macro_error_rate": (1 + 1) / 2,
        }
    )
    # Seconds: owl is in 1, toad in 7; found are owl in 1, 2 and 5, frog in 7 and, in b, in 0.
    segment = {name: score.value for name, score in found.scores["segment"].items()}
    assert segment["micro_f1"] == pytest.approx(2 * 1 / (2 + 5))
    assert segment["error_rate"] == pytest.approx((1 + 0 + 3) / 2)
    rows = {row["class"]: row for row in found.classes}
    assert list(rows) == ["frog", "owl", "wren", "toad"]
    assert (rows["owl"]["event_hits"], rows["owl"]["event_decisions"], rows["owl"]["segment_hits"]) == (
        1,
        2,
        1,
    )


def test_what_is_on_one_side_alone_is_named(heard: tuple[Path, Path]) -> None:
    found = score_events(*heard, replicates=0)
    assert found.missing == ["missing.wav"]
    assert found.extra == ["site/extra.wav"]
    text = str(found)
    assert "1 recordings of" in text
    assert "missing.wav" in text
    assert "site/extra.wav" in text
    assert "the model does not know toad (1): all of it is missed" in text
    assert "not there, and in no mean over classes: frog, wren" in text


def test_smoothing_and_cleaning_come_before_the_scores(tmp_path: Path) -> None:
    """An owl with a hole of 0.2 s, and a click of one frame."""
    predictions = write_frames(
        tmp_path / "p.parquet", {"a.wav": {"owl": [(1.0, 1.4), (1.6, 3.0), (8.0, 8.1)]}}
    )
    truth = write_truth(tmp_path / "truth.csv", ("a.wav", 1, 3, "owl"))

    def hits(**changes: float) -> tuple[int, int]:
        row = score_events(predictions, truth, settings=Settings(**changes), replicates=0).classes[0]
        return row["event_hits"], row["event_decisions"]

    assert hits() == (0, 3)
    assert hits(gap_seconds=0.3) == (1, 2)
    assert hits(gap_seconds=0.3, shortest_seconds=0.2) == (1, 1)
    assert hits(median_seconds=0.5) == (1, 1)
    assert hits(threshold=0.95) == (0, 0)
    assert hits(high_threshold=0.95) == (0, 0)
    said = score_events(predictions, truth, settings=Settings(high_threshold=0.9), replicates=0)
    assert "3 found at threshold 0.5, and 0.9 somewhere in them" in str(said)
    assert hits(collar_seconds=0.7, offset_share=0.0) == (1, 3)
    # With the click's onset 7 s off no collar helps; a segment of 10 s hears the owl.
    whole = score_events(predictions, truth, settings=Settings(segment_seconds=10.0), replicates=0)
    assert whole.scores["segment"]["micro_f1"].value == 1.0


def test_intervals_come_from_drawing_recordings(tmp_path: Path) -> None:
    """In half of 40 recordings the owl is found, in the others not: recall is 0.5, give or take 0.16."""
    spans: dict[str, dict[str, list[tuple[float, float]]]] = {
        f"{number:02d}.wav": {"owl": [(1.0, 2.0)] if number % 2 else []} for number in range(40)
    }
    predictions = write_frames(tmp_path / "heard.csv", spans)
    truth = write_truth(tmp_path / "truth.csv", *((name, 1, 2, "owl") for name in spans))
    recall = score_events(predictions, truth).scores["event"]["micro_recall"]
    assert recall.value == 0.5
    assert recall.low is not None
    assert recall.high is not None
    assert 0.5 - recall.low == pytest.approx(1.96 * np.sqrt(0.25 / 40), abs=0.04)
    assert recall.high - 0.5 == pytest.approx(1.96 * np.sqrt(0.25 / 40), abs=0.04)


def test_tables_say_what_became_of_every_event(heard: tuple[Path, Path], tmp_path: Path) -> None:
    found = score_events(*heard, out=tmp_path / "out", replicates=10)
    with (tmp_path / "out" / "events.csv").open(newline="") as file:
        rows = [
            (row["filename"], row["kind"], row["label"], row["found_label"]) for row in csv.DictReader(file)
        ]
    assert rows == [
        ("a.wav", "hit", "owl", "owl"),
        ("a.wav", "inserted", "", "owl"),
        ("a.wav", "confused", "toad", "frog"),
        ("b.wav", "inserted", "", "frog"),
    ]
    written = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert written["scores"]["event"]["micro_f1"]["value"] == found.scores["event"]["micro_f1"].value
    assert written["settings"]["collar_seconds"] == 0.2
    with (tmp_path / "out" / "classes.csv").open(newline="") as file:
        classes = {row["class"]: row for row in csv.DictReader(file)}
    assert classes["toad"]["event_precision"] == ""
    assert float(classes["owl"]["event_f1"]) == pytest.approx(2 / 3, abs=1e-6)


def test_label_files_are_a_truth_and_names_that_do_not_meet_are_told(
    heard: tuple[Path, Path], tmp_path: Path
) -> None:
    Audacity().write(tmp_path / "labels" / "a.labels.txt", [Event("", 1.0, 2.0, "owl")])
    Audacity().write(tmp_path / "labels" / "b.labels.txt", [])
    found = score_events(heard[0], tmp_path / "labels", replicates=0)
    assert (found.recordings, found.scores["event"]["micro_recall"].value) == (2, 1.0)
    other = write_truth(tmp_path / "other.csv", ("c.wav", 1, 2, "owl"))
    with pytest.raises(ManifestError, match=r"no recording of .*heard\.csv is in it"):
        score_events(heard[0], other)


def test_the_command_scores_and_refuses_what_makes_no_sense(heard: tuple[Path, Path]) -> None:
    words = ["score-events", *map(str, heard)]
    done = CliRunner().invoke(app, [*words, "--collar", "0.25", "--replicates", "0"])
    assert done.exit_code == 0, done.output
    assert "2 recordings: 2 events, 4 found at threshold 0.5" in done.output
    assert "event_micro_f1            0.3333  -" in done.output
    for option, value, told in [("--threshold", "2", "threshold"), ("--segment", "0", "segment_seconds"),
                                ("--collar", "-1", "collar"), ("--gap", "-1", "gap_seconds")]:  # fmt: skip
        refused = CliRunner().invoke(app, [*words, option, value])
        assert isinstance(refused.exception, KikiwakeError)
        assert told in str(refused.exception)


def test_a_set_of_real_clips_is_found_by_who_knows_its_truth(data_folder: Path, tmp_path: Path) -> None:
    """Frames of 0.1 s made from the truth find all but events that merge or vanish between frames."""
    clips = []
    with (data_folder / "esc10" / "esc10.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["category"] in ("rain", "rooster") and row["take"] == "A" and row["fold"] in "12":
                info = audio.probe(data_folder / "esc10" / "audio" / row["filename"])
                class_id = int(row["category"] == "rooster")
                clips.append(
                    Clip(
                        info.path, row["category"], class_id, int(row["fold"]), info.frames, info.sample_rate
                    )
                )
    manifest = Manifest(clips, ["rain", "rooster"])
    made = synthesise_set(manifest, tmp_path, recordings=6, seconds=10, sample_rate=8000, seed=1)
    spans: dict[str, dict[str, list[tuple[float, float]]]] = {
        f"{number:04d}.flac": {"rain": [], "rooster": []} for number in range(6)
    }
    with made.truth.open(newline="") as file:
        for row in csv.DictReader(file):
            spans[row["filename"]][row["label"]].append((float(row["start"]), float(row["end"])))
    predictions = write_frames(tmp_path / "heard.csv", spans)
    found = score_events(predictions, made.truth, replicates=0)
    assert found.recordings == 6
    assert found.notes == ["only 6 recordings: the intervals are rough, and rather too narrow"]
    assert found.scores["event"]["micro_f1"].value == 1.0
    assert found.scores["segment"]["micro_f1"].value is not None
    assert found.scores["segment"]["micro_f1"].value > 0.9
    late = {name: {label: [(s + 0.5, e + 0.5) for s, e in own] for label, own in each.items()}
            for name, each in spans.items()}  # fmt: skip
    half_a_second_late = score_events(write_frames(tmp_path / "late.csv", late), made.truth, replicates=0)
    assert half_a_second_late.scores["event"]["micro_f1"].value == 0.0
