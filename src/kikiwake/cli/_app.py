"""The application, and what its commands share: arguments, exit statuses, readers of small texts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="kikiwake",
    help="Trains, judges and runs audio classifiers: from a folder of recordings to scores to believe.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
recipe_app = typer.Typer(help="Looks into one recipe.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(recipe_app, name="recipe")

Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings on top of the recipe's.")
]
RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="A shipped recipe's name, or a YAML file.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory, or an ensemble.")]
SeparatorName = Annotated[
    str | None, typer.Option(help="Without a recipe: one of `kikiwake parts separators`.")
]
SeparatorSettings = Annotated[
    list[str] | None,
    typer.Option("--option", "-o", metavar="KEY=VALUE", help="A setting of the separator."),
]
StemRate = Annotated[
    int | None, typer.Option(help="Without a recipe: that of the stems, in Hz; by default 22,050.")
]
CacheFolder = Annotated[Path | None, typer.Option(help="Where stems are kept.")]

INTERRUPTED = 130
"""Exit status of what a user has stopped, as shells have it."""

SET_ASIDE = 3
"""Exit status of a command that ended, but had to set files aside."""

HEARD = 0.5
"""From which probability on a class is in a label file, if nothing else is said."""


@contextmanager
def going_on() -> Iterator[None]:
    """Say, when work is interrupted, that the same command goes on with it."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command goes on where it was", err=True)
        raise typer.Exit(INTERRUPTED) from None


def options_of(texts: list[str] | None) -> dict[str, Any]:
    """Return options written key=value, values as YAML reads them."""
    from kikiwake._yaml import read_yaml
    from kikiwake.errors import RecipeError

    options = {}
    for text in texts or []:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise RecipeError("an option is written key=value", where="--option", value=text)
        options[key] = read_yaml(value, where=f"--option {key}")[0]
    return options


def is_override(text: str) -> bool:
    """Say whether an argument among files is a setting, such as data.sample_rate=8000, and no file's name."""
    return re.match(r"[a-z_]+(\.\w+)*=", text) is not None and not Path(text).exists()


def names_in(names: str) -> list[str]:
    """Return the names in a list such as `audacity,raven`, each once."""
    return list(dict.fromkeys(name.strip() for name in names.split(",")))


def numbers(text: str, *, where: str) -> list[float]:
    """Return the numbers in a list such as `2,1,1`."""
    from kikiwake.errors import KikiwakeError

    try:
        return [float(number) for number in text.split(",")]
    except ValueError as error:
        raise KikiwakeError(
            "must be numbers with commas between", where=where, value=text, remedy="such as 2,1,1"
        ) from error


def _print_version(asked: bool) -> None:
    if asked:
        from kikiwake import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass
