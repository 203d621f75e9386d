from __future__ import annotations

from pathlib import Path

import pytest

from kikiwake.datasets import table
from kikiwake.datasets._scan import FoundClip
from kikiwake.errors import ManifestError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("audio/a.wav", "audio/b.wav", "audio/c.ogg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_usual_columns_are_told_by_their_names(root: Path) -> None:
    (root / "t.csv").write_text(
        "Filename,Start,End,Category,artist,fold,subset,secondary,weight,rating,remark\n"
        "a.wav,0.5,2,dog,ann,1,training,cat; cow,0.5,4,x\n"
        "c.wav,,,cat,,2.0,,,,,\n"
    )
    a, c = table.scan(root).clips
    assert a == FoundClip(
        root / "audio" / "a.wav", "dog", 1, 0.5, 2.0, ("cat", "cow"), "ann", "train", weight=0.5, rating=4.0
    )
    assert c == FoundClip(root / "audio" / "c.ogg", "cat", 2)


def test_offset_is_an_end_beside_onset_only(root: Path) -> None:
    (root / "t.csv").write_text("file,onset,offset,label\na.wav,0.5,2,dog\n")
    (clip,) = table.scan(root).clips
    assert (clip.start, clip.end) == (0.5, 2.0)
    (root / "t.csv").write_text("file,start,offset,label\na.wav,0.5,2,dog\n")
    (clip,) = table.scan(root).clips
    assert (clip.start, clip.end) == (0.5, None)


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
def test_the_delimiter_is_found(root: Path, delimiter: str) -> None:
    (root / "t.tsv").write_text("file,label\na.wav,dog\n".replace(",", delimiter))
    assert [clip.label for clip in table.scan(root).clips] == ["dog"]


def test_columns_can_be_named_and_told_to_be_none(root: Path) -> None:
    (root / "t.csv").write_text("id,kind,group\na,dog,x\n")
    (clip,) = table.scan(root, path_column="id", label_column="kind", group_column="").clips
    assert (clip.path.name, clip.label, clip.group) == ("a.wav", "dog", None)


def test_a_column_that_is_not_there_is_named_with_the_nearest(root: Path) -> None:
    (root / "t.csv").write_text("file,kinds\na,dog\n")
    with pytest.raises(ManifestError, match="did you mean 'kinds'"):
        table.scan(root, label_column="kind")


def test_columns_that_cannot_be_told_are_asked_for_all_at_once(root: Path) -> None:
    (root / "t.csv").write_text("x,y\na,dog\n")
    with pytest.raises(ManifestError, match="'path_column'") as caught:
        table.scan(root)
    assert "'label_column'" in str(caught.value)
    assert "the columns are x, y" in str(caught.value)


def test_several_tables_or_none_ask_for_a_name_and_kikiwakes_own_do_not_count(root: Path) -> None:
    with pytest.raises(ManifestError, match="there is no table"):
        table.scan(root)
    (root / "one.csv").write_text("file,label\na.wav,dog\n")
    (root / "clips.csv").write_text("path,class_id,class,fold,frames,sr\n")
    (root / "clips.quarantine.csv").write_text("path,offset_seconds,kind,reason\n")
    assert len(table.scan(root).clips) == 1
    (root / "two.csv").write_text("file,label\na.wav,cat\n")
    with pytest.raises(ManifestError, match=r"2 tables: one\.csv, two\.csv"):
        table.scan(root)
    assert table.scan(root, table="two.csv").clips[0].label == "cat"


def test_recordings_are_looked_for_in_the_named_folder(root: Path) -> None:
    (root / "other").mkdir()
    (root / "other" / "a.wav").touch()
    (root / "t.csv").write_text("file,label\na.wav,dog\n")
    assert table.scan(root).missing == [("a.wav", "t.csv:2")]  # two could be meant
    assert table.scan(root, audio_folder="other").clips[0].path == root / "other" / "a.wav"


def test_rows_of_one_stretch_become_one_clip_with_secondary_labels(root: Path) -> None:
    (root / "t.csv").write_text(
        "file,label,start,end\na.wav,dog,0,5\na.wav,cat,0,5\na.wav,dog,5,10\na.wav,dog,0,5\n"
    )
    scan = table.scan(root)
    assert [(clip.label, clip.secondary, clip.start) for clip in scan.clips] == [
        ("dog", ("cat",), 0.0),
        ("dog", (), 5.0),
    ]
    assert any(note.startswith("2 rows of a stretch") for note in scan.notes)


def test_all_cells_that_make_no_sense_are_in_one_table(root: Path) -> None:
    (root / "t.csv").write_text(
        "file,label,start,end,fold,split,weight,rating\n"
        "a.wav,dog,x,,,,,\n"
        "a.wav,dog,3,2,,,,\n"
        "a.wav,dog,,,1.5,,,\n"
        "a.wav,dog,,,,later,,\n"
        "a.wav,dog,,,,,-1,\n"
        "a.wav,dog,,,,,,6\n"
    )
    with pytest.raises(ManifestError) as caught:
        table.scan(root)
    text = str(caught.value)
    for line, words in enumerate(
        ("start 'x'", "end 2.0 s does not", "fold '1.5'", "split 'later'", "weight '-1'", "rating '6'"),
        start=2,
    ):
        assert any(f"t.csv:{line} " in row and words in row for row in text.splitlines()), words


def test_real_tables_are_read_as_they_are(data_folder: Path) -> None:
    spoken = table.scan(data_folder / "fsdd", label_column="digit")
    assert len(spoken.clips) == 3000
    assert {clip.split for clip in spoken.clips} == {"train", "test"}
    assert len({clip.group for clip in spoken.clips}) == 6
    instruments = table.scan(data_folder / "instruments10", group_column="id_group")
    assert (len(instruments.clips), len({clip.label for clip in instruments.clips})) == (300, 10)
    soundscapes = table.scan(data_folder / "soundscapes")
    assert soundscapes.missing == []
    assert all(clip.end is not None and clip.end > (clip.start or 0) for clip in soundscapes.clips)
