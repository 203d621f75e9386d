"""Writes what parts read from files: recordings of noise, and small models with random weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file

from kikiwake.frontends._conformer import Size
from kikiwake.frontends._musicfm_encoder import MusicfmEncoder
from kikiwake.models._torchvision import import_torchvision

Settings = dict[str, Any]


def import_transformers() -> Any:
    """Transformers, or the skipping of the test that needs it."""
    import_torchvision()
    return pytest.importorskip("transformers", reason="transformers is not installed: extra 'embeddings'")


def write_musicfm(folder: Path) -> tuple[Settings, int]:
    """A MusicFM of two layers, and its sample rate."""
    torch.manual_seed(3)
    encoder = MusicfmEncoder(Size(width=16, depth=2, hidden=24, kernel=5, head=4), channels=4)
    save_file(encoder.state_dict(), folder / "musicfm.safetensors")
    (folder / "stats.json").write_text(json.dumps({"melspec_2048_mean": 6.8, "melspec_2048_std": 18.4}))
    files = {"weights": str(folder / "musicfm.safetensors"), "statistics": str(folder / "stats.json")}
    return files, 24_000


def write_wav2vec2(folder: Path, **extractor: Any) -> tuple[Settings, int]:
    """A Wav2Vec2 of two layers with an output every 20 samples, and its sample rate."""
    transformers = import_transformers()
    torch.manual_seed(3)
    config = transformers.Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        conv_dim=(8, 8),
        conv_kernel=(10, 3),
        conv_stride=(5, 4),
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        do_stable_layer_norm=True,
        feat_extract_norm="layer",
    )
    transformers.Wav2Vec2Model(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(**{"return_attention_mask": True, **extractor}).save_pretrained(
        folder
    )
    return {"model": str(folder)}, 16_000


def write_ast(folder: Path) -> tuple[Settings, int]:
    """An Audio Spectrogram Transformer of two layers that sees 1.28 s, and its sample rate."""
    transformers = import_transformers()
    torch.manual_seed(3)
    config = transformers.ASTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_length=128,
        num_mel_bins=32,
        frequency_stride=16,
        time_stride=16,
    )
    transformers.ASTModel(config).save_pretrained(folder)
    transformers.ASTFeatureExtractor(max_length=128, num_mel_bins=32).save_pretrained(folder)
    return {"model": str(folder)}, 16_000


def write_whisper(folder: Path) -> tuple[Settings, int]:
    """A Whisper of two layers that sees 2 s, and its sample rate."""
    transformers = import_transformers()
    torch.manual_seed(3)
    config = transformers.WhisperConfig(
        d_model=16,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=24,
        decoder_ffn_dim=24,
        num_mel_bins=40,
        max_source_positions=100,
        vocab_size=12,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=3,
    )
    transformers.WhisperModel(config).save_pretrained(folder)
    transformers.WhisperFeatureExtractor(feature_size=40, chunk_length=2).save_pretrained(folder)
    return {"model": str(folder)}, 16_000


def import_demucs() -> Any:
    """Demucs, or the skipping of the test that needs it."""
    return pytest.importorskip("demucs", reason="demucs is not installed: extra 'stems'")


def tiny_demucs(*, sources: Sequence[str] = ("drums", "bass", "other", "vocals"), seed: int = 3) -> Any:
    """A hybrid transformer Demucs of 19,000 weights that hears 1.5 s at 16 kHz in stereo."""
    import_demucs()
    from demucs.htdemucs import HTDemucs

    torch.manual_seed(seed)
    return HTDemucs(
        list(sources),
        channels=8,
        nfft=512,
        depth=2,
        dconv_comp=2,
        dconv_depth=1,
        multi_freqs_depth=1,
        t_layers=1,
        t_heads=2,
        t_hidden_scale=1.0,
        bottom_channels=8,
        samplerate=16_000,
        segment=Fraction(3, 2),
    ).eval()


def tiniest_demucs() -> Any:
    """A hybrid Demucs without a transformer that takes 30 s of stereo at 8 kHz apart in half a second."""
    import_demucs()
    from demucs.htdemucs import HTDemucs

    torch.manual_seed(3)
    return HTDemucs(
        ["drums", "bass", "other", "vocals"],
        channels=4,
        nfft=512,
        depth=2,
        dconv_comp=2,
        dconv_depth=1,
        multi_freqs_depth=1,
        t_layers=0,
        samplerate=8000,
        segment=Fraction(10),
    ).eval()


def save_demucs(folder: Path, network: Any, *, name: str = "tiny", signature: str = "abcd1234") -> Path:
    """Save a network as Demucs keeps its own: a bag in YAML, and a torch file named after its checksum."""
    arguments, settings = network._init_args_kwargs
    package = {
        "klass": type(network),
        "args": arguments,
        "kwargs": settings,
        "state": {key: value.half() for key, value in network.state_dict().items()},
        "training_args": {"seed": 1, "optim": {"lr": 3e-4}},
    }
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(package, folder / "model.th")
    checksum = sha256((folder / "model.th").read_bytes()).hexdigest()[:8]
    (folder / f"{name}.yaml").write_text(f"models: ['{signature}']\n")
    return (folder / "model.th").rename(folder / f"{signature}-{checksum}.th")


def write_demucs(folder: Path) -> tuple[Settings, int]:
    """A folder with a tiny model of Demucs, and a sample rate."""
    save_demucs(folder, tiny_demucs())
    return {"model": "tiny", "folder": str(folder), "device": "cpu"}, 16_000


def write_noise(folder: Path) -> tuple[Settings, int]:
    """A folder with a short and a longer recording of noise, and the rate of one of them."""
    rng = np.random.default_rng(3)
    for name, seconds, rate in (("short.wav", 0.1, 16_000), ("deeper/long.flac", 2.0, 22_050)):
        (folder / name).parent.mkdir(exist_ok=True)
        soundfile.write(folder / name, rng.normal(0, 0.1, round(seconds * rate)), rate)
    return {"folder": str(folder), "lowest_snr_db": 0.0, "highest_snr_db": 10.0}, 16_000


WRITERS: dict[str, Callable[[Path], tuple[Settings, int]]] = {
    "musicfm": write_musicfm,
    "huggingface": write_wav2vec2,
    "background_noise": write_noise,
    "demucs": write_demucs,
}
"""Of parts that need files, what writes an example."""
