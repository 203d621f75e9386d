"""Stems as channels: their order, what names them in the cache, and what becomes of a damaged entry."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import part_files
import toys
from kikiwake import audio
from kikiwake.data import ClipReader
from kikiwake.errors import AudioError, RecipeError, StorageError
from kikiwake.manifest import Manifest
from kikiwake.recipe import Data, Recipe
from kikiwake.separators.bands import Bands
from kikiwake.stems import Stems, Unseparated, identified, listener

RATE = 22_050
ALL = ["vocals", "drums", "bass", "other"]


def settings(folder: Path, **changes: Any) -> Data:
    content = {
        "sample_rate": RATE,
        "crop": {"name": "whole"},
        "separator": {"name": "bands", "bass_below_hz": 250.0, "vocals_below_hz": 4000.0},
        "stems": ALL,
        "cache_folder": folder / "cache",
    }
    return Data(**{**content, **changes})


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Eight seconds of noise and a low tone, in stereo at another rate."""
    rng = np.random.default_rng(2)
    time = np.arange(8 * 32_000) / 32_000
    tone = 0.3 * np.sin(2 * np.pi * 90 * time)
    samples = rng.normal(0, 0.05, (time.size, 2)) + tone[:, None]
    soundfile.write(tmp_path / "a.wav", samples.astype(np.float32), 32_000, subtype="FLOAT")
    return tmp_path / "a.wav"


def heard(stems: Any, path: Path, **span: Any) -> np.ndarray:
    with stems.stream(path, block=10_000, **span) as stream:
        return np.concatenate(list(stream), axis=1)


def test_stems_are_channels_in_the_order_that_is_asked_for(recording: Path, tmp_path: Path) -> None:
    found = heard(Stems(settings(tmp_path)), recording)
    assert found.shape == (4, 8 * RATE)
    assert np.square(found).sum(1).argmax() == ALL.index("bass")
    some = heard(Stems(settings(tmp_path, stems=["bass", "drums"])), recording)
    np.testing.assert_array_equal(some, found[[2, 1]])
    assert Bands.stems == ("drums", "bass", "other", "vocals")


def test_stems_of_bands_sum_to_the_mixture_of_all_channels(recording: Path, tmp_path: Path) -> None:
    mixture = audio.load(recording, sample_rate=RATE).waveform[0]
    np.testing.assert_allclose(heard(Stems(settings(tmp_path)), recording).sum(0), mixture, atol=1e-5)


def test_what_is_kept_is_what_is_separated_within_16_bits(recording: Path, tmp_path: Path) -> None:
    stems = Stems(settings(tmp_path))
    live = heard(stems, recording)
    assert stems.kept(recording) is None
    assert stems.make(recording) is None
    assert stems.kept(recording, check=True)
    kept = stems.read(recording, 0, live.shape[1] + 10)
    np.testing.assert_allclose(kept, live, atol=1 / 65_500)
    np.testing.assert_array_equal(heard(stems, recording), kept)
    np.testing.assert_array_equal(heard(stems, recording, start=70_000, frames=9000), kept[:, 70_000:79_000])


def test_a_span_is_separated_as_the_whole_is(recording: Path, tmp_path: Path) -> None:
    stems = Stems(settings(tmp_path))
    whole = heard(stems, recording)
    for start, frames in [(0, 5000), (30_000, 100_000), (150_000, None), (8 * RATE - 3, 10)]:
        stop = None if frames is None else start + frames
        found = heard(stems, recording, start=start, frames=frames)
        np.testing.assert_allclose(found, whole[:, start:stop], atol=2e-6)


def test_a_separator_of_another_rate_gives_stems_at_the_recipes_rate(recording: Path, tmp_path: Path) -> None:
    part_files.save_demucs(tmp_path / "models", part_files.tiny_demucs())
    node = {"name": "demucs", "model": "tiny", "folder": str(tmp_path / "models"), "device": "cpu"}
    stems = Stems(settings(tmp_path, separator=node))
    whole = heard(stems, recording)
    assert whole.shape == (4, 8 * RATE)
    for start, frames in [(0, 5000), (60_001, 40_000), (150_000, None)]:
        stop = None if frames is None else start + frames
        found = heard(stems, recording, start=start, frames=frames)
        np.testing.assert_allclose(found, whole[:, start:stop], atol=2e-6)


