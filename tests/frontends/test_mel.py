from __future__ import annotations

import copy
import pickle
import warnings

import librosa
import numpy as np
import pytest
import soundfile
import torch
from torch import nn

from kikiwake import components
from kikiwake.errors import RecipeError
from kikiwake.frontends.mel import Mel
from kikiwake.randomness import torch_generator

RATE = 32_000
SMALL = {"n_fft": 512, "hop_length": 160, "n_mels": 32}


@pytest.fixture(scope="module")
def recordings(data_folder) -> list[tuple[np.ndarray, int]]:
    names = sorted((data_folder / "esc10").rglob("*.ogg"))[::57]
    return [soundfile.read(name, dtype="float32") for name in names]


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch_generator(seed))


def mel(**arguments) -> Mel:
    return Mel(sample_rate=RATE, in_channels=1, **{**SMALL, **arguments})


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"mel_scale": "htk", "mel_norm": None},
        {"mel_norm": None, "f_min": 50.0, "f_max": 14_000.0},
        {"power": 1.0},
        {"power": 1.0, "mel_scale": "htk"},
        {"padding": "reflect"},
        {"padding": "none"},
        {"n_fft": 1000, "hop_length": 333, "win_length": 801},
        {"n_fft": 801, "hop_length": 320, "n_mels": 40, "padding": "reflect"},
        {"n_fft": 4096, "hop_length": 256},
    ],
)
def test_real_clips_equal_librosa(recordings, arguments) -> None:
    arguments = {"n_fft": 2048, "hop_length": 512, "n_mels": 128, "f_max": 16_000.0, **arguments}
    for waveform, sample_rate in recordings:
        front_end = Mel(sample_rate=sample_rate, in_channels=1, decibels=False, **arguments)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = librosa.feature.melspectrogram(
                y=waveform,
                sr=sample_rate,
                n_fft=arguments["n_fft"],
                hop_length=arguments["hop_length"],
                win_length=arguments.get("win_length"),
                n_mels=arguments["n_mels"],
                fmin=arguments.get("f_min", 0.0),
                fmax=arguments["f_max"],
                htk=arguments.get("mel_scale") == "htk",
                norm=arguments.get("mel_norm", "slaney"),
                power=arguments.get("power", 2.0),
                center=arguments.get("padding") != "none",
                pad_mode=arguments.get("padding", "constant").replace("none", "constant"),
            )
        ours = front_end(torch.from_numpy(waveform)[None, None])[0, 0].numpy()
        # librosa transforms in double precision: 60 dB below the loudest, single precision is off by 1e-4.
        floor = theirs.max() * 10.0 ** (-60.0 / 20.0 * arguments.get("power", 2.0))
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * floor)
        assert np.linalg.norm(ours - theirs) < 1e-6 * np.linalg.norm(theirs)


@pytest.mark.parametrize("ref", [1.0, 0.25, "max"])
@pytest.mark.parametrize("power", [1.0, 2.0])
def test_decibels_equal_librosa(recordings, ref, power) -> None:
    for waveform, sample_rate in recordings:
        arguments = {"n_fft": 1024, "hop_length": 320, "n_mels": 64}
        front_end = Mel(
            sample_rate=sample_rate, in_channels=1, power=power, ref=ref, top_db=80.0, **arguments
        )
        energy = librosa.feature.melspectrogram(y=waveform, sr=sample_rate, power=power, **arguments)
        reference = np.max if ref == "max" else ref
        if power == 2.0:
            theirs = librosa.power_to_db(energy, ref=reference)
        else:
            reference = np.max if ref == "max" else ref**0.5
            theirs = librosa.amplitude_to_db(energy, ref=reference)
        ours = front_end(torch.from_numpy(waveform)[None, None])[0, 0].numpy()
        np.testing.assert_allclose(ours, theirs, atol=0.002)


@pytest.mark.filterwarnings("ignore:.*mel filters are empty")
@pytest.mark.parametrize("padding", ["constant", "reflect", "none"])
@pytest.mark.parametrize("n_fft", [2, 255, 256])
@pytest.mark.parametrize("samples", [0, 1, 2, 100, 129, 255, 256, 257, 1000])
def test_any_length_gives_the_promised_number_of_finite_frames(samples, n_fft, padding) -> None:
    front_end = mel(n_fft=n_fft, hop_length=100, n_mels=1, mel_norm=None, padding=padding)
    out = front_end(torch.ones(2, 1, samples))
    assert out.shape == (2, 1, 1, front_end.frames(samples))
    assert out.isfinite().all()


