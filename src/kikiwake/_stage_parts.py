"""The augmentations of a stage, built from its recipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from kikiwake import components
from kikiwake.errors import RecipeError
from kikiwake.recipe import Recipe, Stage


def build_augmentations(recipe: Recipe, stage: Stage, frontend: nn.Module) -> list[Any]:
    """Build the recipe's augmentations and, after them, the stage's own.

    Raises:
        RecipeError: one cannot be built from its arguments.
    """
    nodes = [(f"augmentations.{at}", node) for at, node in enumerate(recipe.augmentations)]
    own = f"stages.{stage.name}.augmentations"
    nodes += [(f"{own}.{at}", node) for at, node in enumerate(stage.augmentations)]
    return _built(recipe, nodes, frontend)


def build_extra(recipe: Recipe, stage: Stage, frontend: nn.Module) -> list[Any]:
    """Build the augmentations of the stage's extra examples.

    Raises:
        RecipeError: one cannot be built from its arguments, or mixes clips.
    """
    own = f"stages.{stage.name}.extra.augmentations"
    nodes = [
        (f"{own}.{at}", node) for at, node in enumerate(stage.extra.augmentations if stage.extra else ())
    ]
    parts = _built(recipe, nodes, frontend)
    for (where, node), part in zip(nodes, parts, strict=True):
        if part.level == "batch":
            raise RecipeError(
                "an extra example is changed by itself, and this mixes clips",
                where=where,
                value=node["name"],
                remedy="move it to the stage's augmentations",
            )
    return parts


def _built(recipe: Recipe, nodes: Sequence[tuple[str, dict[str, Any]]], frontend: nn.Module) -> list[Any]:
    supplied = {"sample_rate": recipe.data.sample_rate, "mel_bands": getattr(frontend, "mel_bands", [])}
    return [components.build("augmentations", node, where=where, **supplied) for where, node in nodes]
