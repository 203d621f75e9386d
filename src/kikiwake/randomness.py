"""Counter-based randomness: every draw is a function of a seed and of what it is drawn for.

No state is carried from one draw to the next, so a resumed run draws what the undisturbed run would have
drawn, whatever the number of workers (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
"""

from __future__ import annotations

import operator
import random
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def key(seed: int, *ids: int | str, bits: int = 128) -> int:
    """Return the integer of `bits` bits that names the stream of `seed` and `ids`.

    Types count: `key(0, 1)` and `key(0, "1")` differ, and no two lists of ids share a spelling. An integer of
    numpy counts as the same integer of Python.
    """
    plain = [str(each) if isinstance(each, str) else operator.index(each) for each in (seed, *ids)]
    digest = blake2b(repr(tuple(plain)).encode(), digest_size=bits // 8)
    return int.from_bytes(digest.digest(), "little")


def generator(seed: int, *ids: int | str) -> np.random.Generator:
    """Return a numpy generator for `ids`, independent of every other ids' generator.

    >>> bool(generator(7, "crop", 3).random() == generator(7, "crop", 3).random())
    True
    """
    return np.random.Generator(np.random.Philox(key=key(seed, *ids)))


def torch_generator(seed: int, *ids: int | str) -> torch.Generator:
    """Return a torch generator on the CPU for `ids`."""
    import torch

    return torch.Generator().manual_seed(key(seed, *ids, bits=56))


@contextmanager
def seeded_torch(seed: int, *ids: int | str, device: torch.device) -> Iterator[None]:
    """Seed torch's own generators inside the block, for layers that draw by themselves (dropout).

    The generators' states outside the block are untouched.
    """
    import torch

    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(key(seed, *ids, bits=56))
        yield


@contextmanager
def seeded_globals(seed: int, *ids: int | str) -> Iterator[None]:
    """Seed `random` and `numpy.random` inside the block, for libraries that know no other way."""
    python_state = random.getstate()
    numpy_state = np.random.get_state()  # noqa: NPY002 - the global state is what such libraries use
    random.seed(key(seed, *ids))
    np.random.seed(key(seed, *ids, "numpy", bits=32))  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
