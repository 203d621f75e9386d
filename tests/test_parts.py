"""What every part of every family keeps to; a new part is tested here without a line being written."""

from __future__ import annotations

import inspect
import json
import pickle
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

import part_files
from kikiwake import components
from kikiwake.errors import ManifestError
from kikiwake.events import Event
from kikiwake.mel_scale import MelBands
from kikiwake.models._output import Output

SAMPLE_RATE = 16_000
CHANNELS = 2
CLASSES = 3
BATCH = 4
BINS = 96


def parts(family: str) -> list[Any]:
    return [pytest.param(family, name, id=f"{family}-{name}") for name in components.names(family)]


CLASSES_OF_PARTS = [
    part
    for family in ("crops", "separators", "frontends", "augmentations", "models", "schedules")
    for part in parts(family)
]
EVERY_PART = [*CLASSES_OF_PARTS, *parts("datasets"), *parts("labelfiles")]


class Example(NamedTuple):
    """Settings that make a small instance of a part, and the waveforms that it takes."""

    settings: dict[str, Any]
    sample_rate: int = SAMPLE_RATE
    channels: int = CHANNELS


@cache
def example(family: str, name: str) -> Example:
    """A part's own `example`, or, of a part that needs files, one that `part_files` writes."""
    settings = components.part(family, name).example
    if settings is not None:
        return Example(settings)
    folder = Path(scratch().name) / name
    folder.mkdir(exist_ok=True)
    return Example(*part_files.WRITERS[name](folder), channels=1)


