"""How to separate: as a recipe says, or with a separator alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kikiwake import components
from kikiwake.errors import RecipeError
from kikiwake.recipe import Data, Recipe


def separation_settings(
    *,
    recipe: str | Path | Recipe | None = None,
    overrides: Sequence[str] = (),
    separator: str | None = None,
    options: Mapping[str, Any] | None = None,
    sample_rate: int | None = None,
    cache_folder: Path | None = None,
) -> Data:
    """Return how to separate: as a recipe says, or with a separator, its `options` and a rate in Hz (22,050).

    Raises:
        RecipeError: both or none are given, the recipe separates nothing, or an option is wrong or of no use.
    """
    if (recipe is None) == (separator is None):
        raise RecipeError("give either a recipe or a separator", where="separate")
    if recipe is not None and (options or sample_rate):
        what = "the options and sample rate of a separator do not go with a recipe"
        raise RecipeError(
            what, where="separate", remedy="write data.separator={...} data.sample_rate=... behind"
        )
    if separator is not None and overrides:
        what = "settings of a recipe do not go with a separator alone"
        raise RecipeError(
            what, where="separate", value=list(overrides), remedy="use --option and --sample-rate"
        )
    if recipe is not None:
        data = Recipe.load(recipe, *overrides).data
        if data.separator is None:
            raise RecipeError("this recipe separates nothing", where="data.separator", value=None)
        return data if cache_folder is None else data.model_copy(update={"cache_folder": cache_folder})
    node = components.resolve("separators", {"name": separator, **(options or {})}, where="--separator")
    return Data(
        sample_rate=sample_rate or 22_050,
        crop={"name": "whole"},
        separator=node,
        stems=list(components.part("separators", node["name"]).stems),
        cache_folder=cache_folder,
    )
