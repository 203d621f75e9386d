"""The recipe: one YAML file in which every number of a system stands.

`Recipe.load` reads a shipped recipe by name or a file by path, puts `key=value` overrides on top, and checks
every key, type and value: what is wrong is an error that gives the place, the value and the nearest right
name. What only shows when the parts are put together is refused before the first stage trains.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml
from pydantic import Field

from kikiwake import components
from kikiwake._recipe_file import Places, complaint, override, read
from kikiwake._yaml import Key
from kikiwake.errors import RecipeError
from kikiwake.manifest import Manifest

Node = dict[str, Any]
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Section(pydantic.BaseModel):
    """A mapping of a recipe in which every key is known."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Data(Section):
    """Where the clips are and how they become waveforms `[C, T]`.

    `manifest`: CSV made by `kikiwake prepare`. `channels`: 1 mixes down; a mono file is repeated.
    `separator`: takes recordings apart into stems, each mixed down to one channel of the waveform; `stems`:
    which of them, in this order, by default all. `separator_identity`: of the separator's model, filled in
    when a training begins.
    `crop`: the stretch of a clip that training sees. `pad`: how a clip shorter than its crop is filled.
    `secondary_target`: target of a clip's secondary labels. `rating_floor`: a clip's weight is multiplied by
    its rating over the manifest's best one, and at least by this; null leaves ratings alone, and a clip
    without one counts whole. `cache`: keep decoded clips on disk.
    `workers`: processes that load clips.
    """

    manifest: Path | None = None
    sample_rate: Annotated[int, Field(ge=1000, le=768_000)]
    channels: Annotated[int, Field(ge=1, le=64)] = 1
    separator: Node | None = None
    stems: Annotated[list[str], Field(min_length=1)] | None = None
    separator_identity: str | None = None
    crop: Node
    pad: Literal["zero", "repeat", "reflect"] = "zero"
    secondary_target: Fraction = 0.0
    rating_floor: Fraction | None = None
    cache: bool = True
    cache_folder: Path | None = None
    workers: Annotated[int, Field(ge=0)] = 2

    @property
    def waveform_channels(self) -> int:
        """How many channels the waveform has: one a stem where recordings are separated."""
        return self.channels if self.stems is None else len(self.stems)


class Split(Section):
    """Which clips are held out.

    `test`: a fold's number, "split" for the manifest's split column, or null for none.
    `validation`: a fold's number, a fraction of the other groups, or null: then nothing but the training
    clips decides when to stop, and the last epoch's weights are kept.
    """

    test: int | Literal["split"] | None = None
    validation: int | Annotated[float, Field(gt=0, lt=1)] | None = None


class Optimizer(Section):
    """One of torch's optimizers and its numbers.

    `decay_vectors`: whether `weight_decay` also shrinks biases and normalisation layers, which have no
    capacity to overfit (He et al. 2019, "Bag of tricks for image classification", section 3.1).
    """

    name: Literal["sgd", "adam", "adamw", "rmsprop"]
    learning_rate: Positive
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    momentum: Fraction | None = None
    nesterov: bool = False
    decay_vectors: bool = False
    betas: tuple[Fraction, Fraction] | None = None

    @pydantic.model_validator(mode="after")
    def _belongs(self) -> Optimizer:
        if self.momentum is not None and self.name in {"adam", "adamw"}:
            raise ValueError(f"'momentum' is for sgd and rmsprop; {self.name} takes 'betas'")
        if self.betas is not None and self.name in {"sgd", "rmsprop"}:
            raise ValueError(f"'betas' is for adam and adamw; {self.name} takes 'momentum'")
        if self.nesterov and (self.name != "sgd" or not self.momentum):
            raise ValueError("'nesterov' is for sgd with a momentum above 0")
        return self


class Extra(Section):
    """Examples that each epoch of a stage has beside its clips; nothing is copied on disk.

    `share`: how many, as a share of the clips. `augmentations`: each example is changed by one of them, in
    turn; the clips themselves are not.
    """

    share: Positive
    augmentations: Annotated[list[Node], Field(min_length=1)]


