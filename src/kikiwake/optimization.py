"""One optimizer step, exactly repeatable: features, augmentations, network, loss, gradients, update."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from kikiwake.classifier import Classifier
from kikiwake.data import Batch
from kikiwake.devices import out_of_memory
from kikiwake.engine import Engine
from kikiwake.errors import TrainingError
from kikiwake.losses import loss_function
from kikiwake.models._output import Output
from kikiwake.randomness import generator, seeded_torch
from kikiwake.recipe import Optimizer, Stage

Draw = tuple[int | str, ...]


class TrainingForward(nn.Module):
    """The classifier's forward pass as training needs it: features are augmented before the network.

    `augmentations`: parts of the levels "spectrogram" and "batch", applied in order. `extra`: the stage's
    extra augmentations; those of level "spectrogram" change the examples that ask for them.
    `from_features`: the inputs are features already.
    """

    def __init__(
        self,
        classifier: Classifier,
        augmentations: Sequence[Any],
        *,
        extra: Sequence[Any] = (),
        seed: int,
        memory_format: torch.memory_format,
        from_features: bool,
    ) -> None:
        super().__init__()
        self.memory_format = memory_format
        self.classifier = classifier
        self.augmentations = list(augmentations)
        self.extra = list(extra)
        self.seed = seed
        self.from_features = from_features

    def forward(
        self,
        inputs: Tensor,
        lengths: Tensor,
        targets: Tensor,
        weights: Tensor,
        extra: Tensor,
        draw: Draw,
    ) -> tuple[Output, Tensor, Tensor]:
        """Return logits with the targets and weights that belong to them after mixing.

        Shape: inputs `[B, C, T]` or features; clipwise logits and targets `[B, K]`; lengths, weights and
        extra `[B]`.
        """
        features = inputs if self.from_features else self.classifier.frontend(inputs, lengths=lengths)
        for kind, augmentation in enumerate(self.extra):
            rows = (extra == kind).nonzero()[:, 0].to(features.device)
            if augmentation.level == "spectrogram" and len(rows):
                rng = generator(self.seed, "extra", kind, *draw)
                features = features.index_copy(0, rows, augmentation(features[rows], rng=rng))
        for position, augmentation in enumerate(self.augmentations):
            rng = generator(self.seed, "augmentation", position, *draw)
            if augmentation.level == "batch":
                features, targets, weights = augmentation(features, targets=targets, weights=weights, rng=rng)
            else:
                features = augmentation(features, rng=rng)
        if features.ndim == 4:
            features = features.contiguous(memory_format=self.memory_format)
        return self.classifier.network(features), targets, weights


class Step:
    """Takes optimizer steps for one stage.

    `multiplier`: a batch is computed in `stage.accumulation * multiplier` parts; it doubles whenever memory
    runs out, which `say` tells the user. `from_features`: batches hold features in place of waveforms.
    """

    def __init__(
        self,
        classifier: Classifier,
        *,
        engine: Engine,
        stage: Stage,
        seed: int,
        class_weights: Tensor | None,
        augmentations: Sequence[Any],
        extra: Sequence[Any] = (),
        optimizer: torch.optim.Optimizer,
        multiplier: int,
        say: Callable[..., None],
        from_features: bool = False,
    ) -> None:
        self.classifier = classifier
        self.engine = engine
        self.stage = stage
        self.seed = seed
        self.loss = loss_function(
            stage.loss, label_smoothing=stage.label_smoothing, class_weights=class_weights
        )
        self.optimizer = optimizer
        self.multiplier = multiplier
        self.say = say
        self.scaler = torch.amp.GradScaler(engine.device.type, enabled=engine.scales_loss)
        forward = TrainingForward(
            classifier,
            augmentations,
            extra=extra,
            seed=seed,
            memory_format=engine.memory_format,
            from_features=from_features,
        )
        self.forward = engine.wrap(forward)

    def __call__(self, batch: Batch, *, draw: Draw, learning_rate: float) -> Tensor:
        """Update the weights once and return the batch's loss, a scalar on the device.

        `draw` names the random streams of this step.

        Raises:
            TrainingError: even one clip at a time takes more memory than there is.
        """
        self.classifier.train()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        statistics = [buffer.clone() for buffer in self.classifier.buffers()]
        while True:
            parts = self.stage.accumulation * self.multiplier
            try:
                loss = self._gradients(batch, draw=draw, parts=parts)
                break
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                self._halve(len(batch.clips), parts, error)
                for buffer, before in zip(self.classifier.buffers(), statistics, strict=True):
                    buffer.copy_(before)  # what batch norms saw in the attempt that failed
        if self.stage.gradient_clip:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.classifier.parameters(), self.stage.gradient_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return loss

    def _gradients(self, batch: Batch, *, draw: Draw, parts: int) -> Tensor:
        """Leave the batch's mean gradients in the parameters and return its loss."""
        total = torch.zeros((), device=self.engine.device)
        whole = np.mean(self.engine.gather(float(batch.weights.sum())))
        pieces = [Batch(*piece) for piece in zip(*(tensor.chunk(parts) for tensor in batch), strict=True)]
        for number, piece in enumerate(pieces):
            waits = self.engine.processes > 1 and number < len(pieces) - 1
            with self.forward.no_sync() if waits else nullcontext():  # type: ignore[operator]
                # A piece's loss is its weighted mean: it counts as much as the weights it brings.
                loss = self._loss(piece, (*draw, number)) * (float(piece.weights.sum()) / whole)
                self.scaler.scale(loss).backward()
            total += loss.detach()
        return total

    def _halve(self, clips: int, parts: int, error: Exception) -> None:
        """Cut batches into twice as many parts, or give up where that is not possible."""
        at_once = math.ceil(clips / parts)
        if at_once == 1 or self.engine.processes > 1:
            raise TrainingError(
                f"out of memory with {at_once} clips at a time",
                where=f"stage {self.stage.name}",
                remedy="lower batch_size or the size of the front end's images, or set engine.precision=bf16",
            ) from error
        self.optimizer.zero_grad(set_to_none=True)
        if self.engine.device.type == "cuda":
            torch.cuda.empty_cache()
        self.multiplier *= 2
        self.say(
            "out of memory with %d clips at a time: from now on %d, accumulated over %d parts",
            at_once,
            math.ceil(at_once / 2),
            2 * parts,
        )

    def _loss(self, piece: Batch, draw: Draw) -> Tensor:
        device = self.engine.device
        on_device = [tensor.to(device, non_blocking=True) for tensor in piece[:4]]
        inputs, targets, weights, lengths = on_device
        with seeded_torch(self.seed, "layers", *draw, device=device):
            with self.engine.autocast():
                output, targets, weights = self.forward(inputs, lengths, targets, weights, piece.extra, draw)
            loss: Tensor = self.loss(output.clipwise.float(), targets, weights)
            if share := self.stage.framewise_loss:
                loudest = output.framewise.float().amax(-1)
                loss = (1 - share) * loss + share * self.loss(loudest, targets, weights)
        return loss


