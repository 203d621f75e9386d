"""Context, shifts and rows of frames, by numbers worked out by hand and against a plain reference."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from kikiwake import audio
from kikiwake import prediction as room
from kikiwake.data import ClipDataset
from kikiwake.engine import Engine
from kikiwake.errors import KikiwakeError, RecipeError
from kikiwake.judging import Judge, judge_of, lengths_near
from kikiwake.loader import Loader
from kikiwake.models._output import Output
from kikiwake.prediction import _units
from kikiwake.prediction._frame_rows import FrameRows
from kikiwake.prediction._window_scores import UnitScores
from kikiwake.recipe import Recipe
from kikiwake.run import Run
from kikiwake.scoring import score_clips
from test_prediction import untrained_run, write
from toys import SAMPLE_RATE, toy_recipe, write_tones

CPU = Engine(torch.device("cpu"), None)
SED = {"name": "sed", "backbone": "test_resnet"}
STAGES = [
    {
        "epochs": 1,
        "batch_size": 4,
        "loss": "binary_cross_entropy",
        "optimizer": {"name": "adam", "learning_rate": 1e-3},
    }
]
PREDICT = {
    "window_seconds": 0.4,
    "context_seconds": 0.2,
    "framewise": True,
    "shifts": [
        {"seconds": -0.1, "weight": 0.25},
        {"seconds": 0.0, "weight": 0.5},
        {"seconds": 0.1, "weight": 0.25},
    ],
}


def echo(waveforms: torch.Tensor, lengths: torch.Tensor) -> Output:
    """A network of one class whose frames are the samples, and whose word on all is their mean."""
    return Output(waveforms.mean(-1), waveforms)


CLASSIFIER: Any = SimpleNamespace(multilabel=True, probabilities=torch.sigmoid)
SAMPLES = torch.tensor([[[9.0, -2.0, 4.0, 0.0, 1.0, -1.0, 0.5, 8.0, -4.0, 2.0]]])


def judged(**settings: Any) -> torch.Tensor:
    return Judge(**settings)(CLASSIFIER, SAMPLES, torch.tensor([10]), network=echo).probabilities


def test_a_window_by_itself_is_judged_as_a_whole():
    assert judged(window=10).tolist() == torch.tensor([[[1.75]]]).sigmoid().tolist()


def test_the_context_is_heard_and_its_frames_do_not_count():
    # Samples 3 to 6 are the window: the 4 and the 8 beside it are context.
    torch.testing.assert_close(judged(window=4, context=3, framewise=True), torch.tensor([[[1.0]]]).sigmoid())
    torch.testing.assert_close(judged(window=4, context=3), torch.tensor([[[1.75]]]).sigmoid())


def test_shifts_move_what_is_heard_and_average_probabilities():
    shifts = ((-1, 0.25), (0, 0.5), (1, 0.25))
    # Eight samples are heard, from the first, second and third on: their sums are 19.5, 6.5 and 10.5.
    by_hand = [
        weight * torch.tensor(total / 8).sigmoid()
        for weight, total in zip((0.25, 0.5, 0.25), (19.5, 6.5, 10.5), strict=True)
    ]
    torch.testing.assert_close(judged(window=4, context=2, shifts=shifts).flatten(), sum(by_hand)[None])


def test_shifts_leave_the_windows_own_frames_the_windows_own():
    shifts = ((-1, 0.25), (0, 0.5), (1, 0.25))
    found = judged(window=4, context=2, shifts=shifts, framewise=True)
    torch.testing.assert_close(found, torch.tensor([[[1.0]]]).sigmoid())


def test_rows_are_the_maximum_of_their_frames():
    found = judged(window=4, context=3, framewise=True, row=2)
    torch.testing.assert_close(found, torch.tensor([[[1.0], [0.5]]]).sigmoid())


def test_overlapping_windows_are_averaged_row_by_row():
    joiner = FrameRows(row=10)
    spans = np.array([[0, 0, 40], [0, 20, 40], [0, 40, 25], [2, 0, 15]])
    probabilities = np.array(
        [
            [[0.1], [0.2], [0.3], [0.4]],
            [[0.5], [0.6], [0.7], [0.8]],
            [[0.9]] * 4,
            [[0.3], [0.4], [1.0], [1.0]],
        ],
        np.float32,
    )

    found = [*joiner.add(UnitScores(spans[:2], probabilities[:2], []))]
    found += joiner.add(UnitScores(spans[2:], probabilities[2:], []))
    found += joiner.rest()

    first = np.concatenate([rows.probabilities[:, 0] for rows in found if rows.recording == 0])
    np.testing.assert_allclose(first, [0.1, 0.2, 0.4, 0.5, 0.8, 0.85, 0.9], atol=1e-6)
    assert np.concatenate([rows.ends for rows in found if rows.recording == 0]).tolist() == [
        10, 20, 30, 40, 50, 60, 65,
    ]  # fmt: skip
    (last,) = [rows for rows in found if rows.recording == 2]
    assert last.starts.tolist() == [0, 10]
    assert last.ends.tolist() == [10, 15]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("judging")
    return untrained_run(folder, model=SED, stages=STAGES, predict=PREDICT, augmentations=[])


def reference(run: Run, path: Path, *, hop: int, row: int | None = None) -> list[np.ndarray]:
    """Windows of a recording, padded with zeros on both sides and judged one by one."""
    judge = judge_of(run.recipe, window=3200, frame_seconds=None if row is None else row / SAMPLE_RATE)
    waveform = audio.load(path, sample_rate=SAMPLE_RATE).waveform
    padded = np.pad(waveform, ((0, 0), (judge.margin, judge.margin + judge.window)))
    classifier = run.classifier()
    found = []
    with torch.inference_mode():
        for start in range(0, max(1, waveform.shape[1] - judge.window + hop), hop):
            stretch = torch.from_numpy(padded[None, :, start : start + judge.stretch].copy())
            found.append(judge(classifier, stretch, torch.tensor([judge.stretch])).probabilities[0].numpy())
    return found


@pytest.mark.parametrize("seconds", [0.15, 0.4, 0.55, 1.9, 5.03])
@pytest.mark.parametrize("workers", [0, 2])
def test_context_is_read_across_units_as_if_the_recording_were_one(
    run, tmp_path, monkeypatch, seconds, workers
):
    monkeypatch.setattr(_units, "UNIT_WINDOWS", 3)
    path = write(tmp_path / "a.wav", seconds=seconds)

    found = room.load(run.folder).predict(path, workers=workers, batch_size=2)

    expected = reference(run, path, hop=3200)
    assert len(found) == len(expected)
    np.testing.assert_allclose(found.probabilities, np.concatenate(expected), atol=1e-5)


def test_clips_are_scored_as_recordings_are(run):
    found = room.load(run.folder).predict([clip.path for clip in run.manifest], workers=0)
    loader = Loader(ClipDataset(run.manifest, data=run.recipe.data, seed=0), 0, print)
    expected = score_clips(
        run.classifier(), loader, indices=range(len(run.manifest)), recipe=run.recipe, engine=CPU
    )
    np.testing.assert_array_equal(found.starts * SAMPLE_RATE, expected.starts)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-5)


def test_rows_of_frames_cover_the_recording_once(run, tmp_path, monkeypatch):
    monkeypatch.setattr(_units, "UNIT_WINDOWS", 3)
    path = write(tmp_path / "a.wav", seconds=2.03)

    room.predict(run.folder, path, out=tmp_path / "p.csv", hop_seconds=0.2, frame_seconds=0.1)
    found = room.Predictions.read(tmp_path / "p.csv")

    np.testing.assert_allclose(found.starts, np.arange(21) * 0.1, atol=1e-6)
    np.testing.assert_allclose(found.ends, [*(np.arange(1, 21) * 0.1), 2.03], atol=1e-6)
    windows = reference(run, path, hop=1600, row=800)
    sums, counts = np.zeros((30, 3)), np.zeros(30)
    for number, rows in enumerate(windows):
        reach = min(4, 21 - 2 * number)
        sums[2 * number : 2 * number + reach] += rows[:reach]
        counts[2 * number : 2 * number + reach] += 1
    np.testing.assert_allclose(found.probabilities, sums[:21] / counts[:21, None], atol=1e-5)


def test_onnx_judges_frames_as_torch_does(run, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    path = write(tmp_path / "a.wav", seconds=2.0)
    predictor = room.load(run.folder)
    exact, exported = (predictor.predict(path, engine=engine) for engine in ("torch", "onnx"))
    np.testing.assert_allclose(exported.probabilities, exact.probabilities, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"frame_seconds": 0.15}, r"do not fill windows.*give 0\.\d+ or 0\.\d+"),
        ({"frame_seconds": 0.1, "hop_seconds": 0.25}, "do not begin where rows of them do"),
    ],
)
def test_rows_that_fit_no_grid_are_refused(run, tmp_path, options, said):
    with pytest.raises(KikiwakeError, match=said):
        room.load(run.folder).predict(write(tmp_path / "a.wav"), **options)


def test_rows_of_a_model_without_frames_are_refused(tmp_path):
    plain = untrained_run(tmp_path)
    with pytest.raises(RecipeError, match="need a network that judges frames"):
        room.load(plain.folder).predict(write(tmp_path / "a.wav"), frame_seconds=0.1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"predict": {"framewise": True}, "stages": STAGES}, "'fcn' judges no frames"),
        ({"model": SED, "predict": {"framewise": True}}, "class by class"),
        (
            {
                "model": SED,
                "stages": STAGES,
                "predict": {"framewise": True, "shifts": [{"seconds": -2.0, "weight": 1.0}]},
            },
            "moves a window's own frames out",
        ),
    ],
)
def test_ways_of_judging_that_the_model_has_not_are_refused(tmp_path, changes, said):
    manifest = write_tones(tmp_path / "tones", clips_per_class=4)
    with pytest.raises(RecipeError, match=said):
        Recipe.load(toy_recipe(manifest, tmp_path / "run", **changes))


@pytest.mark.parametrize(
    ("row", "expected"), [(1102, "0.047619 or 0.0510204"), (2205, "0.1"), (200_000, "5")]
)
def test_lengths_that_would_fit_are_named(row: int, expected: str) -> None:
    assert lengths_near(row, part_of=110_250, sample_rate=22_050) == expected
    for seconds in expected.split(" or "):
        assert 110_250 % round(float(seconds) * 22_050) == 0
