"""What a model hears of recordings: the mixture, or the stems of it that a recipe asks for.

Stems are the channels of the waveform, in the order of `data.stems`; nothing after this room knows of
separation. Separating costs much, so that whole recordings are separated once and kept in files of blocks.
"""

from __future__ import annotations

from kikiwake.recipe import Data
from kikiwake.stems._hearing import Heard, Listener, Mixture, Unseparated
from kikiwake.stems._old import OldEntries, remove, size_of
from kikiwake.stems._stems import FEWER_AT_ONCE, Stems

__all__ = [
    "FEWER_AT_ONCE",
    "Heard",
    "Listener",
    "Mixture",
    "OldEntries",
    "Stems",
    "Unseparated",
    "identified",
    "listener",
    "remove",
    "size_of",
]


def listener(data: Data, *, separation: bool = True) -> Listener:
    """Return what lets a recipe's model hear recordings.

    `separation`: False gives every channel the mixture in place of its stem.
    """
    if data.separator is None:
        return Mixture(data)
    return Stems(data) if separation else Unseparated(data)


def identified(data: Data) -> Data:
    """Return the section with the identity of its separator's model, where it has a separator.

    Raises:
        RecipeError: the separator cannot be built, or lacks a stem that is asked for.
        WeightsError: its model cannot be had.
    """
    if data.separator is None:
        return data
    stems = Stems(data)
    return data.model_copy(update={"separator_identity": stems.separator.identity})
