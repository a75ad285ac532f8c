"""`config set|edit|history|rollback`: PostgreSQL's parameters as versions of a cluster."""

import getpass
import os
import re
import shlex
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from pgvigil.cli.desk import ClusterArgument, ConfigOption, JsonOption, begin, run_async
from pgvigil.cli.errands import look
from pgvigil.cli.orders import DryRunOption, TimeoutOption, YesOption, finish
from pgvigil.cli.tables import Shape, hanging
from pgvigil.cli.theme import DIM, STRONG, local_time
from pgvigil.errors import UsageError
from pgvigil.model.command import RollBackParameters, SetParameters, ShowVersions
from pgvigil.model.spec import ClusterSpec

CommentOption = Annotated[str, typer.Option("--comment", metavar="TEXT", help="Kept with the version.")]
RestartOption = Annotated[
    bool, typer.Option("--restart", help="Restart who has to be restarted for it, one after another.")
]
InPlaceOption = Annotated[
    bool, typer.Option("--in-place", help="With --restart: the primary where it is, not by a switchover.")
]
_LINE: Final = re.compile(r"""^\s*([A-Za-z_][\w.]*)\s*=\s*(?:'((?:[^']|'')*)'|([^'#\s]+))\s*(?:\#.*)?$""")


def add_to(group: typer.Typer) -> None:
    """Register the commands."""
    group.command("set")(set_parameters)
    group.command("edit")(edit)
    group.command("history")(history)
    group.command("rollback")(rollback)


def set_parameters(
    ctx: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CLUSTER] [NAME=VALUE]",
            help="One or several; the cluster may be left out when only one is configured.",
            show_default=False,
        ),
    ] = None,
    *,
    reset: Annotated[
        list[str] | None,
        typer.Option("--reset", metavar="NAME", help="ALTER SYSTEM RESET it; may be given several times."),
    ] = None,
    comment: CommentOption = "",
    restart: RestartOption = False,
    in_place: InPlaceOption = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    timeout: TimeoutOption = "1h",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Set PostgreSQL's parameters on every node of a cluster.

    Each value is tried before anything is kept. What counts only after a restart waits for
    `pgvigil restart --pending`, or comes with --restart. A parameter of which a standby may not have less
    than its primary is written on each node only when that is safe there.

    Example: `pgvigil config set orders max_connections=200 work_mem=16MB --restart`
    """
    desk = begin(ctx, config, as_json=as_json)
    clusters = {spec.name for spec in desk.config.clusters}
    given = list(words or [])
    named = bool(given) and (given[0] in clusters or "=" not in given[0])
    spec = desk.cluster(given.pop(0) if named else None)
    named_twice = [*(_assignment(word)[0].lower() for word in given), *(name.lower() for name in reset or [])]
    if twice := next((name for name in named_twice if named_twice.count(name) > 1), None):
        raise UsageError(f"{twice} is named twice", hint="give each parameter once")
    changes: dict[str, str | None] = dict(_assignment(word) for word in given)
    changes |= dict.fromkeys(reset or [])
    if not changes:
        hint = "pgvigil config set work_mem=16MB"
        raise UsageError("which parameters?", detail="none is named", hint=hint)
    errand = SetParameters(changes, who(), comment, restart, in_place)
    finish(desk, spec, errand, timeout, question=_question(spec), yes=yes, dry_run=dry_run)


def edit(
    ctx: typer.Context,
    cluster: ClusterArgument = None,
    *,
    comment: CommentOption = "",
    restart: RestartOption = False,
    in_place: InPlaceOption = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    timeout: TimeoutOption = "1h",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Edit in $VISUAL or $EDITOR what was set through pgvigil; what differs then is set.

    A line that is taken out resets its parameter.

    Example: `pgvigil config edit orders`
    """
    desk = begin(ctx, config, as_json=as_json)
    spec = desk.cluster(cluster)
    versions = run_async(look(desk, spec, ShowVersions(1))).data["versions"]
    now: dict[str, str | None] = dict(versions[-1]["settings"]) if versions else {}
    edited = assignments(_edited(as_lines(spec.name, now)))
    changes = {name: value for name, value in edited.items() if now.get(name) != value}
    changes |= dict.fromkeys(name for name, value in now.items() if value is not None and name not in edited)
    if not changes:
        desk.tell("nothing was changed")
        return
    errand = SetParameters(changes, who(), comment, restart, in_place)
    finish(desk, spec, errand, timeout, question=_question(spec), yes=yes, dry_run=dry_run)


