"""Submissions as their sample is: by hand, with whatever samples and predictions can have wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from kikiwake.cli import app
from kikiwake.errors import ManifestError, StorageError
from kikiwake.predictions import Predictions
from kikiwake.submission import submit

CLASSES = ["owl", "wren", "a,b"]
SAMPLE = 'row_id,"a,b",owl,wren\nnight_10,.3,.3,.3\nnight_5,.3,.3,.3\n'


def predictions(*names: str, hop: float = 5.0) -> Predictions:
    """Two windows of each recording, of 5 s, in probabilities that tell their place."""
    paths = [name for name in names for _ in range(2)]
    starts = np.array([0.0, hop] * len(names))
    values = np.arange(3 * len(paths), dtype=np.float32).reshape(-1, 3) / 16
    return Predictions(paths, starts, starts + 5.0, values, CLASSES)


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    (tmp_path / "sample_submission.csv").write_bytes(SAMPLE.encode())
    return tmp_path / "sample_submission.csv"


def test_rows_and_columns_stand_as_in_the_sample(sample: Path, tmp_path: Path) -> None:
    summary = submit(predictions("x/night.ogg"), sample, tmp_path / "out.csv")
    expected = b'row_id,"a,b",owl,wren\nnight_10,0.3125,0.1875,0.25\nnight_5,0.125,0,0.0625\n'
    assert (tmp_path / "out.csv").read_bytes() == expected
    assert (summary.rows, summary.columns, summary.unknown, summary.unused) == (2, 3, [], [])
    assert str(summary) == f"{tmp_path / 'out.csv'}: 2 rows of 3 columns"


def test_delimiter_and_line_ends_are_the_samples(sample: Path, tmp_path: Path) -> None:
    sample.write_bytes("\ufeffrow_id\towl\twren\ta,b\r\nnight_5\t0\t0\t0\r\nnight_10\t0\t0\t0\r\n".encode())
    submit(predictions("night.ogg"), sample, tmp_path / "out.tsv")
    expected = b"row_id\towl\twren\ta,b\r\nnight_5\t0\t0.0625\t0.125\r\nnight_10\t0.1875\t0.25\t0.3125\r\n"
    assert (tmp_path / "out.tsv").read_bytes() == expected


def test_small_probabilities_keep_their_order(sample: Path, tmp_path: Path) -> None:
    found = predictions("night.ogg")
    found.probabilities[0] = [1.25e-9, 1.5e-9, 0.123456789]
    submit(found, sample, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().splitlines()[2] == "night_5,0.123457,1.25e-09,1.5e-09"


def test_rows_on_one_side_alone_are_listed_and_cut(sample: Path, tmp_path: Path) -> None:
    lines = "".join(f"day_{5 * number},0,0,0\n" for number in range(1, 31))
    sample.write_text(SAMPLE + lines)
    with pytest.raises(ManifestError) as caught:
        submit(predictions("night.ogg", "noon.ogg"), sample, tmp_path / "out.csv")
    text = str(caught.value)
    assert "'day_5' " in text
    assert "10 more of this kind (30 in all)" in text
    assert "'noon_10' " in text
    assert "'night_5'" not in text
    assert not (tmp_path / "out.csv").exists()


def test_the_sample_may_give_rows_or_columns_alone(sample: Path, tmp_path: Path) -> None:
    found = predictions("night.ogg", "noon.ogg")
    summary = submit(found, sample, tmp_path / "out.csv", rows="sample")
    assert [line.partition(",")[0] for line in (tmp_path / "out.csv").read_text().splitlines()] == [
        "row_id",
        "night_10",
        "night_5",
    ]
    assert "note: 2 rows of the predictions are not in the sample: left out" in str(summary)

    sample.write_text(SAMPLE + "placeholder_5,0,0,0\n")
    with pytest.raises(ManifestError, match=r"'placeholder_5' +in the sample, not predicted"):
        submit(found, sample, tmp_path / "out.csv", rows="sample")
    summary = submit(found, sample, tmp_path / "out.csv", rows="predictions")
    ids = [line.partition(",")[0] for line in (tmp_path / "out.csv").read_text().splitlines()]
    assert ids == ["row_id", "night_5", "night_10", "noon_5", "noon_10"]
    assert "note: 1 rows of the sample are not in the predictions: left out" in str(summary)


def test_classes_that_differ_are_an_error_or_zeros_and_told(sample: Path, tmp_path: Path) -> None:
    sample.write_text("row_id,wren,lark,owl\nnight_5,0,0,0\nnight_10,0,0,0\n")
    with pytest.raises(ManifestError, match=r"does not know: 1: lark.*--missing-classes zero"):
        submit(predictions("night.ogg"), sample, tmp_path / "out.csv")
    summary = submit(predictions("night.ogg"), sample, tmp_path / "out.csv", missing_classes="zero")
    assert (tmp_path / "out.csv").read_text().splitlines()[1] == "night_5,0.0625,0,0"
    assert "0 for classes that the model does not know: 1: lark" in str(summary)
    assert "classes of the model that the sample lacks: 1: a,b" in str(summary)


@pytest.mark.parametrize(
    ("found", "complaint"),
    [
        (predictions("x/night.ogg", "y/night.wav"), r"'night_5' .*for y/night\.wav and for x/night\.ogg"),
        (predictions("night.ogg", hop=0.25), r"row ids stand twice"),
    ],
)
def test_row_ids_that_stand_twice_are_refused(
    sample: Path, tmp_path: Path, found: Predictions, complaint: str
) -> None:
    for rows in ("same", "sample", "predictions"):
        with pytest.raises(ManifestError, match=complaint):
            submit(found, sample, tmp_path / "out.csv", rows=rows)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is no sample submission"),
        ("test_0.au\t7\n", r"is no sample submission.*its header is row_id"),
        ("row_id\nnight_5\n", "is no sample submission"),
        ("row_id,owl,owl\n", "csv:1 .*column 'owl' stands twice"),
        (SAMPLE + "night_5,0,0,0\n", r"csv:4 .*row 'night_5' stands in sample_submission\.csv:3 too"),
        ("row_id," + "x" * 200_000 + "\n", "not a table"),
    ],
)
def test_a_sample_that_is_none_is_refused(sample: Path, tmp_path: Path, text: str, complaint: str) -> None:
    sample.write_text(text)
    with pytest.raises(ManifestError, match=complaint):
        submit(predictions("night.ogg"), sample, tmp_path / "out.csv")


def test_nothing_else_is_written_over(sample: Path, tmp_path: Path) -> None:
    found = predictions("night.ogg")
    with pytest.raises(StorageError, match="this is the sample"):
        submit(found, sample, sample)
    assert sample.read_text() == SAMPLE
    found.write(tmp_path / "preds.csv")
    with pytest.raises(StorageError, match="no submission, and it would be lost"):
        submit(found, sample, tmp_path / "preds.csv")
    submit(found, sample, tmp_path / "out.csv")
    submit(found, sample, tmp_path / "out.csv")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_from_a_table_to_a_submission_on_the_command_line(sample: Path, tmp_path: Path, suffix: str) -> None:
    table, out = tmp_path / f"preds{suffix}", tmp_path / "submission.csv"
    predictions("night.ogg", "noon.ogg").write(table)
    result = CliRunner().invoke(app, ["submit", str(table), str(sample), str(out), "--rows", "sample"])
    assert result.exit_code == 0, result.output
    assert "2 rows of 3 columns" in result.output
    assert out.read_text().splitlines()[2] == "night_5,0.125,0,0.0625"