def test_a_short_clip_is_reflected_to_and_fro_as_in_numpy() -> None:
    front_end = mel(padding="reflect", decibels=False)
    for samples in (1, 2, 3, 100, 256, 257):
        waveform = noise(samples).numpy()
        padded = torch.from_numpy(np.pad(waveform, 256, mode="reflect"))
        by_hand = mel(padding="none", decibels=False)(padded[None, None])
        torch.testing.assert_close(front_end(torch.from_numpy(waveform)[None, None]), by_hand)


@pytest.mark.parametrize(
    "normalise",
    ["none", "standardise_channel", "offset_scale", "image_8bit", "batch_norm", "batch_norm_bins"],
)
@pytest.mark.parametrize("waveform", [torch.zeros(2, 1, 4000), torch.ones(2, 1, 4000), torch.ones(2, 1, 1)])
def test_silence_direct_current_and_one_sample_give_finite_features(waveform, normalise) -> None:
    front_end = mel(normalise=normalise, ref="max", top_db=80.0, size=(16, 24))
    assert front_end(waveform).isfinite().all()


def test_silence_lies_at_the_least_power() -> None:
    assert (mel(amin=1e-8)(torch.zeros(1, 1, 1000)) == -80.0).all()
    assert (mel(amin=1e-8, power=1.0)(torch.zeros(1, 1, 1000)) == -80.0).all()


def test_a_tone_lies_in_the_band_around_it() -> None:
    time = torch.arange(RATE) / RATE
    tone = torch.sin(2 * torch.pi * 3000.0 * time)[None, None]
    bands = mel(mel_scale="htk", n_mels=32)(tone)[0, 0, :, 50]
    corners = librosa.mel_frequencies(34, fmin=0.0, fmax=RATE / 2, htk=True)
    loudest = int(bands.argmax())
    assert corners[loudest] < 3000.0 < corners[loudest + 2]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_clip_has_the_same_bits_in_any_batch_and_with_any_number_of_threads(threads) -> None:
    front_end = mel(
        n_mels=64, normalise="standardise_channel", size=(48, 80), resolutions=[{"n_fft": 1024}], top_db=80.0
    )
    waveform = noise(7, 1, 20_000)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = torch.cat([front_end(clip[None]) for clip in waveform])
        torch.set_num_threads(threads)
        assert torch.equal(front_end(waveform), alone)
        assert torch.equal(front_end(waveform[3:5]), alone[3:5])
        assert torch.equal(front_end(waveform[6:]), alone[6:])
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_the_way_of_gpus_and_of_export_gives_the_same_values(monkeypatch) -> None:
    front_end = mel(resolutions=[{"n_fft": 1024, "hop_length": 80}], normalise="offset_scale", top_db=80.0)
    waveform = noise(3, 1, 9000)
    clip_by_clip = front_end(waveform)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(front_end(waveform), clip_by_clip, rtol=1e-5, atol=1e-5)


def test_channels_are_treated_as_clips_of_their_own() -> None:
    arguments = {**SMALL, "ref": "max", "top_db": 40.0, "normalise": "standardise_channel"}
    stems = noise(2, 3, 8000) * torch.tensor([1.0, 0.1, 10.0])[:, None]
    together = Mel(sample_rate=RATE, in_channels=3, **arguments)(stems)
    for channel in range(3):
        alone = Mel(sample_rate=RATE, in_channels=1, **arguments)(stems[:, channel : channel + 1])
        assert torch.equal(together[:, channel : channel + 1], alone)


def test_padding_behind_a_clip_does_not_change_its_features() -> None:
    front_end = mel(normalise="standardise_channel")
    clips = [noise(1, 1, samples, seed=samples) for samples in (3200, 8000)]
    batch = torch.cat([nn.functional.pad(clip, (0, 8000 - clip.shape[-1])) for clip in clips])
    out = front_end(batch, lengths=torch.tensor([3200, 8000]))
    for row, clip in zip(out, clips, strict=True):
        alone = front_end(clip)[0]
        torch.testing.assert_close(row[..., : alone.shape[-1]], alone)
        assert not row[..., alone.shape[-1] :].any()


def test_resolutions_follow_as_channels_in_the_shape_of_the_first() -> None:
    stems = noise(2, 2, 16_000)
    arguments = {**SMALL, "decibels": True}
    both = Mel(sample_rate=RATE, in_channels=2, resolutions=[{"n_fft": 1024, "hop_length": 80}], **arguments)
    out = both(stems)
    assert both.out_channels == 4
    assert out.shape == (2, 4, 32, both.frames(16_000))
    assert torch.equal(out[:, :2], Mel(sample_rate=RATE, in_channels=2, **arguments)(stems))
    finer = Mel(sample_rate=RATE, in_channels=2, **{**arguments, "n_fft": 1024, "hop_length": 80})(stems)
    resized = nn.functional.interpolate(finer, out.shape[-2:], mode="bilinear", antialias=True)
    torch.testing.assert_close(out[:, 2:], resized, rtol=1e-5, atol=1e-4)


