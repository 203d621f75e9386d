"""Predictions: probabilities of every window of some recordings, and the tables they are kept in.

A table has the columns path, row_id, start, end and predicted, then one a class. It is written from chunks,
so that tables of any length need little memory; the same rows give the same bytes, however they are cut.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from kikiwake.errors import ManifestError
from kikiwake.files import replace_atomically
from kikiwake.tables import first_bad_row, quoted, write_table

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("path", "row_id", "start", "end", "predicted")
QUARANTINE_COLUMNS = ("path", "offset_seconds", "reason", "kind")

_TEXTS = frozenset(at for at, name in enumerate(COLUMNS) if name not in {"start", "end"})
_ROW_GROUP_VALUES = 1 << 22


@dataclass(frozen=True)
class SetAside:
    """A recording that could not be read, or not as it is: where in it, why, and what became of it.

    `kind`: "missing" (no such file), "unreadable" (no window of it has a row), "crashed" (its decoder died or
    hung there), "partial" (what could be read has rows) or "repaired" (samples that are NaN count as 0).
    """

    path: str
    offset_seconds: float
    reason: str
    kind: str


@dataclass(frozen=True)
class Predictions:
    """One row a window, sorted as the recordings were given and then in time.

    `set_aside`: what could not be read, where that is known.

    Shape: paths `[W]` (texts); starts, ends `[W]` in seconds; probabilities `[W, K]`; classes `[K]` names.
    """

    paths: Sequence[str]
    starts: np.ndarray
    ends: np.ndarray
    probabilities: np.ndarray
    classes: Sequence[str]
    set_aside: Sequence[SetAside] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def row_ids(self) -> list[str]:
        """Return `<file stem>_<end second>` of every row, as submissions want it."""
        stems = {path: PurePath(path).stem for path in dict.fromkeys(self.paths)}
        ends = np.rint(self.ends).astype(int).tolist()
        return [f"{stems[path]}_{end}" for path, end in zip(self.paths, ends, strict=True)]

    def predicted(self) -> list[str]:
        """Return the most probable class of every row."""
        return [self.classes[at] for at in self.probabilities.argmax(1).tolist()] if len(self) else []

    def frame(self) -> pd.DataFrame:
        """Return the table: path, row_id, start, end, predicted, then one column a class."""
        import pandas as pd

        described = pd.DataFrame(
            {
                "path": list(self.paths),
                "row_id": self.row_ids(),
                "start": self.starts,
                "end": self.ends,
                "predicted": self.predicted(),
            }
        )
        return pd.concat([described, pd.DataFrame(self.probabilities, columns=list(self.classes))], axis=1)

    def write(self, path: Path) -> None:
        """Write CSV, or Parquet where the name ends in .parquet, atomically.

        Raises:
            StorageError: the file cannot be written.
        """
        write_predictions(path, [self], classes=self.classes)

    @classmethod
    def read(cls, path: Path) -> Predictions:
        """Read what `write` wrote.

        Raises:
            ManifestError: the table is not there, has other columns, or cells that are no numbers.
        """
        chunks = list(read_chunks(path))
        return join(chunks, classes=chunks[0].classes)

    def cut(self, start: int, stop: int) -> Predictions:
        """Return rows `start` to `stop`."""
        span = slice(start, stop)
        return Predictions(
            self.paths[span], self.starts[span], self.ends[span], self.probabilities[span], self.classes
        )

    def at(self, rows: np.ndarray) -> Predictions:
        """Return the rows of these numbers, in their order."""
        return Predictions(
            [self.paths[row] for row in rows.tolist()],
            self.starts[rows],
            self.ends[rows],
            self.probabilities[rows],
            self.classes,
        )


def read_chunks(path: Path) -> Iterator[Predictions]:
    """Yield the rows of a table that `write_predictions` wrote, some at a time, in flat memory.

    The first chunk has no rows: it tells the classes of a table without any.

    Raises:
        ManifestError: as `Predictions.read`.
    """
    if not path.is_file():
        raise ManifestError("there is no such table", where=path, remedy="make it with `kikiwake predict`")
    done = 0
    for columns, cells in _read_parquet(path) if path.suffix == ".parquet" else _read_csv(path):
        if tuple(columns[: len(COLUMNS)]) != COLUMNS:
            raise ManifestError(
                f"not a table of predictions: it does not begin with {', '.join(COLUMNS)}",
                where=path,
                value=columns[: len(COLUMNS)],
            )
        rows, classes = len(cells[0]), columns[len(COLUMNS) :]
        probabilities = np.empty((rows, len(classes)), np.float32)
        try:
            for at, values in enumerate(cells[len(COLUMNS) :]):
                probabilities[:, at] = values
            starts, ends = (np.asarray(cells[COLUMNS.index(name)], float) for name in ("start", "end"))
            for name, found in (("start", starts), ("end", ends), ("a class", probabilities)):
                if not np.isfinite(found).all():
                    raise ValueError(f"{name} is not finite")
        except (ValueError, TypeError) as error:
            raise _complaint(path, f"{error} in one of rows {done + 1} to {done + rows}") from error
        yield Predictions([str(value) for value in cells[0]], starts, ends, probabilities, classes)
        done += rows


def _complaint(path: Path, what: str) -> ManifestError:
    """Return the error of a table that was refused: what is wrong in its first bad row, else `what`."""
    bad = None if path.suffix == ".parquet" else first_bad_row(path, texts=_TEXTS)
    where, what = bad or (str(path), what)
    remedy = "start, end and the columns of classes hold numbers; make it again with `kikiwake predict`"
    return ManifestError(f"not a table of predictions: {what}", where=where, remedy=remedy)


def by_recording(chunks: Iterable[Predictions]) -> Iterator[Predictions]:
    """Yield the rows of one recording after another, whatever the chunks hold.

    Raises:
        ManifestError: the rows of a recording stand apart.
    """
    waiting: list[Predictions] = []
    done: set[str] = set()
    for chunk in filter(len, chunks):
        changes = [at for at in range(1, len(chunk)) if chunk.paths[at] != chunk.paths[at - 1]]
        for start, stop in pairwise([0, *changes, len(chunk)]):
            path = chunk.paths[start]
            if waiting and path != waiting[0].paths[0]:
                yield join(waiting, classes=waiting[0].classes)
                done.add(waiting[0].paths[0])
                waiting = []
            if path in done:
                raise ManifestError(
                    "the rows of this recording stand apart in the table",
                    where=path,
                    remedy="sort them by path",
                )
            waiting.append(chunk.cut(start, stop))
    if waiting:
        yield join(waiting, classes=waiting[0].classes)


def join(chunks: Sequence[Predictions], *, classes: Sequence[str]) -> Predictions:
    """Return the rows of all `chunks`, and all that they set aside."""
    probabilities = [np.empty((0, len(classes)), np.float32), *(chunk.probabilities for chunk in chunks)]
    return Predictions(
        [path for chunk in chunks for path in chunk.paths],
        np.concatenate([np.empty(0), *(chunk.starts for chunk in chunks)]),
        np.concatenate([np.empty(0), *(chunk.ends for chunk in chunks)]),
        np.concatenate(probabilities),
        list(classes),
        [note for chunk in chunks for note in chunk.set_aside],
    )


def path_text(path: str | os.PathLike[str]) -> str:
    """Return a path as text that any table can hold: bytes of a name that are no UTF-8 are spelled out."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def write_predictions(path: Path, chunks: Iterable[Predictions], *, classes: Sequence[str]) -> None:
    """Write chunks of predictions one after the other as CSV or, for names in .parquet, Parquet, atomically.

    Raises:
        StorageError: the file cannot be written.
    """
    with replace_atomically(path) as temporary:
        if path.suffix == ".parquet":
            _write_parquet(temporary, chunks, classes=classes)
        else:
            with temporary.open("w", encoding="utf-8", newline="") as file:
                _write_csv(file, chunks, classes=classes)


