"""Features of slow front ends are computed once, kept, and the same as if they were not kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import toys
from kikiwake.checkpoint import read_weights
from kikiwake.clip import Clip
from kikiwake.evaluation import evaluate
from kikiwake.frontends.statistics import Statistics
from kikiwake.manifest import Manifest
from kikiwake.recipe import Recipe
from kikiwake.run import Run
from kikiwake.training import train

STAGE = {"epochs": 2, "batch_size": 4, "optimizer": {"name": "adam", "learning_rate": 0.01}}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toys.write_tones(tmp_path_factory.mktemp("tones"))


def recipe(manifest: Path, run: Path, *, stage: dict[str, Any] | None = None, **data: Any) -> Recipe:
    """A recipe that trains an MLP on statistics of tones; `data` and `stage` change what they name."""
    content = {
        "seed": 5,
        "run": str(run),
        "data": {
            "manifest": str(manifest),
            "sample_rate": toys.SAMPLE_RATE,
            "crop": {"name": "whole", "seconds": 0.6},
            "workers": 0,
            "cache_folder": str(run.parent / "cache"),
            **data,
        },
        "split": {"test": 0, "validation": 1},
        "frontend": toys.STATISTICS,
        "model": {"name": "mlp", "batch_norm": True},
        "stages": [{**STAGE, **(stage or {})}],
        "engine": {"threads": 1},
    }
    path = run.parent / f"{run.name}.json.yaml"
    path.write_text(json.dumps(content))
    return Recipe.load(path)


def same_weights(one: Run, other: Run) -> bool:
    first, second = read_weights(one.model_file), read_weights(other.model_file)
    return all(np.array_equal(first[name], second[name]) for name in first)


@pytest.fixture
def calls(monkeypatch) -> list[int]:
    """How many clips each call of the front end was given."""
    seen: list[int] = []
    forward = Statistics.forward

    def watched(self, waveform, *, lengths=None):
        seen.append(len(waveform))
        return forward(self, waveform, lengths=lengths)

    monkeypatch.setattr(Statistics, "forward", watched)
    return seen


def test_each_window_goes_through_the_front_end_once(manifest, tmp_path, calls):
    run = train(recipe(manifest, tmp_path / "run"))
    assert sum(calls) < 2 * 24 + 24  # 12 training clips once, 6 validation clips in at most two windows
    before = len(calls)
    train(recipe(manifest, tmp_path / "other", stage={"epochs": 5}))
    assert len(calls) == before
    evaluate(run, replicates=0)
    evaluated = len(calls)
    evaluate(run, replicates=0)
    assert len(calls) == evaluated


def test_kept_features_train_the_same_weights_as_computed_ones(manifest, tmp_path, calls):
    kept = train(recipe(manifest, tmp_path / "kept"))
    with_kept = sum(calls)
    computed = train(recipe(manifest, tmp_path / "computed", cache=False))
    assert sum(calls) - with_kept > with_kept
    assert same_weights(kept, computed)


def test_a_stages_own_clips_are_trained_on_by_their_own_features(manifest, tmp_path):
    """The rows of a stage's manifest, and of pseudo labels behind them, are not those of the run's."""
    read = Manifest.read(manifest)
    Manifest(list(reversed(read)), read.classes).write(tmp_path / "reversed.csv")
    wild = tmp_path / "wild.wav"
    soundfile.write(wild, toys.tone(1600.0, seconds=0.8, seed=3), toys.SAMPLE_RATE)
    windows = [
        Clip(wild, "high", 0, None, 6400, toys.SAMPLE_RATE, start=start, end=start + 0.4, split="train")
        for start in (0.0, 0.4)
    ]
    Manifest(windows, read.classes, [[0.9, 0.0, 0.1]] * 2).write(tmp_path / "pseudo.csv")
    own = {"manifest": str(tmp_path / "reversed.csv"), "pseudo": {"table": str(tmp_path / "pseudo.csv")}}

    kept = train(recipe(manifest, tmp_path / "kept", stage=own))
    computed = train(recipe(manifest, tmp_path / "computed", stage=own, cache=False))

    assert same_weights(kept, computed)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_training_on_features_ends_with_the_same_weights(manifest, tmp_path, monkeypatch, workers):
    whole = train(recipe(manifest, tmp_path / "whole"))
    killed = recipe(manifest, tmp_path / "killed", workers=workers)
    write = Run.write_metrics

    def interrupted(self, rows):
        write(self, rows)
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "write_metrics", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(killed)
    monkeypatch.setattr(Run, "write_metrics", write)
    assert same_weights(train(killed), whole)


def test_other_settings_or_another_recording_are_other_features(manifest, tmp_path, calls):
    train(recipe(manifest, tmp_path / "run"))
    before = sum(calls)
    train(recipe(manifest, tmp_path / "longer", crop={"name": "whole", "seconds": 0.5}))
    assert sum(calls) > before


def test_augmented_clips_are_never_kept(manifest, tmp_path, calls):
    gain = {"name": "waveform", "transform": "Gain", "p": 1.0}
    train(recipe(manifest, tmp_path / "gain", stage={"augmentations": [gain]}))
    calls.clear()
    train(recipe(manifest, tmp_path / "more", stage={"augmentations": [gain], "epochs": 4}))
    assert sum(calls) == 4 * 12  # every training clip in every epoch; the validation clips are kept