class Pseudo(Section):
    """Clips that the model of the stage before labels by itself, for a stage to train on beside the others.

    `recordings`: files or folders; null takes those of the manifest that nobody has labelled, and where there
    are none, the stage is left out. `table`: a manifest that `kikiwake pseudo` made, in place of both.
    `teachers`: further runs that label with it. `join`: how several teachers' probabilities become one; that
    of ensembles among them must be the same.
    `window_seconds`, `hop_seconds`: of the windows that become clips. `keep`: classes above this probability
    stay. `train`: a window trains if one of its classes is above this. `max_share`: a class gets at most this
    share of its labelled clips. `smoothing`: of the labels. `silence_rms`: what is no louder has no class.
    `weight`: of these clips in the loss. `ratio`: how many are drawn in an epoch, as a share of the others.
    """

    recordings: list[Path] | None = None
    table: Path | None = None
    teachers: list[Path] = []
    join: Literal["mean", "max", "vote"] = "mean"
    window_seconds: Positive = 5.0
    hop_seconds: Positive = 2.5
    keep: Fraction = 0.6
    train: Fraction = 0.7
    max_share: Positive | None = 0.3
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    silence_rms: Annotated[float, Field(ge=0)] = 0.001
    weight: Positive = 0.7
    ratio: Positive = 0.5

    @pydantic.model_validator(mode="after")
    def _one_source(self) -> Pseudo:
        if self.table is not None and (self.recordings is not None or self.teachers):
            raise ValueError("'table' has its labels already: remove 'recordings' and 'teachers', or 'table'")
        if self.train < self.keep:
            raise ValueError("'train' must be at least 'keep': what trains is among what is kept")
        return self


class Stage(Section):
    """One training phase; each starts from the weights that the one before kept.

    `manifest`: clips to train on in place of the recipe's; the classes must be the same. Those that its own
    split column gives to validation or test do not train, nor do those whose recording or group is held out.
    `pseudo`: clips without labels to train on beside them.
    `secondary_target`: in this stage, in place of the recipe's: in the loss, that of the validation clips
    too. The other scores have the recipe's as their truth, so that stages can be compared.
    `batch_size`: clips a step, over all processes and accumulation. `accumulation`: parts in which a batch
    is computed, to save memory. `framewise_loss`: share of the loss that the loudest frame of each class has,
    where the network judges frames; the rest has the clip. `sampling`: "balanced" draws a clip as often as
    the rarest of its classes needs, a secondary class counting `sampling_secondary` (null: as its target).
    `warmup_epochs`: the learning rate grows linearly from 0 over them.
    `freeze`: the first n groups of the network, or "all" of its backbone. `ema`: decay a step of the averaged
    weights that are validated and kept. `early_stopping`: epochs without a better `monitor` score.
    `keep`: which epoch's weights the stage hands on; by default the best where there are validation clips.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")] = "train"
    manifest: Path | None = None
    pseudo: Pseudo | None = None
    secondary_target: Fraction | None = None
    epochs: Count
    batch_size: Count
    accumulation: Count = 1
    loss: Literal["cross_entropy", "binary_cross_entropy"] = "cross_entropy"
    framewise_loss: Fraction = 0.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    class_weights: Literal["balanced"] | None = None
    sampling: Literal["uniform", "balanced"] = "uniform"
    sampling_secondary: Fraction | None = None
    optimizer: Optimizer
    schedule: Node = {"name": "constant"}
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    freeze: Annotated[int, Field(ge=0)] | Literal["all"] = 0
    augmentations: list[Node] = []
    extra: Extra | None = None
    gradient_clip: Positive | None = None
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    monitor: Literal[
        "loss", "accuracy", "macro_f1", "micro_f1", "macro_roc_auc", "macro_average_precision", "padded_cmap"
    ] = "accuracy"
    early_stopping: Count | None = None
    keep: Literal["best", "last"] | None = None

    @property
    def multilabel(self) -> bool:
        """Whether classes are judged one by one (sigmoid) and not against each other (softmax)."""
        return self.loss == "binary_cross_entropy"


class Fit(Section):
    """How a model of scikit-learn is fitted, in place of stages: by grid search inside the training clips.

    `grid`: settings of the model with the values to try, in every combination; empty fits the model as it
    stands. `folds`: parts of the training clips that judge each combination in turn, groups kept together.
    `score`: what the best combination has most of, as the mean over these folds.
    """

    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}
    folds: Annotated[int, Field(ge=2)] = 5
    score: Literal["accuracy", "balanced_accuracy", "macro_f1"] = "accuracy"

    def points(self) -> list[Node]:
        """Return every combination of the grid's values."""
        return [dict(zip(self.grid, values, strict=True)) for values in product(*self.grid.values())]


class Engine(Section):
    """What computes: device, arithmetic and threads.

    `device`: "auto" takes a GPU where there is one. `precision`: "auto" is bf16 or fp16 on a GPU and fp32
    elsewhere. `threads`: of the CPU; null leaves torch's choice.
    """

    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    threads: Count | None = None


