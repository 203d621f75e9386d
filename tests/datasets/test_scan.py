from __future__ import annotations

from pathlib import Path

import pytest

from kikiwake.datasets._scan import Tree
from kikiwake.errors import ManifestError


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    for name in (
        "b/x.wav",
        "a/x.wav",
        "a/only.flac",
        "a/deep/er/y.ogg",
        ".hidden/z.wav",
        "notes.txt",
        "LOUD.WAV",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return Tree(tmp_path)


def test_every_file_is_listed_once_and_sorted(tree: Tree) -> None:
    names = [path.relative_to(tree.root).as_posix() for path in tree.files]
    assert names == [
        ".hidden/z.wav", "LOUD.WAV", "a/deep/er/y.ogg", "a/only.flac", "a/x.wav", "b/x.wav", "notes.txt",
    ]  # fmt: skip
    assert [path.name for path in tree.audio()] == ["LOUD.WAV", "y.ogg", "only.flac", "x.wav", "x.wav"]


def test_folders_behind_links_are_followed_and_circles_are_not(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.wav").touch()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "root")
    tree = Tree(tmp_path / "root")
    assert [path.relative_to(tree.root).as_posix() for path in tree.files] == ["link/x.wav"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a/x.wav", "a/x.wav"),
        ("x.wav", None),  # there are two
        ("only.flac", "a/only.flac"),
        ("only.wav", "a/only.flac"),
        ("only", "a/only.flac"),
        ("er/y.ogg", "a/deep/er/y.ogg"),
        ("er\\y.ogg", "a/deep/er/y.ogg"),
        ("./er/y.wav", "a/deep/er/y.ogg"),
        ("other/y.ogg", None),
        ("gone.wav", None),
        (".hidden/z.wav", ".hidden/z.wav"),
    ],
)
def test_a_name_in_a_table_finds_its_recording_if_only_one_can_be_meant(
    tree: Tree, name: str, found: str | None
) -> None:
    assert tree.find(name, folders=[tree.root]) == (tree.root / found if found else None)


def test_a_folder_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="gone"):
        Tree(tmp_path / "gone")
