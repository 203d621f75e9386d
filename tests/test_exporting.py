"""Label files from a table of predictions: names, counts, and files of others that stay as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from kikiwake import cli, exporting
from kikiwake.errors import KikiwakeError, ManifestError, RecipeError, StorageError
from kikiwake.events import Event, events_of
from kikiwake.exporting import RECORD, export, label_names
from kikiwake.files import write_json
from kikiwake.labelfiles.audacity import Audacity
from kikiwake.labelfiles.raven import Raven
from kikiwake.predictions import Predictions
from kikiwake.training import train
from toys import PITCHES, SAMPLE_RATE, tone, toy_recipe, write_tones


def predictions() -> Predictions:
    """Two recordings of one name in two folders, one of which is silent, and a third one."""
    paths = ["x/1/a.wav"] * 3 + ["x/2/a.wav"] * 2 + ["x/聞.wav"] * 2
    starts = np.array([0.0, 1.0, 2.0, 0.0, 1.0, 0.0, 1.0])
    owl = [0.9, 0.6, 0.1, 0.2, 0.3, 0.7, 0.1]
    frog = [0.1, 0.1, 0.8, 0.4, 0.4, 0.1, 0.75]
    return Predictions(paths, starts, starts + 1, np.array([owl, frog], np.float32).T, ["owl", "tree\tfrog"])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    predictions().write(tmp_path / "heard.csv")
    return tmp_path / "heard.csv"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def command(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """The status that a command ends with."""
    monkeypatch.setattr("sys.argv", ["kikiwake", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_every_recording_gets_a_file_of_each_format(table: Path, tmp_path: Path) -> None:
    summary = export(table, ["audacity", "raven"], tmp_path / "labels", sample_rate=8000)
    found = contents(tmp_path / "labels")
    assert sorted(found) == [
        "1/a.Table.1.selections.txt",
        "1/a.labels.txt",
        "2/a.Table.1.selections.txt",
        "2/a.labels.txt",
        RECORD,
        "聞.Table.1.selections.txt",
        "聞.labels.txt",
    ]
    assert found["1/a.labels.txt"] == b"0.0\t2.0\towl\n2.0\t3.0\ttree frog\n"
    assert found["2/a.labels.txt"] == b""
    assert Audacity().read(tmp_path / "labels/聞.labels.txt") == [
        Event("", 0.0, 1.0, "owl"),
        Event("", 1.0, 2.0, "tree frog"),
    ]
    assert Raven().read(tmp_path / "labels/1/a.Table.1.selections.txt") == [
        Event(str(Path.cwd() / "x/1/a.wav"), 0.0, 2.0, "owl", 0.9, 0.0, 4000.0),
        Event(str(Path.cwd() / "x/1/a.wav"), 2.0, 3.0, "tree frog", 0.8, 0.0, 4000.0),
    ]
    assert (summary.recordings, summary.silent, summary.events) == (3, 1, 4)
    assert str(summary) == (
        "4 events in 3 recordings at threshold 0.5; 1 without any, whose files are empty\n"
        f"labels for audacity, raven: {tmp_path / 'labels'}"
    )


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_small_chunks_and_other_tables_give_the_same_files(
    table: Path, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(table, ["audacity", "raven"], tmp_path / "one", sample_rate=8000)
    predictions().write(tmp_path / f"again{suffix}")
    monkeypatch.setattr("kikiwake.predictions._ROW_GROUP_VALUES", 14)
    export(tmp_path / f"again{suffix}", ["raven", "audacity"], tmp_path / "other", sample_rate=8000)
    assert contents(tmp_path / "one") == contents(tmp_path / "other")


def test_the_threshold_decides(table: Path, tmp_path: Path) -> None:
    assert export(table, ["audacity"], tmp_path / "l", threshold=0.8).events == 2
    assert (tmp_path / "l/1/a.labels.txt").read_text() == "0.0\t1.0\towl\n2.0\t3.0\ttree frog\n"
    assert len(events_of(predictions(), threshold=0.8)) == 2


def test_the_rate_is_read_from_the_summary_beside_the_table(table: Path, tmp_path: Path) -> None:
    with pytest.raises(KikiwakeError, match=r"heard\.csv: raven wants the band.*give the sample rate"):
        export(table, ["audacity", "raven"], tmp_path / "labels")
    assert not (tmp_path / "labels").exists()
    write_json(tmp_path / "heard.summary.json", {"job": {"sample_rate": 32_000}})
    export(table, ["raven"], tmp_path / "labels")
    assert Raven().read(tmp_path / "labels/聞.Table.1.selections.txt")[0].high_hz == 16_000
    with pytest.raises(KikiwakeError, match="sample_rate: must be at least 1 Hz"):
        export(table, ["raven"], tmp_path / "labels", sample_rate=0)


@pytest.mark.parametrize(
    ("recordings", "names"),
    [
        ([], []),
        (["/d/a.wav"], ["a"]),
        (["a.wav", "b.c.flac"], ["a", "b.c"]),
        (["d/a.wav", "e/a.wav", "a.wav"], ["d/a", "e/a", "a"]),
        (["/d/1/a.wav", "/d/2/b.wav", "/d/1/../3/c.wav"], ["1/a", "2/b", "3/c"]),
        (["d/a.wav", "d/a.flac", "d/b.wav"], ["a.wav", "a.flac", "b.wav"]),
        (["d/a.wav", "d/a", "d/a.wav.mp3"], ["a.wav", "a", "a.wav.mp3"]),
        ([".wav", "..wav", "d/..wav", "d.wav"], [".wav", "..wav", "d/..wav", "d.wav"]),
    ],
)
def test_labels_are_named_after_their_recordings_and_tell_them_apart(
    recordings: list[str], names: list[str]
) -> None:
    assert list(label_names(recordings).values()) == names


def test_one_recording_under_two_paths_is_told() -> None:
    with pytest.raises(ManifestError, match=r"d/a\.wav: this recording stands in the table under two paths"):
        label_names(["d/a.wav", "d/e/../a.wav"])


def test_an_export_replaces_its_own_files_and_no_others(table: Path, tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    export(table, ["audacity"], folder)
    before = contents(folder)
    export(table, ["audacity"], folder, threshold=0.8)
    assert contents(folder) != before

    corrected = folder / "1/a.labels.txt"
    corrected.write_text("0.25\t1.5\towl\n")
    before = contents(folder)
    for formats in (["audacity"], ["raven", "audacity"]):
        with pytest.raises(StorageError, match=r"1/a\.labels\.txt: this file was not written by an export"):
            export(table, formats, folder, sample_rate=8000)
    assert contents(folder) == before
    export(table, ["raven"], folder, sample_rate=8000)
    assert corrected.read_text() == "0.25\t1.5\towl\n"
    corrected.unlink()
    export(table, ["audacity"], folder)
    assert set(json.loads((folder / RECORD).read_text())["files"]) == set(contents(folder)) - {RECORD}


def test_files_that_were_there_before_are_kept(table: Path, tmp_path: Path) -> None:
    mine = tmp_path / "labels/聞.labels.txt"
    mine.parent.mkdir()
    mine.write_text("0\t1\tmy own work\n")
    with pytest.raises(StorageError, match="would be lost"):
        export(table, ["audacity"], tmp_path / "labels")
    assert contents(tmp_path / "labels") == {mine.name: b"0\t1\tmy own work\n"}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / RECORD).write_text('{"mine": 1}')
    with pytest.raises(StorageError, match=r"exported\.json: .*no record of exported labels"):
        export(table, ["audacity"], tmp_path / "other")


def test_an_export_that_stopped_midway_can_be_given_again(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(exporting, "content_hash", stop)
        with pytest.raises(KeyboardInterrupt):
            export(table, ["audacity"], tmp_path / "labels")
    assert (tmp_path / "labels/1/a.labels.txt").is_file()
    export(table, ["audacity"], tmp_path / "labels", threshold=0.6)
    export(table, ["audacity"], tmp_path / "whole", threshold=0.6)
    assert contents(tmp_path / "labels") == contents(tmp_path / "whole")


def test_a_table_whose_rows_stand_apart_is_told_before_anything_is_written(tmp_path: Path) -> None:
    windows = predictions()
    rows = [0, 3, 1]
    Predictions(
        [windows.paths[row] for row in rows],
        *(values[rows] for values in (windows.starts, windows.ends, windows.probabilities)),
        windows.classes,
    ).write(tmp_path / "mixed.csv")
    with pytest.raises(ManifestError, match=r"x/1/a\.wav: the rows of this recording stand apart"):
        export(tmp_path / "mixed.csv", ["audacity"], tmp_path / "labels")
    assert not (tmp_path / "labels").exists()


def test_a_table_without_rows_has_no_label_files(tmp_path: Path) -> None:
    predictions().cut(0, 0).write(tmp_path / "empty.csv")
    summary = export(tmp_path / "empty.csv", ["audacity"], tmp_path / "labels")
    assert (summary.recordings, summary.events) == (0, 0)


@pytest.mark.parametrize(
    ("formats", "complaint"),
    [
        (["audacty"], "labels: unknown label format 'audacty'; did you mean 'audacity'. allowed: audacity"),
        (["raven", "xyz"], "unknown label format 'xyz'; allowed: audacity, raven"),
        ([], "unknown label format ''"),
    ],
)
def test_a_format_that_is_not_there_gives_the_nearest(
    table: Path, tmp_path: Path, formats: list[str], complaint: str
) -> None:
    with pytest.raises(RecipeError, match=complaint):
        export(table, formats, tmp_path / "labels")


def test_from_a_table_to_labels_on_the_command_line(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", table, "audacity, raven", tmp_path / "labels", "--sample-rate", 8000]
    assert command(monkeypatch, *words, "--threshold", 0.8) == 0
    assert "2 events in 3 recordings at threshold 0.8; 2 without any" in capsys.readouterr().out
    assert len(contents(tmp_path / "labels")) == 7
    assert command(monkeypatch, *words, "--threshold", 80) == 2
    assert "threshold: is no probability (got 80.0)" in capsys.readouterr().err


def test_predict_writes_labels_beside_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(toy_recipe(write_tones(tmp_path / "tones"), tmp_path / "run"))
    (tmp_path / "sounds").mkdir()
    soundfile.write(tmp_path / "sounds/a.wav", tone(PITCHES["low"], seconds=1.3, seed=0), SAMPLE_RATE)
    (tmp_path / "sounds" / "bad.wav").write_bytes(b"no sound")
    words = ["predict", run.folder, tmp_path / "sounds", "--out", tmp_path / "heard.csv", "--workers", 0]

    assert command(monkeypatch, *words, "--labels", "ravn") == 2
    assert "did you mean 'raven'?" in capsys.readouterr().err
    assert command(monkeypatch, *words, "--threshold", 0.3) == 2
    assert "--threshold: is for label files only" in capsys.readouterr().err
    assert not (tmp_path / "heard.csv").exists()

    for _ in range(2):  # the second time nothing is left to predict
        ended = command(monkeypatch, *words, "--labels", "audacity,raven", "--threshold", 0.01)
        assert ended == cli.SET_ASIDE
        assert f"labels for audacity, raven: {tmp_path / 'heard.labels'}" in capsys.readouterr().out
    assert sorted(contents(tmp_path / "heard.labels")) == [
        "a.Table.1.selections.txt",
        "a.labels.txt",
        RECORD,
    ]
    selections = Raven().read(tmp_path / "heard.labels/a.Table.1.selections.txt")
    assert selections == [
        Event(event.path, event.start, event.end, event.label, event.score, 0.0, 4000.0)
        for event in events_of(Predictions.read(tmp_path / "heard.csv"), threshold=0.01)
    ]
    assert selections
