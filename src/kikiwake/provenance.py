"""Where the weights of a stage come from: which data, which settings, which weights before them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from kikiwake import __version__
from kikiwake._stage_clips import StageClips
from kikiwake._stage_tables import table_hashes
from kikiwake.files import content_hash, write_json
from kikiwake.run import Run


def write(
    run: Run, number: int, clips: StageClips, *, kept: Mapping[str, Any] | None, left_out: str | None
) -> None:
    """Write `stages/<name>.json` beside the weights that stage `number` has just handed on.

    `kept`: the row of metrics of the epoch whose weights these are. `left_out`: why it trained nothing.

    Raises:
        StorageError: it cannot be written.
    """
    stage = run.recipe.stages[number]
    weights = run.stage_file(stage.name)
    write_json(
        weights.with_suffix(".json"),
        {
            "kikiwake": __version__,
            "stage": stage.name,
            "weights": content_hash(weights),
            "parent": _parent(run, number),
            "left_out": left_out,
            "data": {
                "manifest": clips.manifest.hash(),
                "clips": len(clips.own),
                "pseudo_labelled_clips": len(clips.beside),
                "held_out_clips_left_out": clips.left_out,
                **table_hashes(run, stage),
            },
            "settings": stage.model_dump(mode="json"),
            "seed": run.recipe.seed,
            "kept": kept,
        },
    )


def read(run: Run) -> list[dict[str, Any]]:
    """Return what stands beside the weights of each stage that has ended, in the recipe's order."""
    files = [run.stage_file(stage.name).with_suffix(".json") for stage in run.recipe.stages]
    return [json.loads(file.read_text(encoding="utf-8")) for file in files if file.is_file()]


def _parent(run: Run, number: int) -> dict[str, str] | None:
    """Return the stage before and the hash of its weights; None for the first, which begins anew."""
    if number == 0:
        return None
    before = run.recipe.stages[number - 1].name
    return {"stage": before, "weights": content_hash(run.stage_file(before))}
