"""kikiwake's own training steps, a few at a time, to be timed."""

from __future__ import annotations

import time

from kikiwake._stage_clips import stage_clips
from kikiwake.classifier import build_classifier
from kikiwake.data import training_batches
from kikiwake.engine import engine
from kikiwake.recipe import Recipe
from kikiwake.run import logger_for, start_run
from kikiwake.stage import Session, StageRun


class Steps:
    """Takes steps of a recipe's first stage: loader, front end, augmentation, loss, optimizer, checks."""

    def __init__(self, recipe: Recipe) -> None:
        run = start_run(recipe, recipe.read_manifest())
        with engine(recipe.engine) as computer:
            classifier = build_classifier(recipe, classes=run.manifest.classes)
            classifier.network.to(memory_format=computer.memory_format)
            session = Session(run, computer, logger_for(run.folder), classifier, run.indices("train"), [])
            self.stage = StageRun(session, 0, stage_clips(run, recipe.stages[0]))
        self.epoch = 0
        self.clips_per_second(steps=2)

    def clips_per_second(self, *, steps: int) -> float:
        """Return clips/s from the first finished step to the last, loader workers already running."""
        stage = self.stage.stage
        batches = []
        while len(batches) <= steps:
            requests = self.stage.clips.requests(stage, seed=0, epoch=self.epoch)
            batches += training_batches(requests, batch_size=stage.batch_size)
            self.epoch += 1
        clips, started = 0, 0.0
        for number, batch in enumerate(self.stage.loader(batches[: steps + 1])):
            self.stage._take_step(batch, 1e-3)
            if number == 0:
                started = time.perf_counter()
            else:
                clips += len(batch.clips)
        return clips / (time.perf_counter() - started)

    def close(self) -> None:
        """End the loader's workers."""
        self.stage.loader.close()
