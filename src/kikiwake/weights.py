"""Reads weight files without running any code of theirs, and says in words what does not fit."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kikiwake.errors import WeightsError, listed

_WRAPPERS = ("state_dict", "model_state_dict", "model", "weights")
"""Keys under which training programs put the tensors inside a checkpoint."""

_SHOWN = 5
"""Tensors that a message names of those that do not fit."""


def load_weights(module: nn.Module, path: str | Path) -> None:
    """Fill every tensor of `module` from a file: safetensors, or a torch file with nothing but tensors.

    A prefix that a wrapper put before all names (`module.`, `model.`, ...) is taken off.

    Raises:
        WeightsError: no such file, a damaged or unsafe file, names or shapes that differ.
    """
    tensors = read_tensors(path)
    fill(module, strip_prefix(tensors, module.state_dict()), where=path)


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Return the named tensors of a weight file, on the CPU.

    A torch file is read with `weights_only`: a pickle that would run code is refused, not run.

    Raises:
        WeightsError: no such file, a damaged or unsafe file, no tensors in it, values that are not finite.
    """
    if not Path(path).is_file():
        raise WeightsError("there is no such weights file", where=path, remedy="check the path")
    content = _read_safetensors(path) if Path(path).suffix == ".safetensors" else _read_torch(path)
    while isinstance(content, Mapping):
        wrapper = next((key for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if wrapper is None:
            break
        content = content[wrapper]
    named = content.items() if isinstance(content, Mapping) else ()
    tensors = {str(name): value for name, value in named if isinstance(value, Tensor)}
    if not tensors:
        raise WeightsError(
            "the file holds no named tensors",
            where=path,
            remedy="save a state dict: torch.save(model.state_dict(), path)",
        )
    if broken := [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]:
        raise WeightsError(f"values that are not finite in {listed(broken, shown=_SHOWN)}", where=path)
    return tensors


def strip_prefix(tensors: Mapping[str, Tensor], names: Collection[str]) -> dict[str, Tensor]:
    """Take off the prefix (`module.`, `network.backbone.`, ...) under which most of `names` are found.

    Tensors whose names do not begin with that prefix keep their names.
    """
    prefixes = {""}
    for name in tensors:
        parts = name.split(".")
        prefixes.update(".".join(parts[:depth]) + "." for depth in range(1, min(len(parts), 5)))

    def found(prefix: str) -> int:
        return sum(name.startswith(prefix) and name[len(prefix) :] in names for name in tensors)

    best = max(sorted(prefixes, key=len), key=found)
    return {name.removeprefix(best): tensor for name, tensor in tensors.items()}


def without(tensors: Mapping[str, Tensor], prefixes: Sequence[str]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with none of `prefixes`."""
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(tuple(prefixes))}


def fill(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    *,
    where: str | Path,
    optional: Sequence[str] = (),
    remedy: str = "the file must come from the same network with the same settings",
) -> None:
    """Copy `tensors` into `module`.

    `optional`: prefixes of the module's names that the file may leave out.

    Raises:
        WeightsError: names or shapes differ; at most five of each kind are listed, with the number of all.
    """
    expected = module.state_dict()
    missing = [
        name
        for name in expected
        if name not in tensors
        and not name.startswith(tuple(optional))
        and not name.endswith(".num_batches_tracked")  # a counter that older files do not have
    ]
    unknown = [name for name in tensors if name not in expected]
    reshaped = [
        f"{name} is {list(tensors[name].shape)} in the file and {list(expected[name].shape)} in the model"
        for name in expected
        if name in tensors and tensors[name].shape != expected[name].shape
    ]
    complaints = [
        f"{len(found)} {what}: {listed(found, shown=_SHOWN)}"
        for found, what in (
            (missing, "missing in the file"),
            (unknown, "not known to the model"),
            (reshaped, "of another shape"),
        )
        if found
    ]
    if complaints:
        raise WeightsError(
            "the weights do not fit the model: " + "; ".join(complaints), where=where, remedy=remedy
        )
    module.load_state_dict(dict(tensors), strict=False)


def _read_safetensors(path: str | Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(str(path), device="cpu")
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"not a whole safetensors file: {error}", where=path, remedy="copy or download the file again"
        ) from error


def _read_torch(path: str | Path) -> Any:
    import pickle

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            "the file is damaged, or holds more than tensors, and reading that could run any code",
            where=path,
            remedy="where you trust its source, save its tensors alone: torch.save(torch.load(path, "
            'weights_only=False)["state_dict"], "tensors.pt")',
        ) from error
    except Exception as error:  # a damaged archive fails in as many ways as there are bytes
        raise WeightsError(
            f"not a whole torch file: {type(error).__name__}: {error}",
            where=path,
            remedy="copy or download the file again",
        ) from error
