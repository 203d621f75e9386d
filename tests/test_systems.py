"""Shipped recipes do their whole work, on real recordings in the shape of the data that they are for."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

import part_files
from kikiwake import provenance
from kikiwake.comparison import compare
from kikiwake.crossvalidation import crossvalidate
from kikiwake.data import ClipDataset
from kikiwake.datasets import prepare
from kikiwake.evaluation import evaluate
from kikiwake.exporting import export
from kikiwake.manifest import Manifest
from kikiwake.prediction import load, predict
from kikiwake.predictions import Predictions
from kikiwake.ranking import rank, score, write_ranked
from kikiwake.recipe import Recipe
from kikiwake.run import open_run
from kikiwake.submission import submit
from kikiwake.training import train

SONG_DIGITS = 6
SED_STAGES = ["pretrain_ce", "train_bce", "finetune", "retrain"]


def joined(paths: list[Path]) -> tuple[np.ndarray, int]:
    parts = [soundfile.read(path, dtype="float32") for path in paths]
    return np.concatenate([samples for samples, _ in parts]), parts[0][1]


@pytest.fixture(scope="module")
def artist20(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four speakers as artists, five takes of the digits as albums, songs of six digits each."""
    root = tmp_path_factory.mktemp("artist20")
    with (data_folder / "fsdd" / "fsdd.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    speakers = sorted({row["speaker"] for row in rows})[:4]
    lists: dict[str, list[str]] = {"train.json": [], "val.json": []}
    answers = []
    for speaker in speakers:
        for take in range(5):
            own = [r for r in rows if r["speaker"] == speaker and int(r["index"]) == take]
            paths = [data_folder / "fsdd" / "audio" / row["filename"] for row in own]
            for song in range(len(paths) // SONG_DIGITS + 1):
                chosen = paths[song * 4 : song * 4 + SONG_DIGITS]
                name = f"./train_val/{speaker}/album{take}/{song:02}.mp3"
                if take == 4:
                    answers.append(speaker)
                    name = f"./test/{len(answers):03}.mp3"
                else:
                    lists["val.json" if take == 3 else "train.json"].append(name)
                path = root / name
                path.parent.mkdir(parents=True, exist_ok=True)
                samples, rate = joined(chosen)
                soundfile.write(path, samples, rate, format="MP3")
    for name, songs in lists.items():
        (root / name).write_text(json.dumps(songs))
    (root / "answers.json").write_text(json.dumps(answers))
    prepare(root, root / "clips.csv", dataset="artist20", workers=2)
    return root


@pytest.fixture(scope="module")
def classical_runs(artist20: Path) -> list[Path]:
    """The three classical recipes, on short songs in which every speaker says the same words."""
    runs = []
    for name, grid in (
        ("artist20_knn", "fit.grid={n_neighbors: [3, 5], weights: [uniform, distance]}"),
        ("artist20_random_forest", "fit.grid={n_estimators: [50], max_depth: [null, 10]}"),
        ("artist20_svm", "fit.grid={C: [1, 10], kernel: [linear, rbf]}"),
    ):
        overrides = [f"data.manifest={artist20}/clips.csv", f"run={artist20}/{name}", "fit.folds=3", grid]
        runs.append(train(name, *overrides, f"data.cache_folder={artist20}/cache").folder)
    return runs


def test_classical_models_tell_artists_apart_and_are_compared(classical_runs, artist20):
    for folder in classical_runs:
        found = evaluate(folder, replicates=0)
        assert found.part == "validation"  # the test songs have no answers in the manifest
        assert found.scores["accuracy"].value > 0.6
        assert (folder / "evaluation" / "confusion.png").is_file()
        assert open_run(folder).fitted_file.is_file()
    compared = compare(classical_runs, replicates=50)
    assert compared.best in {folder.name for folder in classical_runs}
    assert f"best by accuracy: {compared.best}" in str(compared)


def test_test_songs_are_named_and_scored(classical_runs, artist20, tmp_path):
    predict(classical_runs[2], artist20 / "test", out=tmp_path / "preds.csv", workers=1)
    ranked = rank(Predictions.read(tmp_path / "preds.csv"), top=3, by="mean")
    assert list(ranked)[:2] == ["001", "002"]
    assert all(len(set(names)) == 3 for names in ranked.values())
    write_ranked(ranked, tmp_path / "pred.json")
    assert "top-1" in str(score(artist20 / "answers.json", tmp_path / "pred.json")).lower()


def test_the_fully_convolutional_recipe_trains_and_keeps_its_best_epoch(artist20, tmp_path):
    run = train(
        "artist20_fcn",
        f"data.manifest={artist20}/clips.csv",
        f"run={tmp_path}/run",
        "data.crop.seconds=1.5",
        "data.workers=0",
        "model.widths=[8, 8, 8, 8, 8]",
        "stages.train.epochs=3",
        "stages.train.batch_size=16",
        f"data.cache_folder={artist20}/cache",
    )
    with run.metrics_file.open(newline="") as file:
        rows = list(csv.DictReader(file))
    scores = [float(row["validation_accuracy"]) for row in rows]
    kept = [row["kept"] for row in rows].index("True")
    assert scores[kept] == max(scores)
    assert evaluate(run, replicates=0).part == "validation"


@pytest.fixture(scope="module")
def fma(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Instruments and rain as tracks of four genres, two tracks an artist, as MP3 with a tracks.csv."""
    root = tmp_path_factory.mktemp("fma")
    sounds = []
    for name in ("instruments10", "esc10"):
        with (data_folder / name / f"{name}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        wanted = ["rain"] if name == "esc10" else sorted({row["category"] for row in rows})[:3]
        for sound in wanted:
            own = [row["filename"] for row in rows if row["category"] == sound][:16]
            sounds.append([data_folder / name / "audio" / filename for filename in own])
    lines = [",set,set,track,artist", ",split,subset,genre_top,id", "track_id,,,,"]
    track = 1000
    for genre, paths in zip(["Rock", "Folk", "Electronic", "Experimental"], sounds, strict=True):
        for number, path in enumerate(paths):
            samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
            long = np.resize(samples[:, 0], 4 * rate)
            path = root / f"{track // 1000:03}" / f"{track:06}.mp3"
            path.parent.mkdir(exist_ok=True)
            soundfile.write(path, long, rate, format="MP3")
            split = ("training", "training", "validation", "test")[number // 2 % 4]
            lines.append(f"{track},{split},small,{genre},{genre}{number // 2}")
            track += 1
    (root / "tracks.csv").write_text("\n".join(lines) + "\n")
    (root / "001" / "000999.mp3").write_bytes(b"no recording")
    for name, options in (("clips", {}), ("official", {"split": "official"})):
        prepare(root, root / f"{name}.csv", dataset="fma", options={"least_seconds": 3.0, **options})
    return root


@pytest.mark.parametrize(
    ("backbone", "features", "manifest", "more"),
    [
        ("efficientnet_b0", 1280, "clips", ()),
        ("resnet50", 2048, "official", ("split.test=split",)),
    ],
)
def test_fma_genre_trains_a_new_head_on_a_frozen_backbone_with_extra_examples(
    fma, tmp_path, backbone, features, manifest, more
):
    run = train(
        "fma_genre",
        f"data.manifest={fma}/{manifest}.csv",
        f"run={tmp_path}/run",
        "data.crop.seconds=3",
        "data.workers=0",
        f"model.backbone={backbone}",
        "model.pretrained=false",
        "stages.train.epochs=1",
        "stages.train.batch_size=8",
        f"data.cache_folder={fma}/cache",
        *more,
    )
    log = (run.folder / "log.txt").read_text()
    outputs = len(run.manifest.classes)
    trainable = (features + 1) * outputs  # the last layer alone
    assert f"stage train: 1 epochs, {trainable:,} trainable parameters" in log
    parts = [set(run.indices(part)) for part in ("train", "validation", "test")]
    assert all(parts)
    assert sum(map(len, parts)) == 64
    artists = [{run.manifest[row].group for row in part} for part in parts]
    assert len(set.union(*artists)) == sum(map(len, artists))
    found = evaluate(run, replicates=0)
    assert found.part == "test"
    assert (found.folder / "classes.csv").is_file()
    assert (run.folder / "curves.png").is_file()


def test_a_musicfm_run_stands_without_the_files_that_it_was_made_from(artist20, tmp_path):
    files, _ = part_files.write_musicfm(tmp_path)
    run = train(
        "artist20_musicfm",
        f"data.manifest={artist20}/clips.csv",
        f"run={tmp_path}/run",
        f"frontend.weights={files['weights']}",
        f"frontend.statistics={files['statistics']}",
        "data.workers=0",
        "stages.train.epochs=2",
        f"data.cache_folder={tmp_path}/cache",
    )
    before = load(run).predict(artist20 / "test" / "001.mp3", workers=0).probabilities
    for file in files.values():
        Path(file).unlink()
    after = load(run.folder).predict(artist20 / "test" / "001.mp3", workers=0).probabilities
    assert np.array_equal(before, after)
    assert evaluate(run, replicates=0).part == "validation"


@pytest.fixture(scope="module")
def birdclef(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sounds as species, six recordists each, each calling somewhere in six seconds; soundscapes."""
    root = tmp_path_factory.mktemp("birdclef")
    with (data_folder / "esc10" / "esc10.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = {"dog": "dogbar1", "rooster": "rooste1", "rain": "rainfa1"}
    lines = ["primary_label,secondary_labels,author,rating,filename"]
    for sound, species in names.items():
        sources = sorted({row["src_file"] for row in rows if row["category"] == sound})[:6]
        for author, source in enumerate(sources):
            row = next(row for row in rows if row["src_file"] == source)
            path = next(data_folder.glob(f"esc10/**/{row['filename']}"))
            samples, rate = soundfile.read(path, dtype="float32")
            noise = np.random.default_rng(author).normal(0, 0.003, 6 * rate).astype(np.float32)
            start = author * rate // 4
            noise[start : start + 4 * rate] += samples[: 4 * rate]
            name = f"{species}/XC{author}{species}.ogg"
            target = root / "train_audio" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(target, noise[: 6 * rate - 1], rate)
            secondary = "['rainfa1', 'amecro']" if author == 0 and species != "rainfa1" else "[]"
            lines.append(f'{species},"{secondary}",recordist {species} {author},{author % 5 + 1}.0,{name}')
    (root / "train_metadata.csv").write_text("\n".join(lines) + "\n")
    (root / "test_soundscapes").mkdir()
    for number in (1, 2):
        noise = np.random.default_rng(number).normal(0, 0.01, 12 * rate).astype(np.float32)
        soundfile.write(root / "test_soundscapes" / f"scene_{number}.ogg", noise, rate)
    prepare(root, root / "clips.csv", folds=3, workers=2)
    return root


def small_segments(birdclef: Path, folder: Path) -> list[str]:
    """Overrides that leave the recipe its shape: six segments, of one second."""
    return [
        f"data.manifest={birdclef}/clips.csv",
        f"run={folder}",
        f"data.cache_folder={birdclef}/cache",
        "data.crop.seconds=6",
        "predict.window_seconds=1",
        "data.workers=0",
        "frontend.n_mels=32",
        "model.backbone=test_resnet",
        "model.pretrained=false",
        "model.drop_path=0",
        "stages.train.epochs=2",
        "stages.train.batch_size=6",
    ]


def test_birdclef_segments_goes_from_recordings_to_a_submission_and_label_files(birdclef, tmp_path):
    overrides = small_segments(birdclef, tmp_path / "run")
    noise = [{"name": "background_noise", "folder": str(birdclef / "test_soundscapes"), "p": 0.5}]
    own = Recipe.load("birdclef_segments", *overrides)
    own = Recipe.load(own.model_copy(update={"augmentations": [*own.augmentations, *noise]}))
    run = train(own)
    log = (run.folder / "log.txt").read_text()
    assert "12 to train" in log
    assert "6 held out to test" in log
    found = evaluate(run, replicates=20)
    assert found.multilabel
    assert found.part == "test"
    report = (found.folder / "classes.csv").read_text().splitlines()
    assert report[0].startswith("class")
    assert "precision" in report[0]
    assert "recall" in report[0]
    assert [line.split(",")[0] for line in report[1:]] == ["dogbar1", "rainfa1", "rooste1"]
    windows = Predictions.read(found.folder / "predictions.csv")
    assert len(windows) == 6 * 6  # the whole of every held-out recording, not its first window alone

    table = tmp_path / "preds.csv"
    predict(run, birdclef / "test_soundscapes", out=table, window_seconds=5, workers=1)
    named = Predictions.read(table)
    assert named.row_ids()[:3] == ["scene_1_5", "scene_1_10", "scene_1_12"]
    sample = tmp_path / "sample_submission.csv"
    sample.write_text("row_id,rooste1,dogbar1,rainfa1\nscene_2_10,0,0,0\nscene_1_5,0,0,0\n")
    submit(named, sample, tmp_path / "submission.csv", rows="sample")
    with (tmp_path / "submission.csv").open(newline="") as file:
        header, first, second = csv.reader(file)
    assert header == ["row_id", "rooste1", "dogbar1", "rainfa1"]
    assert [first[0], second[0]] == ["scene_2_10", "scene_1_5"]
    expected = named.probabilities[4][[named.classes.index(name) for name in header[1:]]]
    assert [float(cell) for cell in first[1:]] == pytest.approx(expected, abs=1e-5)

    exported = export(table, ["audacity", "raven"], tmp_path / "labels", threshold=0.0)
    assert exported.events == 6  # at threshold 0 every class is heard from beginning to end
    assert (tmp_path / "labels" / "scene_1.labels.txt").read_text().startswith("0.0\t12.0\t")


def test_recordings_of_birdclef_weigh_as_much_as_they_are_rated(birdclef):
    recipe = Recipe.load("birdclef_segments", f"data.manifest={birdclef}/clips.csv")
    manifest = recipe.read_manifest()
    weights = ClipDataset(manifest, data=recipe.data, seed=0).weights
    rated = [clip.rating for clip in manifest if clip.rating is not None]
    assert sorted(set(rated)) == [1, 2, 3, 4, 5]
    np.testing.assert_allclose(weights[: len(rated)], np.array(rated) / 5)
    targets = manifest.targets(secondary=recipe.data.secondary_target)
    both = [row for row, clip in enumerate(manifest) if clip.secondary == ("rainfa1",)]
    assert len(both) == 2
    assert targets[both].sum(1).tolist() == [2, 2]


def test_all_folds_of_birdclef_are_one_command(birdclef, tmp_path):
    found = crossvalidate(
        "birdclef_segments", *small_segments(birdclef, tmp_path / "cv"), "stages.train.epochs=1"
    )
    assert len(found.folds) == 3
    summary = json.loads((tmp_path / "cv" / "summary.json").read_text())
    assert [fold["clips"] for fold in summary["folds"].values()] == [6, 6, 6]
    assert (tmp_path / "cv" / "out_of_fold.csv").is_file()


def test_birdclef_sed_goes_through_all_stages_to_a_submission(birdclef, tmp_path):
    small = [f"stages.{name}.{key}" for name in SED_STAGES for key in ("epochs=1", "batch_size=4")]
    run = train(
        "birdclef_sed",
        f"data.manifest={birdclef}/clips.csv",
        f"run={tmp_path}/run",
        f"data.cache_folder={birdclef}/cache",
        "data.workers=0",
        "data.crop.seconds=4",
        "split.validation=0.3",
        "frontend.n_mels=32",
        "frontend.resolutions=[{n_fft: 4096, hop_length: 256}]",
        "model.backbone=test_resnet",
        "model.pretrained=false",
        "model.attention_heads=4",
        "model.skip=true",
        "stages.retrain.pseudo.keep=0",
        "stages.retrain.pseudo.train=0",
        "stages.retrain.pseudo.max_share=null",
        *small,
        "engine.device=cpu",
    )

    made = provenance.read(run)
    assert [one["stage"] for one in made] == SED_STAGES
    assert [one["settings"]["loss"] for one in made] == ["cross_entropy", *["binary_cross_entropy"] * 3]
    parents = [one["parent"] and one["parent"]["weights"] for one in made]
    assert parents == [None, *(one["weights"] for one in made[:-1])]
    labelled = Manifest.read(run.folder / "pseudo" / "retrain" / "pseudo.csv", classes=run.manifest.classes)
    assert {clip.path.parent.name for clip in labelled} == {"test_soundscapes"}
    assert made[-1]["data"]["pseudo_labelled_clips"] == len(labelled) > 0
    log = (run.folder / "log.txt").read_text()
    assert "stage 2 of 4: pretrain_ce > [train_bce] > finetune > retrain" in log

    predict(run, birdclef / "test_soundscapes", out=tmp_path / "preds.csv", workers=1)
    named = Predictions.read(tmp_path / "preds.csv")
    assert named.row_ids()[:3] == ["scene_1_5", "scene_1_10", "scene_1_12"]
    predict(run, birdclef / "test_soundscapes", out=tmp_path / "when.csv", frame_seconds=0.1, workers=1)
    when = Predictions.read(tmp_path / "when.csv")
    assert len(when) == 2 * 120
    # A window's score is the largest of its frames.
    first = when.probabilities[:50].max(0)
    np.testing.assert_allclose(first, named.probabilities[0], atol=0.02)
    assert evaluate(run, replicates=0).multilabel
