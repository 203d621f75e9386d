from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from kikiwake.datasets import fma, prepare
from kikiwake.errors import ManifestError
from kikiwake.manifest import Manifest

TRACKS = """,album,artist,artist,set,set,track,track
,title,id,name,split,subset,genre_top,title
track_id,,,,,,,
2,"A, B",1,"Ann
from here",training,small,Hip-Hop,Food
5,A,1,Ann,validation,small,Rock,This
10,C,6,Kim,test,small,Hip-Hop,
140,D,7,Lee,training,medium,Jazz,Queen
141,D,7,Lee,training,large,,Ohio
1486,E,8,Ray,training,small,Pop,Gone
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "fma_metadata").mkdir()
    (tmp_path / "fma_metadata" / "tracks.csv").write_text(TRACKS)
    for name in ("000/000002.mp3", "000/000005.mp3", "000/000010.ogg", "000/000140.mp3", "000/000141.mp3"):
        path = tmp_path / "fma_small" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def test_tracks_of_the_subset_are_found_by_their_numbers(root: Path) -> None:
    scan = fma.scan(root)
    found = [(clip.path.name, clip.label, clip.group, clip.split) for clip in scan.clips]
    assert found == [
        ("000002.mp3", "Hip-Hop", "1", None),
        ("000005.mp3", "Rock", "1", None),
        ("000010.ogg", "Hip-Hop", "6", None),
    ]
    assert scan.missing == [("001/001486.mp3", "tracks.csv:10")]
    assert {path.name: reason for path, reason in scan.left_out.items()} == {
        "000140.mp3": "not in the subset small",
        "000141.mp3": "has no top genre",
    }
    assert list(scan.classes[:2]) == ["Hip-Hop", "Pop"]


def test_a_larger_subset_holds_the_smaller_and_has_no_order_of_its_own(root: Path) -> None:
    scan = fma.scan(root, subset="medium")
    assert [clip.path.name for clip in scan.clips][-1] == "000140.mp3"
    assert not scan.classes


def test_the_split_is_the_official_one_or_by_artist_or_none(root: Path) -> None:
    official = fma.scan(root, split="official").clips
    assert [clip.split for clip in official] == ["train", "validation", "test"]
    assert [clip.group for clip in official] == ["1", "1", "6"]
    drawn = fma.scan(root, split="random").clips
    assert [(clip.split, clip.group) for clip in drawn] == [(None, None)] * 3


def test_only_two_header_rows_look_like_this(root: Path, tmp_path: Path) -> None:
    assert fma.likeness(root) == 2
    (root / "fma_metadata" / "tracks.csv").write_text("track_id,genre_top\n2,Rock\n")
    assert fma.likeness(root) == 0
    with pytest.raises(ManifestError, match=r"no tracks.csv of FMA.*fma_metadata.zip"):
        fma.scan(root)


def test_a_table_without_a_column_and_a_row_without_a_number_are_named(root: Path) -> None:
    path = root / "fma_metadata" / "tracks.csv"
    path.write_text(TRACKS.replace("\n5,A", "\nfive,A"))
    with pytest.raises(ManifestError, match=r"tracks\.csv:6 .*track_id 'five'"):
        fma.scan(root)
    path.write_text(TRACKS.replace("subset", "sub"))
    with pytest.raises(ManifestError, match=r"lacks the columns set\.subset"):
        fma.scan(root)


def test_broken_and_short_recordings_are_set_aside_by_themselves(root: Path) -> None:
    folder = root / "fma_small" / "000"
    (folder / "000010.ogg").unlink()
    rng = np.random.default_rng(0)
    for name, seconds in (("000002", 12), ("000005", 5), ("000010", 11)):
        soundfile.write(folder / f"{name}.mp3", 0.1 * rng.standard_normal(seconds * 22050), 22050)
    (root / "fma_small" / "001").mkdir()
    (root / "fma_small" / "001" / "001486.mp3").write_bytes(b"\0" * 4096)
    summary = prepare(root, root / "clips.csv", workers=1, folds=2)
    manifest = Manifest.read(root / "clips.csv")
    assert [clip.path.name for clip in manifest] == ["000002.mp3", "000010.mp3"]
    assert manifest.classes == ["Hip-Hop"]
    said = (root / "clips.quarantine.csv").read_text()
    assert "only 5.0" in said
    assert "at least 10 s are wanted" in said
    assert "001486.mp3,0.000,error" in said
    assert summary.quarantined == 2
