"""MusicFM: equal to the published implementation, and a function of each clip's own samples alone."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import part_files
from kikiwake.errors import RecipeError, WeightsError
from kikiwake.frontends._musicfm_encoder import UNUSED, encoder_like
from kikiwake.frontends.musicfm import Musicfm
from kikiwake.weights import fill, without

RATE = 24_000


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return part_files.write_musicfm(tmp_path_factory.mktemp("musicfm"))[0]


def build(settings: dict[str, Any], **more: Any) -> Musicfm:
    return Musicfm(**{"sample_rate": RATE, "in_channels": 1, **settings, **more})


def noise(seconds: float, *, clips: int = 1, seed: int = 0) -> Tensor:
    shape = (clips, 1, round(seconds * RATE))
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 0.1, shape).astype(np.float32))


@pytest.fixture(scope="module")
def golden(data_folder: Path) -> Path:
    folder = data_folder / "golden"
    if not folder.is_dir():
        pytest.skip("the folder of real audio has no golden/")
    return folder


@pytest.fixture(scope="module")
def published(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The small model of the golden folder as settings: its weights as the published file wraps them."""
    folder = tmp_path_factory.mktemp("published")
    tensors = load_file(golden / "musicfm_tiny.safetensors")
    torch.save({"state_dict": {f"model.{name}": t for name, t in tensors.items()}}, folder / "tiny.pt")
    statistics = json.loads((golden / "musicfm_tiny.json").read_text())["statistics"]
    (folder / "stats.json").write_text(json.dumps(statistics))
    return {"weights": str(folder / "tiny.pt"), "statistics": str(folder / "stats.json")}


@pytest.mark.parametrize("layer", [0, 1, 2, 3])
def test_every_layer_equals_the_published_implementation(golden, published, layer):
    expected = np.load(golden / "musicfm_tiny_io.npz")
    part = build(published, layer=layer, pooling="none")
    found = part(torch.from_numpy(expected["waveform"])[:, None])
    assert part.out_channels == 32
    np.testing.assert_allclose(found.transpose(1, 2).numpy(), expected[f"hidden_{layer}"], rtol=0, atol=1e-5)


def test_the_full_model_is_loadable_by_its_published_names(golden):
    lines = (golden / "musicfm_names.txt").read_text().splitlines()
    shapes = {name: json.loads(shape) for name, shape in (line.split("\t") for line in lines if "\t" in line)}
    assert len(shapes) == 465
    tensors = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    encoder = encoder_like(tensors, where="names")
    assert (encoder.width, encoder.depth) == (1024, 12)
    assert 1024 // encoder.conformer.layers[0].self_attn.head == 16
    needed = without(tensors, UNUSED)
    assert {name: list(t.shape) for name, t in needed.items()} == {
        name: list(t.shape) for name, t in encoder.state_dict().items()
    }
    with pytest.raises(WeightsError, match=r"1 not known to the model: conv\.extra"):
        fill(encoder, needed | {"conv.extra": torch.empty(1, device="meta")}, where="names")


def test_a_name_that_musicfm_does_not_have_is_an_error(published, tmp_path):
    tensors = torch.load(published["weights"])["state_dict"]
    save_file({**tensors, "model.conformer.adapter": torch.ones(1)}, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=r"1 not known to the model: conformer\.adapter"):
        build(published, weights=str(tmp_path / "w.safetensors"))


def test_a_missing_tensor_is_an_error(files, tmp_path):
    tensors = load_file(files["weights"])
    del tensors["conformer.layers.1.ffn2.output_dense.bias"]
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=r"1 missing in the file: conformer\.layers\.1\.ffn2"):
        build(files, weights=str(tmp_path / "w.safetensors"))


def test_weights_of_another_network_are_told(files, tmp_path):
    save_file({"conv.weight": torch.ones(2)}, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match="not the weights of a MusicFM"):
        build(files, weights=str(tmp_path / "w.safetensors"))


