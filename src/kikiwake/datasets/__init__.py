"""Data sets: how folders and tables of recordings become a manifest.

A part is a module with a function `scan(root, *, options) -> Scan`; one that knows its own layout when it
sees it also has `likeness(root) -> int`: 0 for no, 1 for a layout that others share, 2 for its very own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kikiwake.datasets._prepare import PrepareSummary, prepare

__all__ = ["PrepareSummary", "prepare"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from kikiwake.datasets import _prepare

        return getattr(_prepare, name)
    raise AttributeError(f"module 'kikiwake.datasets' has no attribute {name!r}")
