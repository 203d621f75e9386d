"""Draws are functions of seed and ids alone, and leave no trace in global state."""

# ruff: noqa: NPY002 - the global generators are what is looked at
from __future__ import annotations

import itertools
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from kikiwake.randomness import generator, key, seeded_globals, seeded_torch, torch_generator


def test_the_same_ids_draw_the_same_in_another_process() -> None:
    code = "from kikiwake.randomness import generator; print(generator(7, 'crop', 3).random(4).tolist())"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == str(generator(7, "crop", 3).random(4).tolist())


def test_streams_are_those_of_the_first_release() -> None:
    assert key(7, "crop", 3) == 0xC52B6D4509C4832D2F704F6E4E33B0E3
    assert generator(7, "crop", 3).integers(1 << 30, size=3).tolist() == [734441547, 563435101, 838740013]


def test_no_two_lists_of_ids_share_a_stream() -> None:
    lists = [
        (),
        (0,),
        (1,),
        ("0",),
        ("1",),
        (0, 1),
        (1, 0),
        ("0, 1",),
        ("01",),
        (0, "1"),
        ("0", 1),
        (-1,),
        (1 << 70,),
    ]
    keys = [key(seed, *ids) for seed, ids in itertools.product((0, 1, 2), lists)]
    assert len(set(keys)) == len(keys)


def test_numpy_integers_count_as_integers_and_fractions_are_refused() -> None:
    assert key(np.int64(7), np.uint8(3), np.str_("a")) == key(7, 3, "a")
    with pytest.raises(TypeError):
        key(7, 0.5)


def test_neighbouring_streams_are_independent() -> None:
    draws = np.stack([generator(0, index).standard_normal(2000) for index in range(50)])
    correlations = np.corrcoef(draws)[np.triu_indices(50, 1)]
    assert np.abs(correlations).max() < 5 / np.sqrt(2000)
    assert abs(draws.mean()) < 5 / np.sqrt(draws.size)


def test_torch_generators_differ_by_ids_and_leave_the_global_one_alone() -> None:
    before = torch.get_rng_state()
    one, same, other = (torch.rand(5, generator=torch_generator(1, "mix", at)) for at in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("fails", [False, True])
def test_seeded_torch_governs_dropout_and_restores_the_state(fails: bool) -> None:
    before = torch.get_rng_state()
    masks = []
    for step in (1, 1, 2):
        try:
            with seeded_torch(3, step, device=torch.device("cpu")):
                masks.append(torch.nn.functional.dropout(torch.ones(64)))
                if fails:
                    raise RuntimeError("the layer failed")
        except RuntimeError:
            assert fails
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("fails", [False, True])
def test_seeded_globals_govern_both_libraries_and_restore_them(fails: bool) -> None:
    random.seed(0)
    np.random.seed(0)
    expected = (random.random(), np.random.random())
    random.seed(0)
    np.random.seed(0)
    draws = []
    for clip in (1, 1, 2):
        try:
            with seeded_globals(5, clip):
                draws.append((random.random(), np.random.random()))
                if fails:
                    raise RuntimeError("the augmentation failed")
        except RuntimeError:
            assert fails
    assert draws[0] == draws[1]
    assert draws[0][0] != draws[2][0]
    assert draws[0][1] != draws[2][1]
    assert (random.random(), np.random.random()) == expected
