"""Joins what the models of an ensemble say of the same windows, row by row and in flat memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np

from kikiwake.ensembles import Ensemble
from kikiwake.errors import KikiwakeError
from kikiwake.prediction._work import Work
from kikiwake.predictions import Predictions, SetAside, join, path_text


@dataclass(frozen=True)
class Windows:
    """How models cut recordings: length and hop in seconds, to the last digit; `whole` recordings if need be.

    `rates`: the sample rates at which they do. `row`: seconds of a row, where a window has several.
    """

    seconds: Fraction
    hop: Fraction
    whole: bool
    rates: tuple[int, ...]
    row: Fraction | None = None

    def __str__(self) -> str:
        return "whole recordings" if self.whole else f"{float(self.seconds):g} s every {float(self.hop):g} s"


@dataclass(frozen=True)
class Plan:
    """What a prediction depends on, as `Work.job` has it, and the windows that it scores."""

    job: dict[str, Any]
    windows: Windows

    @classmethod
    def of(cls, work: Work) -> Plan:
        """Return the plan of a run's prediction."""
        cut = work.cutting
        rate = cut.sample_rate
        row = None if cut.judge.row is None else Fraction(cut.judge.row, rate)
        return cls(
            work.job, Windows(Fraction(cut.window, rate), Fraction(cut.hop, rate), cut.whole, (rate,), row)
        )


def joint_plan(ensemble: Ensemble, plans: Sequence[Plan]) -> Plan:
    """Return the plan of an ensemble, given those of its members.

    Its job holds what all members' jobs share, the highest sample rate, and for each member the rest.

    Raises:
        KikiwakeError: the members do not score the same windows.
    """
    names = [str(member.folder) for member in ensemble.members]
    windows = _same_windows([plan.windows for plan in plans], names)
    own = {"sample_rate": max(windows.rates), "by": ensemble.by, "weights": ensemble.weights}
    jobs = [plan.job for plan in plans]
    shared = [
        key
        for key, value in jobs[0].items()
        if key not in {*own, "members"} and all(job.get(key) == value for job in jobs)
    ]
    rest = [{key: value for key, value in job.items() if key not in shared} for job in jobs]
    return Plan({**{key: jobs[0][key] for key in shared}, **own, "members": rest}, windows)


def _same_windows(each: Sequence[Windows], names: Sequence[str]) -> Windows:
    """Return the windows that all members score.

    Raises:
        KikiwakeError: their lengths, or their hops, differ by more than rounding to samples; or the hops by
            that, which would add up from window to window.
    """
    first = each[0]
    rates = tuple(sorted({rate for one in each for rate in one.rates}))
    rounding = Fraction(1, rates[0])
    if any(
        one.whole != first.whole
        or abs(one.seconds - first.seconds) > rounding
        or abs(one.hop - first.hop) > rounding
        for one in each
    ):
        raise KikiwakeError(
            "the members hear other windows: "
            + "; ".join(f"{name}: {one}" for name, one in zip(names, each, strict=True)),
            remedy="say which windows all of them are to hear: --window-seconds, --hop-seconds",
        )
    for where, steps in (
        ("hop_seconds", [one.hop for one in each]),
        ("frame_seconds", [one.row for one in each]),
    ):
        if any(step != steps[0] for step in steps):
            each_every = " or ".join(dict.fromkeys(f"{float(step or 0):.9g} s" for step in steps))
            raise KikiwakeError(
                "rows of the members would drift apart, for in whole samples at "
                f"{' and '.join(map(str, rates))} Hz they begin every {each_every}",
                where=where,
                remedy=f"give a multiple of {float(Fraction(1, gcd(*rates))):g} s",
            )
    return replace(first, rates=rates)


