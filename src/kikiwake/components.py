"""Finds the parts of a family and builds them from recipe nodes.

A family is a package (`kikiwake.augmentations`), a part is one module in it (`time_mask.py`) that holds one
class of the same name in CamelCase (`TimeMask`) or, for data sets, the function `scan`. The keyword arguments
of that class, with their annotations, are the part's schema: nothing is registered and nothing else is edited
when a part is added. An argument annotated with `PartsOf` holds other parts.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import json
import pkgutil
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pydantic

from kikiwake.errors import RecipeError

SUPPLIED = frozenset({"sample_rate", "in_channels", "num_classes", "bins", "mel_bands", "saved"})
"""Arguments that the pipeline fills in; a recipe cannot set them."""


FAMILIES = (
    "datasets",
    "crops",
    "frontends",
    "augmentations",
    "models",
    "schedules",
    "separators",
    "labelfiles",
)
"""The families whose parts a recipe, `kikiwake prepare` or `kikiwake export` can name."""


@dataclass(frozen=True, eq=False)
class PartsOf:
    """Annotates a list argument that holds other parts: nodes in a recipe, built parts in the constructor.

    `family`: of the parts held. `fixed`: settings that each of them has, as far as it knows them, and that a
    recipe cannot set otherwise; `remedy`: what to do where it tries.
    """

    family: str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    remedy: str = "remove it"


@cache
def names(family: str) -> list[str]:
    """Return the names of all parts of `family`, sorted, without importing them."""
    package = importlib.import_module(f"kikiwake.{family}")
    return sorted(
        found.name for found in pkgutil.iter_modules(package.__path__) if not found.name.startswith("_")
    )


@cache
def part(family: str, name: str) -> Any:
    """Return the class (or the `scan` function) of a part.

    Raises:
        RecipeError: there is no such part; the message gives the nearest name and all names.
    """
    if name not in names(family):
        raise unknown("name", name, names(family), where=family)
    module = importlib.import_module(f"kikiwake.{family}.{name}")
    camel_case = "".join(word.capitalize() for word in name.split("_"))
    own = getattr(module, camel_case, None)
    return own if getattr(own, "__module__", None) == module.__name__ else module.scan


@cache
def schema(part: Any) -> type[pydantic.BaseModel]:
    """Return the pydantic model of a part's recipe node, made from its keyword-only arguments."""
    function = part.__init__ if inspect.isclass(part) else part
    hints = typing.get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.name not in SUPPLIED:
            default = ... if parameter.default is parameter.empty else parameter.default
            fields[parameter.name] = (hints[parameter.name], default)
    config = pydantic.ConfigDict(extra="forbid", arbitrary_types_allowed=True, protected_namespaces=())
    return pydantic.create_model(part.__name__, __config__=config, **fields)


def validate(family: str, node: Mapping[str, Any], *, where: str) -> tuple[Any, dict[str, Any]]:
    """Return the part that `node` names and its arguments, checked and converted.

    Parts that it holds are nodes still, resolved.

    Raises:
        RecipeError: no such part, an unknown key, a missing key, a wrong type or value.
    """
    if not isinstance(node, Mapping) or "name" not in node:
        raise RecipeError(
            "a part is written as a mapping with a name",
            where=where,
            value=node,
            remedy=f"write {{name: ...}} with one of: {', '.join(names(family))}",
        )
    if node["name"] not in names(family):
        raise unknown("name", node["name"], names(family), where=f"{where}.name")
    found = part(family, node["name"])
    arguments = {key: value for key, value in node.items() if key != "name"}
    model = schema(found)
    for key in arguments:
        if key in SUPPLIED:
            raise RecipeError(
                f"'{key}' is supplied by the pipeline and cannot be set here", where=where, remedy="remove it"
            )
        if key not in model.model_fields:
            raise unknown("key", key, model.model_fields, where=where)
    arguments = checked(model, arguments, where=where)
    for key, held in _held(model).items():
        arguments[key] = [
            _resolve_held(held, inner, where=f"{where}.{key}.{at}") for at, inner in enumerate(arguments[key])
        ]
    return found, arguments


