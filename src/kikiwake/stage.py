"""One stage of a training: its epochs, what they score, and whose weights it hands on."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from kikiwake import components, metrics, provenance
from kikiwake._stage_clips import StageClips, secondary_target, stage_clips
from kikiwake._stage_losses import DIVERGED, Losses
from kikiwake._stage_parts import build_augmentations, build_extra
from kikiwake._stage_pseudo import check_pseudo, note_after, pseudo_table
from kikiwake._stage_tables import check_tables, table_hashes
from kikiwake.checkpoint import read_weights, write_state, write_weights
from kikiwake.checks import check
from kikiwake.classifier import Classifier
from kikiwake.data import Batch, ClipDataset, Request, training_batches
from kikiwake.engine import Engine
from kikiwake.errors import RecipeError, TrainingError
from kikiwake.features import FeatureDataset, Features, keeps_features
from kikiwake.loader import Loader
from kikiwake.losses import balanced_class_weights, loss_function
from kikiwake.manifest import Manifest
from kikiwake.optimization import Step, build_ema, build_optimizer
from kikiwake.parallel import progress
from kikiwake.recipe import Recipe, Stage
from kikiwake.run import Run, load_weights
from kikiwake.scoring import score_clips
from kikiwake.separation import separate_clips
from kikiwake.tracking import Tracker

Forgettable = Literal["optimizer", "schedule"]
"""What of a checkpoint may be left behind: the optimizer's averages; how far the schedule has come."""

_DRAW_SECONDS = 20


@dataclass
class Session:
    """What the stages of a training share.

    `clips`, `validation_clips`: rows of the manifest. `history`: one row of metrics an epoch, over all
    stages. `multiplier`: into how many more parts than the recipe says a batch is cut since memory ran out.
    `forgotten`: what this command, or the one that it repeats, has left behind of a checkpoint. `drawn`: when
    the curves were drawn, on the monotonic clock.
    """

    run: Run
    engine: Engine
    log: logging.Logger
    classifier: Classifier
    clips: list[int]
    validation_clips: list[int]
    trackers: list[Tracker] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    multiplier: int = 1
    forgotten: frozenset[Forgettable] = frozenset()
    drawn: float = field(default_factory=time.monotonic)

    @property
    def recipe(self) -> Recipe:
        """The run's recipe."""
        return self.run.recipe


def check_stages(session: Session) -> None:
    """Refuse, before the first stage trains, what would stop a later one.

    Raises:
        RecipeError: a part of a stage cannot be built, there is less to freeze than asked for, or a stage
            needs validation clips and there are none.
    """
    check_pseudo(session.run)
    for stage in session.recipe.stages:
        keeps_best(stage, validates=bool(session.validation_clips))
        build_augmentations(session.recipe, stage, session.classifier.frontend)
        build_extra(session.recipe, stage, session.classifier.frontend)
        clips = stage_clips(session.run, stage)
        if stage.manifest is not None:
            for warning in check(clips.manifest, training=clips.own, multilabel=stage.multilabel):
                session.log.info("note: stage %s: %s", stage.name, warning)
        if stage.framewise_loss and not getattr(session.classifier.network, "framewise", False):
            raise RecipeError(
                f"'{session.recipe.model['name']}' judges clips and not frames",
                where=f"stages.{stage.name}.framewise_loss",
                value=stage.framewise_loss,
                remedy="remove it, or use the model sed",
            )
        components.build("schedules", stage.schedule, where=f"stages.{stage.name}.schedule")
        cast(Any, session.classifier.network).freeze(stage.freeze)
        smallest = min(stage.batch_size, len(clips.own))
        if smallest < session.engine.processes:
            raise RecipeError(
                f"{session.engine.processes} processes cannot share {smallest} clips",
                where=f"stages.{stage.name}.batch_size",
                value=stage.batch_size,
                remedy="give every process at least one clip of each batch",
            )


