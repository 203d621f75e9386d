"""Sets of recordings: the truth is true to the sample and the decibel, and no fold hears another's clips."""

from __future__ import annotations

import csv
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from kikiwake import _timetable, _trimming, audio
from kikiwake.cli import app
from kikiwake.datasets import prepare
from kikiwake.errors import AudioError, KikiwakeError, ManifestError, RecipeError, StorageError
from kikiwake.files import content_hash
from kikiwake.manifest import Clip, Manifest
from kikiwake.randomness import generator
from kikiwake.soundscapes import SetSummary, synthesise_set

RATE = 8000
HERTZ = {1: (500, 1100), 2: (700, 1300), 3: (900, 1500)}
"""Of each fold's clips: the class `low`, the class `high`."""


def tone(hertz: float, seconds: float) -> np.ndarray:
    return 0.4 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)


def manifest_of_tones(folder: Path, *, clips_per_class: int = 4) -> Manifest:
    """Tones of 0.5 s between silences of 0.2 s; each fold's and class's frequency is its own."""
    clips = []
    for fold, pair in HERTZ.items():
        for class_id, (label, hertz) in enumerate(zip(("low", "high"), pair, strict=True)):
            for take in range(clips_per_class):
                path = folder / f"{label}_{fold}_{take}.wav"
                silence = np.zeros(round(0.2 * RATE))
                soundfile.write(path, np.concatenate([silence, tone(hertz, 0.5), silence]), RATE)
                clips.append(
                    Clip(path, label, class_id, fold, 7200, RATE, group=f"{label} {fold} {take // 2}")
                )
    return Manifest(clips, ["low", "high"])


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return manifest_of_tones(tmp_path_factory.mktemp("clips"))


def make(manifest: Manifest, folder: Path, **changes: Any) -> SetSummary:
    settings = {"recordings": 9, "seconds": 6.0, "sample_rate": RATE, "most_events": 3, "seed": 4, **changes}
    return synthesise_set(manifest, folder, **settings)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def heard(folder: Path, name: str) -> np.ndarray:
    waveform, rate = soundfile.read(folder / "audio" / name)
    assert rate == RATE
    return waveform


def test_ratios_and_times_of_the_truth_are_those_of_the_recordings(tones: Manifest, tmp_path: Path) -> None:
    """The same set without events is the noise alone; what is left without it are the sounds."""
    made = make(tones, tmp_path / "set", overlap=False, lowest_snr_db=-5, highest_snr_db=15)
    make(tones, tmp_path / "noise", overlap=False, least_events=0, most_events=1)
    silent = {row["filename"] for row in rows_of(tmp_path / "noise" / "truth.csv") if not row["label"]}
    rows = [row for row in rows_of(made.truth) if row["filename"] in silent]
    assert len({row["filename"] for row in rows}) >= 3
    for row in rows:
        noise = heard(tmp_path / "noise", row["filename"])
        sounds = heard(tmp_path / "set", row["filename"]) - noise
        start, end = (round(float(row[name]) * RATE) for name in ("start", "end"))
        ratio = np.mean(sounds[start:end] ** 2) / np.mean(noise[start:end] ** 2)
        assert -5 <= float(row["snr_db"]) <= 15
        assert 10 * np.log10(ratio) == pytest.approx(float(row["snr_db"]), abs=0.05)
        # Frames of 10 ms: the tone's 0.5 s, of which silence was cut.
        assert 0.5 <= (end - start) / RATE <= 0.521
    for name in {row["filename"] for row in rows}:
        sounds = heard(tmp_path / "set", name) - heard(tmp_path / "noise", name)
        for row in rows:
            if row["filename"] == name:
                start, end = (round(float(row[key]) * RATE) for key in ("start", "end"))
                sounds[max(0, start - 80) : end + 80] = 0  # 10 ms of fade on either side
        assert np.abs(sounds).max() <= 2**-14  # two roundings to 16 bits


def test_a_recording_hears_clips_of_its_own_fold_only(tones: Manifest, tmp_path: Path) -> None:
    made = make(tones, tmp_path, lowest_snr_db=20, highest_snr_db=20, overlap=False)
    folds = {row["path"].removeprefix("audio/"): int(row["fold"]) for row in rows_of(made.table)}
    assert sorted(folds.values()) == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    for row in rows_of(made.truth):
        start, end = (round(float(row[name]) * RATE) for name in ("start", "end"))
        stretch = heard(tmp_path, row["filename"])[start:end]
        peak = np.abs(np.fft.rfft(stretch)).argmax() * RATE / len(stretch)
        expected = HERTZ[folds[row["filename"]]][row["label"] == "high"]
        assert peak == pytest.approx(expected, abs=2 * RATE / len(stretch))


