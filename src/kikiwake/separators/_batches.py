"""Separates some windows, as many at once as there is memory for."""

from __future__ import annotations

import traceback
from pathlib import Path

import torch
from torch import Tensor

from kikiwake.devices import out_of_memory
from kikiwake.errors import KikiwakeError, SeparationError
from kikiwake.separators._separator import Separator


def separated(separator: Separator, mixture: Tensor) -> Tensor:
    """Return the stems of windows, at most the separator's `batch_size` at once.

    Where memory runs out, `batch_size` is halved, and stays so. Shape: `[B, C, T]` -> `[B, S, T]`.

    Raises:
        SeparationError: one window takes more memory than there is, or the separator fails.
    """
    while True:
        at_once = min(separator.batch_size, len(mixture))
        try:
            return torch.cat([separator(windows) for windows in torch.split(mixture, at_once)])
        except KikiwakeError:
            raise
        except Exception as error:
            if not out_of_memory(error):
                raise _failure(error) from error
            if at_once == 1:
                what = "out of memory with 1 segment at a time"
                remedy = memory_remedy(separator.saves_memory)
                raise SeparationError(what, where="data.separator", remedy=remedy) from error
        separator.batch_size = at_once // 2
        if separator.device.type == "cuda":  # no sooner: the error holds the tensors of the attempt
            torch.cuda.empty_cache()


def memory_remedy(saves_memory: str) -> str:
    """Return what to do where memory runs out; `saves_memory` is what the separator says of itself."""
    share = "use fewer workers, which share the memory"
    return f"set {saves_memory}; or {share}" if saves_memory else share


def _failure(error: Exception) -> SeparationError:
    """Return what is said of an error that nobody thought of: what and where, in a line."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return SeparationError(
        f"the separator failed: {type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})",
        where="data.separator",
        remedy="this is not the recording's fault: check the separator's settings, or report it",
    )
