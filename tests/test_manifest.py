from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kikiwake.errors import ManifestError
from kikiwake.manifest import Clip, Manifest

HEADER = "path,class_id,class,fold,frames,sr"


def write(folder: Path, *lines: str, name: str = "train.csv") -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def complaint(path: Path) -> str:
    with pytest.raises(ManifestError) as caught:
        Manifest.read(path)
    return str(caught.value)


def test_a_manifest_of_the_six_columns_and_absolute_paths_reads(tmp_path: Path) -> None:
    manifest = Manifest.read(
        write(tmp_path, HEADER, "/data/a.ogg,0,dog,1,220500,44100", "/data/b.ogg,1,cat,2,110250,22050")
    )
    assert manifest.classes == ["dog", "cat"]
    assert manifest.folds() == [1, 2]
    assert manifest[1] == Clip(Path("/data/b.ogg"), "cat", 1, 2, 110250, 22050)
    assert [clip.duration_seconds for clip in manifest] == [5.0, 5.0]


def test_numbers_as_pandas_writes_them_and_a_byte_order_mark_read(tmp_path: Path) -> None:
    manifest = Manifest.read(
        write(tmp_path, "\ufeff" + HEADER, "a.wav,0.0,dog,1.0,10.0,8000.0", "b.wav,,,,5,8000")
    )
    assert manifest[0] == Clip(tmp_path / "a.wav", "dog", 0, 1, 10, 8000)
    assert manifest[1] == Clip(tmp_path / "b.wav", None, None, None, 5, 8000)


def test_paths_inside_the_csvs_folder_are_written_relative_and_move_with_it(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    inside = Clip(tmp_path / "here" / "audio" / "a.wav", "dog", 0, 1, 10, 8000)
    outside = Clip(Path("/elsewhere/b.wav"), "dog", 0, 1, 10, 8000)
    Manifest([inside, outside], ["dog"]).write(tmp_path / "here" / "clips.csv")
    lines = (tmp_path / "here" / "clips.csv").read_text().splitlines()
    assert lines == [HEADER, "audio/a.wav,0,dog,1,10,8000", "/elsewhere/b.wav,0,dog,1,10,8000"]

    (tmp_path / "here").rename(tmp_path / "there")
    moved = Manifest.read(tmp_path / "there" / "clips.csv")
    assert [clip.path for clip in moved] == [tmp_path / "there" / "audio" / "a.wav", Path("/elsewhere/b.wav")]


def test_only_the_optional_columns_in_use_are_written(tmp_path: Path) -> None:
    clip = Clip(Path("/a.wav"), "dog", 0, None, 80000, 8000, start=0.1, end=2.5, secondary=("cat", "cow"))
    Manifest([clip], ["dog", "cat", "cow"]).write(tmp_path / "clips.csv")
    assert (tmp_path / "clips.csv").read_text() == (
        f"{HEADER},start,end,secondary\n/a.wav,0,dog,,80000,8000,0.1,2.5,cat;cow\n"
    )


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)
CLASSES = NAMES.filter(lambda name: ";" not in name)
SECONDS = st.floats(0, 1e6)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    classes = draw(st.lists(CLASSES, min_size=1, max_size=4, unique=True))
    soft = draw(st.booleans()) and not {"path", "class", "fold", "sr", "start", "end", "group"} & set(classes)
    files = draw(st.lists(NAMES.filter(lambda name: name not in {".", ".."}), unique=True, max_size=5))
    clips = []
    for file in files:
        number = draw(st.none() | st.integers(0, len(classes) - 1))
        start, length = draw(st.none() | SECONDS), draw(st.none() | st.floats(0.001, 1e6))
        clips.append(
            Clip(
                path=Path("/") / file.replace("/", "_") / "x.wav",
                label=None if number is None else classes[number],
                class_id=number,
                fold=draw(st.none() | st.integers(0, 9)),
                frames=draw(st.integers(1, 2**40)),
                sr=draw(st.integers(1, 768_000)),
                start=start,
                end=None if length is None else (start or 0.0) + length,
                secondary=tuple(draw(st.lists(st.sampled_from(classes), max_size=3))),
                group=draw(st.none() | NAMES),
                split=draw(st.sampled_from([None, "train", "validation", "test"])),
                weight=draw(st.floats(0, 1e300)),
                rating=draw(st.none() | st.floats(0, 5)),
            )
        )
    values = draw(
        st.lists(
            st.lists(st.floats(0, 1, width=32), min_size=len(classes), max_size=len(classes)),
            min_size=len(clips),
            max_size=len(clips),
        )
    )
    return Manifest(clips, classes, np.array(values).reshape(len(clips), len(classes)) if soft else None)


