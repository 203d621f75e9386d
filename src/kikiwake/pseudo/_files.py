"""The files that a labelling leaves."""

from __future__ import annotations

import os
from pathlib import Path

from kikiwake.errors import KikiwakeError, StorageError


class Files:
    """The files that belong to a manifest of pseudo labels.

    Raises:
        KikiwakeError: its name does not end in .csv.
    """

    def __init__(self, out: Path) -> None:
        if out.suffix != ".csv":
            raise KikiwakeError(
                "a manifest's name ends in .csv",
                where="out",
                value=str(out),
                remedy=f"give for instance {out.with_suffix('.csv') if out.name else 'pseudo.csv'}",
            )
        self.out = out
        self.kept = out.with_name(f"{out.stem}.kept.csv")
        self.combined = out.with_name(f"{out.stem}.combined.csv")
        self.report = out.with_name(f"{out.stem}.report.json")
        self.quarantine = out.with_name(f"{out.stem}.quarantine.csv")
        self.teachers = out.with_name(f"{out.stem}.teachers")

    def refuse_others(self) -> None:
        """Refuse to write over files of others; the folder of predictions tells that they are our own.

        Raises:
            StorageError: there are such files.
        """
        if self.teachers.is_dir():
            return
        for path in (self.out, self.kept, self.combined, self.report, self.quarantine, self.teachers):
            if os.path.lexists(path):
                raise StorageError(
                    "there is a file of this name that `kikiwake pseudo` did not write, and it would be lost",
                    where=path,
                    remedy="choose another name with --out, or remove the file first",
                )