@pytest.mark.parametrize("key", ["weights", "statistics"])
def test_files_that_are_not_named_are_asked_for(files, key):
    with pytest.raises(RecipeError, match=rf"frontend\.{key}: .*hub:minzwon/MusicFM/") as caught:
        build(files, **{key: None})
    assert "https://huggingface.co/minzwon/MusicFM" in str(caught.value)


@pytest.mark.parametrize("key", ["weights", "statistics"])
def test_files_that_are_not_there_are_told(files, tmp_path, key):
    with pytest.raises(WeightsError, match=r"nowhere.*check the path"):
        build(files, **{key: str(tmp_path / "nowhere")})


@pytest.mark.parametrize(
    "content",
    ["[]", "{}", "no json", '{"melspec_2048_mean": 1, "melspec_2048_std": 0}', '{"melspec_2048_mean": NaN}'],
)
def test_statistics_that_are_none_are_told(files, tmp_path, content):
    (tmp_path / "stats.json").write_text(content)
    with pytest.raises(WeightsError, match=r"stats\.json"):
        build(files, statistics=str(tmp_path / "stats.json"))


def test_files_of_the_hub_are_fetched_when_their_names_say_so(files, monkeypatch):
    import huggingface_hub

    asked = []

    def download(repository: str, file: str, *, revision: str | None) -> str:
        asked.append((repository, file, revision))
        return str(files["statistics" if file.endswith(".json") else "weights"])

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    part = build({"weights": "hub:ours/MusicFM@v1/big/m.pt", "statistics": "hub:ours/MusicFM/stats.json"})
    assert torch.equal(part(noise(1)), build(files)(noise(1)))
    assert sorted(asked) == [("ours/MusicFM", "big/m.pt", "v1"), ("ours/MusicFM", "stats.json", None)]


def test_a_hub_that_does_not_answer_is_told(files, monkeypatch):
    import huggingface_hub

    def download(*_: Any, **__: Any) -> str:
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(WeightsError, match=r"frontend\.weights: .*no route.*give its path"):
        build(files, weights="hub:minzwon/MusicFM@v1/pretrained_msd.pt")


@pytest.mark.parametrize("name", ["hub:MusicFM", "hub:minzwon/MusicFM", "hub:a b/c/d", "hub:"])
def test_a_name_that_is_no_file_of_the_hub_is_told(files, name):
    with pytest.raises(RecipeError, match=r"frontend\.weights: this names nothing on the hub"):
        build(files, weights=name)


def test_another_rate_is_refused(files):
    with pytest.raises(RecipeError) as caught:
        build(files, sample_rate=16_000)
    assert str(caught.value) == (
        "data.sample_rate: MusicFM expects 24000 Hz (got 16000); "
        "set data.sample_rate: 24000: recordings are converted when they are read"
    )


def test_several_channels_are_refused(files):
    with pytest.raises(RecipeError, match=r"data\.channels: .*\(got 2\); set data\.channels: 1"):
        build(files, in_channels=2)


@pytest.mark.parametrize("layer", [3, -3])
def test_a_layer_that_is_not_there_is_told(files, layer):
    with pytest.raises(RecipeError, match=r"frontend\.layer: the encoder has 2 layers .*give 0 to 2"):
        build(files, layer=layer)


def test_negative_layers_count_from_the_last(files):
    waveform = noise(1)
    for negative, positive in ((-1, 2), (-2, 1)):
        assert torch.equal(build(files, layer=negative)(waveform), build(files, layer=positive)(waveform))


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_vectors_are_pooled_over_time(files, pooling):
    waveform = noise(1.3, clips=2)
    frames = build(files, pooling="none")(waveform)
    assert frames.shape == (2, 16, math.ceil(1.3 * 100 / 4))
    expected = frames.mean(-1, keepdim=True) if pooling == "mean" else frames.amax(-1, keepdim=True)
    torch.testing.assert_close(build(files, pooling=pooling)(waveform), expected)


