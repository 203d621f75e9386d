"""Decode, downmix and resample to 32 kHz mono against librosa.load, and two processes against one.

Run `python benchmarks/decode.py`. Both contenders read the same stereo files of 60 s at 44.1 kHz, made from
real clips, in turns inside one run; the medians are compared. Ratios above 1 are in kikiwake's favour.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from kikiwake import audio
from kikiwake.parallel import map_isolated

SAMPLE_RATE = 32000
SOURCE_RATE = 44100
SECONDS = 60
FORMATS: dict[str, dict[str, str]] = {
    "wav": {"format": "WAV", "subtype": "PCM_16"},
    "flac": {"format": "FLAC", "subtype": "PCM_16"},
    "mp3": {"format": "MP3"},
    "ogg": {"format": "OGG", "subtype": "VORBIS"},
}
TARGET = 1.25
TARGET_TWO_PROCESSES = 1.8
TOLERANCE = 1e-5


def find_clips() -> list[Path]:
    named = os.environ.get("KIKIWAKE_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    clips = sorted((folder / "esc10").rglob("*.ogg"))
    if not clips:
        raise SystemExit("no ESC-10 clips: set KIKIWAKE_DATA to the folder of real audio")
    return clips


def make_files(folder: Path, *, files: int) -> dict[str, list[Path]]:
    """Join clips to stereo recordings, and write each in every format (in blocks: long Ogg writes crash)."""
    samples = np.concatenate([soundfile.read(clip, dtype="float32")[0] for clip in find_clips()])
    length = SECONDS * SOURCE_RATE
    made: dict[str, list[Path]] = {name: [] for name in FORMATS}
    for number in range(files):
        left, right = (
            np.take(samples, np.arange(length) + at * length, mode="wrap") for at in (number, number + 2)
        )
        stereo = np.stack([left, right], axis=1)
        for name, options in FORMATS.items():
            path = folder / f"{number}.{name}"
            with soundfile.SoundFile(path, "w", SOURCE_RATE, 2, **options) as file:
                for start in range(0, length, 1 << 16):
                    file.write(stereo[start : start + (1 << 16)])
            made[name].append(path)
    return made


def load_here(path: Path) -> np.ndarray:
    return audio.load(path, sample_rate=SAMPLE_RATE).waveform[0]


def load_librosa(path: Path) -> np.ndarray:
    import librosa

    return np.asarray(librosa.load(path, sr=SAMPLE_RATE, mono=True)[0])


def decode_length(path: Path) -> int:
    return audio.load(path, sample_rate=SAMPLE_RATE).waveform.shape[1]


def seconds_of(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def compare_with_librosa(paths: list[Path], *, rounds: int) -> dict[str, float]:
    for path in paths:
        difference = float(np.abs(load_here(path) - load_librosa(path)).max())
        if difference > TOLERANCE:
            raise SystemExit(f"{path.name}: samples differ by {difference}")
    ours, theirs = [], []
    for _ in range(rounds):
        for path in paths:
            ours.append(seconds_of(lambda path=path: load_here(path)))
            theirs.append(seconds_of(lambda path=path: load_librosa(path)))
    return {
        "kikiwake_times_real_time": SECONDS / statistics.median(ours),
        "librosa_times_real_time": SECONDS / statistics.median(theirs),
        "ratio": statistics.median(theirs) / statistics.median(ours),
    }


def seconds_with(workers: int, paths: list[Path]) -> float:
    """Time from the first result to the last: starting the processes is not what is measured."""
    begun = 0.0
    for number, (_, result) in enumerate(map_isolated(decode_length, paths, workers=workers)):
        result.get()
        if number == workers:
            begun = time.perf_counter()
    return (time.perf_counter() - begun) / (len(paths) - workers - 1)


def compare_processes(paths: list[Path], *, rounds: int) -> dict[str, float]:
    one, two = [], []
    for _ in range(rounds):
        one.append(seconds_with(1, paths))
        two.append(seconds_with(2, paths))
    return {
        "one_process_times_real_time": SECONDS / statistics.median(one),
        "two_processes_times_real_time": SECONDS / statistics.median(two),
        "ratio": statistics.median(one) / statistics.median(two),
    }


def run(
    *, files: int = 3, rounds: int = 9, process_rounds: int = 7, process_files: int = 48
) -> dict[str, Any]:
    """Measure everything and return the figures."""
    with tempfile.TemporaryDirectory() as folder:
        made = make_files(Path(folder), files=files)
        figures: dict[str, Any] = {
            name: compare_with_librosa(paths, rounds=rounds) for name, paths in made.items()
        }
        everything = [path for paths in zip(*made.values(), strict=True) for path in paths]
        many = [everything[number % len(everything)] for number in range(process_files)]
        figures["two_processes"] = compare_processes(many, rounds=process_rounds)
    figures["targets"] = {"against_librosa": TARGET, "two_processes": TARGET_TWO_PROCESSES}
    return figures


def main() -> int:
    figures = run()
    print(f"{'stereo 44.1 kHz -> mono 32 kHz':32}{'kikiwake':>10}{'librosa':>10}{'ratio':>8}   target")
    for name in FORMATS:
        row = figures[name]
        ours, theirs = row["kikiwake_times_real_time"], row["librosa_times_real_time"]
        print(f"{name:32}{ours:9.0f}x{theirs:9.0f}x{row['ratio']:8.2f}   {TARGET}")
    row = figures["two_processes"]
    one, two = row["one_process_times_real_time"], row["two_processes_times_real_time"]
    title, target = "all formats, 2 processes : 1", TARGET_TWO_PROCESSES
    print(f"{title:32}{two:9.0f}x{one:9.0f}x{row['ratio']:8.2f}   {target}")
    missed = [name for name in FORMATS if figures[name]["ratio"] < TARGET]
    return 1 if missed or row["ratio"] < TARGET_TWO_PROCESSES else 0


if __name__ == "__main__":
    sys.exit(main())
