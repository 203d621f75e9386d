from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

from kikiwake.errors import TrainingError
from kikiwake.losses import balanced_class_weights, loss_function


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(6, 4, generator=generator)
    targets = torch.rand(6, 4, generator=generator)
    return logits, targets / targets.sum(1, keepdim=True), torch.rand(6, generator=generator)


def test_cross_entropy_by_hand():
    # softmax of (ln 3, 0) is (3/4, 1/4).
    logits = torch.tensor([[math.log(3), 0.0], [math.log(3), 0.0]])
    targets = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    found = loss_function("cross_entropy").per_clip(logits, targets)
    expected = [math.log(4 / 3), 0.5 * math.log(4 / 3) + 0.5 * math.log(4)]
    assert found.tolist() == pytest.approx(expected, rel=1e-6)


def test_binary_cross_entropy_by_hand():
    # sigmoid(ln 3) = 3/4, sigmoid(0) = 1/2; a clip's loss is the mean over its classes.
    logits = torch.tensor([[math.log(3), 0.0]])
    targets = torch.tensor([[1.0, 0.0]])
    found = loss_function("binary_cross_entropy").per_clip(logits, targets)
    assert found.item() == pytest.approx((math.log(4 / 3) + math.log(2)) / 2, rel=1e-6)


def test_clip_weights_make_a_weighted_mean():
    logits = torch.tensor([[math.log(3), 0.0], [math.log(3), 0.0]])
    targets = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    loss = loss_function("cross_entropy")
    found = loss(logits, targets, torch.tensor([3.0, 1.0]))
    assert found.item() == pytest.approx((3 * math.log(4 / 3) + math.log(4)) / 4, rel=1e-6)


def test_a_batch_without_weight_costs_nothing_and_has_a_gradient():
    logits = torch.zeros(2, 3, requires_grad=True)
    loss = loss_function("cross_entropy")(logits, torch.eye(3)[:2], torch.zeros(2))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_label_smoothing_of_cross_entropy_spreads_over_all_classes():
    logits = torch.tensor([[math.log(3), 0.0]])
    found = loss_function("cross_entropy", label_smoothing=0.2).per_clip(logits, torch.tensor([[1.0, 0.0]]))
    assert found.item() == pytest.approx(0.9 * math.log(4 / 3) + 0.1 * math.log(4), rel=1e-6)


def test_label_smoothing_of_binary_cross_entropy_moves_targets_towards_one_half():
    logits = torch.tensor([[math.log(3)]])
    loss = loss_function("binary_cross_entropy", label_smoothing=0.2)
    assert loss.per_clip(logits, torch.tensor([[1.0]])).item() == pytest.approx(
        0.9 * math.log(4 / 3) + 0.1 * math.log(4), rel=1e-6
    )
    assert loss.per_clip(logits, torch.tensor([[0.0]])).item() == pytest.approx(
        0.1 * math.log(4 / 3) + 0.9 * math.log(4), rel=1e-6
    )


def test_cross_entropy_equals_torch_with_equal_clip_weights(batch):
    logits, targets, _ = batch
    factors = torch.tensor([0.5, 1.0, 2.0, 3.0])
    loss = loss_function("cross_entropy", label_smoothing=0.1, class_weights=factors)
    expected = functional.cross_entropy(logits, targets, weight=factors, label_smoothing=0.1)
    assert loss(logits, targets, torch.ones(6)).item() == pytest.approx(expected.item(), rel=1e-6)


def test_binary_cross_entropy_equals_torch_with_equal_clip_weights(batch):
    logits, targets, _ = batch
    factors = torch.tensor([0.5, 1.0, 2.0, 3.0])
    loss = loss_function("binary_cross_entropy", class_weights=factors)
    expected = functional.binary_cross_entropy_with_logits(logits, targets, weight=factors)
    assert loss(logits, targets, torch.full((6,), 0.3)).item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("name", ["cross_entropy", "binary_cross_entropy"])
def test_half_precision_logits_are_computed_in_single(name, batch):
    logits, targets, weights = batch
    loss = loss_function(name)
    found = loss(logits.bfloat16(), targets, weights)
    assert found.dtype == torch.float32
    assert found.item() == loss(logits.bfloat16().float(), targets, weights).item()


@pytest.mark.parametrize("name", ["cross_entropy", "binary_cross_entropy"])
def test_gradient_is_right(name, batch):
    logits, targets, weights = batch
    loss = loss_function(name, label_smoothing=0.1)
    leaf = logits.clone().requires_grad_()
    loss(leaf, targets, weights).backward()
    step = torch.zeros_like(logits)
    step[2, 1] = 1e-2
    slope = (loss(logits + step, targets, weights) - loss(logits - step, targets, weights)) / 2e-2
    assert leaf.grad is not None
    assert leaf.grad[2, 1].item() == pytest.approx(slope.item(), abs=2e-5)


def test_balanced_weights_by_hand():
    # 40 clips, 2 classes: 40 / (2 x 30) and 40 / (2 x 10).
    assert balanced_class_weights([30, 10]).tolist() == pytest.approx([2 / 3, 2.0])


def test_balanced_weights_equal_scikit_learn():
    labels = np.repeat([0, 1, 2], [5, 9, 2])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert balanced_class_weights(np.bincount(labels)).numpy() == pytest.approx(expected)


def test_a_class_without_clips_stays_neutral():
    assert balanced_class_weights([30, 0, 10]).tolist() == pytest.approx([2 / 3, 1.0, 2.0])


@pytest.mark.parametrize("counts", [[0, 0], [-1, 2], [math.nan, 1], []])
def test_impossible_counts_are_refused(counts):
    with pytest.raises(TrainingError, match="class counts"):
        balanced_class_weights(counts)


def test_shapes_that_do_not_fit_are_refused():
    loss = loss_function("cross_entropy")
    with pytest.raises(TrainingError, match=r"\[clips, classes\].*\(\(2, 3\), \(2,\)\)"):
        loss.per_clip(torch.zeros(2, 3), torch.zeros(2))
    with pytest.raises(TrainingError, match="one weight a clip"):
        loss(torch.zeros(2, 3), torch.zeros(2, 3), torch.ones(3))


def test_unknown_names_and_values_are_refused():
    with pytest.raises(TrainingError, match="hinge"):
        loss_function("hinge")  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match=r"label_smoothing.*1\.5"):
        loss_function("cross_entropy", label_smoothing=1.5)
