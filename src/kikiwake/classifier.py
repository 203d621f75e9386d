"""The whole model: from a waveform to logits, front end included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kikiwake import components
from kikiwake.errors import RecipeError
from kikiwake.models._output import Output
from kikiwake.randomness import seeded_torch
from kikiwake.recipe import Recipe


class Classifier(nn.Module):
    """A front end and a network, with all that is needed to use them on new recordings.

    `classes`: names in the order of the logits. `sample_rate` in Hz and `channels` of the waveforms it takes.
    `multilabel`: classes are judged one by one (sigmoid), not against each other (softmax).

    Shape: waveform `[B, C, T]` -> Output with clipwise logits `[B, K]`.
    """

    def __init__(
        self,
        frontend: nn.Module,
        network: nn.Module,
        *,
        classes: Sequence[str],
        sample_rate: int,
        channels: int,
        multilabel: bool,
    ) -> None:
        super().__init__()
        self.frontend = frontend
        self.network = network
        self.classes = list(classes)
        self.sample_rate = sample_rate
        self.channels = channels
        self.multilabel = multilabel

    def forward(self, waveform: Tensor, lengths: Tensor | None = None) -> Output:
        """Return the logits; `lengths` `[B]` are the samples before padding, where there is any."""
        output: Output = self.network(self.frontend(waveform, lengths=lengths))
        return output

    def probabilities(self, logits: Tensor) -> Tensor:
        """Turn logits `[..., K]` into float32 probabilities."""
        return logits.float().sigmoid() if self.multilabel else logits.float().softmax(-1)


def build_classifier(
    recipe: Recipe, *, classes: Sequence[str], saved: Mapping[str, Tensor] | None = None
) -> Classifier:
    """Build the classifier of a recipe; its first weights are a function of the recipe's seed.

    `saved`: weights of a trained model that are loaded next: none are taken from elsewhere then.

    Raises:
        RecipeError: a part's arguments do not fit each other.
        WeightsError: pretrained weights are asked for and cannot be had.
    """
    data = recipe.data
    _check_fit(recipe)
    with seeded_torch(recipe.seed, "weights", device=torch.device("cpu")):
        frontend = components.build(
            "frontends",
            recipe.frontend,
            where="frontend",
            sample_rate=data.sample_rate,
            in_channels=data.waveform_channels,
            saved=None if saved is None else _below("frontend.", saved),
        )
        node = recipe.model
        if saved is not None and not recipe.model_is_fitted:
            node = {**node, **_without_weights(node)}
        network = components.build(
            "models",
            node,
            where="model",
            in_channels=frontend.out_channels,
            num_classes=len(classes),
            bins=getattr(frontend, "height", None),  # sequences have none
        )
    return Classifier(
        frontend,
        network,
        classes=classes,
        sample_rate=data.sample_rate,
        channels=data.waveform_channels,
        multilabel=recipe.multilabel,
    )


def _check_fit(recipe: Recipe) -> None:
    """Refuse a model that does not take what the front end makes."""
    made = components.part("frontends", recipe.frontend["name"]).output
    taken = components.part("models", recipe.model["name"]).takes
    if made != taken:
        shapes = {"picture": "pictures `[B, C, F, N]`", "sequence": "sequences of vectors `[B, D, N]`"}
        fitting = [
            name for name in components.names("models") if components.part("models", name).takes == made
        ]
        raise RecipeError(
            f"'{recipe.model['name']}' takes {shapes[taken]}; "
            f"'{recipe.frontend['name']}' makes {shapes[made]}",
            where="model",
            remedy=f"choose another front end, or one of the models {', '.join(fitting)}",
        )


def _without_weights(node: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that switch off the loading of weights, as far as the part has such settings."""
    blank = {"pretrained": False, "weights": None}
    return {key: value for key, value in blank.items() if key in node}


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): found for name, found in tensors.items() if name.startswith(prefix)}
