"""Reads recipe files, lays overrides on top, and says where in them an error stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic

from kikiwake import components
from kikiwake._yaml import Key, read_yaml
from kikiwake.errors import RecipeError


class Places:
    """Says where a key was written: on a line of a file, or on the command line."""

    def __init__(self, file: str, lines: Mapping[Key, int]) -> None:
        self.file = file
        self.written = {key: f"{file}:{line}" for key, line in lines.items()}

    def __call__(self, key: Key) -> str:
        known = next((key[:n] for n in range(len(key), 0, -1) if key[:n] in self.written), ())
        place = self.written.get(known, self.file)
        return f"{place}: {'.'.join(map(str, key))}" if key else place

    def node(self, key: Key) -> str:
        """Return the place of a mapping, and that the command line had a part in it where it had."""
        changed = any(at[: len(key)] == key and place == "command line" for at, place in self.written.items())
        own = self(key)
        if not changed or own.startswith("command line"):
            return own
        return own.replace(": ", " and the command line: ", 1)

    def inherit(self, base: Places) -> None:
        """Take the base recipe's places for the keys that this one does not write."""
        self.written = {**base.written, **self.written}

    def overridden(self, key: Key) -> None:
        """Note that `key` and all below it come from the command line."""
        self.written = {at: place for at, place in self.written.items() if at[: len(key)] != key}
        self.written[key] = "command line"


def shipped() -> dict[str, Path]:
    """Return the recipes that come with kikiwake, by name."""
    folder = Path(__file__).parent / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def read(source: str | Path, *, seen: tuple[Path, ...] = ()) -> tuple[dict[str, Any], Places]:
    """Return the plain content of a recipe, its `base` laid under it, and the places of its keys.

    Raises:
        RecipeError: the recipe does not exist, is no YAML mapping, or is its own base.
    """
    path = shipped().get(str(source)) or Path(source)
    if not path.is_file():
        if path.suffix in {".yaml", ".yml"} or len(path.parts) > 1:
            remedy = "check the path; `kikiwake recipes` lists those that come with kikiwake"
            raise RecipeError("there is no such recipe file", where=path, remedy=remedy)
        raise components.unknown("recipe", str(source), shipped(), where="recipe")
    if path in seen:
        raise RecipeError("a recipe cannot be its own base", where=path, remedy="name another base")
    try:
        text = path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError) as error:
        raise RecipeError(f"cannot be read as text: {error}", where=path, remedy="save it as UTF-8") from None
    data, lines = read_yaml(text, where=path.name)
    if not isinstance(data, dict):
        remedy = "write key: value lines, as `kikiwake recipe show demo` shows"
        raise RecipeError("a recipe is a mapping of keys", where=path, value=data, remedy=remedy)
    places = Places(path.name, lines)
    if "base" not in data:
        return data, places
    base = str(data.pop("base"))
    beside = path.parent / base
    inherited, base_places = read(beside if beside.is_file() else base, seen=(*seen, path))
    places.inherit(base_places)
    return _merged(inherited, data), places


def _merged(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    """Lay `top` over `base`; a part with another name replaces the base's part whole, and so does a list.

    So does a grid, whose keys are those of the model that it is for. A mapping over a list changes those of
    its items that its keys name: `stages: {train: {epochs: 60}}`.
    """
    result = dict(base)
    for key, value in top.items():
        below = result.get(key)
        result[key] = value
        if isinstance(below, list) and isinstance(value, dict):
            items = list(below)
            for step, change in value.items():
                at = _key(items, str(step), where=f"{key} over the base's list")
                items[int(at)] = _merged(items[int(at)], change) if isinstance(change, dict) else change
            result[key] = items
        if isinstance(below, dict) and isinstance(value, dict):
            same_part = key != "grid" and value.get("name", below.get("name")) == below.get("name")
            result[key] = _merged(below, value) if same_part else value
    return result


def override(data: dict[str, Any], setting: str, *, places: Places) -> None:
    """Lay one `key=value` of the command line over `data`, in place.

    Keys are dotted; a list's item is named by its position or by its `name`.

    Raises:
        RecipeError: the setting is not key=value, or its key leads nowhere.
    """
    dotted, equals, text = setting.partition("=")
    where = f"command line: {setting}"
    if not equals or not dotted:
        raise RecipeError("an override is written key=value", where="command line", value=setting)
    value, _ = read_yaml(text, where=where)
    inner: Any = data
    path: Key = ()
    *above, last = dotted.split(".")
    for step in above:
        key = _key(inner, step, where=where)
        if isinstance(inner, dict) and not isinstance(inner.get(step), dict | list):
            inner[step] = {}
        inner, path = inner[key], (*path, key)
    key = _key(inner, last, where=where)
    inner[key] = value
    places.overridden((*path, key))


def _key(inner: Any, step: str, *, where: str) -> str | int:
    """Return the key or position that `step` means in a mapping or list."""
    if isinstance(inner, dict):
        return step
    if not isinstance(inner, list):
        raise RecipeError(f"'{step}' is below a value that is no mapping", where=where, value=inner)
    named = {
        str(item["name"]): index
        for index, item in enumerate(inner)
        if isinstance(item, dict) and "name" in item
    }
    index = named.get(step, int(step) if step.isdigit() else -1)
    if not 0 <= index < len(inner):
        raise components.unknown("item", step, [*named, *map(str, range(len(inner)))], where=where)
    return index


def complaint(
    error: pydantic.ValidationError, *, model: type[pydantic.BaseModel], places: Places
) -> RecipeError:
    """Return all of pydantic's complaints about a recipe as one error, a line for each key."""
    grouped: dict[Key, list[Mapping[str, Any]]] = {}
    for found in error.errors():
        grouped.setdefault(_written_key(found["loc"], model), []).append(found)
    problems = []
    for key, group in grouped.items():
        first = group[0]
        if first["type"] == "extra_forbidden":
            problem = components.unknown("key", str(key[-1]), _allowed(key[:-1], model), where=places(key))
        elif first["type"] == "missing":
            problem = RecipeError("this key is required and missing", where=places(key))
        else:
            wordings = dict.fromkeys(components.wording(found) for found in group)
            problem = RecipeError("; or ".join(wordings), where=places(key), value=first["input"])
        problems.append(str(problem))
    return RecipeError("\n".join(problems))


def _written_key(loc: Sequence[str | int], model: type[pydantic.BaseModel]) -> Key:
    """Drop from pydantic's place the names of a union's branches, which nobody wrote."""
    key: Key = ()
    for step in loc:
        allowed = _allowed(key, model)
        if isinstance(step, str) and not allowed:
            break
        key = (*key, step)
    return key


def _allowed(key: Key, model: type[pydantic.BaseModel]) -> list[str]:
    """Return the keys that may stand in the mapping at `key`: none where there is no section."""
    section: type[pydantic.BaseModel] | None = model
    for step in key:
        if isinstance(step, str):
            field = section.model_fields.get(step) if section else None
            section = _section_in(field.annotation) if field else None
    return [*section.model_fields] if section else []


def _section_in(annotation: Any) -> type[pydantic.BaseModel] | None:
    """Return the model inside an annotation such as `Stage`, `list[Stage]` or `Split | None`."""
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return annotation
    inner = (_section_in(argument) for argument in getattr(annotation, "__args__", ()))
    return next((section for section in inner if section), None)
