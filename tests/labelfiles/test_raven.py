"""Selection tables as Raven writes and reads them: several views, sequences of files, columns of any kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from kikiwake.errors import ManifestError
from kikiwake.events import Event
from kikiwake.labelfiles.raven import Raven

RAVENS_OWN = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)"


def read(path: Path, *lines: str, **settings: str) -> list[Event]:
    path.write_bytes(("\n".join(lines) + "\n").encode())
    return Raven(**settings).read(path, recording="night.wav")


def test_the_bytes_are_those_of_the_format(tmp_path: Path) -> None:
    events = [
        Event("/a/night.wav", 0.0, 2.5, "owl", score=0.9),
        Event("/a/night.wav", 1 / 3, 4.0, "-聞", low_hz=100.0, high_hz=2000.5),
    ]
    Raven(sample_rate=22_050).write(tmp_path / "t.txt", events)
    assert (tmp_path / "t.txt").read_bytes().decode() == (
        f"{RAVENS_OWN}\tBegin Path\tFile Offset (s)\tLabel\tScore\n"
        "1\tSpectrogram 1\t1\t0.0\t2.5\t0.0\t11025.0\t/a/night.wav\t0.0\towl\t0.9\n"
        "2\tSpectrogram 1\t1\t0.3333333333333333\t4.0\t100.0\t2000.5"
        "\t/a/night.wav\t0.3333333333333333\t-聞\t\n"
    )


def test_no_events_make_a_table_of_a_header(tmp_path: Path) -> None:
    Raven().write(tmp_path / "t.txt", [])
    assert (tmp_path / "t.txt").read_text().count("\n") == 1
    assert Raven().read(tmp_path / "t.txt") == []


def test_a_band_that_nobody_knows_is_not_made_up(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"a\.wav: the band of 'owl' at 1 s is not known.*sample rate"):
        Raven().write(tmp_path / "t.txt", [Event("a.wav", 1.0, 2.0, "owl")])
    assert not (tmp_path / "t.txt").exists()
    Raven().write(tmp_path / "t.txt", [Event("a.wav", 1.0, 2.0, "owl", low_hz=50.0, high_hz=90.0)])


def test_a_selection_that_stands_in_two_views_is_one_event(tmp_path: Path) -> None:
    events = read(
        tmp_path / "t.txt",
        f"{RAVENS_OWN}\tAnnotation",
        "1\tWaveform 1\t1\t1.000000000\t2.500000000\t0.0\t0.0\towl",
        "1\tSpectrogram 1\t1\t1.000000000\t2.500000000\t400.0\t900.0\towl",
        "2\tSpectrogram 1\t1\t3.0\t4.0\t100.0\t200.0\tfrog",
        "2\tWaveform 1\t1\t3.0\t4.0\t0.0\t0.0\tfrog",
        "3\tWaveform 1\t1\t5.0\t6.0\t\t\towl",
        label_column="Annotation",
    )
    assert events == [
        Event("night.wav", 1.0, 2.5, "owl", low_hz=400.0, high_hz=900.0),
        Event("night.wav", 3.0, 4.0, "frog", low_hz=100.0, high_hz=200.0),
        Event("night.wav", 5.0, 6.0, "owl"),
    ]


def test_different_events_at_the_same_time_stay_two(tmp_path: Path) -> None:
    both = [Event("night.wav", 1.0, 2.0, "owl"), Event("night.wav", 1.0, 2.0, "frog")]
    header = "Selection\tView\tBegin Time (s)\tEnd Time (s)\tLabel"
    # Two tables, one appended to the other: selection 1 stands in it twice.
    appended = [header, "1\tSpectrogram 1\t1\t2\towl", "1\tSpectrogram 1\t1\t2\tfrog"]
    assert read(tmp_path / "t.txt", *appended) == both
    without = ["Begin Time (s)\tEnd Time (s)\tLabel", "1\t2\towl", "1\t2\towl"]
    assert read(tmp_path / "t.txt", *without) == [both[0], both[0]]


def test_over_a_sequence_of_files_times_count_from_each_files_beginning(tmp_path: Path) -> None:
    header = "Selection\tBegin Time (s)\tEnd Time (s)\tBegin Path\tFile Offset (s)\tLabel"
    events = read(
        tmp_path / "t.txt",
        header,
        "1\t10.5\t12.0\tC:\\a b\\one.wav\t10.5\towl",
        "2\t610.5\t612.25\tC:\\a b\\two.wav\t10.5\towl",
    )
    assert events == [
        Event("C:\\a b\\one.wav", 10.5, 12.0, "owl"),
        Event("C:\\a b\\two.wav", 10.5, 12.25, "owl"),
    ]


def test_a_sequence_of_files_without_offsets_is_refused(tmp_path: Path) -> None:
    header = "Selection\tBegin Time (s)\tEnd Time (s)\tBegin File\tLabel"
    rows = ["1\t10.5\t12.0\tone.wav\towl", "2\t610.5\t612.0\ttwo.wav\towl"]
    with pytest.raises(ManifestError, match=r"t\.txt:3 .*no File Offset"):
        read(tmp_path / "t.txt", header, *rows)
    assert read(tmp_path / "t.txt", header, rows[0]) == [Event("one.wav", 10.5, 12.0, "owl")]


def test_columns_may_stand_in_any_order_under_other_names_with_others_between(tmp_path: Path) -> None:
    events = read(
        tmp_path / "t.txt",
        "\ufeffEnd Time (s)\tDelta Time (s)\tSpecies\tBegin Time (s)\tConfidence\tNotes\r",
        '2.5\t1.5\t"Strix" aluco\t1.0\t0.75\tfar\r',
        "4.5\t1.0\towl\t3.5\r",
        label_column="Species",
        score_column="Confidence",
    )
    assert events == [
        Event("night.wav", 1.0, 2.5, '"Strix" aluco', score=0.75),
        Event("night.wav", 3.5, 4.5, "owl"),
    ]


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        ("", "not a selection table: it lacks Begin Time .s. and End Time .s."),
        ("Selection\tBegin Time (s)\tLabel", "it lacks End Time"),
        (RAVENS_OWN, "t.txt:1: no column is called 'Label' .*'Selection'.*label_column"),
        (f"{RAVENS_OWN}\tLabel\tLabel", "column 'Label' stands twice"),
    ],
)
def test_a_table_without_what_is_needed_is_refused(tmp_path: Path, header: str, complaint: str) -> None:
    with pytest.raises(ManifestError, match=complaint):
        read(tmp_path / "t.txt", header)


def test_all_wrong_rows_are_told_in_one_go(tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        read(
            tmp_path / "t.txt",
            "Begin Time (s)\tEnd Time (s)\tHigh Freq (Hz)\tLabel\tScore",
            "1.0\t2.0\t100\towl\t0.5",
            "one\t2.0\t100\towl\t0.5",
            "3.0\t2.0\t100\towl\t0.5",
            "1.0\t2.0\tloud\towl\t0.5",
            "1.0\t2.0\t100\towl\tsure",
            "1.0\t2.0\t100\towl\t0.5\tmore",
            "\t2.0",
        )
    told = " ".join(str(caught.value).split())
    for complaint in (
        "6 errors",
        "t.txt:3 start 'one' or end '2.0' is no number",
        "t.txt:4 end 2 s precedes start 3 s",
        "t.txt:5 High Freq (Hz) 'loud' is no number",
        "t.txt:6 Score 'sure' is no number",
        "t.txt:7 6 cells in a table of 5 columns",
        "t.txt:8 start '' or end '2.0' is no number",
    ):
        assert complaint in told
