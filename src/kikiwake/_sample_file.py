"""A competition's sample submission: which of the forms it shows, and how it is written."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kikiwake.datasets.signate import is_header
from kikiwake.errors import ManifestError
from kikiwake.tables import Problems, read_text, sniff_delimiter

ROW_ID = "row_id"

_REMEDY = (
    f"give the competition's sample: its header is {ROW_ID}, then a column for each class, or its rows are "
    "names of recordings with class numbers"
)


@dataclass(frozen=True, slots=True)
class Sample:
    """What a sample submission shows: its header, empty where it has none, the ids, and how it is written."""

    path: Path
    columns: Sequence[str]
    ids: Sequence[str]
    delimiter: str
    line_end: str

    @property
    def of_windows(self) -> bool:
        """Whether a row is a window and its probabilities; else a recording and its class number."""
        return self.columns[:1] == [ROW_ID]


def read_sample(path: Path) -> Sample:
    """Read the header and the ids of a sample submission.

    Raises:
        ManifestError: it cannot be read, is of no known form, or names a column or row twice.
    """
    text = read_text(path)
    delimiter = sniff_delimiter(text)
    table = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        rows = [(f"{path.name}:{table.line_num}", cells) for cells in table if cells]
    except csv.Error as error:
        raise ManifestError(f"not a table: {error}", where=f"{path.name}:{table.line_num}") from error
    first = rows[0][1] if rows else []
    of_windows = first[:1] == [ROW_ID] and len(first) > 1
    columns = first if of_windows or is_header(first) else []
    if columns:
        rows = rows[1:]
    if not of_windows and (len(first) != 2 or not rows):
        raise ManifestError(
            "is no sample submission", where=path, value=text.partition("\n")[0][:80], remedy=_REMEDY
        )
    problems = Problems()
    for name in sorted({name for name in columns if columns.count(name) > 1}):
        problems.error(f"{path.name}:1", f"column '{name}' stands twice", "restore the sample")
    above: dict[str, str] = {}
    for where, cells in rows:
        if above.setdefault(cells[0], where) != where:
            what = f"row '{cells[0]}' stands in {above[cells[0]]} too"
            problems.error(where, what, "restore the sample")
        if not of_windows and (len(cells) != 2 or not (cells[1].strip() or "0").isdecimal()):
            what = f"'{delimiter.join(cells)}' is no recording and class number"
            problems.error(where, what, "restore the sample, or give one of class numbers")
    problems.raise_errors(str(path))
    line_end = "\r\n" if text.partition("\n")[0].endswith("\r") and "\n" in text else "\n"
    return Sample(path, columns, list(above), delimiter, line_end)