@settings(deadline=None)
@given(manifest=manifests())
def test_what_is_written_is_read_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, manifest: Manifest
) -> None:
    path = tmp_path_factory.mktemp("round") / "clips.csv"
    if len({clip.path for clip in manifest}) < len(manifest):
        return  # two names that differ in the replaced slash alone
    manifest.write(path)
    assert Manifest.read(path, classes=manifest.classes) == manifest
    first = path.read_bytes()
    Manifest.read(path, classes=manifest.classes).write(path)
    assert path.read_bytes() == first


def test_cells_that_spreadsheets_take_for_formulas_are_kept_as_they_are(tmp_path: Path) -> None:
    clips = [Clip(Path(f"/{mark}1"), f"{mark}x", number, 1, 1, 1) for number, mark in enumerate("=+-@")]
    Manifest(clips, [clip.label or "" for clip in clips]).write(tmp_path / "clips.csv")
    assert Manifest.read(tmp_path / "clips.csv").clips == clips


def test_soft_labels_take_the_place_of_hard_ones(tmp_path: Path) -> None:
    path = write(
        tmp_path, f"{HEADER},dog,cat", "a,0,dog,1,1,1,0.75,0.5", "b,,,1,1,1,0,0.25", "c,1,cat,1,1,1,,"
    )
    manifest = Manifest.read(path)
    assert manifest.targets().tolist() == [[0.75, 0.5], [0.0, 0.25], [0.0, 1.0]]
    assert manifest.class_ids().tolist() == [0, 1, 1]


def test_targets_give_secondary_classes_their_value() -> None:
    clips = [
        Clip(Path("a"), "dog", 0, 1, 1, 1, secondary=("cat", "cow")),
        Clip(Path("b"), None, None, 1, 1, 1, weight=0.5),
    ]
    manifest = Manifest(clips, ["dog", "cat", "cow", "hen"])
    expected = np.array([[1, 0.9, 0.9, 0], [0, 0, 0, 0]], np.float32)
    assert np.array_equal(manifest.targets(secondary=0.9), expected)
    assert manifest.targets().sum() == 1
    assert manifest.weights().tolist() == [1.0, 0.5]
    assert manifest.class_ids().tolist() == [0, -1]


def test_classes_stand_in_the_order_of_class_id_and_missing_numbers_close_up(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER, "a,41,saw,1,1,1", "b,0,dog,1,1,1", "c,10,rain,1,1,1")
    assert Manifest.read(path).classes == ["dog", "rain", "saw"]
    assert [clip.class_id for clip in Manifest.read(path)] == [2, 0, 1]


def test_classes_without_numbers_are_sorted_by_name(tmp_path: Path) -> None:
    assert Manifest.read(write(tmp_path, HEADER, "a,,saw,1,1,1", "b,,dog,1,1,1")).classes == ["dog", "saw"]


def test_a_models_classes_fix_the_numbers(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER, "a,0,saw,1,1,1")
    manifest = Manifest.read(path, classes=["dog", "saw"])
    assert (manifest.classes, manifest[0].class_id) == (["dog", "saw"], 1)
    with pytest.raises(ManifestError, match=r"train\.csv:2 .*class 'saw' is not among"):
        Manifest.read(path, classes=["dog", "cat"])


