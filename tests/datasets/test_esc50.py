from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from kikiwake.datasets import esc50
from kikiwake.errors import ManifestError

TABLE = """filename,fold,target,category,esc10,src_file,take
1-100032-A-0.wav,1,0,dog,True,100032,A
1-100038-A-14.wav,1,14,chirping_birds,False,100038,A
1-gone-A-0.wav,2,0,dog,True,100039,A
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "esc50.csv").write_text(TABLE)
    (tmp_path / "audio").mkdir()
    for name in ("1-100032-A-0.ogg", "1-100038-A-14.wav"):
        (tmp_path / "audio" / name).touch()
    return tmp_path


def test_folds_and_sources_are_the_official_ones_and_converted_files_are_found(copy: Path) -> None:
    scan = esc50.scan(copy)
    found = [(clip.path.name, clip.label, clip.fold, clip.group) for clip in scan.clips]
    assert found == [
        ("1-100032-A-0.ogg", "dog", 1, "100032"),
        ("1-100038-A-14.wav", "chirping_birds", 1, "100038"),
    ]
    assert scan.missing == [("1-gone-A-0.wav", "esc50.csv:4")]


def test_the_subset_leaves_the_rest_out_by_name(copy: Path) -> None:
    scan = esc50.scan(copy, subset="esc10")
    assert [clip.label for clip in scan.clips] == ["dog"]
    assert [path.name for path in scan.left_out] == ["1-100038-A-14.wav"]


def test_only_a_table_with_the_right_columns_looks_like_this(copy: Path, tmp_path: Path) -> None:
    assert esc50.likeness(copy) == 2
    (copy / "meta" / "esc50.csv").write_text("filename,label\na.wav,dog\n")
    assert esc50.likeness(copy) == 0
    with pytest.raises(ManifestError, match="no table of ESC-50"):
        esc50.scan(copy)


def test_a_row_that_makes_no_sense_is_an_error_with_its_line(copy: Path) -> None:
    (copy / "meta" / "esc50.csv").write_text(TABLE.replace("A-14.wav,1", "A-14.wav,one"))
    with pytest.raises(ManifestError, match=r"esc50\.csv:3 .*fold 'one'"):
        esc50.scan(copy)


def test_the_real_esc10_is_found_whole(data_folder: Path) -> None:
    scan = esc50.scan(data_folder / "esc10")
    assert len(scan.clips) == 400
    assert set(Counter((clip.label, clip.fold) for clip in scan.clips).values()) == {8}
    assert scan.missing == []