def test_the_weak_labels_are_those_of_the_truth(tones: Manifest, tmp_path: Path) -> None:
    made = make(tones, tmp_path, least_events=0)
    truth: dict[str, set[str]] = {}
    for row in rows_of(made.truth):
        truth.setdefault(row["filename"], set()).update([row["label"]] if row["label"] else [])
        assert bool(row["label"]) == bool(row["start"]) == bool(row["snr_db"])
    assert set() in truth.values()
    assert made.events == sum(bool(row["label"]) for row in rows_of(made.truth))
    table = rows_of(made.table)
    assert len(table) == len(truth) == 9
    for row in table:
        classes = {row["class"], *row["secondary"].split(";")} - {""}
        assert classes == truth[row["path"].removeprefix("audio/")]
    assert {row["class"] for row in table} == {"low", "high", ""}


def test_prepare_reads_the_set_with_its_folds_and_groups(tones: Manifest, tmp_path: Path) -> None:
    made = make(tones, tmp_path / "set", recordings=12)
    summary = prepare(tmp_path / "set", tmp_path / "set.csv", dataset="table", workers=0)
    assert (summary.clips, summary.folds, summary.quarantined) == (12, [1, 2, 3], 0)
    read = Manifest.read(tmp_path / "set.csv")
    assert sorted(read.classes) == ["high", "low"]
    # Two groups of clips a fold and class: two pools a fold, and no group in two folds.
    assert len(set(read.groups())) == made.groups == 6
    assert len({(clip.group, clip.fold) for clip in read}) == 6
    assert any(clip.secondary for clip in read)


