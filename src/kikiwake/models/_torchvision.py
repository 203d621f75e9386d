"""Imports timm where torchvision's compiled operators are missing.

timm imports torchvision. A torchvision wheel built for CUDA beside a torch built for the CPU cannot load its
compiled library and fails while importing with `operator torchvision::nms does not exist`, for it describes
that operator to the compiler. kikiwake, as timm's backbones, uses none of the box operators: it is enough to
declare their signatures, and the import succeeds. Where torchvision imports by itself, nothing is done.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import torch

_SIGNATURES = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

_declared: list[torch.library.Library] = []  # the operators live as long as their library object


def import_timm() -> ModuleType:
    """Return the module `timm`, importing it on the first call (seconds).

    Raises:
        RuntimeError: torchvision does not import for another reason than its missing operators.
    """
    import_torchvision()
    return importlib.import_module("timm")


def import_torchvision() -> ModuleType:
    """Return the module `torchvision`, with its box operators declared where it cannot bring its own."""
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error) or _declared:
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]  # half imported: it would be found as it is and not be imported again
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for signature in _SIGNATURES:
        library.define(signature)  # type: ignore[no-untyped-call]
    _declared.append(library)
    return importlib.import_module("torchvision")
