"""Reads Demucs's model files without running anything that is in them.

A model is either a bag, a YAML file that names one or more models and how much each counts, or a single
model: `<name>.safetensors` with its class and arguments in the file's metadata, as Demucs keeps them on the
Hugging Face hub, or `<name>.th` or `<name>-<checksum>.th`, a torch file as Demucs kept them before. The
latter is a pickle; it is read by torch's restricted reader, which is told of Demucs's own networks and knows
nothing else but tensors and plain data.
"""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kikiwake._yaml import read_yaml
from kikiwake.errors import KikiwakeError, WeightsError, require

_EXTRA = "stems"
_NETWORKS = {
    "demucs.htdemucs.HTDemucs": "demucs.htdemucs.HTDemucs",
    "demucs.hdemucs.HDemucs": "demucs.hdemucs.HDemucs",
    "demucs.demucs.Demucs": "demucs.demucs.Demucs",
    "demucs.wdemucs.WDemucs": "demucs.hdemucs.HDemucs",  # its name in files of version 3
}


@dataclass(frozen=True)
class Bag:
    """Models that are asked together: `weights` is how much each counts, one list a model, one number a stem.

    `segment_seconds`: what is separated at once, where the bag says it. `identity`: a hash of it all.
    """

    models: Sequence[nn.Module]
    weights: Sequence[Sequence[float]]
    segment_seconds: float | None
    identity: str


def read_bag(name: str, *, folder: Path | None, download: bool) -> Bag:
    """Read the model `name` from a folder or, without one, from what was fetched from the Hugging Face hub.

    `download`: fetch what is not there yet.

    Raises:
        WeightsError: there is no such model, or it is damaged, unsafe or packed in a way that is not known.
        MissingExtra: Demucs is not installed.
    """
    require("demucs.apply", extra=_EXTRA)
    find = partial(_on_hub, name, download=download) if folder is None else partial(_in_folder, folder)
    description, single = _description(name, find)
    files = [single] if single else [_model_file(signature, find) for signature in description["models"]]
    packages = [_package(file) for file in files]
    models = [_built(package, file) for package, file in zip(packages, files, strict=True)]
    stems = len(models[0].sources)  # type: ignore[arg-type]
    weights = description.get("weights") or [[1.0] * stems for _ in models]
    segment = description.get("segment")
    return Bag(models, weights, segment, _identity(packages, [weights, segment]))


Finder = Callable[[str], Path | None]


def _description(name: str, find: Finder) -> tuple[dict[str, Any], Path | None]:
    """Return what a bag's file says, or the file of a single model."""
    if file := find(f"{name}.yaml"):
        found = read_yaml(file.read_text(encoding="utf-8"), where=str(file))[0]
        if not isinstance(found, dict) or not found.get("models"):
            raise WeightsError("names no models", where=file, remedy="a bag says models: [name, ...]")
        return found, None
    return {}, _model_file(name, find)


def _model_file(name: str, find: Finder) -> Path:
    for pattern in (f"{name}.safetensors", f"{name}.th", f"{name}-*.th"):
        if file := find(pattern):
            return file
    raise WeightsError(
        "there is no such Demucs model",
        where="data.separator.model",
        value=name,
        remedy="fetch it with data.separator.download=true (after --separator: -o download=true), or set "
        "data.separator.folder to where it lies (-o folder=...)",
    )


def _in_folder(folder: Path, pattern: str) -> Path | None:
    if not folder.is_dir():
        raise WeightsError("there is no such folder", where="data.separator.folder", value=str(folder))
    found = sorted(folder.glob(pattern))
    if len(found) > 1:
        listed = ", ".join(file.name for file in found)
        raise WeightsError(f"several files of one model: {listed}", where=folder, remedy="leave only one")
    if found and "*" in pattern:
        _check_sum(found[0])
    return found[0] if found else None


def _check_sum(file: Path) -> None:
    """Compare a file with the checksum in its name."""
    wanted = file.stem.rpartition("-")[2]
    found = sha256(file.read_bytes()).hexdigest()[: len(wanted)]
    if found != wanted:
        raise WeightsError(
            f"the file's checksum is {found} and its name says {wanted}",
            where=file,
            remedy="copy or download it again",
        )


