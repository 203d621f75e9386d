"""Stems: their size, how fast they are read and trained on, separating beside Demucs, augmenting four.

Recordings are 30 s of clips of ESC-10, one after the other, at 22050 Hz. "No separation" is the same clips in
four equal channels from the decoded cache, so that network and front end have the same work. Demucs is a tiny
hybrid transformer with random weights, since what is compared is what stands around the network. Contenders
take turns; figures are medians.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import audiomentations
import numpy as np
import soundfile
import torch

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

import part_files
from _steps import Steps
from kikiwake import audio, components
from kikiwake.augmentations.waveform import Waveform
from kikiwake.data import ClipDataset, Request
from kikiwake.manifest import Clip, Manifest
from kikiwake.randomness import generator
from kikiwake.recipe import Recipe
from kikiwake.separation import fill, recordings_of
from kikiwake.separators import SpanSeparation

RATE, SECONDS, RECORDINGS = 22_050, 30, 12
STEMS = {"separator": {"name": "bands"}, "stems": ["vocals", "drums", "bass", "other"]}
MIXTURE = {"channels": 4}
AT_LEAST = {"training": 0.9, "size": 0.4}


def write_recordings(data: Path, folder: Path) -> Path:
    """Write recordings of 30 s and their manifest."""
    files = sorted((data / "esc10").rglob("*.ogg"))
    pieces = (audio.load(file, sample_rate=RATE).waveform[0] for file in files)
    clips, waiting = [], np.empty(0, np.float32)
    for number in range(RECORDINGS):
        while len(waiting) < SECONDS * RATE:
            waiting = np.concatenate([waiting, next(pieces)])
        soundfile.write(folder / f"{number}.wav", waiting[: SECONDS * RATE], RATE)
        waiting = waiting[SECONDS * RATE :]
        label = number % 2
        path = folder / f"{number}.wav"
        clips.append(
            Clip(path=path, label="ab"[label], class_id=label, fold=0, frames=SECONDS * RATE, sr=RATE)
        )
    Manifest(clips, ["a", "b"]).write(folder / "manifest.csv")
    return folder / "manifest.csv"


def recipe(manifest: Path, name: str, *, seconds: float, **hears: Any) -> Recipe:
    """Return a recipe over stems or over the mixture in as many channels."""
    path = manifest.with_name(f"{name}.yaml")
    content = {
        "run": str(manifest.parent / name),
        "data": {
            "manifest": str(manifest),
            "sample_rate": RATE,
            "crop": {"name": "random", "seconds": seconds},
            "cache_folder": str(manifest.parent / "cache"),
            "workers": 2,
            **hears,
        },
        "frontend": {"name": "mel", "n_fft": 2048, "hop_length": 512, "n_mels": 128},
        "model": {"name": "cnn", "backbone": "efficientnet_b0"},
        "stages": [{"epochs": 1, "batch_size": 4, "optimizer": {"name": "adamw", "learning_rate": 1e-3}}],
    }
    path.write_text(json.dumps(content))
    return Recipe.load(path)


def in_turns(ways: dict[str, Callable[[], float]], *, repetitions: int) -> dict[str, float]:
    """Return the median of what each way gives."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repetitions):
        for name, way in ways.items():
            found[name].append(way())
    return {name: median(values) for name, values in found.items()}


