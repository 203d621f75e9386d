"""The command line: every command parses, calls the Python function of the same name, and prints."""

from __future__ import annotations

import sys

import typer

from kikiwake.cli import _data, _looking, _models, _recordings, _results  # noqa: F401 - they add their commands
from kikiwake.cli._app import SET_ASIDE, app

__all__ = ["SET_ASIDE", "app", "main"]


def main() -> None:
    """Run the command line; an error of ours is one line and exit status 2, not a traceback."""
    from kikiwake.errors import KikiwakeError

    try:
        app()
    except KikiwakeError as error:
        typer.echo(f"kikiwake: {error}", err=True)
        sys.exit(2)
