"""Synthetic sounds: the truth is true, the bytes are always the same, loudness gives nothing away."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kikiwake.errors import KikiwakeError, ManifestError, StorageError
from kikiwake.files import content_hash
from kikiwake.manifest import Clip, Manifest
from kikiwake.synthesis import Summary, soundscape, synthesise

RATE = 16_000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    folder = tmp_path_factory.mktemp("sounds")
    return synthesise(folder, clips_per_class=12, seconds=1.5, sample_rate=RATE, seed=3, long_seconds=45)


def truth_of(summary: Summary) -> list[tuple[float, float, str]]:
    with summary.truth.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["filename"] for row in rows} == {summary.recording.name}
    return [(float(row["start"]), float(row["end"]), row["label"]) for row in rows]


def level(waveform: np.ndarray) -> float:
    return float(np.sqrt(np.mean(waveform**2)))


def table_of(summary: Summary) -> list[dict[str, str]]:
    assert summary.table is not None
    with summary.table.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_clip_has_the_length_and_rate_that_were_asked_for(made: Summary) -> None:
    assert made.clips is not None
    files = sorted(made.clips.rglob("*.flac"))
    assert len(files) == made.clip_count == 6 * 12
    for path in files:
        info = soundfile.info(path)
        assert (info.frames, info.samplerate, info.channels) == (1.5 * RATE, RATE, 1)


def test_the_table_names_class_and_source_of_every_clip(made: Summary) -> None:
    rows = table_of(made)
    assert made.table is not None
    assert len(rows) == made.clip_count
    assert all((made.table.parent / row["path"]).is_file() for row in rows)
    groups: dict[str, list[str]] = {}
    for row in rows:
        assert Path(row["path"]).parent.name == row["class"]
        groups.setdefault(row["group"], []).append(row["class"])
    # 12 clips of a class are at least five sources, so that five folds can hold whole sources.
    assert len(groups) == 6 * 5
    assert all(len(set(classes)) == 1 and 2 <= len(classes) <= 3 for classes in groups.values())


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(tmp_path: Path) -> None:
    hashes = []
    for name, seed in [("one", 5), ("two", 5), ("other", 6)]:
        synthesise(
            tmp_path / name, clips_per_class=2, seconds=1, sample_rate=RATE, seed=seed, long_seconds=12
        )
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        hashes.append({path.relative_to(tmp_path / name): content_hash(path) for path in files})
    assert hashes[0] == hashes[1]
    sounds = {path for path in hashes[0] if path.suffix == ".flac"}
    assert all(hashes[0][path] != hashes[2][path] for path in sounds)


def test_more_clips_leave_the_earlier_ones_as_they_were(tmp_path: Path) -> None:
    few = synthesise(tmp_path / "few", clips_per_class=5, seconds=1, sample_rate=RATE, long_seconds=5)
    more = synthesise(tmp_path / "more", clips_per_class=10, seconds=1, sample_rate=RATE, long_seconds=5)
    assert few.clips is not None
    assert more.clips is not None
    for path in few.clips.rglob("*.flac"):
        assert content_hash(path) == content_hash(more.clips / path.relative_to(few.clips))


def test_events_of_the_long_recording_are_louder_than_what_lies_between(made: Summary) -> None:
    waveform, _ = soundfile.read(made.recording)
    assert len(waveform) == 45 * RATE
    events = truth_of(made)
    assert len(events) == made.events >= 6
    assert {label for _, _, label in events} == set(made.classes)
    gaps = zip([0.0, *(end for _, end, _ in events)], (start for start, _, _ in events), strict=False)
    background = max(level(waveform[round(a * RATE) : round(b * RATE)]) for a, b in gaps)
    for start, end, label in events:
        # Events stand at least 6 dB above the noise, and lie on it.
        assert level(waveform[round(start * RATE) : round(end * RATE)]) > 1.7 * background, label


def test_loudness_does_not_give_the_class_away(made: Summary) -> None:
    assert made.clips is not None
    paths = sorted(made.clips.rglob("*.flac"))
    loudness = np.array([level(soundfile.read(path)[0]) for path in paths])
    names = np.array([path.parent.name for path in paths])
    distance = np.abs(np.log(loudness[:, None] / loudness[None]))
    np.fill_diagonal(distance, np.inf)
    right = np.mean(names[distance.argmin(axis=1)] == names)
    assert right < 0.4  # the nearest neighbour in loudness; chance is 1/6


def test_takes_of_one_source_are_alike_but_not_equal(made: Summary) -> None:
    by_group: dict[str, list[str]] = {}
    for row in table_of(made):
        by_group.setdefault(row["group"], []).append(row["path"])
    assert made.table is not None
    folder = made.table.parent
    for paths in by_group.values():
        assert len({content_hash(folder / path) for path in paths}) == len(paths)


@pytest.mark.parametrize(
    "wrong", [{"clips_per_class": 0}, {"seconds": 0.1}, {"sample_rate": 4000}, {"long_seconds": float("nan")}]
)
def test_numbers_that_make_no_sound_are_refused(tmp_path: Path, wrong: dict[str, float]) -> None:
    with pytest.raises(KikiwakeError, match=next(iter(wrong))):
        synthesise(tmp_path, **wrong)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_folder_with_other_sounds_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clips" / "dog").mkdir(parents=True)
    (tmp_path / "clips" / "dog" / "mine.flac").touch()
    with pytest.raises(StorageError, match=r"mine\.flac"):
        synthesise(tmp_path, clips_per_class=1, seconds=1, long_seconds=2)


def tones(folder: Path) -> Manifest:
    """Eight clips of 1 s: 500 Hz is `low`, 2000 Hz is `high`; the last four are fold 2."""
    clips = []
    for index in range(8):
        label, hertz = [("low", 500), ("high", 2000)][index % 2]
        path = folder / f"{index}.wav"
        soundfile.write(path, 0.5 * np.sin(2 * np.pi * hertz * np.arange(RATE) / RATE), RATE)
        clips.append(
            Clip(
                path=path,
                label=label,
                class_id=int(label == "low"),
                fold=1 + index // 4,
                frames=RATE,
                sr=RATE,
                start=0.25 if index == 7 else None,
                end=None,
            )
        )
    return Manifest(clips, ["high", "low"])


def test_a_soundscape_holds_a_folds_clips_where_its_truth_says(tmp_path: Path) -> None:
    summary = soundscape(tones(tmp_path), tmp_path / "long", fold=2, sample_rate=RATE, long_seconds=30)
    waveform, _ = soundfile.read(summary.recording)
    events = truth_of(summary)
    assert sorted(round(end - start, 3) for start, end, _ in events) == [0.75, 1.0, 1.0, 1.0]
    assert sorted(label for _, _, label in events) == ["high", "high", "low", "low"]
    for start, end, label in events:
        heard = waveform[round(start * RATE) : round(end * RATE)]
        peak = np.abs(np.fft.rfft(heard)).argmax() * RATE / len(heard)
        assert peak == pytest.approx(500 if label == "low" else 2000, abs=2)


def test_a_soundscape_without_any_clip_says_so(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no clip fits"):
        soundscape(tones(tmp_path), tmp_path / "long", fold=9, sample_rate=RATE)
