"""Checkpoints without pickle: tensors in safetensors, everything else as JSON in the same file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from kikiwake.errors import RunError
from kikiwake.files import replace_atomically

FORMAT = "kikiwake-checkpoint-1"


def write_state(path: Path, state: Any) -> None:
    """Write a state of nested dicts and lists with tensors, numbers and texts, atomically.

    One file holds it all, so that a crash leaves the old checkpoint or the new one, never a mixture.
    """
    tensors: dict[str, torch.Tensor] = {}
    outline = json.dumps(_flatten(state, tensors))
    with replace_atomically(path) as temporary:
        save_file(tensors, temporary, metadata={"format": FORMAT, "state": outline})


def read_state(path: Path) -> Any:
    """Return what `write_state` wrote.

    Raises:
        RunError: the file is damaged, or no checkpoint of this format.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            # Cloned: memory-mapped tensors lie at addresses that vector code may round differently for.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        raise RunError(
            f"the checkpoint cannot be read: {error}",
            where=path,
            remedy="remove it to start again without it",
        ) from error
    if metadata.get("format") != FORMAT:
        raise RunError(
            "not a checkpoint of this version",
            where=path,
            value=metadata.get("format"),
            remedy=f"needed: {FORMAT}; remove it to train again from the start",
        )
    return _unflatten(json.loads(metadata["state"]), tensors)


def write_weights(path: Path, weights: Mapping[str, torch.Tensor]) -> None:
    """Write a state dict as plain safetensors, under its own names, atomically."""
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}
    with replace_atomically(path) as temporary:
        save_file(plain, temporary)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Return what `write_weights` wrote.

    Raises:
        RunError: the file is not there or damaged.
    """
    try:
        weights: dict[str, torch.Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise RunError(
            f"the weights cannot be read: {error}",
            where=path,
            remedy="they are no safetensors, or not whole: copy them again",
        ) from error
    return weights


def _flatten(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """Return `value` in JSON's types; tensors go to `tensors` and leave their name."""
    if isinstance(value, torch.Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"tensor": name}
    if isinstance(value, dict):
        return {"items": [[key, _flatten(inner, tensors)] for key, inner in value.items()]}
    if isinstance(value, list | tuple):
        return [_flatten(inner, tensors) for inner in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a checkpoint cannot hold a {type(value).__name__}")


def _unflatten(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, list):
        return [_unflatten(inner, tensors) for inner in value]
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return tensors[value["tensor"]]
    return {key: _unflatten(inner, tensors) for key, inner in value["items"]}