def test_all_problems_stand_in_one_table_with_their_lines(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        f"{HEADER},start,end,secondary,split,weight,rating,grup",
        "a.wav,0,dog,1,10,8000,5.0,4.2,,,,,",
        "b.wav,0,cat,1,10,8000,,,,,,,",
        "c.wav,1,dog,1,10,8000,,,,,,,",
        "d.wav,0,dog,one,10,8000,,,,,,,",
        "e.wav,0,dog,1,0,8000,,,,,,,",
        "f.wav,0,dog,1,10,8000,x,,,,,,",
        "g.wav,0,dog,1,10,8000,,,,,-1,,",
        "h.wav,0,dog,1,10,8000,,,,,,6,",
        "i.wav,0,dog,1,10,8000,,,dgo,,,,",
        "j.wav,0,dog,1,10,8000,,,,trian,,,",
        "d.wav,0,dog,1,10,8000,,,,,,,",
        "k.wav,0,dog,1,10,8000,nan,,,,,,",
        "l.wav,0,dog",
        ",0,dog,1,10,8000,,,,,,,",
        "m.wav,3,,1,10,8000,,,,,,,",
    )
    text = complaint(path)
    for line, words in [
        (1, "unknown column 'grup'"),
        (1, "did you mean 'group'?"),
        (2, "end 4.2 s precedes start 5.0 s"),
        (3, "class_id 0 is 'cat' here and 'dog' above"),
        (4, "class 'dog' has class_id 1 here and 0 above"),
        (5, "fold 'one' is not a whole number"),
        (6, "frames '0' is not a whole number above 0"),
        (7, "start 'x' is not a number"),
        (8, "weight -1 is out of range"),
        (9, "rating 6 is out of range"),
        (10, "secondary class 'dgo' is unknown"),
        (11, "split 'trian' is unknown"),
        (12, "the same stretch of 'd.wav' as train.csv:5"),
        (13, "start nan is out of range"),
        (14, "3 cells in a table of 13 columns"),
        (15, "path is empty"),
        (16, "class_id 3 without a class"),
    ]:
        assert any(f"train.csv:{line} " in row and words in row for row in text.splitlines()), words
    assert "give end > start or leave both empty" in text
    assert "16 errors" in text.splitlines()[0]


def test_missing_columns_are_all_named_and_rows_are_checked_all_the_same(tmp_path: Path) -> None:
    text = complaint(write(tmp_path, "path,class,fold,frames,end", "a,dog,x,10,-1"))
    assert text.count("is missing") == 2
    assert "'class_id'" in text
    assert "'sr'" in text
    assert "fold 'x'" in text
    assert "end -1" in text


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([f"{HEADER},dog", "a,0,dog,1,1,1,0.5", "b,1,cat,1,1,1,0.5"], "missing: cat"),
        (
            [f"{HEADER},dog,cat", "a,0,dog,1,1,1,1.5,0", "b,1,cat,1,1,1,0,1"],
            "soft label '1.5' of class 'dog'",
        ),
        ([f"{HEADER},dog,cat", "a,0,dog,1,1,1,0.5,", "b,1,cat,1,1,1,0,1"], "soft label '' of class 'cat'"),
        ([f"{HEADER},cat,dog", "a,0,dog,1,1,1,0,1", "b,1,cat,1,1,1,0,1"], "is soft-label column 1"),
        ([f"{HEADER},fold", "a,0,dog,1,1,1,1"], "column 'fold' stands twice"),
        ([HEADER, "a,0,dog,1,1,1", "b,,cat,1,1,1"], "class 'cat' has no class_id"),
    ],
)
def test_soft_labels_and_headers_are_checked(tmp_path: Path, lines: list[str], words: str) -> None:
    assert words in complaint(write(tmp_path, *lines))


def test_a_line_number_counts_lines_inside_quoted_cells(tmp_path: Path) -> None:
    text = complaint(write(tmp_path, HEADER, '"a\nb",0,dog,1,1,1', "c,0,dog,1,1,x"))
    assert "train.csv:4" in text


