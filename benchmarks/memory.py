"""Peak memory of `predict` on a long recording against a short one, and of `crossval` against a fold.

The command runs as users run it; the memory of its whole tree of processes is looked at every 20 ms. Pages
that several processes share are counted once (PSS) and, in a second column, in every process (RSS).
Processes are looked at one after the other: a look during which one of them ends would count twice what they
shared, and is left out.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import soundfile

MINUTES = (10, 180)
SAMPLE_RATE = 32_000
AT_MOST = 1.10

RECIPE = """\
run: {folder}/run
data: {{sample_rate: 32000, crop: {{name: random, seconds: 5.0}}}}
frontend: {{name: mel, n_fft: 1024, hop_length: 320, n_mels: 64, f_max: 16000, padding: none}}
model: {{name: fcn, widths: [8, 8, 8, 8, 8]}}
stages: [{{epochs: 1, batch_size: 16, optimizer: {{name: adamw, learning_rate: 1e-3}}}}]
engine: {{device: cpu}}
"""


def write_recording(path: Path, *, minutes: float) -> None:
    """Write noise that grows and fades, a second at a time."""
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1) as file:
        for second in range(round(minutes * 60)):
            file.write(rng.normal(0, 0.05 + 0.04 * np.sin(second / 7), SAMPLE_RATE).astype(np.float32))


def make_run(folder: Path) -> Path:
    """Make a finished run without training; its network is small, so that the sound weighs more."""
    import torch

    from kikiwake.classifier import build_classifier
    from kikiwake.manifest import Clip, Manifest
    from kikiwake.recipe import Recipe
    from kikiwake.run import start_run

    torch.set_num_threads(1)
    (folder / "recipe.yaml").write_text(RECIPE.format(folder=folder))
    recipe = Recipe.load(folder / "recipe.yaml")
    clips = [Clip(folder / f"{name}.wav", name, k, None, 1, 1) for k, name in enumerate("ab")]
    run = start_run(recipe, Manifest(clips, ["a", "b"]))
    run.write_model(build_classifier(recipe, classes=["a", "b"]).state_dict(), about={})
    return run.folder


def peak_of(command: list[str]) -> dict[str, float]:
    """Run a command and return its peak memory in MiB, and seconds."""
    begun = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    parent = psutil.Process(child.pid)
    pss = rss = 0.0
    while child.poll() is None:
        if total := _look(parent):
            pss, rss = max(pss, total[0] / 2**20), max(rss, total[1] / 2**20)
        time.sleep(0.02)
    if child.returncode:
        assert child.stderr is not None
        raise SystemExit(f"{' '.join(command)} ended with status {child.returncode}: {child.stderr.read()!r}")
    return {"pss_mib": pss, "rss_mib": rss, "seconds": time.perf_counter() - begun}


def _look(parent: psutil.Process) -> tuple[int, int] | None:
    """Return PSS and RSS of a process and its children in bytes, or None where one of them began or ended."""
    total_pss = total_rss = 0
    try:
        before = _alive(parent)
        for process in before:
            used = process.memory_full_info()
            if not used.rss:  # on its way out
                return None
            total_pss += getattr(used, "pss", used.rss)
            total_rss += used.rss
        return (total_pss, total_rss) if _alive(parent) == before else None
    except psutil.Error:
        return None


def _alive(parent: psutil.Process) -> list[psutil.Process]:
    children = parent.children(recursive=True)
    return [parent, *(child for child in children if child.status() != psutil.STATUS_ZOMBIE)]


def folds() -> dict[str, Any]:
    """Return the peaks of training and scoring one fold and all five, and what all take more."""
    told = [sys.executable, "-m", "kikiwake"]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        sounds = ["synthesise", str(folder / "sounds"), "--clips-per-class", "40", "--long-seconds", "10"]
        subprocess.run([*told, *sounds], check=True, capture_output=True)
        clips = [str(folder / "sounds" / "clips"), str(folder / "clips.csv"), "--dataset", "table"]
        subprocess.run([*told, "prepare", *clips], check=True, capture_output=True)
        settings = [
            f"data.manifest={folder}/clips.csv",
            f"data.cache_folder={folder}/cache",
            "stages.train.epochs=3",
        ]
        peaks = {
            "train one": peak_of([*told, "train", "demo", *settings, f"run={folder}/one"]),
            "evaluate one": peak_of([*told, "evaluate", f"{folder}/one"]),
            "crossval": peak_of([*told, "crossval", "demo", *settings, f"run={folder}/all"]),
        }
    one = max(peaks[name]["pss_mib"] for name in ("train one", "evaluate one"))
    return {**peaks, "ratio": peaks["crossval"]["pss_mib"] / one, "at most": 1.05}


def run(*, minutes: tuple[float, ...] = MINUTES) -> dict[str, Any]:
    """Return the peaks of all lengths and formats, and the last length's relative to the first's."""
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = make_run(folder)
        for suffix in ("flac", "mp3"):
            peaks = {}
            for length in minutes:
                recording = folder / f"{length:g}.{suffix}"
                write_recording(recording, minutes=length)
                out = folder / f"{length:g}.{suffix}.csv"
                options = ["--out", str(out), "--workers", "2"]
                told = [sys.executable, "-m", "kikiwake", "predict", str(model), str(recording), *options]
                peaks[f"{length:g} min"] = peak_of(told)
                recording.unlink()
            first, *_, last = peaks.values()
            ratios = {kind: last[kind] / first[kind] for kind in ("pss_mib", "rss_mib")}
            results[suffix] = {**peaks, "ratio": ratios, "at most": AT_MOST}
    results["folds"] = folds()
    return results


def main() -> None:
    """Print a table."""
    for suffix, found in run().items():
        for name, peak in found.items():
            if name not in ("ratio", "at most"):
                rounded = {key: round(value, 1) for key, value in peak.items()}
                print(f"{suffix} {name:12} {json.dumps(rounded)}")
        print(f"{suffix} ratio    {found['ratio']} (at most {found['at most']})")


if __name__ == "__main__":
    main()
