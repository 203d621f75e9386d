"""kikiwake (聞き分け): train, judge and run audio classifiers.

Everything a notebook needs is here and imported on first use, so that `import kikiwake` costs nothing::

    manifest = kikiwake.Manifest.read("clips.csv")
    run = kikiwake.train("esc10", "data.manifest=clips.csv", "run=runs/first")
    predictions = kikiwake.load("runs/first").predict(["long_recording.flac"])
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kikiwake.comparison import compare
    from kikiwake.crossvalidation import crossvalidate
    from kikiwake.datasets import prepare
    from kikiwake.ensembles import ensemble
    from kikiwake.evaluation import evaluate
    from kikiwake.exploring import explore
    from kikiwake.manifest import Clip, Manifest
    from kikiwake.prediction import load
    from kikiwake.recipe import Recipe
    from kikiwake.training import train

__version__ = "0.1.0"

_HOMES = {
    "Clip": "manifest",
    "Manifest": "manifest",
    "Recipe": "recipe",
    "compare": "comparison",
    "crossvalidate": "crossvalidation",
    "ensemble": "ensembles",
    "evaluate": "evaluation",
    "explore": "exploring",
    "load": "prediction",
    "prepare": "datasets",
    "train": "training",
}

__all__ = [
    "Clip",
    "Manifest",
    "Recipe",
    "__version__",
    "compare",
    "crossvalidate",
    "ensemble",
    "evaluate",
    "explore",
    "load",
    "prepare",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"kikiwake.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'kikiwake' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
