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


def test_a_form_without_a_column_a_class_is_refused_whatever_is_asked(sample: Path, tmp_path: Path) -> None:
    sample.write_text("row_id,birds\nnight_5,nocall\n")
    with pytest.raises(ManifestError, match="none of its columns is a class"):
        submit(predictions("night.ogg"), sample, tmp_path / "out.csv", missing_classes="zero")


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
        ("row_id\nnight_5\n", r"is no sample submission.*its header is row_id.*with class numbers"),
        ("night,owl,wren\nnight_5,0,0\n", "is no sample submission"),
        ("file_name,label_id\n", "is no sample submission"),
        ("a.au,1,2\n", "is no sample submission"),
        ("a.au,rock\n", r"csv:1 .*'a.au,rock' is no recording and class number"),
        ("a.au,1\nb.au\n", r"csv:2 .*'b.au' is no recording and class number"),
        ("a.au,1\nb.au,1\na.au,1\n", r"csv:3 .*row 'a.au' stands in sample_submission\.csv:1 too"),
        ("a.au,1\na.wav,1\n", r"'a.wav' and 'a.au' have the same name without their suffixes"),
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


SONGS = Predictions(
    ["t/test_0.au", "t/test_0.au", "t/test_10.au", "t/test_2.au"],
    np.array([0.0, 4.0, 0.0, 0.0]),
    np.array([4.0, 5.0, 5.0, 5.0]),
    # test_0: owl 4/5 * 0.5 = 0.4; wren 4/5 * 0.3 + 1/5 * 0.2 = 0.28; a,b 4/5 * 0.2 + 1/5 * 0.8 = 0.32.
    np.array([[0.5, 0.3, 0.2], [0.0, 0.2, 0.8], [0.1, 0.2, 0.7], [0.2, 0.4, 0.4]], np.float32),
    CLASSES,
)


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    (tmp_path / "sample_submit.tsv").write_bytes(b"test_10.au\t7\ntest_2.au\t7\ntest_0.au\t7\n")
    return tmp_path / "sample_submit.tsv"


def test_recordings_get_the_number_of_their_likeliest_class(songs: Path, tmp_path: Path) -> None:
    """Windows count by their lengths, and of classes that are alike the first is taken."""
    summary = submit(SONGS, songs, tmp_path / "out.tsv")
    assert (tmp_path / "out.tsv").read_bytes() == b"test_10.au\t2\ntest_2.au\t1\ntest_0.au\t0\n"
    assert str(summary).splitlines() == [
        f"{tmp_path / 'out.tsv'}: 3 rows of a recording and its class number",
        "note: class numbers are the places of the model's classes: 3: 0 owl, 1 wren, 2 a,b",
        "note: 4 windows are joined to 3 recordings: the mean of their probabilities, "
        "weighed by their lengths",
    ]
    submit(SONGS, songs, tmp_path / "out.tsv")


def test_header_delimiter_and_line_ends_of_numbers_are_the_samples(songs: Path, tmp_path: Path) -> None:
    songs.write_bytes(b'"file_name";label_id\r\ntest_2.au;0\r\n"test_0.au";\r\ntest_10.au;0\r\n')
    submit(SONGS, songs, tmp_path / "out.csv")
    expected = b"file_name;label_id\r\ntest_2.au;1\r\ntest_0.au;0\r\ntest_10.au;2\r\n"
    assert (tmp_path / "out.csv").read_bytes() == expected


@pytest.mark.parametrize(
    "master",
    ['label_id,label_name\n3,owl\n12,wren\n5,lark\n0,"a,b"\n', '3\towl\n12\twren\n5\tlark\n0\t"a,b"\n'],
)
def test_class_numbers_are_those_of_the_label_master(songs: Path, tmp_path: Path, master: str) -> None:
    labels = tmp_path / "label_master.csv"
    labels.write_text(master)
    summary = submit(SONGS, songs, tmp_path / "out.tsv", labels=labels)
    assert (tmp_path / "out.tsv").read_text() == "test_10.au\t0\ntest_2.au\t12\ntest_0.au\t3\n"
    assert "class numbers are those of label_master.csv: 3: 0 a,b, 3 owl, 12 wren" in str(summary)
    assert "classes of label_master.csv that the model does not know: 1: lark" in str(summary)


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_the_label_master_beside_the_sample_numbers_the_classes(
    songs: Path, tmp_path: Path, suffix: str
) -> None:
    (tmp_path / f"label_master{suffix}").write_text("2,owl\n0,wren\n1,'a,b'\n".replace("'", '"'))
    summary = submit(SONGS, songs, tmp_path / "out.tsv")
    assert (tmp_path / "out.tsv").read_text() == "test_10.au\t1\ntest_2.au\t0\ntest_0.au\t2\n"
    told = f"class numbers are those of label_master{suffix} beside the sample: 3: 0 wren, 1 a,b, 2 owl"
    assert told in str(summary)
    (tmp_path / "other.csv").write_text('0,owl\n1,wren\n2,"a,b"\n')
    summary = submit(SONGS, songs, tmp_path / "out.tsv", labels=tmp_path / "other.csv")
    assert (tmp_path / "out.tsv").read_text() == "test_10.au\t2\ntest_2.au\t1\ntest_0.au\t0\n"
    assert "class numbers are those of other.csv: 3: 0 owl, 1 wren, 2 a,b" in str(summary)


