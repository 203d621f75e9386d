from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from kikiwake import components
from kikiwake.errors import KikiwakeError, RecipeError


class Inner(TypedDict, total=False):
    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]
    width: int
    height: int


class Toy:
    """A part with every kind of argument."""

    def __init__(
        self,
        *,
        sample_rate: int,
        num_classes: int,
        size: Annotated[int, Field(ge=1)],
        share: Annotated[float, Field(ge=0, le=1)] = 0.5,
        mode: Literal["soft", "hard"] = "soft",
        limit: float | Literal["none"] = "none",
        file: Path | None = None,
        pair: tuple[int, int] = (1, 2),
        boxes: list[Inner] = [],  # noqa: B006
        options: dict[str, Any] = {},  # noqa: B006
    ) -> None:
        self.arguments = locals()


@pytest.fixture
def toys(monkeypatch):
    """A family `toys` with the parts `toy` and `fcn`."""
    monkeypatch.setattr(components, "names", lambda family: ["fcn", "toy"])
    monkeypatch.setattr(components, "part", lambda family, name: Toy)


def refusal(**node) -> str:
    with pytest.raises(RecipeError) as caught:
        components.validate("toys", {"name": "toy", "size": 3, **node}, where="toy")
    return str(caught.value)


def test_parts_are_the_modules_without_an_underscore():
    found = components.names("models")
    assert {"cnn", "fcn"} <= set(found)
    assert not any(name.startswith("_") for name in found)
    assert found == sorted(found)


def test_a_part_is_the_class_named_as_its_module():
    assert components.part("augmentations", "time_mask").__name__ == "TimeMask"
    assert components.part("datasets", "folder").__name__ == "scan"


def test_a_name_that_does_not_exist_gives_the_nearest_and_all():
    with pytest.raises(RecipeError) as caught:
        components.part("augmentations", "timemask")
    assert "unknown name 'timemask'" in str(caught.value)
    assert "did you mean 'time_mask'?" in str(caught.value)
    assert "frequency_mask" in str(caught.value)


def test_a_name_like_no_other_gets_no_guess():
    message = str(components.unknown("name", "xyz", ["mixup", "volume"], where="here"))
    assert message == "here: unknown name 'xyz'; allowed: mixup, volume"


def test_the_schema_is_the_constructor_without_what_the_pipeline_supplies():
    fields = components.schema(Toy).model_fields
    assert list(fields) == ["size", "share", "mode", "limit", "file", "pair", "boxes", "options"]
    assert fields["size"].is_required()
    assert fields["share"].default == 0.5


def test_values_are_converted_and_defaults_filled_in(toys):
    part, arguments = components.validate(
        "toys", {"name": "toy", "size": 3, "file": "a.pt", "pair": [3, 4], "share": 1}, where="toy"
    )
    assert part is Toy
    assert arguments == {
        "size": 3,
        "share": 1.0,
        "mode": "soft",
        "limit": "none",
        "file": Path("a.pt"),
        "pair": (3, 4),
        "boxes": [],
        "options": {},
    }


def test_a_resolved_node_is_plain_and_resolves_to_itself(toys):
    node = components.resolve("toys", {"name": "toy", "size": 3, "file": "a.pt"}, where="toy")
    assert node["file"] == "a.pt"
    assert node["pair"] == [1, 2]
    assert components.resolve("toys", node, where="toy") == node


def test_building_hands_a_part_what_it_asks_for(toys):
    built = components.build(
        "toys", {"name": "toy", "size": 3}, where="toy", sample_rate=8000, num_classes=4, in_channels=2
    )
    assert (built.arguments["sample_rate"], built.arguments["num_classes"]) == (8000, 4)
    assert "in_channels" not in built.arguments


@pytest.mark.parametrize("name", ["sample_rate", "num_classes", "in_channels"])
def test_what_the_pipeline_supplies_cannot_be_set(toys, name):
    assert refusal(**{name: 3}) == (
        f"toy: '{name}' is supplied by the pipeline and cannot be set here; remove it"
    )


def test_an_unknown_key_gives_the_nearest(toys):
    assert refusal(shere=0.1).startswith("toy: unknown key 'shere'; did you mean 'share'? allowed: boxes,")


def test_an_unknown_key_inside_an_argument_gives_its_place_and_the_nearest(toys):
    message = refusal(boxes=[{"width": 1}, {"widht": 2}])
    assert message == "toy.boxes.1: unknown key 'widht'; did you mean 'width'? allowed: height, width"


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"size": 0}, "toy.size: input should be greater than or equal to 1 (got 0)"),
        ({"size": "3"}, "toy.size: input should be a valid integer (got '3')"),
        ({"size": True}, "toy.size: input should be a valid integer (got True)"),
        ({"share": 1.5}, "toy.share: input should be less than or equal to 1 (got 1.5)"),
        ({"mode": "sofft"}, "toy.mode: input should be 'soft' or 'hard' (got 'sofft')"),
        ({"pair": [1, "x"]}, "toy.pair.1: input should be a valid integer (got 'x')"),
        ({"boxes": [{"width": "x"}]}, "toy.boxes.0.width: input should be a valid integer (got 'x')"),
    ],
)
def test_a_wrong_value_gives_place_reason_and_value(toys, node, message):
    assert refusal(**node) == message


