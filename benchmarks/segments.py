"""Segment mixing: what it is worth, and what it costs.

`score`: a BirdCLEF-shaped tree is made of ESC-10 (folds 1 to 4): recordings of 30 to 60 s of noise in which a
clip is heard somewhere, in a third of them a second one of another class. Soundscapes of a minute with fold
5's clips are judged in windows of 5 s. Segment mixing is trained against random crops of 5 s, with and
without mixup: the same small network sees the same number of pictures of 5 s. Intervals are clustered by
soundscape; three seeds.

`step`: mixing, cutting, network, joining, loss and gradients of crops of six parts, against forward and
backward of the bare network on as many ready pictures of 5 s.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import soundfile
import torch

from kikiwake import audio
from kikiwake.augmentations.mixup import Mixup
from kikiwake.comparison import compare
from kikiwake.datasets import prepare
from kikiwake.evaluation import evaluate
from kikiwake.losses import loss_function
from kikiwake.manifest import Clip, Manifest
from kikiwake.models.cnn import Cnn
from kikiwake.randomness import generator
from kikiwake.training import train

SAMPLE_RATE = 22_050
WINDOW_SECONDS, PARTS = 5.0, 6
SOUNDSCAPES, SOUNDSCAPE_SECONDS = 40, 60
HEARD_SECONDS = 1.0
"""Of a clip, as much in a window makes it one of the window's classes."""

RECIPE = """\
run: {run}
seed: {seed}
data:
  manifest: {manifest}
  sample_rate: 22050
  crop: {{name: random, seconds: {seconds}}}
  pad: repeat
  secondary_target: 1.0
  cache_folder: {cache}
split: {{test: split}}
frontend: {{name: mel, n_fft: 1024, hop_length: 512, n_mels: 64, f_min: 20, top_db: 80,
            normalise: {{name: offset_scale, offset: 80, scale: 80}}}}
augmentations:
  - {{name: frequency_mask, max_width: 8}}
  - {{name: time_mask, max_width: {mask}}}
model: {{name: cnn, backbone: {backbone}, pooling: gem, segments: {segments}, dropout: 0.2}}
stages:
  - epochs: {epochs}
    batch_size: {batch}
    loss: binary_cross_entropy
    optimizer: {{name: adamw, learning_rate: 2e-3, weight_decay: 0.02}}
    schedule: {{name: cosine}}
    warmup_epochs: {warmup}
    augmentations: {mixing}
engine: {{device: cpu, threads: {threads}}}
predict: {{window_seconds: 5.0, batch_size: 32}}
"""


def make_tree(root: Path, data: Path) -> Path:
    """Write recordings, their table and soundscapes, and return the manifest of both."""
    with (data / "esc10" / "esc10.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    files = {path.name: path for path in (data / "esc10").rglob("*.ogg")}
    sounds = {
        row["filename"]: audio.load(
            files[row["filename"]], sample_rate=SAMPLE_RATE, frames=round(WINDOW_SECONDS * SAMPLE_RATE)
        ).waveform[0]
        for row in rows
    }
    train_rows = [row for row in rows if row["fold"] != "5"]
    lines = ["primary_label,secondary_labels,author,rating,filename"]
    for number, row in enumerate(train_rows):
        rng = generator(0, "recording", number)
        chosen = [row]
        if rng.random() < 1 / 3:
            others = [other for other in train_rows if other["category"] != row["category"]]
            chosen.append(others[rng.integers(len(others))])
        samples, _ = _mixed(chosen, sounds, seconds=rng.uniform(30, 60), rng=rng)
        name = f"{row['category']}/{Path(row['filename']).stem}.ogg"
        path = root / "train_audio" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, samples)
        secondary = [other["category"] for other in chosen[1:]]
        rating = float(rng.integers(2, 11)) / 2
        lines.append(f'{row["category"]},"{secondary}",{row["src_file"]},{rating},{name}')
    (root / "train_metadata.csv").write_text("\n".join(lines) + "\n")
    prepare(root, root / "train.csv", dataset="birdclef", folds=None)
    trained = Manifest.read(root / "train.csv")
    judged = _soundscapes(root, [row for row in rows if row["fold"] == "5"], sounds, trained.classes)
    Manifest([*trained, *judged], trained.classes).write(root / "clips.csv")
    return root / "clips.csv"


