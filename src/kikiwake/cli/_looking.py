"""Commands that list what there is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kikiwake.cli._app import app, recipe_app


@app.command()
def recipes() -> None:
    """List the recipes that come with kikiwake."""
    from kikiwake._recipe_file import shipped

    for name, path in shipped().items():
        first = path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
        typer.echo(f"{name:24} {first}")


@recipe_app.command("show")
def show(name: Annotated[str, typer.Argument(help="A shipped recipe's name, or a YAML file.")]) -> None:
    """Print a shipped recipe with its comments, or what a file comes to, with base and defaults."""
    from kikiwake._recipe_file import shipped
    from kikiwake.components import unknown
    from kikiwake.recipe import Recipe

    if Path(name).is_file():
        typer.echo(Recipe.load(name).to_yaml(), nl=False)
        return
    found = shipped()
    if name not in found:
        raise unknown("recipe", name, found, where="recipe show")
    typer.echo(found[name].read_text(encoding="utf-8"), nl=False)


@app.command()
def parts(
    family: Annotated[str | None, typer.Argument(help="One family; by default all.")] = None,
) -> None:
    """List the parts that a recipe or a command can name, with their settings and defaults."""
    from kikiwake import components

    if family and family not in components.FAMILIES:
        raise components.unknown("family", family, components.FAMILIES, where="parts")
    for one in [family] if family else components.FAMILIES:
        typer.echo(f"{one}:")
        for name in components.names(one):
            typer.echo(f"  {components.describe(one, name)}")
