"""Waveforms: exact spans, blocks, rates and channels; damage is said; memory stays flat."""

from __future__ import annotations

import io
import itertools
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kikiwake import audio
from kikiwake.audio import AUDIO_SUFFIXES, downmix, load, probe, resample, stream
from kikiwake.errors import AudioError

SECONDS = 12


def write(path: Path, samples: np.ndarray, sample_rate: int, **options: object) -> Path:
    """Write in blocks: libsndfile crashes over a long Ogg in one call."""
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    with soundfile.SoundFile(path, "w", sample_rate, channels, **options) as file:
        for start in range(0, len(samples), 1 << 16):
            file.write(samples[start : start + (1 << 16)])
    return path


def music(sample_rate: int, *, seconds: float = SECONDS, channels: int = 1) -> np.ndarray:
    """Coloured noise in bursts: busy enough to make an MP3's frames borrow bits from each other."""
    rng = np.random.default_rng(1)
    length = int(sample_rate * seconds)
    noise = rng.standard_normal((length, channels))
    coloured = noise + np.roll(noise, 1, axis=0) + np.roll(noise, 2, axis=0)
    envelope = 0.5 + 0.5 * np.sin(2 * np.pi * 0.7 * np.arange(length) / sample_rate)
    return (0.07 * coloured * envelope[:, None]).astype(np.float32)


FORMATS: dict[str, dict[str, object]] = {
    "wav": {},
    "flac": {},
    "mp3": {"format": "MP3", "bitrate_mode": "VARIABLE"},
    "low.mp3": {"format": "MP3", "bitrate_mode": "CONSTANT", "compression_level": 0.9},
    "ogg": {"format": "OGG", "subtype": "VORBIS"},
    "opus": {"format": "OGG", "subtype": "OPUS"},
}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("recordings")
    made = {}
    for name, options in FORMATS.items():
        rate = 48000 if name == "opus" else 44100
        made[name] = write(folder / f"stereo.{name}", music(rate, channels=2), rate, **options)
    return made


