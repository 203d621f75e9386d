from __future__ import annotations

import os
import re

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from kikiwake.errors import WeightsError
from kikiwake.weights import load_weights, read_tensors, strip_prefix


def network() -> nn.Module:
    torch.manual_seed(4)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(8, 2))


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_weights_come_back_as_they_were_saved(tmp_path, suffix):
    source, target = network(), network()
    nn.init.zeros_(target[0].weight)
    path = tmp_path / f"weights.{suffix}"
    save_file(source.state_dict(), path) if suffix == "safetensors" else torch.save(source.state_dict(), path)
    load_weights(target, path)
    assert same(source, target)


@pytest.mark.parametrize("prefix", ["module.", "model.", "network.backbone.", "module.model.net."])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_prefixes_and_wrappers_of_training_programs_are_taken_off(tmp_path, prefix, wrapper):
    source, target = network(), network()
    nn.init.zeros_(target[0].weight)
    state = {prefix + name: tensor for name, tensor in source.state_dict().items()}
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, tmp_path / "w.pt")
    load_weights(target, tmp_path / "w.pt")
    assert same(source, target)


def test_the_prefix_is_the_one_under_which_most_names_are_found():
    tensors = {"a.x": torch.ones(1), "a.b.x": torch.ones(1), "a.b.y": torch.ones(1), "c.x": torch.ones(1)}
    assert list(strip_prefix(tensors, {"x", "y"})) == ["a.x", "x", "y", "c.x"]


def test_names_that_differ_are_told_with_their_number(tmp_path):
    state = {f"layer{number}.weight": torch.ones(1) for number in range(8)}
    torch.save(state | network().state_dict(), tmp_path / "w.pt")
    listed = "layer0.weight, layer1.weight, layer2.weight, layer3.weight, layer4.weight, and 3 more"
    with pytest.raises(WeightsError, match=re.escape(f"8 not known to the model: {listed}")):
        load_weights(network(), tmp_path / "w.pt")


def test_missing_names_and_other_shapes_are_told(tmp_path):
    state = network().state_dict()
    del state["3.bias"]
    state["0.weight"] = torch.ones(6, 1, 3, 3)
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(WeightsError) as caught:
        load_weights(network(), tmp_path / "w.pt")
    assert "1 missing in the file: 3.bias" in str(caught.value)
    assert "0.weight is [6, 1, 3, 3] in the file and [4, 1, 3, 3] in the model" in str(caught.value)
    assert str(tmp_path / "w.pt") in str(caught.value)


def test_a_model_is_untouched_by_weights_that_do_not_fit(tmp_path):
    target = network()
    torch.save(
        {name: tensor + 1 for name, tensor in list(target.state_dict().items())[:3]}, tmp_path / "w.pt"
    )
    with pytest.raises(WeightsError):
        load_weights(target, tmp_path / "w.pt")
    assert same(target, network())


def test_files_from_before_batch_norms_counter_load(tmp_path):
    source = network()
    state = {k: v for k, v in source.state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "w.pt")
    load_weights(network(), tmp_path / "w.pt")


class Hostile:
    """A pickle that runs a command when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path, legacy):
    trace = tmp_path / "was_here"
    state = {**network().state_dict(), "extra": Hostile(trace)}
    torch.save(state, tmp_path / "w.pt", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(WeightsError, match=r"could run any code.*save its tensors alone"):
        read_tensors(tmp_path / "w.pt")
    assert not trace.exists()


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(WeightsError, match=r"nowhere\.pt: there is no such weights file"):
        read_tensors(tmp_path / "nowhere.pt")


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
@pytest.mark.parametrize("keep", [0, 5, 300])
def test_damaged_files_are_told(tmp_path, suffix, keep):
    path = tmp_path / f"w.{suffix}"
    save_file(network().state_dict(), path) if suffix == "safetensors" else torch.save({}, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WeightsError, match=re.escape(str(path))):
        read_tensors(path)


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [torch.ones(2)], torch.ones(2)])
def test_a_file_without_named_tensors_is_told(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="no named tensors"):
        read_tensors(tmp_path / "w.pt")


def test_weights_that_are_not_finite_are_told(tmp_path):
    torch.save({"good": torch.ones(2), "bad": torch.tensor([1.0, float("nan")])}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="not finite in bad"):
        read_tensors(tmp_path / "w.pt")
