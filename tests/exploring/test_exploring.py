"""A data set becomes a page that stands alone and a table of what was measured."""

from __future__ import annotations

import base64
import csv
import io
import math
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from kikiwake.cli import SET_ASIDE, app
from kikiwake.datasets import prepare
from kikiwake.errors import KikiwakeError, ManifestError, StorageError
from kikiwake.exploring import _examples, explore
from kikiwake.exploring._clips import COLUMNS
from kikiwake.exploring._examples import choose, coded, excerpt, plan
from kikiwake.manifest import Clip, Manifest

RATE = 8000
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """What stands in a page: its elements, texts and sources; fails where elements are not closed."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def contents(self, tag: str, kind: str) -> list[bytes]:
        sources = [found["src"] or "" for name, found in self.elements if name == tag]
        assert all(source.startswith(f"data:{kind}") for source in sources)
        return [base64.b64decode(source.partition("base64,")[2], validate=True) for source in sources]


def tone(hertz: float, seconds: float, *, level: float = 0.1) -> np.ndarray:
    return level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """Two classes of six tones, one of them with an awkward name; and what is odd: one of each kind."""
    clips = []
    classes = ["<script>alert(1)</script>", "low & slow"]
    for number, label in enumerate(classes):
        for k in range(6):
            path = tmp_path / "sounds" / f"{number}-{k}<b>.wav"
            path.parent.mkdir(exist_ok=True)
            waveform = tone(500 + 100 * k, 1 + 0.1 * k + number)
            if (number, k) == (0, 1):
                waveform = np.clip(20 * waveform, -1, 1)
            if (number, k) == (0, 2):
                waveform[RATE // 20 :] = 0
            if (number, k) == (1, 3):
                waveform += 0.1
            soundfile.write(path, waveform, RATE, subtype="PCM_24")
            clips.append(Clip(path, label, number, k % 3, len(waveform), RATE, group=f"{number}{k % 3}"))
    clips[5].path.write_bytes(b"no sound at all")
    Manifest(clips, classes).write(tmp_path / "clips.csv")
    return tmp_path / "clips.csv"


def test_a_page_stands_alone_and_escapes_every_name(sounds: Path) -> None:
    found = explore(sounds, workers=0, examples=2)
    assert found.page == sounds.with_name("clips.explored.html")
    page = Page(found.page)
    assert [tag for tag, _ in page.elements if tag in ("script", "b", "link", "iframe")] == []
    assert "<script>alert(1)</script>" in page.text  # as a name, that is, escaped
    assert "0-1<b>.wav" in page.text
    policy = next(one["content"] for tag, one in page.elements if one.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    for tag, attributes in page.elements:
        for key, value in attributes.items():
            assert key not in ("onerror", "onload", "style") or (tag, key) == ("span", "style")
            if key in ("href", "src"):
                assert value is not None
                assert value.startswith(("#", "data:"))
    anchors = {one["id"] for _, one in page.elements if "id" in one}
    assert {(one["href"] or "")[1:] for tag, one in page.elements if tag == "a"} <= anchors
    assert all(one["alt"] for tag, one in page.elements if tag == "img")


def test_what_is_odd_is_told_on_page_and_console(sounds: Path) -> None:
    found = explore(sounds, workers=0)
    assert found.odd == {"mostly silent": 1, "clipped": 1, "narrow-band": 9, "padded": 1, "off centre": 1}
    assert len(found.unreadable) == 1
    assert found.unreadable[0].startswith("0-5<b>.wav: ")
    text = str(found)
    assert text.startswith(f"{sounds}: 12 clips of 2 classes in 12 recordings of 6 groups")
    assert "all 8,000 Hz; all mono; all WAV PCM_24" in text
    assert "clips by class: <script>alert(1)</script> 6, low & slow 6\n" in text
    # Of 1.2 s all but the first three frames of 20 ms are silent. A sine of twice full scale is above it for
    # two thirds of the time: of 600 Hz, whose 3 periods have 40 samples, 26 of 40.
    silence = "silence 0 to 95 % of the time (median 0), 90 % or more in 1 clip; "
    assert silence + "clipping 0.00 to 65.00 % of samples (median 0.00), 0.1 % or more in 1 clip\n" in text
    assert "1 clipped" in text
    page = Page(found.page).text
    for words in ("Not read", "Clipped (1)", "Padded (1)", "Shortest", "DC offset +0.1000", "Folds"):
        assert words in page


def test_many_classes_are_counted_from_both_ends(tmp_path: Path) -> None:
    classes = [f"class{number}" for number in range(20)]
    clips = [
        Clip(tmp_path / f"{name}-{k}.wav", name, number, None, RATE, RATE)
        for number, name in enumerate(classes)
        for k in range(number + 1)
    ]
    clips.append(Clip(tmp_path / "a.wav", None, None, None, RATE, RATE))
    Manifest(clips, classes).write(tmp_path / "clips.csv")
    text = str(explore(tmp_path / "clips.csv", workers=0, examples=0))
    expected = "class19 20, class18 19, class17 18, ... class2 3, class1 2, class0 1 (median 10.5)"
    assert f"\nclips by class: {expected}\n" in text


def test_embedded_sounds_and_pictures_decode(sounds: Path) -> None:
    found = explore(sounds, workers=0, examples=2)
    page = Page(found.page)
    heard = page.contents("audio", "audio/")
    assert len(heard) == found.examples == 4
    for content in heard:
        assert len(content) < 100_000
        waveform, rate = soundfile.read(io.BytesIO(content))
        assert rate == _examples.LISTENING_RATE
        assert waveform.ndim == 1
        assert 0.9 < len(waveform) / rate < 3
        spectrum = np.abs(np.fft.rfft(waveform))
        assert 450 < spectrum.argmax() * rate / len(waveform) < 1100
    pictures = page.contents("img", "image/png")
    assert len(pictures) == 4 + 8 + 4
    assert all(png.startswith(b"\x89PNG\r\n\x1a\n") and png.endswith(b"IEND\xaeB`\x82") for png in pictures)


def test_the_table_has_every_clip_in_the_manifests_order(sounds: Path) -> None:
    found = explore(sounds, workers=0, examples=0)
    with found.table.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == list(COLUMNS)
    cells = [dict(zip(header, row, strict=True)) for row in rows]
    with sounds.open(encoding="utf-8", newline="") as file:
        manifest = list(csv.DictReader(file))
    assert [one["path"] for one in cells] == [one["path"] for one in manifest]
    assert [one["class"] for one in cells] == [one["class"] for one in manifest]
    assert float(cells[0]["rms_dbfs"]) == pytest.approx(-20 - 10 * math.log10(2), abs=0.01)
    assert cells[5]["error"]
    assert cells[5]["rms_dbfs"] == cells[5]["sound"] == ""
    assert not any(one["error"] for k, one in enumerate(cells) if k != 5)


def test_the_same_manifest_gives_the_same_bytes(sounds: Path, tmp_path: Path) -> None:
    first = explore(sounds, workers=0)
    before = first.page.read_bytes(), first.table.read_bytes()
    again = explore(sounds, workers=2)  # over its own files, in other processes
    assert (again.page.read_bytes(), again.table.read_bytes()) == before
    other = explore(sounds, workers=0, seed=1, out=tmp_path / "other")
    assert (other.page, other.table) == (tmp_path / "other/explored.html", tmp_path / "other/explored.csv")
    assert other.page.read_bytes() != before[0]
    assert other.table.read_bytes() == before[1]


def test_files_of_others_are_not_written_over(sounds: Path, tmp_path: Path) -> None:
    before = sounds.read_bytes()
    with pytest.raises(StorageError, match="no table of kikiwake explore"):
        explore(sounds, out=sounds.with_suffix(".html"), workers=0)  # its table would be the manifest
    assert sounds.read_bytes() == before
    mine = tmp_path / "mine.html"
    mine.write_text("<!DOCTYPE html><p>mine</p>")
    with pytest.raises(StorageError, match="no page of kikiwake explore"):
        explore(sounds, out=mine, workers=0)
    assert mine.read_text() == "<!DOCTYPE html><p>mine</p>"


def test_wrong_requests_are_told(sounds: Path, tmp_path: Path) -> None:
    with pytest.raises(KikiwakeError, match="examples: there cannot be fewer than 0"):
        explore(sounds, examples=-1)
    with pytest.raises(ManifestError, match="nowhere"):
        explore(tmp_path / "nowhere.csv")


def test_nothing_that_can_be_read_still_makes_a_page(tmp_path: Path) -> None:
    clips = [Clip(tmp_path / f"{k}.wav", "dog", 0, None, 10, RATE) for k in range(3)]
    Manifest(clips, ["dog"]).write(tmp_path / "clips.csv")
    found = explore(tmp_path / "clips.csv", workers=0)
    assert len(found.unreadable) == 3
    assert "not read: 3 clips" in str(found)
    assert "silence" not in str(found)
    assert "Not read" in Page(found.page).text


def test_unlabelled_stretches_of_one_recording(tmp_path: Path) -> None:
    waveform = np.concatenate([tone(500, 2), np.zeros(2 * RATE)])
    soundfile.write(tmp_path / "long.wav", waveform, RATE)
    clips = [
        Clip(tmp_path / "long.wav", None, None, None, len(waveform), RATE, start=float(k), end=float(k + 1))
        for k in range(4)
    ]
    Manifest(clips, []).write(tmp_path / "clips.csv")
    found = explore(tmp_path / "clips.csv", workers=0)
    assert found.odd["mostly silent"] == 2
    page = Page(found.page).text
    assert "(without a class)" in page
    assert "long.wav, 2 s to 3 s" in page


def test_the_command_says_what_python_says_and_tells_by_its_status(sounds: Path) -> None:
    result = CliRunner().invoke(app, ["explore", str(sounds), "--workers", "0", "--examples", "1"])
    assert result.exit_code == SET_ASIDE
    assert "page: " in result.output
    assert "(2 examples, " in result.output


@pytest.mark.parametrize("classes", [0, 1, 10, 50, 85, 150, 264, 1000, 20_000])
@pytest.mark.parametrize("wanted", [0, 1, 3, 100])
def test_plans_fit_into_the_page(classes: int, wanted: int) -> None:
    made = plan(classes, wanted)
    assert made.examples <= wanted
    assert made.classes <= classes
    assert _examples.SHORTEST_SECONDS <= made.seconds <= _examples.LONGEST_SECONDS
    each = (made.seconds * 6000 + 14_000) * 4 / 3
    assert made.classes * made.examples * each <= _examples.PAGE_BYTES * 1.001
    if classes in (10, 264) and wanted:
        assert made.classes == classes
        assert made.examples == (min(wanted, 10) if classes == 10 and wanted < 100 else made.examples) >= 1


def test_coded_noise_is_as_large_as_the_plan_says() -> None:
    noise = np.random.default_rng(0).normal(0, 0.2, (1, 10 * 44_100)).astype(np.float32)
    content, media_type = coded(noise, 44_100)
    assert media_type == "audio/mpeg"
    assert len(content) <= 62_000


def test_examples_are_of_different_groups_and_around_the_loudest_moment(sounds: Path) -> None:
    from kikiwake.exploring._clips import measure_all

    manifest = Manifest.read(sounds)
    clips = measure_all(manifest, sounds.parent, workers=0, timeout_seconds=9, memory_bytes=1 << 30)[6:]
    for seed in range(5):
        drawn = choose(clips, 3, seed=seed, name="low & slow")
        assert len({clip.group for clip in drawn}) == 3
    assert len(choose(clips, 99, seed=0, name="")) == 6
    assert clips[0].measures is not None
    piece = excerpt(clips[0], 0.5)
    assert piece.seconds == 0.5
    middle = clips[0].measures.loudest_seconds
    assert piece.start <= middle <= piece.start + 0.5
    assert excerpt(clips[0], 99).seconds == clips[0].measures.seconds


def test_real_recordings_are_explored(data_folder: Path, tmp_path: Path) -> None:
    source = data_folder / "esc10"
    rows = (source / "esc10.csv").read_text(encoding="utf-8").splitlines()
    kept = [row for row in rows[1:] if row.split(",")[1] == "1"][:24]
    (tmp_path / "esc10").mkdir()
    (tmp_path / "esc10" / "esc10.csv").write_text("\n".join([rows[0], *kept]) + "\n", encoding="utf-8")
    (tmp_path / "esc10" / "audio").mkdir()
    for row in kept:
        name = row.split(",")[0]
        (tmp_path / "esc10" / "audio" / name).symlink_to(source / "audio" / name)
    prepare(tmp_path / "esc10", tmp_path / "clips.csv", workers=0)
    found = explore(tmp_path / "clips.csv", examples=1)
    assert not found.unreadable
    assert "all 44,100 Hz; all mono; all OGG VORBIS" in str(found)
    page = Page(found.page)
    for content in page.contents("audio", "audio/"):
        waveform, _ = soundfile.read(io.BytesIO(content))
        assert np.abs(waveform).max() > 0.001
    with found.table.open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 24
    for one in table:
        assert -60 < float(one["rms_dbfs"]) <= float(one["peak_dbfs"]) < 3
        assert 2000 < float(one["bandwidth_hz"]) <= 22_050
        assert 3 < float(one["seconds"]) < 8
