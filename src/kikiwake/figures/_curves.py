"""The picture of a training: loss, scores and learning rate over the epochs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kikiwake.figures._canvas import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PINK,
    QUIET,
    VERMILION,
    empty_figure,
    plain,
    save,
    shown,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.floating[Any]]
Rows = Sequence[Mapping[str, float | str | None]]


def training_curves(
    rows: Rows, path: Path, *, scores: Sequence[str] = ("accuracy", "macro_f1", "macro_roc_auc")
) -> None:
    """Draw loss, scores and learning rate over the epochs of all stages.

    `rows`: one mapping an epoch with `stage`, `epoch`, `learning_rate`, `train_loss` and, where there are
    validation clips, `validation_loss` and `validation_<score>`; text and empty cells are taken as a CSV
    gives them. `scores`: those that are drawn, as far as there are any; the title tells of the first.

    Raises:
        StorageError: the picture cannot be written.
    """
    from matplotlib.ticker import MaxNLocator

    columns = {name: np.array([_number(row.get(name)) for row in rows]) for row in rows for name in row}
    wanted = [f"{part}_{score}" for score in scores for part in ("validation", "train")]
    drawn = [name for name in wanted if name in columns and np.isfinite(columns[name]).any()]
    stages = list(_stages(rows))
    heights = [3, 3, 1.6] if drawn else [3, 1.6]
    figure = empty_figure(8, 1.1 + 0.85 * sum(heights))
    panels: list[Axes] = list(figure.subplots(len(heights), 1, sharex=True, height_ratios=heights))

    losses = [name for name in ("train_loss", "validation_loss") if name in columns]
    _curves(panels[0], {_spoken(name): columns[name] for name in losses}, stages)
    panels[0].set_ylabel("loss")
    if drawn:
        _curves(panels[1], {_spoken(name): columns[name] for name in drawn}, stages)
        panels[1].set_ylabel("score")
    _curves(panels[-1], {"": columns.get("learning_rate", np.full(len(rows), np.nan))}, stages)
    panels[-1].set_ylabel("learning rate")
    _scale_rates(panels[-1], columns.get("learning_rate", np.zeros(0)), stages)
    panels[-1].set_xlabel("epoch" if len(stages) == 1 else "epoch, counted over all stages")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[-1].set_xlim(0.5, max(len(rows), 1) + 0.5)

    for number, panel in enumerate(panels):
        for name, first, _ in stages if len(stages) > 1 else []:
            panel.axvline(first + 0.5, color=QUIET, linewidth=0.8, linestyle=(0, (2, 2)), zorder=0)
            if number == 0:
                panel.annotate(
                    shown(name),
                    (first + 0.5, 1),
                    xycoords=("data", "axes fraction"),
                    xytext=(4, 2),
                    textcoords="offset points",
                    fontsize=9,
                    color=QUIET,
                )
    figure.align_ylabels(panels)
    figure.suptitle(_training_title(columns, drawn), x=0.01, ha="left", fontsize=12, color=INK)
    save(figure, path)


def _number(cell: float | str | None) -> float:
    try:
        return math.nan if cell is None else float(cell)
    except ValueError:
        return math.nan


def _stages(rows: Rows) -> Iterator[tuple[str, int, int]]:
    """Yield each stage's name and the positions of its first row and of the row after its last."""
    first = 0
    for position in range(1, len(rows) + 1):
        if position == len(rows) or rows[position].get("stage") != rows[first].get("stage"):
            yield str(rows[first].get("stage") or "train"), first, position
            first = position


def _spoken(column: str) -> str:
    """Return a column's name in words: `validation_macro_f1` -> `validation macro f1`."""
    return column.removesuffix("_loss").replace("_", " ")


def _curves(axes: Axes, lines: Mapping[str, Floats], stages: Sequence[tuple[str, int, int]]) -> None:
    """Draw one line a name, broken between stages."""
    plain(axes, grid="y")
    validation = iter((VERMILION, GREEN, ORANGE, PINK))
    for name, values in lines.items():
        colour = next(validation, QUIET) if name.startswith("validation") else BLUE
        for number, (_, first, end) in enumerate(stages):
            axes.plot(
                np.arange(first, end) + 1,
                values[first:end],
                color=colour,
                linewidth=1.8,
                marker="o" if end - first <= 30 else None,
                markersize=3,
                label=name if name and number == 0 else None,
            )
    if len(lines) > 1 or any(lines):
        axes.legend(frameon=False, fontsize=9, labelcolor=INK)


def _scale_rates(axes: Axes, rates: Floats, stages: Sequence[tuple[str, int, int]]) -> None:
    """Choose a logarithmic axis where one stage's rate would vanish beside another's."""
    peaks = [np.nanmax(rates[first:end]) for _, first, end in stages if np.any(rates[first:end] > 0)]
    if peaks and max(peaks) > 20 * min(peaks):
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=True)
        axes.yaxis.get_offset_text().set(fontsize=9, color=INK)


def _training_title(columns: Mapping[str, Floats], scores: Sequence[str]) -> str:
    """Say how many epochs are seen and which was the best."""
    epochs = len(next(iter(columns.values()), ()))
    text = f"{epochs} epoch{'' if epochs == 1 else 's'}"
    monitored = next((name for name in scores if name.startswith("validation_")), None)
    if monitored:
        best = int(np.nanargmax(columns[monitored]))
        return f"{text}; best {_spoken(monitored)} {columns[monitored][best]:.3f} in epoch {best + 1}"
    losses = columns.get("validation_loss", np.zeros(0))
    if np.isfinite(losses).any():
        best = int(np.nanargmin(losses))
        return f"{text}; lowest validation loss {losses[best]:.3f} in epoch {best + 1}"
    return text
