from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import pytest

from kikiwake import cache
from kikiwake.cache import ArrayCache, key, source_key
from kikiwake.errors import AudioError, StorageError

RAMP = np.arange(12, dtype=np.float32).reshape(3, 4)


def refuse() -> np.ndarray:
    raise AssertionError("built although it is there")


def entry(folder: Path) -> Path:
    (found,) = folder.rglob("*.npy")
    return found


def test_an_entry_is_built_once_and_read_back_in_later_processes(tmp_path: Path) -> None:
    assert np.array_equal(ArrayCache(tmp_path).get(key("a"), lambda: RAMP), RAMP)
    assert np.array_equal(ArrayCache(tmp_path).get(key("a"), refuse), RAMP)


def test_entries_are_read_only_float32_maps_that_numpy_itself_reads(tmp_path: Path) -> None:
    array = ArrayCache(tmp_path).get(key("a"), lambda: RAMP.astype(np.float64))
    assert array.dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0] = 1.0
    assert np.array_equal(np.load(entry(tmp_path)), RAMP)


@pytest.mark.parametrize("shape", [(0,), (1, 0), (), (1, 1)])
def test_arrays_of_every_shape_come_back(tmp_path: Path, shape: tuple[int, ...]) -> None:
    assert ArrayCache(tmp_path).get(key("a"), lambda: np.zeros(shape)).shape == shape


@pytest.mark.parametrize("fault", ["flip", "cut", "foreign", "empty"])
def test_a_damaged_entry_is_set_aside_and_built_anew(tmp_path: Path, fault: str) -> None:
    ArrayCache(tmp_path).get(key("a"), lambda: RAMP)
    path = entry(tmp_path)
    data = bytearray(path.read_bytes())
    data[140] ^= 1
    np.save(tmp_path / "foreign.npy", RAMP + 1)
    foreign = (tmp_path / "foreign.npy").read_bytes()
    path.write_bytes({"flip": bytes(data), "cut": data[:100], "foreign": foreign, "empty": b""}[fault])

    assert np.array_equal(ArrayCache(tmp_path).get(key("a"), lambda: RAMP), RAMP)
    assert path.with_name(path.name + ".damaged").is_file()
    assert np.array_equal(ArrayCache(tmp_path).get(key("a"), refuse), RAMP)


def test_damage_that_comes_while_the_process_runs_is_noticed_too(tmp_path: Path) -> None:
    arrays = ArrayCache(tmp_path)
    arrays.get(key("a"), lambda: RAMP)
    entry(tmp_path).write_bytes(b"overwritten")
    assert np.array_equal(arrays.get(key("a"), lambda: RAMP), RAMP)


def test_a_build_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        ArrayCache(tmp_path).get(key("a"), refuse)
    assert not list(tmp_path.rglob("*.*"))


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="file"):
        ArrayCache(tmp_path / "file").get(key("a"), lambda: RAMP)


def build_slowly(folder: Path, number: int) -> bool:
    def build() -> np.ndarray:
        time.sleep(0.2)
        return np.full((100, 100), 7.0)

    return bool(np.all(ArrayCache(folder).get(key("same"), build) == 7.0)) and number >= 0


def test_processes_that_build_the_same_entry_at_once_all_get_it_whole(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.starmap(build_slowly, [(tmp_path, number) for number in range(4)]) == [True] * 4
    assert [path.suffix for path in tmp_path.rglob("*.*")] == [".npy"]


def test_keys_differ_with_source_name_value_and_type_of_a_parameter_but_not_its_place() -> None:
    keys = [key("a"), key("b"), key("a", hop=1), key("a", hop=2), key("a", step=1), key("a", hop="1")]
    assert len(set(keys)) == len(keys)
    assert key("a", hop=1, rate=2) == key("a", rate=2, hop=1)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_SETTLED_NS", -1)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files whose content was read."""
    seen: list[Path] = []
    content_hash = cache.content_hash
    monkeypatch.setattr(cache, "content_hash", lambda path: (seen.append(path), content_hash(path))[1])
    return seen


@pytest.mark.usefixtures("settled")
def test_a_file_is_hashed_once_and_its_hash_outlives_the_process(tmp_path: Path, hashed: list[Path]) -> None:
    path, index = tmp_path / "a.wav", tmp_path / "index.jsonl"
    path.write_bytes(b"first")
    first = source_key(path, index=index)
    assert source_key(path, index=index) == first
    cache._index.cache_clear()
    assert source_key(path, index=index) == first
    assert hashed == [path]


@pytest.mark.usefixtures("settled")
def test_an_edit_of_the_same_size_and_modification_time_is_seen(tmp_path: Path) -> None:
    path, index = tmp_path / "a.wav", tmp_path / "index.jsonl"
    path.write_bytes(b"first")
    before, status = source_key(path, index=index), path.stat()
    time.sleep(0.02)
    path.write_bytes(b"other")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert source_key(path, index=index) != before


def test_the_hash_of_a_file_changed_a_moment_ago_is_not_remembered(
    tmp_path: Path, hashed: list[Path]
) -> None:
    path, index = tmp_path / "a.wav", tmp_path / "index.jsonl"
    path.write_bytes(b"first")
    source_key(path, index=index)
    source_key(path, index=index)
    assert len(hashed) == 2


@pytest.mark.usefixtures("settled")
def test_lines_of_the_index_that_a_crash_cut_short_are_passed_over(
    tmp_path: Path, hashed: list[Path]
) -> None:
    index = tmp_path / "index.jsonl"
    index.write_bytes(b'["/a", [1, 2')
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(name.encode())
        source_key(tmp_path / name, index=index)
    cache._index.cache_clear()
    hashed.clear()
    source_key(tmp_path / "a.wav", index=index)
    source_key(tmp_path / "b.wav", index=index)
    assert hashed == []


def test_an_index_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"first")
    assert source_key(path, index=path / "index.jsonl") == cache.content_hash(path)


def test_a_missing_source_is_an_audio_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"gone\.wav"):
        source_key(tmp_path / "gone.wav", index=tmp_path / "index.jsonl")


def test_a_user_without_a_home_is_told_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def homeless(_: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)
    with pytest.raises(StorageError, match="XDG_CACHE_HOME"):
        cache.default_cache_folder()
