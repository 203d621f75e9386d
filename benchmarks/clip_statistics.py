"""The 518 FMA features of ESC-10 clips: kikiwake's front end beside librosa and scipy, one thread each.

The waveforms (5 s at 44.1 kHz) are ready in memory, and both make the same table of them, in turns. How far
the values differ is told in the same run: of each feature that has a scale of its own, relative to the
largest value of its rows in the clip; of skew and kurtosis, as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import librosa
import numpy as np
import scipy.stats
import torch
from threadpoolctl import threadpool_limits

from kikiwake import audio
from kikiwake.frontends.statistics import FMA_ROWS, Statistics

SAMPLE_RATE = 44_100
SAMPLES = 5 * SAMPLE_RATE
FRAME, HOP = 2048, 512
BENT = (0, 5)
"""Places of kurtosis and skew, which have no scale, among the seven statistics of a row."""


def waveforms(data: Path, *, clips: int | None) -> np.ndarray:
    """Return so many clips from all over ESC-10 (all for None), cropped or padded to 5 s: `[clips, T]`."""
    files = sorted((data / "esc10").rglob("*.ogg"))
    if clips is not None:
        files = [files[place] for place in np.linspace(0, len(files) - 1, clips).round().astype(int)]
    found = np.zeros((len(files), SAMPLES), dtype=np.float32)
    for clip, file in zip(found, files, strict=True):
        loaded = audio.load(file, sample_rate=SAMPLE_RATE, channels=1, frames=SAMPLES).waveform[0]
        clip[: len(loaded)] = loaded
    return found


def librosa_rows(waveform: np.ndarray) -> dict[str, np.ndarray]:
    """Return what the FMA paper's script measures over time, at the clip's own sample rate."""
    constant_q = np.abs(
        librosa.cqt(waveform, sr=SAMPLE_RATE, hop_length=HOP, bins_per_octave=12, n_bins=7 * 12, tuning=None)
    )
    octaves = {"C": constant_q, "n_chroma": 12, "n_octaves": 7, "bins_per_octave": 12}
    cens = librosa.feature.chroma_cens(**octaves)
    spectrum = np.abs(librosa.stft(waveform, n_fft=FRAME, hop_length=HOP))
    mel = librosa.feature.melspectrogram(sr=SAMPLE_RATE, S=spectrum**2)
    return {
        "chroma_cens": cens,
        "chroma_cqt": librosa.feature.chroma_cqt(**octaves),
        "chroma_stft": librosa.feature.chroma_stft(S=spectrum**2, n_chroma=12, sr=SAMPLE_RATE),
        "mfcc": librosa.feature.mfcc(S=librosa.power_to_db(mel), n_mfcc=20),
        "rmse": librosa.feature.rms(S=spectrum),
        "spectral_bandwidth": librosa.feature.spectral_bandwidth(S=spectrum, sr=SAMPLE_RATE),
        "spectral_centroid": librosa.feature.spectral_centroid(S=spectrum, sr=SAMPLE_RATE),
        "spectral_contrast": librosa.feature.spectral_contrast(S=spectrum, n_bands=6, sr=SAMPLE_RATE),
        "spectral_rolloff": librosa.feature.spectral_rolloff(S=spectrum, sr=SAMPLE_RATE),
        "tonnetz": librosa.feature.tonnetz(chroma=cens),
        "zcr": librosa.feature.zero_crossing_rate(waveform, frame_length=FRAME, hop_length=HOP),
    }


def librosa_vector(waveform: np.ndarray) -> np.ndarray:
    """Return librosa's and scipy's values in the order of `Statistics.names`; undefined ones are 0."""
    values = []
    for rows in librosa_rows(waveform).values():
        values += [
            scipy.stats.kurtosis(rows, axis=1),
            rows.max(axis=1),
            rows.mean(axis=1),
            np.median(rows, axis=1),
            rows.min(axis=1),
            scipy.stats.skew(rows, axis=1),
            rows.std(axis=1),
        ]
    return np.nan_to_num(np.concatenate(values))


def differences(ours: np.ndarray, theirs: np.ndarray) -> dict[str, dict[str, float]]:
    """Return the median and the 95th percentile of the deviations of each feature. Shape: `[clips, 518]`."""
    found, start = {}, 0
    scaled = [place for place in range(7) if place not in BENT]
    for name, rows in FMA_ROWS.items():
        part = slice(start, start + 7 * rows)
        one, other = (values[:, part].reshape(-1, 7, rows) for values in (ours, theirs))
        start += 7 * rows
        largest = np.abs(other[:, scaled]).max(axis=(1, 2), keepdims=True)
        relative = np.abs(one - other)[:, scaled] / np.where(largest > 0, largest, 1.0)
        shape = np.abs(one - other)[:, list(BENT)]
        found[name] = {
            "median": float(np.median(relative)),
            "95 %": float(np.quantile(relative, 0.95)),
            "largest": float(relative.max()),
            "skew and kurtosis, median": float(np.median(shape)),
            "skew and kurtosis, 95 %": float(np.quantile(shape, 0.95)),
        }
    return found


def contenders(clips: np.ndarray) -> dict[str, Callable[[], np.ndarray]]:
    """Return the ways to compute the values of all clips, `[clips, 518]`."""
    front_end = Statistics(sample_rate=SAMPLE_RATE, in_channels=1)

    def ours() -> np.ndarray:
        return np.stack([front_end(torch.from_numpy(clip)[None, None])[0, :, 0].numpy() for clip in clips])

    def librosa_and_scipy() -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.stack([librosa_vector(clip) for clip in clips])

    return {"kikiwake": ours, "librosa": librosa_and_scipy}


def run(*, data: Path, clips: int | None = 24, repetitions: int = 3) -> dict[str, Any]:
    """Return clips/s of each contender (median, run in turns), the ratio, and how far the values differ."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            samples = waveforms(data, clips=clips)
            for way in contenders(samples[:1]).values():
                way()  # librosa compiles and both make their filters
            ways = contenders(samples)
            values: dict[str, np.ndarray] = {}
            times: dict[str, list[float]] = {name: [] for name in ways}
            busy: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(repetitions):
                for name, way in ways.items():
                    started, busy_before = time.perf_counter(), time.process_time()
                    values[name] = way()
                    busy[name].append(time.process_time() - busy_before)
                    times[name].append(time.perf_counter() - started)
    finally:
        torch.set_num_threads(threads)
    speeds = {name: len(samples) / median(taken) for name, taken in times.items()}
    return {
        "clips": len(samples),
        "threads": 1,
        "repetitions": repetitions,
        "clips_per_second": speeds,
        "fastest_clips_per_second": {name: len(samples) / min(taken) for name, taken in times.items()},
        "ratio": speeds["kikiwake"] / speeds["librosa"],
        "ratio_of_processor_time": median(busy["librosa"]) / median(busy["kikiwake"]),
        "at_least": 10.0,
        "differences": differences(values["kikiwake"], values["librosa"]),
    }


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("KIKIWAKE_DATA", "../shared/data")))
    parser.add_argument("--clips", type=int, default=24, help="how many clips, spread over ESC-10")
    parser.add_argument("--all", action="store_true", help="all 400 clips")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    result = run(
        data=arguments.data,
        clips=None if arguments.all else arguments.clips,
        repetitions=arguments.repetitions,
    )
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    print(f"518 features of {result['clips']} clips of 5 s, one thread each")
    for name, speed in result["clips_per_second"].items():
        fastest = result["fastest_clips_per_second"][name]
        print(f"{name:20} {speed:8.2f} clips/s (median)  {fastest:8.2f} (fastest)")
    print(f"{'ratio':20} {result['ratio']:8.2f} x librosa's (at least {result['at_least']})")
    print(f"{'of processor time':20} {result['ratio_of_processor_time']:8.2f} x, where other work disturbs")
    print(f"{'difference':20}   median     95 %  largest   bent: median     95 %")
    for name, found in result["differences"].items():
        print(f"{name:20}", *(f"{value:8.1e}" for value in found.values()))


if __name__ == "__main__":
    main()
