"""Lines of cells between tabs, without quotes: what formats of this kind are read from and written with."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kikiwake.files import write_text
from kikiwake.tables import Problems, read_text

_LINE_END = re.compile(r"\r\n|\r|\n")  # str.splitlines also cuts at characters that labels may hold
_NO_CELL_HOLDS = re.compile(r"\r\n|[\t\r\n]")


class Line(NamedTuple):
    """The place of a line to name in a message (`night.txt:3`) and its cells."""

    where: str
    cells: list[str]


def read_lines(path: Path) -> list[Line]:
    """Return the lines of a UTF-8 file that are not blank; line ends of every system and a BOM are fine.

    Raises:
        ManifestError: the file cannot be read or is not UTF-8.
    """
    lines = enumerate(_LINE_END.split(read_text(path)), start=1)
    return [Line(f"{path.name}:{number}", line.split("\t")) for number, line in lines if line.strip()]


def write_lines(path: Path, lines: Iterable[Iterable[str]]) -> None:
    """Write lines of cells, atomically; a tab or line end inside a cell becomes a space.

    Raises:
        StorageError: the file cannot be written.
    """
    write_text(path, "".join("\t".join(map(_one_cell, cells)) + "\n" for cells in lines))


def _one_cell(text: str) -> str:
    return _NO_CELL_HOLDS.sub(" ", text)


def written(number: float) -> str:
    """Return the shortest decimals that mean the same double, without an exponent.

    >>> written(0.1), written(1e-05), written(4)
    ('0.1', '0.00001', '4.0')
    """
    text = repr(float(number))
    return np.format_float_positional(float(number), trim="0") if "e" in text else text


def number(text: str) -> float | None:
    """Return the finite number that a cell holds, with a decimal point or comma; None where it holds none."""
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None


def span(line: Line, start: str, end: str, *, problems: Problems) -> tuple[float, float] | None:
    """Return start and end in seconds; None, and a note in `problems`, where they are none."""
    begun, ended = number(start), number(end)
    if begun is None or ended is None:
        what = f"start '{start}' or end '{end}' is no number"
        problems.error(line.where, what, "give seconds, such as 4.25")
        return None
    if ended < begun:
        what = f"end {ended:g} s precedes start {begun:g} s"
        problems.error(line.where, what, "give an end that is not before the start")
        return None
    return begun, ended
