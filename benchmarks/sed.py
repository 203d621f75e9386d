"""Sound event detection from weak labels: what it is worth, and what it costs.

ESC-10's clips are laid over noise at known times (`synthesise_set`, folds apart): recordings of 10 s of which
a training knows only which classes are heard. Fold 1 is judged, fold 2 chooses thresholds.

`score`: `sed` against `cnn`, same backbone, epochs and pictures, three seeds; macro ROC-AUC over windows of
5 s, with intervals clustered by recording.
`events`: rows of 0.1 s become events; threshold, median, gap and shortest event are those that are best on
fold 2; event-based F1 (collar 200 ms) and segment-based F1 (1 s) on fold 1. Judged are the models of `score`,
and those trained on stretches of 1 s with the classes heard in them (`noise` where there are none) and frames
of 40 ms, on a set in which a sound ends where it is 20 dB below its peak.
`human`: a small check on human labels of field recordings: windows of two species, a recording of each left
out; and calls with their times, trained on the first half of a recording and found in the second.
`pseudo`: half of the recordings are taken to have no labels; the model of the other half labels them, and
trains again on both.
`speed`: training steps with a second resolution against those without. (Predictions against the bare
backbone: `predict.py --many-files --model sed`.)
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np

from _steps import Steps
from kikiwake import metrics
from kikiwake._fold_processes import train_apart
from kikiwake.crossvalidation import crossvalidate
from kikiwake.datasets import prepare
from kikiwake.ensembles import ensemble
from kikiwake.event_scores import event_tally, scores, segment_tally, total
from kikiwake.events import Event, events_of
from kikiwake.manifest import Manifest
from kikiwake.prediction import predict
from kikiwake.predictions import Predictions
from kikiwake.randomness import generator
from kikiwake.recipe import Recipe
from kikiwake.run import start_run
from kikiwake.soundscapes import synthesise_set
from kikiwake.tables import write_table

SAMPLE_RATE = 16_000
WINDOW_SECONDS, ROW_SECONDS = 5.0, 0.1
PARTS = ("score", "stretches", "human", "pseudo", "speed")
HEARD_SECONDS = 0.25
"""Of an event, as much in a window makes its class one of the window's."""

RECIPE = """\
run: {folder}/{name}
seed: {seed}
data:
  manifest: {manifest}
  sample_rate: {sample_rate}
  crop: {{name: first, seconds: {crop_seconds}}}
  pad: repeat
  secondary_target: 1.0
  cache_folder: {folder}/cache
split: {split}
frontend:
  name: mel
  n_fft: {n_fft}
  hop_length: {hop_length}
  n_mels: {n_mels}
  f_min: 50
  top_db: 80
  normalise: {{name: offset_scale, offset: 80, scale: 80}}
  resolutions: {resolutions}
augmentations:
  - {{name: frequency_mask, max_width: 8}}
  - {{name: waveform, transform: Shift, arguments: {{min_shift: -0.5, max_shift: 0.5}}, p: {shift}}}
model: {model}
stages:
  - name: train
    epochs: {epochs}
    batch_size: {batch_size}
    loss: binary_cross_entropy
    optimizer: {{name: adamw, learning_rate: 3e-3, weight_decay: 0.02}}
    schedule: {{name: cosine}}
    warmup_epochs: 2
    framewise_loss: {framewise_loss}
    monitor: macro_roc_auc
    keep: last
    augmentations: [{{name: mixup, alpha: 0.2, p: 0.5}}]
engine: {{device: cpu, threads: {threads}}}
predict: {predict}
"""
SETTINGS = {
    "resolutions": "[]",
    "threads": 1,
    "sample_rate": SAMPLE_RATE,
    "split": "{test: 1, validation: 2}",
    "crop_seconds": 10.0,
    "n_fft": 1024,
    "hop_length": 320,
    "n_mels": 64,
    "shift": 0.5,
    "batch_size": 16,
}
STRETCHES = {
    "crop_seconds": 1.0,
    "n_fft": 512,
    "hop_length": 80,
    "n_mels": 48,
    "shift": 0.0,
    "batch_size": 32,
    "predict": "{window_seconds: 1.0, context_seconds: 0.5, framewise: true}",
}
"""What a recipe for stretches of 1 s has in place of the settings."""
BACKBONE = "{backbone: test_resnet, backbone_arguments: {output_stride: 8}, "
MODELS = {
    "cnn": {
        "model": BACKBONE + "name: cnn, dropout: 0.2}",
        "framewise_loss": 0.0,
        "predict": "{window_seconds: 5.0}",
    },
    "sed": {
        "model": BACKBONE + "name: sed, dropout: 0.2}",
        "framewise_loss": 0.5,
        "predict": "{window_seconds: 5.0, context_seconds: 2.5, framewise: true}",
    },
}


