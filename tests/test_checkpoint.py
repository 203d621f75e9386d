"""Checkpoints give back what was put in, bit by bit, and refuse what they are not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kikiwake.checkpoint import read_state, read_weights, write_state, write_weights
from kikiwake.errors import RunError


def test_an_optimizer_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    def make() -> tuple[torch.nn.Linear, torch.optim.AdamW]:
        torch.manual_seed(0)
        layer = torch.nn.Linear(3, 2)
        return layer, torch.optim.AdamW(layer.parameters(), lr=0.1)

    def step(layer: torch.nn.Linear, optimizer: torch.optim.AdamW) -> None:
        optimizer.zero_grad()
        layer(torch.tensor([[1.0, 2.0, 3.0]])).square().sum().backward()
        optimizer.step()

    layer, optimizer = make()
    step(layer, optimizer)
    write_state(tmp_path / "state", {"layer": layer.state_dict(), "optimizer": optimizer.state_dict()})
    step(layer, optimizer)

    again, resumed = make()
    state = read_state(tmp_path / "state")
    again.load_state_dict(state["layer"])
    resumed.load_state_dict(state["optimizer"])
    step(again, resumed)
    assert torch.equal(layer.weight, again.weight)


def test_plain_values_and_nesting_survive(tmp_path: Path) -> None:
    state = {"a": [1, 2.5, None, True, "text"], 3: {"inner": torch.arange(3)}, "inf": float("-inf")}
    write_state(tmp_path / "state", state)
    read = read_state(tmp_path / "state")
    assert read["a"] == state["a"]
    assert read["inf"] == float("-inf")
    assert read[3]["inner"].tolist() == [0, 1, 2]


def test_a_damaged_or_foreign_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write_state(path, {"a": torch.ones(1000)})
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(RunError, match="cannot be read"):
        read_state(path)
    write_weights(path, {"a": torch.ones(2)})
    with pytest.raises(RunError, match="not a checkpoint of this version"):
        read_state(path)
    assert read_weights(path)["a"].tolist() == [1, 1]