def test_a_pool_hears_other_groups_than_its_neighbours(tmp_path: Path) -> None:
    """Clips of a group are all of one length, which tells them apart."""
    clips = []
    for number in range(8):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, tone(600, 0.3 + 0.1 * (number // 2)), RATE)
        clips.append(Clip(path, "low", 0, 1 + number // 4, 1, RATE, group=str(number // 2)))
    clips = [replace(clip, frames=soundfile.info(clip.path).frames) for clip in clips]
    made = make(Manifest(clips, ["low"]), tmp_path / "set", recordings=12, seconds=4)
    groups = {row["path"].removeprefix("audio/"): row["group"] for row in rows_of(made.table)}
    lengths: dict[str, set[float]] = {}
    for row in rows_of(made.truth):
        length = round(float(row["end"]) - float(row["start"]), 2)
        lengths.setdefault(groups[row["filename"]], set()).add(length)
    assert len(lengths) == 4
    assert all(not one & other for one, other in combinations(lengths.values(), 2))


def test_a_set_of_one_fold_hears_its_clips_only(tones: Manifest, tmp_path: Path) -> None:
    made = make(tones, tmp_path, fold=2, lowest_snr_db=20, overlap=False)
    assert {row["fold"] for row in rows_of(made.table)} == {"2"}
    assert made.folds == 1
    with pytest.raises(ManifestError, match=r"no such fold \(got 7\); choose one of 1, 2, 3"):
        make(tones, tmp_path, fold=7)


def test_without_folds_they_are_made_and_no_group_straddles_them(tones: Manifest, tmp_path: Path) -> None:
    bare = tones.with_folds([None] * len(tones))
    made = make(bare, tmp_path, folds=2)
    assert {row["fold"] for row in rows_of(made.table)} == {"1", "2"}
    with pytest.raises(ManifestError, match="cannot fill 50 folds"):
        make(bare, tmp_path, folds=50)


def test_the_split_of_a_manifest_is_kept(tones: Manifest, tmp_path: Path) -> None:
    parts = {1: "train", 2: "train", 3: "test"}
    clips = [replace(clip, fold=None, split=parts[clip.fold or 0]) for clip in tones]
    made = make(Manifest(clips, tones.classes), tmp_path, lowest_snr_db=20, overlap=False)
    table = rows_of(made.table)
    assert [row["split"] for row in table].count("test") == 3
    assert {row["fold"] for row in table} == {""}


def test_groups_that_straddle_folds_are_refused(tones: Manifest, tmp_path: Path) -> None:
    clips = [replace(clip, group="all of them") for clip in tones]
    with pytest.raises(ManifestError, match="1 groups lie in several folds"):
        make(Manifest(clips, tones.classes), tmp_path)


def test_the_same_arguments_give_the_same_bytes(tones: Manifest, tmp_path: Path) -> None:
    hashes = []
    for name, seed in [("one", 1), ("same", 1), ("other", 2)]:
        make(tones, tmp_path / name, recordings=3, seed=seed)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        hashes.append({path.relative_to(tmp_path / name): content_hash(path) for path in files})
    assert len(hashes[0]) == 5
    assert hashes[0] == hashes[1]
    assert all(hashes[2][path] != hashes[0][path] for path in hashes[0] if path.suffix == ".flac")


@pytest.mark.parametrize("overlap", [True, False])
def test_sounds_overlap_only_where_they_may(tones: Manifest, tmp_path: Path, overlap: bool) -> None:
    made = make(tones, tmp_path, seconds=3.0, least_events=3, most_events=3, overlap=overlap)
    by_name: dict[str, list[dict[str, str]]] = {}
    for row in rows_of(made.truth):
        by_name.setdefault(row["filename"], []).append(row)
    overlapping = 0
    for rows in by_name.values():
        assert [float(row["start"]) for row in rows] == sorted(float(row["start"]) for row in rows)
        for one, other in combinations(rows, 2):
            apart = max(float(one["start"]), float(other["start"])) - min(
                float(one["end"]), float(other["end"])
            )
            if one["label"] == other["label"] or not overlap:
                assert apart >= 0.2
            overlapping += apart < 0
    assert (overlapping > 0) == overlap


def test_more_sounds_than_there_is_room_for_are_told(tones: Manifest, tmp_path: Path) -> None:
    made = make(tones, tmp_path, seconds=1.0, least_events=3, most_events=3, overlap=False)
    assert made.short == 9
    assert made.events == 9  # one of 0.5 s in each second
    assert "9 recordings had no room" in str(made)


def test_noise_of_a_folder_is_dealt_to_the_folds(tones: Manifest, tmp_path: Path) -> None:
    """Three tones for noise: each fold has one of them."""
    (tmp_path / "noise").mkdir()
    for number, hertz in enumerate((2000, 2500, 3000)):
        soundfile.write(tmp_path / "noise" / f"{number}.wav", tone(hertz, 2.0), RATE)
    made = make(
        tones, tmp_path / "set", least_events=0, most_events=1, noise=tmp_path / "noise", recordings=30
    )
    silent = {row["filename"] for row in rows_of(made.truth) if not row["label"]}
    found: dict[str, set[int]] = {}
    for row in rows_of(made.table):
        name = row["path"].removeprefix("audio/")
        if name in silent:
            waveform = heard(tmp_path / "set", name)
            # 2 s of noise are repeated to 6 s, between -50 and -35 dBFS.
            assert -50.1 <= 10 * np.log10(np.mean(waveform**2)) <= -34.9
            peak = np.abs(np.fft.rfft(waveform)).argmax() / 6
            found.setdefault(row["fold"], set()).add(round(peak))
    assert found == {"1": {2000}, "2": {2500}, "3": {3000}}


def test_noise_that_is_silent_or_not_there_is_refused(tones: Manifest, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no such folder"):
        make(tones, tmp_path / "set", noise=tmp_path / "gone")
    (tmp_path / "noise").mkdir()
    with pytest.raises(RecipeError, match="no recording is in"):
        make(tones, tmp_path / "set", noise=tmp_path / "noise")
    soundfile.write(tmp_path / "noise" / "still.wav", np.zeros(RATE), RATE)
    with pytest.raises(AudioError, match=r"still\.wav: is silent"):
        make(tones, tmp_path / "set", noise=tmp_path / "noise")


def test_clips_of_several_classes_or_none_are_not_laid(tones: Manifest, tmp_path: Path) -> None:
    clips = [replace(clip, secondary=("high",)) if clip.label == "low" else clip for clip in tones]
    made = make(Manifest(clips, tones.classes), tmp_path)
    assert list(made.classes) == ["high"]
    assert made.left_out == 12
    with pytest.raises(ManifestError, match="no clip has a class"):
        make(Manifest([replace(clip, label=None, class_id=None) for clip in tones], tones.classes), tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"recordings": 0},
        {"seconds": float("nan")},
        {"least_events": -1},
        {"most_events": 0},
        {"highest_snr_db": -1.0},
        {"groups_per_fold": 0},
        {"stretch_seconds": 0.01},
    ],
)
def test_numbers_that_make_no_set_are_refused(tones: Manifest, tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(KikiwakeError, match=f"'{next(iter(wrong))}' is too small"):
        make(tones, tmp_path, **wrong)
    assert not list(tmp_path.iterdir())


def test_a_folder_with_other_recordings_is_refused(tones: Manifest, tmp_path: Path) -> None:
    make(tones, tmp_path, recordings=2)
    with pytest.raises(StorageError, match="1 other sounds"):
        make(tones, tmp_path, recordings=1)


def test_stretches_say_what_the_truth_says_of_them(tones: Manifest, tmp_path: Path) -> None:
    made = make(tones, tmp_path, recordings=6, stretch_seconds=0.8)
    known = rows_of(made.truth)
    found: dict[tuple[str, str, str], set[str]] = {}
    for row in rows_of(tmp_path / "stretches.csv"):
        found.setdefault((row["path"].removeprefix("audio/"), row["start"], row["end"]), set()).add(
            row["class"]
        )
    assert len(found) == 6 * 8  # 6 s are seven stretches and a half
    assert {"low", "high", "noise"} == set.union(*found.values())
    for (name, start, end), classes in found.items():
        expected = {
            row["label"]
            for row in known
            if row["filename"] == name
            and row["label"]
            and min(float(end), float(row["end"])) - max(float(start), float(row["start"])) >= 0.1
        }
        assert classes == (expected or {"noise"})


def test_stretches_are_prepared_with_their_classes_and_folds(tones: Manifest, tmp_path: Path) -> None:
    make(tones, tmp_path / "set", recordings=6, stretch_seconds=2.0)
    prepare(tmp_path / "set", tmp_path / "s.csv", dataset="table", options={"table": "stretches.csv"})
    manifest = Manifest.read(tmp_path / "s.csv")
    assert len(manifest) == 18
    assert set(manifest.classes) == {"high", "low", "noise"}
    folds = {(clip.group, clip.fold) for clip in manifest}
    assert len(folds) == len({group for group, _ in folds}) > 1


@pytest.mark.parametrize("stretch_seconds", [0.1, 1.7])
def test_a_stretch_that_is_all_sound_is_never_noise(tmp_path: Path, stretch_seconds: float) -> None:
    """A tone from end to end, in stretches as short as may be, and with a last one shorter than that."""
    soundfile.write(tmp_path / "tone.wav", tone(500, 9.0), RATE)
    clip = Clip(tmp_path / "tone.wav", "low", 0, 1, 9 * RATE, RATE)
    made = make(
        Manifest([clip], ["low"]), tmp_path / "set", recordings=1, most_events=1, seconds=6.85,
        stretch_seconds=stretch_seconds,
    )  # fmt: skip
    (event,) = rows_of(made.truth)
    for row in rows_of(tmp_path / "set" / "stretches.csv"):
        inside = float(event["start"]) <= float(row["start"]) and float(row["end"]) <= float(event["end"])
        assert not inside or row["class"] == "low"


def test_stretches_of_an_older_set_do_not_stay(tones: Manifest, tmp_path: Path) -> None:
    make(tones, tmp_path, recordings=2, stretch_seconds=1.0)
    make(tones, tmp_path, recordings=2, seed=9)
    assert not (tmp_path / "stretches.csv").exists()


def test_a_class_of_the_name_of_noise_is_refused_where_stretches_are_asked_for(tmp_path: Path) -> None:
    clip = Clip(tmp_path / "a.wav", "noise", 0, 1, 100, RATE)
    with pytest.raises(ManifestError, match="a class is named 'noise'"):
        make(Manifest([clip], ["noise"]), tmp_path / "set", stretch_seconds=1.0)


@pytest.mark.parametrize("name", ["clips.csv", "truth.csv", "stretches.csv"])
def test_another_table_of_the_same_name_is_not_lost(tones: Manifest, tmp_path: Path, name: str) -> None:
    tones.write(tmp_path / name)
    before = (tmp_path / name).read_bytes()
    with pytest.raises(StorageError, match="another table has the name"):
        make(tones, tmp_path, recordings=2)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == before


def test_a_recording_that_would_leave_full_scale_is_turned_down(tones: Manifest, tmp_path: Path) -> None:
    make(tones, tmp_path, lowest_snr_db=60, highest_snr_db=60, recordings=2)
    for name in ("0000.flac", "0001.flac"):
        assert np.abs(heard(tmp_path, name)).max() == pytest.approx(0.98, abs=1e-3)


def test_the_sound_of_a_clip_is_what_is_near_its_loudest() -> None:
    """0.3 s of silence, 0.4 s loud, 0.2 s of 20 dB less, 1 s of 40 dB less, 0.1 s loud, silence."""
    levels = [(0.0, 0.3), (1.0, 0.4), (0.1, 0.2), (0.01, 1.0), (1.0, 0.1), (0.0, 0.3)]
    waveform = np.concatenate([level * tone(400, seconds) for level, seconds in levels])

    def found(trim_db: float, split_gap_seconds: float) -> list[tuple[float, float]]:
        spans = _trimming.stretches(
            waveform, sample_rate=RATE, trim_db=trim_db, split_gap_seconds=split_gap_seconds
        )
        return [(begin / RATE, end / RATE) for begin, end in spans]

    assert found(30, 0.5) == [(0.3, 0.9), (1.9, 2.0)]
    assert found(10, 0.5) == [(0.3, 0.7), (1.9, 2.0)]
    assert found(50, 0.5) == found(30, 1.0) == [(0.3, 2.0)]
    silence = np.zeros(RATE)
    assert _trimming.stretches(silence, sample_rate=RATE, trim_db=30, split_gap_seconds=0.5) == []


def test_every_free_place_is_drawn_and_no_other() -> None:
    rng = generator(0)
    drawn = {
        _timetable.free_start(3, total=20, taken=[(12, 14), (5, 8)], apart=1, rng=rng) for _ in range(500)
    }
    # Three samples, one of them apart: before 5 they begin at 0 or 1, from 8 to 12 there is no room for five.
    assert drawn == {0, 1, 15, 16, 17}
    assert _timetable.free_start(21, total=20, taken=[], apart=1, rng=rng) is None
    assert _timetable.free_start(6, total=20, taken=[(6, 14)], apart=1, rng=rng) is None
    assert _timetable.free_start(20, total=20, taken=[], apart=1, rng=rng) == 0


def test_real_clips_are_heard_where_the_truth_says(data_folder: Path, tmp_path: Path) -> None:
    """At 20 dB the sound over an event is far above the noise around it; clips have lost their silence."""
    clips = []
    for row in rows_of(data_folder / "esc10" / "esc10.csv"):
        if row["category"] in ("dog", "sneezing") and row["fold"] == "1":
            info = audio.probe(data_folder / "esc10" / "audio" / row["filename"])
            class_id = int(row["category"] == "sneezing")
            clips.append(Clip(info.path, row["category"], class_id, 1, info.frames, info.sample_rate))
    made = make(
        Manifest(clips, ["dog", "sneezing"]),
        tmp_path / "set",
        recordings=4,
        lowest_snr_db=20,
        highest_snr_db=20,
    )
    rows = rows_of(made.truth)
    assert {row["label"] for row in rows} == {"dog", "sneezing"}
    for name in sorted({row["filename"] for row in rows}):
        power = heard(tmp_path / "set", name) ** 2
        spans = [
            (round(float(row["start"]) * RATE), round(float(row["end"]) * RATE))
            for row in rows
            if row["filename"] == name
        ]
        quiet = np.ones(len(power), bool)
        for start, end in spans:
            quiet[max(0, start - 80) : end + 80] = False
        background = power[quiet].mean()
        for start, end in spans:
            assert 10 * np.log10(power[start:end].mean() / background) > 15
    lengths = [float(row["end"]) - float(row["start"]) for row in rows]
    assert np.median(lengths) < 2.0  # of clips of 5 s
    assert all(
        float(after["start"]) >= float(before["start"])
        for before, after in pairwise(rows)
        if before["filename"] == after["filename"]
    )


def test_the_command_makes_a_set_or_says_what_does_not_belong_there(tones: Manifest, tmp_path: Path) -> None:
    tones.write(tmp_path / "clips.csv")

    def run(*words: object) -> Any:
        return CliRunner().invoke(app, ["synthesise", *map(str, words)])

    made = run(tmp_path / "set", "--clips", tmp_path / "clips.csv", "--recordings", 3, "--seconds", 4,
               "--sample-rate", RATE, "--no-overlap", "--least-events", 2, "--most-events", 2)  # fmt: skip
    assert made.exit_code == 0, made.output
    assert "3 recordings of 3 groups in 3 folds" in made.output
    assert len(rows_of(tmp_path / "set" / "truth.csv")) == 6
    wrong = run(tmp_path / "other", "--recordings", 3)
    assert isinstance(wrong.exception, KikiwakeError)
    assert "--recordings: has no meaning without --clips" in str(wrong.exception)
    wrong = run(tmp_path / "other", "--clips", tmp_path / "clips.csv", "--long-seconds", 3)
    assert "--long-seconds: has no meaning with --clips" in str(wrong.exception)
