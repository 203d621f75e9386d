from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile

from kikiwake.datasets import prepare, signate
from kikiwake.errors import ManifestError
from kikiwake.folds import split
from kikiwake.manifest import Manifest

Tone = Callable[..., Path]

TABLES = {
    "train_master": ("file_name,label_id", "train_0.au,1\ntrain_1.au,0\ntrain_2.au,1\ntrain_9.au,0\n"),
    "label_master": ("label_id,label_name", "1,rock\n0,blues\n"),
    "sample_submit": ("file_name,label_id", "test_10.au,7\ntest_2.au,7\ntest_8.au,7\n"),
}
SOUNDS = (
    *("train_sound_1/train_0.au", "train_sound_2/train_1.au", "train_sound_2/train_2.au"),
    *("test_sound_1/test_2.au", "test_sound_2/test_10.au", "test_sound_1/test_3.au", "other/train_9.au"),
)


def write_tables(root: Path, *, suffix: str = ".csv", delimiter: str = ",", headed: bool = True) -> None:
    for name, (header, rows) in TABLES.items():
        text = f"{header}\n{rows}" if headed else rows
        (root / f"{name}{suffix}").write_text(text.replace(",", delimiter))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_tables(tmp_path)
    for name in SOUNDS:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_tables_give_genres_and_the_sample_the_order_of_what_is_to_be_named(root: Path) -> None:
    assert signate.likeness(root) == 2
    scan = signate.scan(root)
    assert [(clip.path.name, clip.label, clip.split, clip.group) for clip in scan.clips] == [
        ("train_0.au", "rock", None, None),
        ("train_1.au", "blues", None, None),
        ("train_2.au", "rock", None, None),
        ("test_10.au", None, "test", None),
        ("test_2.au", None, "test", None),
    ]
    assert scan.classes == ["blues", "rock"]
    assert scan.missing == [("train_9.au", "train_master.csv:5"), ("test_8.au", "sample_submit.csv:4")]
    assert {path.name: why for path, why in scan.left_out.items()} == {
        "test_3.au": "not in sample_submit.csv"
    }
    assert "1 recordings of test_sound_* are not in sample_submit.csv and left out" in scan.notes
    assert any(note.startswith("artists and albums are not known") for note in scan.notes)
    assert not any("--labels" in note for note in scan.notes)


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
@pytest.mark.parametrize("headed", [True, False])
def test_every_delimiter_and_header_reads_alike(
    root: Path, suffix: str, delimiter: str, headed: bool
) -> None:
    expected = signate.scan(root)
    for name in TABLES:
        (root / f"{name}.csv").unlink()
    write_tables(root, suffix=suffix, delimiter=delimiter, headed=headed)
    scan = signate.scan(root)
    assert scan.clips == expected.clips
    assert scan.classes == expected.classes
    assert [name for name, _ in scan.missing] == ["train_9.au", "test_8.au"]
    assert scan.missing[0][1] == f"train_master{suffix}:{5 if headed else 4}"


def test_the_columns_of_a_header_may_stand_in_any_order_with_others(root: Path) -> None:
    expected = signate.scan(root)
    (root / "train_master.csv").write_text(
        "label_id,length,file_name\n1,30,train_0.au\n0,30,train_1.au\n1,30,train_2.au\n"
    )
    scan = signate.scan(root)
    assert scan.clips == expected.clips
    assert "columns of train_master.csv that are not read: length" in scan.notes


def test_without_a_sample_everything_in_the_test_folders_is_to_be_named(root: Path) -> None:
    (root / "sample_submit.csv").unlink()
    scan = signate.scan(root)
    named = [clip.path.name for clip in scan.clips if clip.split == "test"]
    assert named == ["test_2.au", "test_3.au", "test_10.au"]


def test_a_recording_of_the_test_folders_never_trains(root: Path) -> None:
    """Even where a table and a folder use its name."""
    (root / "test_sound_1" / "train_9.au").touch()
    scan = signate.scan(root)
    assert ("train_9.au", "train_master.csv:5") in scan.missing
    assert all("train_sound" in clip.path.parent.name for clip in scan.clips if clip.label)


def test_recordings_that_were_converted_are_found_by_their_stem(root: Path) -> None:
    (root / "train_sound_1" / "train_0.au").rename(root / "train_sound_1" / "train_0.wav")
    assert signate.scan(root).clips[0].path.name == "train_0.wav"


def test_numbers_that_are_not_the_models_are_told(root: Path) -> None:
    (root / "label_master.csv").write_text("2,rock\n1,blues\n0,jazz\n")
    (root / "train_master.csv").write_text("train_0.au,2\ntrain_1.au,1\n")
    scan = signate.scan(root)
    assert scan.classes == ["jazz", "blues", "rock"]
    assert "labels without a recording, left out: jazz" in scan.notes
    assert any("takes them from label_master beside sample_submit" in note for note in scan.notes)


