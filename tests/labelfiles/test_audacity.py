"""Label tracks as Audacity writes and reads them, to the byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from kikiwake.errors import ManifestError
from kikiwake.events import Event
from kikiwake.labelfiles.audacity import Audacity


def read(path: Path, text: str) -> list[Event]:
    path.write_bytes(text.encode())
    return Audacity().read(path, recording="night.wav")


def test_the_bytes_are_those_of_the_format(tmp_path: Path) -> None:
    events = [
        Event("night.wav", 0.0, 2.5, "owl", score=0.75),
        Event("night.wav", 1e-05, 1 / 3, "=聞き分け", low_hz=100.0, high_hz=2000.5),
        Event("night.wav", 4.0, 4.0, "", high_hz=800.0),
    ]
    Audacity().write(tmp_path / "night.txt", events)
    assert (tmp_path / "night.txt").read_bytes().decode() == (
        "0.0\t2.5\towl\n"
        "0.00001\t0.3333333333333333\t=聞き分け\n\\\t100.0\t2000.5\n"
        "4.0\t4.0\t\n\\\t-1.0\t800.0\n"
    )


def test_what_audacity_writes_is_read(tmp_path: Path) -> None:
    text = "1.500000\t2.250000\towl\n\\\t440.000000\t-1.000000\n3.000000\t3.000000\tpoint\n"
    assert read(tmp_path / "a.txt", text) == [
        Event("night.wav", 1.5, 2.25, "owl", low_hz=440.0),
        Event("night.wav", 3.0, 3.0, "point"),
    ]


@pytest.mark.parametrize(
    ("text", "start", "end", "label"),
    [
        ("\ufeff1.0\t2.0\towl\r\n", 1.0, 2.0, "owl"),
        ("\r\n\r\n1.0\t2.0\towl", 1.0, 2.0, "owl"),
        ("1.0\t2.0\towl\r", 1.0, 2.0, "owl"),
        ("1,5\t2,25\towl\n", 1.5, 2.25, "owl"),
        ("1.0\t2.0\n", 1.0, 2.0, ""),
        ("1.0\t2.0\t7\n", 1.0, 2.0, "7"),
        ("1.0\towl\n", 1.0, 1.0, "owl"),
        ("1.0\n", 1.0, 1.0, ""),
        ("-0.5\t2.0\t\\\n", -0.5, 2.0, "\\"),
        ("1.0\t2.0\tone\u2028two \n", 1.0, 2.0, "one\u2028two "),
    ],
)
def test_lines_of_every_system_and_of_older_versions_are_read(
    tmp_path: Path, text: str, start: float, end: float, label: str
) -> None:
    assert read(tmp_path / "a.txt", text) == [Event("night.wav", start, end, label)]


def test_a_track_without_labels_has_no_events(tmp_path: Path) -> None:
    assert read(tmp_path / "a.txt", "") == []


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("owl\t1.0\t2.0", "start 'owl' or end '1.0' is no number"),
        ("1.0\ttwo\towl", "start '1.0' or end 'two' is no number"),
        ("nan\t2.0\towl", "start 'nan'"),
        ("1_0\t20\towl", "start '1_0'"),
        ("2.0\t1.5\towl", "end 1.5 s precedes start 2 s"),
        ("1.0\t2.0\towl\tloud", "4 cells where start, end and label are three"),
        ("\\\t100", "'\\ 100' is no band"),
        ("\\\t100\thigh", "'\\ 100 high' is no band"),
    ],
)
def test_lines_that_cannot_be_read_are_told_with_their_place(
    tmp_path: Path, line: str, complaint: str
) -> None:
    with pytest.raises(ManifestError) as caught:
        read(tmp_path / "a.txt", f"0.0\t1.0\tfine\n\n0.0\t1.0\tfine\n{line}\nworse\n")
    assert f"a.txt:4 {complaint}" in " ".join(str(caught.value).split())
    assert "a.txt:5" in str(caught.value)
    assert "2 errors" in str(caught.value)


@pytest.mark.parametrize("text", ["\\\t1\t2\n", "0\t1\towl\n\\\t1\t2\n\\\t1\t2\n"])
def test_a_band_belongs_to_the_event_above_it(tmp_path: Path, text: str) -> None:
    with pytest.raises(ManifestError, match="a band without an event"):
        read(tmp_path / "a.txt", text)


def test_files_that_are_not_there_or_no_text_are_told(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="cannot be read"):
        Audacity().read(tmp_path / "none.txt")
    (tmp_path / "old.txt").write_bytes(b"1\t2\towl\n3\t4\tchou\xeatte\n")
    with pytest.raises(ManifestError, match=r"old\.txt:2: not UTF-8"):
        Audacity().read(tmp_path / "old.txt")
