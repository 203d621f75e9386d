"""The picture of pseudo labels: classes, confidence, agreement of teachers, scores before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kikiwake.figures._canvas import (
    BLUE,
    INK,
    ORANGE,
    QUIET,
    SKY,
    VERMILION,
    empty_figure,
    plain,
    save,
    shown,
    title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAMED_TEACHERS = 10
_FEWEST_ROWS = 10
"""Bars of a few classes are no thicker than those of so many."""
_DASHED = (0, (4, 3))


def pseudo_labels(
    path: Path,
    *,
    classes: Mapping[str, tuple[float, float]],
    confidence: tuple[Sequence[float], Sequence[int]],
    thresholds: Mapping[str, float],
    teachers: Sequence[str],
    same_best: Mapping[tuple[int, int], float | None],
    correlation: float | None,
    scores: Mapping[str, tuple[Sequence[float], float | None]],
    judged_by: str = "clips held out",
) -> None:
    """Draw what pseudo labels are made of, and what they did.

    `classes`: real clips and pseudo labels that train, of each. `confidence`: edges of bins and windows in
    them. `thresholds`: what is asked of the confidence, by its name. `same_best`: for pairs of `teachers`,
    the share of windows in which both find the same class best; `correlation`: of their probabilities, the
    mean over pairs.
    `scores`: of each teacher before, and of the student after retraining, where that is known; `judged_by`:
    on which clips.

    Raises:
        StorageError: the picture cannot be written.
    """
    row = 0.3 if len(classes) <= 40 else 0.16
    figure = empty_figure(12, max(7.6, row * len(classes) + 1.6))
    grid = figure.add_gridspec(3, 2, width_ratios=[1.15, 1], height_ratios=[1, 1.15, 1])
    panels = [figure.add_subplot(grid[row, 1]) for row in range(3)]
    _classes(figure.add_subplot(grid[:, 0]), classes)
    _confidence(panels[0], confidence, thresholds)
    _agreement(panels[1], teachers, same_best, correlation)
    _scores(panels[2], scores, judged_by)
    save(figure, path)


def _classes(axes: Axes, classes: Mapping[str, tuple[float, float]]) -> None:
    """Draw two bars a class: real clips and pseudo labels."""
    plain(axes, grid="x")
    places = np.arange(len(classes))
    real, pseudo = (np.array([counts[at] for counts in classes.values()], float) for at in (0, 1))
    axes.barh(places - 0.2, real, height=0.38, color=SKY, label=f"real clips ({real.sum():g})")
    axes.barh(places + 0.2, pseudo, height=0.38, color=ORANGE, label=f"pseudo labels ({pseudo.sum():g})")
    size = 9 if len(classes) <= 40 else 6.5
    if len(classes) <= 40:
        for place, count in zip(places, pseudo, strict=True):
            axes.text(count, place + 0.2, f" {count:g}", va="center", fontsize=size - 1.5, color=INK)
    axes.set_yticks(places, [shown(name, limit=28) for name in classes], fontsize=size)
    axes.tick_params(axis="y", length=0, labelsize=size)
    axes.spines["left"].set_visible(False)
    room = 1 if len(classes) <= 40 else 3  # for the legend, below the last class
    axes.set_ylim(max(len(classes) + room, _FEWEST_ROWS) - 0.4, -0.6)
    axes.set_xlabel("clips, and windows that train", color=INK)
    axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc="lower right", ncols=2)
    title(axes, "Classes, real and pseudo")


def _confidence(
    axes: Axes, confidence: tuple[Sequence[float], Sequence[int]], thresholds: Mapping[str, float]
) -> None:
    """Draw how sure teachers are of the best class of each window."""
    plain(axes, grid="y")
    edges, windows = (np.asarray(values, float) for values in confidence)
    axes.bar(edges[:-1], windows, width=np.diff(edges), align="edge", color=SKY, edgecolor="white")
    for (name, value), colour in zip(thresholds.items(), (QUIET, VERMILION), strict=False):
        axes.axvline(value, color=colour, linewidth=1.2, linestyle=_DASHED, label=f"{name} {value:g}")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_xlabel("probability of a window's best class", color=INK)
    axes.set_ylabel("windows", color=INK)
    axes.legend(edgecolor="none", framealpha=0.9, fontsize=9, labelcolor=INK)
    title(axes, f"Confidence of {windows.sum():.0f} windows")


def _agreement(
    axes: Axes,
    teachers: Sequence[str],
    same_best: Mapping[tuple[int, int], float | None],
    correlation: float | None,
) -> None:
    """Draw for each pair of teachers how often they name the same best class."""
    known = {pair: share for pair, share in same_best.items() if share is not None}
    if not known:
        _empty(axes, "Agreement of teachers", "no window was heard by two teachers")
        return
    shares = np.full((len(teachers), len(teachers)), np.nan)
    for (one, two), share in known.items():
        shares[one, two] = shares[two, one] = share
    axes.imshow(np.ma.masked_invalid(shares), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.spines[:].set_visible(False)
    few = len(teachers) <= _NAMED_TEACHERS
    names = [shown(name, limit=16) for name in teachers] if few else []
    axes.set_xticks(range(len(names)), names, fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.tick_params(length=0, labelcolor=INK)
    for row, column in zip(*np.nonzero(np.isfinite(shares)), strict=True) if few else ():
        share = shares[row, column]
        colour = "white" if share > 0.55 else INK
        axes.text(column, row, f"{share:.0%}", ha="center", va="center", fontsize=8, color=colour)
    also = "" if correlation is None else f", correlation {correlation:.2f}"
    axes.set_xlabel(f"same best class; mean {np.mean(list(known.values())):.0%}{also}", color=INK)
    title(axes, "Agreement of teachers")


def _scores(axes: Axes, scores: Mapping[str, tuple[Sequence[float], float | None]], judged_by: str) -> None:
    """Draw a line a score: a dot a teacher, a bar at their mean, a diamond for the student."""
    if not scores:
        _empty(axes, "Scores before and after", "no teacher was evaluated")
        return
    plain(axes, grid="x")
    learnt = False
    for place, (before, after) in enumerate(scores.values()):
        axes.plot(before, [place] * len(before), "o", color=BLUE, markersize=5, alpha=0.6)
        if before:
            mean = float(np.mean(before))
            axes.plot([mean, mean], [place - 0.25, place + 0.25], color=BLUE, linewidth=2)
        if after is not None:
            learnt = True
            axes.plot(after, place, "D", color=VERMILION, markersize=7)
    axes.set_yticks(range(len(scores)), [name.replace("_", " ") for name in scores], fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(len(scores) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("dots: teachers, bar: their mean" + ("; diamond: after retraining" if learnt else ""))
    axes.xaxis.label.set_color(INK)
    title(axes, f"Scores on {judged_by}, " + ("before and after" if learnt else "before retraining"))


def _empty(axes: Axes, heading: str, why: str) -> None:
    axes.set_axis_off()
    axes.text(0.0, 0.8, why, transform=axes.transAxes, fontsize=10, color=QUIET)
    title(axes, heading)