def keeps_best(stage: Stage, *, validates: bool) -> bool:
    """Return whether a stage hands on its best epoch's weights, and not its last one's.

    Raises:
        RecipeError: it needs validation clips and there are none.
    """
    needing = "keep: best" if stage.keep == "best" else "early_stopping" if stage.early_stopping else ""
    if stage.schedule["name"] == "plateau":
        needing = needing or "schedule: plateau"
    if needing and not validates:
        raise RecipeError(
            f"'{needing}' needs validation clips and the split leaves none",
            where=f"stages.{stage.name}",
            remedy="set split.validation, for instance to 0.1",
        )
    return validates if stage.keep is None else stage.keep == "best"


def run_stage(
    session: Session, number: int, state: dict[str, Any] | None, *, forget: Collection[Forgettable] = ()
) -> None:
    """Train a stage to its end, from its beginning or from the checkpoint `state`, without what to `forget`.

    A stage of pseudo labels for which there is nothing to label is left out: its weights are those before it.
    """
    run, stage = session.run, session.recipe.stages[number]
    pseudo = None
    if stage.pseudo is not None:
        pseudo = pseudo_table(
            run,
            number,
            engine=session.engine,
            log=session.log,
            judged=len(session.validation_clips),
            begun=state is not None and state["optimizer"] is not None,
        )
    clips = stage_clips(run, stage, pseudo=pseudo)
    if stage.pseudo is not None and not clips.beside:
        why = (
            "there is nothing to label" if pseudo is None else "no window was labelled with enough confidence"
        )
        session.log.info("stage %s: left out: %s", stage.name, why)
        _pass_on(session, number, clips, left_out=why)
        return
    if clips.left_out:
        session.log.info(
            "stage %s: %d clips are left out: they, their recordings or their groups are held out",
            stage.name,
            clips.left_out,
        )
    if stage.manifest is not None or stage.pseudo is not None:
        data, engine = session.recipe.data, session.engine
        separate_clips(clips.manifest, clips.rows, data=data, computer=engine, say=session.log.info)
    StageRun(session, number, clips).train(state, forget=forget)


def _pass_on(
    session: Session,
    number: int,
    clips: StageClips,
    *,
    kept: dict[str, Any] | None = None,
    left_out: str | None = None,
) -> None:
    """Write the weights for the next stage with where they come from, and that stage `number` is done."""
    if not session.engine.first:
        return
    run, weights = session.run, session.classifier.state_dict()
    run.write_metrics(session.history)
    run.draw_curves(session.history)
    write_weights(run.stage_file(session.recipe.stages[number].name), weights)
    stage = session.recipe.stages[number]
    provenance.write(run, number, clips, kept=kept, left_out=left_out)
    if stage.pseudo is not None and kept is not None:
        note_after(run, stage, kept, judged=len(session.validation_clips), log=session.log)
    state = {
        "stage": number + 1,
        "epoch": 0,
        "batch": 0,
        "history": session.history,
        "multiplier": session.multiplier,
        "forgotten": sorted(session.forgotten),
        "classifier": weights,
        "optimizer": None,
    }
    write_state(run.checkpoint_file, state)