@pytest.mark.parametrize(
    "change",
    [
        {"sample_rate": 16_000},
        {"separator": {"name": "bands", "bass_below_hz": 200.0, "vocals_below_hz": 4000.0}},
        {"separator_identity": "another"},
    ],
)
def test_other_settings_are_another_entry(recording: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    stems, other = Stems(settings(tmp_path)), Stems(settings(tmp_path, **change))
    stems.make(recording)
    assert other.entry(recording) != stems.entry(recording)
    assert other.kept(recording) is None
    assert other.old([recording]).others == [stems.entry(recording)]
    assert other.old([]).others == []


def test_an_entry_belongs_to_content_and_not_to_a_name_or_a_choice_of_stems(
    recording: Path, tmp_path: Path
) -> None:
    stems = Stems(settings(tmp_path))
    entry = stems.entry(recording)
    shutil.copy(recording, tmp_path / "b.wav")
    assert stems.entry(tmp_path / "b.wav") == entry
    assert Stems(settings(tmp_path, stems=["bass"])).entry(recording) == entry
    samples, rate = soundfile.read(recording)
    samples[100] += 0.01
    soundfile.write(recording, samples, rate, subtype="FLOAT")
    assert stems.entry(recording) != entry


def test_settings_that_are_free_are_no_part_of_the_name(recording: Path, tmp_path: Path) -> None:
    part_files.save_demucs(tmp_path / "models", part_files.tiny_demucs())
    node = {"name": "demucs", "model": "tiny", "folder": str(tmp_path / "models"), "device": "cpu"}
    names = set()
    for change in ({}, {"batch_size": 4}, {"device": "auto"}, {"download": True}):
        names.add(Stems(identified(settings(tmp_path, separator={**node, **change}))).entry(recording))
    assert len(names) == 1
    names.add(Stems(identified(settings(tmp_path, separator={**node, "overlap": 0.3}))).entry(recording))
    shutil.rmtree(tmp_path / "models")
    part_files.save_demucs(tmp_path / "models", part_files.tiny_demucs(seed=4))
    names.add(Stems(identified(settings(tmp_path, separator=node))).entry(recording))
    assert len(names) == 3


def test_a_damaged_entry_is_set_aside_said_and_made_again(
    recording: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("kikiwake"), "propagate", True)
    stems = Stems(settings(tmp_path))
    live = heard(stems, recording)
    stems.make(recording)
    entry = stems.entry(recording)
    content = bytearray(entry.read_bytes())
    content[len(content) // 2] ^= 1
    entry.write_bytes(content)
    np.testing.assert_allclose(heard(Stems(settings(tmp_path)), recording), live, atol=1 / 65_500)
    assert "a block is damaged; set aside, to be made again" in caplog.text
    assert [path.suffix for path in entry.parent.iterdir()] == [".damaged"]
    stems.make(recording)
    assert Stems(settings(tmp_path)).kept(recording, check=True)


def test_a_clip_is_read_from_kept_stems_and_never_separated_in_passing(tmp_path: Path) -> None:
    manifest = Manifest.read(toys.write_tones(tmp_path / "tones", clips_per_class=2))
    data = settings(tmp_path, sample_rate=toys.SAMPLE_RATE)
    reader = ClipReader(manifest, data=data)
    with pytest.raises(StorageError, match=r"the stems of this recording are not there.*kikiwake separate"):
        reader.read(0, 100, 200)
    Stems(data).make(manifest[0].path)
    assert reader.read(0, 100, 200).shape == (4, 200)
    assert reader.read(0, reader.total(0) - 5, 200).shape == (4, 5)
    with pytest.raises(AudioError, match="cannot be read"):
        Stems(data).kept(tmp_path / "nowhere.wav")


def test_without_separation_every_channel_is_the_mixture(recording: Path, tmp_path: Path) -> None:
    hearing = listener(settings(tmp_path), separation=False)
    assert isinstance(hearing, Unseparated)
    expected = np.repeat(audio.load(recording, sample_rate=RATE).waveform, 4, axis=0)
    np.testing.assert_array_equal(heard(hearing, recording), expected)


def test_a_stem_that_the_separator_does_not_have_is_named(recording: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"data\.stems: unknown stem 'vocal'; did you mean 'vocals'"):
        identified(settings(tmp_path, stems=["vocal"]))


def test_another_model_than_the_recipes_is_refused(recording: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="another one than when the recipe was resolved"):
        heard(Stems(settings(tmp_path, separator_identity="abc")), recording)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stems": ["bass"]}, r"data\.stems.*: stems are asked for, and nothing separates them"),
        ({"separator": {"name": "bands"}, "channels": 2}, r"data\.channels.*: each stem is one channel"),
        ({"separator": {"name": "bands"}, "cache": False}, r"data\.cache.*: stems that are not kept"),
        (
            {"separator": {"name": "bands"}, "stems": ["bass", "bass"]},
            r"data\.stems.*: a stem is named twice",
        ),
        ({"separator": {"name": "band"}}, r"data\.separator.*unknown name 'band'; did you mean 'bands'"),
        ({"separator": {"name": "bands", "bass_below": 3}}, r"data\.separator.*unknown key 'bass_below'"),
    ],
)
def test_a_recipe_that_contradicts_itself_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    data = {"manifest": "a.csv", "sample_rate": 8000, "crop": {"name": "whole"}, **changes}
    with pytest.raises(RecipeError, match=message):
        toys.toy_recipe(tmp_path / "a.csv", tmp_path / "run", data=data)


def test_a_resolved_recipe_says_which_stems_in_which_order(tmp_path: Path) -> None:
    data = {"sample_rate": 8000, "crop": {"name": "whole"}, "separator": {"name": "bands"}}
    recipe = toys.toy_recipe(tmp_path / "a.csv", tmp_path / "run", data=data)
    assert recipe.data.stems == ["drums", "bass", "other", "vocals"]
    assert recipe.data.waveform_channels == 4
    assert Recipe.load(recipe).data == recipe.data
