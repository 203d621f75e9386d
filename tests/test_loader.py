"""Loaders give the same batches with any number of workers, and survive them."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from kikiwake import loader as loading
from kikiwake.data import ClipDataset, Request, training_requests
from kikiwake.errors import AudioError, TrainingError
from kikiwake.loader import Loader
from toys import toy_dataset


@pytest.fixture
def dataset(tmp_path: Path) -> ClipDataset:
    return toy_dataset(tmp_path)


def test_a_batch_is_the_same_whoever_makes_it(dataset: ClipDataset) -> None:
    requests = training_requests(range(12), seed=5, stage="train", epoch=0)
    batches = [requests[:4], requests[4:8], requests[8:]]
    here = list(Loader(dataset, 0, print)(batches))
    for workers in (1, 2):
        loader = Loader(dataset, workers, print)
        for own, theirs in zip(here, loader(batches), strict=True):
            assert all(torch.equal(a, b) for a, b in zip(own, theirs, strict=True))
        # The workers live on and serve another order.
        (again,) = loader([batches[2]])
        assert torch.equal(again.inputs, here[2].inputs)
        loader.close()


def test_an_unreadable_recording_keeps_its_own_error(dataset: ClipDataset) -> None:
    path = dataset.reader.manifest[3].path
    path.write_bytes(b"not audio")
    loader = Loader(dataset, 1, print)
    with pytest.raises(AudioError, match=path.name):
        list(loader([[Request(3, start=0, frames=100)]]))
    loader.close()


def test_a_killed_worker_is_replaced_and_no_batch_is_lost(dataset: ClipDataset) -> None:
    said: list[str] = []
    batches = [[Request(k % 24, ("train", 0, k))] for k in range(60)]
    expected = [batch.inputs for batch in Loader(dataset, 0, print)(batches)]
    loader = Loader(dataset, 2, said.append)
    seen = []
    for number, batch in enumerate(loader(batches)):
        seen.append(batch.inputs)
        if number == 5:
            assert loader._loader is not None
            worker = loader._loader._iterator._workers[0]  # type: ignore[union-attr]
            os.kill(worker.pid, signal.SIGKILL)
    loader.close()
    assert all(torch.equal(a, b) for a, b in zip(seen, expected, strict=True))
    assert any("a worker died" in line for line in said)


def test_a_hanging_worker_is_noticed_and_given_up_after_a_few_times(
    dataset: ClipDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(loading, "RESTARTS", 1)
    monkeypatch.setattr(ClipDataset, "__getitem__", lambda *_: threading.Event().wait())
    said: list[str] = []
    started = time.monotonic()
    with pytest.raises(TrainingError, match="failed 2 times: no batch came"):
        list(Loader(dataset, 1, said.append)([[Request(0)]]))
    assert time.monotonic() - started < 60
    assert len(said) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers are not forked and share nothing")
def test_nothing_that_workers_share_is_looked_at_by_the_garbage_collector(dataset: ClipDataset) -> None:
    before = gc.get_freeze_count()
    shared = [dataset]
    loaders = [Loader(dataset, 1, print), Loader(dataset, 1, print)]
    for loader in loaders:
        list(loader([[Request(0, ("train", 0, 0))]]))
    assert gc.get_freeze_count() > before
    assert not any(found is shared for found in gc.get_objects())
    for loader in loaders:
        loader.close()
    assert gc.get_freeze_count() == 0
    assert any(found is shared for found in gc.get_objects())
