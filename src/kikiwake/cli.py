"""The command line: every command parses, calls the Python function of the same name, and prints."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

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

_HEARD = 0.5
"""From which probability on a class is in a label file, if nothing else is said."""


@contextmanager
def _going_on() -> Iterator[None]:
    """Say, when work is interrupted, that the same command goes on with it."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command goes on where it was", err=True)
        raise typer.Exit(INTERRUPTED) from None


@app.command()
def prepare(
    folder: Annotated[Path, typer.Argument(help="The folder of recordings.")],
    out: Annotated[Path, typer.Argument(help="The manifest to write, a CSV.")],
    dataset: Annotated[
        str, typer.Option(help="How to read the folder: auto, or one of `kikiwake parts`.")
    ] = "auto",
    folds: Annotated[int | None, typer.Option(help="Make this many folds where the data set has none.")] = 5,
    seed: Annotated[int, typer.Option(help="Decides the folds.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes that decode.")] = 2,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", metavar="KEY=VALUE", help="An option of the data set."),
    ] = None,
) -> None:
    """Make a manifest: decode every file once, set bad ones aside, and draw folds.

    Ends with status 3 where recordings were set aside; the quarantine list beside the manifest says why.
    """
    from kikiwake import datasets

    options = _options_of(option)
    with _going_on():
        summary = datasets.prepare(
            folder, out, dataset=dataset, folds=folds, seed=seed, workers=workers, options=options
        )
    typer.echo(str(summary))
    if summary.quarantined:
        raise typer.Exit(SET_ASIDE)


@app.command()
def explore(
    manifest: Annotated[Path, typer.Argument(help="The manifest whose clips are looked at.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER|FILE.html", help="Where to write; by default beside the manifest."),
    ] = None,
    examples: Annotated[int, typer.Option(help="Clips of each class to see and hear.")] = 3,
    seed: Annotated[int, typer.Option(help="Draws the examples.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes that read.")] = 2,
) -> None:
    """Look at a data set: one page with counts, levels, warnings and examples to hear, and a table.

    Ends with status 3 where clips could not be read; page and table say why.
    """
    from kikiwake import exploring

    found = exploring.explore(manifest, out=out, examples=examples, seed=seed, workers=workers)
    typer.echo(str(found))
    if found.unreadable:
        raise typer.Exit(SET_ASIDE)


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

    shares = None if weights is None else _numbers(weights, where="--weights")
    typer.echo(str(ensembles.ensemble(runs, out=out, by=by, weights=shares)))


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

    formats = _names_in(labels) if labels is not None else []
    if labels is not None:
        exporting.check_choices(formats, _HEARD if threshold is None else threshold)
    elif threshold is not None:
        raise KikiwakeError("is for label files only", where="--threshold", remedy="say which with --labels")
    with _going_on():
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
            heard = _HEARD if threshold is None else threshold
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
        Literal["mean", "max", "vote"], typer.Option(help="How several teachers become one.")
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
    with _going_on():
        summary = room.label(
            runs,
            recordings,
            out=out,
            settings=settings,
            weights=None if weights is None else _numbers(weights, where="--weights"),
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


@app.command()
def separate(
    manifest: Annotated[Path, typer.Argument(help="The manifest whose recordings are separated.")],
    overrides: Overrides = None,
    recipe: Annotated[
        str | None, typer.Option(help="Separate as this recipe says: a shipped one's name, or a YAML file.")
    ] = None,
    separator: SeparatorName = None,
    option: SeparatorSettings = None,
    sample_rate: StemRate = None,
    cache_folder: CacheFolder = None,
    workers: Annotated[int | None, typer.Option(help="Processes; 0 for this one.")] = None,
    prune: Annotated[
        Literal["outdated", "all"] | None,
        typer.Option(
            help="First remove kept stems: those that no recipe can use any more, or also those that other "
            "settings made of this manifest's recordings."
        ),
    ] = None,
) -> None:
    """Separate recordings ahead of a training; what is kept is not separated again.

    Ends with status 3 where recordings were set aside; the quarantine list beside the manifest says why.
    """
    from kikiwake import separation
    from kikiwake.run import logger_for

    data = separation.separation_settings(
        recipe=recipe,
        overrides=overrides or [],
        separator=separator,
        options=_options_of(option),
        sample_rate=sample_rate,
        cache_folder=cache_folder,
    )
    with _going_on():
        summary = separation.separate(manifest, data, workers=workers, prune=prune, say=logger_for(None).info)
    typer.echo(str(summary))
    if summary.set_aside:
        raise typer.Exit(SET_ASIDE)


@app.command("export-stems")
def export_stems(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE... [KEY=VALUE]...",
            help="Manifests, recordings, or folders of them; then settings on top of the recipe's.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The folder for the WAV files: OUT/<recording>/<stem>.wav.")],
    ids: Annotated[
        str | None, typer.Option(metavar="ID[,ID]", help="Of these recordings only: names without suffix.")
    ] = None,
    stems: Annotated[str | None, typer.Option(metavar="STEM[,STEM]", help="These stems only.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Separate as this recipe says.")] = None,
    separator: SeparatorName = None,
    option: SeparatorSettings = None,
    sample_rate: StemRate = None,
    cache_folder: CacheFolder = None,
) -> None:
    """Write stems as WAV files, from where they are kept or separated now.

    Ends with status 3 where recordings were set aside; OUT/stems.quarantine.csv says why.
    """
    from kikiwake import separation

    overrides = [text for text in files if _is_override(text)]
    data = separation.separation_settings(
        recipe=recipe,
        overrides=overrides,
        separator=separator,
        options=_options_of(option),
        sample_rate=sample_rate,
        cache_folder=cache_folder,
    )
    summary = separation.export_stems(
        [text for text in files if text not in overrides],
        out,
        data,
        ids=_names_in(ids) if ids else (),
        stems=_names_in(stems) if stems else None,
    )
    typer.echo(str(summary))
    if summary.set_aside:
        raise typer.Exit(SET_ASIDE)


