"""Freezing the first groups of a network, for fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Self

from torch import nn

from kikiwake.errors import RecipeError


class Group(NamedTuple):
    """Layers that are frozen as a whole: their parameters, and the modules that then stay in eval mode."""

    name: str
    parameters: Sequence[nn.Parameter]
    modules: Sequence[nn.Module]


class Freezable(nn.Module):
    """A network whose first layers can be held as they are.

    Frozen means frozen: the parameters get no gradient, and the modules stay in eval mode through `.train()`,
    so that batch-norm statistics do not move and neither dropout nor drop path acts.
    """

    _frozen = 0

    def layer_groups(self) -> list[Group]:
        """Return the groups from input to output, the head left out."""
        raise NotImplementedError

    def groups(self) -> list[str]:
        """Return the names of the groups in the order in which `freeze` counts them."""
        return [group.name for group in self.layer_groups()]

    def freeze(self, groups: int | Literal["all"]) -> None:
        """Freeze the first `groups` groups and unfreeze the others; "all" leaves only the head to be trained.

        Raises:
            RecipeError: there are not so many groups; the message names those that there are.
        """
        present = self.layer_groups()
        count = len(present) if groups == "all" else groups
        if not 0 <= count <= len(present):
            listing = ", ".join(f"{number} {group.name}" for number, group in enumerate(present, start=1))
            raise RecipeError(
                f"this network has {len(present)} groups to freeze",
                where="freeze",
                value=groups,
                remedy=f'give 0 to {len(present)} or "all": {listing}',
            )
        self._frozen = count
        for position, group in enumerate(present):
            for parameter in group.parameters:
                parameter.requires_grad_(position >= count)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set training mode as every module does; what is frozen stays in eval mode."""
        super().train(mode)
        if mode and self._frozen:
            for group in self.layer_groups()[: self._frozen]:
                for module in group.modules:
                    module.eval()
        return self
