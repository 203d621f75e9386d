"""Loggers get every epoch; without their package the error names the extra."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kikiwake.errors import MissingExtra
from kikiwake.training import train
from toys import toy_recipe, write_tones


def test_tensorboard_gets_every_epoch(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = train(toy_recipe(write_tones(tmp_path / "tones"), tmp_path / "run", tracking={"tensorboard": True}))
    events = EventAccumulator(str(run.folder / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("train_loss")] == [1, 2]
    assert "validation_accuracy" in events.Tags()["scalars"]


def test_weights_and_biases_logs_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    tracking = {"wandb": {"project": "tones", "mode": "offline"}}
    run = train(toy_recipe(write_tones(tmp_path / "tones"), tmp_path / "run", tracking=tracking))
    (log,) = (run.folder / "wandb").glob("offline-run-*/*.wandb")
    assert b"validation_accuracy" in log.read_bytes()


def test_a_missing_logger_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(MissingExtra, match=r"pip install 'kikiwake\[tensorboard\]'"):
        train(toy_recipe(write_tones(tmp_path / "tones"), tmp_path / "run", tracking={"tensorboard": True}))