@app.command()
def export(
    predictions: Annotated[Path, typer.Argument(help="A table that `kikiwake predict` wrote.")],
    formats: Annotated[
        str, typer.Argument(metavar="FORMAT[,FORMAT]", help="Of `kikiwake parts labelfiles`.")
    ],
    folder: Annotated[Path, typer.Argument(help="The folder for the label files, one a recording.")],
    threshold: Annotated[float, typer.Option(help="From which probability on a class is heard.")] = _HEARD,
    sample_rate: Annotated[
        int | None, typer.Option(help="The model's, in Hz; by default as the summary beside the table says.")
    ] = None,
) -> None:
    """Write label files from a table of predictions; neighbouring windows of a class become one event."""
    from kikiwake import exporting

    with _going_on():
        summary = exporting.export(
            predictions, _names_in(formats), folder, threshold=threshold, sample_rate=sample_rate
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
    threshold: Annotated[float, typer.Option(help="From which probability on a class is heard.")] = _HEARD,
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


@app.command()
def synthesise(
    folder: Annotated[Path, typer.Argument(help="The folder to make.")],
    clips: Annotated[
        Path | None,
        typer.Option(metavar="MANIFEST", help="Make recordings in which clips of this manifest are heard."),
    ] = None,
    recordings: Annotated[int | None, typer.Option(help="With --clips: how many; by default 200.")] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Length of a clip, by default 3; with --clips of a recording, 30.")
    ] = None,
    sample_rate: Annotated[int, typer.Option(help="In Hz.")] = 22_050,
    seed: Annotated[int, typer.Option(help="Decides every sound.")] = 0,
    least_events: Annotated[
        int | None, typer.Option(help="With --clips: the fewest clips in a recording; by default 1.")
    ] = None,
    most_events: Annotated[
        int | None, typer.Option(help="With --clips: the most clips in a recording; by default 5.")
    ] = None,
    lowest_snr_db: Annotated[
        float | None, typer.Option(help="With --clips: of the faintest event above the noise; by default 0.")
    ] = None,
    highest_snr_db: Annotated[
        float | None, typer.Option(help="With --clips: of the loudest event above the noise; by default 20.")
    ] = None,
    overlap: Annotated[
        bool | None,
        typer.Option(
            "--overlap/--no-overlap", help="With --clips: whether two classes may overlap; by default yes."
        ),
    ] = None,
    noise: Annotated[
        Path | None, typer.Option(help="With --clips: a folder of recordings to lay them over.")
    ] = None,
    trim_db: Annotated[
        float | None,
        typer.Option(help="With --clips: what is so far below a clip's loudest is silence; by default 30."),
    ] = None,
    split_gap_seconds: Annotated[
        float | None, typer.Option(help="With --clips: a longer silence parts two events; by default 0.5.")
    ] = None,
    fold: Annotated[int | None, typer.Option(help="With --clips: take the clips of this fold only.")] = None,
    folds: Annotated[
        int | None, typer.Option(help="With --clips: made where the manifest has none; by default 5.")
    ] = None,
    groups_per_fold: Annotated[
        int | None, typer.Option(help="With --clips: the clips of a fold are dealt to so many; by default 4.")
    ] = None,
    clips_per_class: Annotated[
        int | None, typer.Option(help="Without --clips: clips of each class; by default 30.")
    ] = None,
    long_seconds: Annotated[
        float | None, typer.Option(help="Without --clips: length of the long recording; by default 120.")
    ] = None,
) -> None:
    """Make sounds with known truth: clips and a long recording, or a set of recordings from your own clips.

    With --clips each recording holds clips of one fold over noise, at known times and ratios to it: truth.csv
    says what is heard when, clips.csv what is heard at all, for `kikiwake prepare FOLDER --dataset table`.
    """
    from kikiwake import soundscapes, synthesis
    from kikiwake.errors import KikiwakeError
    from kikiwake.manifest import Manifest

    of_sets: dict[str, Any] = {
        "recordings": recordings,
        "least_events": least_events,
        "most_events": most_events,
        "lowest_snr_db": lowest_snr_db,
        "highest_snr_db": highest_snr_db,
        "overlap": overlap,
        "noise": noise,
        "trim_db": trim_db,
        "split_gap_seconds": split_gap_seconds,
        "fold": fold,
        "folds": folds,
        "groups_per_fold": groups_per_fold,
    }
    of_clips: dict[str, Any] = {"clips_per_class": clips_per_class, "long_seconds": long_seconds}
    own, other = (of_clips, of_sets) if clips is None else (of_sets, of_clips)
    for name, value in other.items():
        if value is not None:
            raise KikiwakeError(
                "has no meaning " + ("without --clips" if clips is None else "with --clips"),
                where=f"--{name.replace('_', '-')}",
                remedy="leave it out",
            )
    chosen = {name: value for name, value in {**own, "seconds": seconds}.items() if value is not None}
    summary = (
        synthesis.synthesise(folder, sample_rate=sample_rate, seed=seed, **chosen)
        if clips is None
        else soundscapes.synthesise_set(
            Manifest.read(clips), folder, sample_rate=sample_rate, seed=seed, **chosen
        )
    )
    typer.echo(str(summary))


