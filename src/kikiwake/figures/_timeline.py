"""Pictures over time: the spectrogram of a recording, and below it what was predicted when."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kikiwake.figures._canvas import INK, QUIET, VERMILION, empty_figure, plain, save, shown, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.floating[Any]]
Event = tuple[float, float, str]

_COLUMNS = 1600
_RANGE_DB = 70.0
_ROWS = 20
_LABEL_LETTERS = 18
_CLOCK_STEPS = (15, 30, 60, 120, 300, 600, 1200, 1800, 3600)


def spectrogram(
    waveform: Floats,
    sample_rate: int,
    target: Path | Axes,
    *,
    events: Sequence[Event] | None = None,
    heading: str | None = None,
) -> None:
    """Draw the power over time and frequency, in dB below the loudest point.

    `target`: the PNG to write, or axes to draw on. `events`: start and end in seconds, and label, of
    stretches to outline.

    Shape: waveform `[T]`.

    Raises:
        StorageError: the picture cannot be written.
    """
    if not isinstance(target, Path):
        _draw_spectrogram(target, waveform, sample_rate, events or ())
        return
    figure = empty_figure(10, 3.6)
    axes = figure.subplots()
    _draw_spectrogram(axes, waveform, sample_rate, events or ())
    axes.set_xlabel(_time_unit(len(waveform) / sample_rate), color=INK)
    title(axes, heading or f"Spectrogram of {_duration(len(waveform) / sample_rate)}")
    bar = figure.colorbar(axes.images[0], ax=axes, aspect=25, pad=0.015)
    bar.set_label("power (dB)", fontsize=9, color=INK)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=8)
    save(figure, target)


def predictions_over_time(
    waveform: Floats,
    sample_rate: int,
    starts: Floats,
    ends: Floats,
    probabilities: Floats,
    classes: Sequence[str],
    path: Path,
    *,
    truth: Sequence[Event] | None = None,
    heading: str | None = None,
) -> None:
    """Draw a recording's spectrogram and, below it, a band a class that darkens with its probability.

    Where windows overlap, the mean of their probabilities is shown. `starts`, `ends`: of the windows, in
    seconds. `truth`: events known to be there (start, end, label), outlined in the band of their class. Of
    more than 20 classes, those that occur in the truth and the most probable ones are shown.

    Shape: waveform `[T]`; starts, ends `[N]`; probabilities `[N, K]`.

    Raises:
        StorageError: the picture cannot be written.
    """
    from matplotlib.patches import Rectangle

    events = [event for event in truth or () if event[2] in classes]
    rows = _rows_to_show(probabilities, classes, events)
    edges, means = _mean_over_windows(
        np.asarray(starts), np.asarray(ends), np.asarray(probabilities)[:, rows]
    )
    seconds = max(len(waveform) / sample_rate, float(edges[-1]) if len(edges) else 0.0)

    figure = empty_figure(11, 3.4 + 0.3 * len(rows))
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2.2, 0.3 * len(rows)])
    _draw_spectrogram(above, waveform, sample_rate, ())
    above.set_xlabel("")
    mesh = below.pcolormesh(edges, np.arange(len(rows) + 1), means.T, cmap="Blues", vmin=0, vmax=1)
    for start, end, label in events:
        row = rows.index(list(classes).index(label))
        box = Rectangle(
            (start, row + 0.06), end - start, 0.88, fill=False, edgecolor=VERMILION, linewidth=1.8, zorder=3
        )
        below.add_patch(box)
    plain(below)
    below.hlines(np.arange(1, len(rows)), 0, seconds, color="white", linewidth=1.5)
    below.set_yticks(np.arange(len(rows)) + 0.5, [shown(classes[row]) for row in rows])
    below.tick_params(axis="y", length=0)
    below.spines["left"].set_visible(False)
    below.set_ylim(len(rows), 0)
    below.set_xlim(0, seconds)
    below.set_xlabel(_time_unit(seconds), color=INK)
    bar = figure.colorbar(mesh, ax=below, aspect=max(4 * len(rows) / 3, 6), pad=0.015)
    bar.set_label("probability", fontsize=9, color=INK)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=8)
    some = f", {len(rows)} of {len(classes)} classes" if len(rows) < len(classes) else ""
    known = "; outlined: what is truly there" if events else ""
    title(above, f"{shown(heading or 'What was heard when', limit=70)}{some}{known}")
    save(figure, path)


def _rows_to_show(probabilities: Floats, classes: Sequence[str], events: Sequence[Event]) -> list[int]:
    """Return the classes to draw, in their own order: those of the truth, then the most probable."""
    peaks = np.asarray(probabilities).max(axis=0, initial=0.0)
    known = {label for _, _, label in events}
    ranked = sorted(range(len(classes)), key=lambda k: (classes[k] not in known, -peaks[k], k))
    return sorted(ranked[: max(_ROWS, sum(name in known for name in classes))])


def _mean_over_windows(starts: Floats, ends: Floats, probabilities: Floats) -> tuple[Floats, Floats]:
    """Return the limits of the stretches between window limits, and the mean of the windows over each.

    Shape: starts, ends `[N]`, probabilities `[N, K]` -> limits `[M + 1]`, means `[M, K]` (NaN: no window).
    """
    limits = np.unique(np.concatenate([starts, ends]))
    if not len(limits):
        return np.array([0.0, 1.0]), np.full((1, probabilities.shape[1]), np.nan)
    steps = np.zeros((len(limits), probabilities.shape[1] + 1))
    weighted = np.column_stack([probabilities, np.ones(len(starts))])
    np.add.at(steps, np.searchsorted(limits, starts), weighted)
    np.add.at(steps, np.searchsorted(limits, ends), -weighted)
    totals = np.cumsum(steps, axis=0)[:-1]
    windows = np.round(totals[:, -1:])
    means = np.divide(totals[:, :-1], windows, out=np.full_like(totals[:, :-1], np.nan), where=windows > 0)
    return limits, means


def _draw_spectrogram(axes: Axes, waveform: Floats, sample_rate: int, events: Sequence[Event]) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

    seconds = len(waveform) / sample_rate
    axes.imshow(
        decibels(waveform, sample_rate),
        origin="lower",
        aspect="auto",
        extent=(0, max(seconds, 1e-9), 0, sample_rate / 2000),
        cmap="magma",
        vmin=-_RANGE_DB,
        vmax=0,
        interpolation="nearest",
    )
    for (start, end, label), lane in zip(events, _lanes(events, seconds), strict=True):
        axes.axvspan(start, end, fill=False, edgecolor="white", linewidth=1.2, alpha=0.9)
        axes.annotate(
            shown(label, limit=_LABEL_LETTERS),
            (start, 1),
            xycoords=("data", "axes fraction"),
            xytext=(3, -10 - 10 * lane),
            textcoords="offset points",
            fontsize=8,
            color="white",
        )
    plain(axes)
    axes.spines[:].set_visible(False)
    axes.set_ylabel("frequency (kHz)", color=INK)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    if seconds > 180:
        step = next((step for step in _CLOCK_STEPS if seconds / step <= 12), 3600 * (1 + seconds // 43_200))
        axes.xaxis.set_major_locator(MultipleLocator(step))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda time, _: f"{time // 60:.0f}:{time % 60:02.0f}"))
    axes.tick_params(color=QUIET)


def _lanes(events: Sequence[Event], seconds: float) -> list[int]:
    """Return on which line below the top each label is written, so that none runs into the next."""
    ends: list[float] = []
    lanes = []
    for start, _, label in events:
        lane = next((lane for lane, end in enumerate(ends) if end <= start), len(ends))
        ends[lane:] = [start + seconds * min(len(label) + 1, _LABEL_LETTERS) / 130, *ends[lane + 1 :]]
        lanes.append(lane)
    return lanes


def decibels(waveform: Floats, sample_rate: int) -> Floats:
    """Return the power spectrogram in dB below its loudest point, at most 1600 columns wide.

    A column is the loudest of the frames that it stands for, so that brief events stay visible in long
    recordings. Frames are Hann windows of about 25 ms, half overlapping.

    Shape: waveform `[T]` -> `[F, N]`.
    """
    size = 1 << max(6, round(np.log2(0.025 * sample_rate)))
    hop = size // 2
    padded = np.pad(np.asarray(waveform, dtype=np.float32), (size // 2, size))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    per_column = -(-len(frames) // _COLUMNS)
    window = np.hanning(size + 1)[:-1].astype(np.float32)
    columns = [
        (np.abs(np.fft.rfft(frames[first : first + per_column] * window)) ** 2).max(axis=0)
        for first in range(0, len(frames), per_column)
    ]
    power = np.stack(columns, axis=1)
    loudest = max(float(power.max()), 1e-20)
    level: Floats = 10 * np.log10(np.maximum(power / loudest, 1e-12))
    return level


def _time_unit(seconds: float) -> str:
    return "time (min:s)" if seconds > 180 else "time (s)"


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds > 180 else f"{seconds:.1f} s"
