"""The recipe signate_genre, from folders of pieces to class numbers, on real instruments as genres."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

import part_files
from kikiwake import components
from kikiwake.audio import load
from kikiwake.classifier import build_classifier
from kikiwake.cli import app
from kikiwake.predictions import Predictions
from kikiwake.randomness import generator
from kikiwake.recipe import Recipe
from kikiwake.run import Run, open_run
from kikiwake.submission import submit

RATE = 22_050
PIECE_SECONDS, SHORT_SECONDS = 30, 3
GENRES = ("jazz", "metal", "pop")
NUMBERS = {"metal": 2, "pop": 5, "jazz": 9}
"""Class numbers, in the order of the model's classes; as places they would be 0, 1 and 2."""

BANDS = "data.separator={name: bands}"
SMALL = (
    "data.workers=0",
    "split.validation=0.3",
    "frontend.size=[64,64]",
    "model.backbone=test_efficientnet",
    "model.pretrained=false",
    "model.hidden=16",
    "stages.train.freeze=2",
    "stages.train.epochs=1",
    "stages.train.batch_size=4",
    "engine.threads=1",
)


def kikiwake(*arguments: object) -> str:
    """What a command says; it must succeed."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks as small as these gain nothing by threads, and lose where cores are busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def pieces(data_folder: Path) -> dict[str, list[np.ndarray]]:
    """Of each genre a piece of 30 s for training, one for testing, and four short ones.

    A genre is an instrument, a piece is clips of it one behind the other.
    """
    with (data_folder / "instruments10" / "instruments10.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    instruments = sorted({row["category"] for row in rows})[: len(GENRES)]
    found = {}
    for genre, instrument in zip(GENRES, instruments, strict=True):
        own = cycle([row["filename"] for row in rows if row["category"] == instrument])
        paths = (data_folder / "instruments10" / "audio" / name for name in own)
        sounds = (load(path, sample_rate=RATE, channels=1).waveform[0] for path in paths)
        long = (PIECE_SECONDS, PIECE_SECONDS, *[SHORT_SECONDS] * 4)
        found[genre] = [joined(sounds, samples=seconds * RATE) for seconds in long]
    return found


def joined(sounds: Iterator[np.ndarray], *, samples: int) -> np.ndarray:
    """The next sounds one behind the other, until there are enough samples."""
    parts = [np.empty(0, np.float32)]
    while sum(map(len, parts)) < samples:
        parts.append(next(sounds))
    return np.concatenate(parts)[:samples]


def write_table(path: Path, rows: list[tuple[object, object]]) -> None:
    path.write_text("".join(f"{one}\t{other}\n" for one, other in rows))


@pytest.fixture(scope="module")
def signate(pieces: dict[str, list[np.ndarray]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables as SIGNATE has them, genres numbered in an order that is neither theirs nor the alphabet's."""
    root = tmp_path_factory.mktemp("signate")
    for folder in ("train_sound_1", "test_sound_1"):
        (root / folder).mkdir()
    master: list[tuple[object, object]] = [("file_name", "label_id")]
    sample: list[tuple[object, object]] = []
    for genre in GENRES:
        for number, samples in enumerate(pieces[genre]):
            part = "test" if number == 1 else "train"
            rows = sample if part == "test" else master
            name = f"{part}_{len(rows)}.au"
            soundfile.write(root / f"{part}_sound_1" / name, samples, RATE)
            rows.append((name, 0 if part == "test" else NUMBERS[genre]))
    write_table(root / "train_master.tsv", master)
    labels = [("label_name", "label_id"), ("blues", 0), *((genre, NUMBERS[genre]) for genre in GENRES)]
    write_table(root / "label_master.tsv", labels)
    write_table(root / "sample_submit.tsv", sample[::-1])
    return root