class Shift(Section):
    """One hearing of a window: moved by `seconds`, its probabilities counting as `weight`."""

    seconds: float
    weight: Positive


class Predict(Section):
    """How recordings are cut into windows and a clip's windows are joined.

    `window_seconds`: null takes the length of the training crop. `hop_seconds`: null takes the window's
    length. `context_seconds`: of sound before and after a window that the network hears too. `framewise`: a
    window's score is the maximum over its own frames, not the network's word on all that it hears. `shifts`:
    what the network hears is moved by each, and the weighted mean counts; empty hears a window once, as
    validation while training does in any case.
    `aggregate`: how the windows of one clip become its probabilities.
    """

    window_seconds: Positive | None = None
    hop_seconds: Positive | None = None
    context_seconds: Annotated[float, Field(ge=0)] = 0.0
    framewise: bool = False
    shifts: list[Shift] = []
    batch_size: Count = 16
    aggregate: Literal["mean", "max"] = "mean"


class WeightsAndBiases(Section):
    """Where Weights & Biases logs to."""

    project: str = "kikiwake"
    mode: Literal["online", "offline"] = "offline"


class Tracking(Section):
    """Loggers beside the run's own CSV and pictures."""

    tensorboard: bool = False
    wandb: WeightsAndBiases | None = None


