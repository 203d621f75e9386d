"""The page: what a data set is like, for people to read, look at and listen to."""

from __future__ import annotations

from kikiwake.exploring._examples import Example
from kikiwake.exploring._findings import Findings, overview
from kikiwake.exploring._html import Made, element, listing, page, paragraph, picture, sound, table, text
from kikiwake.exploring._oddities import SHOWN
from kikiwake.exploring._sections import classes, distributions, parts

MARK = "<!DOCTYPE html><!-- written by kikiwake explore -->"
_WARNINGS = 40
_UNREADABLE = 100
_CLASSES_LISTED = 30


def render_page(found: Findings) -> str:
    """Return the page's HTML."""
    return page(
        f"{found.name}, explored",
        MARK,
        element("h1", found.name),
        *_overview(found),
        *_warnings(found),
        *_unreadable(found),
        *classes(found),
        *parts(found),
        *distributions(found),
        *_oddities(found),
        *_examples(found),
        *_method(),
    )


def _overview(found: Findings) -> list[Made]:
    odd = [f"{len(one.clips):,} {one.name}" for one in found.oddities if one.flagged]
    links = [
        ("classes", "Classes"),
        ("distributions", "Distributions"),
        ("odd", "The odd ones out"),
        ("examples", "Examples"),
        ("method", "How it was measured"),
    ]
    return [
        *(paragraph(line, ".") for line in overview(found)),
        paragraph("To look into: ", ", ".join(odd) or "no clip stands out", "."),
        paragraph(
            "Every measurement of every clip stands in ",
            element("code", found.table_name),
            f", one row a clip. File names are given from {found.folder} on.",
        ),
        paragraph(
            Made(" · ".join(element("a", name, href=f"#{anchor}") for anchor, name in links)),
        ),
    ]


def _warnings(found: Findings) -> list[Made]:
    heading = element("h2", "What a model could cheat with", id="warnings")
    guess = [paragraph(str(found.guess))] if found.guess else []
    if not found.warnings:
        return [heading, paragraph("Nothing was found that gives a class away without its sound."), *guess]
    shown = list(found.warnings[:_WARNINGS])
    if len(found.warnings) > _WARNINGS:
        shown.append(f"... and {len(found.warnings) - _WARNINGS} more, which are weaker.")
    return [heading, element("div", listing(shown), class_="warnings"), *guess]


def _unreadable(found: Findings) -> list[Made]:
    lost = found.unreadable
    if not lost:
        return []
    rows = [(clip.title, clip.label, clip.error) for clip in lost[:_UNREADABLE]]
    return [
        element("h2", "Not read"),
        paragraph(_of(len(rows), len(lost)), " They are left out of all that follows."),
        table(["clip", "class", "why"], rows),
    ]


def _of(shown: int, total: int) -> str:
    return f"{total:,} clips." if shown == total else f"{total:,} clips, of which {shown:,} are shown."


def _oddities(found: Findings) -> list[Made]:
    made = [element("h2", "The odd ones out", id="odd")]
    for odd in found.oddities:
        rows = [(clip.title, clip.label, said) for clip, said in odd.clips[:SHOWN]]
        counted = f" ({len(odd.clips):,})" if odd.flagged else ""
        made.append(element("h3", f"{odd.name.capitalize()}{counted}"))
        more = f"Shown are the first {SHOWN}." if len(odd.clips) > SHOWN else ""
        if odd.meaning or more:
            made.append(paragraph(odd.meaning, " ", more))
        made.append(table(["clip", "class", ""], rows))
    return made


def _examples(found: Findings) -> list[Made]:
    if not found.plan.examples:
        return []
    limits = f"{found.plan.examples} a class, drawn at random, from different groups where there are"
    made = [
        element("h2", "Examples", id="examples"),
        paragraph(
            f"{limits}. Of a clip longer than {found.plan.seconds:g} s, what is around its loudest moment. "
            "Pictures reach from 0 Hz to half the sample rate and 70 dB down from their loudest point; the "
            "sound is a small MP3 for listening, at its own level."
        ),
    ]
    if found.plan.classes < len(found.classes):
        made.append(
            paragraph(
                f"So that the page stays small, the first {found.plan.classes:,} of {len(found.classes):,} "
                "classes have examples."
            )
        )
    shown = [(number, name) for number, name in enumerate(found.examples) if found.examples[name]]
    if 1 < len(shown) <= 10 * _CLASSES_LISTED:
        links = (element("a", name, href=f"#class{number}") for number, name in shown)
        made.append(element("p", Made(" · ".join(links))))
    for number, name in shown:
        made.append(element("h3", name, id=f"class{number}"))
        made.append(element("div", *map(_example, found.examples[name]), class_="examples"))
    return made


def _example(one: Example) -> Made:
    ends = element(
        "div",
        element("span", f"{one.start:.1f} s"),
        element("span", f"0 to {one.top_hz / 1000:g} kHz"),
        element("span", f"{one.start + one.seconds:.1f} s"),
        class_="axis",
    )
    return element(
        "figure",
        picture(one.picture, describes=f"Spectrogram of {one.clip.title}"),
        ends,
        element("figcaption", one.clip.title),
        sound(one.sound, one.media_type),
    )


def _method() -> list[Made]:
    said = [
        "Levels are in dB below full scale (dBFS), which is an amplitude of 1: a sine that touches it has a "
        "peak of 0 dBFS and an RMS of -3 dBFS. All samples of all channels count.",
        "Loudness is the integrated loudness of ITU-R BS.1770-4: weighted as ears do, pauses left out.",
        "Silence is the share of the time, in frames of 20 ms, that an RMS is below -60 dBFS.",
        "Clipping is the share of samples that stand in runs of three or more at 0.99 of full scale or above "
        "and are level, or lie at full scale or beyond.",
        "DC offset is the mean of the samples.",
        "Bandwidth is the highest frequency at which at least 5 % of the frames of 46 ms that sound (and at "
        "least three) are stronger than white noise of -90 dBFS is: a little more than what rounding to 16 "
        "bits leaves. Above it is nothing. Recordings of 8 bits, or with a noise floor of their own, reach "
        "to the top whatever they were made from; very quiet clips look narrower than they are.",
        "A class is given away by a kind of file that half or more of its clips have beyond those of the "
        "others, and by a number that is larger, or smaller, than another class's in 90 of 100 pairs of "
        "clips. Lines that could be chance (1 in 100, over all comparisons) are left out, and classes of "
        "fewer than 5 clips.",
    ]
    return [element("h2", "How it was measured", id="method"), listing(map(text, said))]