def test_label_masters_beside_the_sample_that_contradict_are_refused(songs: Path, tmp_path: Path) -> None:
    (tmp_path / "label_master.csv").write_text("0,owl\n1,wren\n2,lark\n")
    with pytest.raises(ManifestError, match=r"without a number: 1: a,b.*with --labels"):
        submit(SONGS, songs, tmp_path / "out.tsv")
    (tmp_path / "label_master.tsv").write_text('0,owl\n1,wren\n2,"a,b"\n')
    with pytest.raises(ManifestError, match=r"label_master\.csv and label_master\.tsv are both here"):
        submit(SONGS, songs, tmp_path / "out.tsv")
    assert not (tmp_path / "out.tsv").exists()


@pytest.mark.parametrize(
    ("master", "complaint"),
    [
        ("0,owl\n1,wren\n", r"label_master\.csv: classes of the model without a number: 1: a,b"),
        ("0,owl\n0,wren\n", r"label_master\.csv:2 .*'0' stands in label_master\.csv:1 too"),
        ("", "no rows"),
        (None, r"label_master\.csv: cannot be read"),
    ],
)
def test_a_label_master_that_does_not_fit_is_refused(
    songs: Path, tmp_path: Path, master: str | None, complaint: str
) -> None:
    if master is not None:
        (tmp_path / "label_master.csv").write_text(master)
    with pytest.raises(ManifestError, match=complaint):
        submit(SONGS, songs, tmp_path / "out.tsv", labels=tmp_path / "label_master.csv")
    assert not (tmp_path / "out.tsv").exists()


def test_recordings_on_one_side_alone_are_listed_and_cut(songs: Path, tmp_path: Path) -> None:
    more = "".join(f"test_{number}.au\t7\n" for number in range(100, 130))
    songs.write_text(f"test_0.au\t7\n{more}")
    with pytest.raises(ManifestError) as caught:
        submit(SONGS, songs, tmp_path / "out.tsv")
    text = str(caught.value)
    assert "'test_100.au'  in the sample, not predicted" in text
    assert "10 more of this kind (30 in all)" in text
    assert "'test_2.au' " in text
    assert "'test_0.au'" not in text
    songs.write_text("test_0.au\t7\n")
    summary = submit(SONGS, songs, tmp_path / "out.tsv", rows="sample")
    assert (tmp_path / "out.tsv").read_text() == "test_0.au\t0\n"
    assert summary.left_out == 2
    summary = submit(SONGS, songs, tmp_path / "out.tsv", rows="predictions")
    assert (tmp_path / "out.tsv").read_text() == "test_0.au\t0\ntest_10.au\t2\ntest_2.au\t1\n"


def test_recordings_that_were_converted_keep_the_samples_names(songs: Path, tmp_path: Path) -> None:
    paths = [path.replace(".au", ".wav") for path in SONGS.paths]
    found = Predictions(paths, SONGS.starts, SONGS.ends, SONGS.probabilities, CLASSES)
    submit(found, songs, tmp_path / "out.tsv")
    assert (tmp_path / "out.tsv").read_text() == "test_10.au\t2\ntest_2.au\t1\ntest_0.au\t0\n"
    found.paths[0] = "u/test_10.au"  # type: ignore[index]
    with pytest.raises(ManifestError, match=r"t/test_10\.wav: 'u/test_10\.au' has the same name"):
        submit(found, songs, tmp_path / "out.tsv")


def test_names_with_the_delimiter_are_quoted_and_written_over(songs: Path, tmp_path: Path) -> None:
    songs.write_text('"a,b.au",0\nc.au,0\n')
    found = Predictions(["a,b.au", "c.au"], np.zeros(2), np.ones(2), SONGS.probabilities[:2], CLASSES)
    for _ in range(2):
        submit(found, songs, tmp_path / "out.csv")
        assert (tmp_path / "out.csv").read_text() == '"a,b.au",0\nc.au,2\n'


def test_a_table_that_looks_like_the_sample_is_not_written_over(songs: Path, tmp_path: Path) -> None:
    songs.write_text("file_name\tlabel_id\n" + songs.read_text())
    table = "file_name\tlabel_id\ntrain_0.au\t3\n"
    (tmp_path / "train_master.tsv").write_text(table)
    with pytest.raises(StorageError, match="no submission, and it would be lost"):
        submit(SONGS, songs, tmp_path / "train_master.tsv")
    assert (tmp_path / "train_master.tsv").read_text() == table
    for _ in range(2):
        submit(SONGS, songs, tmp_path / "out.tsv")
    assert (tmp_path / "out.tsv").read_text().startswith("file_name\tlabel_id\ntest_10.au\t2\n")


def test_arguments_for_the_other_form_are_refused(songs: Path, sample: Path, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no columns of classes; leave out --missing-classes"):
        submit(SONGS, songs, tmp_path / "out.tsv", missing_classes="zero")
    with pytest.raises(ManifestError, match="no class numbers; leave out --labels"):
        submit(predictions("night.ogg"), sample, tmp_path / "out.csv", labels=songs)


def test_from_a_table_to_class_numbers_on_the_command_line(songs: Path, tmp_path: Path) -> None:
    SONGS.write(tmp_path / "preds.csv")
    (tmp_path / "label_master.tsv").write_text("label_id\tlabel_name\n9\towl\n8\twren\n7\ta,b\n")
    files = [str(tmp_path / name) for name in ("preds.csv", "sample_submit.tsv", "submit.tsv")]
    labels = ["--labels", str(tmp_path / "label_master.tsv")]
    for more, source in (([], "label_master.tsv beside the sample"), (labels, "label_master.tsv")):
        result = CliRunner().invoke(app, ["submit", *files, *more])
        assert result.exit_code == 0, result.output
        assert (tmp_path / "submit.tsv").read_text() == "test_10.au\t7\ntest_2.au\t8\ntest_0.au\t9\n"
        assert f"class numbers are those of {source}: 3: 7 a,b, 8 wren, 9 owl" in result.output
