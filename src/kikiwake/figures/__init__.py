"""Pictures that say at a glance what the numbers say: scores, confusion, calibration, sound and predictions.

Every function writes one PNG, whole or not at all; the small ones, for pages, return its bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kikiwake.figures._canvas import (
    BLUE,
    FAINT,
    INK,
    QUIET,
    SKY,
    VERMILION,
    empty_figure,
    plain,
    save,
    shown,
    title,
)
from kikiwake.figures._comparison import score_intervals
from kikiwake.figures._curves import training_curves
from kikiwake.figures._distributions import class_ranges, histogram
from kikiwake.figures._pseudo_labels import pseudo_labels
from kikiwake.figures._thumbnail import spectrogram_thumbnail
from kikiwake.figures._timeline import predictions_over_time, spectrogram

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "class_ranges",
    "class_scores",
    "confusion_matrix",
    "histogram",
    "predictions_over_time",
    "pseudo_labels",
    "reliability_diagram",
    "score_intervals",
    "spectrogram",
    "spectrogram_thumbnail",
    "training_curves",
]

Floats = NDArray[np.floating[Any]]


def confusion_matrix(matrix: NDArray[Any], classes: Sequence[str], path: Path) -> None:
    """Draw which classes are taken for which: counts, and colour by the percentage of the true class.

    Beyond 30 classes the counts give way to colour alone.

    Shape: matrix `[K, K]`, rows are the truth, columns what was predicted.

    Raises:
        StorageError: the picture cannot be written.
    """
    from matplotlib import colormaps
    from matplotlib.colors import PowerNorm

    counts = np.asarray(matrix, dtype=float)
    clips = counts.sum(axis=1, keepdims=True)
    percent = np.divide(100 * counts, clips, out=np.full_like(counts, np.nan), where=clips > 0)
    k = len(classes)
    cell = 0.6 if k <= 12 else 0.4 if k <= 30 else 0.13 if k <= 220 else 28 / k
    every = 1 if k <= 220 else math.ceil(k * 0.13 / 28)
    letters = 9.0 if k <= 12 else 8.0 if k <= 30 else 6.0
    names = [shown(name, limit=28) for name in classes]
    margin = 0.075 * letters / 9 * max((len(name) for name in names), default=0) + 0.6
    figure = empty_figure(max(cell * k + margin + 1.0, 5.2), max(cell * k + margin + 0.5, 3.8))
    axes = figure.subplots()

    colours = colormaps["Blues"].with_extremes(bad="#f2f2f2")
    # Where no number is written, faint errors must show by their colour.
    scale = PowerNorm(1.0 if k <= 30 else 0.5, vmin=0, vmax=100)
    image = axes.imshow(percent, cmap=colours, norm=scale, interpolation="nearest")
    if k <= 30:
        _write_counts(axes, counts, percent, size=letters)
    ticks = range(0, k, every)
    upright = k > 6 or max((len(name) for name in names), default=0) * 0.075 * letters / 9 > cell
    axes.set_xticks(ticks, [names[tick] for tick in ticks], rotation=90 if upright else 0, fontsize=letters)
    axes.set_yticks(ticks, [names[tick] for tick in ticks], fontsize=letters)
    axes.tick_params(length=0 if k <= 30 else 2, color=QUIET, labelcolor=INK)
    axes.spines[:].set_visible(k > 30)
    axes.spines[:].set_color(FAINT)
    if k <= 30:
        axes.set_xticks(np.arange(k + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(k + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=1.5)
        axes.tick_params(which="minor", length=0)
    large = 10 if k <= 30 else 16
    axes.set_xlabel("predicted class", color=INK, fontsize=large)
    axes.set_ylabel("true class", color=INK, fontsize=large)
    bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=25, pad=0.02)
    bar.set_label("share of the true class's clips (%)", fontsize=large - 1, color=INK)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=large - 2)
    right, total = float(np.trace(counts)), float(counts.sum())
    share = f" ({100 * right / total:.1f} %)" if total else ""
    title(axes, f"Confusion: {right:g} of {total:g} clips right{share}", size=large + 2)
    save(figure, path, dots_per_inch=150 if k <= 60 else 110)


def _write_counts(axes: Axes, counts: Floats, percent: Floats, *, size: float) -> None:
    """Write the count into each cell that has one and, where there is room, the percentage below."""
    roomy = len(counts) <= 12
    for row, column in zip(*np.nonzero(counts), strict=True):
        share = percent[row, column]
        text = f"{counts[row, column]:g}" + (f"\n{share:.0f} %" if roomy else "")
        axes.text(
            column,
            row,
            text,
            ha="center",
            va="center",
            fontsize=size if roomy else size - 1,
            linespacing=1.1,
            color="white" if share > 55 else INK,
        )


def reliability_diagram(
    edges: Floats, counts: NDArray[Any], confidence: Floats, accuracy: Floats, path: Path
) -> None:
    """Draw how often the model is right against how sure it was; below, how often it was that sure.

    `edges`: limits of the bins of confidence. `counts`: predictions a bin. `confidence`, `accuracy`: their
    means in each bin (NaN where it is empty). The title gives the expected calibration error (Guo et al.
    2017, equation 3).

    Shape: edges `[M + 1]`; counts, confidence, accuracy `[M]`.

    Raises:
        StorageError: the picture cannot be written.
    """
    limits, filled = np.asarray(edges, dtype=float), np.asarray(counts) > 0
    share = np.asarray(counts, dtype=float) / max(np.sum(counts), 1)
    gap = np.where(filled, np.asarray(accuracy) - np.asarray(confidence), 0.0)
    figure = empty_figure(5.4, 7.0)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])

    above.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle=(0, (4, 3)), label="perfect calibration")
    above.bar(
        limits[:-1][filled],
        np.asarray(accuracy)[filled],
        width=np.diff(limits)[filled],
        align="edge",
        color=SKY,
        edgecolor="white",
        linewidth=1,
        label="share that was right",
        zorder=1,
    )
    above.hlines(
        np.asarray(confidence)[filled],
        limits[:-1][filled],
        limits[1:][filled],
        color=VERMILION,
        linewidth=2,
        label="as sure as the model was (mean of the bin)",
    )
    above.set_ylim(0, 1)
    above.set_ylabel("accuracy", color=INK)
    figure.legend(loc="outside lower center", edgecolor="none", fontsize=9, labelcolor=INK)
    below.bar(limits[:-1], 100 * share, width=np.diff(limits), align="edge", color=BLUE, edgecolor="white")
    below.set_ylabel("predictions (%)", color=INK)
    below.set_xlabel("confidence (probability given to the decision)", color=INK)
    below.set_xlim(0, 1)
    for axes in (above, below):
        plain(axes, grid="y")
    figure.align_ylabels([above, below])
    mean = float(np.sum(share * gap))
    verdict = "too sure" if mean < -0.01 else "not sure enough" if mean > 0.01 else "about right"
    error = float(np.sum(share * np.abs(gap)))
    title(above, f"Expected calibration error {error:.3f}; {verdict}")
    save(figure, path)


def class_scores(
    names: Sequence[str],
    values: Sequence[float],
    intervals: Sequence[tuple[float, float] | None],
    path: Path,
    *,
    score: str = "score",
) -> None:
    """Draw one bar a class, best first, with its interval; the dashed line is the mean over classes.

    `values`: scores from 0 to 1; NaN (a class without clips) is listed last, without a bar.
    `intervals`: low and high end of each, or None. `score`: what the numbers are, for the axis.

    Raises:
        StorageError: the picture cannot be written.
    """
    heights = np.asarray(values, dtype=float)
    order = sorted(range(len(names)), key=lambda k: (np.isnan(heights[k]), -np.nan_to_num(heights[k]), k))
    row = 0.32 if len(names) <= 40 else 0.17
    figure = empty_figure(7.2, row * max(len(names), 3) + 1.3)
    axes = figure.subplots()
    plain(axes, grid="x")
    for place, k in enumerate(order):
        if np.isnan(heights[k]):
            axes.text(0.01, place, "no clips", va="center", fontsize=9, color=QUIET)
            continue
        axes.barh(place, heights[k], height=0.72, color=SKY)
        interval = intervals[k]
        end = heights[k]
        if interval is not None and np.isfinite(interval).all():
            axes.plot(interval, [place, place], color=INK, linewidth=1.4, solid_capstyle="butt")
            end = max(end, interval[1])
        if len(names) <= 40:
            number = axes.text(end + 0.012, place, f"{heights[k]:.2f}", va="center", fontsize=9, color=INK)
            number.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1})  # over the dashed line
            number.set_zorder(4)
    size = 9 if len(names) <= 40 else 6.5
    axes.set_yticks(range(len(names)), [shown(names[k]) for k in order], fontsize=size)
    axes.tick_params(axis="y", length=0, labelsize=size)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, 1.08)
    axes.set_xticks(np.linspace(0, 1, 6))
    lines = "  (black: 95 % interval, dashed: mean)" if any(intervals) else "  (dashed: mean)"
    axes.set_xlabel(score + lines, color=INK)
    text = f"{score[:1].upper()}{score[1:]} of each class"
    if np.isfinite(heights).any():
        mean = float(np.nanmean(heights))
        axes.axvline(mean, color=VERMILION, linewidth=1.2, linestyle=(0, (4, 3)))
        text += f"; mean {mean:.3f}"
    title(axes, text)
    save(figure, path)
