"""What computes: device, arithmetic, threads, and the other processes of a `torchrun`."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from kikiwake.devices import describe_device, find_device
from kikiwake.recipe import Engine as EngineSection


@dataclass(frozen=True)
class Engine:
    """The device and arithmetic of this process, and its place among the processes of a run."""

    device: torch.device
    autocast_dtype: torch.dtype | None
    rank: int = 0
    processes: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes the files and speaks to the user."""
        return self.rank == 0

    @property
    def scales_loss(self) -> bool:
        """Whether gradients need loss scaling, as fp16's small range demands."""
        return self.autocast_dtype is torch.float16

    @property
    def memory_format(self) -> torch.memory_format:
        """The layout of images: channels last is faster on CPUs and on GPUs with tensor cores."""
        return torch.channels_last

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Return the context in which the network runs in the chosen precision."""
        if self.autocast_dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.autocast_dtype)

    def wrap(self, module: nn.Module) -> nn.Module:
        """Return `module` with gradients averaged over all processes."""
        if self.processes == 1:
            return module
        devices = [self.device] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(module, device_ids=devices)

    def gather(self, value: Any) -> list[Any]:
        """Return every process's `value`, in the order of ranks."""
        if self.processes == 1:
            return [value]
        values: list[Any] = [None] * self.processes
        dist.all_gather_object(values, value)
        return values

    def broadcast(self, value: Any) -> Any:
        """Return the first process's `value` in every process."""
        if self.processes == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def wait(self) -> None:
        """Wait until all processes have come here."""
        self.gather(None)

    def describe(self) -> str:
        """Say in a line what computes."""
        precision = {None: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}[self.autocast_dtype]
        threads = f", {torch.get_num_threads()} threads" if self.device.type == "cpu" else ""
        many = f", {self.processes} processes" if self.processes > 1 else ""
        return f"{describe_device(self.device)}, {precision}{threads}{many}"


@contextlib.contextmanager
def engine(section: EngineSection) -> Iterator[Engine]:
    """Set up the device, threads and, under `torchrun`, the process group, for the length of the block.

    Raises:
        RecipeError: the device is not there.
    """
    device = find_device(section.device, where="engine.device")
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
    threads = torch.get_num_threads()
    if device.type == "cpu":
        reuse_freed_memory()
    if section.threads:
        torch.set_num_threads(section.threads)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    started_here = processes > 1 and not dist.is_initialized()
    if started_here:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        rank = dist.get_rank() if processes > 1 else 0
        yield Engine(device, _autocast_dtype(section.precision, device), rank, processes)
    finally:
        torch.set_num_threads(threads)
        if started_here:
            dist.destroy_process_group()
        return_freed_memory()


def reuse_freed_memory() -> None:
    """Let glibc keep freed blocks for the next tensor; elsewhere nothing happens.

    By default it returns large blocks to the system at once, and every step of a network faults the same
    pages in anew, which costs up to a third of the time on a CPU. What a process has used at its peak it
    keeps from then on.
    """
    if libc := _glibc():
        mmap_threshold, trim_threshold = -3, -1  # malloc.h
        libc.mallopt(mmap_threshold, 1 << 30)
        libc.mallopt(trim_threshold, (1 << 31) - 1)


def return_freed_memory() -> None:
    """Give what is no longer used back to the system, so that folds that follow each other do not add up."""
    gc.collect()  # networks are held in circles of references
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if libc := _glibc():
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return None
    return ctypes.CDLL("libc.so.6")


def _autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    if precision == "auto":
        if device.type != "cuda":
            return None
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
