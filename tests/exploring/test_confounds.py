"""What betrays a class without its sound is said in words, and chance is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kikiwake.clip import Clip
from kikiwake.exploring._clips import UNLABELLED, MeasuredClip
from kikiwake.exploring._confounds import confounds, header_guess, split_shifts
from kikiwake.exploring._measures import Measures
from kikiwake.exploring._oddities import oddities

PLAIN = Measures(
    seconds=5.0,
    sample_rate=44_100,
    channels=1,
    format="WAV PCM_16",
    peak_dbfs=-3.0,
    rms_dbfs=-20.0,
    loudness_lufs=-20.0,
    silent_share=0.0,
    zero_share=0.0,
    clipped_share=0.0,
    clipped_runs=0,
    dc_offset=0.0,
    bandwidth_hz=22_050.0,
    loudest_seconds=1.0,
    sound="",
)


def clip(
    number: int, label: str, *, split: str | None = None, group: str = "", **changes: Any
) -> MeasuredClip:
    path = Path(f"/data/{label}/{number}.wav")
    measures = replace(PLAIN, sound=f"{label}{number}", **changes)
    return MeasuredClip(
        Clip(path, label, 0, None, 220_500, 44_100, split=split),
        f"{label}/{number}.wav",
        label,
        group or f"{label}{number}",
        measures,
    )


def test_a_rate_that_one_class_alone_has_is_told() -> None:
    clips = [clip(k, "dog", sample_rate=22_050, bandwidth_hz=11_025.0) for k in range(20)]
    clips += [clip(k, name) for name in ("cat", "owl") for k in range(20)]
    said = confounds(clips)
    assert (
        said[0] == "22,050 Hz: all 20 clips of 'dog', but 0 of 40 clips of the other classes. "
        "A model could tell them apart by that."
    )
    assert said[1].startswith(
        "A clip of 'dog' has less bandwidth than one of another class in 100 of 100 pairs "
        "(median 11,025 Hz, others 22,050 Hz)"
    )
    assert len(said) == 2


def test_classes_that_share_a_format_are_told_together() -> None:
    clips = [clip(k, name, format="MP3 MPEG_LAYER_III") for name in ("dog", "cat") for k in range(20)]
    clips += [clip(k, name) for name in ("owl", "hen", "cow") for k in range(20)]
    clips[0] = clip(0, "dog")
    (said,) = confounds(clips)
    assert "MP3 MPEG_LAYER_III: all 20 clips of 'cat', 19 of 20 clips of 'dog', but 0 of 60" in said


def test_a_longer_class_is_told_with_both_medians() -> None:
    rng = np.random.default_rng(0)
    clips = [clip(k, "long", seconds=float(rng.uniform(6, 9))) for k in range(30)]
    clips += [clip(k, "short", seconds=float(rng.uniform(1, 3))) for k in range(30)]
    (said,) = confounds(clips)
    assert said.startswith(
        "A clip of 'long' is longer than one of another class in 100 of 100 pairs (median 7."
    )


def test_chance_is_not_told() -> None:
    rng = np.random.default_rng(0)
    clips = [
        clip(
            k,
            f"class {k % 40}",
            seconds=float(rng.normal(5, 1)),
            rms_dbfs=float(rng.normal(-20, 5)),
            bandwidth_hz=float(rng.uniform(5000, 22_050)),
            silent_share=float(rng.random()),
            dc_offset=float(rng.normal(0, 0.01)),
            sample_rate=int(rng.choice([22_050, 44_100, 48_000])),
            channels=int(rng.integers(1, 3)),
        )
        for k in range(40 * 12)
    ]
    assert confounds(clips) == []


def test_too_few_clips_and_clips_without_a_class_prove_nothing() -> None:
    clips = [clip(k, "dog", sample_rate=8000) for k in range(4)] + [clip(k, "cat") for k in range(50)]
    assert confounds(clips) == []
    clips = [clip(k, UNLABELLED, sample_rate=8000) for k in range(50)] + [clip(k, "cat") for k in range(50)]
    assert confounds(clips) == []
    assert confounds([]) == []


def test_a_test_split_of_other_files_is_told() -> None:
    clips = [clip(k, "dog", split="train") for k in range(30)]
    clips += [clip(k, "cat", split="test", channels=2) for k in range(10)]
    said = split_shifts(clips)
    assert len(said) == 1
    assert "2 channels: all 10 clips of 'test', but 0 of 30 clips of the other splits." in said[0]


def test_headers_that_give_the_class_away_are_measured() -> None:
    clips = [clip(k, "dog", channels=2) for k in range(30)] + [clip(k, "cat") for k in range(30)]
    found = header_guess(clips, seed=0)
    assert found is not None
    assert (found.right, found.commonest, found.telling) == (1.0, 0.5, True)
    alike = [clip(k, "dog") for k in range(60)] + [clip(k, "cat") for k in range(40)]
    same = header_guess(alike, seed=0)
    assert same is not None
    assert not same.telling
    # Clips of one group are never on both sides, so what a group shares gives nothing away.
    grouped = [
        clip(k, "dog" if k % 2 else "cat", group=f"g{k // 10}", seconds=float(k // 10)) for k in range(100)
    ]
    held_out = header_guess(grouped, seed=0)
    assert held_out is not None
    assert not held_out.telling
    assert header_guess([clip(k, "dog") for k in range(60)], seed=0) is None


def test_repeated_sounds_are_found_and_the_worst_come_first() -> None:
    clips = [clip(k, "dog") for k in range(3)] + [clip(k, "cat") for k in range(3)]
    same = {"measures": replace(PLAIN, sound="the same")}
    clips[1], clips[2] = (replace(clips[k], group="g", **same) for k in (1, 2))
    clips[4] = replace(clips[4], **same)
    (found,) = [one for one in oddities(clips) if one.name == "repeated"]
    assert [(odd.title, said) for odd, said in found.clips] == [
        ("cat/1.wav", "as dog/1.wav, which is of class 'dog'"),
        ("dog/2.wav", "as dog/1.wav"),
    ]


def test_what_all_clips_share_is_not_odd() -> None:
    assert oddities([clip(k, "dog") for k in range(3)]) == []
