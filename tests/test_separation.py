"""Separating ahead, through crashes and with a list of what failed; and whole trainings on stems."""

from __future__ import annotations

import csv
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

import toys
from kikiwake import audio, prediction, separation
from kikiwake.checkpoint import read_weights
from kikiwake.cli import SET_ASIDE, app
from kikiwake.data import ClipDataset
from kikiwake.engine import Engine
from kikiwake.errors import AudioError, RecipeError, SeparationError, StorageError
from kikiwake.evaluation import evaluate
from kikiwake.loader import Loader
from kikiwake.manifest import Manifest
from kikiwake.parallel import Result
from kikiwake.recipe import Recipe
from kikiwake.run import Run
from kikiwake.scoring import score_clips
from kikiwake.separation import (
    SeparateSummary,
    export_stems,
    fill,
    recordings_of,
    separate,
    separation_settings,
)
from kikiwake.separators.bands import Bands
from kikiwake.stems import Stems, identified
from kikiwake.training import train

CPU = Engine(torch.device("cpu"), None)
STEMS = ["vocals", "drums", "bass", "other"]


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return toys.write_tones(tmp_path / "tones", clips_per_class=4)


def recipe(manifest: Path, run: Path, **data: Any) -> Recipe:
    """The toys' recipe on stems."""
    node = {
        "manifest": str(manifest),
        "sample_rate": toys.SAMPLE_RATE,
        "crop": {"name": "random", "seconds": 0.5},
        "separator": {"name": "bands"},
        "stems": STEMS,
        "workers": 0,
        "cache_folder": str(run.parent / "cache"),
        **data,
    }
    shift = {"name": "waveform", "transform": "PitchShift", "p": 0.5}
    return toys.toy_recipe(manifest, run, data=node, augmentations=[shift, {"name": "stem_drop", "p": 0.3}])


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def same_weights(one: Run, other: Run) -> bool:
    first, second = read_weights(one.model_file), read_weights(other.model_file)
    return all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("workers", [0, 2])
def test_every_recording_is_separated_once(manifest: Path, tmp_path: Path, workers: int) -> None:
    data = recipe(manifest, tmp_path / "run").data
    said: list[str] = []
    found = separate(manifest, data, workers=workers, say=lambda text, *values: said.append(text % values))
    assert (found.made, found.there, found.failed) == (12, 0, [])
    assert "separating 12 of 12 recordings" in said[0]
    assert "into drums, bass, other, vocals on cpu (CPU): about " in said[0]
    files = list((tmp_path / "cache").rglob("*.stems"))
    assert len(files) == 12
    assert found.size == sum(file.stat().st_size for file in files)
    again = separate(manifest, data, workers=workers)
    assert (again.made, again.there, again.size) == (0, 12, found.size)


def test_a_recording_that_fails_stands_in_a_list_and_harms_no_other(manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "tones" / "low_0.wav").write_bytes(b"no sound at all")
    (tmp_path / "tones" / "low_1.wav").unlink()
    finished = invoke(
        "separate", manifest, "--separator", "bands", "--sample-rate", 8000, "--cache-folder", tmp_path / "c"
    )
    assert finished.exit_code == SET_ASIDE
    assert "10 recordings separated into drums, bass, other, vocals; 0 were there" in finished.output
    with (tmp_path / "tones" / "manifest.stems.quarantine.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted((Path(row["path"]).name, row["kind"]) for row in rows) == [
        ("low_0.wav", "unreadable"), ("low_1.wav", "missing")
    ]  # fmt: skip


def limit_memory(monkeypatch: pytest.MonkeyPatch, *, segments: int) -> None:
    """Let bands separate four segments at once, and have memory for a few."""
    call = Bands.__call__

    def limited(self: Bands, mixture: torch.Tensor) -> torch.Tensor:
        if len(mixture) > segments:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return call(self, mixture)

    monkeypatch.setattr(Bands, "batch_size", 4)
    monkeypatch.setattr(Bands, "__call__", limited)


def write_noise(path: Path, *, seconds: float) -> Path:
    samples = np.random.default_rng(3).normal(0, 0.1, round(seconds * toys.SAMPLE_RATE))
    soundfile.write(path, samples, toys.SAMPLE_RATE)
    return path


