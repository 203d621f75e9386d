"""`predict` from files to a table, against the bare backbone on ready-made inputs and against a peer.

Windows of 5 s at 32 kHz, inputs 1 x 128 x 500 (501 in kikiwake), recordings of 5 minutes joined from ESC-10.
The bare backbone runs in fp32 and channels last on inputs that lie ready, at its best batch size, in one
process with two threads and in two processes with one. Contenders take turns in the same run; medians are
compared.

OpenSoundscape is the peer. It is run where it imports, or where the environment variable PEER_PYTHON names an
interpreter that has it; with two workers and batches of 32, on some of the same files.
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
from typing import Any, NamedTuple

import numpy as np
import soundfile
import torch

from _peer import ask, peer_interpreter
from kikiwake import audio
from kikiwake.classifier import build_classifier
from kikiwake.manifest import Clip, Manifest
from kikiwake.parallel import map_isolated
from kikiwake.prediction import predict
from kikiwake.prediction._folding import fold_batch_norms
from kikiwake.recipe import Recipe
from kikiwake.run import Run, start_run

BACKBONES = ("resnet18", "efficientnet_b0")
BATCHES = (1, 4, 8, 16, 32)
SAMPLE_RATE = 32_000
WINDOW_SECONDS = 5
FILE_SECONDS = 300
FORMATS = {"flac": SAMPLE_RATE, "wav": 44_100, "ogg": 44_100}
AT_LEAST = {"share of bare": 0.85, "exact against peer": 4.0, "fastest against peer": 8.0}

RECIPE = """\
run: {folder}/{backbone}
data: {{sample_rate: 32000, crop: {{name: random, seconds: 5.0}}}}
frontend: {{name: mel, n_fft: 1024, hop_length: 320, n_mels: 128, f_max: 16000}}
model: {{name: {model}, backbone: {backbone}}}
stages:
  - epochs: 1
    batch_size: 16
    loss: {loss}
    optimizer: {{name: adamw, learning_rate: 1e-3}}
engine: {{device: cpu}}
predict: {predict}
"""
MODELS = {
    "cnn": {"model": "cnn", "loss": "cross_entropy", "predict": "{}"},
    "sed": {"model": "sed", "loss": "binary_cross_entropy", "predict": "{framewise: true}"},
}

PEER = """\
import json, sys, time, warnings
warnings.filterwarnings("ignore")
import opensoundscape
from opensoundscape import CNN
from opensoundscape.ml import cnn_architectures
backbone, out, files = sys.argv[1], sys.argv[2], sys.argv[3:]
try:
    make = getattr(cnn_architectures, backbone)
except AttributeError:
    make = None
model = CNN(make(10, weights=None) if make else backbone, [str(k) for k in range(10)], 5.0, sample_rate=32000)
model.device = "cpu"
begun = time.perf_counter()
scores = model.predict(files, batch_size=32, num_workers=2, progress_bar=False)
scores.to_csv(out)
seconds = time.perf_counter() - begun
print(json.dumps({"version": opensoundscape.__version__, "windows": len(scores), "seconds": seconds}))
"""


class Bare(NamedTuple):
    """How the bare backbone is run in one process."""

    backbone: str
    batch: int
    threads: int
    seconds: float
    folded: bool = False


def make_recordings(data: Path, folder: Path, *, files: int) -> dict[str, list[Path]]:
    """Join ESC-10's clips to recordings of 5 minutes, and write them in every format (Ogg in blocks)."""
    clips = sorted((data / "esc10").rglob("*.ogg"))
    if not clips:
        raise SystemExit(f"no ESC-10 clips in {data}: give --data or set KIKIWAKE_DATA")
    made: dict[str, list[Path]] = {name: [] for name in FORMATS}
    for number in range(files):
        chosen = [clips[(number * 60 + k) % len(clips)] for k in range(70)]
        sound = np.concatenate([audio.load(clip, sample_rate=44_100).waveform for clip in chosen], axis=1)
        for name, rate in FORMATS.items():
            path = folder / f"{number}.{name}"
            samples = audio.resample(sound, source_rate=44_100, target_rate=rate)[0][: FILE_SECONDS * rate]
            with soundfile.SoundFile(path, "w", rate, 1) as file:
                for at in range(0, len(samples), 1 << 16):
                    file.write(samples[at : at + (1 << 16)])
            made[name].append(path)
    return made


