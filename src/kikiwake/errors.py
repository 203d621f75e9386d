"""The errors that users meet: what went wrong, where, with which value, and what to do about it."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

_UNSET: Any = ...
_LONGEST_VALUE = 300


class KikiwakeError(Exception):
    """Anything that kikiwake refuses or cannot do, in words for the person who has to act.

    The message reads `where: what (got value); remedy`.

    >>> str(KikiwakeError("end precedes start", where="train.csv:41", value=4.2, remedy="give end > start"))
    'train.csv:41: end precedes start (got 4.2); give end > start'
    """

    def __init__(
        self, what: str, *, where: str | Path | None = None, value: Any = _UNSET, remedy: str | None = None
    ) -> None:
        self.what = what
        self.where = None if where is None else str(where)
        self.value = value
        self.remedy = remedy
        super().__init__(what)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        value = repr(self.value)
        if len(value) > _LONGEST_VALUE:
            value = f"{value[:_LONGEST_VALUE]}..."
        got = "" if self.value is _UNSET else f" (got {value})"
        advice = f"; {self.remedy}" if self.remedy else ""
        return f"{place}{self.what}{got}{advice}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.what, self.where, self.value, self.remedy)


def _restore(
    kind: type[KikiwakeError], what: str, where: str | None, value: Any, remedy: str | None
) -> KikiwakeError:
    return kind(what, where=where, value=value, remedy=remedy)


class AudioError(KikiwakeError):
    """A recording cannot be opened, decoded or converted."""


class ManifestError(KikiwakeError):
    """A manifest, or the table or folder it is made from, is not usable as it is."""


class RecipeError(KikiwakeError):
    """A recipe has an unknown key, a wrong type or a value that is not allowed."""


class WeightsError(KikiwakeError):
    """Model weights cannot be had or do not fit the model."""


class RunError(KikiwakeError):
    """A run directory is missing, incomplete, or belongs to something else."""


class TrainingError(KikiwakeError):
    """Training cannot start or cannot go on."""


class SeparationError(KikiwakeError):
    """Recordings cannot be separated, by no fault of theirs: no memory is left, or the separator fails."""


class StorageError(KikiwakeError):
    """A file cannot be written: disk full, folder read-only, input/output error."""


class MissingExtra(KikiwakeError):  # noqa: N818 - the name says it better than MissingExtraError
    """An optional package is needed that is not installed."""


def listed(names: Sequence[str], *, shown: int = 20) -> str:
    """Return the first of some names, and how many more there are, for messages that must end.

    >>> listed(["vocals", "drums", "bass", "other"], shown=2)
    'vocals, drums, and 2 more'
    """
    more = f", and {len(names) - shown} more" if len(names) > shown else ""
    return f"{', '.join(names[:shown])}{more}"


def require(module: str, *, extra: str) -> ModuleType:
    """Import an optional package, or say which extra brings it.

    Raises:
        MissingExtra: `module` is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(
            f"the package '{module.split('.')[0]}' is needed here and does not import: {error}",
            remedy=f"install it with: pip install 'kikiwake[{extra}]'",
        ) from error
