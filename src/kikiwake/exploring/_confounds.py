"""Properties of recordings that betray a class: a model could learn them in place of the sound.

Each class is compared with all others. A property that takes few values (rate, channels, format) betrays a
class when a value is far more frequent in it than elsewhere (by half or more of the clips). A number betrays
it when a clip of the class lies above, or below, one of the others in 90 of 100 pairs (the area under the ROC
curve). What could be chance is left out: one in a hundred that any such line is, over all comparisons.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kikiwake.exploring._clips import UNLABELLED, MeasuredClip, values
from kikiwake.exploring._measures import Measures

FEWEST_CLIPS = 5
_EXCESS = 0.5
_PAIRS = 0.9
_CHANCE = 0.01
_NAMED = 4
_ADVICE = {
    "class": "classes. A model could tell them apart by that.",
    "split": "splits. Scores there are of another kind of recording.",
}


@dataclass(frozen=True)
class Kind:
    """A property with few values: how to get it, and how to say it."""

    of: Callable[[Measures], object]
    said: Callable[[object], str]


@dataclass(frozen=True)
class Number:
    """A numeric property: how to get it, and the words for having more or less of it."""

    of: Callable[[Measures], float | None]
    more: str
    less: str
    unit: str


KINDS = {
    "sample rate": Kind(lambda one: one.sample_rate, lambda value: f"{value:,} Hz"),
    "channels": Kind(lambda one: one.channels, lambda value: f"{value} channel{'s' * (value != 1)}"),
    "format": Kind(lambda one: one.format, str),
}

NUMBERS = {
    "duration": Number(lambda one: one.seconds, "is longer", "is shorter", "s"),
    "bandwidth": Number(lambda one: one.bandwidth_hz, "has more bandwidth", "has less bandwidth", "Hz"),
    "level": Number(lambda one: max(one.rms_dbfs, -120.0), "is louder", "is quieter", "dBFS"),
    "silence": Number(lambda one: 100 * one.silent_share, "has more silence", "has less silence", "%"),
    "zeros": Number(lambda one: 100 * one.zero_share, "has more zeros", "has fewer zeros", "%"),
    "clipping": Number(
        lambda one: 100 * one.clipped_share, "is clipped more", "is clipped less", "% of samples"
    ),
    "DC offset": Number(
        lambda one: 100 * abs(one.dc_offset), "has more DC offset", "has less DC offset", "% of full scale"
    ),
}


def confounds(clips: Sequence[MeasuredClip]) -> list[str]:
    """Return sentences about properties that betray classes, the surest first."""
    known = [clip for clip in clips if clip.measures is not None and clip.label != UNLABELLED]
    labels = [clip.label for clip in known]
    return by_kind(known, labels, noun="class") + by_number(known, labels)


def split_shifts(clips: Sequence[MeasuredClip]) -> list[str]:
    """Return sentences about kinds of file that are frequent in one split and rare in the others."""
    known = [clip for clip in clips if clip.measures is not None and clip.clip.split is not None]
    return by_kind(known, [str(clip.clip.split) for clip in known], noun="split")


def by_kind(clips: Sequence[MeasuredClip], labels: Sequence[str], *, noun: str) -> list[str]:
    """Say which values of which properties are frequent in some classes (or splits) and rare elsewhere."""
    sizes = Counter(labels)
    found: list[tuple[float, str]] = []
    for kind in KINDS.values():
        found += _lines(kind, clips, labels, sizes, noun=noun)
    return [text for _, text in sorted(found, key=lambda one: -one[0])]


def _lines(
    kind: Kind, clips: Sequence[MeasuredClip], labels: Sequence[str], sizes: Counter[str], *, noun: str
) -> list[tuple[float, str]]:
    """Return a sentence for each value of one property that betrays classes, the surest first.

    What is frequent in some classes and so rare in all others is said once.
    """
    held = [kind.of(clip.measures) for clip in clips if clip.measures is not None]
    totals, pairs = Counter(held), Counter(zip(labels, held, strict=True))
    tests = len(totals) * len(sizes) * len(KINDS)
    found = []
    for value, total in totals.items():
        betrayed = []
        for name, size in sizes.items():
            inside, others = pairs[name, value], len(labels) - size
            if min(size, others) < FEWEST_CLIPS:
                continue
            excess = inside / size - (total - inside) / others
            if excess >= _EXCESS and _chance(inside, size, total, len(labels)) < _CHANCE / tests:
                betrayed.append((excess, name, inside, size))
        if betrayed:
            betrayed.sort(key=lambda one: (-one[0], one[1]))
            names = frozenset(name for _, name, _, _ in betrayed)
            elsewhere = total - sum(inside for _, _, inside, _ in betrayed)
            rest = len(labels) - sum(size for _, _, _, size in betrayed)
            text = f"{kind.said(value)}: {_counts(betrayed)}, but {elsewhere} of {rest} clips of the other "
            found.append((betrayed[0][0], total, names, text + _ADVICE[noun]))
    found.sort(key=lambda one: (-one[0], one[1], one[3]))
    said: list[frozenset[str]] = []
    kept = []
    for excess, _, names, text in found:
        if frozenset(sizes) - names not in said:
            said.append(names)
            kept.append((excess, text))
    return kept


def _counts(betrayed: Sequence[tuple[float, str, int, int]]) -> str:
    """Say how many clips of the first classes have it."""
    each = [
        f"all {size} clips of '{name}'" if inside == size else f"{inside} of {size} clips of '{name}'"
        for _, name, inside, size in betrayed[:_NAMED]
    ]
    more = f" and of {len(betrayed) - _NAMED} more" if len(betrayed) > _NAMED else ""
    return ", ".join(each) + more


def _chance(inside: int, size: int, total: int, clips: int) -> float:
    """Return how likely `size` clips drawn from `clips`, `total` of which have it, hold `inside` or more."""
    from scipy.stats import hypergeom

    return float(hypergeom.sf(inside - 1, clips, total, size))


def by_number(clips: Sequence[MeasuredClip], labels: Sequence[str]) -> list[str]:
    """Say of which classes a number alone tells most clips apart from those of the others."""
    names = list(dict.fromkeys(labels))
    # Of two classes, what is more of one is less of the other: said once.
    compared = names[:1] if len(names) == 2 else names
    places = np.array([names.index(label) for label in labels], dtype=np.int64)
    found = []
    for number in NUMBERS.values():
        held = values(clips, number.of)
        finite = np.isfinite(held)
        ranks, ties = _ranks(held[finite])
        for place, name in enumerate(compared):
            own = places[finite] == place
            inside, outside = int(own.sum()), int((~own).sum())
            if min(inside, outside) < FEWEST_CLIPS:
                continue
            share, deviations = _pairs(float(ranks[own].sum()), inside, outside, ties)
            sure = max(share, 1 - share)
            chance = math.erfc(abs(deviations) / math.sqrt(2))
            if sure < _PAIRS or chance >= _CHANCE / (len(compared) * len(NUMBERS)):
                continue
            word = number.more if share > 0.5 else number.less
            medians = [_said(held[finite][which], number.unit) for which in (own, ~own)]
            text = (
                f"A clip of '{name}' {word} than one of another class in {100 * sure:.0f} of 100 pairs "
                f"(median {medians[0]}, others {medians[1]}). Is it the sound, or how it was recorded?"
            )
            found.append((sure, text))
    return [text for _, text in sorted(found, key=lambda one: -one[0])]


def _said(numbers: NDArray[np.float64], unit: str) -> str:
    middle = float(np.median(numbers))
    return f"{middle:,.0f} Hz" if unit == "Hz" else f"{middle:.3g} {unit}"


def _ranks(numbers: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Return ranks from 1, their mean where numbers tie, and the correction of the variance for ties."""
    _, places, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[places]
    pairs = max(len(numbers) * (len(numbers) - 1), 1)
    return ranks, float((counts.astype(np.float64) ** 3 - counts).sum()) / pairs