class Recipe(Section):
    """A whole system: from a manifest to a trained model, every number in one place."""

    seed: Annotated[int, Field(ge=0)] = 0
    run: Path
    data: Data
    split: Split = Split()
    frontend: Node
    augmentations: list[Node] = []
    model: Node
    stages: list[Stage] = []
    fit: Fit | None = None
    engine: Engine = Engine()
    predict: Predict = Predict()
    tracking: Tracking = Tracking()
    checkpoint_seconds: Positive = 60.0

    @classmethod
    def load(cls, source: str | Path | Recipe, *overrides: str) -> Recipe:
        """Read a shipped recipe by its name or a file by its path, with `key=value` overrides.

        Keys are dotted; a list's item is named by its position or by its `name`: `stages.train.epochs=5`.

        Raises:
            RecipeError: the recipe is not there, or something in it is wrong.
        """
        if isinstance(source, Recipe):
            data, places = source.plain(), Places("recipe", {})
        else:
            data, places = read(source)
        for setting in overrides:
            override(data, setting, places=places)
        try:
            recipe = cls.model_validate_json(json.dumps(data), strict=True)
        except pydantic.ValidationError as error:
            raise complaint(error, model=cls, places=places) from None
        return recipe._resolved(places)

    def _resolved(self, places: Places) -> Recipe:
        """Return the recipe with every part checked against its schema and its defaults filled in."""
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise RecipeError("two stages have the same name", where=places(("stages",)), value=names)
        self._check_way_of_training(places)
        self._check_stems(places)
        self._check_windows(places)
        plain = self.plain()
        for family, key, node in self._nodes():
            inner: Any = plain
            for step in key[:-1]:
                inner = inner[step]
            inner[key[-1]] = components.resolve(family, node, where=places.node(key))
        if self.data.separator and self.data.stems is None:
            plain["data"]["stems"] = list(components.part("separators", self.data.separator["name"]).stems)
        return Recipe.model_validate_json(json.dumps(plain), strict=True)

    def _nodes(self) -> Iterator[tuple[str, Key, Node]]:
        """Yield the family, place and node of every part that the recipe names."""
        yield "crops", ("data", "crop"), self.data.crop
        if self.data.separator is not None:
            yield "separators", ("data", "separator"), self.data.separator
        yield "frontends", ("frontend",), self.frontend
        yield "models", ("model",), self.model
        for index, node in enumerate(self.augmentations):
            yield "augmentations", ("augmentations", index), node
        for number, stage in enumerate(self.stages):
            yield "schedules", ("stages", number, "schedule"), stage.schedule
            for index, node in enumerate(stage.augmentations):
                yield "augmentations", ("stages", number, "augmentations", index), node
            for index, node in enumerate(stage.extra.augmentations if stage.extra else ()):
                yield "augmentations", ("stages", number, "extra", "augmentations", index), node

    def _check_way_of_training(self, places: Places) -> None:
        """Refuse a network without stages, and a model that is fitted with them."""
        components.validate("models", self.model, where=places(("model",)))
        name, fitted = self.model["name"], self.model_is_fitted
        if fitted and (self.stages or self.augmentations):
            key = "stages" if self.stages else "augmentations"
            what = f"'{name}' is fitted, not trained by gradients: it takes no {key}"
            raise RecipeError(what, where=places((key,)), remedy=f"write {key}: [] and the section fit: {{}}")
        if not fitted and (self.fit or not self.stages):
            what = f"'{name}' is a network: it is trained in stages, not fitted"
            remedy = "write at least one stage under stages:, and fit: null"
            raise RecipeError(what, where=places(("fit" if self.fit else "stages",)), remedy=remedy)
        for point in self.fit.points() if self.fit else ():
            components.validate("models", {**self.model, **point}, where=places(("fit", "grid")))

    def _check_windows(self, places: Places) -> None:
        """Refuse ways of judging windows that the model has not."""
        predict = self.predict
        if self.model_is_fitted and (predict.context_seconds or predict.shifts or predict.framewise):
            what = f"'{self.model['name']}' is fitted to windows as they are"
            remedy = "remove context_seconds, shifts and framewise"
            raise RecipeError(what, where=places(("predict",)), remedy=remedy)
        if not predict.framewise:
            return
        where = places(("predict", "framewise"))
        if not getattr(components.part("models", self.model["name"]), "framewise", False):
            what = f"'{self.model['name']}' judges no frames"
            raise RecipeError(what, where=where, value=True, remedy="use the model sed, or remove it")
        if not self.multilabel:
            what = "frames are judged class by class, and the last stage teaches cross entropy"
            remedy = "end with a stage of binary_cross_entropy, or remove it"
            raise RecipeError(what, where=where, value=True, remedy=remedy)
        furthest = max((abs(shift.seconds) for shift in predict.shifts), default=0.0)
        if furthest > predict.context_seconds:
            what = f"a shift of {furthest:g} s moves a window's own frames out of what is heard"
            remedy = (
                f"give at least as much predict.context_seconds as that (it is {predict.context_seconds:g})"
            )
            raise RecipeError(what, where=places(("predict", "shifts")), remedy=remedy)

    def _check_stems(self, places: Places) -> None:
        """Refuse settings of the waveform that contradict each other."""
        data = self.data
        if data.separator is None:
            if data.stems is not None:
                what = "stems are asked for, and nothing separates them"
                remedy = "set data.separator, such as {name: demucs}, or remove data.stems"
                raise RecipeError(what, where=places(("data", "stems")), value=data.stems, remedy=remedy)
            return
        if data.channels != 1:
            what = "each stem is one channel of the waveform"
            remedy = "remove data.channels: separators hear the mixture in as many channels as they take"
            raise RecipeError(what, where=places(("data", "channels")), value=data.channels, remedy=remedy)
        if not data.cache:
            what = "stems that are not kept would be separated in every epoch"
            remedy = "remove data.cache: false, or remove data.separator"
            raise RecipeError(what, where=places(("data", "cache")), value=False, remedy=remedy)
        if data.stems is not None and len(set(data.stems)) < len(data.stems):
            what = "a stem is named twice"
            raise RecipeError(what, where=places(("data", "stems")), value=data.stems)

    @property
    def model_is_fitted(self) -> bool:
        """Whether the model is one of scikit-learn's, and not a network that is trained in stages."""
        return bool(getattr(components.part("models", self.model["name"]), "fitted", False))

    @property
    def multilabel(self) -> bool:
        """Whether classes are judged one by one (sigmoid) and not against each other (softmax)."""
        return bool(self.stages) and self.stages[-1].multilabel

    def read_manifest(self) -> Manifest:
        """Read the manifest that the recipe names.

        Raises:
            RecipeError: it names none.
            ManifestError: the manifest is wrong.
        """
        if self.data.manifest is None:
            raise RecipeError(
                "no manifest is given",
                where="data.manifest",
                remedy="make one with `kikiwake prepare FOLDER clips.csv` and add data.manifest=clips.csv",
            )
        if self.data.manifest.is_dir():
            raise RecipeError(
                "this is a folder, not a manifest",
                where="data.manifest",
                value=str(self.data.manifest),
                remedy=f"make one: kikiwake prepare {self.data.manifest} clips.csv",
            )
        return Manifest.read(self.data.manifest)

    def plain(self) -> dict[str, Any]:
        """Return the recipe as JSON's types, every default filled in."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """Return the resolved recipe as YAML that `load` reads back."""
        return yaml.safe_dump(self.plain(), sort_keys=False, allow_unicode=True)
