"""Sounds with known truth, to try every command on: synthetic clips, and recordings put together from clips.

Level, signal-to-noise ratio, place in the clip, pitch and room vary within every class, so that neither
loudness nor one frequency gives the class away. The takes of one source share their parameters, as the
recordings of one animal would: a source is the group that must not straddle a split.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np

from kikiwake import audio
from kikiwake._laying import (
    TRUTH_COLUMNS,
    Placed,
    faded,
    noisy_blocks,
    refuse_others,
    refuse_tables,
    write_flac,
)
from kikiwake._sounds import KINDS, Rng, Waveform, background, between, event, noise, scaled
from kikiwake.errors import KikiwakeError, ManifestError
from kikiwake.manifest import Manifest
from kikiwake.randomness import generator
from kikiwake.tables import write_table

_TAKES_PER_SOURCE = 4
_NOISE_DB = -45.0
_CLIP_COLUMNS = ("path", "class", "group")


@dataclass(frozen=True)
class Summary:
    """What was written.

    `recording`: a long recording. `truth`: CSV with filename, start, end (seconds) and label of its `events`.
    `clips`: the folder of class folders, and `table`: CSV in it with path, class and group of each, where
    clips were made.
    """

    recording: Path
    truth: Path
    events: int
    classes: tuple[str, ...]
    clips: Path | None = None
    table: Path | None = None
    clip_count: int = 0

    def __str__(self) -> str:
        made = [
            f"{self.events} events of {len(self.classes)} classes in {self.recording}",
            f"truth in {self.truth}",
        ]
        if self.clips:
            made.insert(0, f"{self.clip_count} clips of {len(self.classes)} classes in {self.clips}")
        return "\n".join(made)


def synthesise(
    folder: Path,
    *,
    clips_per_class: int = 30,
    seconds: float = 3.0,
    sample_rate: int = 22_050,
    seed: int = 0,
    long_seconds: float = 120.0,
) -> Summary:
    """Write synthetic clips in class folders and one long recording with events at known times.

    The same arguments give the same bytes. The sources heard in the long recording occur in no clip.

    Raises:
        KikiwakeError: a number is out of range.
        StorageError: `folder` holds other sounds or tables, or cannot be written.
    """
    _check(
        clips_per_class=clips_per_class, seconds=seconds, sample_rate=sample_rate, long_seconds=long_seconds
    )
    sources = max(-(-clips_per_class // _TAKES_PER_SOURCE), min(clips_per_class, 5))
    rows = [
        (f"{name}/{name}_{index % sources:02d}_{index // sources}.flac", name, index)
        for name in KINDS
        for index in range(clips_per_class)
    ]
    refuse_others(folder / "clips", {path for path, _, _ in rows})
    refuse_tables(
        {folder / "clips" / "clips.csv": _CLIP_COLUMNS, folder / "long" / "truth.csv": TRUTH_COLUMNS}
    )
    for path, name, index in rows:
        rng = generator(seed, "clip", name, index)
        sound = event(name, seed=seed, source=index % sources, take=rng, sample_rate=sample_rate)
        write_flac(
            folder / "clips" / path,
            [_clip(sound, seconds=seconds, sample_rate=sample_rate, rng=rng)],
            sample_rate,
        )
    groups = [(path, name, f"{name}_{index % sources:02d}") for path, name, index in rows]
    write_table(folder / "clips" / "clips.csv", _CLIP_COLUMNS, groups)

    sounds = _unheard(seed=seed, first_source=sources, sample_rate=sample_rate)
    long = _write_long(folder / "long", sounds, seconds=long_seconds, sample_rate=sample_rate, seed=seed)
    return Summary(
        recording=long.recording,
        truth=long.truth,
        events=long.events,
        classes=tuple(sorted(KINDS)),
        clips=folder / "clips",
        table=folder / "clips" / "clips.csv",
        clip_count=len(rows),
    )


def soundscape(
    manifest: Manifest,
    folder: Path,
    *,
    fold: int | None = None,
    sample_rate: int = 44_100,
    seed: int = 0,
    long_seconds: float = 120.0,
) -> Summary:
    """Put clips one after another into a long recording whose truth is known, over quiet noise.

    `fold`: take its clips only, so that a model that was not trained on them can be tried. Classes take
    turns; a clip is heard once at most. Writes `recording.flac` and `truth.csv` into `folder`.

    Raises:
        ManifestError: no labelled clip is in the fold, or the first is longer than the recording.
        AudioError: a clip cannot be read.
        StorageError: `folder` holds another truth.csv, or cannot be written.
    """
    refuse_tables({folder / "truth.csv": TRUTH_COLUMNS})
    rng = generator(seed, "soundscape")
    turns: dict[str, list[int]] = {name: [] for name in manifest.classes}
    for index in rng.permutation(len(manifest)):
        clip = manifest[int(index)]
        if clip.label is not None and (fold is None or clip.fold == fold):
            turns[clip.label].append(int(index))
    ordered = [index for turn in _transposed(list(turns.values())) for index in rng.permutation(turn)]

    def sounds() -> Iterator[tuple[str, Waveform]]:
        for index in ordered:
            clip = manifest[int(index)]
            heard = audio.load(
                clip.path,
                sample_rate=sample_rate,
                start=round(clip.start_seconds * sample_rate),
                frames=round(clip.duration_seconds * sample_rate),
            )
            sound = heard.waveform[0].astype(np.float64)
            yield str(clip.label), faded(sound, seconds=0.02, sample_rate=sample_rate)

    summary = _write_long(folder, sounds(), seconds=long_seconds, sample_rate=sample_rate, seed=seed)
    if not summary.events:
        raise ManifestError(
            "no clip fits into the recording",
            where=folder,
            value=f"{len(ordered)} clips, {long_seconds} s",
            remedy="choose a fold that has labelled clips, or a longer recording",
        )
    return summary


def _clip(sound: Waveform, *, seconds: float, sample_rate: int, rng: Rng) -> Waveform:
    """Return an event somewhere in a clip, over noise of its own, at a level that says nothing."""
    samples = round(seconds * sample_rate)
    sound = sound[:samples]
    clip = noise(samples, background(rng), rng, sample_rate=sample_rate)
    start = int(rng.integers(0, samples - len(sound) + 1))
    clip[start : start + len(sound)] += sound * 10 ** (between(rng, 4, 24) / 20)
    return scaled(clip) * 10 ** (between(rng, -34, -18) / 20)


def _unheard(*, seed: int, first_source: int, sample_rate: int) -> Iterator[tuple[str, Waveform]]:
    """Yield class and event without end: every class once a round, in shuffled order, from a new source."""
    rng = generator(seed, "long", "events")
    for source in count(first_source):
        for name in map(str, rng.permutation(sorted(KINDS))):
            sound = event(name, seed=seed, source=source, take=rng, sample_rate=sample_rate)
            yield name, sound * 10 ** ((_NOISE_DB + between(rng, 6, 20)) / 20)


def _write_long(
    folder: Path, sounds: Iterable[tuple[str, Waveform]], *, seconds: float, sample_rate: int, seed: int
) -> Summary:
    """Place sounds one after another until the recording is full, and write it with its truth."""
    rng = generator(seed, "long", "timetable")
    placed: list[Placed] = []
    at = round(between(rng, 0.5, 2.0) * sample_rate)
    for label, sound in sounds:
        if at + len(sound) > seconds * sample_rate:
            break
        placed.append(Placed(at, sound, label))
        at += len(sound) + round(between(rng, 1.0, 4.0) * sample_rate)
    recording, truth = folder / "recording.flac", folder / "truth.csv"
    write_flac(
        recording,
        noisy_blocks(placed, seconds=seconds, noise_db=_NOISE_DB, sample_rate=sample_rate, seed=seed),
        sample_rate,
    )
    times = [
        (recording.name, f"{each.start / sample_rate:.4f}", f"{each.end / sample_rate:.4f}", each.label)
        for each in placed
    ]
    write_table(truth, TRUTH_COLUMNS, times)
    classes = tuple(sorted({label for _, _, label in placed}))
    return Summary(recording=recording, truth=truth, events=len(placed), classes=classes)


def _transposed(lists: list[list[int]]) -> Iterator[list[int]]:
    """Yield the first entries of all lists, then the second ones, and so on."""
    for place in range(max(map(len, lists), default=0)):
        yield [entries[place] for entries in lists if place < len(entries)]


def _check(**numbers: float) -> None:
    """Refuse numbers from which no sound can be made."""
    least = {"clips_per_class": 1, "seconds": 0.5, "sample_rate": 8000, "long_seconds": 1}
    for name, value in numbers.items():
        if not value >= least[name]:
            raise KikiwakeError(f"'{name}' is too small", value=value, remedy=f"give at least {least[name]}")
