"""Training clips/s with decoded cache and waveform augmentation, against the bare network.

The bare network takes forward, backward and optimizer steps on inputs that lie ready, in the memory format
that is best for it. kikiwake's number is that of its own trainer: loader, augmentation, front end, network,
loss, optimizer, checks.

OpenSoundscape is the peer, where it imports or where PEER_PYTHON names an interpreter that has it. It trains
on the same clips with the same batch, two workers, its own images and no augmentation at all, which only
helps it; its start is not counted. It always trains under bf16 autocast, which a CPU without bf16 arithmetic
takes many times longer for: that is switched off here, for a comparison in fp32.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

from _peer import ask, peer_interpreter
from _steps import Steps
from kikiwake.datasets import prepare
from kikiwake.models._torchvision import import_timm
from kikiwake.recipe import Recipe

RECIPE = """\
seed: 0
run: {folder}/run_{backbone}
data:
  manifest: {manifest}
  sample_rate: 32000
  crop: {{name: whole, seconds: 5.0}}
  cache_folder: {folder}/cache
  workers: 2
frontend: {{name: mel, n_fft: 1024, hop_length: 320, n_mels: 128, f_max: 16000, padding: none}}
augmentations:
  - {{name: waveform, transform: Gain, p: 0.5}}
  - {{name: waveform, transform: AddGaussianSNR, p: 0.5}}
  - {{name: waveform, transform: Shift, p: 0.5}}
  - {{name: time_mask, max_width: 40}}
  - {{name: frequency_mask, max_width: 16}}
model: {{name: cnn, backbone: {backbone}}}
stages:
  - epochs: 1
    batch_size: 16
    optimizer: {{name: adamw, learning_rate: 1e-3}}
    augmentations: [{{name: mixup, alpha: 0.4}}]
"""

PEER = """\
import functools, json, os, sys, tempfile, time, warnings
warnings.filterwarnings("ignore")
import opensoundscape, pandas, torch
from opensoundscape import CNN
from opensoundscape.ml import cnn_architectures
torch.autocast = functools.partial(torch.autocast, enabled=False)
backbone, steps, manifest = sys.argv[1], int(sys.argv[2]), pandas.read_csv(sys.argv[3])
os.chdir(tempfile.mkdtemp())
labels = pandas.get_dummies(manifest["class"]).astype(int).set_index(manifest["path"].rename("file"))
finished = []
class Timed(CNN):
    def training_step(self, *arguments, **named):
        loss = super().training_step(*arguments, **named)
        finished.append(time.perf_counter())
        return loss
make = getattr(cnn_architectures, backbone, None)
classes = list(labels.columns)
model = Timed(make(len(classes), weights=None) if make else backbone, classes, 5.0, sample_rate=32000)
model.device = "cpu"
first = 5  # more than two workers fetch ahead
loading = {"batch_size": 16, "num_workers": 2, "bypass_augmentations": True}
model.train(labels, steps=first + steps + 1, progress_bar=False, **loading)
rate = 16 * steps / (finished[first + steps] - finished[first])
print(json.dumps({"version": opensoundscape.__version__, "rate": rate}))
"""


def bare(backbone: str, *, steps: int, channels_last: bool, batch_size: int = 16) -> float:
    """Return clips/s of forward, backward and optimizer steps on ready-made inputs 1 x 128 x 500."""
    torch.manual_seed(0)
    network = import_timm().create_model(backbone, in_chans=1, num_classes=10).train()
    inputs = torch.randn(batch_size, 1, 128, 500)
    targets = torch.randint(10, (batch_size,))
    if channels_last:
        network = network.to(memory_format=torch.channels_last)
        inputs = inputs.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)

    def step() -> None:
        loss = torch.nn.functional.cross_entropy(network(inputs), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step()
    started = time.perf_counter()
    for _ in range(steps):
        step()
    return steps * batch_size / (time.perf_counter() - started)


def trainer(backbone: str, *, manifest: Path, folder: Path) -> Steps:
    """Return kikiwake's own steps."""
    path = folder / f"{backbone}.yaml"
    path.write_text(RECIPE.format(folder=folder, manifest=manifest, backbone=backbone))
    return Steps(Recipe.load(path))


def run(*, data: Path, repetitions: int = 3, steps: int = 6) -> dict[str, Any]:
    """Return medians of clips/s for both networks, contenders taking turns."""
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        manifest = folder / "esc10.csv"
        prepare(data / "esc10", manifest, dataset="esc50", workers=2)
        for backbone in ("resnet18", "efficientnet_b0"):
            ours = trainer(backbone, manifest=manifest, folder=folder)
            rounds: dict[str, list[float]] = {"bare": [], "bare channels_last": [], "kikiwake": []}
            python = peer_interpreter()
            peer: list[float] = []
            about: dict[str, Any] = {}
            for _ in range(repetitions):
                if python and "error" not in about:
                    about = ask(python, PEER, backbone, str(steps), str(manifest))
                    peer += [about["rate"]] if "rate" in about else []
                rounds["bare"].append(bare(backbone, steps=steps, channels_last=False))
                rounds["bare channels_last"].append(bare(backbone, steps=steps, channels_last=True))
                rounds["kikiwake"].append(ours.clips_per_second(steps=steps))
            medians = {name: median(values) for name, values in rounds.items()}
            best = max(medians["bare"], medians["bare channels_last"])
            results[backbone] = {**medians, "ratio": medians["kikiwake"] / best, "at least": 0.85}
            if about:
                results[backbone]["peer"] = about
            if peer:
                against = medians["kikiwake"] / median(peer)
                results[backbone] |= {"against peer": against, "at least against peer": 2.5}
            ours.close()
    return results


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    print(json.dumps(run(data=parser.parse_args().data), indent=2))


if __name__ == "__main__":
    main()
