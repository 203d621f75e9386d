"""Tables of predictions: the same rows however they are written, and nothing lost on the way."""

from __future__ import annotations

import csv
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from kikiwake.errors import ManifestError
from kikiwake.predictions import (
    Predictions,
    SetAside,
    by_recording,
    join,
    path_text,
    read_chunks,
    write_predictions,
    write_quarantine,
)

AWKWARD = ["007.wav", "NA.wav", "a,b.wav", 'say "hi".wav', "two\nlines.wav", "=1+1.wav", "聞.wav", " .wav"]
CLASSES = ["owl", "1", "a,b", "start"]


def awkward() -> Predictions:
    rng = np.random.default_rng(3)
    probabilities = rng.dirichlet(np.ones(len(CLASSES)), len(AWKWARD)).astype(np.float32)
    starts = np.arange(len(AWKWARD)) * 2.5
    return Predictions(AWKWARD, starts, starts + 2.25, probabilities, CLASSES)


@pytest.mark.parametrize(("suffix", "tolerance"), [(".csv", 5e-7), (".parquet", 0)])
def test_what_is_written_is_read_back(tmp_path: Path, suffix: str, tolerance: float) -> None:
    written = awkward()
    written.write(tmp_path / f"table{suffix}")
    read = Predictions.read(tmp_path / f"table{suffix}")
    assert read.paths == written.paths
    assert list(read.classes) == CLASSES
    np.testing.assert_allclose(read.starts, written.starts)
    np.testing.assert_allclose(read.ends, written.ends)
    np.testing.assert_allclose(read.probabilities, written.probabilities, atol=tolerance)
    assert read.probabilities.dtype == np.float32


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_chunks_do_not_show_in_the_bytes(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kikiwake.predictions._ROW_GROUP_VALUES", 3 * (5 + len(CLASSES)))
    whole = awkward()
    whole.write(tmp_path / f"whole{suffix}")
    chunks = [whole.cut(0, 1), whole.cut(1, 1), whole.cut(1, 6), whole.cut(6, 8)]
    write_predictions(tmp_path / f"cut{suffix}", chunks, classes=CLASSES)
    assert (tmp_path / f"cut{suffix}").read_bytes() == (tmp_path / f"whole{suffix}").read_bytes()


def test_columns_are_those_of_the_format(tmp_path: Path) -> None:
    awkward().write(tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as file:
        header, first, *_ = csv.reader(file)
    assert header == ["path", "row_id", "start", "end", "predicted", *CLASSES]
    assert first[:4] == ["007.wav", "007_2", "0.000000", "2.250000"]
    assert first[4] == CLASSES[int(np.argmax([float(cell) for cell in first[5:]]))]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_may_have_no_rows(tmp_path: Path, suffix: str) -> None:
    write_predictions(tmp_path / f"empty{suffix}", [], classes=["a", "b"])
    read = Predictions.read(tmp_path / f"empty{suffix}")
    assert len(read) == 0
    assert list(read.classes) == ["a", "b"]
    assert read.probabilities.shape == (0, 2)
    assert len(read.frame()) == 0


def test_the_frame_has_the_rows_of_the_file(tmp_path: Path) -> None:
    frame = awkward().frame()
    assert list(frame.columns) == ["path", "row_id", "start", "end", "predicted", *CLASSES]
    assert frame["path"].tolist() == AWKWARD
    assert frame["row_id"].tolist() == awkward().row_ids()


def test_another_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("path,class\na.wav,owl\n")
    with pytest.raises(ManifestError, match=r"not a table of predictions"):
        Predictions.read(tmp_path / "other.csv")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_read_in_chunks_is_the_table(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    awkward().write(tmp_path / f"table{suffix}")
    whole = Predictions.read(tmp_path / f"table{suffix}")
    monkeypatch.setattr("kikiwake.predictions._ROW_GROUP_VALUES", 3 * (5 + len(CLASSES)))
    chunks = list(read_chunks(tmp_path / f"table{suffix}"))
    assert [len(chunk) for chunk in chunks] == [0, 3, 3, 2]
    joined = join(chunks, classes=chunks[0].classes)
    assert (joined.paths, joined.classes) == (whole.paths, whole.classes)
    for name in ("starts", "ends", "probabilities"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))


@pytest.mark.parametrize(
    ("break_it", "complaint"),
    [
        (
            lambda text: text.replace(b"14.750000", b"later", 1),
            r"table\.csv:9: .* 'later' is no number; .* hold numbers",
        ),
        (lambda text: text.replace(b"14.750000", b"nan", 1), r"table\.csv:9: .* 'nan' is no number"),
        (lambda text: text.replace(b"14.750000", b"", 1), r"table\.csv:9: .* '' is no number"),
        (lambda text: text.replace(b"14.750000", b"2\xea", 1), r"table\.csv:9: .* '2\\xea' is no number"),
        (
            lambda text: text.replace(b"14.750000,", b"", 1),
            r"table\.csv:9: .* 8 cells in a table of 9 columns",
        ),
        (
            lambda text: text.replace(b"14.750000", b"2,3", 1),
            r"table\.csv:9: .* 10 cells in a table of 9 columns",
        ),
        (lambda text: b"\xff\xfe" + text, "not a table of predictions"),
        (lambda text: b"x" * 200_000 + text, r"table\.csv:1: not a table of predictions: field larger"),
    ],
)
def test_cells_that_are_no_numbers_are_told_with_their_line(
    tmp_path: Path, break_it: Callable[[bytes], bytes], complaint: str
) -> None:
    awkward().write(tmp_path / "table.csv")
    broken = break_it((tmp_path / "table.csv").read_bytes())
    (tmp_path / "table.csv").write_bytes(broken)
    with pytest.raises(ManifestError, match=complaint):
        Predictions.read(tmp_path / "table.csv")


def test_rows_of_parquet_that_hold_no_numbers_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kikiwake.predictions._ROW_GROUP_VALUES", 3 * (5 + len(CLASSES)))
    broken = awkward()
    broken.probabilities[4, 1] = np.nan
    broken.write(tmp_path / "table.parquet")
    with pytest.raises(ManifestError, match=r"table\.parquet: .* not finite in one of rows 4 to 6"):
        Predictions.read(tmp_path / "table.parquet")


def test_rows_are_taken_by_their_numbers() -> None:
    found = awkward().at(np.array([5, 1]))
    assert found.paths == [AWKWARD[5], AWKWARD[1]]
    assert (found.starts.tolist(), found.ends.tolist()) == ([12.5, 2.5], [14.75, 4.75])
    np.testing.assert_array_equal(found.probabilities, awkward().probabilities[[5, 1]])


def test_recordings_come_whole_however_the_table_is_cut() -> None:
    starts = np.arange(6.0)
    table = Predictions(list("aabccc"), starts, starts + 1, np.ones((6, 1), np.float32), ["owl"])
    for cuts in ([0, 6], [0, 1, 1, 2, 4, 6], [0, 0, 3, 5, 6, 6]):
        chunks = [table.cut(start, stop) for start, stop in pairwise(cuts)]
        found = [(one.paths, one.starts.tolist()) for one in by_recording(chunks)]
        assert found == [(["a", "a"], [0, 1]), (["b"], [2]), (["c", "c", "c"], [3, 4, 5])]
    assert list(by_recording([table.cut(0, 0)])) == []


def test_a_recording_whose_rows_stand_apart_is_told() -> None:
    starts = np.arange(3.0)
    table = Predictions(list("aba"), starts, starts + 1, np.ones((3, 1), np.float32), ["owl"])
    with pytest.raises(ManifestError, match=r"^a: the rows of this recording stand apart"):
        list(by_recording([table]))


def test_joining_keeps_what_was_set_aside() -> None:
    note = SetAside("x.wav", 1.0, "is cut short", "partial")
    one, two = awkward().cut(0, 2), awkward().cut(2, 8)
    nothing = Predictions([], one.starts[:0], one.ends[:0], one.probabilities[:0], CLASSES, [note])
    joined = join([one, nothing, two], classes=CLASSES)
    assert joined.paths == AWKWARD
    assert joined.set_aside == [note]


def test_the_quarantine_names_file_place_reason_and_kind(tmp_path: Path) -> None:
    write_quarantine(tmp_path / "q.csv", [SetAside("a,b.wav", 1.25, 'no "data"', "unreadable")])
    with (tmp_path / "q.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["path", "offset_seconds", "reason", "kind"],
            ["a,b.wav", "1.250", 'no "data"', "unreadable"],
        ]


def test_a_name_that_is_no_unicode_can_stand_in_a_table() -> None:
    assert path_text(Path("caf\udce9.wav")) == "caf\\xe9.wav"
    assert path_text(Path("café.wav")) == "café.wav"
