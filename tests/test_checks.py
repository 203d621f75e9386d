from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kikiwake.checks import check
from kikiwake.errors import ManifestError
from kikiwake.manifest import Clip, Manifest


def clip(name: str, label: str | None, fold: int | None = None, **changes: object) -> Clip:
    number = None if label is None else "abc".index(label)
    return replace(Clip(Path("/nowhere", name), label, number, fold, 8000, 8000), **changes)  # type: ignore[arg-type]


GOOD = [clip("1", "a", 1), clip("2", "b", 1), clip("3", "a", 2), clip("4", "b", 2)]


def test_a_good_manifest_has_no_problems() -> None:
    assert check(Manifest(GOOD, ["a", "b"]), files=False) == []


def test_all_errors_and_warnings_stand_in_one_table(tmp_path: Path) -> None:
    clips = [
        *GOOD,
        clip("4", "b", 2),
        clip("5", None, 3),
        clip("6", "a", 3, start=1.5),
        clip("7", "b", 1, end=9.0),
    ]
    with pytest.raises(ManifestError) as caught:
        check(Manifest(clips, ["a", "b", "c"]))
    text = str(caught.value)
    for kind, words in [
        ("error", "class 'c' has no clip in train"),
        ("error", "1 clip without a class"),
        ("error", "2 rows of the same stretch, 0 s to the end"),
        ("error", "start 1.5 s lies behind the recording's 1.000 s"),
        ("error", "/nowhere/1"),
        ("warning", "end 9 s lies behind the recording's 1.000 s"),
        ("warning", "class 'b' has no clip in fold 3"),
    ]:
        assert any(line.strip().startswith(kind) and words in line for line in text.splitlines()), words


def test_all_missing_recordings_are_counted_and_the_first_twenty_shown() -> None:
    clips = [clip(f"{number}.wav", "ab"[number % 2]) for number in range(50)]
    with pytest.raises(ManifestError) as caught:
        check(Manifest(clips, ["a", "b"]))
    text = str(caught.value)
    assert text.count("/nowhere/") == 20
    assert "30 more of this kind (50 in all)" in text


def test_a_class_that_only_held_out_clips_have_is_an_error_unless_several_may_hold() -> None:
    manifest = Manifest([*GOOD, clip("5", "c", 3)], ["a", "b", "c"])
    with pytest.raises(ManifestError, match="class 'c' has no clip in train"):
        check(manifest, training=[0, 1, 2, 3], files=False)
    told = check(manifest, training=[0, 1, 2, 3], multilabel=True, files=False)
    assert any(
        "class 'c' has no clip in train; the model learns never to hear it" in str(one) for one in told
    )
    assert {problem.where for problem in check(manifest, files=False)} == {"fold 1", "fold 2", "fold 3"}


def test_many_classes_that_a_fold_lacks_are_one_warning() -> None:
    names = [f"bird{number:03}" for number in range(264)]
    clips = [
        Clip(Path("/nowhere", name), name, number, 1 if number else 2, 8000, 8000)
        for number, name in enumerate(names)
    ]
    first, second = check(Manifest(clips, names), files=False)
    assert str(first).startswith("fold 1: class 'bird000' has no clip in fold 1;")
    assert str(second).startswith("fold 2: 263 classes have no clip in fold 2: 'bird001', 'bird002', ")
    assert "'bird010', and 253 more; scores on this fold" in str(second)


def test_a_secondary_or_soft_label_counts_as_a_clip_of_the_class() -> None:
    secondary = Manifest([GOOD[0], replace(GOOD[1], secondary=("c",))], ["a", "b", "c"])
    assert check(secondary, files=False) == []
    soft = Manifest(GOOD[:2], ["a", "b", "c"], [[1, 0, 0.1], [0, 1, 0]])
    assert check(soft, files=False) == []


def test_one_class_and_clips_without_a_class_are_errors_unless_several_may_hold() -> None:
    manifest = Manifest([clip("1", "a"), clip("2", None)], ["a"])
    with pytest.raises(ManifestError, match="one class only: a"):
        check(manifest, files=False)
    (warning,) = check(manifest, multilabel=True, files=False)
    assert "1 clip without a class" in str(warning)


def test_a_manifest_without_clips_is_an_error() -> None:
    with pytest.raises(ManifestError, match="no clip to train on"):
        check(Manifest([], []), files=False)
