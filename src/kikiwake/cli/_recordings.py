"""Commands that use models on recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from kikiwake.cli._app import HEARD, SET_ASIDE, RunFolder, app, going_on, names_in, numbers


@app.command()
def predict(
    run: RunFolder,
    files: Annotated[list[Path], typer.Argument(help="Recordings, or folders of them.")],
    out: Annotated[Path, typer.Option(help="The table to write: .csv or .parquet.")],
    window_seconds: Annotated[float | None, typer.Option(help="Length of a window.")] = None,
    hop_seconds: Annotated[
        float | None, typer.Option(help="From one window's start to the next one's.")
    ] = None,
    frame_seconds: Annotated[
        float | None,
        typer.Option(help="Rows of this length in place of windows, from a model that judges frames."),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes; by default one a core.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Windows that a network sees at once.")] = None,
    engine: Annotated[
        Literal["torch", "onnx"], typer.Option(help="torch is exact, onnx often faster on a CPU.")
    ] = "torch",
    precision: Annotated[
        Literal["fp32", "bf16", "fp16", "int8"],
        typer.Option(help="Less exact ones are faster on some processors; int8 goes with onnx."),
    ] = "fp32",
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; by default the recipe's.")] = None,
    separation: Annotated[
        bool,
        typer.Option(
            "--separation/--no-separation",
            help="Without it a model of stems hears the mixture in place of each: fast and inexact.",
        ),
    ] = True,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT[,FORMAT]", help="Write label files, too: of `kikiwake parts labelfiles`."
        ),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="From which probability on a class is in them; by default 0.5.")
    ] = None,
) -> None:
    """Predict every window of recordings of any length; interrupted, the same command goes on.

    Label files lie in a folder beside the table (heard.csv: heard.labels), as `kikiwake export` writes them.
    Ends with status 3 where recordings were set aside; the quarantine list beside the table says why.
    """
    from kikiwake import exporting, prediction
    from kikiwake.errors import KikiwakeError

    formats = names_in(labels) if labels is not None else []
    if labels is not None:
        exporting.check_choices(formats, HEARD if threshold is None else threshold)
    elif threshold is not None:
        raise KikiwakeError("is for label files only", where="--threshold", remedy="say which with --labels")
    with going_on():
        summary = prediction.predict(
            run,
            files,
            out=out,
            window_seconds=window_seconds,
            hop_seconds=hop_seconds,
            frame_seconds=frame_seconds,
            workers=workers,
            batch_size=batch_size,
            engine=engine,
            precision=precision,
            device=device,
            separation=separation,
        )
        typer.echo(str(summary))
        if formats:
            folder = out.with_name(f"{out.stem}.labels")
            heard = HEARD if threshold is None else threshold
            typer.echo(str(exporting.export(out, formats, folder, threshold=heard)))
    if summary.quarantined:
        raise typer.Exit(SET_ASIDE)


@app.command()
def pseudo(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN... RECORDINGS...",
            help="Teachers: runs, ensembles, folders of crossval. Then recordings, folders, manifests.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The manifest to write, a CSV; other files have its name.")],
    window_seconds: Annotated[float, typer.Option(help="Length of a window.")] = 5.0,
    hop_seconds: Annotated[
        float | None,
        typer.Option(help="From one window's start to the next one's; by default half a window."),
    ] = None,
    join: Annotated[
        Literal["mean", "max", "vote"],
        typer.Option(help="How several teachers become one, and ensembles among them."),
    ] = "mean",
    weights: Annotated[
        str | None, typer.Option(metavar="W[,W]", help="How much each RUN counts; by default all alike.")
    ] = None,
    keep: Annotated[float, typer.Option(help="Classes above this probability stay in the table.")] = 0.6,
    train: Annotated[float, typer.Option(help="Windows whose best class is above it train.")] = 0.7,
    max_share: Annotated[
        float, typer.Option(help="Windows a class may train, as a share of its real clips.")
    ] = 0.3,
    max_per_class: Annotated[int | None, typer.Option(help="Windows that any class may train.")] = None,
    silence_rms: Annotated[float, typer.Option(help="Windows up to this RMS hold nothing.")] = 0.001,
    smoothing: Annotated[float, typer.Option(help="Labels are y (1 - s) + s / classes.")] = 0.1,
    weight: Annotated[float, typer.Option(help="Of a pseudo label in the loss.")] = 0.7,
    secondary_target: Annotated[
        float | None, typer.Option(help="Of real clips' secondary classes; by default as the teacher's.")
    ] = None,
    skip_known: Annotated[
        bool, typer.Option("--skip-known", help="Leave out recordings that all teachers were trained on.")
    ] = False,
    workers: Annotated[int | None, typer.Option(help="Processes; by default one a core.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Windows that a network sees at once.")] = None,
    engine: Annotated[
        Literal["torch", "onnx"], typer.Option(help="torch is exact, onnx often faster on a CPU.")
    ] = "torch",
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; by default the recipe's.")] = None,
) -> None:
    """Label recordings by what trained runs hear in them, as clips to train on; with a report of drift.

    No teacher labels what it was trained on: of a cross-validation, each fold labels what it held out. An
    interrupted command goes on. Ends with status 3 where recordings were set aside.
    """
    from kikiwake import evaluation
    from kikiwake import pseudo as room

    runs, recordings = room.told_apart(paths)
    settings = room.Settings(
        window_seconds=window_seconds,
        hop_seconds=hop_seconds,
        join=join,
        keep=keep,
        train=train,
        max_share=max_share,
        max_per_class=max_per_class,
        silence_rms=silence_rms,
        smoothing=smoothing,
        weight=weight,
        secondary_target=secondary_target,
    )
    with going_on():
        summary = room.label(
            runs,
            recordings,
            out=out,
            settings=settings,
            weights=None if weights is None else numbers(weights, where="--weights"),
            skip_known=skip_known,
            workers=workers,
            batch_size=batch_size,
            engine=engine,
            device=device,
            evaluate=evaluation.evaluate,
        )
    typer.echo(str(summary))
    if summary.quarantined:
        raise typer.Exit(SET_ASIDE)
