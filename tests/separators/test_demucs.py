"""Demucs: its own file format read without running it, and its own arithmetic span by span."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import part_files
from kikiwake.errors import RecipeError, SeparationError, WeightsError
from kikiwake.separators import SpanSeparation

demucs = part_files.import_demucs()

from kikiwake.separators.demucs import Demucs  # noqa: E402

RATE = 16_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    part_files.save_demucs(folder, part_files.tiny_demucs())
    return folder


def separated(part: Demucs, mixture: np.ndarray, *, start: int = 0, stop: int | None = None) -> np.ndarray:
    span = SpanSeparation(part, start=start, stop=stop)
    heard = mixture[:, span.first : span.last]
    return np.concatenate(list(span(np.split(heard, range(7000, heard.shape[1], 7000), axis=1))), axis=1)


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(5).normal(0, 0.1, (2, round(seconds * RATE))).astype(np.float32)


@pytest.mark.parametrize("seconds", [0.01, 1.5, 1.6, 7.03])
@pytest.mark.parametrize("overlap", [0.25, 0.5])
def test_stems_equal_those_of_demucs_itself(folder: Path, seconds: float, overlap: float) -> None:
    from demucs.apply import apply_model
    from demucs.pretrained import get_model

    mixture = noise(seconds)
    reference = get_model("tiny", repo=folder)
    expected = apply_model(reference, torch.from_numpy(mixture)[None], shifts=0, overlap=overlap)[0].mean(1)
    found = separated(Demucs(model="tiny", folder=folder, overlap=overlap), mixture)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)


def test_a_shorter_segment_is_demucss_too(folder: Path) -> None:
    from demucs.apply import apply_model

    mixture = noise(4)
    part = Demucs(model="tiny", folder=folder, segment_seconds=1.0)
    expected = apply_model(part.models[0], torch.from_numpy(mixture)[None], shifts=0, segment=1.0)[0].mean(1)
    np.testing.assert_allclose(separated(part, mixture), expected.numpy(), atol=1e-6)


def test_any_span_is_separated_as_the_whole_is(folder: Path) -> None:
    part, mixture = Demucs(model="tiny", folder=folder, batch_size=3), noise(8)
    whole = separated(part, mixture)
    for start, stop in [(0, 10), (50_000, 90_000), (100_000, None)]:
        np.testing.assert_allclose(
            separated(part, mixture, start=start, stop=stop), whole[:, start:stop], atol=1e-6
        )


def test_where_memory_runs_out_segments_are_separated_one_by_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixture = noise(4)
    expected = separated(Demucs(model="tiny", folder=folder), mixture)
    part = Demucs(model="tiny", folder=folder, batch_size=3)
    network = part.models[0]
    forward = network.forward
    room = [1]

    def limited(heard: torch.Tensor) -> torch.Tensor:
        if len(heard) > room[0]:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return forward(heard)

    monkeypatch.setattr(network, "forward", limited)
    np.testing.assert_allclose(separated(part, mixture), expected, atol=1e-6)
    assert part.batch_size == 1
    room[0] = 0
    remedies = r"batch_size: 1, data\.separator\.device: cpu .* data\.separator\.segment_seconds"
    with pytest.raises(SeparationError, match=rf"out of memory with 1 segment at a time; .*{remedies}"):
        separated(part, mixture)


def test_a_models_own_stems_keep_their_order(folder: Path, tmp_path: Path) -> None:
    assert Demucs(model="tiny", folder=folder).stems == ("drums", "bass", "other", "vocals")
    part_files.save_demucs(tmp_path, part_files.tiny_demucs(sources=("vocals", "piano")))
    assert Demucs(model="tiny", folder=tmp_path).stems == ("vocals", "piano")


def test_a_bag_of_models_is_their_weighted_mean(tmp_path: Path) -> None:
    networks = [part_files.tiny_demucs(seed=seed) for seed in (1, 2)]
    for number, network in enumerate(networks):
        part_files.save_demucs(tmp_path, network, name=f"one{number}", signature=f"sig{number}")
    bag = "models: [sig0, sig1]\nweights: [[1, 1, 1, 0], [3, 1, 0, 1]]\n"
    (tmp_path / "bag.yaml").write_text(bag)
    parts = [Demucs(model=f"one{number}", folder=tmp_path) for number in range(2)]
    mixture = torch.from_numpy(noise(1.5))[None]
    first, second = (part(mixture) for part in parts)
    expected = torch.stack(
        [(first[:, 0] + 3 * second[:, 0]) / 4, (first[:, 1] + second[:, 1]) / 2, first[:, 2], second[:, 3]], 1
    )
    torch.testing.assert_close(Demucs(model="bag", folder=tmp_path)(mixture), expected)
    assert len({part.identity for part in [*parts, Demucs(model="bag", folder=tmp_path)]}) == 3


def test_safetensors_files_are_the_same_model(folder: Path, tmp_path: Path) -> None:
    network = part_files.tiny_demucs()
    _, settings = network._init_args_kwargs
    plain = {**settings, "segment": {"_type": "fraction", "numerator": 3, "denominator": 2}}
    arguments = json.dumps(network._init_args_kwargs[0])
    metadata = {"klass": "demucs.htdemucs.HTDemucs", "args": arguments, "kwargs": json.dumps(plain)}
    state = {key: value.half().float().contiguous() for key, value in network.state_dict().items()}
    save_file(state, tmp_path / "tiny.safetensors", metadata=metadata)
    found, expected = Demucs(model="tiny", folder=tmp_path), Demucs(model="tiny", folder=folder)
    torch.testing.assert_close(found(torch.ones(1, 2, 24_000)), expected(torch.ones(1, 2, 24_000)))
    assert found.identity == expected.identity
    save_file(state, tmp_path / "evil.safetensors", metadata={**metadata, "klass": "os.system"})
    with pytest.raises(WeightsError, match=r"names a class that is no network of Demucs \(got 'os.system'\)"):
        Demucs(model="evil", folder=tmp_path)


class _Evil:
    def __reduce__(self):
        return os.system, ("touch evil",)


def test_code_in_a_model_file_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"klass": _Evil(), "args": (), "kwargs": {}, "state": {}}, tmp_path / "evil.th")
    with pytest.raises(WeightsError, match="could run any code"):
        Demucs(model="evil", folder=tmp_path)
    assert not (tmp_path / "evil").exists()


def test_a_damaged_or_missing_model_says_so(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no such Demucs model.*'nowhere'.*data\.separator\.folder"):
        Demucs(model="nowhere", folder=folder)
    file = part_files.save_demucs(tmp_path, part_files.tiny_demucs())
    content = bytearray(file.read_bytes())
    content[5000] ^= 1
    file.write_bytes(content)
    with pytest.raises(WeightsError, match=r"checksum is .* and its name says"):
        Demucs(model="tiny", folder=tmp_path)
    file.rename(tmp_path / "abcd1234.th").write_bytes(content[:3000])
    with pytest.raises(WeightsError, match="not a whole torch file"):
        Demucs(model="tiny", folder=tmp_path)


def test_nothing_is_fetched_unless_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub

    asked = []

    def download(repository: str, file: str, *, local_files_only: bool) -> str:
        asked.append((repository, file, local_files_only))
        raise huggingface_hub.errors.LocalEntryNotFoundError("not there")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(WeightsError, match=r"data\.separator\.download=true \(.*-o download=true\)"):
        Demucs()
    assert asked[0] == ("adefossez/HTDemucs", "htdemucs.yaml", True)
    assert all(local for _, _, local in asked)
    with pytest.raises(WeightsError, match="cannot be had from the Hugging Face hub"):
        Demucs(download=True)
    assert asked[-1][2] is False


def test_a_transformer_takes_no_longer_segment_than_its_own(folder: Path) -> None:
    with pytest.raises(RecipeError, match=r"segment_seconds: 'tiny' separates at most 1\.5 s at once"):
        Demucs(model="tiny", folder=folder, segment_seconds=9)


def test_an_unknown_device_is_an_error_of_the_recipe(folder: Path) -> None:
    with pytest.raises(RecipeError, match=r"data\.separator\.device"):
        Demucs(model="tiny", folder=folder, device="cuda:77")
