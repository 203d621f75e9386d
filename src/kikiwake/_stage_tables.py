"""The tables that stages train on beside the run's manifest, as the run keeps them.

stages/<stage>.manifest.csv    the clips of a stage with a manifest of its own
pseudo/<stage>/pseudo.csv      the pseudo labels of a stage: a given table, or what the run has made

They are copies, so that a run stands alone, and guards can tell for good what it was trained on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kikiwake.errors import RecipeError, RunError
from kikiwake.files import write_text
from kikiwake.manifest import Manifest
from kikiwake.recipe import Stage
from kikiwake.run import Run


def pseudo_folder(run: Run, stage: Stage) -> Path:
    """Return where a stage's pseudo labels lie."""
    return run.folder / "pseudo" / stage.name


def stage_manifest(run: Run, stage: Stage) -> Path | None:
    """Return the manifest that a stage has of its own: the run's copy, else the original."""
    return _kept_or(_manifest_copy(run, stage), stage.manifest)


def stage_table(run: Run, stage: Stage) -> Path:
    """Return where a stage's pseudo labels are: in the run, or where its recipe names them."""
    copy = _table_copy(run, stage)
    return _kept_or(copy, stage.pseudo.table if stage.pseudo else None) or copy


def keep_tables(run: Run) -> None:
    """Copy the tables that the recipe names into the run, or compare them with the copies that it has.

    Where the original is gone, the copy stands for it. Where recordings have moved, the copy says so.

    Raises:
        RecipeError: a table is not there.
        RunError: a training that goes on has begun with another content.
        ManifestError: a table is wrong.
    """
    begun = run.finished or run.checkpoint_file.is_file()
    for stage in run.recipe.stages:
        _forget_given(run, stage)
        for key, original, copy in _given(run, stage):
            where = f"stages.{stage.name}.{key}"
            if not begun or not copy.is_file():
                if begun and (run.finished or described(run, stage)):
                    continue  # nobody knows whether the original is still what the stage was trained on
                if not original.exists():
                    raise RecipeError("there is no such file or folder", where=where, value=str(original))
                _copy(original, copy, run)
                continue
            if not original.is_file():
                continue
            now, kept = (Manifest.read(path, classes=run.manifest.classes) for path in (original, copy))
            if now.hash() != kept.hash():
                remedy = "put the original back, or choose another run with run=..."
                if not described(run, stage):
                    remedy += "; as long as the stage has not begun, you can also remove the copy"
                raise RunError(
                    f"the training has begun with another content of this table, of which {copy} is a copy",
                    where=where,
                    value=str(original),
                    remedy=remedy,
                )
            if _paths(now) != _paths(kept):
                _write(now, copy)


def copy_tables(run: Run, stage: Stage, to: Run) -> None:
    """Copy what a stage that has ended was trained on into another run, with where its weights come from."""
    manifest, table = stage_manifest(run, stage), stage_table(run, stage)
    if manifest is not None:
        _copy(manifest, _manifest_copy(to, stage), run)
    if stage.pseudo is not None and table.is_file():
        _copy(table, _table_copy(to, stage), run)
    origin = run.stage_file(stage.name).with_suffix(".json")
    if origin.is_file():
        write_text(to.stage_file(stage.name).with_suffix(".json"), origin.read_text(encoding="utf-8"))


def table_hashes(run: Run, stage: Stage) -> dict[str, str | None]:
    """Return the hashes of a stage's own manifest and of its pseudo labels; None for what it has not."""
    tables = {
        "own_manifest": stage_manifest(run, stage),
        "pseudo_labels": None if stage.pseudo is None else stage_table(run, stage),
    }
    return {
        name: Manifest.read(path, classes=run.manifest.classes).hash()
        if path is not None and path.is_file()
        else None
        for name, path in tables.items()
    }


def check_tables(run: Run, stage: Stage, saved: Mapping[str, str | None]) -> None:
    """Refuse to go on in a stage with other tables than its checkpoint's, of which `saved` are the hashes.

    Raises:
        RunError: one is another; nothing would be the same as in an undisturbed run.
    """
    now = table_hashes(run, stage)
    for name, copy in (("own_manifest", _manifest_copy), ("pseudo_labels", _table_copy)):
        if name in saved and saved[name] != now[name]:
            what = f"stage '{stage.name}' has come to a checkpoint with another content of this table"
            remedy = "put back the table, or the recordings that were labelled, or choose another run=..."
            raise RunError(what, where=copy(run, stage), remedy=remedy)


def described(run: Run, stage: Stage) -> dict[str, Any] | None:
    """Return what `provenance` has written beside the weights of a stage; None before the stage has ended."""
    try:
        text = run.stage_file(stage.name).with_suffix(".json").read_text(encoding="utf-8")
        found: dict[str, Any] = json.loads(text)
    except (OSError, ValueError):
        return None
    return found


def _manifest_copy(run: Run, stage: Stage) -> Path:
    return run.folder / "stages" / f"{stage.name}.manifest.csv"


def _table_copy(run: Run, stage: Stage) -> Path:
    return pseudo_folder(run, stage) / "pseudo.csv"


def _given(run: Run, stage: Stage) -> Iterator[tuple[str, Path, Path]]:
    """Yield the key in the recipe, the original and the copy of every table that is given to a stage."""
    if stage.manifest is not None:
        yield "manifest", stage.manifest, _manifest_copy(run, stage)
    if stage.pseudo is not None and stage.pseudo.table is not None:
        yield "pseudo.table", stage.pseudo.table, _table_copy(run, stage)


def _forget_given(run: Run, stage: Stage) -> None:
    """Remove the copy of a table of a stage that has not begun and now makes its own."""
    copy = _table_copy(run, stage)
    makes_its_own = stage.pseudo is not None and stage.pseudo.table is None
    made_here = copy.with_name(f"{copy.stem}.teachers").is_dir()
    if makes_its_own and not made_here and not described(run, stage):
        copy.unlink(missing_ok=True)


def _kept_or(copy: Path, original: Path | None) -> Path | None:
    return copy if original is not None and copy.is_file() else original


def _copy(original: Path, copy: Path, run: Run) -> None:
    _write(Manifest.read(original, classes=run.manifest.classes), copy)


def _write(manifest: Manifest, path: Path) -> None:
    # A manifest without rows could not tell its soft labels from columns of other meaning.
    (manifest if len(manifest) else Manifest([], [])).write(path)


def _paths(manifest: Manifest) -> list[str]:
    return [os.path.abspath(clip.path) for clip in manifest]  # noqa: PTH100 - links are left as they are
