"""Batches are functions of their requests; loaders survive their workers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from kikiwake import data
from kikiwake.augmentations.speed import Speed
from kikiwake.augmentations.waveform import Waveform
from kikiwake.cache import ArrayCache
from kikiwake.data import ClipDataset, Request, fill, training_batches, training_requests, windows
from kikiwake.errors import AudioError
from kikiwake.frontends.mel import Mel
from kikiwake.manifest import Clip, Manifest
from toys import toy_dataset, toy_recipe


@pytest.fixture
def dataset(tmp_path: Path) -> ClipDataset:
    return toy_dataset(tmp_path)


def test_an_epoch_draws_each_clip_once_in_an_order_of_its_own() -> None:
    first = training_requests(range(10, 30), seed=1, stage="a", epoch=0)
    second = training_requests(range(10, 30), seed=1, stage="a", epoch=1)
    assert sorted(request.clip for request in first) == list(range(10, 30))
    assert [r.clip for r in first] != [r.clip for r in second]
    assert first == training_requests(range(10, 30), seed=1, stage="a", epoch=0)
    assert len({request.draw for request in first + second}) == 40


def test_balanced_drawing_gives_rare_clips_their_chance() -> None:
    chances = np.array([1.0] + [1 / 99] * 99)  # one clip of a class, 99 of the other
    drawn = [
        r.clip
        for e in range(50)
        for r in training_requests(range(100), seed=0, stage="", epoch=e, chances=chances)
    ]
    assert 0.45 < Counter(drawn)[0] / len(drawn) < 0.55


def test_extra_examples_are_drawn_beside_the_clips_and_mixed_among_them() -> None:
    plain = training_requests(range(10), seed=1, stage="a", epoch=0)
    more = training_requests(range(10), seed=1, stage="a", epoch=0, extra=0.4, kinds=2)
    assert sorted(r.draw for r in more if r.extra < 0) == sorted(r.draw for r in plain)
    extra = [request for request in more if request.extra >= 0]
    assert sorted(request.extra for request in extra) == [0, 0, 1, 1]
    assert len({request.clip for request in extra}) == 4
    assert len({request.draw for request in more}) == 14
    assert [request.extra for request in more] != sorted(request.extra for request in more)
    assert len(training_requests(range(10), seed=1, stage="a", epoch=0, extra=2.5, kinds=1)) == 35


def test_an_extra_waveform_augmentation_changes_extra_examples_alone(tmp_path: Path) -> None:
    class Doubled:
        level = "waveform"

        def __call__(self, waveform: np.ndarray, **_: object) -> np.ndarray:
            return 2 * waveform

    dataset = toy_dataset(tmp_path)
    dataset.augmentations, dataset.extra = [], [Doubled(), Doubled()]
    plain, changed = (
        dataset[[Request(0, start=0, frames=4000)]],
        dataset[[Request(0, ("s", 0, "extra", 0), extra=1)]],
    )
    assert plain.extra.tolist() == [-1]
    assert changed.extra.tolist() == [1]
    assert changed.inputs.abs().max() > 1.5 * plain.inputs.abs().max()


def test_batches_leave_out_an_incomplete_last_one_but_keep_an_only_one() -> None:
    requests = [Request(k) for k in range(10)]
    assert [len(batch) for batch in training_batches(requests, batch_size=4)] == [4, 4]
    assert [len(batch) for batch in training_batches(requests, batch_size=16)] == [10]


def test_processes_share_a_batch_without_overlap() -> None:
    requests = [Request(k) for k in range(8)]
    shares = [training_batches(requests, batch_size=4, rank=rank, processes=2) for rank in range(2)]
    for first, second in zip(*shares, strict=True):
        assert len(first) == len(second) == 2
    assert sorted(r.clip for share in shares for batch in share for r in batch) == list(range(8))


@pytest.mark.parametrize(
    ("total", "expected"),
    [
        (0, [(0, 0)]),
        (3, [(0, 3)]),
        (5, [(0, 5)]),
        (6, [(0, 5), (3, 3)]),
        (8, [(0, 5), (3, 5)]),
        (9, [(0, 5), (3, 5), (6, 3)]),
    ],
)
def test_windows_cover_everything_and_stop_there(total: int, expected: list[tuple[int, int]]) -> None:
    assert windows(total, window=5, hop=3) == expected


def test_windows_may_leave_gaps() -> None:
    assert windows(4, window=2, hop=5) == [(0, 2)]
    assert windows(7, window=2, hop=5) == [(0, 2), (5, 2)]


def test_short_waveforms_are_filled_with_silence_or_with_themselves() -> None:
    waveform = np.array([[1.0, 2.0]], np.float32)
    silent, repeated, mirrored, lonely = np.zeros((4, 1, 5), np.float32)
    fill(silent, waveform, pad="zero")
    fill(repeated, waveform, pad="repeat")
    fill(mirrored, np.array([[1.0, 2.0, 3.0]], np.float32), pad="reflect")
    fill(lonely, waveform[:, :1], pad="reflect")
    assert silent.tolist() == [[1, 2, 0, 0, 0]]
    assert repeated.tolist() == [[1, 2, 1, 2, 1]]
    assert mirrored.tolist() == [[1, 2, 3, 2, 1]]
    assert lonely.tolist() == [[1, 1, 1, 1, 1]]


def test_cached_and_uncached_clips_are_the_same_samples(tmp_path: Path) -> None:
    cached = toy_dataset(tmp_path)
    plain_data = toy_recipe(tmp_path / "tones" / "manifest.csv", tmp_path / "run").data.model_copy(
        update={"cache": False}
    )
    plain = ClipDataset(cached.reader.manifest, data=plain_data, seed=5)
    requests = training_requests(range(24), seed=5, stage="train", epoch=0)
    assert torch.equal(cached[requests].inputs, plain[requests].inputs)


def test_clips_too_long_for_the_cache_are_read_piece_by_piece(
    dataset: ClipDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = dataset.reader.read(0, 1000, 500)
    monkeypatch.setattr(data, "CACHED_SECONDS", 0.1)
    monkeypatch.setattr(ArrayCache, "get", lambda *_: pytest.fail("the clip was cached"))
    assert np.array_equal(dataset.reader.read(0, 1000, 500), whole)


def test_a_recording_that_lost_sound_since_it_was_prepared_is_an_error(tmp_path: Path) -> None:
    dataset = toy_dataset(tmp_path)
    path = dataset.reader.manifest[0].path
    samples, rate = soundfile.read(path)
    soundfile.write(path, samples[:2000], rate)
    with pytest.raises(AudioError, match=r"holds 0\.35 s less than the manifest says"):
        dataset.reader.read(0, 0, 4800)


def test_lengths_say_where_padding_begins(dataset: ClipDataset) -> None:
    batch = dataset[[Request(0, start=0, frames=8000), Request(0, start=4000, frames=8000)]]
    assert batch.inputs.shape == (2, 1, 8000)
    assert batch.lengths.tolist() == [4800, 800]  # the first tone lasts 0.6 s
    assert batch.inputs[0, 0, 4800:].abs().max() == 0


@pytest.mark.parametrize(
    ("pad", "expected"),
    [
        ("zero", [0, 0, 0, 1, 2, 3, 0, 0]),
        ("repeat", [1, 2, 3, 1, 2, 3, 1, 2]),
        ("reflect", [2, 3, 2, 1, 2, 3, 2, 1]),
    ],
)
def test_a_row_is_filled_up_on_both_sides(pad, expected):
    row = np.zeros((1, 8), np.float32)
    fill(row, np.array([[1, 2, 3]], np.float32), pad=pad, before=3)
    assert row[0].tolist() == expected


TWICE_AS_FAST = [
    Speed(slowest=2.0, fastest=2.0, p=1.0),
    Waveform(transform="TimeStretch", arguments={"min_rate": 2.0, "max_rate": 2.0}, p=1.0),
]


@pytest.mark.parametrize("faster", TWICE_AS_FAST, ids=lambda part: type(part).__name__)
def test_what_fills_a_faster_clip_up_does_not_shift_its_statistics(tmp_path: Path, faster: Any) -> None:
    """A tone of 0.5 s and, 20 dB louder, of 0.5 s: half of its levels lie 10 dB below their mean."""
    rate = 8192
    tone = np.sin(2 * np.pi * 1000 * np.arange(rate) / rate) * np.repeat([0.05, 0.5], rate // 2)
    soundfile.write(tmp_path / "tone.wav", tone.astype(np.float32), rate, subtype="FLOAT")
    clip = Clip(path=tmp_path / "tone.wav", label="tone", class_id=0, fold=0, frames=rate, sr=rate)
    Manifest([clip], ["tone"]).write(tmp_path / "manifest.csv")
    settings = {"sample_rate": rate, "cache": False, "crop": {"name": "whole"}}
    recipe = toy_recipe(tmp_path / "manifest.csv", tmp_path / "run", data=settings)
    dataset = ClipDataset(Manifest([clip], ["tone"]), data=recipe.data, seed=0, augmentations=[faster])
    batch = dataset[[Request(0, ("train", 0, 0)), Request(0, start=0, frames=rate)]]
    assert batch.inputs.shape == (2, 1, rate)
    assert batch.lengths.tolist() == [rate // 2, rate]
    front_end = Mel(
        sample_rate=rate,
        in_channels=1,
        n_fft=256,
        hop_length=256,
        n_mels=1,
        padding="none",
        normalise="standardise_channel",
    )
    found, undisturbed = front_end(batch.inputs, lengths=batch.lengths)[:, 0, 0]
    # 8 frames of 256 samples at each level, 10 dB from their mean: that is the standard deviation, too.
    assert undisturbed.tolist() == pytest.approx([-1] * 16 + [1] * 16, abs=0.1)
    assert found[16:].tolist() == [0] * 16
    inner = [*range(1, 7), *range(9, 15)]  # a stretch blurs where a tone begins and ends
    assert found[inner].tolist() == pytest.approx([-1] * 6 + [1] * 6, abs=0.1)
