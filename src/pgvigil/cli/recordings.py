"""Why it happened, and what would have: `explain`, `replay`, `recording`."""

from base64 import b64decode
from collections.abc import Sequence
from enum import StrEnum, auto
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console, Group, RenderableType
from rich.text import Text

from pgvigil.cli.desk import ConfigOption, Desk, JsonOption, begin, run_async
from pgvigil.cli.errands import cluster_and_rest
from pgvigil.cli.orders import YesOption
from pgvigil.cli.report import event_view
from pgvigil.cli.tables import Column, Shape, fitting_table, hanging
from pgvigil.cli.theme import BAD, DIM, GOOD, STRONG, WARN, bytes_text, local_time, seconds_text, symbols
from pgvigil.controller.operations import Json, Result
from pgvigil.errors import PgvigilError, UsageError
from pgvigil.model.command import Errand, FetchRecording, ListRecordings
from pgvigil.model.spec import ClusterSpec

PANEL = "Look"
WITHIN_S = 30.0
TOLD_AT_MOST = 20
"""So many differences are printed; `--json` has all."""

EventArguments = Annotated[
    list[str],
    typer.Argument(
        metavar="[CLUSTER] EVENT",
        help="The event's number; the cluster may be left out when only one is configured.",
    ),
]


class Action(StrEnum):
    """What to do with recordings."""

    LIST = auto()
    EXPORT = auto()


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for command in (explain, replay, recording):
        app.command(command.__name__, rich_help_panel=PANEL)(command)


