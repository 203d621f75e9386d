"""Loggers that people already look at: TensorBoard and Weights & Biases, each behind its extra."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from kikiwake.errors import require
from kikiwake.files import text_hash
from kikiwake.recipe import Recipe


class Tracker(Protocol):
    """Takes the metrics of every epoch."""

    def log(self, row: Mapping[str, Any], *, step: int) -> None:
        """Log one epoch's numbers; `step` counts epochs over all stages."""

    def close(self) -> None:
        """Write what is left and stop."""


def trackers(recipe: Recipe, *, folder: Path) -> list[Tracker]:
    """Start the loggers that the recipe asks for.

    Raises:
        MissingExtra: the package of one is not installed.
    """
    started: list[Tracker] = []
    if recipe.tracking.tensorboard:
        started.append(_TensorBoard(folder))
    if recipe.tracking.wandb:
        started.append(_WeightsAndBiases(recipe, folder))
    return started


class _TensorBoard:
    def __init__(self, folder: Path) -> None:
        require("tensorboard", extra="tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        self.writer: Any = SummaryWriter(str(folder / "tensorboard"))

    def log(self, row: Mapping[str, Any], *, step: int) -> None:
        for name, value in _numbers(row).items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


class _WeightsAndBiases:
    def __init__(self, recipe: Recipe, folder: Path) -> None:
        wandb = require("wandb", extra="wandb")
        settings = recipe.tracking.wandb
        assert settings is not None
        self.run = wandb.init(
            project=settings.project,
            mode=settings.mode,
            name=folder.name,
            id=text_hash(str(folder.resolve()))[:16],
            resume="allow",
            dir=str(folder),
            config=recipe.plain(),
            settings=wandb.Settings(console="off"),
        )

    def log(self, row: Mapping[str, Any], *, step: int) -> None:
        self.run.log(_numbers(row), step=step)

    def close(self) -> None:
        self.run.finish()


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in row.items() if isinstance(value, int | float)}