def _pairs(rank_sum: float, inside: int, outside: int, ties: float) -> tuple[float, float]:
    """Return in which share of pairs a class has the larger number, ties half, and its standard score.

    `rank_sum`: of the class's `inside` clips. Mann & Whitney 1947, with the correction for ties.
    """
    share = (rank_sum - inside * (inside + 1) / 2) / (inside * outside)
    deviation = math.sqrt(max(inside + outside + 1 - ties, 0.0) / (12 * inside * outside))
    return share, (share - 0.5) / deviation if deviation > 0 else 0.0


@dataclass(frozen=True)
class Guess:
    """How often a class is guessed right from a file's header alone, and by always saying the commonest."""

    right: float
    commonest: float

    @property
    def telling(self) -> bool:
        """Whether the header says clearly more than nothing."""
        return self.right >= self.commonest + 0.1

    def __str__(self) -> str:
        return (
            f"A decision tree that sees sample rate, channels, format and duration, and no sound, names the "
            f"right class of {100 * self.right:.0f} % of the clips that it was not trained on; always saying "
            f"the commonest class is right for {100 * self.commonest:.0f} %."
        )


def header_guess(clips: Sequence[MeasuredClip], *, seed: int) -> Guess | None:
    """Return how far the headers alone lead, by cross-validation over whole groups (five parts).

    None where a class, or the whole, has too little to hold out.
    """
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.tree import DecisionTreeClassifier

    known = [clip for clip in clips if clip.measures is not None and clip.label != UNLABELLED]
    sizes = Counter(clip.label for clip in known)
    if len(sizes) < 2 or len({clip.group for clip in known}) < 5:
        return None
    formats = sorted({clip.measures.format for clip in known if clip.measures})
    columns = [
        (one.sample_rate, one.channels, formats.index(one.format), round(one.seconds, 3))
        for one in (clip.measures for clip in known)
        if one is not None
    ]
    labels = np.array([clip.label for clip in known])
    guesses = cross_val_predict(
        DecisionTreeClassifier(min_samples_leaf=3, random_state=seed),
        np.array(columns, dtype=np.float64),
        labels,
        groups=[clip.group for clip in known],
        cv=GroupKFold(5, shuffle=True, random_state=seed),
    )
    return Guess(float((guesses == labels).mean()), max(sizes.values()) / len(known))
