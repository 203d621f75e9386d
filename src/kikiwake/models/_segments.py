"""Pictures cut in time into segments, and feature maps of segments joined again."""

from __future__ import annotations

from torch import Tensor

from kikiwake.errors import RecipeError


def cut(pictures: Tensor, *, count: int) -> Tensor:
    """Return each picture's `count` segments of equal width in turn; frames left over are dropped.

    Shape: `[B, C, F, N]` -> `[B * count, C, F, N // count]`.

    Raises:
        RecipeError: there are fewer frames than segments.
    """
    width = pictures.shape[-1] // count
    if width < 1:
        raise RecipeError(
            f"pictures of {pictures.shape[-1]} frames cannot be cut into {count} segments",
            where="model.segments",
            value=count,
            remedy="give fewer, or a longer data.crop",
        )
    parts = pictures[..., : count * width].reshape(*pictures.shape[:-1], count, width)
    return parts.permute(0, 3, 1, 2, 4).flatten(0, 1)


def join(maps: Tensor, *, count: int) -> Tensor:
    """Return the feature maps of `count` segments each, joined in time.

    Shape: `[B * count, D, F, N]` -> `[B, D, F, count * N]`.
    """
    return maps.reshape(-1, count, *maps.shape[1:]).permute(0, 2, 3, 1, 4).flatten(3)