def make_run(backbone: str, folder: Path, *, recording: Path, model: str = "cnn") -> Run:
    """Make a finished run without training; batch norms take their statistics from real sound."""
    path = folder / f"{backbone}.yaml"
    path.write_text(RECIPE.format(folder=folder, backbone=backbone, **MODELS[model]))
    places = range(FILE_SECONDS // WINDOW_SECONDS)
    clips = [
        Clip(
            recording,
            f"class {place % 10}",
            place % 10,
            None,
            FILE_SECONDS * SAMPLE_RATE,
            SAMPLE_RATE,
            start=float(place * WINDOW_SECONDS),
            end=float((place + 1) * WINDOW_SECONDS),
        )
        for place in places
    ]
    recipe = Recipe.load(path)
    run = start_run(recipe, Manifest(clips, [f"class {k}" for k in range(10)]))
    classifier = build_classifier(recipe, classes=run.manifest.classes)
    sound = torch.from_numpy(audio.load(recording, sample_rate=SAMPLE_RATE).waveform)
    windows = sound.unfold(1, WINDOW_SECONDS * SAMPLE_RATE, WINDOW_SECONDS * SAMPLE_RATE).transpose(0, 1)
    with torch.no_grad():
        for _ in range(2):
            classifier.train()(windows[:24].contiguous())
    run.write_model(classifier.state_dict(), about={})
    return run


def bare_rate(spec: Bare) -> float:
    """Return windows/s of the backbone alone on inputs that lie ready."""
    from kikiwake.models._torchvision import import_timm
    from kikiwake.models.cnn import Cnn

    torch.set_num_threads(spec.threads)
    torch.manual_seed(0)
    inputs = torch.randn(spec.batch, 1, 128, 500)
    if spec.folded:
        whole = Cnn(in_channels=1, num_classes=10, backbone=spec.backbone).eval()
        network: Any = fold_batch_norms(whole, inputs[:1])
    else:
        network = import_timm().create_model(spec.backbone, in_chans=1, num_classes=10).eval()
    network = network.to(memory_format=torch.channels_last)
    inputs = inputs.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        network(inputs)
        done, begun = 0, time.perf_counter()
        while time.perf_counter() - begun < spec.seconds:
            network(inputs)
            done += spec.batch
    return done / (time.perf_counter() - begun)


def bare(backbone: str, *, batch: int, processes: int, seconds: float, folded: bool = False) -> float:
    """Return windows/s of `processes` processes with two threads in all, side by side."""
    spec = Bare(backbone, batch, 2 // processes, seconds, folded)
    method = "fork" if sys.platform == "linux" else None
    rates = map_isolated(bare_rate, [spec] * processes, workers=processes, start_method=method)
    return sum(result.get() for _, result in rates)


def kikiwake_rate(
    run: Run, files: Sequence[Path], *, engine: Any = "torch", precision: Any = "fp32"
) -> float:
    """Return windows/s from files to a table, loading the model included."""
    with tempfile.TemporaryDirectory() as scratch:
        begun = time.perf_counter()
        summary = predict(
            run.folder, files, out=Path(scratch) / "preds.csv", engine=engine, precision=precision, workers=2
        )
        return summary.windows / (time.perf_counter() - begun)


def peer_rate(python: str, backbone: str, files: Sequence[Path], folder: Path) -> dict[str, Any]:
    """Return the peer's windows/s from files to a table, its model already made."""
    found = ask(python, PEER, backbone, str(folder / "peer.csv"), *map(str, files))
    if "error" in found:
        return found
    return {"version": found["version"], "rate": found["windows"] / found["seconds"]}


def compare(
    backbone: str, *, made: dict[str, list[Path]], folder: Path, repetitions: int, seconds: float, peers: int
) -> dict[str, Any]:
    """Measure one backbone, contenders taking turns."""
    run = make_run(backbone, folder, recording=made["flac"][0])
    batches = {
        processes: {b: bare(backbone, batch=b, processes=processes, seconds=seconds) for b in BATCHES}
        for processes in (1, 2)
    }
    best = {processes: max(rates, key=lambda batch: rates[batch]) for processes, rates in batches.items()}
    contenders: dict[str, Callable[[], float]] = {
        "bare, 1 process x 2 threads": lambda: bare(backbone, batch=best[1], processes=1, seconds=seconds),
        "bare, 2 processes x 1 thread": lambda: bare(backbone, batch=best[2], processes=2, seconds=seconds),
        "bare, batch norms folded, 2 x 1": lambda: bare(
            backbone, batch=best[2], processes=2, seconds=seconds, folded=True
        ),
        **{f"kikiwake, {name}": partial(kikiwake_rate, run, files) for name, files in made.items()},
    }
    if importlib.util.find_spec("onnxruntime"):
        kikiwake_rate(run, made["flac"][:1], engine="onnx")  # exports
        kikiwake_rate(run, made["flac"][:1], engine="onnx", precision="int8")  # calibrates
        contenders["kikiwake, flac, onnx"] = lambda: kikiwake_rate(run, made["flac"], engine="onnx")
        contenders["kikiwake, flac, onnx int8"] = lambda: kikiwake_rate(
            run, made["flac"], engine="onnx", precision="int8"
        )
    if torch.backends.cpu.get_cpu_capability() == "AVX512" and _has_bf16():
        contenders["kikiwake, flac, bf16"] = lambda: kikiwake_rate(run, made["flac"], precision="bf16")
    rounds: dict[str, list[float]] = {name: [] for name in contenders}
    peer: list[float] = []
    about: dict[str, Any] = {}
    python = peer_interpreter()
    for _ in range(repetitions):
        for name, contender in contenders.items():
            rounds[name].append(contender())
            print(f"{backbone}, {name}: {rounds[name][-1]:.1f} windows/s", file=sys.stderr, flush=True)
        if python and "error" not in about:
            about = peer_rate(python, backbone, made["flac"][:peers], folder)
            peer += [about["rate"]] if "rate" in about else []
    found = _judged({name: median(rates) for name, rates in rounds.items()}, best, batches, peer, about)
    error = run.folder / "network.int8.onnx.json"
    return {**found, "int8 error": json.loads(error.read_text())["error"]} if error.is_file() else found


def many_files(
    *,
    data: Path,
    files: int = 200,
    repetitions: int = 3,
    seconds: float = 5.0,
    backbone: str = "efficientnet_b0",
    model: str = "cnn",
) -> dict[str, Any]:
    """Return windows/s over a folder of one-minute Ogg recordings at 32 kHz, beside the bare backbone's."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        long = make_recordings(data, folder, files=-(-files * 60 // FILE_SECONDS))["flac"]
        run = make_run(backbone, folder, recording=long[0], model=model)
        minutes = folder / "minutes"
        minutes.mkdir()
        frames = 60 * SAMPLE_RATE
        for number in range(files):
            source, part = divmod(number, FILE_SECONDS // 60)
            samples = audio.load(long[source], sample_rate=SAMPLE_RATE, start=part * frames, frames=frames)
            with soundfile.SoundFile(minutes / f"minute_{number:03}.ogg", "w", SAMPLE_RATE, 1) as file:
                for at in range(0, frames, 1 << 16):
                    file.write(samples.waveform[0, at : at + (1 << 16)])
        batches = {b: bare(backbone, batch=b, processes=2, seconds=seconds) for b in BATCHES}
        best = max(batches, key=lambda batch: batches[batch])
        rounds: dict[str, list[float]] = {"bare, 2 processes x 1 thread": [], "kikiwake": []}
        for _ in range(repetitions):
            rounds["bare, 2 processes x 1 thread"].append(
                bare(backbone, batch=best, processes=2, seconds=4 * seconds)
            )
            rounds["kikiwake"].append(kikiwake_rate(run, [minutes]))
        rates = {name: median(values) for name, values in rounds.items()}
        share = rates["kikiwake"] / rates["bare, 2 processes x 1 thread"]
        return {"files": files, "windows/s": rates, "share of bare": share, "at least": 0.85}


def _judged(
    rates: dict[str, float],
    best: dict[int, int],
    batches: dict[int, Any],
    peer: list[float],
    about: dict[str, Any],
) -> dict[str, Any]:
    exact = rates["kikiwake, flac"]
    fastest = max((name for name in rates if name.startswith("kikiwake, flac")), key=lambda name: rates[name])
    share = {name: exact / rates[name] for name in rates if name.startswith("bare")}
    found = {"windows/s": rates, "best batch": best, "bare by batch": batches, "share of bare": share}
    found["fastest engine"] = fastest
    if peer:
        against = {"exact": exact / median(peer), "fastest": rates[fastest] / median(peer)}
        found |= {"peer": {**about, "rate": median(peer)}, "against peer": against}
    elif about:
        found["peer"] = about
    return {**found, "at least": AT_LEAST}


def _has_bf16() -> bool:
    info = Path("/proc/cpuinfo")
    return info.is_file() and "avx512_bf16" in info.read_text()


def run(
    *, data: Path, repetitions: int = 3, files: int = 8, seconds: float = 5.0, peers: int = 2
) -> dict[str, Any]:
    """Return windows/s of both backbones, and what kikiwake reaches of the bare one's and of the peer's.

    `files`: recordings of 5 minutes; the peer gets the first `peers`. `seconds`: for each bare measurement.
    """
    # The bare backbone is forked from here, and would wait for OpenMP's threads if there were any.
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        made = make_recordings(data, folder, files=files)
        return {
            backbone: compare(
                backbone, made=made, folder=folder, repetitions=repetitions, seconds=seconds, peers=peers
            )
            for backbone in BACKBONES
        }


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("KIKIWAKE_DATA", "../shared/data")))
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--peers", type=int, default=2)
    parser.add_argument(
        "--many-files", action="store_true", help="a folder of 200 one-minute recordings instead"
    )
    parser.add_argument("--model", choices=sorted(MODELS), default="cnn", help="with --many-files")
    arguments = vars(parser.parse_args())
    model = arguments.pop("model")
    if arguments.pop("many_files"):
        print(json.dumps(many_files(data=arguments["data"], model=model), indent=2))
        return
    results = run(**arguments)
    for backbone, found in results.items():
        print(f"\n{backbone} (best batches: {found['best batch']})")
        for name, rate in found["windows/s"].items():
            share = found["share of bare"].get(name)
            print(
                f"  {name:34} {rate:7.1f} windows/s" + (f"   kikiwake reaches {share:.0%}" if share else "")
            )
        if "int8 error" in found:
            print(f"  int8: logits differ by up to {found['int8 error']:.1e} of the largest")
        if "peer" in found:
            print(f"  peer: {found['peer']}  ratios: {found.get('against peer')}")
    print(f"\nat least: {AT_LEAST}")


if __name__ == "__main__":
    main()
