"""The run directory: everything about one training, readable in five years and free of pickle.

recipe.yaml             the resolved recipe
manifest.csv            the clips, with the split that was used
log.txt                 what the console showed
metrics.csv curves.png  loss, scores and learning rate of every epoch
checkpoint.safetensors  where training goes on after an interruption
best.safetensors        the best weights of the present stage
stages/                 the weights that each finished stage handed on, with where they come from; the
                        manifests that stages have of their own
pseudo/                 the pseudo labels that stages train on
grid.csv                what every combination of a fitted model's settings scored
model.safetensors       the trained model, whose description is model.json
model.skops             the fitted part of a model of scikit-learn
"""

from __future__ import annotations

import csv
import errno
import fcntl
import io
import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO, cast

from kikiwake import __version__
from kikiwake.checkpoint import read_state, read_weights, write_weights
from kikiwake.classifier import Classifier, build_classifier
from kikiwake.errors import RunError
from kikiwake.files import content_hash, text_hash, write_json, write_text
from kikiwake.folds import Split, split
from kikiwake.manifest import Manifest
from kikiwake.recipe import Recipe

FREE_TO_CHANGE = {
    *("run", "checkpoint_seconds", "tracking"),
    *("data.manifest", "data.workers", "data.cache_folder"),
    *(f"data.separator.{key}" for key in ("folder", "download", "device", "batch_size")),
}
"""Settings that an interrupted run may go on without: they touch no number, or are compared by content."""

SPLITS = ("train", "validation", "test")

_LOCK_PATIENCE_SECONDS = 3.0
"""How long a training that was just stopped may take to let go of its directory."""


