"""Prediction: every window of every readable recording has its row, whatever happens on the way."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from kikiwake import audio
from kikiwake import prediction as room
from kikiwake.classifier import build_classifier
from kikiwake.data import ClipDataset, ClipReader
from kikiwake.engine import Engine
from kikiwake.errors import AudioError, KikiwakeError, MissingExtra, RunError
from kikiwake.judging import Judge
from kikiwake.loader import Loader
from kikiwake.manifest import Manifest
from kikiwake.models.cnn import Cnn
from kikiwake.prediction import _parts, _units
from kikiwake.prediction._folding import fold_batch_norms
from kikiwake.prediction._pool import Pool
from kikiwake.prediction._scorers import TorchScorer, for_prediction
from kikiwake.prediction._units import Cutting, Header, count_windows, units
from kikiwake.prediction._window_scores import UnitReader
from kikiwake.predictions import Predictions
from kikiwake.run import Run, start_run
from kikiwake.scoring import score_clips
from kikiwake.stems import listener
from toys import PITCHES, SAMPLE_RATE, tone, toy_recipe, write_tones

CPU = Engine(torch.device("cpu"), None)


def untrained_run(folder: Path, **changes: Any) -> Run:
    """A finished run whose weights are those that training would begin with, and batch norms not trivial."""
    manifest = folder / "tones" / "manifest.csv"
    if not manifest.exists():
        write_tones(folder / "tones", clips_per_class=4, folds=2)
    changes = {"split": {"test": 0}, **changes}
    recipe = toy_recipe(manifest, folder / "run", **changes)
    run = start_run(recipe, Manifest.read(manifest))
    classifier = build_classifier(recipe, classes=run.manifest.classes)
    generator = torch.Generator().manual_seed(1)
    weights = {
        name: tensor + 0.3 * torch.rand(tensor.shape, generator=generator) if "running" in name else tensor
        for name, tensor in classifier.state_dict().items()
    }
    run.write_model(weights, about={})
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return untrained_run(tmp_path_factory.mktemp("prediction"))


@pytest.fixture
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_units, "UNIT_WINDOWS", 4)


def write(path: Path, *, seconds: float = 1.3, pitch: float = 600.0, seed: int = 0) -> Path:
    soundfile.write(path, tone(pitch, seconds=seconds, seed=seed), SAMPLE_RATE)
    return path


def quarantine(out: Path) -> dict[str, tuple[str, str]]:
    """Name of each file set aside: kind and offset."""
    with out.with_name(f"{out.stem}.quarantine.csv").open(newline="", encoding="utf-8") as file:
        return {Path(row["path"]).name: (row["kind"], row["offset_seconds"]) for row in csv.DictReader(file)}


def spans(predictions: Predictions) -> list[tuple[str, float, float]]:
    rows = zip(predictions.paths, predictions.starts, predictions.ends, strict=True)
    return [(Path(path).name, float(start), float(end)) for path, start, end in rows]


def test_scores_are_those_of_the_training_code(run: Run) -> None:
    found = room.load(run.folder).predict([clip.path for clip in run.manifest])
    loader = Loader(ClipDataset(run.manifest, data=run.recipe.data, seed=0), 0, print)
    clips = range(len(run.manifest))
    expected = score_clips(run.classifier(), loader, indices=clips, recipe=run.recipe, engine=CPU)
    assert found.paths == [str(run.manifest[clip].path) for clip in expected.clips]
    np.testing.assert_array_equal(found.starts * SAMPLE_RATE, expected.starts)
    np.testing.assert_array_equal(found.ends * SAMPLE_RATE, expected.starts + expected.frames)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-5)


def test_a_cnn_on_short_clips_that_are_repeated_scores_as_in_training(tmp_path: Path) -> None:
    run = untrained_run(
        tmp_path,
        model={"name": "cnn", "backbone": "resnet10t", "pooling": "gem"},
        predict={"window_seconds": 0.4, "hop_seconds": 0.25, "batch_size": 3},
        data={
            "manifest": str(tmp_path / "tones" / "manifest.csv"),
            "sample_rate": SAMPLE_RATE,
            "crop": {"name": "first", "seconds": 0.5},
            "pad": "repeat",
            "workers": 0,
            "cache": False,
        },
    )
    found = room.load(run).predict([clip.path for clip in run.manifest])
    loader = Loader(ClipDataset(run.manifest, data=run.recipe.data, seed=0), 0, print)
    clips = range(len(run.manifest))
    expected = score_clips(run.classifier(), loader, indices=clips, recipe=run.recipe, engine=CPU)
    assert len(found) == len(expected.starts)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-5)


def test_windows_cover_a_recording_to_its_end(run: Run, tmp_path: Path) -> None:
    file = write(tmp_path / "long.flac", seconds=1.3)
    predictor = room.load(run)
    assert spans(predictor.predict(file)) == [
        ("long.flac", 0.0, 0.5), ("long.flac", 0.5, 1.0), ("long.flac", 1.0, 1.3)
    ]  # fmt: skip
    overlapping = spans(predictor.predict(file, hop_seconds=0.4))
    assert overlapping == [("long.flac", 0.0, 0.5), ("long.flac", 0.4, 0.9), ("long.flac", 0.8, 1.3)]
    gaps = spans(predictor.predict(file, window_seconds=0.3, hop_seconds=0.6))
    assert gaps == [("long.flac", 0.0, 0.3), ("long.flac", 0.6, 0.9), ("long.flac", 1.2, 1.3)]


@pytest.mark.parametrize("name", ["long.flac", "long.mp3", "long.ogg"])
def test_units_in_the_middle_of_a_recording_score_as_the_whole(
    run: Run, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / name, seconds=12.2)
    options: dict[str, Any] = {"window_seconds": 0.3, "hop_seconds": 0.2, "workers": 0}
    whole = room.load(run).predict(file, **options)
    monkeypatch.setattr(_units, "UNIT_WINDOWS", 4)
    cut = room.load(run).predict(file, **options)
    assert spans(cut) == spans(whole)
    np.testing.assert_allclose(cut.probabilities, whole.probabilities, atol=1e-4)


def test_the_number_of_workers_does_not_show(run: Run, tmp_path: Path, small_units: None) -> None:
    files = [write(tmp_path / f"{k}.wav", seconds=0.4 + 0.9 * k, seed=k) for k in range(5)]
    tables = []
    for workers in (0, 1, 2, 3):
        out = tmp_path / f"{workers}.csv"
        room.predict(run.folder, files, out=out, workers=workers)
        tables.append(out.read_bytes())
    assert len(set(tables)) == 1
    assert not list(tmp_path.glob("*.parts"))


def test_files_keep_their_order_and_folders_are_sorted(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "notes.txt").write_text("no recording")
    for name in ("b.wav", "a.WAV", "inner/c.flac"):
        write(folder / name, seconds=0.4)
    last = write(tmp_path / "0.wav", seconds=0.4)
    found = room.load(run).predict([folder / "b.wav", folder, last, folder / "inner" / ".." / "a.WAV"])
    assert [Path(path).name for path in found.paths] == ["b.wav", "a.WAV", "c.flac", "0.wav"]
    assert spans(room.load(run).predict(str(folder / "*.wav"))) == [("b.wav", 0.0, 0.4)]


def test_what_cannot_be_read_is_named_and_the_rest_goes_on(run: Run, tmp_path: Path) -> None:
    good = write(tmp_path / "good.wav", seconds=0.5)
    (tmp_path / "text.wav").write_text("<html>not found</html>")
    (tmp_path / "empty.flac").touch()
    whole = write(tmp_path / "whole.wav", seconds=2.0).read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[: len(whole) // 2])
    names = ["text.wav", "good.wav", "cut.wav", "nowhere.wav", "empty.flac"]
    out = tmp_path / "preds.csv"
    summary = room.predict(run.folder, [tmp_path / name for name in names], out=out)
    table = Predictions.read(out)
    assert dict.fromkeys(Path(path).name for path in table.paths) == dict.fromkeys([good.name, "cut.wav"])
    assert table.ends[-1] == pytest.approx(1.0, abs=0.01)
    kinds = quarantine(out)
    assert {name: kind for name, (kind, _) in kinds.items()} == {
        "text.wav": "unreadable", "cut.wav": "partial", "nowhere.wav": "missing", "empty.flac": "unreadable"
    }  # fmt: skip
    assert list(kinds) == ["text.wav", "cut.wav", "nowhere.wav", "empty.flac"]
    assert float(kinds["cut.wav"][1]) == pytest.approx(1.0, abs=0.01)
    assert summary.quarantined == 4
    assert summary.recordings == 2
    assert "4 files" in str(summary)


def test_a_recording_cut_short_ends_where_its_sound_ends(run: Run, tmp_path: Path, small_units: None) -> None:
    whole = write(tmp_path / "whole.wav", seconds=12.0).read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[: 44 + 2 * round(5.2 * SAMPLE_RATE)])
    found = room.load(run).predict(tmp_path / "cut.wav")
    assert [start for _, start, _ in spans(found)] == [0.5 * k for k in range(11)]
    assert found.ends[-1] == pytest.approx(5.2)
    assert [note.kind for note in found.set_aside] == ["partial"]


def test_names_that_match_nothing_are_an_error(run: Run, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for files in (tmp_path / "*.wav", tmp_path / "folder", []):
        with pytest.raises(
            KikiwakeError, match=r"nothing matches|holds no recordings|no recordings are named"
        ):
            room.predict(run.folder, files, out=tmp_path / "preds.csv")


def test_other_rates_and_channels_are_converted(run: Run, tmp_path: Path) -> None:
    mono = tone(PITCHES["low"], seconds=1.5, seed=1)
    high = audio.resample(mono[None], source_rate=SAMPLE_RATE, target_rate=44100)[0]
    soundfile.write(tmp_path / "mono.wav", mono, SAMPLE_RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "stereo.wav", np.stack([high * 2, high * 0], axis=1), 44100, subtype="FLOAT")
    found = room.load(run).predict([tmp_path / "mono.wav", tmp_path / "stereo.wav"])
    assert len(found) == 6
    np.testing.assert_allclose(found.probabilities[:2], found.probabilities[3:5], atol=0.02)


def test_silence_one_sample_and_nan_have_finite_rows(run: Run, tmp_path: Path) -> None:
    sounds = {"silence": np.zeros(9000), "one": np.ones(1), "nan": np.where(np.arange(9000) % 7, 0.1, np.nan)}
    for name, samples in sounds.items():
        soundfile.write(tmp_path / f"{name}.wav", samples, SAMPLE_RATE, subtype="FLOAT")
    out = tmp_path / "preds.csv"
    room.predict(run.folder, [tmp_path / f"{name}.wav" for name in sounds], out=out)
    table = Predictions.read(out)
    assert [Path(path).stem for path in table.paths] == ["silence"] * 3 + ["one"] + ["nan"] * 3
    assert np.isfinite(table.probabilities).all()
    np.testing.assert_allclose(table.probabilities.sum(1), 1, atol=1e-5)
    assert quarantine(out) == {"nan.wav": ("repaired", "0.000")}


def test_parquet_holds_what_csv_holds(run: Run, tmp_path: Path) -> None:
    file = write(tmp_path / "a.wav")
    for suffix in ("csv", "parquet"):
        room.predict(run.folder, file, out=tmp_path / f"preds.{suffix}")
    one, two = (Predictions.read(tmp_path / f"preds.{suffix}") for suffix in ("csv", "parquet"))
    assert spans(one) == spans(two)
    np.testing.assert_allclose(one.probabilities, two.probabilities, atol=1e-6)
    with pytest.raises(KikiwakeError, match=r"\.csv or \.parquet"):
        room.predict(run.folder, file, out=tmp_path / "preds.xlsx")


def crashing(stream: Callable[..., Any], *, victim: str, crashes: Path, limit: int) -> Callable[..., Any]:
    """Decode as `stream` does, but kill the process over one file, `limit` times."""

    def decode(path: Path, **options: Any) -> Any:
        if Path(path).name == victim and len(list(crashes.iterdir())) < limit:
            (crashes / str(time.monotonic_ns())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return stream(path, **options)

    return decode


@pytest.mark.parametrize("limit", [1, 99])
def test_a_decoder_that_crashes_takes_only_its_own_file_along(
    run: Run, tmp_path: Path, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [write(tmp_path / f"{k}.wav", seconds=0.9, seed=k) for k in range(4)]
    room.predict(run.folder, files, out=tmp_path / "undisturbed.csv")
    undisturbed = Predictions.read(tmp_path / "undisturbed.csv")
    (tmp_path / "crashes").mkdir()
    decode = crashing(audio.stream, victim="2.wav", crashes=tmp_path / "crashes", limit=limit)
    monkeypatch.setattr(audio, "stream", decode)
    out = tmp_path / "preds.csv"
    summary = room.predict(run.folder, files, out=out, workers=2)
    if limit == 1:  # as when something else takes the memory: nothing of it shows
        assert out.read_bytes() == (tmp_path / "undisturbed.csv").read_bytes()
        assert summary.quarantined == 0
        return
    assert quarantine(out) == {"2.wav": ("crashed", "0.000")}
    kept = [at for at, path in enumerate(undisturbed.paths) if Path(path).name != "2.wav"]
    table = Predictions.read(out)
    assert table.paths == [undisturbed.paths[at] for at in kept]
    np.testing.assert_allclose(table.probabilities, undisturbed.probabilities[kept], atol=1e-5)


def parts_of(out: Path) -> int:
    return len(list(out.with_name(out.name + ".parts").glob("0*")))


def predict_in_a_fork(*arguments: Any, **options: Any) -> None:
    torch.set_num_threads(1)  # OpenMP's threads did not come along, and it would wait for them
    room.predict(*arguments, **options)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_killed_at_random_points_it_ends_with_the_same_bytes(
    run: Run, tmp_path: Path, small_units: None, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_parts, "SECONDS", 0.0)
    files: list[Path] = [write(tmp_path / f"{k}.flac", seconds=20.0, seed=k) for k in range(3)]
    files.insert(1, tmp_path / "nowhere.wav")
    (tmp_path / "bad.wav").write_bytes(write(tmp_path / "x.wav", seconds=4.0).read_bytes()[:30000])
    files.insert(2, tmp_path / "bad.wav")
    options: dict[str, Any] = {"window_seconds": 0.25, "hop_seconds": 0.125}
    room.predict(run.folder, files, out=tmp_path / f"whole.{suffix}", **options)
    out = tmp_path / f"killed.{suffix}"
    delays = random.Random(suffix)
    fork = multiprocessing.get_context("fork")
    kills = went_on = 0
    while True:
        before = parts_of(out)
        went_on += before > 0
        child = fork.Process(
            target=predict_in_a_fork, args=(run.folder, files), kwargs={"out": out, "workers": 2, **options}
        )
        child.start()
        more = delays.choice([0, 1, 5, 20, 40]) if kills < 6 else 10**6
        while child.exitcode is None and parts_of(out) < before + more:
            time.sleep(0.002)
        child.join(delays.uniform(0, 0.05) if kills < 6 else None)
        if child.exitcode is not None:
            break
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        kills += 1
    assert child.exitcode == 0
    assert kills >= 2
    assert went_on >= 1
    for ending in (f".{suffix}", ".quarantine.csv", ".summary.json"):
        assert (tmp_path / f"killed{ending}").read_bytes() == (tmp_path / f"whole{ending}").read_bytes()
    assert not out.with_name(out.name + ".parts").exists()


def interrupted(
    run: Run, files: list[Path], out: Path, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> None:
    """Predict until the table would be written."""

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(room, "write_predictions", stop)
        with pytest.raises(KeyboardInterrupt):
            room.predict(run.folder, files, out=out, **options)


def test_other_options_another_model_or_changed_files_start_anew_and_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = untrained_run(tmp_path)
    file, out = write(tmp_path / "a.wav"), tmp_path / "preds.csv"

    def said() -> str:
        text = capsys.readouterr().err
        return text[text.find("started anew") :] if "started anew" in text else ""

    interrupted(run, [file], out, monkeypatch)
    interrupted(run, [file], out, monkeypatch)
    assert said() == ""
    interrupted(run, [file], out, monkeypatch, hop_seconds=0.1)
    assert "hop: was 4000, now 800" in said()
    write(file, seconds=1.4)
    interrupted(run, [file], out, monkeypatch, hop_seconds=0.1)
    assert "the recordings" in said()
    weights = {name: tensor * 1.5 for name, tensor in run.classifier().state_dict().items()}
    run.write_model(weights, about={})
    summary = room.predict(run.folder, [file], out=out, hop_seconds=0.1)
    assert "the model" in said()
    assert summary.scored == summary.windows == 10


def test_interrupted_work_is_not_done_again(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = write(tmp_path / "a.wav"), tmp_path / "preds.csv"
    interrupted(run, [file], out, monkeypatch)
    summary = room.predict(run.folder, [file], out=out)
    assert (summary.windows, summary.scored) == (3, 0)
    part = tmp_path / "preds.csv.parts"
    interrupted(run, [file], out.with_name("other.csv"), monkeypatch)
    for damaged in out.with_name("other.csv.parts").glob("*.safetensors"):
        damaged.write_bytes(damaged.read_bytes()[:100])
    assert room.predict(run.folder, [file], out=out.with_name("other.csv")).scored == 3
    assert out.with_name("other.csv").read_bytes() == out.read_bytes()
    assert not part.exists()


def test_a_finished_prediction_is_known_again(run: Run, tmp_path: Path) -> None:
    file, out = write(tmp_path / "a.wav"), tmp_path / "preds.csv"
    first = room.predict(run.folder, [file], out=out)
    assert first.scored == 3
    again = room.predict(run.folder, [file], out=out)
    assert again.scored == 0
    assert "nothing to do" in str(again)
    assert (again.windows, again.sound_seconds) == (first.windows, first.sound_seconds)
    bytes_before = out.read_bytes()
    out.write_text("edited")
    assert room.predict(run.folder, [file], out=out).scored == 3
    assert out.read_bytes() == bytes_before


def test_a_model_of_whole_clips_gives_a_row_a_recording(tmp_path: Path) -> None:
    data = {"sample_rate": SAMPLE_RATE, "crop": {"name": "whole"}, "workers": 0, "cache": False,
            "manifest": str(tmp_path / "tones" / "manifest.csv")}  # fmt: skip
    run = untrained_run(tmp_path, data=data, predict={"batch_size": 1})
    files = [write(tmp_path / f"{k}.wav", seconds=1.1 + k) for k in range(3)]
    found = room.load(run).predict(files)
    assert spans(found) == [("0.wav", 0.0, 1.1), ("1.wav", 0.0, 2.1), ("2.wav", 0.0, 3.1)]
    waveform = torch.from_numpy(audio.load(files[1], sample_rate=SAMPLE_RATE).waveform)[None]
    classifier = run.classifier()
    expected = classifier.probabilities(classifier(waveform).clipwise)
    np.testing.assert_allclose(found.probabilities[1], expected[0].detach(), atol=1e-5)
    assert len(room.load(run).predict(files, window_seconds=0.5)) == 3 + 5 + 7


def test_onnx_scores_as_torch_does(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    files = [write(tmp_path / f"{k}.wav", seconds=1.1 + k, seed=k) for k in range(3)]
    exact = room.load(run).predict(files)
    out = tmp_path / "preds.csv"
    summary = room.predict(run.folder, files, out=out, engine="onnx", workers=2)
    table = Predictions.read(out)
    assert spans(table) == spans(exact)
    np.testing.assert_allclose(table.probabilities, exact.probabilities, atol=1e-4)
    assert summary.error is not None
    assert summary.error < 1e-4
    assert "logits differ" in str(summary)
    made = (run.folder / "network.onnx").stat().st_mtime_ns
    room.load(run).predict(files, engine="onnx")
    assert (run.folder / "network.onnx").stat().st_mtime_ns == made
    monkeypatch.setattr("kikiwake.prediction._onnx.LARGEST_ERROR", -1.0)
    (run.folder / "network.onnx.json").unlink()
    with pytest.raises(RunError, match=r"differ from torch's"):
        room.load(run).predict(files, engine="onnx")


def test_int8_states_its_error_and_ranks_the_classes_alike(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    files = [write(tmp_path / f"{k}.wav", seconds=1.1 + k, seed=k) for k in range(3)]
    exact = room.load(run).predict(files)
    summary = room.predict(run.folder, files, out=tmp_path / "p.csv", engine="onnx", precision="int8")
    table = Predictions.read(tmp_path / "p.csv")
    assert spans(table) == spans(exact)
    assert 0 < np.abs(table.probabilities - exact.probabilities).max() < 0.05
    assert summary.error is not None
    assert 1e-4 < summary.error < 0.1
    made = run.folder / "network.int8.onnx"
    assert b"QuantizeLinear" in made.read_bytes()
    before = made.stat().st_mtime_ns
    room.load(run).predict(files, engine="onnx", precision="int8")
    assert made.stat().st_mtime_ns == before


def test_int8_without_training_clips_says_what_it_lacks(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    file = write(tmp_path / "a.wav")
    (run.folder / "network.int8.onnx.json").unlink(missing_ok=True)
    monkeypatch.setattr(ClipReader, "read", missing)
    with pytest.raises(RunError, match=r"calibrated on training clips.*gone\.wav.*precision fp32"):
        room.load(run).predict(file, engine="onnx", precision="int8")
    with pytest.raises(KikiwakeError, match=r"precision: .*does not compute in it.*engine onnx"):
        room.load(run).predict(file, precision="int8")
    with pytest.raises(KikiwakeError, match=r"precision: .*does not compute in it"):
        room.load(run).predict(file, engine="onnx", precision="bf16")


def missing(*_: object) -> None:
    raise AudioError("cannot be opened", where="gone.wav")


def test_a_missing_extra_is_named(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(MissingExtra, match=r"kikiwake\[onnx\]"):
        room.load(run).predict(write(tmp_path / "a.wav"), engine="onnx")


@pytest.mark.parametrize(
    "wrong", [{"window_seconds": 0.0}, {"hop_seconds": float("nan")}, {"workers": -1}, {"engine": "fast"}]
)
def test_wrong_options_are_named(run: Run, tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(KikiwakeError, match=next(iter(wrong))):
        room.load(run).predict(write(tmp_path / "a.wav"), **wrong)


def test_bf16_states_its_error(run: Run, tmp_path: Path) -> None:
    summary = room.predict(run.folder, write(tmp_path / "a.wav"), out=tmp_path / "p.csv", precision="bf16")
    assert summary.error is not None
    assert 0 < summary.error < 0.05


def test_workers_that_only_read_give_the_same_scores(run: Run, tmp_path: Path, small_units: None) -> None:
    files = [write(tmp_path / f"{k}.wav", seconds=1.1 + k, seed=k) for k in range(3)]
    predictor = room.load(run)
    expected = predictor.predict(files, workers=0)
    cutting = Cutting(SAMPLE_RATE, 1, 4000, 4000, whole=False, pad="zero", batch_size=4, judge=Judge(4000))
    headers = [Header(audio.probe(file).frames, seeks=True) for file in files]
    scorer = TorchScorer(
        for_prediction(predictor.classifier, frames=4000, computer=CPU), judge=Judge(4000), computer=CPU
    )
    reader = UnitReader(files, cutting, listener(run.recipe.data))
    pool = Pool(reader, scorer, workers=2)
    found = [part for _, parts in pool._scored_here(list(units(headers, cutting)), scorer) for part in parts]
    np.testing.assert_allclose(
        np.concatenate([part.probabilities[:, 0] for part in found]), expected.probabilities, atol=1e-6
    )


def test_units_depend_on_lengths_alone_and_hold_every_window_once() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        window, hop = (int(value) for value in rng.integers(1, 50, 2))
        batch_size = int(rng.integers(1, 40))
        cutting = Cutting(8000, 1, window, hop, False, "zero", batch_size, Judge(window))
        lengths = [int(value) for value in rng.integers(1, 4000, 6)]
        headers = [Header(length, seeks=bool(length % 2)) for length in lengths]
        planned = [
            (piece.recording, piece.first + k) for unit in units(headers, cutting) for piece in unit
            for k in range(piece.windows)
        ]  # fmt: skip
        expected = [
            (at, k)
            for at, length in enumerate(lengths)
            for k in range(count_windows(length, window=window, hop=hop))
        ]
        assert planned == expected


def test_folded_batch_norms_compute_the_same_and_are_gone() -> None:
    network = Cnn(in_channels=1, num_classes=3, backbone="mobilenetv3_small_050").eval()
    features = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    folded = fold_batch_norms(network, features)
    norms = [module for module in folded.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert not norms
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
    with torch.no_grad():
        torch.testing.assert_close(
            folded(features).clipwise, network(features).clipwise, atol=1e-6, rtol=1e-5
        )


def test_a_network_that_uses_a_convolution_twice_is_left_as_it_is() -> None:
    from kikiwake.models._output import Output

    class Residual(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(1, 4, 3)
            self.norm = torch.nn.BatchNorm2d(4)
            self.norm.running_mean += 1.0  # type: ignore[operator]

        def forward(self, features: torch.Tensor) -> Output:
            found = self.conv(features)
            return Output((found + self.norm(found)).mean((2, 3)))

    network = Residual().eval()
    assert fold_batch_norms(network, torch.randn(2, 1, 9, 9)) is network


def test_the_summary_file_says_what_the_table_is_of(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.folder.parent / "tones", tmp_path / "tones")
    room.predict(run.folder, tmp_path / "tones", out=tmp_path / "preds.csv")
    content = json.loads((tmp_path / "preds.summary.json").read_text())
    assert content["counted"]["recordings"] == 12
    assert content["job"]["window"] == 4000
