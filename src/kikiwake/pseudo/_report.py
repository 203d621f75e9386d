"""The report of drift: what was kept and why, how far teachers agree, and what retraining came to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kikiwake import __version__, figures
from kikiwake._bootstrap import plain
from kikiwake.errors import RunError
from kikiwake.files import write_json, write_text
from kikiwake.pseudo._selection import RULES

KIND = "pseudo labels"

_CLASSES_SHOWN = 20
_SCORES = ("accuracy", "macro_f1", "macro_roc_auc", "macro_average_precision", "expected_calibration_error")
"""Scores between 0 and 1 that say most; the report holds all."""


def with_after(
    content: Mapping[str, Any], scores: Mapping[str, float | None], *, part: str | None, clips: int | None
) -> dict[str, Any]:
    """Return a report with the scores that retraining has reached on `clips` clips of a part."""
    found = {name: plain(value) for name, value in scores.items()}
    return {**content, "after": {"part": part, "clips": clips, "scores": found}}


def before_by_clips(teachers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the mean scores of the teachers that were judged, for each part and number of clips apart."""
    groups: dict[tuple[Any, Any], list[Mapping[str, Any]]] = {}
    for teacher in teachers:
        if judged := teacher["before"]:
            groups.setdefault((judged["part"], judged["clips"]), []).append(judged["scores"])
    return [
        {
            "part": part,
            "clips": clips,
            "teachers": len(each),
            "scores": {name: mean_of([scores.get(name) for scores in each]) for name in each[0]},
        }
        for (part, clips), each in groups.items()
    ]


def mean_of(values: Sequence[float | None]) -> float | None:
    """Return the mean of what is known."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _comparable(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Say whether scores are of the same clips, as far as is known."""
    counts = {clips for clips in (one.get("clips"), other.get("clips")) if clips is not None}
    return bool(one["part"] == other["part"]) and len(counts) <= 1


def _judged_by(judged: Mapping[str, Any]) -> str:
    """Say which clips scores are of."""
    count = "" if judged.get("clips") is None else f"{judged['clips']} "
    return f"{count}clips held out" if judged["part"] is None else f"{count}{judged['part']} clips"