def _soundscapes(
    root: Path, rows: list[dict[str, str]], sounds: dict[str, np.ndarray], classes: list[str]
) -> list[Clip]:
    clips = []
    for number in range(SOUNDSCAPES):
        rng = generator(0, "soundscape", number)
        chosen = [rows[at] for at in rng.choice(len(rows), size=rng.integers(3, 6), replace=False)]
        samples, events = _mixed(chosen, sounds, seconds=SOUNDSCAPE_SECONDS, rng=rng)
        path = root / "soundscapes" / f"soundscape_{number:02}.ogg"
        path.parent.mkdir(exist_ok=True)
        _write(path, samples)
        for window in range(int(SOUNDSCAPE_SECONDS / WINDOW_SECONDS)):
            start, end = window * WINDOW_SECONDS, (window + 1) * WINDOW_SECONDS
            overlaps = {label: min(end, stop) - max(start, begun) for begun, stop, label in events}
            heard = [label for label, overlap in overlaps.items() if overlap >= HEARD_SECONDS]
            label = heard[0] if heard else None
            clips.append(
                Clip(
                    path,
                    label,
                    None if label is None else classes.index(label),
                    None,
                    len(samples),
                    SAMPLE_RATE,
                    start=start,
                    end=end,
                    secondary=tuple(heard[1:]),
                    group=path.stem,
                    split="test",
                )
            )
    return clips


def _mixed(
    rows: list[dict[str, str]], sounds: dict[str, np.ndarray], *, seconds: float, rng: np.random.Generator
) -> tuple[np.ndarray, list[tuple[float, float, str]]]:
    """Lay clips over noise, -5 to 15 dB above it; return samples, and start, end and class of each clip."""
    samples = rng.normal(0, 0.02, round(seconds * SAMPLE_RATE)).astype(np.float32)
    events = []
    for row in rows:
        sound = sounds[row["filename"]]
        start = int(rng.integers(0, len(samples) - len(sound)))
        gain = 0.02 * 10 ** (rng.uniform(-5, 15) / 20) / max(1e-4, float(np.sqrt(np.mean(sound**2))))
        samples[start : start + len(sound)] += gain * sound
        events.append((start / SAMPLE_RATE, (start + len(sound)) / SAMPLE_RATE, row["category"]))
    return samples / max(1.0, float(np.abs(samples).max())), events


def _write(path: Path, samples: np.ndarray) -> None:
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1) as file:
        for at in range(0, len(samples), 1 << 16):  # libvorbis overflows its stack on long blocks
            file.write(samples[at : at + (1 << 16)])


def ways(epochs: int) -> dict[str, dict[str, Any]]:
    """Return the settings of each contender: as many pictures of 5 s a step, and as many in all."""
    mixup = "[{name: mixup, alpha: 1.0}]"
    segments = {"seconds": 30.0, "segments": PARTS, "batch": 8, "epochs": epochs, "mask": 96, "mixing": mixup}
    crops = {
        "seconds": WINDOW_SECONDS,
        "segments": 1,
        "batch": 8 * PARTS,
        "epochs": PARTS * epochs,
        "mask": 16,
        "mixing": "[]",
    }
    return {"segments": segments, "crops": crops, "crops, mixup": {**crops, "mixing": mixup}}


