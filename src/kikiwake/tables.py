"""Delimited tables: read with the line of every row, written cell for cell, all problems in one list."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import overload

from kikiwake.errors import ManifestError
from kikiwake.files import replace_atomically

DELIMITERS = ",\t;|"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where, what, and what to do; a warning where work can go on."""

    where: str
    what: str
    remedy: str
    fatal: bool = True

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.remedy}"


class Problems(Sequence[Problem]):
    """All problems found in one go, so that a person mends them in one go."""

    def __init__(self, found: Iterable[Problem] = ()) -> None:
        self._found = list(found)

    def error(self, where: str, what: str, remedy: str) -> None:
        """Note something that has to be mended."""
        self._found.append(Problem(where, what, remedy))

    def warning(self, where: str, what: str, remedy: str) -> None:
        """Note something that a person should know and may leave."""
        self._found.append(Problem(where, what, remedy, fatal=False))

    @property
    def errors(self) -> list[Problem]:
        """Those that have to be mended."""
        return [problem for problem in self._found if problem.fatal]

    @property
    def warnings(self) -> list[Problem]:
        """Those that may be left."""
        return [problem for problem in self._found if not problem.fatal]

    def raise_errors(self, title: str) -> None:
        """Raise one ManifestError that shows everything, if anything has to be mended.

        Raises:
            ManifestError: there are errors; the message is the table of errors and warnings.
        """
        if self.errors:
            raise ManifestError(f"{title}: {_count(self.errors, self.warnings)}\n{self}")

    def __str__(self) -> str:
        return "\n".join(_lines([*self.errors, *self.warnings], shown=20))

    @overload
    def __getitem__(self, index: int) -> Problem: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Problem]: ...
    def __getitem__(self, index: int | slice) -> Problem | Sequence[Problem]:
        return self._found[index]

    def __len__(self) -> int:
        return len(self._found)


def _count(errors: Sequence[Problem], warnings: Sequence[Problem]) -> str:
    counted = [
        f"{len(found)} {noun}{'s' * (len(found) != 1)}"
        for found, noun in ((errors, "error"), (warnings, "warning"))
        if found
    ]
    return ", ".join(counted)


def _lines(problems: Sequence[Problem], *, shown: int) -> Iterator[str]:
    """Yield the aligned lines of a table, at most `shown` of a kind, and how many more there are."""
    kinds: dict[tuple[bool, str], list[Problem]] = {}
    for problem in problems:
        kinds.setdefault((problem.fatal, problem.remedy), []).append(problem)
    visible = [problem for kind in kinds.values() for problem in kind[:shown]]
    where_width = min(40, max((len(problem.where) for problem in visible), default=0))
    what_width = min(60, max((len(problem.what) for problem in visible), default=0))
    for (fatal, remedy), kind in kinds.items():
        label = "error  " if fatal else "warning"
        for problem in kind[:shown]:
            yield f"  {label}  {problem.where:<{where_width}}  {problem.what:<{what_width}}  {remedy}"
        if len(kind) > shown:
            yield f"  {label}  ... and {len(kind) - shown} more of this kind ({len(kind)} in all)"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table: the place to name in a message (`train.csv:41`) and its cells by column."""

    where: str
    cells: Mapping[str, str]

    def __getitem__(self, column: str) -> str:
        """Return the cell of `column`; empty where the table has no such column."""
        return self.cells.get(column, "")


@dataclass(frozen=True, slots=True)
class Table:
    """A table's column names and rows."""

    path: Path
    columns: list[str]
    rows: list[Row]