def test_all_ways_to_write_a_value_are_told(toys):
    assert refusal(limit="nothing") == (
        "toy.limit: input should be a valid number; or input should be 'none' (got 'nothing')"
    )


def test_a_missing_key_is_named(toys):
    with pytest.raises(RecipeError, match=r"^toy\.size: this key is required and missing$"):
        components.validate("toys", {"name": "toy"}, where="toy")


def test_a_value_that_no_recipe_can_hold_is_refused(toys):
    assert "a recipe holds numbers, text, lists and mappings" in refusal(options={"a": object()})


@pytest.mark.parametrize("node", ["toy", None, {}, {"size": 3}, ["toy"]])
def test_a_node_without_a_name_is_refused(toys, node):
    with pytest.raises(KikiwakeError, match="a part is written as a mapping with a name"):
        components.validate("toys", node, where="toy")


def test_the_description_shows_settings_and_summary(toys):
    text = components.describe("toys", "toy")
    assert text.startswith("toy(size, share=0.5, mode='soft'")
    assert text.endswith("A part with every kind of argument.")


class Box:
    """A part that holds parts."""

    def __init__(
        self,
        *,
        toys: Annotated[
            list[Any], Field(min_length=1), components.PartsOf("toys", fixed={"share": 1.0}, remedy="buy two")
        ],
        lid: bool = False,
    ) -> None:
        self.toys = toys
        self.lid = lid


@pytest.fixture
def boxes(monkeypatch):
    """A family `toys` with the parts `toy` and `box`, which holds parts of this family."""
    known = {"box": Box, "toy": Toy}
    monkeypatch.setattr(components, "names", lambda family: sorted(known))
    monkeypatch.setattr(components, "part", lambda family, name: known[name])


def box(*toys) -> dict[str, Any]:
    return {"name": "box", "toys": list(toys)}


def test_parts_that_are_held_are_resolved_with_their_defaults_and_what_is_fixed(boxes):
    node = components.resolve(
        "toys", box({"name": "toy", "size": 3}, box({"name": "toy", "size": 4})), where=""
    )
    assert list(node) == ["name", "toys", "lid"]
    inner, nested = node["toys"]
    assert (inner["size"], inner["share"], inner["pair"]) == (3, 1.0, [1, 2])
    assert (nested["toys"][0]["size"], nested["lid"]) == (4, False)
    assert "share" not in nested  # the box does not know this setting
    assert components.resolve("toys", node, where="") == node


def test_parts_that_are_held_are_built_first_with_what_they_ask_for(boxes):
    node = box({"name": "toy", "size": 3}, box({"name": "toy", "size": 4, "share": 1}))
    built = components.build("toys", node, where="", sample_rate=8000, num_classes=4)
    inner, nested = built.toys
    assert (inner.arguments["size"], inner.arguments["share"]) == (3, 1.0)
    assert nested.toys[0].arguments["sample_rate"] == 8000


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        ({"name": "toi"}, "list.0.toys.1.name: unknown name 'toi'; did you mean 'toy'? allowed: box, toy"),
        ({"size": 3}, "list.0.toys.1: a part is written as a mapping with a name"),
        ({"name": "toy", "size": 3, "shere": 1}, "list.0.toys.1: unknown key 'shere'; did you mean 'share'?"),
        (
            {"name": "toy", "size": 0},
            "list.0.toys.1.size: input should be greater than or equal to 1 (got 0)",
        ),
        ({"name": "toy"}, "list.0.toys.1.size: this key is required and missing"),
        ({"name": "toy", "size": 3, "sample_rate": 1}, "list.0.toys.1: 'sample_rate' is supplied"),
        (
            {"name": "toy", "size": 3, "share": 0.5},
            "list.0.toys.1.share: 'share' of a part in here is 1.0 and cannot be set otherwise (got 0.5);"
            " buy two",
        ),
        (box({"name": "toy", "size": 0}), "list.0.toys.1.toys.0.size: input should be greater"),
        (box(), "list.0.toys.1.toys: list should have at least 1 item"),
    ],
)
def test_what_is_wrong_with_a_part_that_is_held_is_located(boxes, inner, message):
    with pytest.raises(RecipeError) as caught:
        components.resolve("toys", box({"name": "toy", "size": 3}, inner), where="list.0")
    assert str(caught.value).startswith(message)