def test_where_memory_runs_out_fewer_segments_are_separated_at_once_and_it_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = separation_settings(separator="bands", sample_rate=8000, cache_folder=tmp_path / "cache")
    recordings = {write_noise(tmp_path / f"{name}.wav", seconds=20): 20.0 for name in "abc"}
    limit_memory(monkeypatch, segments=2)
    said: list[str] = []
    say = lambda text, *values: said.append(text % values)  # noqa: E731
    found = fill(data, recordings, workers=0, say=say)
    assert (found.made, found.set_aside) == (3, [])
    assert said[1:] == ["out of memory with 4 segments at a time: from now on 2"]
    said.clear()
    monkeypatch.setattr(logging.getLogger("kikiwake"), "warning", say)
    live = Stems(data.model_copy(update={"cache_folder": tmp_path / "empty"}))
    for path in recordings:
        with live.stream(path, block=10_000) as stream:
            assert sum(block.shape[1] for block in stream) == 20 * 8000
    assert said == ["out of memory with 4 segments at a time: from now on 2"]


def test_memory_that_never_suffices_ends_the_work_and_blames_no_recording(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = recipe(manifest, tmp_path / "run").data
    limit_memory(monkeypatch, segments=0)
    with pytest.raises(SeparationError, match="out of memory with 1 segment at a time; use fewer workers"):
        separate(manifest, data, workers=0)
    assert not manifest.with_name("manifest.stems.quarantine.csv").exists()


def test_only_what_a_recording_itself_does_sets_it_aside(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = recipe(manifest, tmp_path / "run").data
    path = tmp_path / "tones" / "low_0.wav"

    def separated_as(result: Result[Any]) -> SeparateSummary:
        monkeypatch.setattr(separation._filling, "map_isolated", lambda *_, **__: [(path, result)])
        return fill(data, {path: 0.6}, workers=1)

    for harmless in (
        Result[Any](error="a.wav: no sound", exception=AudioError("no sound", where=path)),
        Result[Any](error="the process working on it died (killed by signal 11)", crashed=True),
        Result[Any](error="took longer than 300 s and was stopped", crashed=True),
    ):
        assert [Path(note.path) for note in separated_as(harmless).failed] == [path]
    with pytest.raises(SeparationError, match=r"memory ran out: .*signal 9.*fewer workers"):
        separated_as(Result(error="the process died (killed by signal 9)", crashed=True, starved=True))
    with pytest.raises(SeparationError, match="memory ran out: needs more memory"):
        separated_as(Result(error="needs more memory than it may use", starved=True))
    with pytest.raises(StorageError, match="disk full"):
        separated_as(Result(error="disk full", exception=StorageError("disk full")))


def test_an_error_that_nobody_thought_of_ends_the_work_with_its_traceback_said(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("in the resampler")

    monkeypatch.setattr("kikiwake.stems._separated.SpanResampler", broken)
    said: list[str] = []
    with pytest.raises(SeparationError, match="separating failed: ZeroDivisionError: in the resampler; this"):
        separate(
            manifest,
            recipe(manifest, tmp_path / "run").data,
            workers=0,
            say=lambda text, *values: said.append(text % values),
        )
    assert "Traceback (most recent call last)" in said[-1]


def test_training_refuses_recordings_that_cannot_be_separated(tmp_path: Path) -> None:
    manifest = toys.write_tones(tmp_path / "tones")
    clip = next(clip for clip in Manifest.read(manifest) if clip.fold == 1)
    clip.path.write_bytes(b"no sound at all")
    with pytest.raises(AudioError, match="1 recordings cannot be separated"):
        train(recipe(manifest, tmp_path / "run"))


def test_damaged_entries_are_made_again_ahead(manifest: Path, tmp_path: Path) -> None:
    data = identified(recipe(manifest, tmp_path / "run").data)
    recordings = recordings_of(Manifest.read(manifest))
    fill(data, recordings, workers=0)
    entry = Stems(data).entry(next(iter(recordings)))
    os.truncate(entry, 100)
    found = fill(data, recordings, workers=0)
    assert (found.made, found.there) == (1, 11)


def test_separating_goes_on_after_a_kill(tmp_path: Path) -> None:
    manifest = toys.write_tones(tmp_path / "tones", clips_per_class=20)
    command = ["separate", manifest, "--separator", "bands", "--sample-rate", 8000, "--workers", 1]
    command += ["--cache-folder", tmp_path / "cache"]
    process = subprocess.Popen(
        [sys.executable, "-m", "kikiwake", *map(str, command)], stderr=subprocess.DEVNULL
    )
    give_up = time.monotonic() + 300  # of a machine that has much else to do
    while len(list((tmp_path / "cache").rglob("*.stems"))) < 3 and time.monotonic() < give_up:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.5)  # its worker goes with it
    done = len(list((tmp_path / "cache").rglob("*.stems")))
    assert 3 <= done < 60
    finished = invoke(*command)
    assert finished.exit_code == 0, finished.output
    assert f"{60 - done} recordings separated into" in finished.output
    assert f"; {done} were there" in finished.output


def test_a_disk_that_is_too_small_is_seen_before_work_begins(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    with pytest.raises(StorageError, match=r"the stems will take about .* are free"):
        separate(manifest, recipe(manifest, tmp_path / "run").data, workers=0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("stems")
    return train(recipe(toys.write_tones(folder / "tones"), folder / "run"))


def test_training_with_and_without_workers_ends_with_the_same_weights(trained: Run, tmp_path: Path) -> None:
    assert trained.recipe.data.waveform_channels == 4
    assert trained.recipe.data.separator_identity == Bands.identity
    manifest = trained.folder.parent / "tones" / "manifest.csv"
    again = train(recipe(manifest, tmp_path / "run", workers=2))
    assert same_weights(trained, again)


def test_an_interrupted_training_on_stems_ends_with_the_same_weights(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = recipe(trained.folder.parent / "tones" / "manifest.csv", tmp_path / "run")
    write = Run.write_metrics

    def interrupted(self: Run, rows: Any) -> None:
        write(self, rows)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Run, "write_metrics", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(own)
    assert same_weights(trained, train(own))


def test_what_is_not_kept_is_predicted_as_what_is(trained: Run, tmp_path: Path) -> None:
    """Unit by unit from the middle of a recording, beside the clipwise scores of the training code."""
    rng = np.random.default_rng(4)
    sound = np.concatenate([toys.tone(pitch, seconds=8, seed=1) for pitch in (200, 600, 1600)])
    soundfile.write(tmp_path / "long.wav", sound + rng.normal(0, 0.01, sound.size), toys.SAMPLE_RATE)
    predictor = prediction.load(trained)
    live = predictor.predict(tmp_path / "long.wav", workers=0)
    assert len(live.starts) == 48  # of two units
    data = trained.recipe.data
    assert Stems(data).kept(tmp_path / "long.wav") is None
    fill(data, {tmp_path / "long.wav": 24.0}, workers=0)
    kept = predictor.predict(tmp_path / "long.wav", workers=2)
    np.testing.assert_allclose(live.probabilities, kept.probabilities, atol=1e-3)
    np.testing.assert_array_equal(live.starts, kept.starts)
    mixture = predictor.predict(tmp_path / "long.wav", workers=0, separation=False)
    assert np.abs(mixture.probabilities - live.probabilities).max() > 1e-3


def test_a_network_of_stems_is_exported_and_scores_as_torch_does(trained: Run, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    sound = np.concatenate([toys.tone(pitch, seconds=1, seed=1) for pitch in (200, 600, 1600)])
    soundfile.write(tmp_path / "a.wav", sound, toys.SAMPLE_RATE)
    predictor = prediction.load(trained)
    exact = predictor.predict(tmp_path / "a.wav", workers=0)
    found = predictor.predict(tmp_path / "a.wav", workers=0, engine="onnx")
    np.testing.assert_allclose(found.probabilities, exact.probabilities, atol=1e-4)
    shutil.rmtree(trained.folder.parent / "cache" / "stems", ignore_errors=True)
    found = predictor.predict(tmp_path / "a.wav", workers=0, engine="onnx", precision="int8")
    assert 0 < np.abs(found.probabilities - exact.probabilities).max() < 0.1
    # The clips that int8 is calibrated on were separated anew: those of training, and no other.
    kept = [Stems(trained.recipe.data).kept(clip.path) is not None for clip in trained.manifest]
    assert kept == [clip.split == "train" for clip in trained.manifest]


def test_predictions_of_clips_are_those_of_the_training_code(trained: Run) -> None:
    found = prediction.load(trained).predict([clip.path for clip in trained.manifest], workers=0)
    fill(trained.recipe.data, recordings_of(trained.manifest), workers=0)
    loader = Loader(ClipDataset(trained.manifest, data=trained.recipe.data, seed=0), 0, print)
    expected = score_clips(
        trained.classifier(),
        loader,
        indices=range(len(trained.manifest)),
        recipe=trained.recipe,
        engine=CPU,
    )
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-3)


def test_held_out_recordings_are_separated_when_they_are_evaluated(trained: Run) -> None:
    assert evaluate(trained, replicates=0).clips == 6


def test_stems_are_exported_as_they_are_separated(manifest: Path, tmp_path: Path) -> None:
    data = separation_settings(separator="bands", sample_rate=8000, cache_folder=tmp_path / "cache")
    written = export_stems(
        [manifest], tmp_path / "out", data, ids=["low_0", "high_1"], stems=["vocals", "bass"]
    )
    assert [str(path.relative_to(tmp_path / "out")) for path in written.files] == [
        "high_1/vocals.wav", "high_1/bass.wav", "low_0/vocals.wav", "low_0/bass.wav"
    ]  # fmt: skip
    everything = export_stems([tmp_path / "tones" / "low_0.wav"], tmp_path / "all", data)
    stems = [soundfile.read(path, dtype="float32") for path in everything.files]
    assert {rate for _, rate in stems} == {8000}
    mixture = audio.load(tmp_path / "tones" / "low_0.wav", sample_rate=8000).waveform[0]
    np.testing.assert_allclose(sum(samples for samples, _ in stems), mixture, atol=1e-5)
    np.testing.assert_array_equal(soundfile.read(written.files[3], dtype="float32")[0], stems[1][0])
    with pytest.raises(RecipeError, match=r"unknown id 'low_9'; did you mean 'low_"):
        export_stems([manifest], tmp_path / "out", data, ids=["low_9"])


def test_recordings_of_one_name_are_exported_side_by_side(manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "tones" / "low_1.wav").rename(tmp_path / "more" / "low_0.wav")
    finished = invoke(
        "export-stems", tmp_path / "tones" / "low_0.wav", tmp_path / "more",
        "--out", tmp_path / "out", "--stems", "drums,bass", "--separator", "bands", "--sample-rate", 8000,
    )  # fmt: skip
    assert finished.exit_code == 0, finished.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["low_0", "low_0-2"]
    assert "4 files" in finished.output


def test_names_with_numbers_of_their_own_stay_apart(manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "tones" / "low_1.wav").rename(tmp_path / "more" / "low_0.wav")
    (tmp_path / "tones" / "low_2.wav").rename(tmp_path / "more" / "low_0-2.wav")
    data = separation_settings(separator="bands", sample_rate=8000, cache_folder=tmp_path / "cache")
    files = [tmp_path / "tones" / "low_0.wav", tmp_path / "more"]
    found = export_stems(files, tmp_path / "out", data, stems=["bass"])
    assert len({path.parent.name for path in found.files}) == 3


def test_an_export_sets_aside_what_cannot_be_read_and_goes_on(manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "tones" / "high_0.wav").write_bytes(b"no sound at all")
    (tmp_path / "tones" / "low_1.wav").unlink()
    command = ["export-stems", manifest, "--separator", "bands", "--sample-rate", 8000]
    command += ["--stems", "bass", "--cache-folder", tmp_path / "cache", "--out", tmp_path / "out"]
    finished = invoke(*command)
    assert finished.exit_code == SET_ASIDE, finished.output
    assert "10 files of 10 recordings\nset aside, wholly or in part: 2\n" in finished.output
    with (tmp_path / "out" / "stems.quarantine.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(Path(row["path"]).name, row["kind"]) for row in rows] == [
        ("high_0.wav", "unreadable"), ("low_1.wav", "missing")
    ]  # fmt: skip
    assert not (tmp_path / "out" / "high_0").exists()
    again = invoke(*command, "--ids", "low_0,low_2")
    assert again.exit_code == 0
    with (tmp_path / "out" / "stems.quarantine.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == []


def test_an_export_takes_settings_on_top_of_a_recipe(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe(manifest, tmp_path / "run")
    command = ["export-stems", tmp_path / "tones" / "low_0.wav", "--recipe", tmp_path / "run.yaml"]
    command += ["--out", tmp_path / "out", "--stems", "bass"]
    finished = invoke(*command, "data.sample_rate=4000")
    assert finished.exit_code == 0, finished.output
    assert soundfile.info(tmp_path / "out" / "low_0" / "bass.wav").samplerate == 4000
    wrong = invoke(*command, "data.sample_rat=4000")
    assert isinstance(wrong.exception, RecipeError)
    monkeypatch.chdir(tmp_path / "tones")
    Path("low_0.wav").rename("take=1.wav")
    assert invoke(*command, "take=1.wav").exit_code == SET_ASIDE  # for low_0.wav is gone
    assert (tmp_path / "out" / "take=1" / "bass.wav").exists()


def test_settings_come_from_a_recipe_or_from_a_separator(manifest: Path, tmp_path: Path) -> None:
    own = recipe(manifest, tmp_path / "run")
    assert separation_settings(recipe=own) == own.data
    with pytest.raises(RecipeError, match="either a recipe or a separator"):
        separation_settings()
    with pytest.raises(RecipeError, match="this recipe separates nothing"):
        separation_settings(recipe="demo")
    with pytest.raises(RecipeError, match="unknown key 'bass'"):
        separation_settings(separator="bands", options={"bass": 3})


def test_settings_that_would_be_ignored_are_refused():
    with pytest.raises(RecipeError, match="do not go with a recipe"):
        separation_settings(recipe="signate_genre", options={"bass_below_hz": 100.0})
    with pytest.raises(RecipeError, match="do not go with a recipe"):
        separation_settings(recipe="signate_genre", sample_rate=8000)
    with pytest.raises(RecipeError, match="do not go with a separator alone"):
        separation_settings(separator="bands", overrides=["data.sample_rate=8000"])
