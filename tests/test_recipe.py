"""Recipes: what is read, what is refused, and in which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from kikiwake._recipe_file import shipped
from kikiwake.errors import RecipeError
from kikiwake.recipe import Recipe

GOOD = """\
# a comment
run: runs/x
data:
  sample_rate: 8000
  crop: {name: whole, seconds: 1.0}
frontend: {name: mel, n_fft: 256, hop_length: 64, n_mels: 32}
model: {name: fcn}
stages:
  - name: first
    epochs: 3
    batch_size: 4
    optimizer: {name: adamw, learning_rate: 3e-4}
  - name: second
    epochs: 1
    batch_size: 4
    loss: binary_cross_entropy
    optimizer: {name: sgd, learning_rate: 1e-2, momentum: 0.9, nesterov: true}
"""


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    return path


def test_numbers_in_scientific_notation_are_numbers(good: Path) -> None:
    assert Recipe.load(good).stages[0].optimizer.learning_rate == 3e-4


def test_defaults_of_parts_are_written_into_the_resolved_recipe(good: Path, tmp_path: Path) -> None:
    recipe = Recipe.load(good)
    assert recipe.model["dropout"] == 0.2
    again = tmp_path / "again.yaml"
    again.write_text(recipe.to_yaml())
    assert Recipe.load(again) == recipe


def test_the_last_stage_decides_between_softmax_and_sigmoid(good: Path) -> None:
    assert Recipe.load(good).multilabel
    assert not Recipe.load(good, "stages.second.loss=cross_entropy").multilabel


def test_overrides_reach_list_items_by_name_and_by_position(good: Path) -> None:
    recipe = Recipe.load(good, "stages.second.epochs=7", "stages.0.batch_size=16", "data.crop.seconds=2.5")
    assert (recipe.stages[1].epochs, recipe.stages[0].batch_size) == (7, 16)
    assert recipe.data.crop["seconds"] == 2.5


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("stages.first.epoch=3", "command line: stages.0.epoch: unknown key 'epoch'; did you mean 'epochs'?"),
        ("stages.first.epochs=many", "stages.0.epochs: input should be a valid integer (got 'many')"),
        ("stages.first.epochs=true", "stages.0.epochs: input should be a valid integer (got True)"),
        ("stages.first.epochs=0", "greater than or equal to 1 (got 0)"),
        ("stages.frist.epochs=1", "unknown item 'frist'; did you mean 'first'?"),
        ("frontend.name=mell", "frontend.name: unknown name 'mell'; did you mean 'mel'?"),
        ("frontend.n_mel=64", "unknown key 'n_mel'; did you mean 'n_mels'?"),
        ("frontend.sample_rate=1", "'sample_rate' is supplied by the pipeline"),
        ("frontend.n_mels=-1", "frontend.n_mels: input should be greater than"),
        ("model.dropout=2", "model.dropout: input should be less than"),
        ("stages.second.name=first", "two stages have the same name"),
        ("stages.first.optimizer.momentum=0.9", "'momentum' is for sgd and rmsprop; adamw takes 'betas'"),
        ("seed", "an override is written key=value"),
        ("seed.x.y=1", "seed: input should be a valid integer"),
    ],
)
def test_a_wrong_setting_is_named_with_place_value_and_remedy(
    good: Path, setting: str, expected: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe.load(good, setting)
    assert expected in str(caught.value)


def test_an_error_in_the_file_gives_its_line(good: Path) -> None:
    good.write_text(GOOD.replace("batch_size: 4\n    optimizer", "batchsize: 4\n    optimizer", 1))
    with pytest.raises(RecipeError) as caught:
        Recipe.load(good)
    message = str(caught.value)
    assert "good.yaml:11: stages.0.batchsize: unknown key 'batchsize'; did you mean 'batch_size'?" in message
    assert "stages.0.batch_size: this key is required and missing" in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD + "run: again\n", "good.yaml:18: the key 'run' stands twice"),
        (GOOD.replace("model: {", "model: [{"), "not valid YAML"),
        ("- a list\n", "a recipe is a mapping of keys"),
    ],
)
def test_broken_files_are_refused(good: Path, text: str, expected: str) -> None:
    good.write_text(text)
    with pytest.raises(RecipeError, match=r"good\.yaml") as caught:
        Recipe.load(good)
    assert expected in str(caught.value)


def test_a_recipe_overrides_its_base(good: Path, tmp_path: Path) -> None:
    top = tmp_path / "top.yaml"
    top.write_text("base: good.yaml\nseed: 3\ndata: {sample_rate: 16000}\nmodel: {name: fcn, dropout: 0.5}\n")
    recipe = Recipe.load(top, "stages.first.epochs=9")
    assert (recipe.seed, recipe.data.sample_rate, recipe.model["dropout"]) == (3, 16000, 0.5)
    assert recipe.stages[0].epochs == 9
    assert recipe.data.crop["seconds"] == 1.0


def test_a_base_that_leads_back_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "loop.yaml"
    path.write_text("base: loop.yaml\n")
    with pytest.raises(RecipeError, match="cannot be its own base"):
        Recipe.load(path)


def test_an_unknown_recipe_gives_the_nearest_name() -> None:
    with pytest.raises(RecipeError, match="did you mean 'esc10'"):
        Recipe.load("esc_10")


@pytest.mark.parametrize("name", sorted(shipped()))
def test_every_shipped_recipe_is_valid_and_says_what_it_is(name: str) -> None:
    recipe = Recipe.load(name)
    assert bool(recipe.stages) != recipe.model_is_fitted
    assert shipped()[name].read_text(encoding="utf-8").startswith("# ")


def test_a_mapping_changes_the_items_of_a_bases_list_by_name(good: Path, tmp_path: Path) -> None:
    before = Recipe.load(good)
    top = tmp_path / "top.yaml"
    name = before.stages[0].name
    top.write_text(f"base: {good.name}\nstages: {{{name}: {{epochs: 7}}}}\n")
    after = Recipe.load(top)
    assert after.stages[0].epochs == 7
    assert after.stages[0].batch_size == before.stages[0].batch_size
    top.write_text(f"base: {good.name}\nstages: {{nope: {{epochs: 7}}}}\n")
    with pytest.raises(RecipeError, match="nope"):
        Recipe.load(top)


def test_parts_inside_a_part_are_checked_filled_in_and_overridden(good: Path, tmp_path: Path) -> None:
    group = "{name: some_of, p: 0.6, parts: [{name: frequency_mask, max_width: 15}, {name: pitch_shift}]}"
    good.write_text(GOOD + f"augmentations:\n  - {group}\n")
    setting = "augmentations.some_of.parts.frequency_mask.masks=2"
    (node,) = Recipe.load(good, setting, "augmentations.0.parts.1.highest=1.5").augmentations
    mask, shift = node["parts"]
    assert (node["least"], node["most"], node["p"]) == (1, 1, 0.6)
    assert (mask["masks"], mask["value"], shift["highest"], shift["p"]) == (2, "mean", 1.5, 1.0)
    again = tmp_path / "again.yaml"
    again.write_text(Recipe.load(good, setting).to_yaml())
    assert Recipe.load(again) == Recipe.load(good, setting)

    with pytest.raises(RecipeError) as caught:
        Recipe.load(good, "augmentations.0.parts.0.max_widht=3")
    message = str(caught.value)
    assert "augmentations.0.parts.0: unknown key 'max_widht'; did you mean 'max_width'?" in message
    good.write_text(good.read_text().replace("{name: pitch_shift}", "{name: pitch_shift, p: 0.5}"))
    with pytest.raises(RecipeError) as caught:
        Recipe.load(good)
    message = str(caught.value)
    assert message.startswith("good.yaml:19: augmentations.0.parts.1.p: 'p' of a part in here is 1.0")
    assert message.endswith("remove it: how often is said once, by p of some_of")
