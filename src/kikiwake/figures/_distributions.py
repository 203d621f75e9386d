"""Small pictures of how a property is spread: over all clips, and class by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kikiwake.figures._canvas import BLUE, INK, QUIET, SKY, VERMILION, empty_figure, plain, png, shown, title

_DOTS_PER_INCH = 110
_LARGEST_RATIO = 30

Floats = NDArray[np.floating[Any]]


def histogram(values: Floats, *, heading: str, unit: str, bins: int = 40) -> bytes:
    """Return the PNG of a histogram: how many clips have which value; the dashed line is the median.

    Values that are not finite are left out. Positive values that are spread over much get a logarithmic axis.

    Shape: values `[N]`.
    """
    finite = _finite(values)
    figure = empty_figure(3.6, 2.3)
    axes = figure.subplots()
    plain(axes, grid="y")
    title(axes, heading, size=10.5)
    axes.set_xlabel(unit, color=INK, fontsize=9)
    axes.set_ylabel("clips", color=INK, fontsize=9)
    if not len(finite):
        axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", color=QUIET)
        return png(figure, dots_per_inch=_DOTS_PER_INCH)
    low, high = float(finite.min()), float(finite.max())
    if _is_wide(finite):
        edges = np.geomspace(low, high, bins + 1)
        axes.set_xscale("log")
    else:
        margin = 0 if high > low else max(abs(low) * 0.05, 0.05)
        edges = np.linspace(low - margin, high + margin, bins + 1)
    axes.hist(finite, bins=edges.tolist(), color=SKY, edgecolor="white", linewidth=0.4)
    axes.axvline(float(np.median(finite)), color=VERMILION, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.tick_params(labelsize=8)
    return png(figure, dots_per_inch=_DOTS_PER_INCH)


def class_ranges(classes: Mapping[str, Floats], *, heading: str, unit: str) -> bytes:
    """Return the PNG of one line a class: from the 10th to the 90th percentile, a dot at the median.

    The dashed line is the median of all. Values that are not finite are left out.
    """
    spread = {name: _finite(values) for name, values in classes.items()}
    everything = np.concatenate([*spread.values(), np.zeros(0)])
    row = 0.22 if len(spread) <= 20 else 0.16
    figure = empty_figure(4.6, row * max(len(spread), 3) + 1.0)
    axes = figure.subplots()
    plain(axes, grid="x")
    title(axes, heading, size=10.5)
    for place, values in enumerate(spread.values()):
        if not len(values):
            continue
        low, middle, high = np.percentile(values, [10, 50, 90])
        axes.plot([low, high], [place, place], color=SKY, linewidth=4, solid_capstyle="butt")
        axes.plot(middle, place, "o", color=BLUE, markersize=4)
    if len(everything):
        axes.axvline(float(np.median(everything)), color=VERMILION, linewidth=1, linestyle=(0, (4, 3)))
        if _is_wide(everything):
            axes.set_xscale("log")
    _name_rows(axes, list(spread))
    axes.set_xlabel(unit, color=INK, fontsize=9)
    return png(figure, dots_per_inch=_DOTS_PER_INCH)


def _name_rows(axes: Any, names: Sequence[str]) -> None:
    size = 8.5 if len(names) <= 20 else 7
    axes.set_yticks(range(len(names)), [shown(name, limit=22) for name in names], fontsize=size)
    axes.tick_params(axis="y", length=0, labelsize=size)
    axes.tick_params(axis="x", labelsize=8)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(len(names) - 0.4, -0.6)


def _finite(values: Floats) -> Floats:
    numbers: Floats = np.asarray(values, dtype=float)
    finite: Floats = numbers[np.isfinite(numbers)]
    return finite


def _is_wide(finite: Floats) -> bool:
    return float(finite.min()) > 0 and float(finite.max()) > _LARGEST_RATIO * float(finite.min())