def read_table(
    path: Path,
    *,
    problems: Problems,
    delimiter: str | None = ",",
    header_rows: int = 1,
    names: Sequence[str] = (),
    index_name: str | None = None,
) -> Table:
    """Read a CSV or TSV file; `delimiter` None: found by looking at the first line.

    `header_rows`: of several, as pandas writes them, a column's names are joined by dots; of none, they are
    `names`. `index_name`: what the first column is called where the header leaves it empty; a row below
    that gives but this name is no row.
    Rows of another width than the header and columns that are named twice are noted in `problems`.

    Raises:
        ManifestError: the file cannot be read, is empty or is not UTF-8.
    """
    text = read_text(path)
    delimiter = delimiter or sniff_delimiter(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    headers: list[list[str]] = []
    columns = list(names)
    rows: list[Row] = []
    line = 1
    longest = csv.field_size_limit(max(len(text), 1))
    try:
        for cells in reader:
            where, line = f"{path.name}:{line}", reader.line_num + 1
            if len(headers) < header_rows:
                headers.append(cells)
                columns = [".".join(filter(None, names)) for names in zip_longest(*headers, fillvalue="")]
                if index_name and columns and not columns[0]:
                    columns[0] = index_name
            elif not cells or (index_name and [*filter(None, cells)] == [index_name]):
                continue
            elif len(cells) != len(columns):
                what = f"{len(cells)} cells in a table of {len(columns)} columns"
                problems.error(
                    where, what, "quote cells that hold the delimiter, and give every column a cell"
                )
            else:
                rows.append(Row(where, dict(zip(columns, cells, strict=True))))
    except csv.Error as error:
        raise ManifestError(f"not a table: {error}", where=f"{path.name}:{line}") from error
    finally:
        csv.field_size_limit(longest)
    if not columns:
        raise ManifestError("the table is empty", where=path, remedy="give it a header and rows")
    for column in sorted({column for column in columns if columns.count(column) > 1}):
        problems.error(f"{path.name}:1", f"column '{column}' stands twice", "rename or remove one of them")
    return Table(path, columns, rows)


def first_bad_row(path: Path, *, texts: Collection[int]) -> tuple[str, str] | None:
    """Return place and fault of the first row of a CSV whose cells do not fit its header; None where all do.

    `texts`: places of columns that may hold anything; others hold finite numbers. For tables that a faster
    reader has refused, which does not know lines.
    """
    line = 1
    # Bytes that are no UTF-8 spoil the cell that they stand in.
    with path.open(encoding="utf-8", errors="backslashreplace", newline="") as file:
        reader = csv.reader(file)
        columns: list[str] = []
        try:
            for cells in reader:
                where, line = f"{path}:{line}", reader.line_num + 1
                columns = columns or cells
                if cells is columns or not cells:
                    continue
                if len(cells) != len(columns):
                    return where, f"{len(cells)} cells in a table of {len(columns)} columns"
                for at, cell in enumerate(cells):
                    if at not in texts and not _is_number(cell):
                        return where, f"{columns[at]} '{cell}' is no number"
        except csv.Error as error:
            return f"{path}:{line}", str(error)
    return None


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, without a byte order mark, line ends as they are.

    Raises:
        ManifestError: the file cannot be read or is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ManifestError(
            f"cannot be read: {error.strerror}", where=path, remedy="check the path"
        ) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ManifestError(
            "not UTF-8 text",
            where=f"{path}:{line}",
            remedy="save the table as UTF-8 (CSV UTF-8 in spreadsheets)",
        ) from error


def sniff_delimiter(text: str) -> str:
    """Return the delimiter that the first line of `text` holds most often; a comma where it holds none."""
    header = text.partition("\n")[0]
    return max(DELIMITERS, key=header.count)


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a CSV file in UTF-8, atomically.

    Cells are kept as they are: this is a format for machines, formulas and all.

    Raises:
        StorageError: the file cannot be written.
        ManifestError: a cell is no Unicode text (a file name of other bytes).
    """
    with (
        replace_atomically(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        for row in (columns, *rows):
            try:
                file.write(",".join(map(quoted, row)) + "\n")
            except UnicodeEncodeError as error:
                raise ManifestError(
                    "a name is not valid Unicode", where=path, value=error.object, remedy="rename the file"
                ) from error


def quoted(cell: str) -> str:
    """Return a cell of a CSV as it is written, in quotes where it needs them."""
    # The csv module leaves a lone carriage return bare, which its own reader then takes for a line end.
    if any(mark in cell for mark in ',"\r\n'):
        return '"' + cell.replace('"', '""') + '"'
    return cell
