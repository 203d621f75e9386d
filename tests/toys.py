"""A data set of tones and a recipe small enough to train in a second, for tests of the pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from kikiwake.data import ClipDataset
from kikiwake.manifest import Clip, Manifest
from kikiwake.recipe import Recipe

SAMPLE_RATE = 8000
STATISTICS = {"name": "statistics", "features": ["log_mel"], "n_fft": 512, "hop_length": 256, "n_mels": 32}
"""A front end of one vector a clip, whose features are kept."""

PITCHES = {"high": 1600.0, "low": 200.0, "middle": 600.0}


def tone(pitch: float, *, seconds: float, seed: int) -> np.ndarray:
    """A tone that starts at a random phase, in noise 20 dB below it."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    clean = 0.3 * np.sin(2 * np.pi * (pitch * rng.uniform(0.9, 1.1) * time + rng.random()))
    return (clean + rng.normal(0, 0.02, time.size)).astype(np.float32)


def write_tones(folder: Path, *, clips_per_class: int = 8, folds: int = 4) -> Path:
    """Write a folder of tones and its manifest; clips k and k + 1 share a group, and a group has one fold."""
    folder.mkdir(parents=True, exist_ok=True)
    classes = sorted(PITCHES)
    clips = []
    for number, name in enumerate(classes):
        for k in range(clips_per_class):
            path = folder / f"{name}_{k}.wav"
            samples = tone(PITCHES[name], seconds=0.6 + 0.05 * (k % 3), seed=100 * number + k)
            soundfile.write(path, samples, SAMPLE_RATE)
            group = k // 2
            clips.append(
                Clip(
                    path=path,
                    label=name,
                    class_id=number,
                    fold=group % folds,
                    frames=samples.size,
                    sr=SAMPLE_RATE,
                    group=f"{name}-{group}",
                )
            )
    Manifest(clips, classes).write(folder / "manifest.csv")
    return folder / "manifest.csv"


def toy_recipe(manifest: Path, run: Path, **changes: Any) -> Recipe:
    """A recipe over tones in which every kind of randomness is used; `changes` replace top-level keys."""
    content: dict[str, Any] = {
        "seed": 5,
        "run": str(run),
        "data": {
            "manifest": str(manifest),
            "sample_rate": SAMPLE_RATE,
            "crop": {"name": "random", "seconds": 0.5},
            "workers": 0,
            "cache_folder": str(run.parent / "cache"),
        },
        "split": {"test": 0, "validation": 1},
        "frontend": {"name": "mel", "n_fft": 256, "hop_length": 64, "n_mels": 32},
        "augmentations": [
            {"name": "speed"},
            {"name": "waveform", "transform": "AddGaussianNoise"},
            {"name": "time_mask", "max_width": 8},
        ],
        "model": {"name": "fcn", "widths": [4, 8, 8, 8, 8]},
        "stages": [
            {
                "epochs": 2,
                "batch_size": 4,
                "optimizer": {"name": "adamw", "learning_rate": 0.01},
                "schedule": {"name": "cosine"},
                "augmentations": [{"name": "mixup", "alpha": 0.4}],
                "ema": 0.9,
            }
        ],
        "engine": {"device": "cpu", "threads": 1},
    }
    content.update(changes)
    path = run.parent / f"{run.name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return Recipe.load(path)


def toy_dataset(folder: Path, **changes: Any) -> ClipDataset:
    """The tones as a data set of batches."""
    recipe = toy_recipe(write_tones(folder / "tones"), folder / "run", **changes)
    return ClipDataset(Manifest.read(folder / "tones" / "manifest.csv"), data=recipe.data, seed=recipe.seed)
