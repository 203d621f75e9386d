"""Commands over tables of predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from kikiwake.cli._app import HEARD, app, going_on, names_in


@app.command()
def export(
    predictions: Annotated[Path, typer.Argument(help="A table that `kikiwake predict` wrote.")],
    formats: Annotated[
        str, typer.Argument(metavar="FORMAT[,FORMAT]", help="Of `kikiwake parts labelfiles`.")
    ],
    folder: Annotated[Path, typer.Argument(help="The folder for the label files, one a recording.")],
    threshold: Annotated[float, typer.Option(help="From which probability on a class is heard.")] = HEARD,
    sample_rate: Annotated[
        int | None, typer.Option(help="The model's, in Hz; by default as the summary beside the table says.")
    ] = None,
) -> None:
    """Write label files from a table of predictions; neighbouring windows of a class become one event."""
    from kikiwake import exporting

    with going_on():
        summary = exporting.export(
            predictions, names_in(formats), folder, threshold=threshold, sample_rate=sample_rate
        )
    typer.echo(str(summary))


@app.command()
def draw(
    recording: Annotated[Path, typer.Argument(help="A recording that was predicted.")],
    predictions: Annotated[Path, typer.Argument(help="A table that `kikiwake predict` wrote.")],
    picture: Annotated[Path, typer.Argument(help="The PNG to write.")],
    truth: Annotated[
        Path | None, typer.Option(help="CSV with filename, start, end, label, or label files: what is there.")
    ] = None,
) -> None:
    """Draw what was heard when, over the spectrogram of a recording."""
    from kikiwake import drawing

    typer.echo(str(drawing.draw(recording, predictions, picture, truth=truth)))


@app.command()
def rank(
    predictions: Annotated[Path, typer.Argument(help="A table that `kikiwake predict` wrote.")],
    out: Annotated[Path, typer.Argument(help="The JSON to write.")],
    top: Annotated[int, typer.Option(help="Classes of each recording.")] = 3,
    by: Annotated[Literal["mean", "max"], typer.Option(help="How windows are joined.")] = "mean",
) -> None:
    """Name the likeliest classes of every recording: {"001": ["first", "second", "third"], ...}."""
    from kikiwake import ranking
    from kikiwake.predictions import Predictions

    ranked = ranking.rank(Predictions.read(predictions), top=top, by=by)
    ranking.write_ranked(ranked, out)
    typer.echo(f"{out}: the {top} likeliest classes of {len(ranked)} recordings")


@app.command()
def score(
    answers: Annotated[Path, typer.Argument(help='JSON: ["class", ...] in id order, or {"001": "class"}.')],
    predictions: Annotated[Path, typer.Argument(help="JSON that `kikiwake rank` wrote, or of its form.")],
) -> None:
    """Score ranked predictions: how often the answer is the first, and among the first three."""
    from kikiwake import ranking

    typer.echo(str(ranking.score(answers, predictions)))


@app.command("score-events")
def score_events(
    predictions: Annotated[Path, typer.Argument(help="A table that `kikiwake predict` wrote.")],
    truth: Annotated[
        Path,
        typer.Argument(help="CSV with filename, start, end, label; or a folder of label files."),
    ],
    threshold: Annotated[float, typer.Option(help="From which probability on a class is heard.")] = HEARD,
    collar: Annotated[
        float, typer.Option(help="How many seconds the beginning and the end of an event may be off.")
    ] = 0.2,
    offset_share: Annotated[
        float, typer.Option(help="The end may be off by this share of the event's length, where it is more.")
    ] = 0.2,
    segment: Annotated[float, typer.Option(help="Length of a segment, in seconds.")] = 1.0,
    median: Annotated[float, typer.Option(help="Take medians over so many seconds first; 0 for none.")] = 0.0,
    gap: Annotated[float, typer.Option(help="Close gaps shorter than this, in seconds.")] = 0.0,
    shortest: Annotated[float, typer.Option(help="Leave out events shorter than this, in seconds.")] = 0.0,
    high_threshold: Annotated[
        float | None,
        typer.Option(help="Leave out events that nowhere reach this; --threshold says how long others last."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="A folder for tables: scores, classes, events.")] = None,
    replicates: Annotated[
        int, typer.Option(help="Resamples of recordings behind the intervals; 0 for none.")
    ] = 1000,
) -> None:
    """Score what is heard from when to when: neighbouring windows of a class are joined to events.

    Event scores want each event found from beginning to end; segment scores ask what is heard in each second.
    """
    from kikiwake import detection

    settings = detection.Settings(
        threshold=threshold,
        collar_seconds=collar,
        offset_share=offset_share,
        segment_seconds=segment,
        median_seconds=median,
        gap_seconds=gap,
        shortest_seconds=shortest,
        high_threshold=high_threshold,
    )
    found = detection.score_events(predictions, truth, settings=settings, out=out, replicates=replicates)
    typer.echo(str(found))


@app.command()
def submit(
    predictions: Annotated[Path, typer.Argument(help="A table that `kikiwake predict` wrote.")],
    sample: Annotated[Path, typer.Argument(help="The competition's sample submission.")],
    out: Annotated[Path, typer.Argument(help="The submission to write.")],
    rows: Annotated[
        Literal["same", "sample", "predictions"],
        typer.Option(
            help="same: rows must agree; sample: others are left out; predictions: the sample gives the form."
        ),
    ] = "same",
    missing_classes: Annotated[
        Literal["error", "zero"], typer.Option(help="Classes of the sample that the model does not know.")
    ] = "error",
    labels: Annotated[
        Path | None,
        typer.Option(help="The label master with the classes' numbers; by default that beside the sample."),
    ] = None,
) -> None:
    """Write predictions in the form of a competition's sample: its columns, rows, delimiter and line ends.

    The sample shows the form: `row_id` and a probability a class for every window, or the name of a recording
    and the number of its likeliest class, as the label master beside the sample numbers them.
    """
    from kikiwake import submission
    from kikiwake.predictions import Predictions

    read = Predictions.read(predictions)
    summary = submission.submit(read, sample, out, rows=rows, missing_classes=missing_classes, labels=labels)
    typer.echo(str(summary))