@pytest.mark.parametrize("samples", [0, 1, 239, 2400, 24_000, 24_001, 48_000, 50_399, 50_400, 71_999])
def test_as_many_vectors_come_as_are_promised(files, samples):
    part = build(files, pooling="none", chunk_seconds=1)
    found = part(noise(3)[..., :samples])
    assert found.shape == (1, 16, part.frames(samples))
    assert torch.isfinite(found).all()


def test_long_clips_are_encoded_in_chunks_that_do_not_see_each_other(files):
    part = build(files, pooling="none", chunk_seconds=1)
    waveform = noise(2.5)
    chunks = [part(waveform[..., start : start + RATE]) for start in range(0, waveform.shape[-1], RATE)]
    assert [chunk.shape[-1] for chunk in chunks] == [25, 25, 13]
    torch.testing.assert_close(part(waveform), torch.cat(chunks, dim=-1), rtol=1e-4, atol=1e-5)


def test_chunks_count_by_their_lengths(files):
    part = build(files, chunk_seconds=1)
    waveform = noise(1.25)
    first, second = part(waveform[..., :RATE]), part(waveform[..., RATE:])
    torch.testing.assert_close(part(waveform), 0.8 * first + 0.2 * second, rtol=1e-4, atol=1e-5)


def test_a_rest_too_short_to_say_anything_is_left_out(files):
    part = build(files, chunk_seconds=1)
    waveform = noise(1.09)
    torch.testing.assert_close(part(waveform), part(waveform[..., :RATE]))


@pytest.mark.parametrize("pooling", ["mean", "max", "none"])
def test_a_clip_knows_neither_its_padding_nor_its_neighbours(files, pooling):
    part = build(files, pooling=pooling, chunk_seconds=1)
    lengths = [60_000, 31_234, 1000]
    batch = noise(2.5, clips=3)
    found = part(batch, lengths=torch.tensor(lengths))
    for row, length in enumerate(lengths):
        alone = part(batch[row : row + 1, :, :length])
        torch.testing.assert_close(found[row : row + 1, :, : alone.shape[-1]], alone, rtol=1e-4, atol=1e-5)
        assert not found[row, :, alone.shape[-1] :].any()


def test_many_chunks_are_encoded_a_few_at_a_time(files, monkeypatch):
    part = build(files, chunk_seconds=1)
    expected = part(noise(4, clips=2))
    sizes = []
    encode = part.encode
    monkeypatch.setattr(part, "samples_at_once", 3 * RATE)
    monkeypatch.setattr(part, "encode", lambda chunks: sizes.append(len(chunks)) or encode(chunks))
    torch.testing.assert_close(part(noise(4, clips=2)), expected, rtol=1e-4, atol=1e-5)
    assert sizes == [3, 3, 2]


def test_the_encoder_never_learns(files):
    part = build(files).train()
    assert not any(module.training for module in part.modules())
    assert not any(parameter.requires_grad for parameter in part.parameters())
    before = {name: tensor.clone() for name, tensor in part.state_dict().items()}
    assert not part(noise(1).requires_grad_()).requires_grad
    assert all(torch.equal(before[name], tensor) for name, tensor in part.state_dict().items())


def test_autocast_acts_inside_and_vectors_are_float32(files):
    part = build(files)
    exact = part(noise(1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = part(noise(1))
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)
    torch.testing.assert_close(rounded, exact, rtol=0.1, atol=0.1)


def test_other_statistics_make_another_state(files, tmp_path):
    content = {"melspec_2048_mean": 0.0, "melspec_2048_std": 18.4}
    (tmp_path / "stats.json").write_text(json.dumps(content))
    one, other = build(files).state_dict(), build(files, statistics=str(tmp_path / "stats.json")).state_dict()
    assert [name for name in one if not torch.equal(one[name], other[name])] == ["level_mean"]