def with_known_after(path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a report with the scores after retraining that the one at `path`, of the same labels, holds."""
    try:
        before = read(path)
    except RunError:
        return dict(content)
    same = all(before.get(key) == value for key, value in content.items() if key != "after")
    return {**content, "after": before["after"] if same else None}


def read(path: Path) -> dict[str, Any]:
    """Read a report.

    Raises:
        RunError: there is none.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content["kind"] != KIND:
            raise ValueError("it is of another kind")
    except (OSError, ValueError, LookupError, TypeError) as error:
        what = f"no report of pseudo labels can be read here: {error}"
        raise RunError(what, where=path, remedy="make it with `kikiwake pseudo`") from error
    return content


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a report: picture and text beside the JSON, which comes last.

    Raises:
        StorageError: a file cannot be written.
    """
    content = {"kind": KIND, "kikiwake": __version__, **content}
    draw(path.with_suffix(".png"), content)
    write_text(path.with_suffix(".txt"), text(content) + "\n")
    write_json(path, content)


def draw(path: Path, content: Mapping[str, Any]) -> None:
    """Draw a report."""
    classes, settings = content["classes"], content["settings"]
    agreement = content["agreement"]
    teachers = content["teachers"]
    names = [teacher["name"] for teacher in teachers]
    judged, student = [teacher["before"] for teacher in teachers if teacher["before"]], content["after"]
    alike = [one for one in judged if student and _comparable(one, student)]
    shared = alike or judged[:1]  # a picture is of one set of clips
    scores = [one["scores"] for one in judged if shared and _comparable(one, shared[0])]
    after = student["scores"] if student and (alike or not judged) else {}
    shown = [name for name in _SCORES if name in after or any(name in one for one in scores)]
    figures.pseudo_labels(
        path,
        classes={name: (one["real"], one["trained"]) for name, one in classes.items()},
        confidence=(content["confidence"]["edges"], content["confidence"]["windows"]),
        thresholds={"keep": settings["keep"], "train": settings["train"]},
        teachers=names,
        same_best={
            (names.index(pair["first"]), names.index(pair["second"])): pair["same_best"]
            for pair in (agreement["pairs"] if agreement else ())
        },
        correlation=agreement["correlation"] if agreement else None,
        scores={
            name: ([one[name] for one in scores if one.get(name) is not None], after.get(name))
            for name in shown
        },
        judged_by=_judged_by(shared[0] if shared else student) if shown else "clips held out",
    )


def text(content: Mapping[str, Any]) -> str:
    """Say in lines what a report holds."""
    return "\n".join(
        [
            *_windows(content),
            "",
            *_classes(content),
            *_agreement(content),
            *_scores(content),
            *(f"note: {note}" for note in content["notes"]),
        ]
    )


def _windows(content: Mapping[str, Any]) -> Iterator[str]:
    windows, recordings, settings = (content[key] for key in ("windows", "recordings", "settings"))
    limits = {
        "keep": f" ({settings['keep']:g})",
        "silence": f" (RMS <= {settings['silence_rms']:g})",
        "train": f" ({settings['train']:g})",
    }
    yield f"{windows['heard']:>9}  windows of {recordings['labelled']} recordings were heard"
    for rule, why in RULES.items():
        if rule == "held_out":
            yield f"{windows['kept']:>9}  stay in the table"
        yield f"{-windows['removed'][rule] or 0:>9}  {why}{limits.get(rule, '')}"
    real = content["real_clips"]
    yield f"{windows['trained']:>9}  train, with weight {settings['weight']:g}, beside {real} real clips"


def _classes(content: Mapping[str, Any]) -> Iterator[str]:
    classes = sorted(content["classes"].items(), key=lambda one: (-one[1]["trained"], -one[1]["kept"]))
    yield from _aligned(
        [
            ("class", "real", "in the table", "may train", "train"),
            *(
                (
                    name,
                    f"{one['real']:g}",
                    str(one["kept"]),
                    "any" if one["limit"] is None else str(one["limit"]),
                    str(one["trained"]),
                )
                for name, one in classes[:_CLASSES_SHOWN]
            ),
        ]
    )
    if len(classes) > _CLASSES_SHOWN:
        yield f"and {len(classes) - _CLASSES_SHOWN} classes with fewer"
    if content["drift"] is not None:
        yield f"drift of the class distribution, real to pseudo: {content['drift']:.2f} (0 none, 1 all)"


def _agreement(content: Mapping[str, Any]) -> Iterator[str]:
    found = content["agreement"]
    if found:
        yield ""
        correlation = "-" if found["correlation"] is None else f"{found['correlation']:.2f}"
        yield (
            f"teachers give {_percent(found['same_best'])} of windows the same best class; their "
            f"probabilities correlate by {correlation} (means over {len(found['pairs'])} pairs)"
        )


def _scores(content: Mapping[str, Any]) -> Iterator[str]:
    groups, after = before_by_clips(content["teachers"]), content["after"]
    for group in groups:
        compared = after is not None and _comparable(group, after)
        many = f"mean of {group['teachers']} teachers" if group["teachers"] > 1 else "1 teacher"
        head = (f"score on {_judged_by(group)}", f"before ({many})", *(("after", "change") * compared))
        yield from _scored(head, group["scores"], after["scores"] if compared else None)
    if after is not None and not any(_comparable(group, after) for group in groups):
        yield from _scored((f"score on {_judged_by(after)}", "after"), after["scores"], None)
        if groups:
            yield "before and after are of different clips, and not compared"


def _scored(
    head: tuple[str, ...], scores: Mapping[str, float | None], after: Mapping[str, float | None] | None
) -> Iterator[str]:
    """Yield a table of scores, and of those after with the change where they can be compared."""
    rows = [head]
    for name in _SCORES:
        old, new = scores.get(name), (after or {}).get(name)
        change = "-" if old is None or new is None else f"{new - old:+.4f}"
        if name in scores or (after and name in after):
            rows.append((name, _shown(old), *(() if after is None else (_shown(new), change))))
    if len(rows) > 1:
        yield ""
        yield from _aligned(rows)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines, the first column flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
