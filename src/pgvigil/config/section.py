"""What all sections of the file have in common: strictness, and how one is laid over another."""

import os
from pathlib import Path
from types import NoneType
from typing import Any, Final, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator, model_validator


class Section(BaseModel):
    """A mapping of the file. Unknown keys are refused; a section with nothing in it is an empty one."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _empty(cls, data: Any) -> Any:  # what YAML had there
        return {} if data is None else data

    @field_validator("*", mode="before")
    @classmethod
    def _no_key_without_value(cls, value: Any, info: ValidationInfo) -> Any:  # what YAML had there
        if value is None and NoneType in get_args(cls.model_fields[str(info.field_name)].annotation):
            raise ValueError("has no value: give it one, or leave the key out")
        return value

    def over(self, below: Self) -> Self:
        """This section with what it leaves out taken from `below`; lists replace."""
        changes: dict[str, Any] = {}
        for name in self.model_fields_set:
            mine, theirs = getattr(self, name), getattr(below, name)
            both = isinstance(mine, Section) and type(mine) is type(theirs)
            changes[name] = mine.over(theirs) if both else mine
        return below.model_copy(update=changes)


CREDENTIALS: Final = "$CREDENTIALS_DIRECTORY"
"""Where systemd puts the credentials of a unit (systemd.exec(5))."""


def local_path(text: str, folder: Path) -> str:
    """A path on the controller: `~` is its user's home, a relative one begins at the file's folder.

    `$CREDENTIALS_DIRECTORY/…` lies where systemd says. Outside of a unit it stays as it is written: there is
    no such file then.
    """
    if text.startswith(f"{CREDENTIALS}/"):
        place = os.environ.get(CREDENTIALS.removeprefix("$"))
        return f"{place}{text.removeprefix(CREDENTIALS)}" if place else text
    return str(folder / os.path.expanduser(text))  # pathlib's own raises for an unknown ~user
