"""Messages read where, what, value, remedy; errors travel between processes; a missing extra is named."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from kikiwake import errors
from kikiwake.errors import AudioError, KikiwakeError, MissingExtra, require


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "end precedes start"),
        ({"where": Path("train.csv")}, "train.csv: end precedes start"),
        ({"value": None}, "end precedes start (got None)"),
        ({"value": "x"}, "end precedes start (got 'x')"),
        ({"remedy": "give end > start"}, "end precedes start; give end > start"),
        (
            {"where": "a.csv:41", "value": 4.2, "remedy": "give end > start"},
            "a.csv:41: end precedes start (got 4.2); give end > start",
        ),
    ],
)
def test_message_has_place_fault_value_and_remedy_in_this_order(arguments: dict, message: str) -> None:
    assert str(KikiwakeError("end precedes start", **arguments)) == message


def every_kind() -> list[type[KikiwakeError]]:
    return [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, KikiwakeError)
    ]


@pytest.mark.parametrize("kind", every_kind())
def test_errors_keep_kind_and_parts_when_pickled(kind: type[KikiwakeError]) -> None:
    error = kind("is empty", where=Path("a.wav"), value=0, remedy="record again")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert (copy.what, copy.where, copy.value, copy.remedy) == ("is empty", "a.wav", 0, "record again")
    assert str(copy) == str(error)


def test_an_error_without_a_value_has_none_after_pickling() -> None:
    assert str(pickle.loads(pickle.dumps(AudioError("is empty")))) == "is empty"


def test_require_returns_the_module() -> None:
    assert require("json.decoder", extra="ffmpeg").__name__ == "json.decoder"


def test_require_names_package_and_extra() -> None:
    with pytest.raises(MissingExtra, match=r"'no_such_package'.*pip install 'kikiwake\[ffmpeg\]'"):
        require("no_such_package.part", extra="ffmpeg")