def write_quarantine(path: Path, set_aside: Iterable[SetAside]) -> None:
    """Write the table of what could not be read, atomically.

    Raises:
        StorageError: the file cannot be written.
    """
    rows = ((note.path, f"{note.offset_seconds:.3f}", note.reason, note.kind) for note in set_aside)
    write_table(path, QUARANTINE_COLUMNS, rows)


def read_quarantine(path: Path) -> list[SetAside]:
    """Read what `write_quarantine` wrote.

    Raises:
        ManifestError: it cannot be read, or is no such table.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        if tuple(header) != QUARANTINE_COLUMNS:
            raise ValueError(f"it does not begin with {', '.join(QUARANTINE_COLUMNS)}")
        return [SetAside(name, float(offset), reason, kind) for name, offset, reason, kind in rows]
    except (OSError, ValueError, csv.Error) as error:
        raise ManifestError(f"not a quarantine list: {error}", where=path) from error


def _write_csv(file: TextIO, chunks: Iterable[Predictions], *, classes: Sequence[str]) -> None:
    file.write(",".join(map(quoted, (*COLUMNS, *classes))) + "\n")
    numbers = ",%.6f" * len(classes)
    for chunk in chunks:
        cells_of = {text: quoted(text) for text in {*chunk.paths, *chunk.classes}}
        columns = (chunk.paths, chunk.row_ids(), chunk.starts.tolist(), chunk.ends.tolist())
        rows = zip(*columns, chunk.predicted(), chunk.probabilities.tolist(), strict=True)
        for path, row_id, start, end, predicted, values in rows:
            cells = f"{cells_of[path]},{quoted(row_id)},{start:.6f},{end:.6f},{cells_of[predicted]}"
            file.write(cells + numbers % tuple(values) + "\n")


def _write_parquet(path: Path, chunks: Iterable[Predictions], *, classes: Sequence[str]) -> None:
    import pyarrow as pa  # type: ignore[import-untyped]
    from pyarrow import parquet

    kinds = [pa.string(), pa.string(), pa.float64(), pa.float64(), pa.string()]
    fields = [*zip(COLUMNS, kinds, strict=True), *((name, pa.float32()) for name in classes)]
    schema = pa.schema(fields)
    rows = max(1, _ROW_GROUP_VALUES // len(fields))
    with parquet.ParquetWriter(path, schema) as writer:
        for chunk in _evenly(chunks, rows=rows, classes=classes):
            columns = [chunk.paths, chunk.row_ids(), chunk.starts, chunk.ends, chunk.predicted()]
            columns += [np.ascontiguousarray(values) for values in chunk.probabilities.T]
            arrays = [pa.array(c, kind) for c, kind in zip(columns, schema.types, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=rows)


def _evenly(chunks: Iterable[Predictions], *, rows: int, classes: Sequence[str]) -> Iterator[Predictions]:
    """Cut and join chunks into such of `rows` rows, the last one shorter."""
    waiting: list[Predictions] = []
    held = 0
    for chunk in chunks:
        waiting.append(chunk)
        held += len(chunk)
        while held >= rows:
            whole = join(waiting, classes=classes)
            yield whole.cut(0, rows)
            waiting, held = [whole.cut(rows, held)], held - rows
    if held:
        yield join(waiting, classes=classes)


def _read_csv(path: Path) -> Iterator[tuple[list[str], list[Any]]]:
    """Yield the columns' names and the cells of some rows, column by column."""
    import pandas as pd

    with path.open(encoding="utf-8", newline="") as file:
        try:
            columns = next(csv.reader(file), [])
            yield columns, [[] for _ in columns]
            texts: dict[Any, Any] = {
                at: str for at, name in enumerate(columns[:5]) if name not in {"start", "end"}
            }
            frames = pd.read_csv(
                file,
                header=None,
                names=range(len(columns)),
                dtype=texts,
                keep_default_na=False,
                chunksize=_rows_at_once(columns),
            )
            for frame in frames:
                yield columns, [frame[at].to_numpy() for at in range(len(columns))]
        except (ValueError, csv.Error) as error:  # pandas' errors, and bytes that are no UTF-8
            raise _complaint(path, str(error)) from error


def _read_parquet(path: Path) -> Iterator[tuple[list[str], list[Any]]]:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as table:
        columns = list(table.schema_arrow.names)
        yield columns, [[] for _ in columns]
        for batch in table.iter_batches(batch_size=_rows_at_once(columns)):
            yield columns, [column.to_numpy(zero_copy_only=False) for column in batch.columns]


def _rows_at_once(columns: Sequence[str]) -> int:
    return max(1, _ROW_GROUP_VALUES // max(1, len(columns)))
