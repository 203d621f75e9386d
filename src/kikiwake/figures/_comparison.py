"""The picture of a comparison: one score of several models with its intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from kikiwake.figures._canvas import BLUE, INK, empty_figure, plain, save, shown, title


def score_intervals(models: Mapping[str, Sequence[float | None]], path: Path, *, score: str) -> None:
    """Draw one line a model: a score as a dot on its interval.

    `models`: value, low and high end of each, None for what is undefined. `score`: what the numbers are.

    Raises:
        StorageError: the picture cannot be written.
    """
    figure = empty_figure(7.2, 0.42 * max(len(models), 2) + 1.3)
    axes = figure.subplots()
    plain(axes, grid="x")
    for place, (value, low, high) in enumerate(models.values()):
        if value is None:
            continue
        if low is not None and high is not None:
            axes.plot([low, high], [place, place], color=BLUE, linewidth=2, solid_capstyle="butt")
        axes.plot(value, place, "o", color=BLUE, markersize=7)
        axes.annotate(
            f"{value:.3f}",
            (value, place),
            (0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=9,
            color=INK,
        )
    axes.set_yticks(range(len(models)), [shown(name) for name in models])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(len(models) - 0.5, -0.7)
    axes.set_xlabel(score, color=INK)
    title(axes, f"{score} of {len(models)} models on the same clips, with 95 % intervals")
    save(figure, path)
