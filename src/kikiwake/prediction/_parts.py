"""Keeps the scores of finished units on disk, so that an interrupted prediction goes on where it stopped."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kikiwake.checkpoint import read_state, write_state
from kikiwake.errors import RunError
from kikiwake.files import write_json
from kikiwake.prediction._window_scores import UnitScores
from kikiwake.predictions import SetAside

SECONDS = 10.0
"""How much work an interruption may cost."""
_VALUES = 1 << 22


class Parts:
    """A folder of part files, each with the scores of consecutive units.

    `job`: everything that the scores depend on, in JSON's types; parts of another job are removed, and
    `changes` says what is different.
    """

    def __init__(self, folder: Path, job: Mapping[str, Any]) -> None:
        self.folder = folder
        before = read_json(folder / "job.json")
        self.changes: list[str] = []
        if before != job:
            if folder.is_dir():
                self.changes = changed(before, job) if before else ["what was done cannot be read"]
                shutil.rmtree(folder)
            write_json(folder / "job.json", job)
        self.done = self._count()
        self._waiting: list[UnitScores] = []
        self._next = self.done
        self._written = time.monotonic()

    def _count(self) -> int:
        """Return how many units are done, from the first on without a gap."""
        done = 0
        for _, following in self._files():
            done = following
        return done

    def _files(self) -> Iterator[tuple[dict[str, Any], int]]:
        """Yield the content of each part in order, and the unit that follows it."""
        unit = 0
        while (path := self._path(unit)).is_file():
            try:
                state = read_state(path)
            except RunError:  # damaged: from here on it is done again
                return
            unit = state["next"]
            yield state, unit

    def _path(self, unit: int) -> Path:
        return self.folder / f"{unit:09d}.safetensors"

    def add(self, scores: Sequence[UnitScores]) -> None:
        """Keep what became of the next unit; it is on disk some seconds later, or after `flush`."""
        self._waiting += scores
        self._next += 1
        values = sum(part.probabilities.size for part in self._waiting)
        if time.monotonic() - self._written >= SECONDS or values >= _VALUES:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting.

        Raises:
            StorageError: it cannot be written.
        """
        if self._next > self.done:
            joined = join_scores(self._waiting)
            state = {
                "next": self._next,
                "spans": torch.from_numpy(joined.spans),
                "probabilities": torch.from_numpy(joined.probabilities),
                "set_aside": [list(astuple(note)) for note in joined.set_aside],
            }
            write_state(self._path(self.done), state)
            self.done, self._waiting = self._next, []
        self._written = time.monotonic()

    def __iter__(self) -> Iterator[UnitScores]:
        """Yield everything that is on disk, part by part."""
        for state, _ in self._files():
            yield UnitScores(
                state["spans"].numpy(),
                state["probabilities"].numpy(),
                [SetAside(*note) for note in state["set_aside"]],
            )

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder)


def join_scores(scores: Sequence[UnitScores]) -> UnitScores:
    """Return the scores of several units as one."""
    filled = [part for part in scores if len(part.spans)]
    return UnitScores(
        np.concatenate([np.empty((0, 3), np.int64), *(part.spans for part in filled)]),
        np.concatenate([part.probabilities for part in filled])
        if filled
        else np.empty((0, 0, 0), np.float32),
        [note for part in scores for note in part.set_aside],
    )


def changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return in words what two jobs do not share."""
    keys = [key for key in dict.fromkeys([*before, *now]) if before.get(key) != now.get(key)]
    said = {"model": "the model", "recordings": "the recordings", "members": "the models of the ensemble"}
    return [said.get(key) or f"{key}: was {before.get(key)!r}, now {now.get(key)!r}" for key in keys]


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object from a file, an empty one where there is none."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content
