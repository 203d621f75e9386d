from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kikiwake.datasets import birdclef, prepare
from kikiwake.errors import ManifestError
from kikiwake.manifest import Manifest

Tone = Callable[..., Path]

METADATA = """primary_label,secondary_labels,type,author,license,rating,url,filename
abethr1,[],['song'],Rolf A. de By,CC,4.0,u,abethr1/XC128013.ogg
abethr1,"['afrsil1', 'abethr1', 'strang1']",['song'],"Smith,  Ann",CC,3.5,u,abethr1/XC363501.ogg
afrsil1,"['strang1', 'strang2', 'strang1']",[''],Unknown,CC,0.0,u,afrsil1/XC125458.ogg
afrsil1,"['']",['call'],,CC,,u,afrsil1/XC125459.ogg
zebfin2,[],[],Ann Smith,CC,5,u,zebfin2/XC1.ogg
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "train_metadata.csv").write_text(METADATA)
    names = ("abethr1/XC128013.ogg", "abethr1/XC363501.ogg", "afrsil1/XC125458.ogg", "afrsil1/XC125459.ogg")
    for name in names:
        path = tmp_path / "train_audio" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def test_the_table_gives_class_author_rating_and_secondary_classes(root: Path) -> None:
    scan = birdclef.scan(root)
    assert [(c.path.name, c.label, c.group, c.rating, c.secondary) for c in scan.clips] == [
        ("XC128013.ogg", "abethr1", "Rolf A. de By", 4.0, ()),
        ("XC363501.ogg", "abethr1", "Smith, Ann", 3.5, ("afrsil1", "strang1")),
        ("XC125458.ogg", "afrsil1", "XC125458", 0.0, ("strang1", "strang2")),
        ("XC125459.ogg", "afrsil1", "XC125459", None, ()),
    ]
    assert {clip.weight for clip in scan.clips} == {1.0}
    assert scan.missing == [("zebfin2/XC1.ogg", "train_metadata.csv:6")]
    assert not scan.classes
    assert "2 recordings name no author: each is a group of its own" in scan.notes
    assert any(note.startswith("1 recordings are rated 0") for note in scan.notes)
    assert birdclef.likeness(root) == 2


def test_zero_stands_for_no_rating_where_one_says_so(root: Path) -> None:
    scan = birdclef.scan(root, zero_is_no_rating=True)
    assert [clip.rating for clip in scan.clips] == [4.0, 3.5, None, None]


def test_a_year_without_ratings_has_none(root: Path) -> None:
    with (root / "train_metadata.csv").open(newline="") as file:
        rows = [[cell for at, cell in enumerate(row) if at != 5] for row in csv.reader(file)]
    with (root / "train_metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    scan = birdclef.scan(root)
    assert [clip.rating for clip in scan.clips] == [None] * 4
    assert not any("rated" in note for note in scan.notes)


def test_2021_names_files_without_folders_and_2025_calls_the_table_train_csv(root: Path) -> None:
    (root / "train_audio").rename(root / "train_short_audio")
    text = METADATA
    for name in ("abethr1", "afrsil1", "zebfin2"):
        text = text.replace(f",{name}/", ",")
    (root / "train_metadata.csv").write_text(text)
    paths = [clip.path.relative_to(root).as_posix() for clip in birdclef.scan(root).clips]
    assert paths[::2] == ["train_short_audio/abethr1/XC128013.ogg", "train_short_audio/afrsil1/XC125458.ogg"]

    (root / "train_short_audio").rename(root / "train_audio")
    (root / "train_metadata.csv").unlink()
    (root / "train.csv").write_text("\ufeff" + METADATA)
    assert birdclef.likeness(root) == 2
    assert len(birdclef.scan(root).clips) == 4
    (root / "train.csv").write_bytes("primary_label,größe\n".encode("latin-1"))
    assert birdclef.likeness(root) == 0


def test_the_taxonomy_orders_the_classes_and_the_list_of_all_birds_does_not(root: Path) -> None:
    (root / "eBird_Taxonomy_v2021.csv").write_text("TAXON_ORDER,SPECIES_CODE\n1,ostric2\n")
    assert not birdclef.scan(root).classes
    (root / "taxonomy.csv").write_text("primary_label,class_name\nafrsil1,Aves\n1139490,Insecta\n")
    scan = birdclef.scan(root)
    assert scan.classes == ["afrsil1", "1139490"]
    assert "classes of taxonomy.csv without a recording, left out: 1139490" in scan.notes
    assert "classes that taxonomy.csv does not hold, put last: abethr1" in scan.notes
    (root / "taxonomy.csv").write_text("code\nafrsil1\n")
    with pytest.raises(ManifestError, match=r"taxonomy\.csv:1 .*no column 'primary_label'"):
        birdclef.scan(root)


def test_soundscapes_are_to_be_named_or_left_out_with_a_reason(root: Path) -> None:
    for name in (
        "test_soundscapes/soundscape_1.ogg",
        "train_soundscapes/2.ogg",
        "unlabeled_soundscapes/3.ogg",
    ):
        (root / name).parent.mkdir()
        (root / name).touch()
    scan = birdclef.scan(root)
    last = scan.clips[-1]
    assert (last.path.name, last.label, last.split, last.group) == ("soundscape_1.ogg", None, "test", None)
    assert len(scan.clips) == 5
    assert sorted(path.name for path in scan.left_out) == ["2.ogg", "3.ogg"]
    assert all("kikiwake predict RUN" in reason for reason in scan.left_out.values())


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (",4.0,", ",good,", r"train_metadata\.csv:2 .*rating 'good' is not a number from 0 to 5"),
        (",4.0,", ",5.5,", "rating '5.5'"),
        (",4.0,", ",inf,", "rating 'inf'"),
        ("abethr1/XC128013", "../../XC128013", r"csv:2 .*'../../XC128013.ogg' lies outside"),
        ("abethr1/XC128013", "/etc/XC128013", "lies outside"),
        ("abethr1/XC128013", "..\\\\XC128013", "lies outside"),
        ("XC363501", "XC128013", r"csv:3 .*'abethr1/XC128013.ogg' stands in train_metadata\.csv:2 too"),
        ("abethr1,[],", "abethr1,afrsil1,", "secondary_labels 'afrsil1' is no list of names"),
        ("abethr1,[],", "abethr1,[3],", r"'\[3\]' is no list of names"),
        ("abethr1,[],", "abethr1,{},", "is no list of names"),
        ("abethr1,[],", "abethr1,\"[open('/tmp/kikiwake_was_run', 'w')]\",", "is no list of names"),
        ("abethr1,[],", f"abethr1,{'[' * 5000},", "is no list of names"),
        ("\nabethr1,[],", "\n,[],", "primary_label is empty"),
        (",abethr1/XC128013.ogg", ",", "filename is empty"),
        (",rating,url", ",rating,rating", "column 'rating' stands twice"),
        ("author", "auth", r"lacks the columns author; take it as BirdCLEF has it"),
        ("secondary_labels", "others", "lacks the columns secondary_labels"),
        ("primary_label", "label", r"no table of BirdCLEF.*put train_metadata\.csv"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(root: Path, old: str, new: str, complaint: str) -> None:
    assert old in METADATA
    (root / "train_metadata.csv").write_text(METADATA.replace(old, new, 1))
    with pytest.raises(ManifestError, match=complaint):
        birdclef.scan(root)
    assert not Path("/tmp/kikiwake_was_run").exists()


def test_real_recordings_in_this_shape_become_a_manifest_of_folds_by_author(
    data_folder: Path, tmp_path: Path
) -> None:
    """Digits are species and speakers are authors; one species has a single author."""
    recordings = sorted((data_folder / "fsdd").rglob("[0-3]_*_[0-1].*"))
    lines = ["primary_label,secondary_labels,author,rating,filename"]
    for recording in recordings:
        digit, speaker, take = recording.stem.split("_")
        if digit == "3" and speaker != "george":
            continue
        name = f"{digit}/XC{speaker}{digit}{take}{recording.suffix}"
        (tmp_path / "train_audio" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(recording, tmp_path / "train_audio" / name)
        lines.append(f"{digit},\"['{(int(digit) + 1) % 4}', 'unheard']\",{speaker},{take}.5,{name}")
    (tmp_path / "train_metadata.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "taxonomy.csv").write_text("primary_label\n3\n2\n1\n0\n")
    (tmp_path / "test_soundscapes").mkdir()
    shutil.copy(recordings[0], tmp_path / "test_soundscapes" / f"soundscape_1{recordings[0].suffix}")
    summary = prepare(tmp_path, tmp_path / "clips.csv", workers=1, folds=3)
    assert (
        (tmp_path / "clips.csv").read_text().startswith("path,class_id,class,fold,frames,sr,secondary,group")
    )
    manifest = Manifest.read(tmp_path / "clips.csv")
    assert manifest.classes == ["3", "2", "1", "0"]
    assert manifest.folds() == [1, 2, 3]
    sides: dict[str, set[int | None]] = {}
    for clip in manifest:
        sides.setdefault(str(clip.group), set()).add(clip.fold)
    assert sides.pop("None") == {None}  # the soundscape, which is to be named
    assert all(len(folds) == 1 for folds in sides.values())
    assert {clip.rating for clip in manifest} == {0.5, 1.5, None}
    text = str(summary)
    assert "read as the data set 'birdclef'" in text
    labelled = len(manifest) - 1
    assert (
        f"{labelled} secondary labels that no clip has as its class are left out: 'unheard' ({labelled})"
        in text
    )
    assert "class '3' has 1 group for 3 folds: at least 2 of them have none of it, and where" in text
