"""A data set of tones and a recipe small enough to train in a second, for tests of the pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from kikiwake.classifier import build_classifier
from kikiwake.data import ClipDataset
from kikiwake.manifest import Clip, Manifest
from kikiwake.recipe import Recipe
from kikiwake.run import Run, open_run, start_run

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


def made_up_run(manifest: Path, folder: Path, **changes: Any) -> Run:
    """A run that counts as trained; such with other seeds say other things."""
    recipe = toy_recipe(manifest, folder, **{"split": {"test": 0, "validation": None}, **changes})
    run = start_run(recipe, Manifest.read(manifest))
    weights = build_classifier(recipe, classes=run.classes).state_dict()
    bold = {name: 4 * tensor if "weight" in name else tensor for name, tensor in weights.items()}
    run.write_model(bold, about={})
    return open_run(folder)


def data_at(manifest: Path, rate: int, *, seconds: float = 0.5) -> dict[str, Any]:
    """The section `data` of a model at another sample rate, or of windows of another length."""
    crop = {"name": "first", "seconds": seconds}
    return {"manifest": str(manifest), "sample_rate": rate, "crop": crop, "workers": 0, "cache": False}
