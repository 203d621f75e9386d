from __future__ import annotations

import csv
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kikiwake.errors import ManifestError
from kikiwake.folds import assign_folds, scarce_classes, split
from kikiwake.manifest import Clip, Manifest

CLASSES = ["a", "b", "c"]


def manifest_of(*clips: tuple[str, int, str | None]) -> Manifest:
    """Clips of (recording, class number, group)."""
    return Manifest(
        [
            Clip(
                Path("/", name), CLASSES[number], number, None, 8000, 8000, float(row), row + 1.0, group=group
            )
            for row, (name, number, group) in enumerate(clips)
        ],
        CLASSES,
    )


@pytest.fixture
def esc10(data_folder: Path) -> Manifest:
    with (data_folder / "esc10" / "esc10.csv").open() as file:
        rows = list(csv.DictReader(file))
    classes = sorted({row["category"] for row in rows})
    clips = [
        Clip(
            Path("/", row["filename"]), row["category"], classes.index(row["category"]),
            int(row["fold"]), int(row["n_frames"]), 44100, group=row["src_file"],
        )
        for row in rows
    ]  # fmt: skip
    return Manifest(clips, classes)


GROUPED = st.lists(
    st.tuples(st.sampled_from("uvwxyz"), st.integers(0, 2), st.none() | st.sampled_from("ghijkl")),
    min_size=8,
    max_size=40,
)


@settings(deadline=None)
@given(clips=GROUPED, folds=st.integers(2, 4), seed=st.integers(0, 5))
def test_a_group_lies_in_one_fold_and_the_same_seed_deals_the_same(
    clips: list[tuple[str, int, str | None]], folds: int, seed: int
) -> None:
    manifest = manifest_of(*clips)
    try:
        dealt = assign_folds(manifest, folds=folds, seed=seed)
    except ManifestError:
        assume(False)
    sides: dict[str, set[int | None]] = {}
    for group, clip in zip(dealt.groups(), dealt, strict=True):
        sides.setdefault(group, set()).add(clip.fold)
    assert all(len(found) == 1 for found in sides.values())
    assert {clip.fold for clip in dealt} <= set(range(1, folds + 1))
    assert dealt == assign_folds(manifest, folds=folds, seed=seed)


@settings(deadline=None)
@given(clips=GROUPED, fraction=st.floats(0.05, 0.9), seed=st.integers(0, 5))
def test_a_group_lies_on_one_side_of_a_drawn_split(
    clips: list[tuple[str, int, str | None]], fraction: float, seed: int
) -> None:
    manifest = manifest_of(*((f"{row}", number, group) for row, (_, number, group) in enumerate(clips)))
    try:
        parts = split(manifest, test=None, validation=fraction, seed=seed)
    except ManifestError:
        assume(False)
    groups = np.array(manifest.groups())
    assert not set(groups[parts.train]) & set(groups[parts.validation])
    assert sorted([*parts.train, *parts.validation, *parts.test]) == list(range(len(manifest)))


def test_real_clips_are_dealt_evenly_and_differently_for_another_seed(esc10: Manifest) -> None:
    dealt = assign_folds(esc10, folds=5, seed=0)
    counts = Counter((clip.fold, clip.label) for clip in dealt)
    assert len(counts) == 50
    assert set(counts.values()) <= {7, 8, 9}
    assert dealt != assign_folds(esc10, folds=5, seed=1)


def test_a_drawn_validation_part_keeps_the_classes_shares(esc10: Manifest) -> None:
    parts = split(esc10, test=1, validation=0.25, seed=0)
    assert len(parts.test) == 80
    counts = np.bincount(esc10.class_ids()[parts.validation], minlength=10)
    assert np.all(np.abs(counts - 8) <= 2)
    again = split(esc10, test=1, validation=0.25, seed=0)
    assert np.array_equal(parts.validation, again.validation)
    assert not np.array_equal(parts.validation, split(esc10, test=1, validation=0.25, seed=1).validation)


def test_official_folds_hold_out_what_they_name(esc10: Manifest) -> None:
    parts = split(esc10, test=1, validation=2, seed=0)
    assert {esc10[int(row)].fold for row in parts.test} == {1}
    assert {esc10[int(row)].fold for row in parts.validation} == {2}
    assert {esc10[int(row)].fold for row in parts.train} == {3, 4, 5}


def test_classes_with_fewer_groups_than_folds_are_named() -> None:
    manifest = manifest_of(
        *((f"{row}", 0, None) for row in range(5)), ("p", 1, "g"), ("q", 1, "g"), ("r", 2, "g"), ("s", 2, "h")
    )
    assert scarce_classes(manifest, folds=3) == [
        "class 'b' has 1 group for 3 folds: at least 2 of them have none of it, and where the one that has "
        "it is held out, no clip of it trains",
        "class 'c' has 2 groups for 3 folds: at least 1 of them have none of it",
    ]
    assert scarce_classes(manifest, folds=2)[0].startswith("class 'b'")
    assert assign_folds(manifest, folds=3, seed=0).folds() == [1, 2, 3]


