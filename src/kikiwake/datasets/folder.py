"""A folder a class: `root/<class>/**/*.<audio>`; also Hugging Face's AudioFolder.

`root/train/<class>/...`, `root/validation/...` and `root/test/...` are taken as a split. A `metadata.csv`
with the column `file_name` (paths relative to it) names the recordings, and their labels in `label`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from kikiwake.datasets._scan import SPLIT_NAMES, ClipSeconds, FoundClip, Scan, Tree
from kikiwake.errors import ManifestError
from kikiwake.tables import Problems, read_table

METADATA = "metadata.csv"


def likeness(root: Path) -> int:
    """Say whether there are recordings in folders, or a metadata.csv."""
    tree = Tree(root)
    return int(bool(_metadata(tree)) or any(path.parent != tree.root for path in tree.audio()))


def scan(root: Path, *, group_pattern: str | None = None, clip_seconds: ClipSeconds = None) -> Scan:
    """Find the recordings of every class folder.

    `group_pattern`: a regular expression that is searched in the file name, whose first group names the
    clip's group, as `^([0-9]+)-` for names that begin with the source's number. `clip_seconds`: clips end
    there where their recordings are longer.

    Raises:
        ManifestError: a metadata.csv is not usable, the pattern is none, or a file name does not match it.
    """
    tree = Tree(root)
    splits = _split_folders(tree)
    labels = _metadata(tree)
    result = Scan(tree, unnamed="not in a class folder")
    if labels is not None:
        result.tables = sorted(labels.tables)
        result.missing = labels.missing
        result.unnamed = f"not named in {METADATA}"
    problems = Problems()
    for path in sorted(labels.of) if labels is not None else tree.audio():
        folders = list(path.relative_to(tree.root).parts[:-1])
        split = splits.get(folders[0]) if folders else None
        if split:
            folders.pop(0)
        label = folders[0] if folders else None
        if labels is not None:
            if not path.is_file():
                continue
            label = labels.of[path] if labels.labelled else label
        elif label is None:
            continue
        group = _group(path, group_pattern, problems)
        result.clips.append(FoundClip(path, label, group=group, split=split, seconds=clip_seconds))
    problems.raise_errors(str(root))
    if splits:
        result.notes.append(f"the folders {', '.join(sorted(splits))} are taken as a split")
    return result


def _split_folders(tree: Tree) -> Mapping[str, str]:
    """Return which split each first folder is, if all of those with recordings are one."""
    folders = {path.relative_to(tree.root).parts[0] for path in tree.audio() if path.parent != tree.root}
    splits = {folder: SPLIT_NAMES[folder.lower()] for folder in folders if folder.lower() in SPLIT_NAMES}
    return splits if len(splits) == len(folders) else {}


def _group(path: Path, pattern: str | None, problems: Problems) -> str | None:
    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ManifestError(f"group_pattern is no regular expression: {error}", value=pattern) from None
    if compiled.groups < 1:
        raise ManifestError("group_pattern has no group", value=pattern, remedy="put the part in brackets")
    found = compiled.search(path.name)
    if found is None or not found[1]:
        problems.error(str(path), "the name does not match group_pattern", "mend the pattern or the name")
        return None
    return found[1]


class _Labels:
    """What the metadata tables say: a label for each recording, None where a table has no such column."""

    def __init__(self) -> None:
        self.tables: list[Path] = []
        self.of: dict[Path, str | None] = {}
        self.labelled = False
        self.missing: list[tuple[str, str]] = []


def _metadata(tree: Tree) -> _Labels | None:
    """Return what all metadata.csv with a column `file_name` say; None where there is none."""
    labels = _Labels()
    problems = Problems()
    for path in tree.files:
        if path.name != METADATA or tree.is_hidden(path):
            continue
        table = read_table(path, problems=problems)
        if "file_name" not in table.columns:
            continue
        labels.tables.append(path)
        labels.labelled |= "label" in table.columns
        for row in table.rows:
            recording = Path(os.path.normpath(path.parent / row["file_name"]))
            if not recording.is_relative_to(tree.root):
                problems.error(
                    row.where, f"'{row['file_name']}' lies outside {tree.root}", "prepare its folder"
                )
            elif not recording.is_file():
                labels.missing.append((row["file_name"], row.where))
            elif recording in labels.of:
                problems.error(row.where, f"'{row['file_name']}' is named twice", "keep one row")
            labels.of[recording] = row["label"] or None
    problems.raise_errors(str(tree.root))
    return labels if labels.tables else None
