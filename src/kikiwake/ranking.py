"""The likeliest classes of every recording, as JSON, and their score against answers.

Predictions are `{"001": ["first", "second", "third"], ...}` by file stem; answers are the classes in a list,
whose places are the ids 1, 2, ..., or `{"001": "class", ...}`. Ids that are numbers are the same with and
without zeros in front.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kikiwake.errors import ManifestError, listed
from kikiwake.files import refuse_to_replace, write_text
from kikiwake.predictions import Predictions
from kikiwake.tables import Problems, read_text

RANKS = (1, 3)
"""The numbers of guesses for which `score` counts how often the answer is among them."""

Joining = Literal["mean", "max"]


@dataclass(frozen=True)
class RankedScore:
    """How often the answer is among the first guesses.

    `top`: the share of all answers, by number of guesses. `missing`: ids of answers without a prediction,
    which count as wrong. `extra`: ids of predictions without an answer, which do not count.
    """

    answers: int
    top: Mapping[int, float]
    missing: Sequence[str]
    extra: Sequence[str]

    def __str__(self) -> str:
        lines = [f"{self.answers} answers"]
        lines += [f"top-{rank} accuracy {share:.4f}" for rank, share in self.top.items()]
        if self.missing:
            lines.append(
                f"without a prediction, counted as wrong: {len(self.missing)}: {listed(self.missing)}"
            )
        if self.extra:
            lines.append(f"without an answer, not counted: {len(self.extra)}: {listed(self.extra)}")
        return "\n".join(lines)


def rank(predictions: Predictions, *, top: int = 3, by: Joining = "mean") -> dict[str, list[str]]:
    """Return the `top` likeliest classes of every recording by its file stem, the likeliest first.

    `by`: how windows are joined, as `join_windows` says.

    Raises:
        ManifestError: two recordings have the same stem, or `top` is below 1.
    """
    if top < 1:
        raise ManifestError("at least one class must be named", where="top", value=top)
    ranked: dict[str, list[str]] = {}
    for path, probabilities in join_windows(predictions, by=by).items():
        likeliest = np.argsort(-probabilities, kind="stable")[:top]
        ranked[PurePath(path).stem] = [predictions.classes[at] for at in likeliest.tolist()]
    return ranked


def join_windows(predictions: Predictions, *, by: Joining = "mean") -> dict[str, NDArray[np.floating]]:
    """Return one probability a class for every recording, by its path, in the order of their first windows.

    `by`: the mean of the windows' probabilities, weighed by their lengths, or each class's largest.

    Shape: each `[K]`.

    Raises:
        ManifestError: two recordings have the same stem.
    """
    rows: dict[str, list[int]] = {}
    for row, path in enumerate(predictions.paths):
        rows.setdefault(path, []).append(row)
    joined: dict[str, NDArray[np.floating]] = {}
    home: dict[str, str] = {}
    for path, windows in rows.items():
        stem = PurePath(path).stem
        if home.setdefault(stem, path) != path:
            raise ManifestError(
                f"'{home[stem]}' has the same name without its suffix",
                where=path,
                remedy="predict their folders apart, or rename one of them",
            )
        probabilities = predictions.probabilities[windows]
        if by == "max":
            joined[path] = probabilities.max(0)
        else:
            lengths = np.maximum(predictions.ends[windows] - predictions.starts[windows], 1e-9)
            joined[path] = np.average(probabilities, axis=0, weights=lengths)
    return joined


def write_ranked(ranked: Mapping[str, Sequence[str]], path: Path) -> None:
    """Write ranked classes as JSON, a line for each recording, atomically.

    Raises:
        StorageError: the file cannot be written, or is there and something else.
    """
    refuse_to_replace(path, beginnings=["{"], is_a="JSON file of ranked classes")
    lines = (
        f"  {json.dumps(name, ensure_ascii=False)}: {json.dumps(list(classes), ensure_ascii=False)}"
        for name, classes in ranked.items()
    )
    write_text(path, "{\n" + ",\n".join(lines) + "\n}\n")


def score(answers: str | Path, predictions: str | Path) -> RankedScore:
    """Score ranked predictions against answers, both JSON files.

    Raises:
        ManifestError: a file cannot be read or is not of its form, or an id stands twice.
    """
    right = _read_answers(Path(answers))
    guessed = _read_predictions(Path(predictions))
    places = [
        guessed[name].index(answer) if answer in guessed.get(name, ()) else None
        for name, answer in right.items()
    ]
    top = {
        limit: sum(place is not None and place < limit for place in places) / len(right) for limit in RANKS
    }
    missing = [name for name in right if name not in guessed]
    return RankedScore(len(right), top, missing, [name for name in guessed if name not in right])


def _read_answers(path: Path) -> dict[str, str]:
    content = _read(path)
    if isinstance(content, list):
        content = {str(number): answer for number, answer in enumerate(content, start=1)}
    if not isinstance(content, Mapping) or not content:
        remedy = 'write ["class", ...] in the order of ids, or {"001": "class", ...}'
        raise ManifestError("holds no answers", where=path, remedy=remedy)
    return _by_id(path, content, str, 'write a class: "001": "class"')


def _read_predictions(path: Path) -> dict[str, list[str]]:
    content = _read(path)
    remedy = 'write {"001": ["first", "second", "third"], ...}'
    if not isinstance(content, Mapping):
        raise ManifestError("holds no predictions by id", where=path, remedy=remedy)
    listed = {name: [value] if isinstance(value, str) else value for name, value in content.items()}
    return _by_id(path, listed, list, remedy)


def _by_id(path: Path, content: Mapping[str, Any], kind: Any, remedy: str) -> dict[str, Any]:
    """Return `content` by ids without zeros in front, each value checked."""
    problems = Problems()
    found: dict[str, Any] = {}
    for name, value in content.items():
        bare = str(int(name)) if name.isdecimal() else name
        if type(value) is not kind or any(not isinstance(one, str) for one in value):
            what = "class" if kind is str else "list of classes"
            problems.error(f"'{name}'", f"{value!r} is no {what}", remedy)
        elif bare in found:
            problems.error(f"'{name}'", "this id stands twice", "keep one of them")
        else:
            found[bare] = value
    problems.raise_errors(str(path))
    return found


def _read(path: Path) -> Any:
    try:
        return json.loads(read_text(path), object_pairs_hook=_pairs)
    except ValueError as error:
        raise ManifestError(f"is not JSON: {error}", where=path) from None


def _pairs(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its pairs; JSON itself would let a name that stands twice vanish."""
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"'{next(name for name in names if names.count(name) > 1)}' stands twice")
    return made
