"""Sets of recordings with known truth, put together from clips, to train and judge sound event detection on.

    audio/0000.flac ...   recordings: sounds of clips over noise
    truth.csv             what is heard when: filename, start, end (seconds), label, snr_db
    clips.csv             what is heard at all: path, class, secondary, group, fold, split; a row a recording
    stretches.csv         where asked for, of short stretches: path, start, end, class, group, fold, split

`clips.csv` is for `kikiwake prepare FOLDER out.csv --dataset table`: a training on weak labels.
`stretches.csv` is for one on known times; a stretch has a row for each class that is heard in it, or one for
`noise`. A recording without any sound has a row in `truth.csv` with its name alone, as in DCASE's tables.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kikiwake import _backgrounds
from kikiwake._laying import TRUTH_COLUMNS, lay, refuse_others, refuse_tables, write_flac
from kikiwake._pools import Pool, pools, usable
from kikiwake._sounds import Rng, Waveform
from kikiwake._timetable import Happening, Settings, timetable
from kikiwake.audio import AudioInfo
from kikiwake.augmentations._recordings import probed
from kikiwake.errors import KikiwakeError, ManifestError
from kikiwake.manifest import Manifest
from kikiwake.randomness import generator
from kikiwake.tables import write_table

_LOUDEST = 0.98
_TRUTH_COLUMNS = (*TRUTH_COLUMNS, "snr_db")
_STRETCH_COLUMNS = ("path", "start", "end", "class", "group", "fold", "split")
_NOISE = "noise"
_HEARD_SECONDS = 0.1
_WEAK_COLUMNS = ("path", "class", "secondary", "group", "fold", "split")


@dataclass(frozen=True)
class SetSummary:
    """What was written: `events` (rows of `truth`) of `classes` in `recordings`, in `groups` of `folds`.

    `short`: recordings that hold fewer sounds than were drawn for them, for want of room. `left_out`: clips
    of the manifest without a class or with secondary ones.
    """

    folder: Path
    truth: Path
    table: Path
    recordings: int
    events: int
    classes: Sequence[str]
    groups: int
    folds: int
    short: int
    left_out: int

    def __str__(self) -> str:
        spread = f"{self.groups} groups in {self.folds} folds"
        lines = [
            f"{self.recordings} recordings of {spread}: {self.folder / 'audio'}",
            f"{self.events} events of {len(self.classes)} classes: {self.truth}",
            f"which classes are heard in each: {self.table}",
        ]
        if self.short:
            lines.append(f"note: {self.short} recordings had no room for all the sounds drawn for them")
        if self.left_out:
            lines.append(f"note: {self.left_out} clips without a class or with secondary ones were not used")
        return "\n".join(lines)


def synthesise_set(
    manifest: Manifest,
    folder: Path,
    *,
    recordings: int = 200,
    seconds: float = 30.0,
    sample_rate: int = 22_050,
    seed: int = 0,
    least_events: int = 1,
    most_events: int = 5,
    lowest_snr_db: float = 0.0,
    highest_snr_db: float = 20.0,
    overlap: bool = True,
    noise: Path | None = None,
    trim_db: float = 30.0,
    split_gap_seconds: float = 0.5,
    fold: int | None = None,
    folds: int = 5,
    groups_per_fold: int = 4,
    stretch_seconds: float | None = None,
) -> SetSummary:
    """Write recordings in which clips of a manifest are heard over noise, at known times and ratios.

    Each holds `least_events` to `most_events` clips (any number as likely), trimmed to their sound: frames of
    10 ms within `trim_db` of the clip's loudest one. Gaps of more than `split_gap_seconds` between them part
    one event from the next, and hold the noise alone. Classes are as likely as each other, and so are the
    clips of a class. Clips of one class never overlap, those of several do unless `overlap` is False; such
    as may not are 0.2 s apart.

    The signal-to-noise ratio of an event is the mean square of its sound from its start to its end in the
    truth, by the mean square of the noise alone there, in dB; other sounds do not count. It is drawn evenly
    from `lowest_snr_db` to `highest_snr_db`, once for all events of a clip. Only where noise from a recording
    is more than 20 dB below its own mean, it counts as 20 dB below, and `snr_db` of the truth is higher than
    was drawn. A recording that would leave full scale is turned down as a whole.

    `noise`: a folder of recordings whose stretches are laid under the sounds, repeated where they are short;
    None makes coloured noise. Its level is between -50 and -35 dBFS. No recording of noise is heard in two
    folds, if there are as many recordings as folds.

    A recording takes its clips from one pool, and has the fold and split of it: the groups of each of the
    manifest's folds (`folds` are made where it has none) are dealt to at most `groups_per_fold` pools, and
    the pool is the recording's group. Folds get recordings in proportion to their clips. `fold`: take the
    clips of this one alone, such as a model was not trained on. The same arguments give the same bytes.

    `stretch_seconds`: write `stretches.csv`, too, a table of stretches of this length. A class is heard in
    one that holds 0.1 s of an event of it, or all of a shorter one; where none is, the class is `noise`.

    Raises:
        KikiwakeError: a number is out of range.
        ManifestError: no clip can be used, or its groups lie in several folds, or there is no such fold.
        AudioError: a clip cannot be read, or a recording of noise is silent.
        RecipeError: `noise` holds no recording, or one that cannot be read.
        StorageError: `folder` holds other sounds or tables, or cannot be written.
    """
    settings = Settings(
        sample_rate=sample_rate,
        seconds=seconds,
        least_events=least_events,
        most_events=most_events,
        lowest_snr_db=lowest_snr_db,
        highest_snr_db=highest_snr_db,
        overlap=overlap,
        trim_db=trim_db,
        split_gap_seconds=split_gap_seconds,
    )
    _check(settings, recordings=recordings, groups_per_fold=groups_per_fold, stretch_seconds=stretch_seconds)
    if stretch_seconds is not None and _NOISE in manifest.classes:
        raise ManifestError(
            f"a class is named '{_NOISE}', as are stretches in which nothing is heard",
            where="stretch_seconds",
            remedy="rename the class, or leave this out",
        )
    if fold is not None:
        manifest = _of_fold(manifest, fold)
    sides = pools(manifest, groups_per_fold=groups_per_fold, folds=folds, seed=seed)
    backgrounds = (
        probed(noise, where="noise", remedy="name a folder of recordings without the sounds of the clips")
        if noise
        else []
    )
    names = [f"{number:0{max(4, len(str(recordings - 1)))}d}.flac" for number in range(recordings)]
    refuse_others(folder, {f"audio/{name}" for name in names})
    refuse_tables(
        {
            folder / "truth.csv": _TRUTH_COLUMNS,
            folder / "clips.csv": _WEAK_COLUMNS,
            folder / "stretches.csv": _STRETCH_COLUMNS,
        }
    )
    truth: list[tuple[str, ...]] = []
    heard: list[tuple[str, Pool, list[str]]] = []
    stretches: list[tuple[str, ...]] = []
    short = 0
    for number, (name, (side, pool)) in enumerate(zip(names, _turns(sides, recordings), strict=True)):
        own = backgrounds[side :: len(sides)] if len(backgrounds) >= len(sides) else backgrounds
        waveform = _background(own, settings, generator(seed, "set", "background", number))
        events = generator(seed, "set", "events", number)
        rows, whole = timetable(waveform, manifest, pool.rows, settings, events)
        lay(waveform, [each.placed for each in rows])
        write_flac(folder / "audio" / name, [_within_scale(waveform)], sample_rate)
        truth += _truth_rows(name, rows, sample_rate)
        heard.append((name, pool, sorted({row.label for row in rows})))
        short += not whole
        if stretch_seconds is not None:
            stretches += _stretches(name, pool, rows, settings, seconds=stretch_seconds)
    if stretch_seconds is None:
        (folder / "stretches.csv").unlink(missing_ok=True)  # of the recordings that were here before
    else:
        write_table(folder / "stretches.csv", _STRETCH_COLUMNS, stretches)
    write_table(folder / "truth.csv", _TRUTH_COLUMNS, truth)
    write_table(folder / "clips.csv", _WEAK_COLUMNS, _weak(heard))
    return SetSummary(
        folder=folder,
        truth=folder / "truth.csv",
        table=folder / "clips.csv",
        recordings=recordings,
        events=sum(bool(row[1]) for row in truth),
        classes=sorted({row[3] for row in truth if row[3]}),
        groups=len({pool.group for _, pool, _ in heard}),
        folds=len({(pool.fold, pool.split) for _, pool, _ in heard}),
        short=short,
        left_out=len(manifest) - len(usable(manifest)),
    )


def _of_fold(manifest: Manifest, fold: int) -> Manifest:
    if fold not in manifest.folds():
        numbers = ", ".join(map(str, manifest.folds()))
        remedy = f"choose one of {numbers}" if numbers else "make folds with: kikiwake prepare --folds 5"
        raise ManifestError("there is no such fold", where="fold", value=fold, remedy=remedy)
    return manifest.select([row for row, clip in enumerate(manifest) if clip.fold == fold])


def _turns(sides: list[list[Pool]], recordings: int) -> Iterator[tuple[int, Pool]]:
    """Yield the side and the pool of each recording: sides by their clips, the pools of a side in turn."""
    sizes = np.array([sum(len(rows) for pool in side for rows in pool.rows.values()) for side in sides])
    made = np.zeros(len(sides), dtype=int)
    for number in range(recordings):
        side = int(np.argmax(sizes / sizes.sum() * (number + 1) - made))
        yield side, sides[side][made[side] % len(sides[side])]
        made[side] += 1


def _background(recordings: Sequence[AudioInfo], settings: Settings, rng: Rng) -> Waveform:
    samples = round(settings.seconds * settings.sample_rate)
    if recordings:
        return _backgrounds.taken(recordings, samples, rng=rng, sample_rate=settings.sample_rate)
    return _backgrounds.made(samples, rng=rng, sample_rate=settings.sample_rate)


def _within_scale(waveform: Waveform) -> Waveform:
    peak = float(np.abs(waveform).max())
    return waveform * (_LOUDEST / peak) if peak > _LOUDEST else waveform


def _truth_rows(name: str, rows: Sequence[Happening], sample_rate: int) -> list[tuple[str, ...]]:
    if not rows:
        return [(name, "", "", "", "")]
    return [
        (
            name,
            f"{row.start / sample_rate:.4f}",
            f"{row.end / sample_rate:.4f}",
            row.label,
            f"{row.snr_db:.2f}",
        )
        for row in rows
    ]


def _weak(heard: Sequence[tuple[str, Pool, list[str]]]) -> Iterator[tuple[str, ...]]:
    """Yield the rows of the table of weak labels.

    Of the classes in a recording the one that was named first least often is named first, the rarest of such:
    `prepare` wants every class to be the first of some recording.
    """
    total = Counter(label for _, _, labels in heard for label in labels)
    first: Counter[str] = Counter()
    for name, pool, labels in heard:
        ordered = sorted(labels, key=lambda label: (first[label], total[label], label))
        first.update(ordered[:1])
        label = ordered[0] if ordered else ""
        yield f"audio/{name}", label, ";".join(ordered[1:]), *_side(pool)


def _side(pool: Pool) -> tuple[str, str, str]:
    """Return the cells of a pool's group, fold and split."""
    return pool.group, "" if pool.fold is None else str(pool.fold), pool.split or ""


