"""Devices by name, and whether one has run out of memory."""

from __future__ import annotations

import os

import torch

from kikiwake.errors import RecipeError

_OUT_OF_MEMORY = (
    "can't allocate memory",
    "DefaultCPUAllocator",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUFFT_ALLOC_FAILED",
)
"""What torch's errors say that have no class of their own: of the host, and of CUDA's libraries."""


def find_device(name: str, *, where: str) -> torch.device:
    """Return the device of a name, which is there.

    `name`: "auto" takes a GPU where there is one. Of several GPUs, "auto" and "cuda" mean that of this
    process's place under `torchrun` (LOCAL_RANK), or the first. `where`: what the user set it with.

    Raises:
        RecipeError: the device is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise RecipeError(
            f"this device cannot be used: {reason}",
            where=where,
            value=name,
            remedy="use cpu, or auto to take what is there",
        ) from None
    return device


def describe_device(device: torch.device) -> str:
    """Say in a few words what a device is.

    >>> describe_device(torch.device("cpu"))
    'cpu (CPU)'
    """
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()
    return f"{device} ({name})"


def out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that a device or the host has no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)
