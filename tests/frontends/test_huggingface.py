"""Encoders of transformers: what they say when called directly, and only what a clip's own samples say."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import part_files
import toys
from kikiwake.checkpoint import read_weights, write_weights
from kikiwake.errors import MissingExtra, RecipeError, WeightsError
from kikiwake.evaluation import evaluate
from kikiwake.frontends._texts import packed, unpacked
from kikiwake.frontends.huggingface import Huggingface
from kikiwake.prediction import load
from kikiwake.recipe import Recipe
from kikiwake.run import Run
from kikiwake.training import train

RATE = 16_000
WRITERS = {
    "wav2vec2": part_files.write_wav2vec2,
    "ast": part_files.write_ast,
    "whisper": part_files.write_whisper,
}


@pytest.fixture(scope="module")
def transformers() -> Any:
    return part_files.import_transformers()


@pytest.fixture(autouse=True)
def no_network(transformers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def folders(transformers: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    found = {}
    for name, write in WRITERS.items():
        found[name] = write(tmp_path_factory.mktemp(name))[0]["model"]
    return found


def build(model: str | Path, **more: Any) -> Huggingface:
    return Huggingface(**{"sample_rate": RATE, "in_channels": 1, "model": str(model), **more})


def noise(seconds: float, *, clips: int = 1) -> Tensor:
    shape = (clips, 1, round(seconds * RATE))
    return torch.from_numpy(np.random.default_rng(0).normal(0.02, 0.1, shape).astype(np.float32))


def states(transformers: Any, folder: str, waveform: Tensor) -> tuple[list[Tensor], Tensor]:
    """Hidden states and output of one clip, as transformers' documentation says to get them."""
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    if model.config.is_encoder_decoder:
        model = model.get_encoder()
    inputs = extractor(waveform[0, 0].numpy(), sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        found = model(**inputs, output_hidden_states=True)
    return list(found.hidden_states), found.last_hidden_state


@pytest.mark.parametrize("layer", [0, 1, 2, -1, -2])
@pytest.mark.parametrize("name", ["wav2vec2", "ast"])
def test_every_layer_is_what_transformers_says(transformers, folders, name, layer):
    waveform = noise(1.1)
    hidden, output = states(transformers, folders[name], waveform)
    expected = output if layer in (2, -1) else hidden[layer]
    found = build(folders[name], layer=layer, pooling="none")(waveform)
    torch.testing.assert_close(found.transpose(1, 2), expected, rtol=1e-5, atol=1e-6)
    pooled = build(folders[name], layer=layer)(waveform)
    torch.testing.assert_close(pooled[..., 0], expected.mean(1), rtol=1e-5, atol=1e-6)


def test_whisper_gives_the_vectors_of_the_clip_and_not_of_the_silence_behind(transformers, folders):
    waveform = noise(1.1)
    _, output = states(transformers, folders["whisper"], waveform)
    assert output.shape[1] == 100
    found = build(folders["whisper"], pooling="none")(waveform)
    torch.testing.assert_close(found.transpose(1, 2), output[:, :55], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        build(folders["whisper"], pooling="max")(waveform)[..., 0],
        output[:, :55].amax(1),
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize("pooling", ["mean", "max", "none"])
@pytest.mark.parametrize("name", list(WRITERS))
def test_a_clip_knows_neither_its_padding_nor_its_neighbours(folders, name, pooling):
    part = build(folders[name], pooling=pooling, chunk_seconds=1)
    lengths = [40_000, 21_234, 500]
    batch = noise(2.5, clips=3)
    found = part(batch, lengths=torch.tensor(lengths))
    assert found.shape == (3, part.out_channels, part.frames(40_000))
    for row, length in enumerate(lengths):
        alone = part(batch[row : row + 1, :, :length])
        torch.testing.assert_close(found[row : row + 1, :, : alone.shape[-1]], alone, rtol=1e-4, atol=1e-5)
        assert not found[row, :, alone.shape[-1] :].any()


def test_each_clip_is_normalised_by_its_own_level(transformers, tmp_path):
    part_files.write_wav2vec2(tmp_path, do_normalize=True)
    part, waveform = build(tmp_path), noise(1)
    batch = torch.cat([waveform, 20 * waveform + 0.1])
    found = part(batch)
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-4)
    part_files.write_wav2vec2(tmp_path, do_normalize=False)
    found = build(tmp_path)(batch)
    assert (found[0] - found[1]).abs().max() > 0.01


def test_a_model_of_fixed_input_length_hears_all_of_a_longer_clip(folders):
    part = build(folders["ast"], chunk_seconds=30)
    assert part.chunk == round(1.28 * RATE)
    waveform = noise(2.56)
    changed = waveform.clone()
    changed[..., -RATE // 2 :] = 0
    first, second = part(waveform[..., : part.chunk]), part(waveform[..., part.chunk :])
    torch.testing.assert_close(part(waveform), (first + second) / 2, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(part(changed), part(waveform))


def test_the_models_rate_is_asked_for(transformers, tmp_path):
    part_files.write_wav2vec2(tmp_path, sampling_rate=24_000)
    with pytest.raises(RecipeError, match=r"data\.sample_rate: .* expects 24000 Hz \(got 16000\)"):
        build(tmp_path)
    build(tmp_path, sample_rate=24_000)


def test_several_channels_are_refused(folders):
    with pytest.raises(RecipeError, match=r"data\.channels: .*\(got 2\)"):
        build(folders["wav2vec2"], in_channels=2)


def test_a_layer_that_is_not_there_is_told(folders):
    with pytest.raises(RecipeError, match=r"frontend\.layer: the encoder has 2 layers \(got 3\)"):
        build(folders["wav2vec2"], layer=3)


def test_a_folder_that_is_not_there_is_told_and_not_looked_for_elsewhere(monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "snapshot_download", None)
    with pytest.raises(WeightsError, match=r"there is no such folder \(got 'owner/name'\).*hub:owner/name"):
        build("owner/name")


def test_a_folder_that_holds_no_model_is_told(tmp_path):
    with pytest.raises(WeightsError, match=r"no audio model of transformers: there is no config\.json"):
        build(tmp_path)


def test_a_damaged_setting_is_told(transformers, tmp_path):
    part_files.write_wav2vec2(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WeightsError, match="transformers cannot load this model"):
        build(tmp_path)


def test_a_model_of_language_is_refused(transformers, tmp_path):
    config = transformers.BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=9
    )
    transformers.BertModel(config).save_pretrained(tmp_path)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    with pytest.raises(RecipeError, match=r"frontend\.model: BertModel does not turn audio into hidden"):
        build(tmp_path)


def test_weights_that_are_missing_are_not_made_up(transformers, tmp_path):
    from safetensors.torch import load_file, save_file

    part_files.write_wav2vec2(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    del tensors["encoder.layers.1.attention.k_proj.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"1 weights are missing .*layers\.1\.attention\.k_proj\.weight"):
        build(tmp_path)


@pytest.mark.parametrize("keep", [0, 100])
def test_damaged_weights_are_told(transformers, tmp_path, keep):
    part_files.write_wav2vec2(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(WeightsError, match="transformers cannot load this model"):
        build(tmp_path)


def test_a_torch_file_of_tensors_loads_as_well(transformers, tmp_path):
    part_files.write_wav2vec2(tmp_path)
    expected = build(tmp_path)(noise(1))
    model = transformers.AutoModel.from_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    torch.testing.assert_close(build(tmp_path)(noise(1)), expected)


class Hostile:
    """A pickle that runs a command when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


def test_a_pickle_that_runs_code_is_not_run(transformers, tmp_path):
    part_files.write_wav2vec2(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save({"weight": Hostile(tmp_path / "was_here")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="transformers cannot load this model"):
        build(tmp_path)
    assert not (tmp_path / "was_here").exists()


def test_code_of_a_model_runs_only_by_the_users_word(transformers, tmp_path):
    part_files.write_wav2vec2(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModel": "own.Own"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "own.py").write_text(f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n")
    with pytest.raises(RecipeError, match=r"frontend\.trust_remote_code: .*read the \*\.py files"):
        build(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_model_of_the_hub_is_fetched_when_its_name_says_so(folders, monkeypatch):
    import huggingface_hub

    asked = []

    def download(repository: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((repository, revision, allow_patterns))
        return folders["wav2vec2"]

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert torch.equal(build("hub:owner/name@v2")(noise(1)), build(folders["wav2vec2"])(noise(1)))
    assert asked == [("owner/name", "v2", ["*.json", "*.py", "model*.safetensors"])]


def test_a_hub_that_does_not_answer_is_told():
    with pytest.raises(WeightsError, match=r"frontend\.model: cannot be had from the Hugging Face hub"):
        build("hub:owner/name-that-is-not-in-any-cache")


def test_other_settings_make_another_state(transformers, tmp_path):
    part_files.write_wav2vec2(tmp_path, do_normalize=True)
    one = build(tmp_path).state_dict()
    part_files.write_wav2vec2(tmp_path, do_normalize=False)
    other = build(tmp_path).state_dict()
    assert [name for name in one if not torch.equal(one[name], other[name])] == ["settings"]


@pytest.mark.parametrize("name", list(WRITERS))
def test_the_encoder_never_learns(folders, name):
    part = build(folders[name]).train()
    assert not any(module.training for module in part.modules())
    assert not any(parameter.requires_grad for parameter in part.parameters())
    assert not part(noise(1).requires_grad_()).requires_grad


@pytest.mark.parametrize("name", list(WRITERS))
def test_autocast_acts_inside_and_vectors_are_float32(folders, name):
    part = build(folders[name])
    exact = part(noise(1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = part(noise(1))
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)
    torch.testing.assert_close(rounded, exact, rtol=0.1, atol=0.1)


def test_a_missing_package_is_named_with_its_extra(folders, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtra, match=r"kikiwake\[embeddings\]"):
        build(folders["wav2vec2"])


@pytest.mark.parametrize("name", list(WRITERS))
def test_a_state_makes_the_same_encoder_without_its_folder(transformers, tmp_path, name):
    WRITERS[name](tmp_path / "model")
    settings = tmp_path / "model" / "config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"dtype": "float16"}))
    first = build(tmp_path / "model", layer=1, pooling="none")
    state = first.state_dict()
    shutil.rmtree(tmp_path / "model")
    before = torch.random.get_rng_state()
    second = build(tmp_path / "model", layer=1, pooling="none", saved=state)
    assert torch.equal(torch.random.get_rng_state(), before)
    second.load_state_dict(state)
    waveform = noise(2.5, clips=2)
    assert second(waveform).dtype == torch.float32
    assert torch.equal(second(waveform), first(waveform))


def test_settings_that_go_before_the_others_are_kept(transformers, tmp_path):
    part_files.write_wav2vec2(tmp_path, do_normalize=False)
    extractor = json.loads((tmp_path / "preprocessor_config.json").read_text()) | {"do_normalize": True}
    (tmp_path / "processor_config.json").write_text(json.dumps({"feature_extractor": extractor}))
    state = build(tmp_path).state_dict()
    assert build(tmp_path, saved=state).extractor.do_normalize


def test_a_state_names_no_file_that_it_may_write(tmp_path, folders):
    state = build(folders["wav2vec2"]).state_dict()
    foreign = {**unpacked(state["settings"]), "../outside.json": "{}", str(tmp_path / "outside.json"): "{}"}
    build("gone", saved={**state, "settings": packed(foreign)})
    assert not list(tmp_path.iterdir())


def test_code_of_a_model_is_not_taken_from_a_state(folders):
    state = build(folders["wav2vec2"]).state_dict()
    kept = unpacked(state["settings"])
    config = json.loads(kept["config.json"]) | {"auto_map": {"AutoConfig": "own.Own", "AutoModel": "own.Own"}}
    own = {**state, "settings": packed({**kept, "config.json": json.dumps(config | {"model_type": "own"})})}
    with pytest.raises(RecipeError, match=r"frontend\.trust_remote_code"):
        build("gone", saved=own)
    with pytest.raises(WeightsError, match="there is no such folder"):
        build("gone", saved=own, trust_remote_code=True)


def recipe_of_tones(folder: Path, *, run: str) -> Recipe:
    """A recipe that trains an MLP on the vectors of a Wav2Vec2 in `folder`/model."""
    toys.write_tones(folder / "tones")
    return toys.toy_recipe(
        folder / "tones" / "manifest.csv",
        folder / run,
        frontend={"name": "huggingface", "model": str(folder / "model")},
        model={"name": "mlp"},
        augmentations=[{"name": "speed"}],
    )


def test_a_run_stands_without_the_folder_of_its_encoder(transformers, tmp_path):
    part_files.write_wav2vec2(tmp_path / "model", sampling_rate=toys.SAMPLE_RATE)
    run = train(recipe_of_tones(tmp_path, run="run"))
    sound = tmp_path / "tones" / "high_0.wav"
    before = load(run).predict(sound, workers=0).probabilities
    scores = evaluate(run, replicates=0).scores
    shutil.rmtree(tmp_path / "model")
    run.folder.rename(tmp_path / "moved")
    assert np.array_equal(load(tmp_path / "moved").predict(sound, workers=0).probabilities, before)
    assert evaluate(tmp_path / "moved", replicates=0).scores == scores


def test_an_interrupted_run_goes_on_without_the_folder_of_its_encoder(transformers, tmp_path, monkeypatch):
    part_files.write_wav2vec2(tmp_path / "model", sampling_rate=toys.SAMPLE_RATE)
    whole = train(recipe_of_tones(tmp_path, run="whole"))
    interrupted = recipe_of_tones(tmp_path, run="interrupted")
    write = Run.write_metrics

    def interrupt(self: Run, rows: Any) -> None:
        write(self, rows)
        if len(rows) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "write_metrics", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(interrupted)
    monkeypatch.setattr(Run, "write_metrics", write)
    shutil.rmtree(tmp_path / "model")
    assert train(interrupted).model_file.read_bytes() == whole.model_file.read_bytes()


def test_a_run_that_kept_a_hash_of_the_settings_needs_the_folder(transformers, tmp_path):
    part_files.write_wav2vec2(tmp_path / "model", sampling_rate=toys.SAMPLE_RATE)
    run = train(recipe_of_tones(tmp_path, run="run"))
    sound = tmp_path / "tones" / "high_0.wav"
    expected = load(run).predict(sound, workers=0).probabilities
    weights = read_weights(run.model_file)
    digest = torch.arange(20, dtype=torch.uint8)
    write_weights(run.model_file, {**weights, "frontend.settings": digest})
    assert np.array_equal(load(run.folder).predict(sound, workers=0).probabilities, expected)
    shutil.rmtree(tmp_path / "model")
    with pytest.raises(WeightsError, match="there is no such folder"):
        load(run.folder)
