"""Makes timm's networks without their classifiers, and finds their published weights."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from kikiwake.errors import RecipeError, WeightsError
from kikiwake.models._freezing import Group
from kikiwake.models._torchvision import import_timm

_OWN_ARGUMENTS = {
    "in_chans": "the front end sets it",
    "num_classes": "the data set sets it",
    "global_pool": "use the key 'pooling'",
    "drop_rate": "use the key 'dropout'",
    "drop_path_rate": "use the key 'drop_path'",
    "pretrained": "use the key 'pretrained'",
    "pretrained_cfg": "use the key 'weights'",
    "pretrained_cfg_overlay": "use the key 'weights'",
    "checkpoint_path": "use the key 'weights'",
    "features_only": "the head needs the backbone's last feature map",
}


def create_backbone(name: str, *, in_channels: int, drop_path: float, arguments: Mapping[str, Any]) -> Any:
    """Return a timm network with new weights that gives its last feature map, not pooled.

    Raises:
        RecipeError: timm has no such network, or it cannot be made with these arguments.
    """
    timm = import_timm()
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=5, cutoff=0.6)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise RecipeError(
            f"timm has no network '{name}'",
            where="model.backbone",
            remedy=f"{hint}timm.list_models('*resnet*') in Python lists those of a family",
        )
    for argument in arguments:
        if argument in _OWN_ARGUMENTS:
            raise RecipeError(
                f"'{argument}' cannot be set here",
                where="model.backbone_arguments",
                remedy=_OWN_ARGUMENTS[argument],
            )
    options = _options(drop_path, arguments)
    try:
        backbone = timm.create_model(name, in_chans=in_channels, **options)
    except Exception as error:  # each family of timm has its own complaints
        raise RecipeError(
            f"timm cannot make '{name}': {error}",
            where="model",
            value={"drop_path": drop_path, "backbone_arguments": dict(arguments)},
            remedy="change these, or the backbone",
        ) from error
    if backbone.pretrained_cfg.get("fixed_input_size") and not {"img_size", "dynamic_img_size"} & {
        *arguments
    }:
        raise RecipeError(
            f"'{name}' works on pictures of one size, which it must be told",
            where="model.backbone_arguments",
            remedy="give img_size: [bands, frames], or dynamic_img_size: true where the network takes it",
        )
    return backbone


def published_weights(name: str, *, drop_path: float, arguments: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return timm's published weights of a network for three channels: from the disk, else downloaded.

    Raises:
        WeightsError: there are none, or they cannot be downloaded.
    """
    timm = import_timm()
    overlay = {}
    try:
        if cached := _cached(timm.get_pretrained_cfg(name)):
            overlay = {"pretrained_cfg_overlay": {"file": cached}}
        made = timm.create_model(name, pretrained=True, **overlay, **_options(drop_path, arguments))
    except Exception as error:  # no network, no such file, a proxy's page in its place
        raise WeightsError(
            f"the published weights of '{name}' cannot be had: {error}",
            where="model.pretrained",
            remedy="download them elsewhere and give the file as 'weights', or set pretrained: false",
        ) from error
    tensors: dict[str, Tensor] = made.state_dict()
    return tensors


def backbone_groups(backbone: Any) -> list[Group]:
    """Return the stem and the stages, as timm groups a network's layers.

    Layers after the last stage form a group of their own, or belong to it where timm has it so. A network
    that timm does not group is one group.
    """
    from timm.models import group_parameters

    parameters = dict(backbone.named_parameters())
    if not hasattr(backbone, "group_matcher"):
        return [Group("backbone", list(parameters.values()), [backbone])]
    numbers = group_parameters(backbone, backbone.group_matcher(coarse=True), reverse=True)
    by_parameter = {id(parameters[name]): number for name, number in numbers.items()}
    modules: dict[int, list[nn.Module]] = {number: [] for number in numbers.values()}
    for module in backbone.modules():
        inside = {by_parameter[id(parameter)] for parameter in module.parameters()}
        if len(inside) == 1:
            modules[inside.pop()].append(module)
    names = [[name for name in parameters if numbers[name] == number] for number in sorted(modules)]
    groups = [
        Group(title, [parameters[name] for name in own], modules[number])
        for title, own, number in zip(_titles(names), names, sorted(modules), strict=True)
    ]
    # With the last group everything is frozen, containers and layers without parameters as well.
    groups[-1] = groups[-1]._replace(modules=[backbone])
    return groups


def _options(drop_path: float, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `timm.create_model` that every network here is made with."""
    stochastic_depth = {"drop_path_rate": drop_path} if drop_path else {}
    return {"num_classes": 0, "global_pool": "", **stochastic_depth, **arguments}


def _cached(config: Any) -> str | None:
    """Return the path of downloaded weights, or None where they have to be downloaded first.

    Raises:
        Exception: the Hugging Face hub does not answer. Asked once here, for it is given up only after a
            minute of repeated attempts otherwise.
    """
    from huggingface_hub import constants, get_session, try_to_load_from_cache

    if config is None or not config.hf_hub_id:
        return None
    file = config.hf_hub_filename or "model.safetensors"
    cached = try_to_load_from_cache(config.hf_hub_id, file)
    if isinstance(cached, str):
        return cached
    get_session().head(constants.ENDPOINT, timeout=10)
    return None


def _titles(groups: list[list[str]]) -> list[str]:
    """Name groups of parameters by their first words, and by two words where the first stands in several.

    >>> _titles([["conv.weight"], ["blocks.0.conv.weight"], ["blocks.1.conv.weight", "norm.weight"]])
    ['stem', 'blocks.0', 'blocks.1, norm']
    """
    words = [{name.split(".")[0] for name in names} for names in groups]
    shared = {word for found in words for word in found if sum(word in others for others in words) > 1}
    titles = []
    for names in groups:
        parts = [name.split(".") for name in names]
        heads = [".".join(part[: 2 if part[0] in shared else 1]) for part in parts]
        titles.append(", ".join(dict.fromkeys(heads)))
    return ["stem", *titles[1:]]
