"""Pieces of a page: every text is escaped, unless it is marked as made here."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, "Noto Sans", "Noto Sans CJK JP", sans-serif; color: #222; background: #fff;
  max-width: 75rem; margin: 0 auto; padding: 0 1rem 4rem; overflow-wrap: anywhere; }
h1, h2, h3 { line-height: 1.2; }
h2 { margin-top: 2.5rem; border-bottom: 2px solid #ddd; padding-bottom: .2rem; }
a { color: #0072b2; }
.scroll { overflow-x: auto; margin: .5rem 0 1rem; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid #eee; vertical-align: top; }
th { border-bottom: 2px solid #bbb; vertical-align: bottom; }
td.n, th.n { text-align: right; white-space: nowrap; }
td.name { min-width: 9rem; max-width: 28rem; }
.bar { display: inline-block; height: .7rem; background: #56b4e9; margin-left: .5rem; }
.warnings li { margin-bottom: .4rem; }
.warnings { border-left: 4px solid #d55e00; padding: .3rem 1rem .3rem 0; background: #fff7f0; }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start; }
.pictures img { max-width: 100%; height: auto; }
.examples { display: flex; flex-wrap: wrap; gap: 1.2rem; }
figure { margin: 0; width: 20rem; max-width: 100%; font-size: .8rem; }
figure img { width: 100%; height: 8rem; display: block; background: #000; }
figure audio { width: 100%; height: 2.2rem; margin-top: .3rem; }
.axis { display: flex; justify-content: space-between; color: #555; }
"""


class Made(str):
    """HTML that was made here, of texts that are escaped."""

    __slots__ = ()


def text(value: object) -> Made:
    """Return a text as HTML: as it is where it was made here, otherwise escaped."""
    return value if isinstance(value, Made) else Made(html.escape(str(value)))


def element(name: str, *inside: object, **attributes: object) -> Made:
    """Return an element; of attributes, "class_" is class, and what is "" stands without a value."""
    written = "".join(
        f" {key.rstrip('_')}" + (f'="{html.escape(str(value))}"' if value != "" else "")
        for key, value in attributes.items()
    )
    return Made(f"<{name}{written}>{''.join(map(text, inside))}</{name}>")


def paragraph(*inside: object) -> Made:
    """Return a paragraph."""
    return element("p", *inside)


def listing(items: Iterable[object]) -> Made:
    """Return a list of points."""
    return element("ul", *(element("li", item) for item in items))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Made:
    """Return a table that can be scrolled sideways; the first column is names, numbers stand to the right."""
    body = [list(row) for row in rows]
    numeric = [all(_is_number(row[at]) for row in body) and bool(body) for at in range(len(columns))]
    kinds = [{"class_": "n"} if each else {} for each in numeric]
    head = element("tr", *(element("th", name, **kind) for name, kind in zip(columns, kinds, strict=True)))
    lines = [
        element(
            "tr",
            *(
                element("td", cell, **({"class_": "name"} if not at else kinds[at]))
                for at, cell in enumerate(row)
            ),
        )
        for row in body
    ]
    inside = element("table", element("thead", head), element("tbody", *lines))
    return element("div", inside, class_="scroll")


def _is_number(cell: object) -> bool:
    return isinstance(cell, int | float) or (isinstance(cell, str) and cell[:1] in "-+0123456789")


def bar(number: int, largest: int) -> Made:
    """Return a count with a bar as long as its share of the largest."""
    width = 6 * number / max(largest, 1)
    return Made(f'{number:,}<span class="bar" style="width:{width:.2f}rem"></span>')


def picture(png: bytes, *, describes: str) -> Made:
    """Return a PNG inside the page. `describes`: what is said to those who do not see it."""
    return Made(
        f'<img alt="{html.escape(describes)}" loading="lazy" src="data:image/png;base64,{_base64(png)}">'
    )


def sound(content: bytes, media_type: str) -> Made:
    """Return a player of sound inside the page."""
    source = f"data:{media_type};base64,{_base64(content)}"
    return Made(f'<audio controls preload="none" src="{source}"></audio>')


def page(title: str, mark: str, *body: object) -> str:
    """Return a whole page that fetches nothing. `mark`: the comment that says who wrote it."""
    head = "".join(
        (
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
            "media-src data:; style-src 'unsafe-inline'\">",
            element("title", title),
            f"<style>{STYLE}</style>",
        )
    )
    inside = "\n".join(map(text, body))
    return f'{mark}\n<html lang="en">\n<head>{head}</head>\n<body>\n{inside}\n</body>\n</html>\n'


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