def make_set(
    folder: Path, data: Path, *, recordings: int, trim_db: float = 30.0, stretch_seconds: float | None = None
) -> Path:
    """Write recordings with known truth and return their manifest."""
    folder.mkdir(exist_ok=True)
    prepare(data / "esc10", folder / "esc10.csv", dataset="esc50", options={"clip_seconds": 5})
    made = synthesise_set(
        Manifest.read(folder / "esc10.csv"),
        folder / "set",
        recordings=recordings,
        seconds=10.0,
        sample_rate=SAMPLE_RATE,
        most_events=2,
        lowest_snr_db=10.0,
        highest_snr_db=25.0,
        overlap=False,
        trim_db=trim_db,
        stretch_seconds=stretch_seconds,
    )
    prepare(made.folder, folder / "set.csv", dataset="table", options={"table": "clips.csv"})
    return folder / "set.csv"


def recipe(folder: Path, manifest: Path, *, kind: str, epochs: int, seed: int = 0, **changes: Any) -> Recipe:
    """Return the recipe of a model; `changes` replace settings of the template."""
    name = changes.pop("name", f"{kind}_{seed}")
    settings = {**SETTINGS, **MODELS[kind], **changes}
    path = folder / f"{name}.yaml"
    text = RECIPE.format(folder=folder, name=name, manifest=manifest, epochs=epochs, seed=seed, **settings)
    path.write_text(text)
    return Recipe.load(path)


def recordings_of(manifest: Manifest, fold: int) -> list[Path]:
    """Return the recordings of a fold."""
    return [clip.path for clip in manifest if clip.fold == fold]


