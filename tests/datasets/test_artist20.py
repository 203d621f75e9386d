from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from kikiwake.datasets import artist20, prepare
from kikiwake.errors import ManifestError
from kikiwake.manifest import Manifest


@pytest.fixture
def root(tmp_path: Path) -> Path:
    songs = {
        "train.json": ["./train_val/aerosmith/Pump/01.mp3", "./train_val/u2/Boy/01.mp3"],
        "val.json": ["./train_val/aerosmith/Rocks/02.mp3", "./train_val/u2/War/gone.mp3"],
    }
    for name, listed in songs.items():
        (tmp_path / name).write_text(json.dumps(listed))
    for song in (*songs["train.json"], songs["val.json"][0], "test/001.mp3", "train_val/u2/War/05.mp3"):
        (tmp_path / song).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / song).touch()
    return tmp_path


def test_lists_give_the_split_and_folders_the_artist_and_the_album(root: Path) -> None:
    scan = artist20.scan(root)
    assert [(clip.path.name, clip.label, clip.group, clip.split) for clip in scan.clips] == [
        ("01.mp3", "aerosmith", "aerosmith/Pump", "train"),
        ("01.mp3", "u2", "u2/Boy", "train"),
        ("02.mp3", "aerosmith", "aerosmith/Rocks", "validation"),
        ("001.mp3", None, None, "test"),
    ]
    assert scan.missing == [("./train_val/u2/War/gone.mp3", "val.json, item 2")]
    assert artist20.likeness(root) == 2


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('{"a": 1}', "is not a list"),
        ("[", "is not JSON"),
        ("[3]", r"train\.json, item 1 .*3 is no path"),
        ('["song.mp3"]', "is no path"),
        ('["./train_val/u2/Boy/01.mp3", "train_val/u2/Boy/01.mp3"]', "stands in train.json, item 1 too"),
    ],
)
def test_a_list_that_makes_no_sense_is_an_error_with_its_place(
    root: Path, content: str, complaint: str
) -> None:
    (root / "train.json").write_text(content)
    with pytest.raises(ManifestError, match=complaint):
        artist20.scan(root)


def test_a_list_that_is_not_there_is_named(root: Path) -> None:
    (root / "val.json").unlink()
    assert artist20.likeness(root) == 0
    with pytest.raises(ManifestError, match=r"val\.json: there is no such list"):
        artist20.scan(root)


def test_spoken_digits_in_this_shape_become_a_manifest(data_folder: Path, tmp_path: Path) -> None:
    """Speakers are artists, blocks of takes are albums."""
    recordings = sorted((data_folder / "fsdd").rglob("*_[0-3].*"))[:40]
    lists: dict[str, list[str]] = {"train.json": [], "val.json": []}
    for recording in recordings:
        digit, speaker, take = recording.stem.split("_")
        album = f"takes_{int(take) // 2}"
        song = f"train_val/{speaker}/{album}/{digit}_{take}{recording.suffix}"
        (tmp_path / song).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(recording, tmp_path / song)
        lists["train.json" if album == "takes_0" else "val.json"].append(f"./{song}")
    for name, songs in lists.items():
        (tmp_path / name).write_text(json.dumps(songs))
    (tmp_path / "test").mkdir()
    shutil.copy(recordings[0], tmp_path / "test" / f"001{recordings[0].suffix}")
    summary = prepare(tmp_path, tmp_path / "clips.csv", workers=1)
    assert "read as the data set 'artist20'" in summary.notes
    manifest = Manifest.read(tmp_path / "clips.csv")
    assert {clip.split for clip in manifest} == {"train", "validation", "test"}
    assert manifest.classes == sorted({clip.label for clip in manifest if clip.label is not None})
    assert [clip.label for clip in manifest if clip.split == "test"] == [None]
