"""Commands that train models and judge them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from kikiwake.cli._app import Overrides, RecipeName, RunFolder, app, numbers


@app.command()
def train(
    recipe: RecipeName,
    overrides: Overrides = None,
    stage: Annotated[
        str | None, typer.Option(help="Train this stage alone, from what the one before it handed on.")
    ] = None,
    forget_optimizer: Annotated[
        bool, typer.Option("--forget-optimizer", help="Go on without the optimizer's averages; acts once.")
    ] = False,
    forget_schedule: Annotated[
        bool,
        typer.Option("--forget-schedule", help="Go on with the schedule from its beginning; acts once."),
    ] = False,
) -> None:
    """Train a recipe; the same command goes on where it was interrupted.

    The --forget options leave a part of the checkpoint behind once: the same command, given again, goes on
    with what it has made since. A start without them in between lets them act again. The log says what they
    did.
    """
    from kikiwake import training

    forget: list[Literal["optimizer", "schedule"]] = ["optimizer"] if forget_optimizer else []
    forget += ["schedule"] if forget_schedule else []
    training.train(recipe, *overrides or [], stage=stage, forget=forget)


@app.command()
def evaluate(
    run: RunFolder,
    part: Annotated[
        str | None, typer.Option(help="test, validation or train; by default test where there is one.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where to write; by default RUN/evaluation.")] = None,
    replicates: Annotated[
        int, typer.Option(help="Resamples behind the intervals; 0 for none. Large sets take minutes.")
    ] = 1000,
) -> None:
    """Score the clips that were held out: tables, intervals and pictures."""
    from kikiwake import evaluation

    typer.echo(str(evaluation.evaluate(run, part=part, out=out, replicates=replicates)))


@app.command()
def crossval(
    recipe: RecipeName,
    overrides: Overrides = None,
    jobs: Annotated[int, typer.Option(help="Folds side by side, each with its share of the cores.")] = 1,
) -> None:
    """Train and score every fold; a finished fold is not run again."""
    from kikiwake import crossvalidation

    typer.echo(str(crossvalidation.crossvalidate(recipe, *overrides or [], jobs=jobs)))


@app.command()
def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Run directories, ensembles, or folders of crossval."),
    ],
    out: Annotated[Path | None, typer.Option(help="A folder for tables and a picture.")] = None,
    replicates: Annotated[
        int, typer.Option(help="Resamples behind the intervals; 0 for none. Large sets take minutes.")
    ] = 1000,
) -> None:
    """Compare models on the same clips: scores, and paired differences with intervals."""
    from kikiwake import comparison

    typer.echo(str(comparison.compare(runs, out=out, replicates=replicates)))
    if out is not None:
        typer.echo(f"tables and picture: {out}")


@app.command()
def ensemble(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run directories, folders of crossval, ensembles.")
    ],
    out: Annotated[Path, typer.Option(help="The folder of the ensemble, which is used like a run.")],
    by: Annotated[
        Literal["mean", "max", "vote"],
        typer.Option(help="The mean probability, the largest, or the share of models from a half on."),
    ] = "mean",
    weights: Annotated[
        str | None, typer.Option(metavar="N[,N]", help="One for each RUN; by default all count alike.")
    ] = None,
) -> None:
    """Join trained models into one that predict, evaluate and compare take like a run; nothing is copied."""
    from kikiwake import ensembles

    shares = None if weights is None else numbers(weights, where="--weights")
    typer.echo(str(ensembles.ensemble(runs, out=out, by=by, weights=shares)))
