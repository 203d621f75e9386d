"""Kept stems of no use: counted, removed when asked, and nothing else with them."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

import toys
from kikiwake import blocks
from kikiwake.blocks import LAYOUT
from kikiwake.cli import app
from kikiwake.recipe import Data
from kikiwake.separation import separate, separation_settings

WIDE = {"bass_below_hz": 100.0}


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return toys.write_tones(tmp_path / "tones", clips_per_class=1)


def settings(folder: Path, **options: float) -> Data:
    return separation_settings(
        separator="bands", options=options, sample_rate=toys.SAMPLE_RATE, cache_folder=folder / "cache"
    )


def files(folder: Path) -> set[Path]:
    return {path for path in (folder / "cache" / "stems").rglob("*") if not path.is_dir()}


def size(paths: set[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


def test_what_other_settings_made_is_counted_and_goes_only_with_all(manifest: Path, tmp_path: Path) -> None:
    separate(manifest, settings(tmp_path, **WIDE), workers=0)
    wide = files(tmp_path)
    found = separate(manifest, settings(tmp_path), workers=0, prune="outdated")
    own = files(tmp_path) - wide
    assert (len(wide), len(own)) == (3, 3)
    assert (found.others.count, found.others.size) == (3, size(wide))
    assert found.outdated.count == found.removed.count == 0
    assert "of other settings: 3 entries, 0.1 MB; --prune all removes them, too" in str(found)
    gone = size(wide)
    again = separate(manifest, settings(tmp_path), workers=0, prune="all")
    assert files(tmp_path) == own
    assert (again.there, again.removed.count, again.removed.size, again.others.count) == (3, 3, gone, 0)


def test_stems_of_recordings_that_are_not_in_the_manifest_stay(manifest: Path, tmp_path: Path) -> None:
    other = toys.write_tones(tmp_path / "others", clips_per_class=2)
    separate(other, settings(tmp_path, **WIDE), workers=0)
    kept = files(tmp_path)
    lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join(lines[:2]) + "\n")
    found = separate(manifest, settings(tmp_path), workers=0, prune="all")
    # The tones of both folders are the same sounds: one of six belongs to the manifest's only row.
    assert (len(kept), found.removed.count, len(kept & files(tmp_path))) == (6, 1, 5)


def test_older_arithmetic_and_layouts_are_outdated_for_any_recording(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    separate(toys.write_tones(tmp_path / "others", clips_per_class=2), settings(tmp_path), workers=0)
    older = files(tmp_path)
    monkeypatch.setattr("kikiwake.stems._stems._ARITHMETIC", 2)
    (tmp_path / "tones" / "low_0.wav").write_bytes(b"no sound at all")
    found = separate(manifest, settings(tmp_path), workers=0)
    assert (found.outdated.count, found.outdated.size, found.others.count) == (6, size(older), 0)
    first = next(iter(files(tmp_path) - older))
    content = first.read_bytes().replace(b"kikiwake blocks %d\n" % LAYOUT, b"kikiwake blocks 0\n")
    elder = first.with_name(f"{first.name[:41]}{'0' * 40}.stems")
    elder.write_bytes(content)
    newer = first.with_name(f"{first.name[:41]}{'1' * 40}.stems")
    newer.write_bytes(content.replace(b"blocks 0", b"blocks %d" % (LAYOUT + 1)))
    found = separate(manifest, settings(tmp_path), workers=0, prune="outdated")
    assert found.removed.count == 7
    assert not elder.exists()
    assert newer.exists()
    monkeypatch.setattr("kikiwake.stems._stems._ARITHMETIC", 1)
    assert separate(manifest, settings(tmp_path), workers=0, prune="all").removed.count == 0


def test_only_what_the_cache_wrote_is_removed(manifest: Path, tmp_path: Path) -> None:
    separate(manifest, settings(tmp_path, **WIDE), workers=0)
    made = sorted(files(tmp_path))
    entry, cut = made[0], made[1]
    os.truncate(cut, 100)
    damaged = entry.with_name(entry.name + ".damaged")
    shutil.copy(entry, damaged)
    torn = entry.with_name(f".{entry.name[:50]}.12.34.tmp")
    fresh = entry.with_name(f".{entry.name[:50]}.12.35.tmp")
    for path in (torn, fresh):
        path.write_bytes(b"kikiwake blocks %d\n" % LAYOUT)
    os.utime(torn, (time.time() - 7200,) * 2)
    elsewhere = tmp_path / "elsewhere.stems"
    shutil.copy(entry, elsewhere)
    mine = {
        "notes": entry.with_name("notes.txt"),
        "stems": entry.with_name("mine.stems"),
        "name only": entry.with_name(f"{entry.name[:41]}{'a' * 40}.stems"),
        "another folder": entry.parents[1] / "mine" / entry.name,
        "link": entry.with_name(f"{entry.name[:41]}{'b' * 40}.stems"),
    }
    mine["another folder"].parent.mkdir()
    for name in ("notes", "stems", "name only"):
        mine[name].write_bytes(b"mine")
    shutil.copy(entry, mine["another folder"])
    mine["link"].symlink_to(elsewhere)
    found = separate(manifest, settings(tmp_path), workers=0, prune="all")
    assert found.removed.count == 5
    for gone in (*made, damaged, torn):
        assert not gone.exists()
    for path in (*mine.values(), fresh, elsewhere):
        assert path.exists(), path


def test_the_command_prunes(manifest: Path, tmp_path: Path) -> None:
    separate(manifest, settings(tmp_path, **WIDE), workers=0)
    command = ["separate", manifest, "--separator", "bands", "--sample-rate", 8000, "--workers", 0]
    command += ["--cache-folder", tmp_path / "cache", "--prune", "all"]
    finished = CliRunner().invoke(app, list(map(str, command)))
    assert finished.exit_code == 0, finished.output
    assert "removed: 3 entries, 0.1 MB" in finished.output


@pytest.mark.parametrize(
    ("content", "layout"),
    [
        (b"kikiwake blocks 1\nabc", 1),
        (b"kikiwake blocks 12\n", 12),
        (b"kikiwake blocks \n", None),
        (b"kikiwake", None),
        (b"", None),
        (b"7\n", None),
    ],
)
def test_a_file_of_blocks_says_its_layout(tmp_path: Path, content: bytes, layout: int | None) -> None:
    (tmp_path / "a").write_bytes(content)
    assert blocks.layout_of(tmp_path / "a") == layout
    assert blocks.layout_of(tmp_path / "nowhere") is None