@cache
def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder that goes with this process."""
    return tempfile.TemporaryDirectory(prefix="kikiwake-parts-")


def build(family: str, name: str, *, in_channels: int | None = None) -> Any:
    """The part as its example makes it, with weights that are always the same."""
    settings, sample_rate, channels = example(family, name)
    in_channels = channels if in_channels is None else in_channels
    torch.manual_seed(0)
    made = components.build(
        family,
        {"name": name, **settings},
        where=name,
        sample_rate=sample_rate,
        in_channels=in_channels,
        num_classes=CLASSES,
        bins=BINS,
        mel_bands=[MelBands(BINS, 0.0, sample_rate / 2, "slaney")],
    )
    if getattr(made, "fitted", False):
        rows = np.arange(12)
        vectors = np.random.default_rng(1).normal(rows[:, None] % CLASSES, 1, (12, in_channels))
        folds = [(rows[6:], rows[:6]), (rows[:6], rows[6:])]
        made.fit(vectors, rows % CLASSES, folds=folds, seed=0)
    return made


def waveforms(kind: str) -> np.ndarray:
    """One second of a clip `[C, T]`: noise, a tone, or nothing."""
    if kind == "silence":
        return np.zeros((CHANNELS, SAMPLE_RATE), dtype=np.float32)
    if kind == "tone":
        time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
        tone = 0.5 * np.sin(2 * np.pi * 440 * time)
        return np.stack([tone, -tone]).astype(np.float32)
    noise = np.random.default_rng(0).standard_normal((CHANNELS, SAMPLE_RATE), dtype=np.float32)
    return 0.1 * noise


def heard(frontend: Any, kind: str) -> np.ndarray:
    """The waveform in as many channels as a front end takes."""
    return waveforms(kind)[: getattr(frontend, "in_channels", CHANNELS)]


def mixtures(separator: Any, kind: str) -> torch.Tensor:
    """Two windows of a mixture `[B, C, T]` as a separator hears them; the second is half as loud."""
    times = 1 + separator.window // SAMPLE_RATE
    heard = np.tile(waveforms(kind), times)[: separator.channels, : separator.window]
    return torch.from_numpy(np.stack([heard, 0.5 * heard]))


def pictures(kind: str) -> torch.Tensor:
    """Features of a batch `[B, C, F, N]`: noise, or the same value everywhere."""
    shape = (BATCH, CHANNELS, BINS, 128)
    if kind == "silence":
        return torch.full(shape, -1.0)
    return torch.from_numpy(np.random.default_rng(0).standard_normal(shape, dtype=np.float32))


def inputs(network: Any, kind: str) -> torch.Tensor:
    """What a network takes: pictures, or sequences `[B, C, N]`."""
    return pictures(kind) if network.takes == "picture" else pictures(kind)[:, :, 0]


def same(one: Any, other: Any) -> bool:
    """Whether two results agree to the last bit."""
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    return bool(np.array_equal(one, other))


def use(family: str, part: Any, kind: str = "noise") -> Any:
    """What a part makes of a signal, drawing from a generator that always starts alike."""
    rng = np.random.default_rng(11)
    if family == "crops":
        clip = waveforms(kind)
        return part.choose(
            SAMPLE_RATE, sample_rate=SAMPLE_RATE, rng=rng, read=lambda start, n: clip[:, start : start + n]
        )
    if family == "separators":
        return part(mixtures(part, kind))
    if family == "frontends":
        with torch.inference_mode():
            return part.eval()(torch.from_numpy(np.stack([heard(part, kind)] * BATCH)))
    if family == "models":
        with torch.inference_mode():
            return part.eval()(inputs(part, kind)).clipwise
    if family == "schedules":
        return [part.rate(1.0, epoch=epoch, epochs=4, scores=[0.5] * epoch) for epoch in range(5)]
    if part.level == "waveform":
        return part(waveforms(kind), sample_rate=SAMPLE_RATE, rng=rng)
    if part.level == "spectrogram":
        return part(pictures(kind), rng=rng)
    targets = torch.eye(BATCH, CLASSES)
    return part(pictures(kind), targets=targets, weights=torch.ones(BATCH), rng=rng)


@pytest.mark.parametrize(("family", "name"), EVERY_PART)
def test_every_part_says_what_it_is(family, name):
    part = components.part(family, name)
    assert part.__doc__
    assert part.__doc__.strip().partition("\n")[0].endswith((".", ":"))
    assert inspect.getmodule(part).__doc__


@pytest.mark.parametrize(("family", "name"), EVERY_PART)
def test_every_setting_has_a_type_and_is_keyword_only(family, name):
    part = components.part(family, name)
    settings = list(inspect.signature(part).parameters.values())
    if not inspect.isclass(part):
        assert settings.pop(0).name == "root"
    for parameter in settings:
        assert parameter.kind is parameter.KEYWORD_ONLY, parameter.name
        assert parameter.annotation is not parameter.empty, parameter.name
    assert not any(field.annotation is Any for field in components.schema(part).model_fields.values())


@pytest.mark.parametrize(("family", "name"), [*CLASSES_OF_PARTS, *parts("labelfiles")])
def test_every_key_of_a_recipe_is_explained(family, name):
    part = components.part(family, name)
    own = [one for one in inspect.getmro(part) if one.__module__.startswith("kikiwake.")]  # not torch's
    documented = " ".join(one.__doc__ or "" for one in (inspect.getmodule(part), *own))
    assert [key for key in components.schema(part).model_fields if key not in documented] == []


@pytest.mark.parametrize(("family", "name"), CLASSES_OF_PARTS)
def test_the_example_is_plain_and_resolves_to_itself(family, name):
    node = {"name": name, **example(family, name).settings}
    resolved = components.resolve(family, node, where=name)
    assert json.loads(json.dumps(resolved, allow_nan=False)) == resolved
    assert components.resolve(family, resolved, where=name) == resolved


@pytest.mark.parametrize(("family", "name"), CLASSES_OF_PARTS)
def test_every_part_goes_through_pickle(family, name):
    part = build(family, name)
    assert same(use(family, pickle.loads(pickle.dumps(part))), use(family, part))


@pytest.mark.parametrize(("family", "name"), CLASSES_OF_PARTS)
def test_the_same_draws_give_the_same_result_and_nothing_is_remembered(family, name):
    part = build(family, name)
    first = use(family, part)
    use(family, part, "tone" if family != "models" else "silence")
    assert same(use(family, part), first)
    assert same(use(family, build(family, name)), first)


@pytest.mark.parametrize(("family", "name"), CLASSES_OF_PARTS)
def test_global_generators_are_left_alone(family, name):
    part = build(family, name)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    use(family, part)
    assert np.array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])


@pytest.mark.parametrize("kind", ["noise", "tone", "silence"])
@pytest.mark.parametrize(("family", "name"), parts("crops"))
def test_crops_lie_inside_the_clip(family, name, kind):
    part = build(family, name)
    start, length = use(family, part, kind)
    assert start >= 0
    assert start + length <= SAMPLE_RATE
    wanted = SAMPLE_RATE if part.seconds is None else round(part.seconds * SAMPLE_RATE)
    assert length == min(wanted, SAMPLE_RATE)


@pytest.mark.parametrize("kind", ["noise", "tone", "silence"])
@pytest.mark.parametrize(("family", "name"), parts("separators"))
def test_separators_make_every_stem_of_every_window(family, name, kind):
    part = build(family, name)
    found = use(family, part, kind)
    assert found.dtype == torch.float32
    assert found.shape == (2, len(part.stems), part.window)
    assert torch.isfinite(found).all()
    assert len(set(part.stems)) == len(part.stems)
    assert 0 < part.hop <= part.window
    torch.testing.assert_close(part(mixtures(part, kind)[1:]), found[1:], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("family", "name"), parts("separators"))
def test_separators_tell_their_models_apart_and_know_which_settings_are_free(family, name):
    part = build(family, name)
    assert isinstance(part.identity, str)
    assert part.identity == build(family, name).identity
    assert part.free <= set(components.schema(components.part(family, name)).model_fields)


@pytest.mark.parametrize("kind", ["noise", "tone", "silence"])
@pytest.mark.parametrize(("family", "name"), parts("frontends"))
def test_front_ends_make_finite_features_of_the_size_they_promise(family, name, kind):
    part = build(family, name)
    features = use(family, part, kind)
    assert features.dtype == torch.float32
    assert features.shape[:2] == (BATCH, part.out_channels)
    assert features.shape[-1] == part.frames(SAMPLE_RATE)
    assert torch.isfinite(features).all()


@pytest.mark.parametrize(("family", "name"), parts("frontends"))
def test_front_ends_treat_every_clip_by_itself(family, name):
    part = build(family, name).eval()
    batch = torch.from_numpy(np.stack([heard(part, kind) for kind in ("noise", "tone", "silence")]))
    with torch.inference_mode():
        together = part(batch)
        alone = torch.cat([part(clip[None]) for clip in batch])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["noise", "tone", "silence"])
@pytest.mark.parametrize(("family", "name"), parts("augmentations"))
def test_augmentations_keep_type_and_channels_and_stay_finite(family, name, kind):
    part = build(family, name)
    result = use(family, part, kind)
    if part.level == "waveform":
        assert result.dtype == np.float32
        assert result.shape[0] == CHANNELS
        assert 1 <= result.shape[1] <= SAMPLE_RATE
        assert np.isfinite(result).all()
        return
    features, *others = result if part.level == "batch" else (result,)
    assert features.dtype == torch.float32
    assert features.shape == pictures(kind).shape
    assert torch.isfinite(features).all()
    assert [other.shape for other in others] == [(BATCH, CLASSES), (BATCH,)][: len(others)]
    assert all(torch.isfinite(other).all() for other in others)


@pytest.mark.parametrize(("family", "name"), parts("augmentations"))
def test_augmentations_leave_their_input_as_it_was(family, name):
    part = build(family, name)
    kept: list[Any] = []

    def watched(make: Callable[[str], Any]) -> Callable[[str], Any]:
        def made(kind: str) -> Any:
            kept.append(make(kind))
            return kept[-1]

        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "waveforms", watched(waveforms))
        patch.setitem(globals(), "pictures", watched(pictures))
        use(family, part)
    given = kept[0]
    assert same(given, waveforms("noise") if part.level == "waveform" else pictures("noise"))


@pytest.mark.parametrize(("family", "name"), parts("augmentations"))
def test_augmentations_do_something(family, name):
    part = build(family, name)
    given = waveforms("noise") if part.level == "waveform" else pictures("noise")

    def result(seed: int) -> Any:
        rng = np.random.default_rng(seed)
        if part.level == "waveform":
            return part(given, sample_rate=SAMPLE_RATE, rng=rng)
        if part.level == "spectrogram":
            return part(given, rng=rng)
        targets, weights = torch.eye(BATCH, CLASSES), torch.ones(BATCH)
        return part(given, targets=targets, weights=weights, rng=rng)[0]

    results = [result(seed) for seed in range(12)]
    assert any(not same(found, given) for found in results)
    assert any(not same(found, results[0]) for found in results)


@pytest.mark.parametrize("kind", ["noise", "silence"])
@pytest.mark.parametrize("in_channels", [1, CHANNELS])
@pytest.mark.parametrize(("family", "name"), parts("models"))
def test_networks_give_finite_logits_a_class(family, name, in_channels, kind):
    network = build(family, name, in_channels=in_channels).eval()
    with torch.inference_mode():
        output = network(inputs(network, kind)[:, :in_channels])
    assert isinstance(output, Output)
    assert output.clipwise.shape == (BATCH, CLASSES)
    assert output.clipwise.dtype == torch.float32
    assert torch.isfinite(output.clipwise).all()
    if output.framewise is not None:
        assert output.framewise.shape == (BATCH, CLASSES, pictures(kind).shape[-1])


@pytest.mark.parametrize(("family", "name"), parts("models"))
def test_networks_judge_every_clip_by_itself(family, name):
    network = build(family, name).eval()
    batch = inputs(network, "noise")
    with torch.inference_mode():
        alone = torch.cat([network(clip[None]).clipwise for clip in batch])
        torch.testing.assert_close(network(batch).clipwise, alone, rtol=1e-4, atol=1e-5)


TRAINED = [part for part in parts("models") if not hasattr(components.part(*part.values), "fitted")]


@pytest.mark.parametrize(("family", "name"), TRAINED)
def test_every_parameter_of_a_network_learns(family, name):
    network = build(family, name).train()
    network(inputs(network, "noise")).clipwise.square().sum().backward()
    without = [key for key, parameter in network.named_parameters() if parameter.grad is None]
    assert without == []


@pytest.mark.parametrize(("family", "name"), TRAINED)
def test_networks_freeze_by_group(family, name):
    network = build(family, name)
    groups = network.groups()
    assert len(groups) == len(set(groups)) >= 1
    counts = []
    for number in range(len(groups) + 1):
        network.freeze(number)
        counts.append(sum(not parameter.requires_grad for parameter in network.parameters()))
    assert counts[0] == 0
    assert counts == sorted(set(counts))
    network.freeze("all")
    assert sum(not parameter.requires_grad for parameter in network.parameters()) == counts[-1]
    assert any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize(("family", "name"), parts("datasets"))
def test_data_sets_scan_a_folder(family, name):
    parameters = inspect.signature(components.part(family, name)).parameters
    assert next(iter(parameters)) == "root"
    assert all(
        parameter.default is not parameter.empty
        for parameter in parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    )


@pytest.mark.parametrize(("family", "name"), parts("schedules"))
def test_schedules_never_leave_zero_to_the_given_rate(family, name):
    assert all(0 <= rate <= 1 for rate in use(family, build(family, name)))


TIMES = [0.0, 5e-324, 1e-7, 0.1, 1 / 3, 4.000000000000001, 86_399.99999999999, 1e9 / 7]
LABELS = ["owl", "=1+1", "-", "@home", "聞き分け", 'a "b"', "a,b;c", "7", " ", "", "\\", "\u2028\x85", "# 1"]
EVENTS = [
    Event("a b/聞.wav", start, start + 0.7 * at, label)
    for at, (start, label) in enumerate((start, label) for start in TIMES for label in LABELS)
]


def events_back(name: str, path: Path, events: list[Event]) -> list[Event]:
    """What a label format makes of events, written and read again."""
    made = components.build("labelfiles", {"name": name}, where=name, sample_rate=SAMPLE_RATE)
    made.write(path, events)
    return made.read(path, recording="a b/聞.wav")


@pytest.mark.parametrize(("family", "name"), parts("labelfiles"))
def test_label_files_give_back_what_was_written_to_the_last_bit(family, name, tmp_path):
    found = events_back(name, tmp_path / "labels.txt", EVENTS)
    assert [(event.path, event.start, event.end, event.label) for event in found] == [
        (event.path, event.start, event.end, event.label) for event in EVENTS
    ]


@pytest.mark.parametrize(("family", "name"), parts("labelfiles"))
def test_bands_come_back_from_label_files(family, name, tmp_path):
    (found,) = events_back(
        name, tmp_path / "labels.txt", [Event("a.wav", 1.0, 2.0, "owl", low_hz=0.1, high_hz=1 / 3)]
    )
    assert (found.low_hz, found.high_hz) == (0.1, 1 / 3)


@pytest.mark.parametrize(("family", "name"), parts("labelfiles"))
def test_what_no_cell_can_hold_becomes_a_space(family, name, tmp_path):
    labels = ["a\tb", "\ta", "a\nb", "a\r\nb", "a\rb\n"]
    found = events_back(name, tmp_path / "l.txt", [Event("a", 1.0, 2.0, label) for label in labels])
    assert [event.label for event in found] == ["a b", " a", "a b", "a b", "a b "]


@pytest.mark.parametrize(("family", "name"), parts("labelfiles"))
def test_a_recording_without_events_has_a_label_file_too(family, name, tmp_path):
    assert events_back(name, tmp_path / "labels.txt", []) == []
    assert (tmp_path / "labels.txt").is_file()


@pytest.mark.parametrize(("family", "name"), parts("labelfiles"))
def test_a_file_of_something_else_is_no_label_file(family, name, tmp_path):
    (tmp_path / "notes.txt").write_text("buy milk\n")
    with pytest.raises(ManifestError, match="notes"):
        components.part(family, name)().read(tmp_path / "notes.txt")


def test_label_files_of_different_formats_have_different_names():
    endings = [components.part("labelfiles", name).suffix for name in components.names("labelfiles")]
    assert all(ending.startswith(".") for ending in endings)
    assert not any(one.endswith(other) for one in endings for other in endings if one is not other)