class StageRun:
    """One stage of a training: its optimizer, its loss, and the epochs done."""

    def __init__(self, session: Session, number: int, clips: StageClips) -> None:
        self.session = session
        self.run, self.engine, self.log = session.run, session.engine, session.log
        self.classifier = session.classifier
        self.number = number
        self.stage = session.recipe.stages[number]
        self.validates = bool(session.validation_clips)
        self.keeps_best = keeps_best(self.stage, validates=self.validates)
        self.best_score = float("-inf")
        self.best_epoch = -1
        self.epoch = self.batch = 0
        self.schedule_start = 0
        frontend = session.classifier.frontend
        augmentations = build_augmentations(session.recipe, self.stage, frontend)
        cast(Any, session.classifier.network).freeze(self.stage.freeze)
        self.extra = build_extra(session.recipe, self.stage, frontend)
        on_waveforms = [part for part in augmentations if part.level == "waveform"]
        session.classifier.multilabel = self.stage.multilabel
        self.clips = clips
        self.losses = Losses(clips.manifest, stage=self.stage.name, device=session.engine.device)
        self.loader = self._loader(self._dataset(clips.manifest, on_waveforms, extra=self.extra))
        self.validation_loader = self._loader(self._dataset(self.run.manifest, []))
        self.taught = self.run.manifest.targets(secondary=secondary_target(self.run, self.stage))
        self.tables = table_hashes(self.run, self.stage)
        self.features: Features | None = None
        drawn = self.loader.dataset.crop.drawn or any(part.level == "waveform" for part in self.extra)
        if keeps_features(session.recipe) and not on_waveforms and not drawn:
            self.features = self._features()
        self.optimizer = build_optimizer(self.stage.optimizer, session.classifier)
        self.schedule = components.build("schedules", self.stage.schedule, where="schedule")
        self.ema = build_ema(session.classifier, self.stage.ema) if self.stage.ema else None
        self.step = Step(
            session.classifier,
            engine=session.engine,
            stage=self.stage,
            seed=session.recipe.seed,
            class_weights=self._class_weights(),
            augmentations=[part for part in augmentations if part.level != "waveform"],
            extra=self.extra,
            optimizer=self.optimizer,
            multiplier=session.multiplier,
            say=session.log.info,
            from_features=self.features is not None,
        )

    def train(self, state: dict[str, Any] | None, *, forget: Collection[Forgettable] = ()) -> None:
        """Train to the stage's end, from its beginning or from a checkpoint without what to `forget`."""
        if state is not None and state["optimizer"] is not None:
            self._restore(state, forget=forget)
        stage, log = self.stage, self.log
        trainable = sum(p.numel() for p in self.classifier.parameters() if p.requires_grad)
        log.info("stage %s: %d epochs, %s trainable parameters", stage.name, stage.epochs, f"{trainable:,}")
        if stage.manifest or stage.pseudo:
            drawn, added = len(self.clips.own), len(self.clips.beside)
            log.info("stage %s: %d clips, %d more with pseudo labels", stage.name, drawn, added)
        try:
            self._fill_features()
            while self.epoch < stage.epochs and not self._stops_early():
                self._train_epoch()
        finally:
            self.loader.close()
            self.validation_loader.close()
        self._hand_on()

    def _train_epoch(self) -> None:
        """Train one epoch, or what is left of it, and judge it."""
        stage, session, processes = self.stage, self.session, self.engine.processes
        requests = self.clips.requests(stage, seed=session.recipe.seed, epoch=self.epoch)
        batches = training_batches(
            requests, batch_size=stage.batch_size, rank=self.engine.rank, processes=processes
        )
        description = f"{stage.name} {self.epoch + 1}/{stage.epochs}"
        total = sum(map(len, batches)) * processes
        started = saved = time.monotonic()
        done_before = sum(map(len, batches[: self.batch])) * processes
        quiet = not self.engine.first
        with progress(total, description=description, unit="clips", done=done_before, quiet=quiet) as bar:
            for batch in self.loader(batches[self.batch :]):
                self._take_step(batch, self._learning_rate(len(batches)))
                bar.advance(len(batch.clips) * processes, **self._shown())
                if time.monotonic() - saved >= session.recipe.checkpoint_seconds:
                    self._checkpoint()
                    saved = time.monotonic()
        self._refuse_what_is_not_finite()
        speed = (total - done_before) / (time.monotonic() - started)
        row = {
            "stage": stage.name,
            "epoch": self.epoch + 1,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "train_loss": float(np.mean(self.engine.gather(float(self.losses.sum) / len(batches)))),
            **self._validate(),
        }
        self._end_epoch(row, clips_per_second=speed)

    def _take_step(self, batch: Batch, learning_rate: float) -> None:
        draw = (self.stage.name, self.epoch, self.batch, self.engine.rank)
        loss = self.step(batch, draw=draw, learning_rate=learning_rate)
        if self.ema:
            self.ema.update_parameters(self.classifier)
        number, self.batch = self.batch, self.batch + 1
        self.losses.add(loss, epoch=self.epoch, batch=number, clips=batch.clips)

    def _refuse_what_is_not_finite(self) -> None:
        """Look at the losses and the weights before they are judged or kept.

        Raises:
            TrainingError: something in them is not finite.
        """
        self.losses.look()
        if not all(bool(torch.isfinite(p).all()) for p in self.classifier.parameters()):
            raise TrainingError(
                f"the weights are no longer finite in epoch {self.epoch + 1}, after batch {self.batch}",
                where=f"stage {self.stage.name}",
                remedy=DIVERGED,
            )

    def _validate(self) -> dict[str, float | None]:
        """Score the validation clips with the weights that would be kept."""
        if not self.validates:
            return {}
        session = self.session
        judged = self._kept_model()
        for buffer in judged.buffers() if self.engine.processes > 1 else ():
            torch.distributed.broadcast(buffer, src=0)
        scored = score_clips(
            judged,
            self.validation_loader,
            indices=session.validation_clips,
            recipe=session.recipe,
            engine=self.engine,
            shifted=False,  # which epoch is best shows without them, several times as fast
        )
        if not np.isfinite(scored.logits).all():
            raise TrainingError(
                f"the network's outputs are no longer finite in epoch {self.epoch + 1}",
                where=f"stage {self.stage.name}",
                remedy=DIVERGED,
            )
        loss = loss_function(self.stage.loss, label_smoothing=0.0, class_weights=None)(
            torch.from_numpy(scored.logits),
            torch.from_numpy(self.taught[scored.clips]),
            torch.ones(len(scored.clips)),
        )
        probabilities = scored.clipwise(session.validation_clips, aggregate=session.recipe.predict.aggregate)
        truth = self.validation_loader.dataset.targets[session.validation_clips].astype(np.float64)
        one_each = bool(((truth >= metrics.THRESHOLD).sum(1) == 1).all())
        scores = metrics.scores(
            truth, probabilities.astype(np.float64), multilabel=self.stage.multilabel or not one_each
        )
        return {
            "validation_loss": float(loss),
            **{f"validation_{name}": value for name, value in scores.items()},
        }

    def _end_epoch(self, row: dict[str, Any], *, clips_per_second: float) -> None:
        """Note the epoch, keep its weights if they are the best, and write a checkpoint."""
        score = self._score(row)
        better = score > self.best_score
        if better:
            self.best_score, self.best_epoch = score, self.epoch
        row["kept"] = False
        self.session.history.append(row)
        self.epoch, self.batch = self.epoch + 1, 0
        self.losses.sum.zero_()
        if self.engine.first:
            if better and self.keeps_best:
                write_weights(self.run.best_file, self._kept_model().state_dict())
            self.run.write_metrics(self.session.history)
            if time.monotonic() - self.session.drawn >= _DRAW_SECONDS:
                self.run.draw_curves(self.session.history)
                self.session.drawn = time.monotonic()
            for tracker in self.session.trackers:
                tracker.log(row, step=len(self.session.history))
        self._checkpoint()
        names = ("train_loss", "validation_loss", f"validation_{self.stage.monitor}", "learning_rate")
        numbers = [f"{name.replace('_', ' ')} {row[name]:.4g}" for name in names if row.get(name) is not None]
        best = f" (best so far, epoch {self.best_epoch + 1})" if self.validates and better else ""
        self.log.info(
            "%s, epoch %d/%d: %s, %.1f clips/s%s",
            self.stage.name,
            self.epoch,
            self.stage.epochs,
            ", ".join(dict.fromkeys(numbers)),
            clips_per_second,
            best,
        )

    def _hand_on(self) -> None:
        """Put the weights that the stage keeps into the classifier, and note that the stage is done."""
        if self.keeps_best and self.best_epoch >= 0:
            self.engine.wait()  # until the first process has written them
            best = read_weights(self.run.best_file)
            self.engine.wait()  # until all have read them: the first one removes them
            load_weights(self.classifier, best, where=self.run.best_file)
            kept = self.best_epoch
        else:
            self.classifier.load_state_dict(self._kept_model().state_dict())
            kept = self.epoch - 1
        rows = [row for row in self.session.history if row["stage"] == self.stage.name]
        rows[kept]["kept"] = True
        self.log.info("stage %s: keeps the weights of epoch %d", self.stage.name, kept + 1)
        self.session.multiplier = self.step.multiplier
        _pass_on(self.session, self.number, self.clips, kept=rows[kept])

    def _checkpoint(self) -> None:
        self._refuse_what_is_not_finite()
        if self.engine.first:
            state = {
                "stage": self.number,
                "epoch": self.epoch,
                "batch": self.batch,
                "history": self.session.history,
                "multiplier": self.step.multiplier,
                "forgotten": sorted(self.session.forgotten),
                "classifier": self.classifier.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.step.scaler.state_dict(),
                "ema": self.ema.state_dict() if self.ema else None,
                "loss_sum": self.losses.sum,
                "best_score": self.best_score,
                "best_epoch": self.best_epoch,
                "schedule_start": self.schedule_start,
                "tables": self.tables,
            }
            write_state(self.run.checkpoint_file, state)

    def _restore(self, state: dict[str, Any], *, forget: Collection[Forgettable]) -> None:
        check_tables(self.run, self.stage, state.get("tables", {}))
        self.epoch, self.batch = state["epoch"], state["batch"]
        self.schedule_start = self.epoch if "schedule" in forget else state.get("schedule_start", 0)
        self.best_score, self.best_epoch = state["best_score"], state["best_epoch"]
        self.losses.sum = state["loss_sum"].to(self.engine.device)
        if "optimizer" not in forget:
            self.optimizer.load_state_dict(state["optimizer"])
        self.step.scaler.load_state_dict(state["scaler"])
        if self.ema:
            self.ema.load_state_dict(state["ema"])

    def _kept_model(self) -> Classifier:
        return cast(Classifier, self.ema.module) if self.ema else self.classifier

    def _stops_early(self) -> bool:
        patience = self.stage.early_stopping
        if not patience or self.batch or self.epoch - 1 - self.best_epoch < patience:
            return False
        self.log.info("stage %s: no better %s for %d epochs", self.stage.name, self.stage.monitor, patience)
        return True

    def _score(self, row: dict[str, Any]) -> float:
        """Return the monitored score of an epoch, higher is better."""
        value = row.get(f"validation_{self.stage.monitor}")
        if value is None:
            return float("-inf")
        return -value if self.stage.monitor == "loss" else float(value)

    def _shown(self) -> dict[str, float]:
        """Return what the progress bar shows: the loss, and the best score so far."""
        best = {} if self.best_epoch < 0 else {f"best {self.stage.monitor}": abs(self.best_score)}
        return {"loss": self.losses.shown, **best}

    def _learning_rate(self, batches: int) -> float:
        stage = self.stage
        start = self.schedule_start
        done = self.epoch - start + self.batch / batches
        mine = [self._score(row) for row in self.session.history if row["stage"] == stage.name]
        rate: float = self.schedule.rate(
            stage.optimizer.learning_rate, epoch=done, epochs=stage.epochs - start, scores=mine[start:]
        )
        warm = (done + 1 / batches) / stage.warmup_epochs if stage.warmup_epochs else 1.0
        return rate * min(1.0, warm)

    def _dataset(
        self, manifest: Manifest, augmentations: Sequence[Any], *, extra: Sequence[Any] = ()
    ) -> ClipDataset:
        recipe = self.session.recipe
        return ClipDataset(
            manifest, data=recipe.data, seed=recipe.seed, augmentations=augmentations, extra=extra
        )

    def _loader(self, dataset: ClipDataset) -> Loader:
        pin_memory = self.engine.device.type == "cuda"
        return Loader(dataset, self.session.recipe.data.workers, self.log.info, pin_memory=pin_memory)

    def _features(self) -> Features:
        """Let the training loader read kept features, and return what keeps them."""
        recipe, clips = self.session.recipe, self.loader.dataset
        features = Features(self.classifier, self._loader(clips), recipe=recipe, engine=self.engine)
        self.loader.dataset = FeatureDataset(clips, features)
        return features

    def _fill_features(self) -> None:
        """Compute the features of the training clips, each process its share, where the stage reads them."""
        if self.features is None:
            return
        dataset = cast(FeatureDataset, self.loader.dataset)
        mine = self.clips.rows[self.engine.rank :: self.engine.processes]
        try:
            self.features.fill([dataset.clips.fixed(Request(clip)) for clip in mine])
        finally:
            self.features.loader.close()
        self.engine.wait()  # no process reads before all have written

    def _class_weights(self) -> Tensor | None:
        if self.stage.class_weights is None:
            return None
        counts = self.loader.dataset.targets[self.clips.rows].sum(0)
        return balanced_class_weights(counts).to(self.engine.device)
