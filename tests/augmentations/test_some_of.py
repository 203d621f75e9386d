"""Some of a list: who is changed, how often, by what, in which order, and with whom clips are mixed."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from kikiwake import components
from kikiwake.augmentations.cutmix import Cutmix
from kikiwake.augmentations.mixup import Mixup
from kikiwake.augmentations.some_of import SomeOf
from kikiwake.errors import RecipeError
from kikiwake.mel_scale import MelBands
from kikiwake.randomness import generator

DRAWS = 2000
CLIPS = 800


def near(share: float, expected: float, *, of: int = DRAWS) -> bool:
    """Whether a share lies within 4 standard deviations of what is expected of so many draws."""
    return abs(share - expected) <= 4 * (expected * (1 - expected) / of) ** 0.5


class Digit:
    """A part that appends its digit to the number in every value."""

    def __init__(self, digit: int, *, level: str) -> None:
        self.digit = digit
        self.level = level

    def __call__(self, signal, *, rng, **beside):
        assert beside == ({"sample_rate": 8000} if self.level == "waveform" else {})
        return 10 * signal + self.digit


def digits(level: str, **settings) -> list[str]:
    """Which parts changed each of 2000 clips, in their order, as text; empty where none did."""
    group = SomeOf(parts=[Digit(digit, level=level) for digit in (1, 2, 3, 4)], **settings)
    if level == "waveform":
        clip = np.zeros((2, 8), np.float32)
        changed = [group(clip, sample_rate=8000, rng=generator(0, draw)) for draw in range(DRAWS)]
        assert all((found == found[0, 0]).all() for found in changed)
        numbers = [int(found[0, 0]) for found in changed]
    else:
        found = group(torch.zeros(DRAWS, 1, 2, 2), rng=generator(0))
        assert (found == found[:, :, :1, :1]).all()
        numbers = found[:, 0, 0, 0].int().tolist()
    return [str(number) if number else "" for number in numbers]


@pytest.mark.parametrize("level", ["waveform", "spectrogram"])
def test_the_stated_share_of_clips_is_changed_by_least_to_most_parts_in_their_order(level) -> None:
    found = digits(level, p=0.8, least=1, most=3)
    # Drawn twice, the share would be 0.64.
    assert near(np.mean([len(each) > 0 for each in found]), 0.8)
    for number in (1, 2, 3):
        assert near(np.mean([len(each) == number for each in found]), 0.8 / 3)
    for digit in "1234":
        assert near(np.mean([digit in each for each in found]), 0.8 * 2 / 4)
    # In their order and without repetition; of 4 parts there are 4 singles, 6 pairs and 4 triples.
    assert all(list(each) == sorted(set(each)) for each in found)
    assert len(set(found)) == 1 + 4 + 6 + 4


def test_all_parts_or_none_where_least_and_most_are_all() -> None:
    found = digits("spectrogram", p=0.6, least=4, most=4)
    assert set(found) == {"", "1234"}
    assert near(np.mean([each == "1234" for each in found]), 0.6)


class Watched:
    """A part of level batch that notes which clips it is given, by their weights."""

    level = "batch"

    def __init__(self, part) -> None:
        self.part = part

    def __call__(self, features, *, targets, weights, rng):
        self.given = weights.long().tolist()
        return self.part(features, targets=targets, weights=weights, rng=rng)


def test_each_clip_of_a_batch_is_dealt_to_one_part_and_mixed_with_others_of_that_part() -> None:
    parts = [Watched(Mixup(alpha=1.0)), Watched(Cutmix(alpha=1.0))]
    values = torch.arange(float(CLIPS))
    features = values.view(-1, 1, 1, 1).expand(-1, 1, 1, 50).clone()
    mixed, targets, weights = SomeOf(parts=parts, p=0.7)(
        features, targets=torch.eye(CLIPS), weights=values, rng=generator(0)
    )
    dealt = [set(part.given) for part in parts]
    assert dealt[0].isdisjoint(dealt[1])
    assert near(len(dealt[0] | dealt[1]) / CLIPS, 0.7, of=CLIPS)
    for group in dealt:
        assert near(len(group) / CLIPS, 0.35, of=CLIPS)
    # Clip i has the value i, the class i and the weight i: all three tell the same mixture.
    torch.testing.assert_close(mixed.mean(dim=(1, 2, 3)), weights)
    torch.testing.assert_close(targets @ values, weights)
    for row, source in targets.nonzero().tolist():
        assert row == source or any({row, source} <= group for group in dealt)
    unchanged = sorted(set(range(CLIPS)) - dealt[0] - dealt[1])
    assert torch.equal(mixed[unchanged], features[unchanged])
    assert (targets.diagonal() < 1).sum() > 0.6 * CLIPS


def masks() -> SomeOf:
    nodes = [{"name": name, "max_width": 12, "value": 0.0} for name in ("time_mask", "frequency_mask")]
    return components.build("augmentations", {"name": "some_of", "parts": nodes, "p": 0.5}, where="")


def test_draws_repeat_and_depend_on_nothing_but_the_generator() -> None:
    features = torch.ones(64, 1, 16, 16)
    group = masks()
    first = group(features, rng=generator(3))
    assert torch.equal(group(features, rng=generator(3)), first)
    assert torch.equal(pickle.loads(pickle.dumps(group))(features, rng=generator(3)), first)
    assert torch.equal(group(features.bfloat16(), rng=generator(3)).float(), first)
    assert not torch.equal(group(features, rng=generator(4)), first)
    assert torch.equal(features, torch.ones(64, 1, 16, 16))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_masks_and_mixes_the_same_clips() -> None:
    features = torch.ones(64, 1, 16, 16)
    on_host = masks()(features, rng=generator(3))
    assert torch.equal(masks()(features.cuda(), rng=generator(3)).cpu(), on_host)
    mixing = SomeOf(parts=[Mixup(alpha=1.0), Cutmix(alpha=1.0)], p=0.7)
    labels = {"targets": torch.eye(64), "weights": torch.arange(64.0)}
    host = mixing(features, **labels, rng=generator(3))
    device = mixing(features.cuda(), **{key: label.cuda() for key, label in labels.items()}, rng=generator(3))
    for one, other in zip(host, device, strict=True):
        torch.testing.assert_close(one, other.cpu())


def test_a_group_has_the_level_of_its_parts_and_can_be_a_part_itself() -> None:
    inner = {
        "name": "some_of",
        "parts": [{"name": "mixup", "alpha": 1.0}, {"name": "cutmix", "alpha": 1.0}],
    }
    group = components.build("augmentations", {"name": "some_of", "parts": [inner], "p": 0.5}, where="")
    assert (group.level, group.parts[0].level, masks().level) == ("batch", "batch", "spectrogram")
    features = torch.arange(64.0).view(-1, 1, 1, 1).expand(-1, 1, 4, 50)
    mixed, _, _ = group(features, targets=torch.eye(64), weights=torch.ones(64), rng=generator(0))
    assert 0 < int((mixed != features).any(dim=3).any(dim=2).sum()) < 64


def test_parts_are_given_what_the_pipeline_supplies_and_come_always_when_drawn() -> None:
    node = {
        "name": "some_of",
        "parts": [{"name": "pitch_shift"}, {"name": "volume", "factors": [2.0], "p": 1}],
    }
    bands = MelBands(n_mels=32, f_min=50.0, f_max=8000.0, scale="htk")
    group = components.build("augmentations", node, where="", sample_rate=22_050, mel_bands=[bands])
    shift, volume = group.parts
    assert (shift.p, volume.p) == (1.0, 1.0)
    assert shift.bands == bands


@pytest.mark.parametrize("p", [0.5, 0, 0.999])
def test_a_probability_inside_a_group_is_refused(p) -> None:
    node = {"name": "some_of", "parts": [{"name": "waveform", "transform": "Gain", "p": p}]}
    with pytest.raises(RecipeError, match=r"^augmentations\.2\.parts\.0\.p: .*said once, by p of some_of"):
        components.resolve("augmentations", node, where="augmentations.2")


@pytest.mark.parametrize("name", components.names("augmentations"))
def test_every_augmentation_calls_its_probability_p(name) -> None:
    # What is named otherwise would be applied beside the group's.
    assert "p" in components.schema(components.part("augmentations", name)).model_fields


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"least": 2}, r"must be numbers of parts, and 2 are listed \(got \(2, 1\)\)"),
        ({"most": 3}, r"\(got \(1, 3\)\); give 1 <= least <= most <= 2"),
    ],
)
def test_a_number_of_parts_that_cannot_be_drawn_is_refused(settings, message) -> None:
    with pytest.raises(RecipeError, match=message):
        SomeOf(parts=[Mixup(alpha=1.0), Cutmix(alpha=1.0)], **settings)


def test_parts_of_two_levels_are_refused_and_named() -> None:
    with pytest.raises(RecipeError, match=r"not of one level.*Mixup: batch.*Digit: waveform.*a some_of for"):
        SomeOf(parts=[Mixup(alpha=1.0), Digit(1, level="waveform")])
