"""The numbers of the recipe birdclef_sed are those of the system that it follows."""

from __future__ import annotations

from typing import Any

import pytest

from kikiwake.recipe import Recipe, Stage

CE, BCE = "cross_entropy", "binary_cross_entropy"
STAGES = {
    # loss, epochs, learning rate, its minimum, alphas of mixup and cutmix, target of secondary labels
    "pretrain_ce": (CE, 30, 3e-4, 1e-6, 0.2, 1.0, 0.0),
    "train_bce": (BCE, 25, 1e-4, 5e-7, 0.3, 1.2, 0.9),
    "finetune": (BCE, 15, 5e-5, 1e-7, 0.1, 0.8, 0.9),
    "retrain": (BCE, 20, 1e-5, 1e-7, 0.1, 0.8, 0.9),
}
"""What each stage has of its own; minimum and alphas of the last are not given, and are those of finetune."""


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return Recipe.load("birdclef_sed")


def numbers(recipe: Recipe, stage: Stage) -> tuple[Any, ...]:
    (mixing,) = stage.augmentations
    alphas = {part["name"]: part["alpha"] for part in mixing["parts"]}
    own = stage.secondary_target
    return (
        stage.loss,
        stage.epochs,
        stage.optimizer.learning_rate,
        stage.schedule["minimum"],
        alphas["mixup"],
        alphas["cutmix"],
        recipe.data.secondary_target if own is None else own,
    )


def test_the_stages_follow_each_other_with_their_own_numbers(recipe):
    assert {stage.name: numbers(recipe, stage) for stage in recipe.stages} == STAGES
    assert [stage.name for stage in recipe.stages] == list(STAGES)


@pytest.mark.parametrize("name", STAGES)
def test_what_all_stages_share(recipe, name):
    stage = next(stage for stage in recipe.stages if stage.name == name)

    assert stage.batch_size == 64
    assert (stage.optimizer.name, stage.optimizer.weight_decay) == ("adamw", 1e-4)
    assert stage.schedule["name"] == "cosine"
    assert (stage.monitor, stage.early_stopping) == ("macro_roc_auc", 5)
    assert (stage.sampling, stage.sampling_secondary) == ("balanced", 0.5)
    assert stage.framewise_loss == 0.5
    assert 0 < stage.label_smoothing < 1
    (mixing,) = stage.augmentations
    assert (mixing["p"], mixing["least"], mixing["most"]) == (0.7, 1, 1)


def test_data_and_split(recipe):
    data = recipe.data
    assert recipe.seed == 42
    assert data.sample_rate == 32_000
    assert data.crop == {"name": "loudest", "seconds": 10.0, "stride_seconds": 1.0, "jitter_seconds": 2.0}
    assert data.rating_floor == 0.1
    assert recipe.split.test == 1  # of five, which `kikiwake prepare` makes


def test_the_spectrogram(recipe):
    expected = {"name": "mel", "n_mels": 128, "n_fft": 2048, "hop_length": 512, "f_min": 0, "f_max": 16_000}
    assert {key: recipe.frontend[key] for key in expected} == expected
    assert recipe.frontend["top_db"] == 80
    assert recipe.frontend["normalise"] == {"name": "offset_scale", "offset": 80, "scale": 80}


def test_the_augmentations_and_how_often(recipe):
    waveform, spectrogram = recipe.augmentations

    assert (waveform["p"], spectrogram["p"]) == (0.8, 0.6)
    transforms = {part["transform"]: part["arguments"] for part in waveform["parts"] if "transform" in part}
    assert transforms["Gain"] == {"min_gain_db": -12, "max_gain_db": 12}
    assert transforms["AddGaussianSNR"] == {"min_snr_db": 5, "max_snr_db": 20}
    assert transforms["PitchShift"] == {"min_semitones": -4, "max_semitones": 4}
    assert transforms["TimeStretch"] == {"min_rate": 0.8, "max_rate": 1.25}
    assert {"BandPassFilter", "HighPassFilter", "LowPassFilter", "TimeMask"} < transforms.keys()
    others = {part["name"] for part in waveform["parts"]} - {"waveform"}
    assert others == {"impulse_response", "compressor"}
    assert (spectrogram["least"], spectrogram["most"]) == (2, 2)
    masks = {part["name"]: (part["masks"], part["max_width"]) for part in spectrogram["parts"]}
    assert masks == {"frequency_mask": (2, 15), "time_mask": (2, 35)}


def test_the_network_and_its_switches(recipe):
    assert recipe.model["name"] == "sed"
    assert recipe.model["backbone"] == "seresnext26t_32x4d"
    assert recipe.model["dropout"] == 0.5
    changed = Recipe.load(
        "birdclef_sed",
        "frontend.resolutions=[{n_fft: 4096, hop_length: 256}]",
        "model.attention_heads=4",
        "model.skip=true",
        "model.pooling=gem",
        "model.layer_norm=true",
    )
    assert changed.frontend["resolutions"] == [{"n_fft": 4096, "hop_length": 256}]


def test_what_is_heard_to_judge_five_seconds(recipe):
    predict = recipe.predict
    assert predict.window_seconds == 5.0
    assert predict.window_seconds + 2 * predict.context_seconds == recipe.data.crop["seconds"]
    assert predict.framewise
    shifts = [(shift.seconds, shift.weight) for shift in predict.shifts]
    assert shifts == [(-2.0, 0.25), (0.0, 0.5), (2.0, 0.25)]


def test_five_seconds_may_be_heard_in_training_and_prediction_as_the_guide_says():
    settings = ["data.crop.seconds=5", "predict.context_seconds=0", "predict.shifts=[]"]
    short = Recipe.load("birdclef_sed", *settings)
    assert short.data.crop["seconds"] == short.predict.window_seconds == 5.0


def test_the_pseudo_labels(recipe):
    stages = [stage.name for stage in recipe.stages if stage.pseudo is not None]
    assert stages == ["retrain"]
    pseudo = recipe.stages[-1].pseudo.model_dump(exclude={"recordings", "table", "teachers", "join"})
    assert pseudo == {
        "window_seconds": 5.0,
        "hop_seconds": 2.5,
        "keep": 0.6,
        "train": 0.7,
        "max_share": 0.3,
        "smoothing": 0.1,
        "silence_rms": 0.001,
        "weight": 0.7,
        "ratio": 0.5,
    }