def _stretches(
    name: str, pool: Pool, rows: Sequence[Happening], settings: Settings, *, seconds: float
) -> Iterator[tuple[str, ...]]:
    """Yield a row for every class that is heard in each stretch of a recording; the last may be shorter."""
    rate, total = settings.sample_rate, settings.seconds
    for number in range(math.ceil(round(total / seconds, 6))):
        start, end = number * seconds, min(total, (number + 1) * seconds)
        first, last = round(start * rate), round(end * rate)
        least = min(round(_HEARD_SECONDS * rate), last - first)
        heard = {
            row.label
            for row in rows
            if min(last, row.end) - max(first, row.start) >= min(least, row.end - row.start)
        }
        for label in sorted(heard) or [_NOISE]:
            yield f"audio/{name}", f"{start:.4f}", f"{end:.4f}", label, *_side(pool)


def _check(
    settings: Settings, *, recordings: int, groups_per_fold: int, stretch_seconds: float | None
) -> None:
    """Refuse numbers that no set can be made with."""
    least = {
        "recordings": (recordings, 1),
        "seconds": (settings.seconds, 1),
        "sample_rate": (settings.sample_rate, 8000),
        "least_events": (settings.least_events, 0),
        "most_events": (settings.most_events, max(1, settings.least_events)),
        "highest_snr_db": (settings.highest_snr_db, settings.lowest_snr_db),
        "trim_db": (settings.trim_db, 0),
        "split_gap_seconds": (settings.split_gap_seconds, 0),
        "groups_per_fold": (groups_per_fold, 1),
        "stretch_seconds": (_HEARD_SECONDS if stretch_seconds is None else stretch_seconds, _HEARD_SECONDS),
    }
    for name, (value, lowest) in least.items():
        if not value >= lowest:
            raise KikiwakeError(f"'{name}' is too small", value=value, remedy=f"give at least {lowest:g}")
