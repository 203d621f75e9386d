"""Log-mel spectrograms of the 400 ESC-10 clips: kikiwake's front end beside librosa, two threads each.

The waveforms (5 s at 32 kHz) are ready in memory. librosa runs in both ways that use two threads: a batch of
clips in one call, and clip by clip in two threads; it is compared by the better. The values of all are
compared in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import librosa
import numpy as np
import scipy.fft
import torch
from threadpoolctl import threadpool_limits

from kikiwake import audio
from kikiwake.frontends.mel import Mel

SAMPLE_RATE = 32_000
SAMPLES = 5 * SAMPLE_RATE
THREADS = 2
BATCH = 32
N_FFT, HOP, BANDS, TOP_DB = 1024, 320, 128, 80.0


def waveforms() -> np.ndarray:
    """Return all clips, cropped or padded to 5 s. Shape: `[400, T]`."""
    named = os.environ.get("KIKIWAKE_DATA")
    data = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    files = sorted((data / "esc10").rglob("*.ogg"))
    clips = np.zeros((len(files), SAMPLES), dtype=np.float32)
    for clip, file in zip(clips, files, strict=True):
        loaded = audio.load(file, sample_rate=SAMPLE_RATE, channels=1, frames=SAMPLES).waveform[0]
        clip[: len(loaded)] = loaded
    return clips


def log_mel(waveform: np.ndarray) -> np.ndarray:
    """Return librosa's levels of a clip or a batch of clips."""
    energy = librosa.feature.melspectrogram(
        y=waveform, sr=SAMPLE_RATE, n_fft=N_FFT, hop_length=HOP, n_mels=BANDS
    )
    return librosa.power_to_db(energy, top_db=None)


def limited(levels: np.ndarray) -> np.ndarray:
    """Return levels of clips with nothing more than 80 dB below each clip's loudest."""
    return np.maximum(levels, levels.max(axis=(1, 2), keepdims=True) - TOP_DB)


def contenders(clips: np.ndarray) -> dict[str, Callable[[], np.ndarray]]:
    """Return the ways to compute the levels of all clips, `[400, 128, 501]`."""
    front_end = Mel(sample_rate=SAMPLE_RATE, in_channels=1, n_fft=N_FFT, hop_length=HOP, n_mels=BANDS)
    levels = np.empty((len(clips), BANDS, front_end.frames(SAMPLES)), dtype=np.float32)
    batches = [slice(start, start + BATCH) for start in range(0, len(clips), BATCH)]

    def ours() -> np.ndarray:
        for batch in batches:
            levels[batch] = front_end(torch.from_numpy(clips[batch])[:, None])[:, 0].numpy()
        return levels

    def librosa_batches() -> np.ndarray:
        with scipy.fft.set_workers(THREADS), threadpool_limits(THREADS):
            for batch in batches:
                levels[batch] = log_mel(clips[batch])
        return levels

    def librosa_threads() -> np.ndarray:
        with threadpool_limits(1), ThreadPoolExecutor(THREADS) as pool:
            for clip, found in zip(levels, pool.map(log_mel, clips), strict=True):
                clip[:] = found
        return levels

    return {"kikiwake": ours, "librosa, batches": librosa_batches, "librosa, threads": librosa_threads}


def run(*, repetitions: int = 5) -> dict[str, Any]:
    """Return clips/s of each contender (median, run in turns), the ratio, and how far the values differ."""
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        clips = waveforms()
        ways = contenders(clips)
        levels = {name: limited(way()) for name, way in ways.items()}
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(repetitions):
            for name, way in ways.items():
                started = time.perf_counter()
                way()
                times[name].append(time.perf_counter() - started)
    finally:
        torch.set_num_threads(threads)
    speeds = {name: len(clips) / median(values) for name, values in times.items()}
    best = max(speed for name, speed in speeds.items() if name != "kikiwake")
    difference = np.abs(levels["kikiwake"] - levels["librosa, batches"]).max()
    return {
        "clips": len(clips),
        "threads": THREADS,
        "clips_per_second": speeds,
        "fastest_clips_per_second": {name: len(clips) / min(values) for name, values in times.items()},
        "ratio": speeds["kikiwake"] / best,
        "at_least": 3.0,
        "largest_difference_db": float(difference),
    }


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    result = run()
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    print(f"log-mel of {result['clips']} clips of 5 s, {result['threads']} threads each")
    for name, speed in result["clips_per_second"].items():
        fastest = result["fastest_clips_per_second"][name]
        print(f"{name:20} {speed:8.0f} clips/s (median)  {fastest:8.0f} (fastest)")
    print(f"{'ratio':20} {result['ratio']:8.2f} x the better of librosa's (at least {result['at_least']})")
    print(f"{'largest difference':20} {result['largest_difference_db']:8.4f} dB within {TOP_DB:.0f} dB")


if __name__ == "__main__":
    main()
