from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile

from kikiwake.datasets import gtzan, prepare
from kikiwake.errors import ManifestError
from kikiwake.manifest import Manifest

Tone = Callable[..., Path]

LISTS = {
    "train_filtered.txt": "blues/blues.00000.wav\r\nrock/rock.00003.wav\r\n",
    "valid_filtered.txt": "blues.00001\n\n",
    "test_filtered.txt": "jazz/jazz.00054.wav\npop/pop.00099.wav\n",
}


@pytest.fixture(params=["genres_original/{}.wav", "genres/{}.au", "Data/genres_original/{}.wav", "{}.au"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    for name in ("blues.00000", "blues.00001", "blues.00002", "jazz.00054", "rock.00003"):
        path = tmp_path / request.param.format(f"{name.partition('.')[0]}/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


@pytest.fixture
def listed(root: Path) -> Path:
    for name, text in LISTS.items():
        (root / name).write_bytes(text.encode())
    return root


def test_every_layout_gives_genres_without_groups(root: Path) -> None:
    assert gtzan.likeness(root) == 2
    scan = gtzan.scan(root)
    assert [(clip.path.stem, clip.label, clip.group, clip.split) for clip in scan.clips] == [
        ("blues.00000", "blues", None, None),
        ("blues.00001", "blues", None, None),
        ("blues.00002", "blues", None, None),
        ("jazz.00054", "jazz", None, None),
        ("rock.00003", "rock", None, None),
    ]
    assert len(scan.classes) == 10
    assert list(scan.classes) == sorted(scan.classes)
    assert any("artists are not known" in note for note in scan.notes)


def test_the_lists_give_the_split_whatever_the_suffix(listed: Path) -> None:
    for split in ("auto", "filtered"):
        scan = gtzan.scan(listed, split=split)  # type: ignore[arg-type]
        assert [(clip.path.stem, clip.split) for clip in scan.clips] == [
            ("blues.00000", "train"),
            ("blues.00001", "validation"),
            ("jazz.00054", "test"),
            ("rock.00003", "train"),
        ]
        assert scan.missing == [("pop/pop.00099.wav", "test_filtered.txt:2")]
        reasons = {path.stem: why for path, why in scan.left_out.items()}
        assert reasons == {"blues.00002": "in none of the fault-filtered lists"}
        assert [path.name for path in scan.tables] == list(LISTS)


def test_the_lists_may_be_left_alone(listed: Path) -> None:
    scan = gtzan.scan(listed, split="none")
    assert len(scan.clips) == 5
    assert {clip.split for clip in scan.clips} == {None}
    assert (scan.missing, scan.tables) == ([], [])


def test_lists_may_lie_beside_the_folders_of_genres(tmp_path: Path) -> None:
    (tmp_path / "genres" / "blues").mkdir(parents=True)
    (tmp_path / "genres" / "blues" / "blues.00000.au").touch()
    for name, text in LISTS.items():
        (tmp_path / "genres" / name).write_text(text)
    assert [clip.split for clip in gtzan.scan(tmp_path).clips] == ["train"]


def test_lists_that_are_wanted_or_in_part_there_are_missed(root: Path) -> None:
    with pytest.raises(ManifestError, match=r"no train_filtered.txt and no valid_filtered.txt and no test_"):
        gtzan.scan(root, split="filtered")
    (root / "train_filtered.txt").write_text("blues/blues.00000.wav\n")
    with pytest.raises(ManifestError, match=r"no valid_filtered.txt and no test_filtered.txt.*split=none"):
        gtzan.scan(root)
    assert len(gtzan.scan(root, split="none").clips) == 5


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("kpop/kpop.00001.wav", r"valid_filtered\.txt:2 .*'kpop/kpop.00001.wav' is no excerpt of a genre"),
        ("rock/blues.00001.wav", r"valid_filtered\.txt:2 .*is no excerpt"),
        ("rock/rock.00003.wav", r"valid_filtered\.txt:2 .*'rock.00003' stands in train_filtered\.txt:2 too"),
        ("blues.00001.au", r"valid_filtered\.txt:2 .*'blues.00001' stands in valid_filtered\.txt:1 too"),
    ],
)
def test_a_line_that_makes_no_sense_is_named(listed: Path, line: str, complaint: str) -> None:
    (listed / "valid_filtered.txt").write_text(f"blues/blues.00001.wav\n{line}\n")
    with pytest.raises(ManifestError, match=complaint):
        gtzan.scan(listed)


def test_one_excerpt_is_read_once(tmp_path: Path, tone: Tone) -> None:
    """The same excerpt in two formats or layouts would stand in two folds."""
    for name in (
        *("genres_original/blues/blues.00000.wav", "genres_original/blues/blues.00000.au"),
        *("genres_original/blues/mine.wav", "genres_original/kpop/kpop.00000.wav"),
        "genres/blues/blues.00000.au",
    ):
        tone(name)
    prepare(tmp_path, tmp_path / "clips.csv", workers=1, folds=None)
    assert [clip.path.name for clip in Manifest.read(tmp_path / "clips.csv")] == ["blues.00000.au"]
    with (tmp_path / "clips.quarantine.csv").open(newline="") as file:
        reasons = {row["path"]: row["reason"] for row in csv.DictReader(file)}
    assert reasons == {
        "genres/blues/blues.00000.au": "not in the folder of a genre in genres_original",
        "genres_original/blues/blues.00000.wav": "the same excerpt as blues.00000.au",
        "genres_original/blues/mine.wav": "not named as an excerpt of blues: blues.00000.wav",
        "genres_original/kpop/kpop.00000.wav": "not in the folder of a genre in genres_original",
    }


def test_folders_that_only_look_a_little_alike_are_none(tmp_path: Path) -> None:
    (tmp_path / "genres" / "blues").mkdir(parents=True)
    for name in ("song.wav", "blues.00000.png", "rock.00000.wav"):
        (tmp_path / "genres" / "blues" / name).touch()
    assert gtzan.likeness(tmp_path) == 0
    with pytest.raises(ManifestError, match=r"no folders of GTZAN's genres.*genres_original/blues/blues"):
        gtzan.scan(tmp_path)


def test_real_excerpts_in_this_shape_become_a_manifest_without_the_broken_one(
    data_folder: Path, tmp_path: Path
) -> None:
    """Instruments are genres; the broken excerpt holds bytes that are no sound."""
    with (data_folder / "instruments10" / "instruments10.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    lists: dict[str, list[str]] = {name: [] for name in LISTS}
    for target, genre in (("0", "blues"), ("1", "jazz")):
        for number, row in enumerate([row for row in rows if row["target"] == target][:6], start=50):
            sound = data_folder / "instruments10" / "audio" / row["filename"]
            samples, sample_rate = soundfile.read(sound, frames=22050)
            path = tmp_path / "genres_original" / genre / f"{genre}.{number:05d}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, samples, sample_rate)
            lists[list(LISTS)[number % 3]].append(f"{genre}/{path.name}")
    broken = tmp_path / "genres_original" / "jazz" / "jazz.00054.wav"
    broken.write_bytes(bytes(range(256)) * 40)
    summary = prepare(tmp_path, tmp_path / "clips.csv", workers=1, folds=3)
    assert "read as the data set 'gtzan'" in summary.notes
    assert (summary.clips, summary.quarantined) == (11, 1)
    assert summary.faults[0].startswith("genres_original/jazz/jazz.00054.wav: ")
    assert "genres_original/jazz/jazz.00054.wav,0.000,error," in summary.quarantine.read_text()
    manifest = Manifest.read(tmp_path / "clips.csv")
    assert manifest.classes == ["blues", "jazz"]
    assert {clip.split for clip in manifest} == {None}
    assert manifest.folds() == [1, 2, 3]

    for name, lines in lists.items():
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    summary = prepare(tmp_path, tmp_path / "clips.csv", workers=1, folds=3)
    assert (summary.clips, summary.quarantined) == (11, 1)
    splits = [clip.split for clip in Manifest.read(tmp_path / "clips.csv")]
    assert [splits.count(name) for name in ("train", "validation", "test")] == [3, 4, 4]
    shutil.rmtree(tmp_path / "genres_original" / "blues")
    assert prepare(tmp_path, tmp_path / "clips.csv", workers=1).quarantined == 7