@pytest.fixture(scope="module")
def gtzan(pieces: dict[str, list[np.ndarray]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same pieces as GTZAN has them."""
    root = tmp_path_factory.mktemp("gtzan")
    for genre in GENRES:
        (root / "genres" / genre).mkdir(parents=True)
        for number, samples in enumerate(pieces[genre][:1] + pieces[genre][2:]):
            soundfile.write(root / "genres" / genre / f"{genre}.{number:05}.au", samples, RATE)
    return root


def classes_of(table: Path, *, numbers: dict[str, int]) -> dict[str, int]:
    """The number of each recording's likeliest class, by the recording's name."""
    read = Predictions.read(table)
    return {
        Path(path).name: numbers[read.classes[int(row.argmax())]]
        for path, row in zip(read.paths, read.probabilities, strict=True)
    }


def submitted(path: Path) -> dict[str, int]:
    return {
        name: int(number) for name, number in (line.split("\t") for line in path.read_text().splitlines())
    }


def check_kept_lengths(run: Run) -> None:
    """Pieces of both lengths are heard whole, in four channels."""
    assert run.recipe.data.waveform_channels == 4
    lengths = {round(clip.duration_seconds) for clip in run.manifest}
    assert lengths == {PIECE_SECONDS, SHORT_SECONDS}


def test_signates_pieces_go_from_demucs_to_the_label_masters_numbers(signate: Path, tmp_path: Path) -> None:
    part_files.save_demucs(tmp_path / "models", part_files.tiniest_demucs())
    demucs = f"data.separator={{name: demucs, model: tiny, folder: {tmp_path}/models, device: cpu}}"
    settings = (demucs, f"data.cache_folder={tmp_path}/cache")
    assert "labels without a recording, left out: blues" in kikiwake(
        "prepare", signate, signate / "clips.csv"
    )
    separate = ("separate", signate / "clips.csv", "--recipe", "signate_genre", "--workers", 0, *settings)
    assert "18 recordings separated into drums, bass, other, vocals; 0 were there" in kikiwake(*separate)
    assert "0 recordings separated into drums, bass, other, vocals; 18 were there" in kikiwake(*separate)

    run = tmp_path / "run"
    kikiwake("train", "signate_genre", f"data.manifest={signate}/clips.csv", f"run={run}", *settings, *SMALL)
    log = (run / "log.txt").read_text()
    assert "clips: 12 to train, 3 to validate, 3 held out to test" in log
    assert "separat" not in log
    check_kept_lengths(open_run(run))

    table, out = tmp_path / "preds.csv", tmp_path / "submit.tsv"
    kikiwake("predict", run, signate / "test_sound_1", "--out", table, "--workers", 0)
    said = kikiwake("submit", table, signate / "sample_submit.tsv", out)
    assert "those of label_master.tsv beside the sample: 3: 2 metal, 5 pop, 9 jazz" in said
    assert submitted(out) == classes_of(table, numbers=NUMBERS)
    assert list(submitted(out)) == list(submitted(signate / "sample_submit.tsv"))
    read = Predictions.read(table)
    seen = set()
    for turn in range(3):  # a network of one epoch may know but one class
        turned = Predictions(
            read.paths, read.starts, read.ends, np.roll(read.probabilities, turn, 1), read.classes
        )
        turned.write(table)
        submit(turned, signate / "sample_submit.tsv", out)
        assert submitted(out) == classes_of(table, numbers=NUMBERS)
        seen.update(submitted(out).values())
    assert seen == {2, 5, 9}


def test_gtzans_pieces_go_from_their_folders_to_a_submission(gtzan: Path, tmp_path: Path) -> None:
    settings = (BANDS, f"data.cache_folder={tmp_path}/cache", f"run={tmp_path}/run", *SMALL)
    assert "read as the data set 'gtzan'" in kikiwake("prepare", gtzan, gtzan / "clips.csv")
    kikiwake("train", "signate_genre", f"data.manifest={gtzan}/clips.csv", "split.test=1", *settings)
    run = open_run(tmp_path / "run")
    assert run.manifest.classes == list(GENRES)
    check_kept_lengths(run)
    assert "test" in kikiwake("evaluate", run.folder, "--replicates", 0)

    held_out = [run.manifest[row].path for row in run.indices("test")]
    write_table(tmp_path / "sample.tsv", [(path.name, 0) for path in held_out])
    table, out = tmp_path / "preds.csv", tmp_path / "submit.tsv"
    kikiwake("predict", run.folder, *held_out, "--out", table, "--workers", 0)
    assert "the places of the model's classes" in kikiwake("submit", table, tmp_path / "sample.tsv", out)
    assert submitted(out) == classes_of(table, numbers={genre: at for at, genre in enumerate(GENRES)})


AUGMENTATIONS = Recipe.load("signate_genre").augmentations


@pytest.mark.parametrize(
    "node", AUGMENTATIONS, ids=[node.get("transform", node["name"]) for node in AUGMENTATIONS]
)
def test_every_augmentation_shares_one_draw_over_all_stems(node: dict[str, Any]) -> None:
    """Where each stem is the same sound, it is after every draw; a noise of its own has each at one level."""
    recipe = Recipe.load("signate_genre", BANDS, "frontend.size=[150,150]", "model.pretrained=false")
    time = np.arange(RATE) / RATE
    sound = 0.3 * np.sin(2 * np.pi * 440 * time) + np.random.default_rng(0).normal(0, 0.02, RATE)
    waveform = np.stack([sound.astype(np.float32)] * 4)
    front_end = build_classifier(recipe, classes=["a", "b"]).frontend
    part = components.build(
        "augmentations", node, where="augmentations", sample_rate=RATE, mel_bands=front_end.mel_bands
    )
    changed = 0
    for draw in range(12):
        if part.level == "waveform":
            given = waveform
            found = part(waveform, sample_rate=RATE, rng=generator(draw))
        else:
            given = front_end(torch.from_numpy(waveform)[None])[0].numpy()
            found = part(torch.from_numpy(given)[None], rng=generator(draw))[0].numpy()
        if np.array_equal(found, given):
            continue
        changed += 1
        if node.get("transform") == "AddGaussianNoise":
            levels = (found - given).std(axis=1)
            np.testing.assert_allclose(levels, levels[0], rtol=0.05)
            assert levels[0] > 0
        else:
            same = np.broadcast_to(found[0], found.shape)
            np.testing.assert_allclose(found, same, rtol=0, atol=1e-4)  # sums in another order
    assert 1 <= changed < 12  # by a chance of one half


def test_what_torchvision_calls_features_up_to_six_is_frozen() -> None:
    recipe = Recipe.load("signate_genre", "model.pretrained=false", BANDS)
    recipe = Recipe.load(recipe, "frontend.size=[64,64]")
    network = build_classifier(recipe, classes=[f"genre {number}" for number in range(10)]).network
    network.freeze(recipe.stages[0].freeze)
    counts = {True: 0, False: 0}
    for parameter in network.parameters():
        counts[parameter.requires_grad] += parameter.numel()
    # torchvision: stem 1,160, then 3,504 + 48,118 + 110,912 + 638,700 + 1,387,760; the fourth input channel
    # adds 40 filters of 3 x 3.
    assert counts[False] == 1_160 + 360 + 3_504 + 48_118 + 110_912 + 638_700 + 1_387_760
    # Left are two stages, the last convolution, and the head: 1536 -> 512 -> 10 with biases.
    assert counts[True] == 4_628_964 + 3_284_218 + 592_896 + (1536 * 512 + 512) + (512 * 10 + 10)
