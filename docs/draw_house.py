"""Draws docs/house.png: the floors of the house, from the table that the layering test enforces."""

from __future__ import annotations

import sys
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrow, FancyBboxPatch, Polygon

PROJECT = Path(__file__).resolve().parents[1]
FAMILIES = {
    "crops",
    "datasets",
    "frontends",
    "augmentations",
    "models",
    "schedules",
    "separators",
    "labelfiles",
}
KINDS = ["ground", "sound and tables", "parts", "the pipeline", "training, prediction", "judging", "roof"]
JOURNEY = [
    (1, "manifest", "one row a clip"),
    (2, "waveform [B, C, T]", "cropped, resampled"),
    (3, "features [B, C, F, N]", "from the front end"),
    (4, "logits [B, K]", "trained in stages"),
    (5, "predictions", "one row a window"),
    (6, "scores", "tables, pictures"),
]
BLUE, SKY, ORANGE, INK, QUIET = "#0072B2", "#d6ebf7", "#fbeacc", "#222222", "#6b6b6b"


def main() -> None:
    """Draw the picture and write it beside this file."""
    sys.path.insert(0, str(PROJECT))
    from tests.test_layering import FLOORS

    figure = Figure(figsize=(12, 7.2))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, 12)
    axes.set_ylim(-0.35, 7.3)
    axes.axis("off")
    axes.add_patch(
        Polygon([(0.7, 6), (4.7, 7.2), (8.7, 6)], closed=True, facecolor="#eeeeee", edgecolor=QUIET)
    )
    for floor, rooms in FLOORS.items():
        draw_floor(axes, floor, [room for room in rooms.split() if is_built(room)])
    axes.add_patch(FancyArrow(0.3, 6.2, 0, -5.7, width=0.04, head_width=0.18, color=QUIET))
    axes.text(
        1.0, 0.85 - 1, "blue: families, in which a part is one file", fontsize=9, color=QUIET, va="center"
    )
    axes.text(0.08, 3.4, "imports go down", rotation=90, va="center", ha="center", fontsize=10, color=QUIET)
    draw_journey(axes)
    figure.savefig(PROJECT / "docs" / "house.png", dpi=110, metadata={"Software": None})


def is_built(room: str) -> bool:
    """Say whether a room is there and not a private one."""
    house = PROJECT / "src" / "kikiwake"
    there = (house / f"{room}.py").is_file() or (house / room / "__init__.py").is_file()
    return there and not room.startswith("_")


def draw_floor(axes: Axes, floor: int, rooms: list[str]) -> None:
    """Draw one floor: its number, what it is for, and a box a room; families of parts are shaded."""
    width = 8.0
    if floor == 6:
        axes.text(4.7, 6.42, "  ".join(rooms), ha="center", va="center", fontsize=11, color=INK)
        return
    axes.add_patch(
        FancyBboxPatch(
            (0.9, floor + 0.04), width - 0.4, 0.9, boxstyle="square,pad=0", facecolor="white", edgecolor=QUIET
        )
    )
    axes.text(1.0, floor + 0.8, f"{floor}  {KINDS[floor]}", fontsize=9, color=QUIET, va="center")
    rows = (
        [rooms] if len(rooms) <= 8 else [rooms[: len(rooms) - len(rooms) // 2], rooms[-(len(rooms) // 2) :]]
    )
    for row, names in enumerate(rows):
        total = sum(len(name) + 3 for name in names)
        room_width = min((width - 0.7) / total, 0.105)
        left = 1.05
        bottom = floor + (0.12 if len(rows) == 1 else 0.38 - 0.29 * row)
        height = 0.5 if len(rows) == 1 else 0.26
        for name in names:
            wide = (len(name) + 3) * room_width
            shade = SKY if name in FAMILIES else ORANGE
            axes.add_patch(
                FancyBboxPatch(
                    (left + 0.03, bottom),
                    wide - 0.06,
                    height,
                    boxstyle="round,pad=0.01",
                    facecolor=shade,
                    edgecolor="none",
                )
            )
            axes.text(
                left + wide / 2, bottom + height / 2, name, ha="center", va="center", fontsize=8.6, color=INK
            )
            left += wide


def draw_journey(axes: Axes) -> None:
    """Draw what becomes of a recording, upward beside the house."""
    axes.text(10.4, 0.42, "recordings", ha="center", va="center", fontsize=11, color=INK, weight="bold")
    for height, name, note in JOURNEY:
        axes.add_patch(
            FancyArrow(
                10.4,
                height - 0.38,
                0,
                0.38,
                width=0.02,
                head_width=0.14,
                head_length=0.1,
                length_includes_head=True,
                color=BLUE,
            )
        )
        axes.text(10.4, height + 0.36, name, ha="center", va="center", fontsize=11, color=BLUE, weight="bold")
        axes.text(10.4, height + 0.14, note, ha="center", va="center", fontsize=9, color=QUIET)


if __name__ == "__main__":
    main()
