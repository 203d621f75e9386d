"""Embeddings by any audio encoder of Hugging Face's transformers: Wav2Vec2, HuBERT, AST, Whisper and more."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from kikiwake.errors import RecipeError, WeightsError, require
from kikiwake.frontends._frozen import FrozenEncoder, Pooling, chosen_layer
from kikiwake.frontends._hub import local_folder
from kikiwake.frontends._texts import packed, unpacked
from kikiwake.models._torchvision import import_torchvision

_SETTINGS = ("config.json", "preprocessor_config.json")

_MORE_SETTINGS = ("processor_config.json",)
"""Files that a folder need not have, and that go before the others where it has them."""

_AST_SECONDS_A_FRAME = 0.01

_UNUSED = ("masked_spec_embed", "pooler.")
"""Parts of the names of tensors that no hidden state depends on; some published files do not have them."""


class Huggingface(FrozenEncoder):
    """Hidden states of an encoder of transformers, or their mean or maximum over the clip.

    The audio passes the model's own feature extractor, clip by clip, so that it is normalised as the model
    expects. The encoder is as published and is not trained any further. Weights are read from safetensors,
    or else from a torch file with nothing but tensors. A trained run keeps weights and settings and does
    without the model's files, but for code that came with them, which a run never holds.

    Args:
        sample_rate: of the waveforms, in Hz; supplied by the pipeline. It must be the model's own.
        in_channels: of the waveforms; supplied by the pipeline.
        saved: tensors of a trained model; supplied by the pipeline, which then needs no file.
        model: a local folder (`config.json`, `preprocessor_config.json`, `model.safetensors`), or
            `hub:owner/name` or `hub:owner/name@revision` for a model of the Hugging Face hub to be fetched
            once.
        layer: whose output is taken: 1 is the first transformer layer, 0 what goes into it, -1 the model's
            output behind its last layer.
        pooling: over time: `mean`, `max`, or `none`. Of models that cut a spectrogram into patches, such as
            AST, all tokens are pooled.
        chunk_seconds: a longer clip is encoded in chunks of this length, which do not see each other, and
            joined again; see `kikiwake.frontends._frozen`. A model of fixed input length never gets more
            than that (AST 10.24 s, Whisper 30 s); its extractor fills what is shorter with silence.
        trust_remote_code: run Python code that comes with the model, with all rights that you have. Say true
            only where you have read it.

    Shape: `[B, 1, T]` -> `[B, out_channels, N]`, N = 1, or `frames(T)` without pooling.

    Raises:
        RecipeError: another sample rate, several channels, no such layer, no encoder of audio.
        WeightsError: the model cannot be had, is damaged, or lacks weights.
        MissingExtra: transformers is not installed.
    """

    output: ClassVar[Literal["picture", "sequence"]] = "sequence"
    cached: ClassVar[bool] = True
    example: ClassVar[dict[str, Any] | None] = None  # there is none without files

    settings: Tensor

    def __init__(
        self,
        *,
        sample_rate: int,
        in_channels: int,
        saved: Mapping[str, Tensor] | None = None,
        model: str,
        layer: int = -1,
        pooling: Pooling = "mean",
        chunk_seconds: Annotated[float, Field(ge=1)] = 30.0,
        trust_remote_code: bool = False,
    ) -> None:
        transformers = _transformers()
        settings = (saved or {}).get("settings")
        kept = None if settings is None or trust_remote_code else unpacked(settings)
        with _settings_folder(model, kept) as folder:
            extractor = _extractor(transformers, folder, trust_remote_code=trust_remote_code)
            if kept is None:
                encoder = _published(transformers, folder, trust_remote_code=trust_remote_code)
            else:
                encoder = _unfilled(transformers, folder)
            if settings is None:
                settings = _packed_settings(folder)
        longest = _longest_seconds(extractor)
        super().__init__(
            title=f"'{model}'",
            sample_rate=sample_rate,
            expected_rate=extractor.sampling_rate,
            in_channels=in_channels,
            pooling=pooling,
            chunk_seconds=chunk_seconds if longest is None else min(chunk_seconds, longest),
        )
        self.sample_rate = sample_rate
        self.extractor = extractor
        self.encoder = encoder
        # Part of the state, by which features that are kept are told apart.
        self.register_buffer("settings", settings.clone())
        self.requires_grad_(False).eval()
        states = self._try(model)
        self.layer = chosen_layer(layer, depth=len(states) - 1)
        self.out_channels = int(states[self.layer].shape[-1])

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a pickle, without the hooks of transformers, which do not go into one."""
        others = {name: module for name, module in self._modules.items() if name != "encoder"}
        encoder = type(self.encoder), self.encoder.config, self.encoder.state_dict()
        return {**self.__dict__, "_modules": others, "encoder": encoder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make the encoder anew from its settings and weights."""
        kind, config, weights = state.pop("encoder")
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        with torch.random.fork_rng(devices=[]):
            encoder = kind(config)
        encoder.load_state_dict(weights)
        self.encoder = encoder.to(self.settings.device).requires_grad_(False).eval()

    @torch.no_grad()
    def _try(self, model: str) -> list[Tensor]:
        """Return the states of a short silence, which tell depth and width."""
        try:
            return self._states(torch.zeros(1, self.least))
        except Exception as error:  # a model of language or pictures, or one that wants more than audio
            raise RecipeError(
                f"{type(self.encoder).__name__} does not turn audio into hidden states: "
                f"{type(error).__name__}: {error}",
                where="frontend.model",
                value=model,
                remedy="name an encoder of audio, such as Wav2Vec2, HuBERT, AST or Whisper",
            ) from error

    def _states(self, chunks: Tensor) -> list[Tensor]:
        """Return the hidden states before and behind every layer. Shape: `[M, T]` -> each `[M, N, D]`."""
        clips = list(chunks.cpu().numpy())
        with torch.autocast("cpu", enabled=False):
            inputs = self.extractor(clips, sampling_rate=self.sample_rate, return_tensors="pt")
        inputs = {name: values.to(chunks.device) for name, values in inputs.items()}
        found = self.encoder(**inputs, output_hidden_states=True)
        # Whether the last is normalised once more differs among models; the output always is as it should.
        return [*found.hidden_states[:-1], found.last_hidden_state]

    def encode(self, chunks: Tensor) -> Tensor:
        """Return the vectors of chunks of one length. Shape: `[M, T]` -> `[M, N, D]`."""
        vectors = self._states(chunks)[self.layer]
        filled_to = getattr(
            self.extractor, "n_samples", None
        )  # Whisper's; its vectors stand in order of time
        if filled_to is None:
            return vectors
        return vectors[:, : math.ceil(vectors.shape[1] * chunks.shape[1] / filled_to)]

    @torch.no_grad()
    def chunk_frames(self, samples: int) -> int:
        """Return the number of vectors of a chunk: what a silence of that length has."""
        device = next(self.encoder.parameters()).device
        return self.encode(torch.zeros(1, samples, device=device)).shape[1]


@contextmanager
def _settings_folder(model: str, kept: Mapping[str, str] | None) -> Iterator[Path]:
    """Give the folder of a model or, for the length of the block, one with the settings that a run kept."""
    if kept is None:
        yield _folder(model)
        return
    with TemporaryDirectory() as scratch:
        for name in (*_SETTINGS, *_MORE_SETTINGS):  # and under no other name that a run may give
            if name in kept:
                (Path(scratch) / name).write_text(kept[name], encoding="utf-8")
        yield Path(scratch)


def _folder(model: str) -> Path:
    """Return the folder of a model, fetched where its name says so: weights in one format only."""
    code = ["*.json", "*.py"]
    folder = local_folder(model, where="frontend.model", patterns=[*code, "model*.safetensors"])
    if not _has_safetensors(folder):
        folder = local_folder(model, where="frontend.model", patterns=[*code, "pytorch_model*.bin"])
    if not folder.is_dir():
        raise WeightsError(
            "there is no such folder",
            where="frontend.model",
            value=model,
            remedy="check the path; for a model of the Hugging Face hub write hub:owner/name",
        )
    if missing := [name for name in _SETTINGS if not (folder / name).is_file()]:
        raise WeightsError(
            f"this folder holds no audio model of transformers: there is no {missing[0]}",
            where=folder,
            remedy="give a folder that save_pretrained of both model and feature extractor has written",
        )
    return folder


def _has_safetensors(folder: Path) -> bool:
    return any(folder.glob("model*.safetensors"))


def _extractor(transformers: Any, folder: Path, *, trust_remote_code: bool) -> Any:
    """Return the feature extractor of a model."""
    with _explained(folder, trust_remote_code=trust_remote_code):
        extractor = transformers.AutoFeatureExtractor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=trust_remote_code
        )
    if not isinstance(getattr(extractor, "sampling_rate", None), int):
        raise WeightsError(
            "its preprocessing names no sampling_rate, so this is no model of audio",
            where=folder / "preprocessor_config.json",
            remedy="name an encoder of audio",
        )
    return extractor


def _longest_seconds(extractor: Any) -> float | None:
    """Return the longest stretch that a model of fixed input length takes; it would drop what is behind."""
    if type(extractor).__name__ == "ASTFeatureExtractor":
        return float(extractor.max_length * _AST_SECONDS_A_FRAME)
    if hasattr(extractor, "n_samples"):  # Whisper's
        return float(extractor.n_samples / extractor.sampling_rate)
    return None


def _published(transformers: Any, folder: Path, *, trust_remote_code: bool) -> nn.Module:
    """Return a model's encoder, whole: transformers would fill weights that are missing with noise."""
    with _explained(folder, trust_remote_code=trust_remote_code):
        model, loading = transformers.AutoModel.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=trust_remote_code,
            use_safetensors=_has_safetensors(folder),
            weights_only=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    missing = [name for name in sorted(loading["missing_keys"]) if not any(part in name for part in _UNUSED)]
    if missing:
        listed = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise WeightsError(
            f"{len(missing)} weights are missing in the file: {listed}",
            where=folder,
            remedy="copy or download the folder again",
        )
    return _encoder(model)


def _unfilled(transformers: Any, folder: Path) -> nn.Module:
    """Return the encoder that a folder's settings describe, for weights that are put into it next."""
    with _explained(folder, trust_remote_code=False), torch.random.fork_rng(devices=[]):
        config = transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        return _encoder(transformers.AutoModel.from_config(config, dtype=torch.float32))


def _encoder(model: Any) -> nn.Module:
    return cast(nn.Module, model.get_encoder() if model.config.is_encoder_decoder else model)


@contextmanager
def _explained(folder: Path, *, trust_remote_code: bool) -> Iterator[None]:
    """Turn what transformers complains about while it reads `folder` into an error that says what to do."""
    try:
        yield
    except Exception as error:  # each of its models, and each reader of a damaged file, has its own
        if "trust_remote_code" in str(error) and not trust_remote_code:
            raise RecipeError(
                "this model brings Python code of its own, which could do anything with your files",
                where="frontend.trust_remote_code",
                value=trust_remote_code,
                remedy=f"read the *.py files in {folder}; if you trust them, set trust_remote_code: true",
            ) from error
        raise WeightsError(
            f"transformers cannot load this model: {type(error).__name__}: {error}",
            where=folder,
            remedy="copy or download the folder again, or name another model",
        ) from error


def _packed_settings(folder: Path) -> Tensor:
    """Return what a model's results depend on beside its weights."""
    files = [folder / name for name in (*_SETTINGS, *_MORE_SETTINGS)]
    return packed({file.name: file.read_text(encoding="utf-8") for file in files if file.is_file()})


def _transformers() -> Any:
    import_torchvision()  # which transformers imports
    return require("transformers", extra="embeddings")