def test_a_flood_of_one_problem_hides_no_other(tmp_path: Path) -> None:
    rows = [f"{number}.wav,0,dog,1,10,x" for number in range(1000)]
    text = complaint(write(tmp_path, HEADER, *rows, "last.wav,0,dog,x,10,8000"))
    assert len(text.splitlines()) < 30
    assert "980 more of this kind (1000 in all)" in text
    assert "fold 'x'" in text


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "empty"), (b"path,\xff\n", "not UTF-8"), (b'path\n"a', "not a table")],
)
def test_a_file_that_is_no_table_is_an_error_that_names_it(
    tmp_path: Path, content: bytes, words: str
) -> None:
    (tmp_path / "train.csv").write_bytes(content)
    assert words in complaint(tmp_path / "train.csv")
    assert "train.csv" in complaint(tmp_path / "train.csv")


def test_a_manifest_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    assert "gone.csv" in complaint(tmp_path / "gone.csv")


def test_a_name_that_is_no_unicode_is_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    path = write(tmp_path, "old")
    with pytest.raises(ManifestError, match="not valid Unicode"):
        Manifest([Clip(Path("/a\udcff.wav"), None, None, None, 1, 1)], []).write(path)
    assert path.read_text() == "old\n"


def test_class_names_that_the_format_cannot_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="'a;b'"):
        Manifest([], ["a;b"]).write(tmp_path / "clips.csv")
    with pytest.raises(ManifestError, match="'fold'"):
        Manifest([], ["fold"], np.zeros((0, 1))).write(tmp_path / "clips.csv")


def test_a_label_that_is_not_its_number_and_misshapen_soft_labels_are_refused() -> None:
    clip = Clip(Path("a"), "cat", 0, None, 1, 1)
    with pytest.raises(ManifestError, match="class 'cat' is not class number 0"):
        Manifest([clip], ["dog", "cat"])
    with pytest.raises(ManifestError, match=r"\(1, 1\)"):
        Manifest([clip], ["cat"], [[0.5, 0.5]])


def test_select_keeps_classes_and_soft_labels_of_the_chosen() -> None:
    clips = [Clip(Path(name), name, number, None, 1, 1) for number, name in enumerate("abc")]
    chosen = Manifest(clips, list("abc"), np.eye(3)).select(np.array([2, 0]))
    assert [clip.label for clip in chosen] == ["c", "a"]
    assert chosen.classes == ["a", "b", "c"]
    assert chosen.targets().tolist() == [[0, 0, 1], [1, 0, 0]]


def test_the_hash_follows_everything_but_the_shared_folder() -> None:
    def manifest(folder: str, **changes: object) -> Manifest:
        fields = {"label": "x", "class_id": 0, "fold": 1, "frames": 1, "sr": 1, **changes}
        return Manifest(
            [Clip(Path(folder) / "a.wav", **fields), Clip(Path(folder) / "b" / "c.wav", **fields)], ["x"]
        )  # type: ignore[arg-type]

    assert manifest("/one").hash() == manifest("/two/three").hash()
    hashes = [
        manifest("/one", **change).hash() for change in ({}, {"fold": 2}, {"start": 1.0}, {"weight": 0.5})
    ]
    assert all(a != b for a, b in itertools.combinations(hashes, 2))


def test_a_stretch_counts_no_further_than_its_recording() -> None:
    clip = Clip(Path("a"), None, None, None, 8000, 8000, start=0.25, end=5.0)
    assert (clip.start_seconds, clip.duration_seconds) == (0.25, 0.75)


def test_ratings_become_weights_above_a_floor_where_a_recipe_wants_them(tmp_path: Path) -> None:
    rows = [
        f"{name}.wav,0,dog,1,10,8000,{more}"
        for name, more in zip("abcd", ("2,4", "1,1", "1,0", "1,"), strict=True)
    ]
    manifest = Manifest.read(write(tmp_path, HEADER + ",weight,rating", *rows))
    assert manifest.weights().tolist() == [2.0, 1.0, 1.0, 1.0]
    # The best rating is 4; the clip rated 0 is held by the floor, the last has no rating.
    assert manifest.weights(rating_floor=0.1).tolist() == pytest.approx([2.0, 0.25, 0.1, 1.0])
    unrated = Manifest.read(write(tmp_path, HEADER, "a.wav,0,dog,1,10,8000"))
    assert unrated.weights(rating_floor=0.1).tolist() == [1.0]