@app.command()
def soundscape(
    manifest: Annotated[Path, typer.Argument(help="The manifest whose clips are heard.")],
    folder: Annotated[Path, typer.Argument(help="The folder to make.")],
    fold: Annotated[int | None, typer.Option(help="Take the clips of this fold only.")] = None,
    seed: Annotated[int, typer.Option(help="Decides order and noise.")] = 0,
    long_seconds: Annotated[float, typer.Option(help="Length of the recording.")] = 120.0,
) -> None:
    """Lay clips one after another into one long recording with known truth."""
    from kikiwake import synthesis
    from kikiwake.manifest import Manifest

    summary = synthesis.soundscape(
        Manifest.read(manifest), folder, fold=fold, seed=seed, long_seconds=long_seconds
    )
    typer.echo(str(summary))


def _options_of(texts: list[str] | None) -> dict[str, Any]:
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


def _is_override(text: str) -> bool:
    """Say whether an argument among files is a setting, such as data.sample_rate=8000, and no file's name."""
    return re.match(r"[a-z_]+(\.\w+)*=", text) is not None and not Path(text).exists()


def _names_in(names: str) -> list[str]:
    """Return the names in a list such as `audacity,raven`, each once."""
    return list(dict.fromkeys(name.strip() for name in names.split(",")))


def _numbers(text: str, *, where: str) -> list[float]:
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


def main() -> None:
    """Run the command line; an error of ours is one line and exit status 2, not a traceback."""
    from kikiwake.errors import KikiwakeError

    try:
        app()
    except KikiwakeError as error:
        typer.echo(f"kikiwake: {error}", err=True)
        sys.exit(2)
