"""Files and folders that a recipe names: on this machine, or, where it says so, on the Hugging Face hub.

`hub:owner/name/file` is a file of the hub's repository `owner/name`, `hub:owner/name` the repository, and
`hub:owner/name@revision` its state at a commit, tag or branch. What was fetched once is not fetched again.
Without `hub:` a name is a path, and nothing is ever fetched.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from kikiwake.errors import RecipeError, WeightsError, require

_NAME = re.compile(r"hub:(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w.-]+))?(/(?P<file>[\w./-]+))?")


class HubName(NamedTuple):
    """A repository of the hub at some revision, and a file in it or None for all of it."""

    repository: str
    revision: str | None
    file: str | None


def on_hub(name: str) -> bool:
    """Return whether `name` asks for something of the hub."""
    return name.startswith("hub:")


def local_file(name: str, *, where: str) -> Path:
    """Return where the file `name` lies on this machine, fetching it from the hub if its name says so.

    A path is returned as it is. `where`: the key of the recipe.

    Raises:
        RecipeError: `hub:` and no file of a repository.
        WeightsError: it cannot be fetched.
    """
    if not on_hub(name):
        return Path(name)
    hub = parse(name, where=where)
    if hub.file is None:
        raise _misnamed(name, where=where, form="hub:owner/name/file")
    download = require("huggingface_hub", extra="embeddings").hf_hub_download
    return _fetched(name, lambda: download(hub.repository, hub.file, revision=hub.revision), where=where)


def local_folder(name: str, *, where: str, patterns: Sequence[str]) -> Path:
    """Return where the folder `name` lies on this machine, fetching a repository if its name says so.

    A path is returned as it is. `patterns`: of the files that are fetched, such as `*.json`.

    Raises:
        RecipeError: `hub:` and no repository.
        WeightsError: it cannot be fetched.
    """
    if not on_hub(name):
        return Path(name)
    hub = parse(name, where=where)
    if hub.file is not None:
        raise _misnamed(name, where=where, form="hub:owner/name")
    download = require("huggingface_hub", extra="embeddings").snapshot_download
    return _fetched(
        name,
        lambda: download(hub.repository, revision=hub.revision, allow_patterns=list(patterns)),
        where=where,
    )


def parse(name: str, *, where: str) -> HubName:
    """Take a name apart.

    Raises:
        RecipeError: it names nothing on the hub.

    >>> parse("hub:minzwon/MusicFM/msd_stats.json", where="frontend.statistics").file
    'msd_stats.json'
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise _misnamed(name, where=where, form="hub:owner/name")
    return HubName(match["repository"], match["revision"], match["file"])


def _misnamed(name: str, *, where: str, form: str) -> RecipeError:
    return RecipeError("this names nothing on the hub", where=where, value=name, remedy=f"write {form}")


def _fetched(name: str, fetch: Callable[[], str], *, where: str) -> Path:
    try:
        return Path(fetch())
    except Exception as error:  # no network, no such repository, none of one's own, a full disk
        raise WeightsError(
            f"cannot be had from the Hugging Face hub: {type(error).__name__}: {error}",
            where=where,
            value=name,
            remedy="check the name and the network, or copy it here from elsewhere and give its path",
        ) from error
