"""A cluster's status, made once for each thing that is known anew, however often it is asked for."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from pgvigil.controller.operations import Json

PLAIN: Final = (str, bool, int, float, dict, list, tuple, frozenset, datetime)


class Snapshot:
    """The last status, and what it was made from: values that never change, so the same ones say the same."""

    def __init__(self) -> None:
        self._of: tuple[object, ...] = ()
        self._status: Json = {}

    def of(self, known: tuple[object, ...], make: Callable[[], Json]) -> tuple[Json, bool]:
        """The status of what is known, to be read only, and whether it was made just now."""
        if len(known) == len(self._of) and all(map(_same, known, self._of)):
            return self._status, False
        self._status, self._of = make(), known
        return self._status, True


def _same(one: object, other: object) -> bool:
    """Large values by identity, small ones by what they say."""
    return one is other or (isinstance(one, PLAIN) and one == other)