class Run:
    """A run directory, opened."""

    def __init__(self, folder: Path, recipe: Recipe, manifest: Manifest) -> None:
        self.folder = folder
        self.recipe = recipe
        self.manifest = manifest

    @property
    def checkpoint_file(self) -> Path:
        """Where training goes on after an interruption."""
        return self.folder / "checkpoint.safetensors"

    @property
    def best_file(self) -> Path:
        """The best weights of the present stage."""
        return self.folder / "best.safetensors"

    @property
    def model_file(self) -> Path:
        """The trained model's weights; there when training has ended."""
        return self.folder / "model.safetensors"

    @property
    def fitted_file(self) -> Path:
        """The fitted part of a model of scikit-learn."""
        return self.folder / "model.skops"

    @property
    def grid_file(self) -> Path:
        """One row a combination of settings that was tried."""
        return self.folder / "grid.csv"

    @property
    def metrics_file(self) -> Path:
        """One row an epoch."""
        return self.folder / "metrics.csv"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training in this directory during the block.

        Raises:
            RunError: another process is training in it, and not just about to die.
        """
        with (self.folder / ".lock").open("w") as file:
            self._lock(file)
            for torn in self.folder.rglob(".*.tmp"):  # left by a process that was killed while writing
                torn.unlink(missing_ok=True)
            yield

    def _lock(self, file: TextIO) -> None:
        """Lock by record (fcntl), which forked workers that outlive their parent do not inherit."""
        give_up = time.monotonic() + _LOCK_PATIENCE_SECONDS
        while True:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    raise
                if time.monotonic() < give_up:
                    time.sleep(0.05)
                    continue
                raise RunError(
                    "another process is training in this directory",
                    where=self.folder,
                    remedy="wait for it, stop it, or choose another directory with run=...",
                ) from None
            return

    def stage_file(self, name: str) -> Path:
        """Return where the weights that a finished stage handed on are kept."""
        return self.folder / "stages" / f"{name}.safetensors"

    @property
    def finished(self) -> bool:
        """Whether training has ended."""
        return (self.folder / "model.json").is_file()

    @property
    def classes(self) -> list[str]:
        """What the model tells apart."""
        return self.manifest.classes

    @property
    def multilabel(self) -> bool:
        """Whether classes are judged one by one and not against each other."""
        return self.recipe.multilabel

    def indices(self, part: str) -> list[int]:
        """Return the rows of the manifest that are "train", "validation" or "test"."""
        return [index for index, clip in enumerate(self.manifest) if clip.split == part]

    def write_plan(self) -> None:
        """Write what is to be trained: the resolved recipe, and the clips with their split."""
        self.manifest.write(self.folder / "manifest.csv")
        write_text(self.folder / "recipe.yaml", self.recipe.to_yaml())

    def write_metrics(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the metrics of all epochs so far."""
        columns = list(dict.fromkeys(column for row in rows for column in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.metrics_file, text.getvalue())

    def draw_curves(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Draw loss, scores and learning rate of all epochs so far."""
        from kikiwake import figures

        monitors = [stage.monitor for stage in self.recipe.stages if stage.monitor != "loss"]
        scores = dict.fromkeys([*monitors, "accuracy", "macro_f1", "macro_roc_auc"])
        figures.training_curves(rows, self.folder / "curves.png", scores=list(scores))

    def write_model(self, weights: Mapping[str, Any], *, about: Mapping[str, Any]) -> None:
        """Write the trained model and what is known of it; the description comes last and ends the run."""
        write_weights(self.model_file, weights)
        recipe = self.recipe
        description = {
            "kikiwake": __version__,
            "classes": self.manifest.classes,
            "sample_rate": recipe.data.sample_rate,
            "channels": recipe.data.waveform_channels,
            "multilabel": recipe.multilabel,
            **about,
        }
        write_json(self.folder / "model.json", description)

    def model_hash(self) -> str:
        """Return the hash of the trained model's weights."""
        files = [file for file in (self.model_file, self.fitted_file) if file.is_file()]
        return text_hash("".join(map(content_hash, files)))

    def check_finished(self) -> None:
        """Refuse a run without a trained model.

        Raises:
            RunError: training has not ended.
        """
        if not self.finished:
            raise RunError(
                "this run has no trained model yet",
                where=self.folder,
                remedy="run the same `kikiwake train` command again: it goes on where it stopped",
            )

    def classifier(self) -> Classifier:
        """Build the trained model.

        Raises:
            RunError: training has not ended, or the weights belong to another structure.
        """
        self.check_finished()
        weights = read_weights(self.model_file)
        classifier = build_classifier(self.recipe, classes=self.manifest.classes, saved=weights)
        load_weights(classifier, weights, where=self.model_file)
        if self.recipe.model_is_fitted:
            cast(Any, classifier.network).load(self.fitted_file)
        return classifier.eval()


def open_run(folder: str | Path) -> Run:
    """Open a run directory.

    Raises:
        RunError: it is no run directory.
    """
    folder = Path(folder)
    if not (folder / "recipe.yaml").is_file():
        raise RunError(
            "not a run directory: there is no recipe.yaml",
            where=folder,
            remedy="give the folder that `kikiwake train` named in its first line",
        )
    recipe = Recipe.load(folder / "recipe.yaml")
    return Run(folder, recipe, Manifest.read(folder / "manifest.csv"))


def plan_run(recipe: Recipe, manifest: Manifest) -> Run:
    """Return the run that `recipe` asks for, its clips split, without writing anything.

    Raises:
        ManifestError: the split cannot be made.
    """
    parts = split(manifest, **recipe.split.model_dump(), seed=recipe.seed)
    return Run(recipe.run, recipe, with_split(manifest, parts))


def start_run(recipe: Recipe, manifest: Manifest) -> Run:
    """Make the run directory of `recipe`, or open it where the same training has come to a checkpoint.

    Raises:
        RunError: the directory belongs to another training; the message says what differs. Settings of
            stages that have not begun may.
        ManifestError: the split cannot be made.
    """
    run = plan_run(recipe, manifest)
    folder, marked = run.folder, run.manifest
    begun = run.finished or any(file.is_file() for file in (run.checkpoint_file, run.grid_file))
    if begun and (folder / "recipe.yaml").is_file():
        before = open_run(folder)
        changes = differences(before.recipe.plain(), recipe.plain())
        if changes and run.checkpoint_file.is_file() and not run.finished:
            begun_stages = _stages_begun(run.checkpoint_file)
            changes = differences(*(_fixed(one, begun=begun_stages) for one in (before.recipe, recipe)))
        if before.manifest.hash() != marked.hash():
            changes.append("the clips of the manifest or their split")
        if changes:
            raise RunError(
                "this directory holds another training; different are " + "; ".join(changes[:8]),
                where=folder,
                remedy="choose another one with run=..., or remove this one",
            )
        if before.recipe == recipe and _paths(before.manifest) == _paths(marked):
            return run
        # Recordings have moved, or settings that touch no number have changed.
    elif not (folder / "recipe.yaml").is_file():
        _refuse_foreign(folder)
    run.write_plan()
    return run


def _stages_begun(checkpoint: Path) -> int:
    """Return how many stages of a training have begun to leave something."""
    state = read_state(checkpoint)
    return int(state["stage"]) + (state["optimizer"] is not None)


def _fixed(recipe: Recipe, *, begun: int) -> dict[str, Any]:
    """Return what of a recipe a training that goes on cannot change.

    Stages to come are free but for names, which tell them apart, and losses: the last one's decides how the
    model judges, and which clips count.
    """
    plain = recipe.plain()
    for stage in plain["stages"][begun:]:
        for key in stage.keys() - {"name", "loss"}:
            del stage[key]
    return plain


def _refuse_foreign(folder: Path) -> None:
    """Refuse a folder with files of others, among which those of a run would be lost.

    Raises:
        RunError: the message names one of them.
    """
    own = {"manifest.csv", "log.txt", "console.txt"}
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    foreign = [path for path in inside if path.name not in own and not path.name.startswith(".")]
    if folder.exists() and not folder.is_dir():
        raise RunError("this is a file, not a folder", where=folder, remedy="choose another one with run=...")
    if foreign:
        raise RunError(
            f"this folder holds other things, such as {foreign[0].name}",
            where=folder,
            remedy="choose a new or empty one with run=...",
        )


def _paths(manifest: Manifest) -> list[str]:
    return [os.path.abspath(clip.path) for clip in manifest]  # noqa: PTH100 - links are left as they are


def with_split(manifest: Manifest, parts: Split) -> Manifest:
    """Return `manifest` with its split column saying what each clip is used for."""
    use = {int(index): part for part in SPLITS for index in getattr(parts, part)}
    clips = [replace(clip, split=use.get(index)) for index, clip in enumerate(manifest)]
    return Manifest(clips, manifest.classes, manifest.soft)


def differences(before: Mapping[str, Any], after: Mapping[str, Any], *, above: str = "") -> list[str]:
    """Return in words the settings that two resolved recipes do not share and that matter."""
    found = []
    for key in dict.fromkeys([*before, *after]):
        place = f"{above}{key}"
        old, new = before.get(key), after.get(key)
        if place in FREE_TO_CHANGE or old == new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += differences(old, new, above=f"{place}.")
        elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
            numbered = ({str(at): item for at, item in enumerate(items)} for items in (old, new))
            found += differences(*numbered, above=f"{place}.")
        else:
            found.append(f"{place}: was {old!r}, now {new!r}")
    return found


def load_weights(classifier: Classifier, weights: Mapping[str, Any], *, where: Path) -> None:
    """Put `weights` into `classifier`.

    Raises:
        RunError: they belong to another structure; the message says which tensors differ.
    """
    own = classifier.state_dict()
    wrong = [f"{name} is missing" for name in own if name not in weights]
    wrong += [f"{name} is not part of the model" for name in weights if name not in own]
    wrong += [
        f"{name} is {tuple(weights[name].shape)} and should be {tuple(own[name].shape)}"
        for name in own
        if name in weights and weights[name].shape != own[name].shape
    ]
    if wrong:
        raise RunError(
            f"the weights belong to another model: {'; '.join(wrong[:4])} ({len(wrong)} differences)",
            where=where,
            remedy="use the recipe they were trained with, or train anew in another run directory",
        )
    classifier.load_state_dict(dict(weights))


def logger_for(folder: Path | None) -> logging.Logger:
    """Return a logger that writes to the console and, with a folder, the same lines to its log.txt."""
    logger = logging.getLogger("kikiwake" if folder is None else f"kikiwake.{folder.resolve()}")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.setLevel(logging.INFO)
    logger.propagate = False
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(folder / "log.txt", encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
        logger.addHandler(handler)
    return logger