def build_optimizer(section: Optimizer, model: nn.Module) -> torch.optim.Optimizer:
    """Build the optimizer of the parameters that are not frozen."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    vector_decay = section.weight_decay if section.decay_vectors else 0.0
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": section.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": vector_decay},
    ]
    groups = [group for group in groups if group["params"]]
    rate = section.learning_rate
    if section.name == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=section.momentum or 0.0, nesterov=section.nesterov)
    if section.name == "rmsprop":
        return torch.optim.RMSprop(groups, lr=rate, momentum=section.momentum or 0.0)
    kind = torch.optim.AdamW if section.name == "adamw" else torch.optim.Adam
    return kind(groups, lr=rate, betas=section.betas or (0.9, 0.999))


def build_ema(model: Classifier, decay: float) -> AveragedModel:
    """Return an exponential moving average of `model`, batch-norm statistics included.

    The first steps use a shorter memory, (1 + t) / (10 + t), so that the random start is forgotten.
    """

    @torch.no_grad()
    def average(averaged: Any, current: Any, steps: Tensor | int) -> None:
        done = int(steps)
        if torch.is_floating_point(averaged[0]):
            torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + done) / (10 + done)))
        else:
            torch._foreach_copy_(averaged, current)

    return AveragedModel(model, multi_avg_fn=average, use_buffers=True)