def score(*, data: Path, epochs: int, seeds: int, backbone: str, threads: int, keep: Path) -> dict[str, Any]:
    """Train every way with every seed, and return scores with intervals and paired differences."""
    manifest = keep / "clips.csv"
    if not manifest.is_file():
        keep.mkdir(parents=True, exist_ok=True)
        make_tree(keep, data)
    found: dict[str, Any] = {}
    for seed in range(seeds):
        folders = []
        for name, settings in ways(epochs).items():
            folder = keep / f"seed{seed}" / name.replace(", ", "_")
            text = RECIPE.format(
                run=folder,
                seed=seed,
                manifest=manifest,
                cache=keep / "cache",
                backbone=backbone,
                threads=threads,
                warmup=settings["epochs"] / 10,
                **settings,
            )
            recipe = keep / f"seed{seed}_{name.replace(', ', '_')}.yaml"
            recipe.write_text(text)
            begun = time.perf_counter()
            judged = evaluate(train(recipe), replicates=1000)
            found.setdefault(name, []).append(
                {
                    "seconds": time.perf_counter() - begun,
                    **{
                        key: judged.scores[key]._asdict()
                        for key in ("macro_roc_auc", "padded_cmap", "macro_average_precision")
                    },
                }
            )
            folders.append(folder)
        found.setdefault("differences", []).append(str(compare(folders, replicates=1000)))
    for name in ways(epochs):
        for key in ("macro_roc_auc", "padded_cmap"):
            found[f"{name}: mean {key}"] = mean(one[key]["value"] for one in found[name])
    return found


def step(*, backbones: tuple[str, ...] = ("resnet18", "efficientnet_b0"), rounds: int = 5) -> dict[str, Any]:
    """Return pictures of 5 s a second in training, with and without segments (medians, in turns)."""
    found: dict[str, Any] = {}
    clips, classes = 2, 10
    targets, weights = torch.zeros(clips, classes), torch.ones(clips)
    loss = loss_function("binary_cross_entropy")
    mixup = Mixup(alpha=1.0)
    torch.manual_seed(0)
    crops = torch.randn(clips, 1, 128, 3001)
    pictures = torch.randn(clips * PARTS, 1, 128, 500).to(memory_format=torch.channels_last)
    for backbone in backbones:
        arguments = {"in_channels": 1, "num_classes": classes, "backbone": backbone}
        segmented = Cnn(**arguments, pooling="gem", segments=PARTS).train()  # type: ignore[arg-type]
        bare = Cnn(**arguments).train()  # type: ignore[arg-type]
        for network in (segmented, bare):
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

        def with_segments(network: Cnn = segmented) -> None:
            mixed, soft, weighed = mixup(crops, targets=targets, weights=weights, rng=generator(0))
            loss(network(mixed).clipwise, soft, weighed).backward()

        def without(network: Cnn = bare) -> None:
            network(pictures).clipwise.mean().backward()

        contenders: dict[str, Callable[[], None]] = {"segments": with_segments, "bare": without}
        times: dict[str, list[float]] = {name: [] for name in contenders}
        for number in range(rounds + 1):
            for name, contender in contenders.items():
                begun = time.perf_counter()
                contender()
                if number:
                    times[name].append(time.perf_counter() - begun)
        rates = {name: len(pictures) / median(taken) for name, taken in times.items()}
        found[backbone] = {**rates, "ratio": rates["segments"] / rates["bare"], "at least": 0.95}
    return found


def run(*, data: Path) -> dict[str, Any]:
    """Return what both parts found."""
    with tempfile.TemporaryDirectory() as scratch:
        scores = score(
            data=data, epochs=25, seeds=3, backbone="test_resnet", threads=2, keep=Path(scratch) / "tree"
        )
    return {"step": step(), "score": scores}


def main() -> None:
    """Print what one part or both found, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("part", nargs="?", choices=["score", "step"], help="by default both")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("KIKIWAKE_DATA", "../shared/data")))
    parser.add_argument(
        "--epochs", type=int, default=25, help="of segment mixing; crops have six times these"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--backbone", default="test_resnet")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--keep", type=Path, default=Path("runs/segments"), help="folder of tree and runs")
    arguments = parser.parse_args()
    found: dict[str, Any] = {}
    if arguments.part != "score":
        found["step"] = step()
    if arguments.part != "step":
        found["score"] = score(
            data=arguments.data,
            epochs=arguments.epochs,
            seeds=arguments.seeds,
            backbone=arguments.backbone,
            threads=arguments.threads,
            keep=arguments.keep,
        )
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
