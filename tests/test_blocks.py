"""Sound in compressed blocks: what comes back, how exact it is, and what happens to a damaged file."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from kikiwake.audio import reblocked
from kikiwake.blocks import BLOCK, BlockFile, DamagedBlocks, write_blocks

FRAMES = 2 * BLOCK + 100


def sound(*, channels: int = 3) -> np.ndarray:
    rng = np.random.default_rng(0)
    levels = np.array([1.9, 0.3, 1e-4], np.float32)[:channels, None]
    return (levels * rng.uniform(-1, 1, (channels, FRAMES))).astype(np.float32)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.stems"
    assert write_blocks(path, reblocked([sound()], block=BLOCK), about={"stems": list("abc")}) == FRAMES
    return path


def test_a_sample_is_off_by_no_more_than_half_a_step_of_its_channels_scale(file: Path) -> None:
    opened = BlockFile(file)
    assert (opened.frames, opened.about) == (FRAMES, {"stems": ["a", "b", "c"]})
    error = np.abs(opened.read(0, FRAMES, channels=[0, 1, 2]) - sound()).max(1)
    scales = np.array([2.0, 0.5, 2**-6])  # powers of two not below 1.9, 0.3 and 1e-4, the last one's floor
    assert (error <= 1.01 * scales / 65534).all()
    assert (error > 0.9 * scales / 65534).all()


@pytest.mark.parametrize(
    ("start", "frames"), [(0, 1), (BLOCK - 1, 2), (5, BLOCK), (BLOCK, BLOCK), (FRAMES - 3, 9), (FRAMES, 4)]
)
def test_any_stretch_of_any_channels_is_that_of_the_whole(file: Path, start: int, frames: int) -> None:
    opened = BlockFile(file)
    whole = opened.read(0, FRAMES, channels=[0, 1, 2])
    part = opened.read(start, frames, channels=[2, 0])
    np.testing.assert_array_equal(part, whole[[2, 0], start : start + frames])


def test_the_largest_steps_from_sample_to_sample_come_back(tmp_path: Path) -> None:
    square = np.tile(np.array([1, -1], np.float32), 50)[None]  # steps of 65534, which 16 bits wrap around
    write_blocks(tmp_path / "a.stems", [square], about={})
    np.testing.assert_array_equal(BlockFile(tmp_path / "a.stems").read(0, 100, channels=[0]), square)


def test_every_changed_byte_is_found(file: Path) -> None:
    content = file.read_bytes()
    for place in np.linspace(20, len(content) - 1, 40).astype(int).tolist():
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(DamagedBlocks):
            BlockFile(file).check()
    file.write_bytes(content)
    BlockFile(file).check()


@pytest.mark.parametrize("size", [0, 5, 60, 1000])
def test_a_file_cut_short_is_found(file: Path, size: int) -> None:
    os.truncate(file, size)
    with pytest.raises(DamagedBlocks, match="cut short"):
        BlockFile(file)


def test_damage_is_found_when_the_block_is_read_and_not_before(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[100] ^= 1  # in the first block
    file.write_bytes(content)
    opened = BlockFile(file)
    assert opened.read(BLOCK, 10, channels=[0]).shape == (1, 10)
    with pytest.raises(DamagedBlocks, match="a block is damaged"):
        opened.read(0, 10, channels=[0])


def test_an_error_while_writing_leaves_nothing_behind(tmp_path: Path) -> None:
    def broken():
        yield sound()[:, :BLOCK]
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - it is our own
        write_blocks(tmp_path / "a.stems", broken(), about={})
    assert list(tmp_path.iterdir()) == []
