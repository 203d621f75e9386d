"""How a window becomes a score: what of the recording is heard for it, and what of the output counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from kikiwake.classifier import Classifier
from kikiwake.errors import RecipeError
from kikiwake.models._output import Output
from kikiwake.recipe import Recipe


class Judged(NamedTuple):
    """Scores of a batch of windows, of each row of them. Shape: `[B, R, K]`, R rows a window."""

    logits: Tensor
    probabilities: Tensor


@dataclass(frozen=True)
class Judge:
    """Scores windows of `window` samples.

    `context`: samples before and after a window that the network hears too. `shifts`: by how many samples
    what it hears is moved, and what each hearing counts; their probabilities are averaged. `framewise`: a
    window's score is the maximum of its own frames, those of the context left out; otherwise it is what the
    network says of all that it hears. `row`: samples of a row, where a window has several; else `window`.
    """

    window: int
    context: int = 0
    shifts: tuple[tuple[int, float], ...] = ((0, 1.0),)
    framewise: bool = False
    row: int | None = None

    @property
    def plain(self) -> bool:
        """Whether a window is heard once, by itself, and judged as a whole."""
        return self == Judge(self.window)

    @property
    def margin(self) -> int:
        """Samples before and after a window that are read."""
        return self.context + max(abs(shift) for shift, _ in self.shifts)

    @property
    def stretch(self) -> int:
        """Samples that are read for a window."""
        return self.window + 2 * self.margin

    @property
    def heard(self) -> int:
        """Samples that the network hears at once."""
        return self.window + 2 * self.context

    @property
    def rows(self) -> int:
        """Rows of a window."""
        return 1 if self.row is None else -(-self.window // self.row)

    def __call__(
        self,
        classifier: Classifier,
        stretches: Tensor,
        lengths: Tensor,
        *,
        network: Callable[[Tensor, Tensor], Output] | None = None,
    ) -> Judged:
        """Score windows. `network`: takes the place of the classifier, whose probabilities are used.

        Shape: stretches `[B, C, stretch]`, lengths `[B]` (samples before padding) -> `[B, R, K]`.
        """
        network = network or classifier
        if self.plain:
            logits = network(stretches, lengths).clipwise[:, None].float()
            return Judged(logits, classifier.probabilities(logits))
        logits_sum: Tensor | None = None
        probabilities_sum: Tensor | None = None
        for shift, weight in self.shifts:
            first = self.margin - self.context + shift
            heard = stretches[..., first : first + self.heard].contiguous()
            output = network(heard, (lengths - first).clamp(1, self.heard))
            logits = self._rows_of(output, shift=shift, multilabel=classifier.multilabel)
            probabilities = weight * classifier.probabilities(logits)
            logits_sum = weight * logits if logits_sum is None else logits_sum + weight * logits
            probabilities_sum = (
                probabilities if probabilities_sum is None else probabilities_sum + probabilities
            )
        assert logits_sum is not None
        assert probabilities_sum is not None
        return Judged(logits_sum, probabilities_sum)

    def _rows_of(self, output: Output, *, shift: int, multilabel: bool) -> Tensor:
        """Return the logits of each row: the largest of its frames, or those of all that was heard."""
        # A stage of cross entropy is validated by what it learns, which is the clip and not its frames.
        if not self.framewise or not multilabel:
            return output.clipwise[:, None].float()
        assert output.framewise is not None
        frames = output.framewise.float()
        scale = frames.shape[-1] / self.heard
        begin, length = self.context - shift, self.row or self.window
        rows = []
        for row in range(self.rows):
            start = round((begin + row * length) * scale)
            stop = round(min(begin + (row + 1) * length, begin + self.window) * scale)
            start = min(max(0, start), frames.shape[-1] - 1)
            rows.append(frames[..., start : max(start + 1, stop)].amax(-1))
        return torch.stack(rows, 1)


def judge_of(
    recipe: Recipe, *, window: int, frame_seconds: float | None = None, shifted: bool = True
) -> Judge:
    """Return how the recipe has windows of `window` samples scored, in rows of `frame_seconds`.

    `shifted`: False hears every window once, whatever the recipe says.

    Raises:
        RecipeError: rows are asked for of a network that judges no frames, or do not fill the window.
    """
    section, rate = recipe.predict, recipe.data.sample_rate
    moved = section.shifts if shifted else []
    total = sum(shift.weight for shift in moved)
    shifts = tuple((round(shift.seconds * rate), shift.weight / total) for shift in moved)
    row = None
    if frame_seconds is not None:
        row = max(1, round(frame_seconds * rate))
        if not section.framewise:
            raise RecipeError(
                "rows that are shorter than a window need a network that judges frames",
                where="frame_seconds",
                value=frame_seconds,
                remedy="train the model sed with predict.framewise: true, or leave it out",
            )
        if window % row:
            raise RecipeError(
                f"rows of {frame_seconds:g} s, {row} samples at {rate} Hz, do not fill windows of "
                f"{window / rate:g} s, {window} samples",
                where="frame_seconds",
                value=frame_seconds,
                remedy=f"give {lengths_near(row, part_of=window, sample_rate=rate)}",
            )
    return Judge(window, round(section.context_seconds * rate), shifts or ((0, 1.0),), section.framewise, row)


def lengths_near(row: int, *, part_of: int, sample_rate: int) -> str:
    """Return the lengths next to `row` samples that divide `part_of` samples, in seconds.

    >>> lengths_near(1102, part_of=110250, sample_rate=22050)
    '0.047619 or 0.0510204'
    """
    shorter = next(length for length in range(min(row, part_of), 0, -1) if not part_of % length)
    longer = next(length for length in range(min(row, part_of), part_of + 1) if not part_of % length)
    return " or ".join(f"{length / sample_rate:.6g}" for length in sorted({shorter, longer}))
