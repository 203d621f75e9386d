"""Scores as people read them: a table of text."""

from __future__ import annotations

from collections.abc import Sequence

from kikiwake._bootstrap import Interval


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows of a table as lines whose columns stand below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def shown(value: float | None) -> str:
    """Return a score as people read it."""
    return "-" if value is None else f"{value:.4f}"


def interval(score: Interval) -> str:
    """Return a score's interval as people read it."""
    return "-" if score.low is None else f"{shown(score.low)} to {shown(score.high)}"
