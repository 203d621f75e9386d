"""What all pictures share: an empty figure, colours, fonts, and saving in one step.

matplotlib's object-oriented interface alone is used: no pyplot, no global state, no window. The colours are
those of Okabe and Ito ("Color universal design", 2008), which colour-blind readers tell apart.
"""

from __future__ import annotations

import io
import warnings
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from kikiwake.files import replace_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, VERMILION, GREEN, ORANGE, PINK, SKY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9"
INK, QUIET, FAINT = "#222222", "#6b6b6b", "#dddddd"

_CJK_FAMILIES = (
    "Noto Sans CJK JP",
    "Noto Sans JP",
    "Source Han Sans JP",
    "IPAexGothic",
    "IPAPGothic",
    "IPAGothic",
    "TakaoPGothic",
    "VL PGothic",
    "Hiragino Sans",
    "Yu Gothic",
    "Meiryo",
    "MS Gothic",
    "Noto Sans CJK SC",
    "Noto Sans CJK KR",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
    "Arial Unicode MS",
)
_CJK_FILES = ("cjk", "ipa", "takao", "gothic", "wqy", "notosansjp", "droidsansfallback")


def empty_figure(width: float, height: float) -> Figure:
    """Return a figure of `width` by `height` inches that lays itself out."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def plain(axes: Axes, *, grid: str | None = None) -> None:
    """Leave of the axes' frame what is needed; `grid`: "x" or "y" draws faint lines behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(QUIET)
    axes.tick_params(color=QUIET, labelcolor=INK, labelsize=9)
    axes.set_axisbelow(True)
    if grid == "x":
        axes.grid(axis="x", color=FAINT, linewidth=0.8)
    elif grid == "y":
        axes.grid(axis="y", color=FAINT, linewidth=0.8)


def title(axes: Axes, text: str, *, size: float = 12) -> None:
    """Set a title that starts where the axes start."""
    axes.set_title(text, loc="left", fontsize=size, color=INK, pad=10)


def shown(name: str, *, limit: int = 32) -> str:
    """Return a name from a data set as it can be drawn: one line, no mathematics, not endless.

    >>> shown("Parus major (song of a male bird)", limit=12)
    'Parus major…'
    """
    drawable = "".join(letter if letter.isprintable() else " " for letter in name)
    drawable = drawable if len(drawable) <= limit else drawable[: limit - 1] + "…"
    return drawable.replace("$", r"\$")


def save(figure: Figure, path: Path, *, dots_per_inch: int = 150) -> None:
    """Write the figure as PNG, atomically; the same figure gives the same bytes.

    Raises:
        StorageError: the file cannot be written.
    """
    with replace_atomically(path) as temporary:
        temporary.write_bytes(png(figure, dots_per_inch=dots_per_inch))


def png(figure: Figure, *, dots_per_inch: int = 150) -> bytes:
    """Return the figure as the bytes of a PNG; the same figure gives the same bytes."""
    from matplotlib.text import Text

    texts: list[Text] = figure.findobj(Text)
    far_east = any(ord(letter) >= 0x2E80 for text in texts for letter in text.get_text())
    families = ["DejaVu Sans", *(_cjk_families() if far_east else ())]
    for text in texts:
        text.set_fontfamily(families)
    for axes in figure.axes:
        axes.tick_params(labelfontfamily=families)
    made = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(made, format="png", dpi=dots_per_inch, metadata={"Software": None})
    return made.getvalue()


@cache
def _cjk_families() -> tuple[str, ...]:
    """Return the font families on this machine that can draw Japanese, Chinese or Korean names."""
    from matplotlib import font_manager

    fonts = font_manager.fontManager
    found = set(_CJK_FAMILIES) & set(fonts.get_font_names())
    if not found:
        # matplotlib remembers the fonts of its first day: look for those that were installed later.
        for file in font_manager.findSystemFonts():
            if any(
                hint in Path(file).name.lower() for hint in ("cjk", "ipa", "takao", "gothic", "wqy", "vl-")
            ):
                fonts.addfont(file)
        found = set(_CJK_FAMILIES) & set(fonts.get_font_names())
    return tuple(family for family in _CJK_FAMILIES if family in found)
