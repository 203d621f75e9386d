"""Devices by name, also those of the processes of a torchrun, and what running out of memory looks like."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kikiwake.devices import describe_device, find_device, out_of_memory
from kikiwake.errors import RecipeError


def test_auto_takes_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device("auto", where="engine.device") == torch.device("cpu")
    assert describe_device(torch.device("cpu")) == "cpu (CPU)"


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_every_process_of_a_torchrun_has_a_gpu_of_its_own(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("LOCAL_RANK", "77")  # no machine has so many: the message tells which was taken
    with pytest.raises(RecipeError, match=r"here: this device cannot be used: .*\(got 'cuda:77'\); use cpu"):
        find_device(name, where="here")
    with pytest.raises(RecipeError, match=r"\(got 'cuda:78'\)"):
        find_device("cuda:78", where="here")


def test_an_unknown_device_is_told() -> None:
    with pytest.raises(RecipeError, match=r"engine\.device: .*\(got 'gpu'\)"):
        find_device("gpu", where="engine.device")


def error_of(work: object) -> BaseException:
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        work()  # type: ignore[operator]
    return caught.value


def test_running_out_of_memory_is_told_from_other_errors() -> None:
    assert out_of_memory(error_of(lambda: torch.empty(1 << 55, dtype=torch.uint8)))  # 36 petabytes
    assert out_of_memory(error_of(lambda: np.empty(1 << 55, np.uint8)))
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert out_of_memory(RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"))
    assert not out_of_memory(error_of(lambda: torch.ones(2) @ torch.ones(3)))
    assert not out_of_memory(OSError("Cannot allocate memory"))