class JointRows:
    """Joins the rows that all members of an ensemble have, and notes which ones are missing.

    A row needs every member: what one of them could not read has none, and is set aside. `count`,
    `recordings` (with at least one row) and `sound_seconds` are those of the rows made so far.

    Raises:
        KikiwakeError: two recordings have the same path in tables.
    """

    def __init__(self, ensemble: Ensemble, recordings: Sequence[Path], windows: Windows) -> None:
        self.ensemble = ensemble
        self.names = [str(member.folder) for member in ensemble.members]
        self.paths = [path_text(path) for path in recordings]
        self.count = 0
        self._numbers = {path: number for number, path in enumerate(self.paths)}
        if len(self._numbers) < len(self.paths):
            raise KikiwakeError("two recordings have the same path once their names are UTF-8")
        # Lengths at two rates differ by half a sample of each, and what is resampled by another one.
        self._rounding = 2 / min(windows.rates)
        self._starts = np.full(len(recordings), -1.0)
        self._ends = np.zeros(len(recordings))
        self._missing: dict[tuple[int, int], tuple[float, float]] = {}

    def __call__(self, tables: Sequence[Iterable[Predictions]]) -> Iterator[Predictions]:
        """Yield the joint rows, in order, of the members' tables, each in chunks however long."""
        members = zip(tables, self.ensemble.members, strict=True)
        readers = [_Reader(table, self._numbers, member.classes) for table, member in members]
        while True:
            lasts = [reader.last() for reader in readers]
            if all(last is None for last in lasts):
                return
            # Of everything up to here no reader has more to come.
            horizon = np.sort(np.array([last for last in lasts if last is not None]))[0]
            taken = [reader.take(horizon) for reader in readers]
            joined = self._joined([keys for keys, _ in taken], [rows for _, rows in taken])
            if len(joined):
                yield joined

    def _joined(self, keys: Sequence[np.ndarray], rows: Sequence[Predictions]) -> Predictions:
        everything = np.unique(np.concatenate(keys))
        common = everything
        for own in keys:
            common = np.intersect1d(common, own, assume_unique=True)
        for at, own in enumerate(keys):
            lacking = np.setdiff1d(everything, own, assume_unique=True)
            if len(lacking):
                self._note_missing(at, lacking, keys, rows)
        kept = [_select(one, np.isin(own, common)) for own, one in zip(keys, rows, strict=True)]
        numbers = common.real.astype(np.int64)
        np.maximum.at(self._starts, numbers, common.imag)
        np.maximum.at(self._ends, numbers, kept[0].ends)
        self.count += len(common)
        probabilities = self.ensemble.join([one.probabilities for one in kept])
        return replace(kept[0], probabilities=probabilities, classes=self.ensemble.classes)

    def _note_missing(
        self, member: int, lacking: np.ndarray, keys: Sequence[np.ndarray], rows: Sequence[Predictions]
    ) -> None:
        """Note from where to where a member lacks rows that others have, recording by recording."""
        for own, one in zip(keys, rows, strict=True):
            found = np.isin(own, lacking)
            for key, end in zip(own[found].tolist(), one.ends[found].tolist(), strict=True):
                before = self._missing.get((int(key.real), member), (key.imag, end))
                self._missing[int(key.real), member] = (min(before[0], key.imag), max(before[1], end))

    @property
    def recordings(self) -> int:
        """How many recordings have rows."""
        return int(np.count_nonzero(self._ends))

    @property
    def sound_seconds(self) -> float:
        """How much sound of all recordings the rows reach over."""
        return float(self._ends.sum())

    def set_aside(self, notes: Sequence[Sequence[SetAside]]) -> list[SetAside]:
        """Return what could not be read, given what each member has set aside, in order.

        What all members say alike is said once; the rest says of which member it is.
        """
        said_by: dict[tuple[int, float, str, str], list[int]] = {}
        explained = set()
        for member, own in enumerate(notes):
            for note in own:
                number = self._numbers[note.path]
                explained |= {(number, member)} if note.kind != "repaired" else set()
                said_by.setdefault((number, note.offset_seconds, note.reason, self._kind(note)), []).append(
                    member
                )
        for (number, member), (start, end) in self._missing.items():
            if (number, member) not in explained and not self._is_rounding(number, start, end):
                note = SetAside(self.paths[number], start, "this member has no such row", "partial")
                said_by.setdefault((number, start, note.reason, self._kind(note)), []).append(member)
        return [
            SetAside(self.paths[number], offset, self._whose(members) + reason, kind)
            for (number, offset, reason, kind), members in sorted(said_by.items())
        ]

    def _is_rounding(self, number: int, start: float, end: float) -> bool:
        """Whether rows that a member lacks hold no sound that the joint rows do not.

        Where a recording ends a fraction of a sample behind a window, one sample rate may call for one more.
        """
        last, until = float(self._starts[number]), float(self._ends[number])
        return start > last >= 0 and end <= until + self._rounding

    def _kind(self, note: SetAside) -> str:
        if note.kind in {"unreadable", "partial"}:
            return "partial" if self._ends[self._numbers[note.path]] else "unreadable"
        return note.kind

    def _whose(self, members: Sequence[int]) -> str:
        if len(members) == len(self.names):
            return ""
        return f"{', '.join(self.names[member] for member in members)}: "


class _Reader:
    """Reads a member's rows up to a place that is named.

    A row's place is the complex number of its recording's number and its start, for numpy orders these by
    the real part first. Starts are multiples of a hop that all members share, rounded once, so that those of
    one window have the same bits.

    Raises:
        KikiwakeError: rows stand in another order than recordings and time.
    """

    def __init__(
        self, chunks: Iterable[Predictions], numbers: Mapping[str, int], classes: Sequence[str]
    ) -> None:
        self._chunks = filter(len, chunks)
        self._numbers = numbers
        self._keys = np.empty(0, complex)
        self._rows = join([], classes=classes)

    def last(self) -> complex | None:
        """Return the place of the last row that is held, after reading on where none is; None at the end."""
        if not len(self._keys):
            following = next(self._chunks, None)
            if following is None:
                return None
            self._rows = following
            numbers = np.array([self._numbers[path] for path in self._rows.paths])
            self._keys = numbers + 1j * self._rows.starts
            if (self._keys[1:] <= self._keys[:-1]).any():
                raise KikiwakeError("rows of a member are not in order", where=following.paths[0])
        return complex(self._keys[-1])

    def take(self, horizon: complex) -> tuple[np.ndarray, Predictions]:
        """Return the rows up to a place, and their places."""
        stop = int(np.searchsorted(self._keys, horizon, side="right"))
        keys, rows = self._keys[:stop], self._rows.cut(0, stop)
        self._keys, self._rows = self._keys[stop:], self._rows.cut(stop, len(self._rows))
        return keys, rows


def _select(rows: Predictions, chosen: np.ndarray) -> Predictions:
    if chosen.all():
        return rows
    paths = [path for path, kept in zip(rows.paths, chosen.tolist(), strict=True) if kept]
    return Predictions(
        paths, rows.starts[chosen], rows.ends[chosen], rows.probabilities[chosen], rows.classes
    )
