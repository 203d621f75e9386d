"""What a finished prediction leaves: table, quarantine, and a summary by which it is known again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kikiwake.errors import KikiwakeError
from kikiwake.files import content_hash, refuse_to_replace, write_json
from kikiwake.prediction._parts import read_json
from kikiwake.predictions import COLUMNS, QUARANTINE_COLUMNS


@dataclass(frozen=True)
class PredictSummary:
    """What a prediction came to.

    `windows` and `recordings` have rows in the table `out`; `quarantined` files are named in `quarantine`.
    `sound_seconds`: of all these recordings. `scored`: windows that this call scored, in `elapsed_seconds`;
    the others were there from an interrupted one. `error`: by how much the logits of the chosen engine and
    precision differ from those of torch in fp32, relative to the largest: on training clips for int8, on
    noise otherwise; None for just these. `namesakes`: recordings whose file name another one has, too.
    `models`: how many have scored every window.
    """

    out: Path
    quarantine: Path
    windows: int
    recordings: int
    sound_seconds: float
    quarantined: int
    scored: int
    elapsed_seconds: float
    error: float | None
    namesakes: int = 0
    models: int = 1

    def __str__(self) -> str:
        lines = [
            f"{self.windows} windows of {self.recordings} recordings, {_spelled(self.sound_seconds)} of sound"
        ]
        if self.scored:
            speed = self.scored / self.elapsed_seconds
            share = self.scored / max(1, self.windows) / self.models
            times = self.sound_seconds * share / self.elapsed_seconds
            by = f" by {self.models} models" if self.models > 1 else ""
            lines.append(
                f"{self.scored} windows scored{by} in {_spelled(self.elapsed_seconds)}: "
                f"{speed:.1f} windows/s, {times:.0f} times real time"
            )
        elif self.windows:
            lines.append("all of it was there already; nothing to do")
        if self.error is not None:
            lines.append(
                f"logits differed from exact ones by up to {self.error:.1e} of the largest when compared"
            )
        if self.namesakes:
            lines.append(
                f"note: {self.namesakes} recordings share their file names with others: row_id does not tell "
                "them apart, path does"
            )
        if self.quarantined:
            lines.append(f"set aside, wholly or in part: {self.quarantined} files, see {self.quarantine}")
        return "\n".join([*lines, f"table: {self.out}"])


class Finished:
    """The files that a prediction leaves: table, quarantine and summary.

    Raises:
        KikiwakeError: the table's name says another format.
        StorageError: a file of another kind would be replaced.
    """

    def __init__(self, out: Path) -> None:
        if out.suffix not in {".csv", ".parquet"}:
            raise KikiwakeError("a table's name ends in .csv or .parquet", where="out", value=str(out))
        self.out = out
        self.quarantine = out.with_name(f"{out.stem}.quarantine.csv")
        self.file = out.with_name(f"{out.stem}.summary.json")
        self._content = read_json(self.file)
        if not self._content:
            refuse_to_replace(out, beginnings=[",".join(COLUMNS), "PAR1"], is_a="table of predictions")
            quarantine = ",".join(QUARANTINE_COLUMNS)
            refuse_to_replace(self.quarantine, beginnings=[quarantine], is_a="quarantine list")

    @property
    def job(self) -> dict[str, Any] | None:
        """What the finished prediction was of, None where there is none."""
        return self._content.get("job")

    def summary(self) -> PredictSummary | None:
        """Return what the finished prediction came to, None where its files are no longer what it wrote."""
        if not (self.out.is_file() and self.quarantine.is_file()):
            return None
        if self._content["files"] != self._hashes():
            return None
        counted = {**self._content["counted"], "scored": 0, "elapsed_seconds": 0.0}
        return PredictSummary(out=self.out, quarantine=self.quarantine, **counted)

    def write(self, job: Mapping[str, Any], summary: PredictSummary) -> None:
        """Note that the prediction is finished; says nothing that differs from run to run."""
        counted = asdict(summary)
        for name in ("out", "quarantine", "scored", "elapsed_seconds"):
            del counted[name]
        write_json(self.file, {"job": dict(job), "counted": counted, "files": self._hashes()})

    def _hashes(self) -> list[str]:
        return [content_hash(self.out), content_hash(self.quarantine)]


def _spelled(seconds: float) -> str:
    """Spell a duration as people do.

    >>> _spelled(3.21), _spelled(605), _spelled(10800)
    ('3.2 s', '10 min 5 s', '3 h 0 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"