@pytest.mark.parametrize("name", FORMATS)
def test_samples_are_those_of_libsndfile(name: str, recordings: dict[str, Path]) -> None:
    expected, rate = soundfile.read(recordings[name], dtype="float32", always_2d=True)
    info = probe(recordings[name])
    whole = load(recordings[name], sample_rate=None, channels=None)
    assert (info.sample_rate, info.channels, info.frames) == (rate, 2, len(expected))
    assert SECONDS <= info.duration_seconds < SECONDS + 0.1
    assert whole.damage is None
    np.testing.assert_allclose(whole.waveform, expected.T, rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("rate", [None, 16000, 32000, 48000])
def test_a_span_equals_the_slice_of_the_whole(
    name: str, rate: int | None, recordings: dict[str, Path]
) -> None:
    path = recordings[name]
    whole = load(path, sample_rate=rate, channels=None).waveform
    total = whole.shape[1]
    rng = np.random.default_rng(0)
    starts = [0, 1, total - 3000, total - 931, total - 1, *rng.integers(0, total, 4)]
    for start, frames in itertools.product(map(int, starts), (1, 2999)):
        span = load(path, sample_rate=rate, channels=None, start=start, frames=frames).waveform
        expected = whole[:, start : start + frames]
        assert span.shape == expected.shape
        np.testing.assert_allclose(span, expected, rtol=0, atol=1e-6)
    rest = load(path, sample_rate=rate, channels=None, start=total // 3).waveform
    np.testing.assert_allclose(rest, whole[:, total // 3 :], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("source", "target"), [(8000, 384000), (384000, 4000), (22050, 48000), (44056, 32000)]
)
def test_spans_are_exact_for_rates_far_apart_and_awkward(source: int, target: int, tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", music(source, seconds=3.3), source, subtype="FLOAT")
    whole = load(path, sample_rate=target).waveform
    for start in (1, target // 2 + 1, 3 * target):
        span = load(path, sample_rate=target, start=start, frames=777).waveform
        np.testing.assert_allclose(span, whole[:, start : start + 777], rtol=0, atol=1e-6)


def test_a_span_far_into_a_long_recording_is_exact(tmp_path: Path) -> None:
    path = write(tmp_path / "long.flac", music(8000, seconds=900), 8000)
    source = soundfile.read(path, dtype="float32")[0]
    whole = resample(source[None], source_rate=8000, target_rate=11025)
    start = 899 * 11025 - 13
    span = load(path, sample_rate=11025, start=start, frames=5000).waveform
    np.testing.assert_allclose(span, whole[:, start : start + 5000], rtol=0, atol=1e-6)


@pytest.mark.parametrize("block", [1, 999, 32000, 10**7])
@pytest.mark.parametrize("span", [(0, None), (0, 4321), (12345, None), (12345, 4321), (10**9, None)])
def test_blocks_join_to_what_load_gives(block: int, span: tuple[int, int | None], tmp_path: Path) -> None:
    seconds = 0.5 if block == 1 else 4
    path = write(tmp_path / "a.wav", music(44100, seconds=seconds, channels=2), 44100)
    start, frames = span
    for rate, channels in ((32000, 1), (None, None)):
        expected = load(path, sample_rate=rate, channels=channels, start=start, frames=frames).waveform
        blocks = list(
            stream(path, sample_rate=rate, channels=channels, block=block, start=start, frames=frames)
        )
        assert all(each.shape[1] == block for each in blocks[:-1])
        assert all(0 < each.shape[1] <= block for each in blocks)
        joined = np.concatenate([expected[:, :0], *blocks], axis=1)
        np.testing.assert_array_equal(joined, expected)


def test_what_librosa_loads_is_what_is_loaded(recordings: dict[str, Path], data_folder: Path) -> None:
    librosa = pytest.importorskip("librosa")
    clips = sorted((data_folder / "esc10").rglob("*.ogg"))[::100]
    for path in [recordings["mp3"], recordings["flac"], *clips]:
        expected, _ = librosa.load(path, sr=32000, mono=True)
        np.testing.assert_allclose(load(path, sample_rate=32000).waveform[0], expected, rtol=0, atol=1e-6)


def test_real_clips_are_not_called_damaged(data_folder: Path) -> None:
    for folder, pattern in (
        ("esc10", "*.ogg"),
        ("fsdd", "*.flac"),
        ("instruments10", "*.flac"),
        ("soundscapes", "*.*"),
    ):
        paths = [
            path for path in sorted((data_folder / folder).rglob(pattern)) if path.suffix in AUDIO_SUFFIXES
        ]
        assert paths
        for path in paths[:: max(len(paths) // 15, 1)]:
            loaded = load(path, sample_rate=None)
            assert loaded.damage is None
            assert loaded.waveform.shape == (1, probe(path).frames)


@pytest.mark.parametrize("source", [8000, 11025, 22050, 44056, 44100, 48000, 96000, 384000])
def test_length_after_resampling_is_the_rounded_ratio(source: int, tmp_path: Path) -> None:
    for frames in (100, 1001, 30011):
        path = write(tmp_path / "a.wav", np.zeros(frames, np.float32), source)
        length = load(path, sample_rate=32000).waveform.shape[1]
        assert length == int(frames * 32000 / source + 0.5) == probe(path).frames_at(32000)


def test_what_lies_above_half_the_new_rate_is_gone(tmp_path: Path) -> None:
    seconds = np.arange(44100 * 2) / 44100
    for hertz, least, most in ((1000.0, -0.01, 0.01), (16500.0, -300.0, -120.0)):
        path = write(tmp_path / "tone.wav", np.sin(2 * np.pi * hertz * seconds), 44100, subtype="FLOAT")
        inner = load(path, sample_rate=32000).waveform[0, 4000:-4000]
        level = 20 * np.log10(np.sqrt(2 * np.mean(inner.astype(np.float64) ** 2)) + 1e-15)
        assert least < level < most


def test_channels_are_kept_mixed_or_repeated(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    three = rng.uniform(-1, 1, (5000, 3)).astype(np.float32)
    path = write(tmp_path / "three.wav", three, 16000, subtype="FLOAT")
    np.testing.assert_array_equal(load(path, sample_rate=None, channels=3).waveform, three.T)
    np.testing.assert_array_equal(load(path, sample_rate=None, channels=None).waveform, three.T)
    mean = load(path, sample_rate=None, channels=1).waveform
    np.testing.assert_allclose(mean[0], three.mean(1), atol=1e-7)
    with pytest.raises(
        AudioError, match=r"three\.wav: has 3 channels, which cannot become 2; ask for 1 .* or 3"
    ):
        load(path, sample_rate=None, channels=2)
    mono = write(tmp_path / "mono.wav", three[:, :1], 16000, subtype="FLOAT")
    np.testing.assert_array_equal(
        load(mono, sample_rate=None, channels=2).waveform, np.stack([three[:, 0]] * 2)
    )
    resampled = load(path, sample_rate=8000, channels=None).waveform
    np.testing.assert_allclose(resampled, resample(three.T, source_rate=16000, target_rate=8000), atol=1e-7)
    assert resampled.flags.c_contiguous


def test_downmix_of_arrays_follows_the_same_rules() -> None:
    two = np.array([[1.0, 2.0], [3.0, -2.0]], np.float32)
    np.testing.assert_array_equal(downmix(two, channels=1), [[2.0, 0.0]])
    np.testing.assert_array_equal(downmix(two, channels=None), two)
    np.testing.assert_array_equal(downmix(two[:1], channels=3), [[1.0, 2.0]] * 3)
    with pytest.raises(AudioError, match="cannot become 3"):
        downmix(two, channels=3)


def test_floats_above_full_scale_are_not_clipped(tmp_path: Path) -> None:
    path = write(tmp_path / "loud.wav", np.full(1000, 4.0, np.float32), 16000, subtype="FLOAT")
    assert load(path, sample_rate=None).waveform.max() == 4.0


def test_one_bad_sample_does_not_spread_when_resampled(tmp_path: Path) -> None:
    clean = music(44100, seconds=2)
    dirty = clean.copy()
    dirty[[5, 40000], 0] = np.nan, np.inf
    clean[[5, 40000], 0] = 0.0
    loaded = load(write(tmp_path / "dirty.wav", dirty, 44100, subtype="FLOAT"), sample_rate=32000)
    expected = load(write(tmp_path / "clean.wav", clean, 44100, subtype="FLOAT"), sample_rate=32000)
    assert (loaded.replaced_samples, expected.replaced_samples) == (2, 0)
    np.testing.assert_array_equal(loaded.waveform, expected.waveform)


def mp3_parts(path: Path) -> tuple[bytes, bytes]:
    """The frame with the Xing tag, and the others."""
    content = path.read_bytes()
    position = content.find(b"\xff\xfb", 100)
    assert content[:2] == b"\xff\xfb"
    assert b"Xing" in content[:position] or b"Info" in content[:position]
    return content[:position], content[position:]


@pytest.fixture
def vbr(recordings: dict[str, Path]) -> Path:
    return recordings["mp3"]


@pytest.fixture
def without_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)


@pytest.mark.usefixtures("without_ffmpeg")
def test_vbr_mp3_without_xing_header_is_read_to_its_end(vbr: Path, tmp_path: Path) -> None:
    _, frames = mp3_parts(vbr)
    path = tmp_path / "bare.mp3"
    path.write_bytes(frames)
    expected = load(vbr, sample_rate=None, channels=None).waveform
    naive = soundfile.SoundFile(io.BytesIO(frames)).frames
    whole = load(path, sample_rate=None, channels=None)
    assert naive != whole.waveform.shape[1] == probe(path).frames
    assert whole.damage is None
    # The tag tells a decoder to drop the encoder's and its own delay: 576 + 529 samples.
    np.testing.assert_allclose(whole.waveform[:, 1105 : 1105 + expected.shape[1]], expected, atol=1e-6)
    span = load(path, sample_rate=None, channels=None, start=400_000, frames=5000).waveform
    np.testing.assert_allclose(span, whole.waveform[:, 400_000:405_000], atol=1e-6)


@pytest.mark.usefixtures("without_ffmpeg")
@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_truncated_mp3_that_promises_its_full_length_says_what_is_lost(
    share: float, vbr: Path, tmp_path: Path
) -> None:
    content = vbr.read_bytes()
    path = tmp_path / "cut.mp3"
    path.write_bytes(content[: int(len(content) * share)])
    whole = load(vbr, sample_rate=None).waveform
    cut = load(path, sample_rate=None)
    got = cut.waveform.shape[1]
    assert abs(got / whole.shape[1] - share) < 0.1
    assert "cut off" in cut.damage
    assert probe(path).damage
    np.testing.assert_allclose(cut.waveform[:, : got - 2304], whole[:, : got - 2304], atol=1e-6)


@pytest.mark.usefixtures("without_ffmpeg")
def test_mp3_with_a_hole_is_read_beyond_it(vbr: Path, tmp_path: Path) -> None:
    content = bytearray(vbr.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 9000] = bytes(9000)
    path = tmp_path / "hole.mp3"
    path.write_bytes(content)
    whole, holed = load(vbr, sample_rate=None).waveform, load(path, sample_rate=None)
    assert whole.shape[1] * 0.8 < holed.waveform.shape[1] < whole.shape[1]
    assert "no MPEG audio" in holed.damage
    np.testing.assert_allclose(holed.waveform[:, -3000:], whole[:, -3000:], atol=1e-6)


def test_two_mp3_files_in_one_are_both_read(vbr: Path, tmp_path: Path) -> None:
    path = tmp_path / "two.mp3"
    path.write_bytes(vbr.read_bytes() * 2)
    assert load(path, sample_rate=44100).waveform.shape[1] > 1.99 * SECONDS * 44100


@pytest.mark.usefixtures("without_ffmpeg")
def test_random_bytes_never_become_audio(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    path = tmp_path / "random.mp3"
    for prefix in (b"", b"\xff\xfb\x90\x64", b"ID3\x03\x00\x00\x00\x00\x00\x0a" + bytes(10)):
        for _ in range(20):
            path.write_bytes(prefix + rng.bytes(20_000))
            with pytest.raises(AudioError):
                load(path, sample_rate=None)


def test_flac_of_unstated_length_is_read_and_counted(tmp_path: Path) -> None:
    samples = music(16000, seconds=3)
    path = write(tmp_path / "piped.flac", samples, 16000)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path.write_bytes(content)
    assert probe(path).frames == len(samples)
    assert load(path, sample_rate=None).waveform.shape == (1, len(samples))
    span = load(path, sample_rate=None, start=20_000, frames=500).waveform
    np.testing.assert_allclose(span[0], samples[20_000:20_500, 0], atol=1e-4)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".wav", {"format": "WAV"}),
        (".rf64", {"format": "RF64"}),
        (".w64", {"format": "W64"}),
        (".aiff", {"format": "AIFF"}),
        (".au", {"format": "AU"}),
        (".caf", {"format": "CAF"}),
    ],
)
def test_half_a_file_of_any_container_is_called_damaged_and_the_whole_is_not(
    suffix: str, options: dict[str, str], tmp_path: Path
) -> None:
    if suffix == ".caf":
        pytest.importorskip(
            "av", reason="libsndfile refuses half a CAF, and the extra 'ffmpeg' is not installed"
        )
    path = write(tmp_path / f"a{suffix}", music(16000, seconds=2), 16000, subtype="PCM_16", **options)
    whole = load(path, sample_rate=None)
    assert (whole.damage, whole.waveform.shape) == (None, (1, 32000))
    os.truncate(path, path.stat().st_size // 2)
    half = load(path, sample_rate=None)
    assert 14_000 < half.waveform.shape[1] < 16_001
    assert "%" in half.damage or "frames could be read" in half.damage
    np.testing.assert_array_equal(half.waveform, whole.waveform[:, : half.waveform.shape[1]])


def test_a_header_that_promises_an_ocean_allocates_none_of_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.rf64", music(16000, seconds=1), 16000, format="RF64", subtype="PCM_16")
    content = bytearray(path.read_bytes())
    at = content.find(b"ds64")
    content[at + 16 : at + 24] = struct.pack("<Q", 1 << 50)
    path.write_bytes(content)
    loaded = load(path, sample_rate=8000)
    assert loaded.waveform.shape[1] <= 8001
    assert loaded.damage


def test_more_channels_than_any_recorder_has_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "many.wav", np.zeros((100, 65), np.float32), 16000)
    with pytest.raises(AudioError, match=r"more than 64 channels \(got 65\)"):
        load(path, sample_rate=None)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "No such file"),
        (lambda path: os.mkfifo(path), "a pipe, socket or device"),
        (lambda path: path.symlink_to("nowhere"), "No such file"),
        (lambda path: path.mkdir(), "a folder"),
    ],
)
def test_what_is_no_file_is_refused_and_never_waited_for(
    make: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.wav"
    make(path)
    with pytest.raises(AudioError, match=message) as caught:
        probe(path)
    assert caught.value.where == str(path)


@pytest.mark.parametrize(
    "request_", [{"start": -1}, {"frames": -1}, {"channels": 0}, {"channels": 1000}, {"sample_rate": 0}]
)
def test_requests_without_sense_are_refused(request_: dict[str, int], recordings: dict[str, Path]) -> None:
    with pytest.raises(AudioError, match="must"):
        load(recordings["wav"], **{"sample_rate": None, **request_})
    with pytest.raises(AudioError, match="at least one"):
        stream(recordings["wav"], sample_rate=None, block=0)


def test_a_recording_too_short_for_one_sample_at_the_new_rate_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", np.ones(10, np.float32), 192000)
    with pytest.raises(AudioError, match="too short for one sample at 4000 Hz"):
        load(path, sample_rate=4000)


def test_a_span_beyond_the_end_is_empty(recordings: dict[str, Path]) -> None:
    for name in ("wav", "mp3", "ogg"):
        loaded = load(recordings[name], sample_rate=32000, channels=2, start=10**8, frames=100)
        assert loaded.waveform.shape == (2, 0)
        assert loaded.damage is None


def make_m4a(path: Path, samples: np.ndarray, sample_rate: int) -> None:
    av = pytest.importorskip("av", reason="the extra 'ffmpeg' is not installed")
    with av.open(str(path), "w", format="mp4") as container:
        track = container.add_stream("alac", rate=sample_rate, layout="mono")
        frame_size = 4096
        for start in range(0, len(samples), frame_size):
            block = (samples[start : start + frame_size].T * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format="s16p", layout="mono")
            frame.sample_rate, frame.pts = sample_rate, start
            container.mux(track.encode(frame))
        container.mux(track.encode(None))


@pytest.mark.parametrize("name", ["a.m4a", "concat:a|b.m4a", "http:x.m4a", "-i %d.m4a"])
def test_files_read_by_ffmpeg_have_exact_spans_and_names_are_no_commands(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = music(16000, seconds=3)
    make_m4a(tmp_path / "plain.m4a", samples, 16000)
    (tmp_path / "plain.m4a").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    info = probe(name)
    assert (info.decoder, info.frames, info.sample_rate) == ("av", len(samples), 16000)
    whole = load(name, sample_rate=22050).waveform
    np.testing.assert_allclose(load(name, sample_rate=None).waveform[0], samples[:, 0], atol=1e-4)
    span = load(name, sample_rate=22050, start=30_001, frames=900).waveform
    np.testing.assert_allclose(span, whole[:, 30_001:30_901], atol=1e-6)


def test_every_file_is_closed_again(recordings: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"RIFF" + bytes(100))
    (tmp_path / "bad.mp3").write_bytes(b"\xff\xfb\x90\x64" + bytes(5000))
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(5):
        for path in recordings.values():
            load(path, sample_rate=16000, start=5, frames=5)
            stream(path, sample_rate=16000, block=100).close()
            with stream(path, sample_rate=16000, block=100) as blocks:
                next(blocks)
            with pytest.raises(AudioError):
                load(path, sample_rate=None, channels=5)
        for name in ("bad.wav", "bad.mp3", "missing.wav"):
            with pytest.raises(AudioError):
                load(tmp_path / name, sample_rate=None)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def peak_megabytes(path: Path) -> int:
    code = (
        "import resource, sys; from kikiwake.audio import stream\n"
        "for block in stream(sys.argv[1], sample_rate=32000, block=160_000): pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    said = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    return int(said.stdout)


def test_memory_stays_flat_for_long_audio_in_a_tiny_file(tmp_path: Path) -> None:
    paths = {}
    for minutes in (1, 20):
        paths[minutes] = tmp_path / f"{minutes}.flac"
        with soundfile.SoundFile(paths[minutes], "w", 16000, 8) as file:
            for _ in range(minutes):
                file.write(np.zeros((16000 * 60, 8), np.int16))
    assert paths[20].stat().st_size < 2_000_000
    assert peak_megabytes(paths[20]) < peak_megabytes(paths[1]) + 20


def test_opening_a_recording_imports_nothing_heavy() -> None:
    code = "import sys, kikiwake.audio; print([m for m in ('torch', 'librosa', 'av') if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_resample_keeps_channels_apart_and_returns_what_has_the_rate_already() -> None:
    two = music(16000, seconds=1, channels=2).T
    assert resample(two, source_rate=16000, target_rate=16000) is two
    both = resample(two, source_rate=16000, target_rate=22050)
    assert both.shape == (2, 22050)
    assert both.dtype == np.float32
    np.testing.assert_array_equal(both[1:], resample(two[1:], source_rate=16000, target_rate=22050))


def test_block_size_inside_changes_nothing(
    recordings: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in FORMATS:
        expected = load(recordings[name], sample_rate=32000).waveform
        with monkeypatch.context() as patch:
            patch.setattr(audio, "_BLOCK_VALUES", 3000)
            np.testing.assert_array_equal(load(recordings[name], sample_rate=32000).waveform, expected)