def seconds_of(function: Callable[[], object]) -> float:
    """Return how long a call takes."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def on_waveforms() -> list[Any]:
    """Return the augmentations that `signate_genre` applies to waveforms."""
    nodes = Recipe.load("signate_genre", "data.manifest=none.csv").augmentations
    return [
        components.build("augmentations", node, where="augmentations", sample_rate=RATE)
        for node in nodes
        if node["name"] == "waveform"
    ]


def loading(
    manifest: Path, *, seconds: float, repetitions: int, augmentations: Sequence[Any] = ()
) -> dict[str, float]:
    """Return clips/s of reading crops in one process, warm."""
    ways = {}
    for name, hears in (("stems", STEMS), ("no separation", MIXTURE)):
        one = recipe(manifest, name, seconds=seconds, **hears)
        dataset = ClipDataset(Manifest.read(manifest), data=one.data, seed=0, augmentations=augmentations)

        def read(dataset: ClipDataset = dataset) -> float:
            batches = [
                [Request(at + k, ("s", 0, at + k)) for k in range(4)] for at in range(0, RECORDINGS, 4)
            ]
            return RECORDINGS / seconds_of(lambda: [dataset[batch] for batch in batches])

        read()
        ways[name] = read
    return in_turns(ways, repetitions=repetitions)


def training(manifest: Path, *, seconds: float, repetitions: int) -> dict[str, float]:
    """Return clips/s of kikiwake's own steps."""
    own = {
        name: Steps(recipe(manifest, name, seconds=seconds, **hears))
        for name, hears in (("stems", STEMS), ("no separation", MIXTURE))
    }
    ways = {name: partial(each.clips_per_second, steps=2 * RECORDINGS // 4) for name, each in own.items()}
    try:
        return in_turns(ways, repetitions=repetitions)
    finally:
        for each in own.values():
            each.close()


def separating(folder: Path, *, repetitions: int) -> dict[str, float]:
    """Return the seconds that 15 s take: kikiwake's windows, and Demucs's own."""
    from demucs.apply import apply_model
    from demucs.pretrained import get_model

    from kikiwake.separators.demucs import Demucs

    part_files.save_demucs(folder, part_files.tiny_demucs())
    part, reference = Demucs(model="tiny", folder=folder, device="cpu"), get_model("tiny", repo=folder)
    mixture = np.random.default_rng(0).normal(0, 0.1, (2, 15 * 16_000)).astype(np.float32)
    blocks = np.split(mixture, range(1 << 16, mixture.shape[1], 1 << 16), axis=1)
    return in_turns(
        {
            "kikiwake": lambda: seconds_of(lambda: list(SpanSeparation(part, start=0, stop=None)(blocks))),
            "demucs": lambda: seconds_of(
                lambda: apply_model(reference, torch.from_numpy(mixture)[None], shifts=0)
            ),
        },
        repetitions=repetitions,
    )


def augmenting(transform: str, arguments: dict[str, float], *, repetitions: int) -> dict[str, float]:
    """Return the seconds that four stems of 30 s take together, and one after the other."""
    stems = np.random.default_rng(0).normal(0, 0.1, (4, SECONDS * RATE)).astype(np.float32)
    ours = Waveform(transform=transform, arguments=arguments, p=1)
    theirs = getattr(audiomentations, transform)(**arguments, p=1.0)

    def singly() -> None:
        theirs(stems[0], sample_rate=RATE)
        theirs.freeze_parameters()
        for stem in stems[1:]:
            theirs(stem, sample_rate=RATE)
        theirs.unfreeze_parameters()

    ways = {
        "four at once": lambda: seconds_of(lambda: ours(stems, sample_rate=RATE, rng=generator(0))),
        "four single calls": lambda: seconds_of(singly),
    }
    for way in ways.values():
        way()
    return in_turns(ways, repetitions=repetitions)


def run(*, data: Path, repetitions: int = 5) -> dict[str, Any]:
    """Return all figures, with what is wanted of them."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        manifest = write_recordings(data, folder)
        hears = recipe(manifest, "stems", seconds=5.0, **STEMS).data
        filled = fill(hears, recordings_of(Manifest.read(manifest)), workers=1)
        size = filled.size / (4 * 4 * RECORDINGS * SECONDS * RATE)
        found: dict[str, Any] = {
            "share of float32 WAV": size,
            "bands, times real time": filled.sound_seconds / filled.elapsed_seconds,
        }
        for seconds in (5.0, 30.0):
            found[f"loading {seconds:g} s"] = loading(manifest, seconds=seconds, repetitions=repetitions)
        found["loading 30 s as signate_genre"] = loading(
            manifest, seconds=30.0, repetitions=repetitions, augmentations=on_waveforms()
        )
        found["training 5 s"] = training(manifest, seconds=5.0, repetitions=repetitions)
        for what in ("loading 5 s", "loading 30 s", "loading 30 s as signate_genre", "training 5 s"):
            figures = found[what]
            figures["ratio"] = figures["stems"] / figures["no separation"]
        if importlib.util.find_spec("demucs"):
            found["separating 15 s"] = separating(folder / "models", repetitions=repetitions)
        for transform, arguments in (
            ("PitchShift", {"min_semitones": 2.0, "max_semitones": 2.0}),
            ("TimeStretch", {"min_rate": 0.8, "max_rate": 0.8}),
        ):
            found[transform] = augmenting(transform, arguments, repetitions=repetitions)
    return {**found, "at least": AT_LEAST["training"], "at most": AT_LEAST["size"]}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("KIKIWAKE_DATA", "../shared/data")))
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    print(json.dumps(run(data=arguments.data, repetitions=arguments.repetitions), indent=2))


if __name__ == "__main__":
    main()