def test_size_is_height_and_width() -> None:
    front_end = mel(size=(60, 70), normalise="batch_norm_bins")
    assert front_end(noise(2, 1, 16_000)).shape == (2, 1, 60, 70)
    assert front_end.frames(16_000) == 70


def test_the_spectrogram_is_float32_under_autocast_and_in_inference_mode() -> None:
    front_end = mel(normalise="standardise_channel")
    waveform = noise(2, 1, 8000)
    expected = front_end(waveform)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(front_end(waveform), expected)
    with torch.inference_mode():
        assert torch.equal(front_end(waveform), expected)
    assert torch.equal(front_end(waveform.double()), expected)


def test_batch_norm_trains_and_the_spectrogram_has_no_gradient() -> None:
    front_end = mel(normalise="batch_norm")
    waveform = noise(2, 1, 8000).requires_grad_()
    front_end(waveform).square().sum().backward()
    assert waveform.grad is None
    assert front_end.normalisation.norm.weight.grad is not None
    assert not torch.equal(front_end.normalisation.norm.running_mean, torch.zeros(1))


def test_the_state_holds_only_what_is_learned_and_copies_give_the_same() -> None:
    assert not mel().state_dict()
    assert all(name.startswith("normalisation.norm.") for name in mel(normalise="batch_norm").state_dict())
    front_end, waveform = mel(), noise(2, 1, 8000)
    for other in (copy.deepcopy(front_end), pickle.loads(pickle.dumps(front_end))):
        assert torch.equal(other(waveform), front_end(waveform))


@pytest.mark.parametrize(
    "arguments",
    [
        {"size": (40, 48), "normalise": "image_8bit", "padding": "reflect", "power": 1.0},
        {"resolutions": [{"n_fft": 1024, "hop_length": 80}], "normalise": "batch_norm_bins", "top_db": 80.0},
    ],
)
def test_onnx_takes_a_waveform_and_gives_the_same(arguments, tmp_path) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    front_end = mel(**arguments).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            front_end,
            (noise(3, 1, 8000),),
            dynamo=True,
            dynamic_shapes={"waveform": {0: torch.export.Dim("batch")}},
            verbose=False,
        )
    program.save(tmp_path / "mel.onnx")
    session = runtime.InferenceSession(tmp_path / "mel.onnx")
    waveform = noise(5, 1, 8000, seed=1)
    (theirs,) = session.run(None, {session.get_inputs()[0].name: waveform.numpy()})
    ours = front_end(waveform).detach().numpy()
    # A picture's levels are rounded: a value on the edge may fall to either side.
    off = np.abs(ours - theirs) > 1e-4 * np.abs(ours).max()
    assert off.mean() < (1e-3 if arguments["normalise"] == "image_8bit" else 1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_fft": 1}, "n_fft"),
        ({"f_max": 16_001}, r"mel.f_max: f_max lies above half the sample rate of 32000 Hz \(got 16001.0\)"),
        ({"f_min": 9000, "f_max": 8000}, "f_min is not below f_max"),
        ({"win_length": 1024}, r"give at most n_fft = 512"),
        ({"decibels": False, "top_db": 80}, "top_db needs decibels"),
        ({"normalise": "standardize_channel"}, r"frontend.normalise: .*did you mean 'standardise_channel'"),
        ({"normalise": {"name": "offset_scale", "ofset": 1}}, "did you mean 'offset'"),
        ({"power": 3}, "frontend.power"),
        ({"resolutions": [{"nfft": 1024}]}, "frontend.resolutions"),
        ({"mel_scale": "bark"}, "'slaney' or 'htk'"),
        ({"hop_lenght": 160}, "did you mean 'hop_length'"),
        ({"sample_rate": 8000}, "supplied by the pipeline"),
    ],
)
def test_wrong_recipes_are_refused_with_place_and_remedy(arguments, message) -> None:
    node = {"name": "mel", **SMALL, **arguments}
    with pytest.raises(RecipeError, match=message):
        components.build("frontends", node, where="frontend", sample_rate=RATE, in_channels=1)


def test_a_recipe_node_builds_the_front_end() -> None:
    node = {
        "name": "mel",
        **SMALL,
        "normalise": {"name": "offset_scale", "offset": 80, "scale": 80},
        "resolutions": [{"n_fft": 1024, "hop_length": 80}],
        "size": [32, 32],
        "ref": "max",
    }
    built = components.build("frontends", node, where="frontend", sample_rate=RATE, in_channels=2)
    assert built(noise(1, 2, 4000)).shape == (1, 4, 32, 32)