def test_many_scarce_classes_are_told_by_their_groups_and_cut_with_a_count() -> None:
    names = [f"bird{number:03}" for number in range(300)]
    groups = [0] * 250 + [0, 1] * 25 + list(range(5)) * 25
    owners = [*range(250), *(250 + row // 2 for row in range(50)), *(275 + row // 5 for row in range(125))]
    clips = [
        Clip(Path("/", f"{row}"), names[owner], owner, None, 8000, 8000, group=f"{owner} {group}")
        for row, (owner, group) in enumerate(zip(owners, groups, strict=True))
    ]
    one, two = scarce_classes(Manifest(clips, names), folds=5)
    assert one.startswith(
        "250 classes have 1 group for 5 folds: at least 4 of them have none of each, and where"
    )
    assert one.endswith("'bird009', and 240 more)")
    assert two.startswith(
        "25 classes have 2 groups for 5 folds: at least 3 of them have none of each ('bird250'"
    )


@pytest.mark.parametrize(
    ("folds", "words"), [(1, "at least 2"), (4, "3 groups cannot fill 4 folds"), (3, "no class has as many")]
)
def test_folds_that_cannot_be_filled_are_refused(folds: int, words: str) -> None:
    manifest = manifest_of(("p", 0, None), ("q", 1, None), ("r", 2, None))
    with pytest.raises(ManifestError, match=words):
        assign_folds(manifest, folds=folds, seed=0)


def in_folds(*folds: int | None) -> Manifest:
    manifest = manifest_of(*((f"{row}", row % 3, None) for row in range(len(folds))))
    return manifest.with_folds(folds)


def test_a_clip_without_a_fold_always_trains() -> None:
    parts = split(in_folds(1, 2, None, 3), test=1, validation=2, seed=0)
    assert (parts.train.tolist(), parts.validation.tolist(), parts.test.tolist()) == ([2, 3], [1], [0])


def test_clips_that_are_only_there_to_be_named_get_no_fold_and_never_train() -> None:
    manifest = manifest_of(*((f"{row}", row % 3, "g" if row == 9 else None) for row in range(10)))
    test = [replace(manifest[0], path=Path("/t", name), label=None, class_id=None) for name in "pq"]
    test = [replace(test[0], split="test", group="g"), replace(test[1], split="test")]
    dealt = assign_folds(Manifest([*manifest, *test], CLASSES), folds=3, seed=0)
    assert [clip.fold for clip in dealt][-2:] == [None, None]
    assert dealt.folds() == [1, 2, 3]
    assert [clip.fold for clip in dealt][:-2] == [c.fold for c in assign_folds(manifest, folds=3, seed=0)]
    for held_out in (None, 1, 2, 3):
        parts = split(dealt, test=held_out, validation=None, seed=0)
        assert {10, 11}.isdisjoint({*parts.train.tolist(), *parts.validation.tolist(), *parts.test.tolist()})
    apart = Manifest([*manifest, test[1]], CLASSES)
    assert split(apart, test="split", validation=None, seed=0).test.tolist() == [10]


def test_the_split_column_is_followed_and_a_fraction_fills_in_missing_validation_clips() -> None:
    manifest = in_folds(*[None] * 12)
    splits = ["test"] * 2 + ["validation"] * 3 + ["train"] * 6 + [None]
    named = Manifest([replace(c, split=s) for c, s in zip(manifest, splits, strict=True)], CLASSES)
    for validation in (None, 0.5, "split"):
        parts = split(named, test="split", validation=validation, seed=0)
        assert (len(parts.train), len(parts.validation), len(parts.test)) == (7, 3, 2)

    unnamed = Manifest([replace(c, split="test" if c.split == "test" else None) for c in named], CLASSES)
    assert len(split(unnamed, test="split", validation=None, seed=0).validation) == 0
    assert 3 <= len(split(unnamed, test="split", validation=0.5, seed=0).validation) <= 7


@pytest.mark.parametrize(
    ("test", "validation", "words"),
    [
        (1, 1, "the same fold"),
        (9, None, r"split\.test: there is no such fold .*choose one of 1, 2, 3"),
        (1, 7, r"split\.validation: there is no such fold .*choose one of 1, 2, 3"),
        ("split", None, "no clip has the split 'test'"),
        (1, 1.5, "between 0 and 1"),
        (1, 0.0, "between 0 and 1"),
    ],
)
def test_splits_that_make_no_sense_are_refused(
    test: int | str, validation: int | float | None, words: str
) -> None:
    with pytest.raises(ManifestError, match=words):
        split(in_folds(1, 2, 3, 1, 2, 3), test=test, validation=validation, seed=0)


def test_holding_out_everything_is_refused() -> None:
    with pytest.raises(ManifestError, match="no clip is left to train on"):
        split(in_folds(1, 2, 1, 2), test=1, validation=2, seed=0)
    with pytest.raises(ManifestError, match="kikiwake prepare --folds"):
        split(in_folds(None, None), test=1, validation=None, seed=0)


def test_groups_and_recordings_on_several_sides_are_all_listed() -> None:
    manifest = manifest_of(
        ("p", 0, "g"), ("q", 1, "g"), ("r", 2, None), ("r", 2, None), ("s", 0, "h"), ("t", 0, "h")
    )
    with pytest.raises(ManifestError) as caught:
        split(manifest.with_folds([1, 2, 1, 3, 2, 2]), test=1, validation=2, seed=0)
    text = str(caught.value)
    assert "group g " in text
    assert "1 in test, 1 in validation" in text
    assert "recording /r " in text
    assert "group h" not in text
    assert "2 errors" in text
