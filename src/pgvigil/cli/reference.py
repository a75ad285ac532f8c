"""The reference page of the commands, made from their own help.

`python -m pgvigil.cli.reference > docs/reference/cli.md`
"""

import sys
from collections.abc import Iterable
from enum import Enum
from typing import Any, Final

import typer

from pgvigil.cli.app import EPILOG, HELP, app

_HEAD: Final = f"""\
<!-- Made by: python -m pgvigil.cli.reference. Change the help texts in src/pgvigil/cli instead. -->
# Commands

{HELP.strip()}

{EPILOG}

Commands that change a cluster show their plan and ask before they begin. `--yes` leaves the question out;
without a terminal it must be given. `--dry-run` prints the plan and changes nothing. Durations are written
with their unit: `30s`, `5min`, `1h`. CLUSTER may be left out when only one is configured. The configuration
comes from `--config FILE`, else `$PGVIGIL_CONFIG`, else `./pgvigil.yaml`, else `/etc/pgvigil/pgvigil.yaml`.
"""
_EVERYWHERE: Final = frozenset({"config", "help"})
"""Options said once at the top."""


def cli_reference() -> str:
    """The page, in Markdown: every command that is not an alias, family by family."""
    commands: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group
    shown = [(name, command) for name, command in commands.items() if not command.hidden]
    families = dict.fromkeys(str(command.rich_help_panel) for _, command in shown)
    parts = [_HEAD]
    for family in families:
        parts.append(f"## {family}\n")
        for name, each in shown:
            if each.rich_help_panel == family:
                parts += _sections(name, each)
    return "\n".join(parts)


def _sections(name: str, command: Any) -> list[str]:
    """A command's section; of a group those of all its commands."""
    inner = getattr(command, "commands", None)
    if inner is None:
        return [_section(name, command)]
    return [
        part for word, each in inner.items() if not each.hidden for part in _sections(f"{name} {word}", each)
    ]


def _section(name: str, command: Any) -> str:  # typer's own command type is private to it
    parameters = [each for each in command.params if each.name not in _EVERYWHERE and not each.hidden]
    arguments = [each for each in parameters if each.param_type_name == "argument"]
    options = [each for each in parameters if each.param_type_name == "option"]
    words = [_word(argument) for argument in arguments] + (["[OPTIONS]"] if options else [])
    usage = f"```\npgvigil {' '.join((name, *words))}\n```\n"
    text = (command.help or "").strip()
    rows = [*(_argument_row(each) for each in arguments), *(_option_row(each) for each in options)]
    head = "| parameter | default | meaning |\n|---|---|---|\n"
    table = f"\n{head}{_lines(rows)}" if rows else ""
    return f"### `pgvigil {name}`\n\n{usage}\n{text}\n{table}"


def _word(argument: Any) -> str:
    metavar = str(argument.metavar or argument.name.upper())
    return metavar if argument.required else f"[{metavar}]"


def _argument_row(argument: Any) -> str:
    default = "required" if argument.required else "–"
    return f"| `{argument.metavar or argument.name.upper()}` | {default} | {_cell(argument.help)} |"


def _option_row(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in option.opts)
    value = "" if option.is_flag else f" {option.metavar or option.name.upper()}"
    default = option.default.value if isinstance(option.default, Enum) else option.default
    told = "–" if default in (None, False, "") else f"`{default}`"
    variable = f" Also `${option.envvar}`." if option.envvar else ""
    return f"| {names}{value} | {told} | {_cell(option.help)}{variable} |"


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def _lines(rows: Iterable[str]) -> str:
    return "".join(f"{row}\n" for row in rows)


if __name__ == "__main__":
    sys.stdout.write(cli_reference())
