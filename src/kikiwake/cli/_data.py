"""Commands over recordings and manifests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from kikiwake.cli._app import (
    SET_ASIDE,
    CacheFolder,
    Overrides,
    SeparatorName,
    SeparatorSettings,
    StemRate,
    app,
    going_on,
    is_override,
    names_in,
    options_of,
)


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

    options = options_of(option)
    with going_on():
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
        options=options_of(option),
        sample_rate=sample_rate,
        cache_folder=cache_folder,
    )
    with going_on():
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

    overrides = [text for text in files if is_override(text)]
    data = separation.separation_settings(
        recipe=recipe,
        overrides=overrides,
        separator=separator,
        options=options_of(option),
        sample_rate=sample_rate,
        cache_folder=cache_folder,
    )
    summary = separation.export_stems(
        [text for text in files if text not in overrides],
        out,
        data,
        ids=names_in(ids) if ids else (),
        stems=names_in(stems) if stems else None,
    )
    typer.echo(str(summary))
    if summary.set_aside:
        raise typer.Exit(SET_ASIDE)


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
    stretch_seconds: Annotated[
        float | None,
        typer.Option(help="With --clips: label stretches of this length, too; to train on known times."),
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
    With --stretch-seconds, stretches.csv says it of short stretches: add `-o table=stretches.csv`.
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
        "stretch_seconds": stretch_seconds,
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