def resolve(family: str, node: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """Return `node` checked, in JSON's types and with every default filled in.

    Raises:
        RecipeError: as `validate`.
    """
    found, arguments = validate(family, node, where=where)
    plain = schema(found).model_construct(**arguments).model_dump(mode="json")
    return {"name": node["name"], **plain}


def _held(model: type[pydantic.BaseModel]) -> dict[str, PartsOf]:
    """Return the arguments of a schema that hold other parts, and which."""
    return {
        key: mark
        for key, known in model.model_fields.items()
        for mark in known.metadata
        if isinstance(mark, PartsOf)
    }


def _resolve_held(held: PartsOf, node: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """Return the node of a part that another part holds, resolved, with what is fixed there."""
    _, arguments = validate(held.family, node, where=where)
    fixed = {key: value for key, value in held.fixed.items() if key in arguments}
    for key, value in fixed.items():
        if key in node and arguments[key] != value:
            raise RecipeError(
                f"'{key}' of a part in here is {value} and cannot be set otherwise",
                where=f"{where}.{key}",
                value=node[key],
                remedy=held.remedy,
            )
    return resolve(held.family, {**node, **fixed}, where=where)


def describe(family: str, name: str) -> str:
    """Return a part's name, its settings with their defaults, and its first line of documentation."""
    found = part(family, name)
    fields = schema(found).model_fields.items()
    settings = [key if field.is_required() else f"{key}={field.default!r}" for key, field in fields]
    summary = (inspect.getdoc(found) or "").partition("\n")[0]
    return f"{name}({', '.join(settings)})\n      {summary}"


def checked(model: type[pydantic.BaseModel], values: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """Return `values` checked and converted by `model`, defaults filled in.

    JSON's strict rules apply: text is a path but never a number, true is never 1, a list is a tuple.

    Raises:
        RecipeError: a wrong type or value, a missing key.
    """
    try:
        text = json.dumps(values)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"a recipe holds numbers, text, lists and mappings: {error}", where=where) from None
    try:
        result = model.model_validate_json(text, strict=True)
    except pydantic.ValidationError as error:
        raise located(error, where=where, values=values, model=model) from None
    return {key: getattr(result, key) for key in model.model_fields}


def build(family: str, node: Mapping[str, Any], *, where: str, **supplied: Any) -> Any:
    """Build the part that a recipe node describes, and before it the parts that it holds.

    `supplied` are the pipeline's own arguments; a part is given those that its constructor asks for.

    Raises:
        RecipeError: as `validate`.
    """
    found, arguments = validate(family, node, where=where)
    for key, held in _held(schema(found)).items():
        arguments[key] = [
            build(held.family, inner, where=f"{where}.{key}.{at}", **supplied)
            for at, inner in enumerate(arguments[key])
        ]
    wanted = inspect.signature(found).parameters
    return found(**arguments, **{key: value for key, value in supplied.items() if key in wanted})


def unknown(kind: str, name: object, allowed: Iterable[str], *, where: str) -> RecipeError:
    """Return the error for a name that does not exist, with the nearest right one."""
    choices = sorted(allowed)
    near = difflib.get_close_matches(str(name), choices, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return RecipeError(f"unknown {kind} '{name}'", where=where, remedy=f"{hint}allowed: {', '.join(choices)}")


def located(
    error: pydantic.ValidationError,
    *,
    where: str,
    values: Any = None,
    model: type[pydantic.BaseModel] | None = None,
) -> RecipeError:
    """Return pydantic's complaint about the first key as a RecipeError with that key's place.

    `values`: what was checked; it tells keys that were written from the names that pydantic gives to the
    branches of a union. `model`: what it was checked with, for the names that an unknown key may mean.
    """
    first = error.errors()[0]
    key = first["loc"][:1]
    written = _written(first["loc"], values)
    if first["type"] == "missing":
        written = (*written, first["loc"][-1])
    place = ".".join(str(step) for step in (where, *(written or key)) if step != "")
    if first["type"] == "missing":
        return RecipeError("this key is required and missing", where=place)
    if first["type"] == "extra_forbidden" and model is not None:
        above = ".".join(str(step) for step in (where, *written[:-1]))
        return unknown("key", written[-1], _keys_at(model, written[:-1]), where=above)
    # A union complains once a branch: the branches' messages are one key's alternatives.
    messages = [wording(found) for found in error.errors() if found["loc"][:1] == key]
    return RecipeError("; or ".join(dict.fromkeys(messages)), where=place, value=first["input"])


def _written(loc: Sequence[str | int], values: Any) -> tuple[str | int, ...]:
    """Return those steps of a place that are keys and positions in `values`."""
    written: tuple[str | int, ...] = ()
    for step in loc:
        keyed = isinstance(values, Mapping) and step in values
        listed = isinstance(values, list | tuple) and isinstance(step, int) and step < len(values)
        if keyed or listed:
            values = values[step]
            written = (*written, step)
    return written


def _keys_at(model: type[pydantic.BaseModel], path: Sequence[str | int]) -> set[str]:
    """Return the keys that a mapping may have at `path` inside what `model` checks."""
    whole = model.model_json_schema()
    places: list[dict[str, Any]] = [whole]
    for step in (*path, None):
        places = [branch for place in places for branch in _branches(place, whole)]
        if isinstance(step, str):
            places = [place["properties"][step] for place in places if step in place.get("properties", {})]
        elif step is not None:
            places = [place["items"] for place in places if "items" in place]
    return {key for place in places for key in place.get("properties", {})}


def _branches(place: dict[str, Any], whole: dict[str, Any]) -> list[dict[str, Any]]:
    """Follow references and unions of a JSON schema to what they stand for."""
    if "$ref" in place:
        return _branches(whole["$defs"][place["$ref"].rpartition("/")[2]], whole)
    if "anyOf" in place:
        return [branch for option in place["anyOf"] for branch in _branches(option, whole)]
    return [place]


def wording(found: Mapping[str, Any]) -> str:
    """Return the message of one of pydantic's errors as the middle of a sentence."""
    message = str(found["msg"]).removeprefix("Value error, ")
    return message[0].lower() + message[1:]
