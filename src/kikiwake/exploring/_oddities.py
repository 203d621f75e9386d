"""The odd ones out: clips at the ends of what was measured, each kind with its own table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kikiwake.exploring._clips import MeasuredClip
from kikiwake.exploring._measures import Measures

SHOWN = 10
CLIPPED_SHARE = 0.001
NARROW_SHARE = 0.8
SILENT_SHARE = 0.9
ZERO_SHARE = 0.1
DC_OFFSET = 0.01


@dataclass(frozen=True)
class Oddity:
    """Clips that are odd in one way, the oddest first, and what is said of each.

    `flagged`: that they are so is a fault to look into, and not only the end of a range.
    """

    name: str
    meaning: str
    clips: Sequence[tuple[MeasuredClip, str]]
    flagged: bool = True


def oddities(clips: Sequence[MeasuredClip]) -> list[Oddity]:
    """Return the kinds of oddity that there are."""
    found = [
        _extreme(clips, "shortest", "", lambda one: one.seconds, lambda one: f"{one.seconds:.2f} s"),
        _extreme(clips, "longest", "", lambda one: -one.seconds, lambda one: f"{one.seconds:,.2f} s"),
        _extreme(
            clips,
            "quietest",
            "By RMS level; silent ones have a table of their own.",
            lambda one: one.rms_dbfs if one.silent_share < SILENT_SHARE else None,
            lambda one: f"{one.rms_dbfs:.1f} dBFS",
        ),
        _flagged(
            clips,
            "mostly silent",
            f"{100 * SILENT_SHARE:.0f} % of the time or more is below -60 dBFS.",
            lambda one: one.silent_share if one.silent_share >= SILENT_SHARE else None,
            lambda one: f"{100 * one.silent_share:.0f} % silent, peak {one.peak_dbfs:.0f} dBFS",
        ),
        _flagged(
            clips,
            "clipped",
            f"{100 * CLIPPED_SHARE:g} % of the samples or more are cut off at full scale.",
            lambda one: one.clipped_share if one.clipped_share >= CLIPPED_SHARE else None,
            lambda one: f"{100 * one.clipped_share:.2f} % of samples in {one.clipped_runs:,} runs",
        ),
        _flagged(
            clips,
            "narrow-band",
            f"Nothing above {100 * NARROW_SHARE:.0f} % of what the sample rate allows: brought up from a "
            "lower rate, coded with loss, filtered, or a sound without high frequencies.",
            lambda one: (
                1 - (one.bandwidth_share or 0.0)
                if one.bandwidth_share is not None and one.bandwidth_share < NARROW_SHARE
                else None
            ),
            lambda one: f"{one.bandwidth_hz or 0:,.0f} Hz of {one.sample_rate / 2:,.0f} Hz",
        ),
        _flagged(
            clips,
            "padded",
            f"{100 * ZERO_SHARE:.0f} % of the time or more is digital silence: frames of nothing but zeros.",
            lambda one: one.zero_share if one.zero_share >= ZERO_SHARE else None,
            lambda one: f"{100 * one.zero_share:.0f} % zeros",
        ),
        _flagged(
            clips,
            "off centre",
            f"The mean of the samples (DC offset) is {100 * DC_OFFSET:g} % of full scale or more.",
            lambda one: abs(one.dc_offset) if abs(one.dc_offset) >= DC_OFFSET else None,
            lambda one: f"DC offset {one.dc_offset:+.4f}",
        ),
        _flagged(
            clips,
            "damaged",
            "Read as far as they can be.",
            lambda one: 1.0 if one.damage or one.replaced_samples else None,
            _damage,
        ),
        _repeated(clips),
    ]
    return [one for one in found if one.clips]


def _damage(one: Measures) -> str:
    lost = [one.damage] if one.damage else []
    if one.replaced_samples:
        lost.append(f"{one.replaced_samples:,} NaN or infinite samples, read as zero")
    return "; ".join(lost)


def _extreme(
    clips: Sequence[MeasuredClip],
    name: str,
    meaning: str,
    key: Callable[[Measures], float | None],
    said: Callable[[Measures], str],
) -> Oddity:
    """Return the clips with the smallest keys; none where all are alike."""
    keyed = [(key(clip.measures), clip) for clip in clips if clip.measures is not None]
    ranked = sorted(((k, clip) for k, clip in keyed if k is not None), key=lambda pair: pair[0])
    if not ranked or ranked[0][0] == ranked[-1][0]:
        return Oddity(name, meaning, [], flagged=False)
    first = [(clip, said(clip.measures)) for _, clip in ranked[:SHOWN] if clip.measures is not None]
    return Oddity(name, meaning, first, flagged=False)


def _flagged(
    clips: Sequence[MeasuredClip],
    name: str,
    meaning: str,
    degree: Callable[[Measures], float | None],
    said: Callable[[Measures], str],
) -> Oddity:
    """Return all clips that have a degree, the largest first."""
    keyed = [(degree(clip.measures), clip) for clip in clips if clip.measures is not None]
    ranked = sorted(((k, clip) for k, clip in keyed if k is not None), key=lambda pair: -pair[0])
    return Oddity(name, meaning, [(clip, said(clip.measures)) for _, clip in ranked if clip.measures])


def _repeated(clips: Sequence[MeasuredClip]) -> Oddity:
    """Return clips whose samples are those of an earlier clip, bit for bit; silence is not compared."""
    first: dict[str, MeasuredClip] = {}
    found = []
    for clip in clips:
        if clip.measures is None or clip.measures.rms_dbfs == float("-inf"):
            continue
        original = first.setdefault(clip.measures.sound, clip)
        if original is not clip:
            found.append((_severity(original, clip), clip, original))
    found.sort(key=lambda one: one[0])
    meaning = (
        "The same samples as another clip. In another class, one of the labels is wrong; in another group or "
        "fold, what is tested was trained on."
    )
    return Oddity(
        "repeated",
        meaning,
        [(clip, f"as {original.title}{_where(original, clip)}") for _, clip, original in found],
    )


def _severity(one: MeasuredClip, other: MeasuredClip) -> int:
    return 0 if one.label != other.label else 1 if one.group != other.group else 2


def _where(one: MeasuredClip, other: MeasuredClip) -> str:
    if one.label != other.label:
        return f", which is of class '{one.label}'"
    if one.clip.fold != other.clip.fold:
        return f", which is in fold {one.clip.fold}"
    return ", which is of another group" if one.group != other.group else ""
