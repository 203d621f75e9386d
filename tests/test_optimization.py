"""One optimizer step does what its settings say, by numbers worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kikiwake.classifier import Classifier
from kikiwake.data import Batch
from kikiwake.engine import Engine
from kikiwake.models._output import Output
from kikiwake.optimization import Step, TrainingForward, build_ema, build_optimizer
from kikiwake.recipe import Optimizer, Stage

CPU = Engine(torch.device("cpu"), None)


class Means(nn.Module):
    """A front end of one number a channel: its mean."""

    def forward(self, waveform: Tensor, *, lengths: Tensor | None = None) -> Tensor:
        return waveform.mean(-1)


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 2)
        nn.init.zeros_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)

    def forward(self, features: Tensor) -> Output:
        return Output(self.layer(features))


def classifier() -> Classifier:
    return Classifier(Means(), Linear(), classes=["a", "b"], sample_rate=8, channels=1, multilabel=False)


def batch(*, weights: list[float]) -> Batch:
    """Clips of mean 1, the first of class a, the others of class b."""
    count = len(weights)
    targets = torch.tensor([[1.0, 0.0]] + [[0.0, 1.0]] * (count - 1))
    waveform = torch.ones(count, 1, 8)
    return Batch(
        waveform,
        targets,
        torch.tensor(weights),
        torch.full((count,), 8),
        torch.arange(count),
        torch.full((count,), -1),
    )


def step(model: Classifier, *, class_weights: Tensor | None = None, **settings: Any) -> Step:
    optimizer = Optimizer(name="sgd", learning_rate=1.0)
    stage = Stage(epochs=1, batch_size=4, optimizer=optimizer, **settings)
    return Step(
        model,
        engine=CPU,
        stage=stage,
        seed=0,
        class_weights=class_weights,
        augmentations=[],
        optimizer=build_optimizer(optimizer, model),
        multiplier=1,
        say=print,
    )


def weight_after(model: Classifier, taken: Step, examples: Batch) -> list[float]:
    taken(examples, draw=("train", 0, 0, 0), learning_rate=1.0)
    layer: Any = model.network
    values: list[float] = layer.layer.weight[:, 0].tolist()
    return values


def test_a_step_goes_down_the_mean_gradient() -> None:
    model = classifier()
    # softmax is (1/2, 1/2): the gradient for class a is the mean of (p - y) = (-1/2 + 3 * 1/2) / 4 = 1/4.
    assert weight_after(model, step(model), batch(weights=[1, 1, 1, 1])) == pytest.approx([-0.25, 0.25])


def test_clip_weights_count_alike_whole_and_in_parts() -> None:
    weights = [1.0, 1.0, 0.1, 0.1]
    # (-1/2 * 1 + 1/2 * 1.2) / 2.2
    expected = -0.1 / 2.2
    for accumulation in (1, 2, 4):
        model = classifier()
        found = weight_after(model, step(model, accumulation=accumulation), batch(weights=weights))
        assert found == pytest.approx([expected, -expected], rel=1e-5)


def test_class_weights_make_a_rare_class_count_more() -> None:
    model = classifier()
    taken = step(model, class_weights=torch.tensor([3.0, 1.0]))
    # Three times the first clip against three others: nothing is left.
    assert weight_after(model, taken, batch(weights=[1, 1, 1, 1])) == pytest.approx([0, 0], abs=1e-6)


def test_gradients_are_clipped_to_their_norm() -> None:
    model = classifier()
    taken = step(model, gradient_clip=0.1)
    # Weight and bias of both classes have gradients of +-1/4: each is left 0.1 / 2.
    found = weight_after(model, taken, batch(weights=[1, 1, 1, 1]))
    assert found == pytest.approx([-0.05, 0.05], rel=1e-4)


def test_label_smoothing_draws_targets_together() -> None:
    plain, smooth = classifier(), classifier()
    examples = batch(weights=[1, 1, 1, 1])
    hard = weight_after(plain, step(plain), examples)
    soft = weight_after(smooth, step(smooth, label_smoothing=0.2), examples)
    assert soft == pytest.approx([0.8 * value for value in hard])


class Framed(nn.Module):
    """Says of any clip that its classes are as likely, and of its frames what `frames` `[K, N]` says."""

    def __init__(self, frames: Tensor) -> None:
        super().__init__()
        self.clipwise = nn.Parameter(torch.zeros(2))
        self.frames = nn.Parameter(frames)

    def forward(self, features: Tensor) -> Output:
        count = len(features)
        return Output(self.clipwise.expand(count, -1), self.frames.expand(count, -1, -1))


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_loudest_frame_of_each_class_has_its_share_of_the_loss(share: float) -> None:
    # Loudest are log 3 of class a, in the second frame, and 0 of class b, in the last: softmax (3/4, 1/4).
    network = Framed(torch.tensor([[-1.0, math.log(3), -2.0], [-3.0, -1.0, 0.0]]))
    model = Classifier(Means(), network, classes=["a", "b"], sample_rate=8, channels=1, multilabel=False)

    loss = step(model, framewise_loss=share)(batch(weights=[1]), draw=("train", 0, 0, 0), learning_rate=1.0)

    # The clip is of class a: log 2 by the clip's logits, log 4/3 by the loudest frames.
    assert float(loss) == pytest.approx((1 - share) * math.log(2) + share * math.log(4 / 3))
    # A step of 1 down the gradient (p - y) of each: only what was loudest moves.
    assert network.clipwise.tolist() == pytest.approx([(1 - share) / 2, -(1 - share) / 2])
    moved = torch.tensor([[0, 0.25 * share, 0], [0, 0, -0.25 * share]])
    before = torch.tensor([[-1.0, math.log(3), -2.0], [-3.0, -1.0, 0.0]])
    torch.testing.assert_close(network.frames.detach() - before, moved)


def test_the_average_forgets_the_start_quickly_and_then_moves_by_its_decay() -> None:
    model = classifier()
    layer: Any = model.network
    average = build_ema(model, 0.5)
    layer.layer.weight.data.fill_(1.0)
    average.update_parameters(model)  # the first update takes the weights as they are
    layer.layer.weight.data.fill_(3.0)
    average.update_parameters(model)  # (1 + 1) / (10 + 1) of the old is kept
    kept: Any = average.module.network
    assert kept.layer.weight[0].item() == pytest.approx(3 - 2 * 2 / 11)
    for _ in range(100):
        average.update_parameters(model)
    layer.layer.weight.data.fill_(5.0)
    average.update_parameters(model)
    assert kept.layer.weight[0].item() == pytest.approx(4.0, abs=1e-4)


@pytest.mark.parametrize(("decay_vectors", "expected"), [(False, 1.0), (True, 0.9)])
def test_biases_are_decayed_only_when_asked(decay_vectors: bool, expected: float) -> None:
    model = classifier()
    layer: Any = model.network
    layer.layer.bias.data.fill_(1.0)
    section = Optimizer(name="sgd", learning_rate=1.0, weight_decay=0.1, decay_vectors=decay_vectors)
    optimizer = build_optimizer(section, model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert layer.layer.bias[0].item() == pytest.approx(expected)


def test_an_extra_spectrogram_augmentation_changes_the_examples_that_ask_for_it() -> None:
    class Added:
        level = "spectrogram"

        def __init__(self, value: float) -> None:
            self.value = value

        def __call__(self, features: Tensor, *, rng: object) -> Tensor:
            return features + self.value

    model = classifier()
    forward = TrainingForward(
        model,
        [],
        extra=[Added(1.0), Added(5.0)],
        seed=0,
        memory_format=torch.contiguous_format,
        from_features=False,
    )
    model.network.layer.weight.data.fill_(1.0)
    given = batch(weights=[1, 1, 1])
    output, *_ = forward(
        given.inputs, given.lengths, given.targets, given.weights, torch.tensor([1, -1, 0]), ()
    )
    assert output.clipwise[:, 0].tolist() == [6.0, 1.0, 2.0]
