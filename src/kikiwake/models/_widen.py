"""Fits the first convolution of a picture network (red, green, blue) to another number of channels."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def widen(weight: Tensor, *, in_channels: int) -> Tensor:
    """Return the weights of a convolution over three channels for `in_channels` channels.

    More than three: the three are kept and each further channel gets their mean, so that a fourth stem starts
    as a grey picture would. Fewer than three: each channel gets an equal share of their sum, so that one
    channel is answered as a grey picture copied to red, green and blue would be.

    Shape: `[O, 3, ...]` -> `[O, in_channels, ...]`.

    >>> widen(torch.tensor([[[[1.0]], [[2.0]], [[6.0]]]]), in_channels=4).flatten().tolist()
    [1.0, 2.0, 6.0, 3.0]
    >>> widen(torch.tensor([[[[1.0]], [[2.0]], [[6.0]]]]), in_channels=1).flatten().tolist()
    [9.0]
    """
    if in_channels == 3:
        return weight
    if in_channels < 3:
        share = weight.sum(dim=1, keepdim=True) / in_channels
        return share.repeat_interleave(in_channels, dim=1)
    mean = weight.mean(dim=1, keepdim=True)
    return torch.cat([weight, mean.repeat_interleave(in_channels - 3, dim=1)], dim=1)


def widen_inputs(
    tensors: Mapping[str, Tensor], *, expected: Mapping[str, Tensor], in_channels: int
) -> dict[str, Tensor]:
    """Widen those of `tensors` that see a picture where the network of `expected` sees `in_channels`.

    They are the convolution weights that differ from the expected ones in the second axis alone, with 3
    in the file: a network may have several that see the input (RepVGG has two).
    """
    return {
        name: widen(tensor, in_channels=in_channels)
        if name in expected and _sees_picture(tensor, expected[name], in_channels)
        else tensor
        for name, tensor in tensors.items()
    }


def _sees_picture(tensor: Tensor, expected: Tensor, in_channels: int) -> bool:
    return (
        tensor.ndim == 4
        and tensor.shape[1] == 3 != in_channels
        and expected.shape == (tensor.shape[0], in_channels, *tensor.shape[2:])
    )