def history(
    ctx: typer.Context,
    cluster: ClusterArgument = None,
    *,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="The newest so many.")] = 20,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show every version of the parameters: when, by whom, what changed. Newest last.

    Example: `pgvigil config history orders`
    """
    desk = begin(ctx, config, as_json=as_json)
    outcome = run_async(look(desk, desk.cluster(cluster), ShowVersions(limit)))
    if as_json:
        desk.print_json(outcome.data["versions"])
    else:
        desk.print(versions_view(outcome.data["versions"]))


def rollback(
    ctx: typer.Context,
    cluster: ClusterArgument = None,
    *,
    to: Annotated[
        int | None,
        typer.Option(
            "--to",
            metavar="VERSION",
            min=0,
            help="Which version; else the one before the last. 0: as it was before the first.",
            show_default=False,
        ),
    ] = None,
    restart: RestartOption = False,
    in_place: InPlaceOption = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    timeout: TimeoutOption = "1h",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Set the parameters as an earlier version had them. That is a new version again.

    Example: `pgvigil config rollback orders --to 3`
    """
    desk = begin(ctx, config, as_json=as_json)
    spec = desk.cluster(cluster)
    target = "the version before the last" if to is None else f"version {to}"
    errand = RollBackParameters(who(), to, restart, in_place)
    question = f"Set the parameters of {spec.name} back to {target}?"
    finish(desk, spec, errand, timeout, question=question, yes=yes, dry_run=dry_run)


def _question(spec: ClusterSpec) -> str:
    return f"Change these parameters on every node of {spec.name}?"


def who() -> str:
    """Who gives the command: user and host."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def assignments(text: str) -> dict[str, str | None]:
    """Lines as in postgresql.conf. Raises UsageError naming the first that is none."""
    found: dict[str, str | None] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.match(line)
        if match is None:
            hint = "nothing was changed; write name = 'value'"
            raise UsageError(f"line {number} is no parameter", detail=line.strip(), hint=hint)
        found[match[1]] = match[3] if match[2] is None else match[2].replace("''", "'")
    return found


def as_lines(cluster: str, settings: dict[str, str | None]) -> str:
    """What is edited: a line for each parameter that is set."""
    lines = [f"# PostgreSQL's parameters on every node of {cluster}, as set through pgvigil."]
    lines.append("# Lines as in postgresql.conf; take one out to reset its parameter.")
    for name, value in sorted(settings.items()):
        if value is not None:
            quoted = value.replace("'", "''")
            lines.append(f"{name} = '{quoted}'")
    return "\n".join(lines) + "\n"


def versions_view(versions: list[Shape]) -> RenderableType:
    """A block for each version."""
    if not versions:
        return Text("nothing was set through pgvigil yet", style=DIM)
    blocks = []
    for version in versions:
        mark = Text(f"{version['number']:>4} ", style=STRONG)
        comment = f"  {version['comment']}" if version["comment"] else ""
        head = Text(f"{local_time(version['at'])}  {version['who']}{comment}")
        changes = [
            Text(f"{each['name']}: {_value(each['before'])} → {_value(each['after'])}")
            for each in version["changes"]
        ]
        blocks.append(hanging(mark, Group(head, *changes)))
    return Group(*blocks)


def _value(value: str | None) -> str:
    return "not set" if value is None else f"'{value}'"


def _assignment(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals or not name.strip():
        raise UsageError(f"{word!r} is no assignment", hint="write it as NAME=VALUE, or --reset NAME")
    return name.strip(), value.strip()


def _edited(text: str) -> str:
    """The text after the person's editor has been at it. Raises UsageError if it failed."""
    editor = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    with tempfile.TemporaryDirectory(prefix="pgvigil-") as place:
        file = Path(place) / "parameters.conf"
        file.write_text(text, encoding="utf-8")
        try:
            status = subprocess.run([*editor, str(file)], check=False).returncode  # the person's own
        except OSError as wrong:
            raise UsageError(
                f"{editor[0]} cannot be run",
                detail=str(wrong),
                hint="set $EDITOR, or use: pgvigil config set",
            ) from wrong
        if status:
            raise UsageError(f"{editor[0]} ended with {status}", hint="nothing was changed")
        return file.read_text(encoding="utf-8")
