"""Small text files as a tensor, so that they are part of a module's state and go where its weights go."""

from __future__ import annotations

import json
from collections.abc import Mapping

import torch
from torch import Tensor


def packed(texts: Mapping[str, str]) -> Tensor:
    """Return texts by name as the bytes of their JSON. Shape: -> uint8 `[N]`.

    >>> unpacked(packed({"config.json": "{}"}))
    {'config.json': '{}'}
    """
    content = json.dumps(texts, sort_keys=True).encode()
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def unpacked(tensor: Tensor) -> dict[str, str] | None:
    """Return the texts that `packed` took, or None of other bytes, such as a hash in their place."""
    try:
        texts = json.loads(bytes(tensor.cpu().tolist()))
    except ValueError:
        return None
    return texts if isinstance(texts, dict) else None