@pytest.mark.parametrize(
    ("table", "old", "new", "complaint"),
    [
        (
            "train_master",
            "train_0.au,1",
            "train_0.au,5",
            r"train_master\.csv:2 .*label_id '5' does not stand",
        ),
        ("train_master", "train_0.au,1", "train_0.au,", r"train_master\.csv:2 .*label_id '' does not stand"),
        ("train_master", "train_0.au,1", "train_0.au,1.0", r"label_id '1\.0' does not .*give one of 0, 1"),
        (
            "train_master",
            "train_0.au",
            "train_1.au",
            r"master\.csv:3 .*'train_1.au' stands in train_master\.csv:2",
        ),
        (
            "train_master",
            "train_0.au",
            "train_9.au",
            r"master\.csv:5 .*'train_9.au' stands in train_master\.csv:2",
        ),
        ("train_master", "train_0.au", "", r"train_master\.csv:2 .*file_name is empty"),
        ("train_master", "train_0.au,1", "train_0.au", r"train_master\.csv:2 .*1 cells in a table of 2"),
        ("train_master", "file_name", "file", r"train_master\.csv: .*lacks the columns file_name"),
        (
            "sample_submit",
            "test_2",
            "test_10",
            r"sample_submit\.csv:3 .*'test_10.au' stands in sample_submit",
        ),
        ("label_master", "1,rock", "0,rock", r"label_master\.csv:3 .*'0' stands in label_master\.csv:2 too"),
        ("label_master", "1,rock", "1,blues", r"label_master\.csv:3 .*'blues' stands in label_master\.csv:2"),
        ("label_master", "1,rock", "1,", r"label_master\.csv:2 .*'1' and '' are no number and name"),
        ("label_master", "1,rock", "one,rock", r"label_master\.csv:2 .*'one' and 'rock' are no number"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(
    root: Path, table: str, old: str, new: str, complaint: str
) -> None:
    text = (root / f"{table}.csv").read_text()
    assert old in text
    (root / f"{table}.csv").write_text(text.replace(old, new, 1))
    with pytest.raises(ManifestError, match=complaint):
        signate.scan(root)


def test_a_name_in_two_folders_is_refused(root: Path) -> None:
    (root / "train_sound_2" / "train_0.au").touch()
    complaint = r"csv:2 .*'train_0.au' may be train_sound_1/train_0.au and train_sound_2/train_0.au"
    with pytest.raises(ManifestError, match=complaint):
        signate.scan(root)


def test_a_table_that_is_not_there_or_there_twice_or_empty_is_named(root: Path) -> None:
    (root / "train_master.tsv").touch()
    with pytest.raises(ManifestError, match=r"train_master\.csv and train_master\.tsv are both here"):
        signate.scan(root)
    (root / "train_master.csv").unlink()
    for text in ("", "file_name\tlabel_id\n"):
        (root / "train_master.tsv").write_text(text)
        with pytest.raises(ManifestError, match=r"train_master\.tsv: the table has no rows"):
            signate.scan(root)
    (root / "label_master.csv").unlink()
    assert signate.likeness(root) == 0
    with pytest.raises(ManifestError, match=r"there is no label_master\.csv or label_master\.tsv"):
        signate.scan(root)


def test_real_recordings_in_this_shape_become_a_manifest(data_folder: Path, tmp_path: Path) -> None:
    """Instruments are genres, in .au at 22.05 kHz; one recording for training is no sound."""
    with (data_folder / "instruments10" / "instruments10.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["target"] in ("0", "1", "2")]
    rows = [row for target in "012" for row in [row for row in rows if row["target"] == target][:5]]
    train, sample = [], []
    for number, row in enumerate(rows):
        samples, sample_rate = soundfile.read(
            data_folder / "instruments10" / "audio" / row["filename"], frames=22050, always_2d=True
        )
        assert sample_rate == 44100
        kind, listed = ("test", sample) if number % 5 == 4 else ("train", train)
        folder = tmp_path / f"{kind}_sound_{number % 2 + 1}"
        folder.mkdir(exist_ok=True)
        soundfile.write(folder / f"{kind}_{number}.au", samples[::2].mean(axis=1), 22050)
        listed.append(f"{kind}_{number}.au\t{9 if kind == 'test' else 2 - int(row['target'])}\n")
    (folder.parent / "train_sound_1" / "train_0.au").write_bytes(b"\0" * 4096)
    (tmp_path / "train_master.tsv").write_text("file_name\tlabel_id\n" + "".join(train))
    (tmp_path / "label_master.tsv").write_text("label_id\tlabel_name\n2\tguitar\n1\tbass\n0\tdrum\n")
    (tmp_path / "sample_submit.tsv").write_text("".join(reversed(sample)))
    summary = prepare(tmp_path, tmp_path / "clips.csv", workers=1, folds=3)
    assert "read as the data set 'signate'" in summary.notes
    assert (summary.clips, summary.quarantined) == (14, 1)
    assert "train_sound_1/train_0.au,0.000,error," in summary.quarantine.read_text()
    manifest = Manifest.read(tmp_path / "clips.csv")
    assert manifest.classes == ["drum", "bass", "guitar"]
    assert {clip.sr for clip in manifest} == {22050}
    to_be_named = [clip for clip in manifest if clip.split == "test"]
    assert [clip.path.name for clip in to_be_named] == ["test_14.au", "test_9.au", "test_4.au"]
    assert {(clip.label, clip.fold) for clip in to_be_named} == {(None, None)}
    assert manifest.folds() == [1, 2, 3]
    parts = split(manifest, test=1, validation=0.2, seed=42)
    held = {*parts.train.tolist(), *parts.validation.tolist(), *parts.test.tolist()}
    assert held == {row for row, clip in enumerate(manifest) if clip.split != "test"}
