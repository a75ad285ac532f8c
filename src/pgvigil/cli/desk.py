"""What every command needs: its configuration, its cluster, its consoles, and how to ask a person."""

import difflib
import json
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console, RenderableType

from pgvigil.cli.reach import REAL, Config, Reach
from pgvigil.cli.theme import make_console, may_ask
from pgvigil.errors import UsageError
from pgvigil.model.spec import ClusterSpec, NodeSpec

T = TypeVar("T")


def complete_clusters(ctx: typer.Context, incomplete: str) -> list[str]:
    """What the shell offers for a cluster."""
    from pgvigil.cli.names import cluster_names

    return cluster_names(ctx, incomplete)


def complete_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """What the shell offers where a cluster and nodes may stand."""
    from pgvigil.cli.names import names

    return names(ctx, incomplete)


ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="PGVIGIL_CONFIG",
        metavar="FILE",
        help="Configuration; without it ./pgvigil.yaml, then /etc/pgvigil/pgvigil.yaml.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
ClusterArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="CLUSTER",
        help="May be left out when only one is configured.",
        show_default=False,
        autocompletion=complete_clusters,
    ),
]
NodeArguments = Annotated[
    list[str],
    typer.Argument(
        metavar="[CLUSTER] NODE",
        help="The cluster may be left out when only one is configured.",
        autocompletion=complete_names,
    ),
]


@dataclass
class Desk:
    """One command's place of work. Lives in typer's context object."""

    reach: Reach = REAL
    config_path: Path | None = None
    as_json: bool = False
    interrupted: str = "nothing was changed"
    """What Ctrl-C leaves behind just now."""
    out: Console = field(default_factory=make_console)
    err: Console = field(default_factory=lambda: make_console(stderr=True))
    _config: Config | None = None

    @property
    def config(self) -> Config:
        """The configuration, read once. Raises ConfigError."""
        if self._config is None:
            self._config = self.reach.load(self.config_path)
        return self._config

    def forget_config(self) -> None:
        """Read it anew when it is asked for next: this command has changed it."""
        self._config = None

    def cluster(self, name: str | None) -> ClusterSpec:
        """The named cluster, or the only one. Raises UsageError that names those there are."""
        specs = list(self.config.clusters)
        if name is None:
            if len(specs) == 1:
                return specs[0]
            names = ", ".join(spec.name for spec in specs)
            raise UsageError("which cluster?", detail=f"configured: {names or 'none'}")
        for spec in specs:
            if spec.name == name:
                return spec
        raise unknown("cluster", name, [spec.name for spec in specs])

    def cluster_and_nodes(self, words: list[str], count: int) -> tuple[ClusterSpec, list[NodeSpec]]:
        """Read `[CLUSTER] NODE …`: as many nodes as wanted, with the cluster in front or left out."""
        if len(words) not in (count, count + 1):
            nodes = "a node" if count == 1 else f"{count} nodes"
            raise UsageError(f"{nodes} and, before, perhaps a cluster are expected", detail=" ".join(words))
        spec = self.cluster(words[0] if len(words) > count else None)
        return spec, [node_of(spec, name) for name in words[-count:]]

    def print(self, what: RenderableType) -> None:
        """To standard output, for the person."""
        _put(self.out, what)

    def tell(self, what: RenderableType) -> None:
        """To standard error: progress and questions, apart from what is piped on."""
        _put(self.err, what)

    def print_json(self, body: object) -> None:
        """To standard output, for the program."""
        typer.echo(json.dumps(body, indent=2, ensure_ascii=False))

    def require_person(self) -> None:
        """Raise UsageError if there is nobody who could be asked."""
        if self.as_json or not may_ask():
            raise UsageError(
                "this changes the cluster, and nobody is here to confirm it",
                hint="add --yes, or --dry-run to see what would be done",
            )

    def confirm(self, question: str, *, yes: bool) -> None:
        """Return if the person agrees. Raises typer.Exit if not, UsageError if there is nobody to ask."""
        if yes:
            return
        self.require_person()
        if not typer.confirm(question, err=True):
            self.tell("nothing was changed")
            raise typer.Exit(1)


def _put(console: Console, what: RenderableType) -> None:
    """Print it; in a file or a pipe no line ends with the blanks that fill a table."""
    if console.is_terminal:
        console.print(what)
        return
    with console.capture() as printed:
        console.print(what)
    console.file.write("".join(f"{line.rstrip()}\n" for line in printed.get().splitlines()))
    console.file.flush()


def begin(ctx: typer.Context, config: Path | None, *, as_json: bool = False) -> Desk:
    """The desk of this call: options behind the command win over those before it and the environment."""
    desk: Desk = ctx.ensure_object(Desk)
    source = ctx.get_parameter_source("config")
    if desk.config_path is None or source is None or source.name != "ENVIRONMENT":
        desk.config_path = config or desk.config_path
    desk.as_json = desk.as_json or as_json
    return desk


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Do it in an event loop of its own. Ctrl-C cancels it and raises KeyboardInterrupt."""
    import asyncio  # help needs none

    return asyncio.run(work)


def node_of(spec: ClusterSpec, name: str) -> NodeSpec:
    """The named node. Raises UsageError that names those there are."""
    for node in spec.nodes:
        if node.name == name:
            return node
    raise unknown(f"node of {spec.name}", name, [node.name for node in spec.nodes])


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """There is nothing of that name, but perhaps something like it."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    guess = f"did you mean {near[0]}?" if near else "see: pgvigil status"
    return UsageError(
        f"there is no {kind} {name!r}", detail=f"known: {', '.join(names) or 'none'}", hint=guess
    )


def seconds_option(text: str, *, name: str = "--timeout") -> float:
    """A duration with its unit, as in the configuration, in seconds. Raises UsageError."""
    from pgvigil.config.units import duration  # pydantic comes with it

    try:
        seconds = duration(text).total_seconds()
    except ValueError as wrong:
        raise UsageError(f"{name} {wrong}", detail=text, hint="write it as 30s, 5min or 1h") from wrong
    if seconds <= 0:
        raise UsageError(f"{name} must be more than nothing", detail=text)
    return seconds


def size_option(text: str, *, name: str) -> int:
    """A size with its unit, as in the configuration, in bytes. Raises UsageError."""
    from pgvigil.config.units import size  # pydantic comes with it

    try:
        return size(text)
    except ValueError as wrong:
        raise UsageError(f"{name} {wrong}", detail=text, hint="write it as 16MB or 1GB") from wrong
