"""`pgvigil bootstrap`: a new cluster on empty hosts, as the configuration has it."""

import socket
from typing import TYPE_CHECKING, Annotated

import typer

from pgvigil.cli.desk import ClusterArgument, ConfigOption, Desk, JsonOption, begin, node_of, run_async
from pgvigil.cli.orders import DryRunOption, YesOption, agree, progress_lines
from pgvigil.cli.report import EXIT_CODES, outcome_view
from pgvigil.controller.operations import Json, Operations, Outcome, Result
from pgvigil.errors import TimedOut, Unsafe, UsageError
from pgvigil.model.command import Rejoin
from pgvigil.model.spec import ClusterSpec, NodeSpec
from pgvigil.model.step import RebuildMethod

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgvigil.controller.bootstrap import Ground, Wishes
    from pgvigil.model.units import NodeName
    from pgvigil.store.lock import StateLock

PANEL = "Protect"
CLONE_S = 86400.0
TAKEN_OVER_TRIES = 300
"""A running controller looks at its nodes every second or so; the new primary is there by now."""
POLL_S = 0.2


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("bootstrap", rich_help_panel=PANEL)(bootstrap)


def bootstrap(
    ctx: typer.Context,
    cluster: ClusterArgument = None,
    *,
    on: Annotated[
        str | None,
        typer.Option(metavar="NODE", help="Who becomes the primary; else the first.", show_default=False),
    ] = None,
    encoding: Annotated[str, typer.Option(metavar="NAME", help="initdb's.")] = "UTF8",
    locale: Annotated[str, typer.Option(metavar="NAME", help="initdb's.")] = "C.UTF-8",
    checksums: Annotated[
        bool, typer.Option("--data-checksums/--no-data-checksums", help="Checksums of data pages.")
    ] = True,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A parameter of PostgreSQL; may be repeated."),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(metavar="NETWORK", help="Who else may log in, by password; may be repeated."),
    ] = None,
    controller: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS", help="Where pgvigil logs in from; else this host's address. May be repeated."
        ),
    ] = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Make a new cluster on empty hosts.

    initdb on the first node, pg_hba.conf, the two roles with the passwords that are in place (passfile,
    password_command), then clones. Refused if any data directory is not empty.

    Interrupted, give it again: it goes on.

    Example: `pgvigil bootstrap orders --set shared_buffers=4GB --allow 10.0.0.0/8`
    """
    desk = begin(ctx, config, as_json=as_json)
    spec = desk.cluster(cluster)
    first = node_of(spec, on) if on else spec.nodes[0]
    from pgvigil.controller.bootstrap import Wishes

    named, here = tuple(map(_setting, setting or [])), tuple(controller or [_own_address(first)])
    wishes = Wishes(first.name, encoding, locale, checksums, named, here, tuple(allow or []))
    steps = run_async(_plan(desk, spec, wishes))
    if dry_run:
        _tell(desk, Outcome(Result.PLANNED, f"{spec.name} would be made", plan=tuple(steps)))
        return
    agree(desk, steps, f"Make the cluster {spec.name}?", yes=yes)
    with _alone(desk, spec):
        outcome = run_async(_make(desk, spec, wishes))
    _tell(desk, outcome)
    raise typer.Exit(EXIT_CODES[outcome.result])


def _alone(desk: Desk, spec: ClusterSpec) -> "StateLock":
    """Two at once would take what the other has begun for leftovers."""
    from pgvigil.config.load import load
    from pgvigil.store.lock import StateLock

    return StateLock(load(desk.config_path).state_dir, name=f"bootstrap-{spec.name}.lock")


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError("--set is NAME=VALUE", detail=text)
    return name, value


def _own_address(node: NodeSpec) -> str:
    """The address from which this host reaches the node. Raises UsageError."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(node.host, node.port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(address)  # sends nothing
            return str(probe.getsockname()[0])
    except OSError as wrong:
        hint = "say from where pgvigil logs in: --controller ADDRESS"
        raise UsageError(f"the way to {node.host} is not known", detail=str(wrong), hint=hint) from wrong