def truth_of(folder: Path) -> dict[str, list[Event]]:
    """Return the events of every recording by its name."""
    found: dict[str, list[Event]] = {}
    with (folder / "truth.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            own = found.setdefault(row["filename"], [])
            if row["start"]:
                own.append(Event(row["filename"], float(row["start"]), float(row["end"]), row["label"]))
    return found


def window_targets(predictions: Predictions, truth: dict[str, list[Event]]) -> np.ndarray:
    """Return which classes are heard in each window. Shape: `[W, K]`."""
    targets = np.zeros(predictions.probabilities.shape)
    rows = zip(predictions.paths, predictions.starts, predictions.ends, strict=True)
    for number, (path, start, end) in enumerate(rows):
        for event in truth[Path(path).name]:
            if min(end, event.end) - max(start, event.start) >= min(HEARD_SECONDS, event.end - event.start):
                targets[number, predictions.classes.index(event.label)] = 1.0
    return targets


def window_scores(
    tables: dict[str, list[Predictions]], truth: dict[str, list[Event]], *, replicates: int = 1000
) -> dict[str, Any]:
    """Return the ROC-AUC of each kind of model, the mean over seeds, and their difference, with intervals."""
    first = next(iter(tables.values()))[0]
    targets = window_targets(first, truth)
    names = sorted(set(first.paths))
    rows = {name: np.flatnonzero([path == name for path in first.paths]) for name in names}

    def areas(chosen: np.ndarray) -> dict[str, float]:
        return {
            kind: mean(
                metrics.roc_auc(targets[chosen], table.probabilities[chosen].astype(float)) for table in own
            )
            for kind, own in tables.items()
        }

    found = areas(np.arange(len(targets)))
    rng = generator(0, "bootstrap")
    drawn = [
        areas(np.concatenate([rows[names[at]] for at in rng.integers(len(names), size=len(names))]))
        for _ in range(replicates)
    ]
    both = {**{kind: [one[kind] for one in drawn] for kind in found}}
    both["sed - cnn"] = [one["sed"] - one["cnn"] for one in drawn]
    found["sed - cnn"] = found["sed"] - found["cnn"]
    each = {
        kind: [metrics.roc_auc(targets, table.probabilities.astype(float)) for table in own]
        for kind, own in tables.items()
    }
    return {
        "windows": len(targets),
        "recordings": len(names),
        "macro_roc_auc": {
            kind: {"value": value, "interval": np.quantile(both[kind], [0.025, 0.975]).tolist()}
            for kind, value in found.items()
        },
        "each seed": each,
    }


def score(folder: Path, manifest: Path, *, epochs: int, seeds: int) -> dict[str, Any]:
    """Train both kinds of model and compare them window by window."""
    read = Manifest.read(manifest)
    truth = truth_of(folder / "set")
    own = {
        (kind, seed): recipe(folder, manifest, kind=kind, epochs=epochs, seed=seed)
        for seed, kind in product(range(seeds), MODELS)
    }
    train_all(list(own.values()))
    tables: dict[str, list[Predictions]] = {}
    rates: dict[str, list[float]] = {}
    for (kind, seed), one in own.items():
        out = folder / f"{kind}_{seed}.windows.csv"
        predict(one.run, recordings_of(read, 1), out=out)
        tables.setdefault(kind, []).append(Predictions.read(out))
        log = (one.run / "log.txt").read_text()
        rates.setdefault(kind, []).extend(float(found) for found in re.findall(r"([\d.]+) clips/s", log))
    return {**window_scores(tables, truth), "clips/s in training": {k: median(v) for k, v in rates.items()}}


def train_all(recipes: Sequence[Recipe], *, jobs: int = 2) -> None:
    """Train recipes side by side, each on a thread of its own."""
    for one in recipes:
        start_run(one, one.read_manifest())
    for folder, reason in train_apart([one.run for one in recipes], jobs=jobs):
        if reason is not None:
            raise SystemExit(f"{folder}: {reason}")


def event_f1(
    predictions: Predictions, truth: dict[str, list[Event]], settings: dict[str, float]
) -> dict[str, float | None]:
    """Return event-based and segment-based F1 of predictions in rows."""
    found: dict[str, list[Event]] = {Path(path).name: [] for path in predictions.paths}
    for event in events_of(predictions, **settings):
        found[Path(event.path).name].append(event)
    classes = list(predictions.classes)
    events = total([event_tally(truth[name], own, classes=classes) for name, own in found.items()])
    segments = total([segment_tally(truth[name], own, classes=classes) for name, own in found.items()])
    by_event, by_segment = scores(events), scores(segments)
    return {
        "event macro F1": by_event["macro_f1"],
        "event micro F1": by_event["micro_f1"],
        "segment macro F1": by_segment["macro_f1"],
        "segment micro F1": by_segment["micro_f1"],
    }


def stretches(folder: Path, data: Path, *, recordings: int, epochs: int, seeds: int) -> dict[str, Any]:
    """Train on stretches of 1 s and localise events."""
    manifest = make_set(folder, data, recordings=recordings, trim_db=20.0, stretch_seconds=1.0)
    cut = folder / "stretches.csv"
    prepare(folder / "set", cut, dataset="table", options={"table": "stretches.csv"})
    own = [recipe(folder, cut, kind="sed", epochs=epochs, seed=seed, **STRETCHES) for seed in range(seeds)]
    train_all(own)
    ensemble([one.run for one in own], out=folder / "joined")
    return events(folder, manifest, [*(one.run.name for one in own), "joined"], hop_seconds=0.5)


def events(
    folder: Path, manifest: Path, models: Sequence[str], *, hop_seconds: float = 2.5
) -> dict[str, Any]:
    """Localise events with models that are trained; settings are chosen on fold 2, scores are fold 1's."""
    read, truth = Manifest.read(manifest), truth_of(folder / "set")
    grid = {
        "threshold": (0.2, 0.3, 0.4, 0.5, 0.6, 0.7),
        "median_seconds": (0.0, 0.3, 0.5),
        "gap_seconds": (0.0, 0.3, 0.5),
        "shortest_seconds": (0.2,),
        "high_threshold": (0.7, 0.8, 0.9, 0.95),
    }
    tried = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    results: dict[str, Any] = {"at least": 0.5}
    for model in models:
        rows = {}
        for fold in (1, 2):
            out = folder / f"{model}.rows{fold}.csv"
            predict(
                folder / model,
                recordings_of(read, fold),
                out=out,
                hop_seconds=hop_seconds,
                frame_seconds=ROW_SECONDS,
            )
            rows[fold] = heard_in(Predictions.read(out), read.classes)
        best = max(tried, key=lambda one: event_f1(rows[2], truth, one)["event micro F1"] or 0.0)
        results[model] = {"settings": best, **event_f1(rows[1], truth, best)}
    return results


def heard_in(predictions: Predictions, classes: Sequence[str]) -> Predictions:
    """Return predictions of these classes alone."""
    places = [predictions.classes.index(name) for name in classes]
    return replace(predictions, classes=list(classes), probabilities=predictions.probabilities[:, places])


def human(folder: Path, data: Path) -> dict[str, Any]:
    """Judge the model on what people heard in field recordings."""
    folder.mkdir()
    audio = data / "soundscapes" / "audio"
    with (data / "soundscapes" / "labels.csv").open(newline="") as file:
        labelled = [row for row in csv.DictReader(file) if row["kind"].startswith("human")]
    return {
        "species of windows": species(folder, audio, labelled),
        "calls of the second half": calls(folder, audio, labelled),
    }


def species(folder: Path, audio: Path, labelled: Sequence[dict[str, str]]) -> dict[str, Any]:
    """Tell two birds apart in windows of 5 s; each fold leaves out a recording of each."""
    rows: list[list[Any]] = []
    for name in ("Common Cuckoo", "Eurasian Blackbird"):
        own = [row for row in labelled if row["label"] == name]
        recordings = sorted({row["filename"] for row in own})
        rows += [
            [audio / row["filename"], row["start"], row["end"], name, recordings.index(row["filename"]) + 1]
            for row in own
        ]
    manifest = _prepared(folder, "species", ["path", "start", "end", "class", "fold"], rows)
    changes = {"split": "{test: 1}", "crop_seconds": 5.0, "sample_rate": 32_000, "batch_size": 4}
    found = crossvalidate(
        recipe(folder, manifest, kind="sed", epochs=30, **changes), replicates=0
    ).out_of_fold
    scores = {name: found.scores[name].value for name in ("macro_roc_auc", "macro_f1")}
    return {"windows": len(rows), **scores}


def calls(folder: Path, audio: Path, labelled: Sequence[dict[str, str]]) -> dict[str, Any]:
    """Find the calls in the second half of a recording of which the first has trained."""
    name, half, end = "maad_spinetail.flac", 9.75, 19.5
    known = [
        Event(name, float(row["start"]), float(row["end"]), row["label"])
        for row in labelled
        if row["filename"] == name
    ]
    rows = []
    for start in np.arange(0, half - 1, 0.25):
        heard = {call.label for call in known if min(start + 1, call.end) - max(start, call.start) >= 0.1}
        rows += [[audio / name, start, start + 1, label] for label in sorted(heard) or ["noise"]]
    manifest = _prepared(folder, "calls", ["path", "start", "end", "class"], rows)
    changes = {**STRETCHES, "split": "{}", "sample_rate": 32_000, "hop_length": 160, "n_fft": 1024}
    own = recipe(folder, manifest, kind="sed", epochs=40, name="calls_run", **changes)
    train_all([own])
    predict(
        own.run, [audio / name], out=folder / "calls.rows.csv", hop_seconds=0.5, frame_seconds=ROW_SECONDS
    )
    table = heard_in(Predictions.read(folder / "calls.rows.csv"), ["CRER", "SP"])
    table = table.at(np.flatnonzero(table.starts >= half))
    truth = {name: [call for call in known if half <= call.start < end]}
    settings = {"threshold": 0.5, "gap_seconds": 0.3, "shortest_seconds": 0.2}
    return {"calls": len(truth[name]), **event_f1(table, truth, settings)}


def _prepared(folder: Path, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Path:
    """Write a table below a folder of its own and return the manifest of it."""
    (folder / name).mkdir()
    write_table(folder / name / "table.csv", columns, [[str(cell) for cell in row] for row in rows])
    prepare(folder / name, folder / f"{name}.csv", dataset="table")
    return folder / f"{name}.csv"


def pseudo(folder: Path, manifest: Path, *, epochs: int) -> dict[str, Any]:
    """Hide half of the training labels, label by what the other half taught, train again."""
    read, truth = Manifest.read(manifest), truth_of(folder / "set")
    rng = generator(0, "hidden")
    training = [row for row, clip in enumerate(read) if clip.fold not in (1, 2)]
    hidden = set(rng.permutation(training)[: len(training) // 2].tolist())
    read.select([row for row in range(len(read)) if row not in hidden]).write(folder / "half.csv")
    files = [str(read[row].path) for row in sorted(hidden)]
    begun = recipe(folder, folder / "half.csv", kind="sed", epochs=epochs, name="half")
    first = begun.stages[0]
    again = first.model_copy(
        update={
            "name": "retrain",
            "epochs": max(1, epochs // 2),
            "optimizer": first.optimizer.model_copy(update={"learning_rate": 5e-4}),
            "warmup_epochs": 0.0,
        }
    )
    plain = {**begun.plain(), "stages": [first.model_dump(mode="json"), again.model_dump(mode="json")]}
    with_labels = {**plain, "run": f"{folder}/with_pseudo"}
    with_labels["stages"] = [plain["stages"][0], {**plain["stages"][1], "pseudo": {"recordings": files}}]
    without = {**plain, "run": f"{folder}/without_pseudo"}
    results: dict[str, Any] = {"recordings hidden": len(files)}
    tables = {}
    both = {"without": without, "with": with_labels}
    own = {name: Recipe.load(_written(folder / f"{name}.yaml", content)) for name, content in both.items()}
    train_all(list(own.values()))
    for name, one in own.items():
        out = folder / f"{name}.windows.csv"
        predict(one.run, recordings_of(read, 1), out=out)
        tables[name] = Predictions.read(out)
    teacher = folder / "with_pseudo" / "pseudo" / "retrain" / "teacher"
    predict(teacher, recordings_of(read, 1), out=folder / "before.windows.csv")
    tables["before"] = Predictions.read(folder / "before.windows.csv")
    for name, table in tables.items():
        targets = window_targets(table, truth)
        results[name] = metrics.roc_auc(targets, table.probabilities.astype(float))
    report = json.loads((folder / "with_pseudo" / "pseudo" / "retrain" / "pseudo.report.json").read_text())
    return {**results, "pseudo-labelled windows that trained": report["windows"]["trained"]}


def _written(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(json.dumps(content))
    return path


def resolutions(folder: Path, manifest: Path, *, rounds: int = 3) -> dict[str, Any]:
    """Compare training steps with a second resolution and without, on the network of `birdclef_sed`."""
    changes = {"model": "{name: sed, backbone: seresnext26t_32x4d, dropout: 0.5}", "framewise_loss": 0.5}
    own = {
        name: Steps(recipe(folder, manifest, kind="sed", epochs=1, name=name, resolutions=more, **changes))
        for name, more in (("one", "[]"), ("two", "[{n_fft: 2048, hop_length: 160}]"))
    }
    rates: dict[str, list[float]] = {name: [] for name in own}
    for _ in range(rounds):
        for name, steps in own.items():
            rates[name].append(steps.clips_per_second(steps=3))
    for steps in own.values():
        steps.close()
    found = {name: median(values) for name, values in rates.items()}
    return {"clips/s": found, "ratio": found["two"] / found["one"], "at least": 0.6}


def run(
    *, data: Path, recordings: int = 600, epochs: int = 20, seeds: int = 3, parts: Sequence[str] = PARTS
) -> dict[str, Any]:
    """Measure what `parts` name and return the figures."""
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        manifest = make_set(folder, data, recordings=recordings)
        if "score" in parts:
            results["score"] = score(folder, manifest, epochs=epochs, seeds=seeds)
            results["events"] = events(folder, manifest, [f"sed_{seed}" for seed in range(seeds)])
        if "stretches" in parts:
            results["stretches"] = stretches(
                folder / "stretches", data, recordings=recordings, epochs=epochs, seeds=seeds
            )
        if "human" in parts:
            results["human"] = human(folder / "human", data)
        if "pseudo" in parts:
            results["pseudo"] = pseudo(folder, manifest, epochs=epochs)
        if "speed" in parts:
            results["resolutions"] = resolutions(folder, manifest)
    return results


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--recordings", type=int, default=600)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--parts", default=",".join(PARTS))
    chosen = parser.parse_args()
    found = run(
        data=chosen.data,
        recordings=chosen.recordings,
        epochs=chosen.epochs,
        seeds=chosen.seeds,
        parts=chosen.parts.split(","),
    )
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