def _on_hub(name: str, pattern: str, *, download: bool) -> Path | None:
    """Return a file of Demucs's repository for the model `name` on the hub."""
    hub = require("huggingface_hub", extra=_EXTRA)
    hf = require("demucs.hf", extra=_EXTRA)
    if "*" in pattern or pattern.endswith(".th"):
        return None
    repository = f"{hf.DEFAULT_NAMESPACE}/{hf.hf_repo_name(name)}"
    try:
        return Path(hub.hf_hub_download(repository, pattern, local_files_only=not download))
    except (hub.errors.EntryNotFoundError, hub.errors.LocalEntryNotFoundError) as error:
        if not download or not isinstance(error, hub.errors.LocalEntryNotFoundError):
            return None
        raise _unreachable(repository, error) from error
    except Exception as error:  # no network, no such repository, a full disk
        raise _unreachable(repository, error) from error


def _unreachable(repository: str, error: Exception) -> WeightsError:
    return WeightsError(
        f"cannot be had from the Hugging Face hub: {type(error).__name__}: {error}",
        where="data.separator.model",
        value=repository,
        remedy="check the name and the network, or set data.separator.folder to a copy",
    )


def _package(file: Path) -> dict[str, Any]:
    """Return the class, arguments and state of a model."""
    package = _read_safetensors(file) if file.suffix == ".safetensors" else _read_torch(file)
    if missing := {"klass", "args", "kwargs", "state"} - set(package):
        raise WeightsError(f"no model of Demucs: lacks {', '.join(sorted(missing))}", where=file)
    if not all(isinstance(value, torch.Tensor) for value in package["state"].values()):
        raise WeightsError("a quantised model, which is not read here", where=file, remedy="use htdemucs")
    return package


def _read_safetensors(file: Path) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(file), framework="pt") as opened:
            metadata = opened.metadata() or {}
            state = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 - it is no mapping
        plain = {key: _plain(json.loads(metadata[key])) for key in ("args", "kwargs") if key in metadata}
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"not a whole safetensors file: {error}", where=file) from error
    if "structure" in metadata:
        raise WeightsError("a quantised model, which is not read here", where=file, remedy="use htdemucs")
    if "klass" in metadata:
        plain["klass"] = _network(metadata["klass"], file)
    return {**plain, "state": state}


def _plain(value: Any) -> Any:
    """Turn JSON into arguments: fractions are written as mappings."""
    if isinstance(value, dict):
        if value.get("_type") == "fraction":
            return Fraction(value["numerator"], value["denominator"])
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _read_torch(file: Path) -> dict[str, Any]:
    known = [(_network(name, file), name) for name in _NETWORKS]
    try:
        with torch.serialization.safe_globals([*known, Fraction]):
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            "the file is damaged, or holds more than a network of Demucs, which could run any code: "
            + str(error).splitlines()[-1],
            where=file,
            remedy="use the model's safetensors file from the Hugging Face hub",
        ) from error
    except Exception as error:  # a damaged archive fails in as many ways as there are bytes
        raise WeightsError(f"not a whole torch file: {type(error).__name__}: {error}", where=file) from error
    return content if isinstance(content, dict) else {}


def _network(name: str, file: Path) -> Any:
    """Return one of Demucs's networks by its full name."""
    if name not in _NETWORKS:
        raise WeightsError("names a class that is no network of Demucs", where=file, value=name)
    module, _, network = _NETWORKS[name].rpartition(".")
    return getattr(require(module, extra=_EXTRA), network)


def _built(package: dict[str, Any], file: Path) -> nn.Module:
    load_model = require("demucs.states", extra=_EXTRA).load_model
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of arguments that newer versions no longer have
            model: nn.Module = load_model({**package, "kwargs": dict(package["kwargs"])})
    except KikiwakeError:
        raise
    except Exception as error:
        raise WeightsError(f"its parts do not fit each other: {error}", where=file) from error
    return model.eval().requires_grad_(False)


def _identity(packages: Sequence[dict[str, Any]], settings: Any) -> str:
    digest = blake2b(repr(settings).encode(), digest_size=20)
    for package in packages:
        kwargs = sorted(package["kwargs"].items())
        digest.update(repr([package["klass"].__name__, list(package["args"]), kwargs]).encode())
        for name, tensor in sorted(package["state"].items()):
            digest.update(name.encode())
            digest.update(tensor.float().contiguous().numpy().tobytes())
    return digest.hexdigest()