async def _plan(desk: Desk, spec: ClusterSpec, wishes: "Wishes") -> list[str]:
    """The steps. Raises Unsafe with everything that stands in the way; changes nothing."""
    from pgvigil.controller import bootstrap as work
    from pgvigil.wiring import workbench

    async with workbench(spec, lambda *_: None) as bench:
        grounds = await work.look(bench)
    _check(spec, grounds, wishes)
    work.passwords(spec, grounds, wishes, await _secret(spec, wishes))
    return work.plan(spec, grounds, wishes)


def _check(spec: ClusterSpec, grounds: "dict[NodeName, Ground]", wishes: "Wishes") -> None:
    from pgvigil.controller.bootstrap import objections

    if wrong := objections(spec, grounds, wishes):
        raise Unsafe(
            f"{spec.name} cannot be made as things are",
            detail="\n".join(wrong),
            hint="nothing was changed. A cluster that runs already needs no bootstrap: pgvigil check",
        )


async def _secret(spec: ClusterSpec, wishes: "Wishes") -> str:
    from pgvigil.ports.secrets import own_password

    return await own_password(spec.node(wishes.first))


async def _make(desk: Desk, spec: ClusterSpec, wishes: "Wishes") -> Outcome:
    from pgvigil.controller import bootstrap as work
    from pgvigil.ports.secrets import verifier
    from pgvigil.wiring import workbench

    desk.interrupted = "give the command again: it goes on where it was"
    with progress_lines(desk) as tell:
        async with workbench(spec, lambda node, text: tell(f"{node}: {text}")) as bench:
            grounds = await work.look(bench)
            _check(spec, grounds, wishes)
            secrets = work.passwords(spec, grounds, wishes, await _secret(spec, wishes))
            await work.make_first(bench, grounds[wishes.first], wishes, secrets, verifier)
        outcome = await _clones(desk, spec, wishes.first, tell)
        if outcome.result is not Result.DONE:
            return outcome
        async with workbench(spec, lambda *_: None) as bench:
            await work.finish(bench)
    return outcome


async def _clones(desk: Desk, spec: ClusterSpec, first: "NodeName", tell: "Callable[[str], None]") -> Outcome:
    """Every other node that does not stream yet, one after another."""
    async with desk.reach.operations(desk.config, [spec.name]) as ops:
        status = await _taken_over(ops, spec, first)
        streaming = {
            node["name"] for node in status["nodes"] if node["role"] == "standby" and node["upstream"]
        }
        for other in spec.others(first):
            if other.name in streaming:
                continue
            tell(f"{other.name}: clone")
            command = Rejoin(other.name, RebuildMethod.CLONE)
            outcome = await ops.order(spec.name, command, dry_run=False, within_s=CLONE_S, progress=tell)
            if outcome.result is not Result.DONE:
                return outcome
    count = len(spec.nodes) - 1
    standbys = "one standby" if count == 1 else f"{count} standbys"
    text = f"{spec.name} is there: {first} is the primary, with {standbys}"
    return Outcome(Result.DONE, text, hint=f"see whether it is ready: pgvigil check {spec.name}")


async def _taken_over(ops: Operations, spec: ClusterSpec, first: "NodeName") -> Json:
    """The status once the new primary is known there. Raises TimedOut."""
    import asyncio  # help needs none

    for _ in range(TAKEN_OVER_TRIES):
        status = (await ops.status(spec.name))[0]
        if status["primary"] == first:
            return status
        await asyncio.sleep(POLL_S)
    hint = f"see: pgvigil status {spec.name}; then give the command again"
    raise TimedOut(f"{first} runs, but is not taken for the primary", hint=hint)


def _tell(desk: Desk, outcome: Outcome) -> None:
    if desk.as_json:
        from pgvigil.api.wire import outcome_json

        desk.print_json(outcome_json(outcome))
    else:
        desk.print(outcome_view(desk.out, outcome))
