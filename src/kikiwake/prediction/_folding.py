"""Folds batch normalisation into the convolution before it, for networks that only predict."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

TOLERANCE = 1e-5


@torch.no_grad()
def fold_batch_norms(network: nn.Module, features: Tensor) -> nn.Module:
    """Return a copy of `network` that computes the same with fewer passes over memory.

    A batch norm with fixed statistics is a scale and an offset a channel, and these can be made part of the
    convolution whose output it takes: W' = W g / sqrt(v + e), b' = (b - m) g / sqrt(v + e) + o. Which pairs
    there are is seen by running `features` through the network. The result is compared with the original's:
    where it differs by more than rounding, as in a network that uses a convolution's output twice, or where a
    folded layer does not run at all, `network` itself is returned.
    """
    folded = copy.deepcopy(network)
    pairs, expected = _pairs(folded, features)
    for convolution, norm in pairs:
        first: Any = folded.get_submodule(convolution)
        second: Any = folded.get_submodule(norm)
        fused = fuse_conv_bn_eval(first, second)
        _replace(folded, norm, _after_norm(second))
        _replace(folded, convolution, fused)
    try:
        found = folded(features).clipwise
    except Exception:  # a network that reads what its layers were
        return network
    scale = expected.abs().max().clamp(min=1e-6)
    return folded if bool((found - expected).abs().max() <= TOLERANCE * scale) else network


def _pairs(network: nn.Module, features: Tensor) -> tuple[list[tuple[str, str]], Tensor]:
    """Return the names of convolutions and of the batch norms that take their outputs, and the logits."""
    makers: dict[int, tuple[str, Tensor]] = {}
    calls: dict[str, int] = {}
    pairs: list[tuple[str, str]] = []
    hooks = []

    def note_output(name: str, output: Tensor) -> None:
        calls[name] = calls.get(name, 0) + 1
        makers[id(output)] = (name, output)

    def note_input(name: str, given: Tensor) -> None:
        calls[name] = calls.get(name, 0) + 1
        if id(given) in makers:
            pairs.append((makers[id(given)][0], name))

    for name, module in network.named_modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            hooks.append(module.register_forward_hook(lambda _, __, output, n=name: note_output(n, output)))
        elif _foldable(module):
            hooks.append(module.register_forward_pre_hook(lambda _, given, n=name: note_input(n, given[0])))
    try:
        logits: Tensor = network(features).clipwise
    finally:
        for hook in hooks:
            hook.remove()
    return [pair for pair in pairs if all(calls[name] == 1 for name in pair)], logits


def _foldable(module: nn.Module) -> bool:
    """Whether this is a batch norm with fixed statistics, alone or, as in timm, with its activation."""
    plain = type(module) in (nn.BatchNorm1d, nn.BatchNorm2d)
    with_activation = (
        isinstance(module, nn.BatchNorm2d) and hasattr(module, "act") and hasattr(module, "drop")
    )
    return (
        (plain or with_activation)
        and not module.training
        and getattr(module, "running_mean", None) is not None
    )


def _after_norm(norm: Any) -> nn.Module:
    return nn.Sequential(norm.drop, norm.act) if hasattr(norm, "act") else nn.Identity()


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(network.get_submodule(parent), own, module)
