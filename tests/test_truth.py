"""Truth is read from tables and label files alike, and finds its recordings."""

from __future__ import annotations

from pathlib import Path

import pytest

from kikiwake.errors import ManifestError
from kikiwake.events import Event
from kikiwake.labelfiles.audacity import Audacity
from kikiwake.labelfiles.raven import Raven
from kikiwake.truth import Truth, read_truth

EVENTS = [Event("night.wav", 0.5, 2.25, "owl"), Event("night.wav", 3.0, 4.0, "frog")]


def spans(truth: Truth, name: str) -> list[tuple[float, float, str]]:
    return [(event.start, event.end, event.label) for event in truth.events[name]]


def test_tables_are_read_by_the_usual_names_of_their_columns(tmp_path: Path) -> None:
    (tmp_path / "truth.csv").write_text(
        "filename,start,end,label,snr_db\nsite/night.wav,0.5,2.25,owl,3.00\nday.wav,,,,\n"
        "site/night.wav,3,4,frog,-1.00\n"
    )
    (tmp_path / "dcase.tsv").write_text(
        "filename\tonset\toffset\tevent_label\nnight.wav\t0.5\t2.25\towl\nnight.wav\t3\t4\tfrog\nday.wav\t\t\t\n"
    )
    for name in ("truth.csv", "dcase.tsv"):
        truth = read_truth(tmp_path / name)
        assert spans(truth, "night.wav") == [(0.5, 2.25, "owl"), (3.0, 4.0, "frog")]
        assert spans(truth, "day.wav") == []


def test_label_files_are_read_and_named_after_their_recordings(tmp_path: Path) -> None:
    Audacity().write(tmp_path / "night.labels.txt", EVENTS)
    Audacity().write(tmp_path / "day.labels.txt", [])
    Raven(sample_rate=8000).write(
        tmp_path / "a" / "dusk.Table.1.selections.txt", [Event("C:\\a\\dusk.wav", 1.0, 2.0, "owl")]
    )
    truth = read_truth(tmp_path)
    assert spans(truth, "night") == [(0.5, 2.25, "owl"), (3.0, 4.0, "frog")]
    assert spans(truth, "day") == []
    assert spans(truth, "dusk.wav") == [(1.0, 2.0, "owl")]
    assert spans(read_truth(tmp_path / "night.labels.txt"), "night") == spans(truth, "night")


def test_recordings_are_found_by_name_or_but_for_the_suffix(tmp_path: Path) -> None:
    truth = Truth(tmp_path, {"a.wav": [], "b": [], "c.wav": [], "c.mp3": [], "d.one.wav": []})
    asked = ["x/a.wav", "x/b.flac", "x/c.wav", "x/c.ogg", "x/d.two.wav", "x/d.one.mp3", "x/e.wav"]
    assert truth.names_of(asked) == {
        "x/a.wav": "a.wav",
        "x/b.flac": "b",
        "x/c.wav": "c.wav",  # c.ogg may be either of two
        "x/d.one.mp3": "d.one.wav",
    }
    with pytest.raises(ManifestError, match=r"two recordings are called a\.wav"):
        truth.names_of(["x/a.wav", "y/a.wav"])


def test_what_is_wrong_with_a_table_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "truth.csv").write_text(
        "filename,start,end,label\na.wav,one,2,owl\na.wav,2,1,owl\na.wav,1,2,\na.wav,1,,owl\na.wav,1,inf,owl\n"
    )
    with pytest.raises(ManifestError) as told:
        read_truth(tmp_path / "truth.csv")
    for where in ("csv:2", "csv:3", "csv:4", "csv:5", "csv:6"):
        assert where in str(told.value)


def test_what_is_no_truth_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no label file"):
        read_truth(tmp_path)
    with pytest.raises(ManifestError, match="cannot be read"):
        read_truth(tmp_path / "gone.csv")
    (tmp_path / "other.csv").write_text("path,start,end\na.wav,1,2\n")
    with pytest.raises(ManifestError, match="lacks the columns label"):
        read_truth(tmp_path / "other.csv")
    Audacity().write(tmp_path / "x" / "night.labels.txt", EVENTS)
    Raven(sample_rate=8000).write(tmp_path / "x" / "night.Table.1.selections.txt", EVENTS)
    with pytest.raises(ManifestError, match="night has two label files"):
        read_truth(tmp_path / "x")


def test_the_boxes_that_people_drew_are_read(data_folder: Path) -> None:
    truth = read_truth(data_folder / "soundscapes" / "labels.csv")
    first = truth.events["maad_spinetail.flac"][0]
    assert (first.start, first.end, first.label) == (0.101385, 0.36752, "SP")
    assert len(truth.events) == 8