def explain(
    ctx: typer.Context, words: EventArguments, *, as_json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Show why something happened: evidence, rule, alternatives.

    What was seen of every node at that moment, what was found, which rule decided, and what else was weighed.

    Example: `pgvigil explain orders 1042`
    """
    from pgvigil.controller.explain import explained
    from pgvigil.model.recording import unpacked

    desk = begin(ctx, config, as_json=as_json)
    spec, number = _event(desk, words)
    fetched = _asked(desk, spec, FetchRecording(number))
    event, body = fetched["event"], fetched["recording"]
    then = None
    if body:
        from datetime import datetime

        then = explained(unpacked(b64decode(body)), datetime.fromisoformat(event["at"]))
    if as_json:
        desk.print_json({"event": event, "explained": then})
        return
    desk.print(event_view(desk.out, event))
    if then is None:
        desk.print(Text("of that moment no recording is kept: the evidence above is all there is", style=DIM))
    else:
        desk.print(explained_view(desk.out, then))


def replay(
    ctx: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="RECORDING", help="A file made by `pgvigil recording export`.")
    ],
    *,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="With another setting; may be repeated.", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Decide again on what was recorded, also with other settings.

    After the first decision that differs the world would have gone another way: what follows it says only
    what would be decided about what was seen. Needs no configuration and touches nothing. Exit code 0 also
    when decisions differ.

    Example: `pgvigil replay crash.recording --set failover.unreachable_after=1s`
    """
    from pgvigil.config.what_if import changed
    from pgvigil.controller.replay import decision_words, replayed
    from pgvigil.model.recording import unpacked

    desk = begin(ctx, config, as_json=as_json)
    kept = unpacked(_read(file))
    spec = kept.spec
    for setting in settings or []:
        spec = changed(spec, setting)
    again = list(replayed(kept, spec))
    rows: list[Json] = []
    for each in again:
        (was, why), (now, reason) = decision_words(each.frame.decided), decision_words(each.now)
        rows.append(
            {
                "at_s": round(each.at_s, 3),
                "same": each.same,
                "then": {"rule": was, "reason": why},
                "now": {"rule": now, "reason": reason},
            }
        )
    if as_json:
        desk.print_json({"cluster": spec.name, "settings": settings or [], "decisions": rows})
    else:
        desk.print(replay_view(desk.out, spec.name, rows))


def recording(
    ctx: typer.Context,
    action: Annotated[Action, typer.Argument(help="list, or export the one around an event.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CLUSTER] [EVENT FILE]", help="EVENT and FILE for export.", show_default=False
        ),
    ] = None,
    *,
    yes: YesOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List what was recorded, or write a recording to a file.

    Around each event all that was seen and decided is kept, without secrets: to be replayed, or sent to
    somebody who helps. --yes: replace a file that exists.

    Example: `pgvigil recording export orders 1042 crash.recording`
    """
    desk = begin(ctx, config, as_json=as_json)
    if action is Action.LIST:
        spec, rest = cluster_and_rest(desk, words or [])
        if rest:
            raise UsageError("list takes a cluster at most", detail=" ".join(rest))
        kept = _asked(desk, spec, ListRecordings())["recordings"]
        if as_json:
            desk.print_json(kept)
        else:
            desk.print(recordings_view(desk.out, kept))
        return
    *where, name = words or [""]
    if len(where) not in (1, 2):
        raise UsageError(
            "EVENT and FILE are expected", hint="pgvigil recording export orders 1042 crash.recording"
        )
    spec, number = _event(desk, where)
    body = _asked(desk, spec, FetchRecording(number))["recording"]
    if not body:
        raise UsageError(
            f"no recording of event {number} is kept",
            hint=f"those that are: pgvigil recording list {spec.name}",
        )
    _write(desk, Path(name), b64decode(body), yes=yes)


def _write(desk: Desk, file: Path, body: bytes, *, yes: bool) -> None:
    try:
        with file.open("wb" if yes else "xb") as out:
            out.write(body)
    except FileExistsError as there:
        raise UsageError(f"{file} exists", hint="name another file, or replace it with --yes") from there
    except OSError as why:
        raise UsageError(f"cannot write {file}", detail=str(why)) from why
    if desk.as_json:
        desk.print_json({"file": str(file), "bytes": len(body)})
    else:
        desk.print(f"{file}: {bytes_text(len(body))}; see: pgvigil replay {file}")


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as why:
        raise UsageError(f"cannot read {file}", detail=why.strerror or str(why)) from why


EVENT_DIGITS: Final = 18
"""More than any store counts to."""


def _event(desk: Desk, words: Sequence[str]) -> tuple[ClusterSpec, int]:
    """Read `[CLUSTER] EVENT`. Raises UsageError."""
    spec, rest = cluster_and_rest(desk, list(words))
    text = rest[0].removeprefix("#") if len(rest) == 1 else ""
    if not text.isascii() or not text.isdigit() or len(text) > EVENT_DIGITS:
        hint = "the numbers stand before the events: pgvigil events"
        raise UsageError("an event's number is expected", detail=" ".join(rest), hint=hint)
    return spec, int(text)


def _asked(desk: Desk, spec: ClusterSpec, errand: Errand) -> Json:
    async def ask() -> Json:
        async with desk.reach.look(desk.config, [spec.name]) as ops:
            outcome = await ops.order(
                spec.name, errand, dry_run=False, within_s=WITHIN_S, progress=lambda _: None
            )
        if outcome.result in (Result.WRONG, Result.REFUSED):
            raise UsageError(outcome.text, detail=outcome.detail, hint=outcome.hint)
        if outcome.result is not Result.DONE:
            raise PgvigilError(outcome.text, detail=outcome.detail, hint=outcome.hint)
        return outcome.data

    return run_async(ask())


def explained_view(console: Console, then: Shape) -> RenderableType:
    """All of one moment, part by part."""
    record = then["record"]
    told = f"generation {record['generation']}, {record['phase']}, primary {record['primary']}"
    told += f", timeline {record['timeline']}" + (", paused" if record["paused"] else "")
    told += f", deposed: {', '.join(record['deposed'])}" if record["deposed"] else ""
    parts = [
        _part("decided", [f"{then['rule']}: {then['reason']}", *_because(console, then)]),
        _part("on record", [told]),
        _part("seen", [_node(each) for each in then["seen"]]),
        _part("found", [_finding(each) for each in then["findings"]] or ["nothing"]),
        _part("weighed", [f"{each['what']}: {each['verdict']}" for each in then["weighed"]]),
    ]
    return Group(*(part for part in parts if part is not None))


def _because(console: Console, then: Shape) -> list[str]:
    lines = [f"{symbols(console).note} {each}" for each in then["evidence"]]
    if then["command"]:
        lines.append(f"{symbols(console).note} an operator's command: {then['command']}")
    return lines


def _part(title: str, lines: list[str]) -> RenderableType | None:
    if not lines:
        return None
    return hanging(Text(f"{title:<10}", style=STRONG), Group(*(Text(line) for line in lines)))


def _node(each: Shape) -> str:
    age = f", {seconds_text(each['last_answer_s'])} old" if each["last_answer_s"] is not None else ""
    at = f" at {each['lsn']} (timeline {each['timeline']}{age})" if each["lsn"] else ""
    others = f"; from other places: {', '.join(each['others'])}" if each["others"] else ""
    return f"{each['node']}: {each['words']}{at}{others}"


def _finding(each: Shape) -> str:
    where = f" on {each['node']}" if each["node"] else ""
    due = f", verdict in {seconds_text(each['due_s'])}" if each["due_s"] is not None else ""
    return (
        f"{each['problem'].replace('_', ' ')}{where} ({each['urgency']}{due}): {'; '.join(each['evidence'])}"
    )


def replay_view(console: Console, cluster: str, rows: list[Json]) -> RenderableType:
    """How many decisions are the same, the course of them, and where they differ."""
    same = sum(row["same"] for row in rows)
    lasted = seconds_text(rows[-1]["at_s"]) if rows else "0 s"
    head = f"{cluster}: {len(rows)} decisions in {lasted}; {same} are the same"
    lines: list[Text] = [Text(head, style=GOOD if same == len(rows) else WARN)]
    shown = ("", "")
    for row in rows:
        words = (
            f"{row['then']['rule']}: {row['then']['reason']}",
            f"{row['now']['rule']}: {row['now']['reason']}",
        )
        if words == shown:
            continue
        shown = words
        if len(lines) > TOLD_AT_MOST:
            lines.append(Text("… more: --json", style=DIM))
            break
        clock = Text(f"{row['at_s']:9.3f} s  ", style=DIM)
        lines.append(clock + Text(words[0]))
        if not row["same"]:
            lines.append(Text(" " * 9 + "now  ", style=BAD) + Text(words[1], style=WARN))
    return Group(*lines)


KEPT = (
    Column("Began", lambda row: local_time(row["began"], fraction=True)),
    Column("Ended", lambda row: local_time(row["ended"], fraction=True), drop=2),
    Column("Decisions", lambda row: str(row["ticks"]), justify="right"),
    Column("Size", lambda row: bytes_text(row["bytes"]), drop=1, justify="right"),
    Column("Primary changed", lambda row: "yes" if row["changed_primary"] else ""),
)


def recordings_view(console: Console, kept: list[Shape]) -> RenderableType:
    """One a line, oldest first."""
    if not kept:
        return Text("nothing has happened that was recorded", style=DIM)
    return fitting_table(console, KEPT, kept)
