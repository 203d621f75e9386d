from __future__ import annotations

from pathlib import Path

import pytest

from kikiwake.datasets import folder
from kikiwake.datasets._scan import Scan
from kikiwake.errors import ManifestError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def described(scan: Scan) -> list[tuple[str, str | None, str | None]]:
    return [(clip.path.relative_to(scan.tree.root).as_posix(), clip.label, clip.split) for clip in scan.clips]


def test_the_first_folder_is_the_class_however_deep_the_recording_lies(tmp_path: Path) -> None:
    touch(
        tmp_path, "dog/a.wav", "dog/2020/may/b.FLAC", "cat/c.mp3", "stray.wav", "dog/._a.wav", "dog/notes.txt"
    )
    assert described(folder.scan(tmp_path)) == [
        ("cat/c.mp3", "cat", None),
        ("dog/2020/may/b.FLAC", "dog", None),
        ("dog/a.wav", "dog", None),
    ]


def test_folders_of_a_split_are_taken_as_one(tmp_path: Path) -> None:
    touch(tmp_path, "train/dog/a.wav", "Test/dog/b.wav", "val/cat/c.wav", "docs/readme.txt")
    assert described(folder.scan(tmp_path)) == [
        ("Test/dog/b.wav", "dog", "test"),
        ("train/dog/a.wav", "dog", "train"),
        ("val/cat/c.wav", "cat", "validation"),
    ]


def test_a_class_called_test_beside_other_classes_is_a_class(tmp_path: Path) -> None:
    touch(tmp_path, "test/a.wav", "dog/b.wav")
    assert described(folder.scan(tmp_path)) == [("dog/b.wav", "dog", None), ("test/a.wav", "test", None)]


def test_a_metadata_table_names_recordings_and_labels(tmp_path: Path) -> None:
    touch(tmp_path, "train/x/a.wav", "train/b.wav", "train/unnamed.wav", "test/c.wav")
    (tmp_path / "train" / "metadata.csv").write_text("file_name,label\nx/a.wav,dog\nb.wav,\ngone.wav,cat\n")
    (tmp_path / "test" / "metadata.csv").write_text("file_name,label\nc.wav,cat\n")
    scan = folder.scan(tmp_path)
    assert described(scan) == [
        ("test/c.wav", "cat", "test"),
        ("train/b.wav", None, "train"),
        ("train/x/a.wav", "dog", "train"),
    ]
    assert scan.missing == [("gone.wav", "metadata.csv:4")]
    assert [path.parent.name for path in scan.tables] == ["test", "train"]


def test_a_metadata_table_without_labels_leaves_them_to_the_folders(tmp_path: Path) -> None:
    touch(tmp_path, "dog/a.wav")
    (tmp_path / "metadata.csv").write_text("file_name,transcription\ndog/a.wav,woof\n")
    assert described(folder.scan(tmp_path)) == [("dog/a.wav", "dog", None)]


def test_a_recording_that_a_metadata_table_names_twice_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav")
    (tmp_path / "metadata.csv").write_text("file_name,label\na.wav,dog\na.wav,cat\n")
    with pytest.raises(ManifestError, match=r"metadata\.csv:3 .*named twice"):
        folder.scan(tmp_path)


def test_a_pattern_takes_groups_from_names(tmp_path: Path) -> None:
    touch(tmp_path, "dog/12-a.wav", "dog/12-b.wav", "dog/7-a.wav")
    scan = folder.scan(tmp_path, group_pattern="^([0-9]+)-")
    assert [clip.group for clip in scan.clips] == ["12", "12", "7"]


@pytest.mark.parametrize(
    ("pattern", "words"),
    [("(", "no regular expression"), ("[0-9]+", "has no group"), ("^([a-z])-", "does not match")],
)
def test_a_pattern_that_does_not_work_is_refused(tmp_path: Path, pattern: str, words: str) -> None:
    touch(tmp_path, "dog/12-a.wav")
    with pytest.raises(ManifestError, match=words):
        folder.scan(tmp_path, group_pattern=pattern)


def test_only_recordings_in_folders_or_a_metadata_table_look_like_this(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "docs/readme.txt", ".git/x.wav")
    assert folder.likeness(tmp_path) == 0
    touch(tmp_path, "dog/b.wav")
    assert folder.likeness(tmp_path) == 1
