"""Tokens for the HTTP face: `token add`, `token list`, `token drop`."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from pgvigil.cli.desk import ConfigOption, Desk, JsonOption, begin, seconds_option, unknown
from pgvigil.cli.orders import DryRunOption, YesOption
from pgvigil.cli.tables import Column, Shape, fitting_table
from pgvigil.cli.theme import BAD, DIM, local_time
from pgvigil.errors import UsageError
from pgvigil.model.face import Access

if TYPE_CHECKING:
    from pgvigil.api.gate import Token

PANEL = "Protect"
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Who uses it; shown in the log.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    family = typer.Typer(help="Tokens for the HTTP API: add, list, drop.", no_args_is_help=True)
    family.command("add")(add)
    family.command("list")(show)
    family.command("drop")(drop)
    app.add_typer(family, name="token", rich_help_panel=PANEL)


def add(
    ctx: typer.Context,
    name: NameArgument,
    *,
    access: Annotated[
        Access, typer.Option("--access", help="viewer: see; operator: give commands, too.")
    ] = Access.VIEWER,
    expires: Annotated[
        str | None,
        typer.Option(
            "--expires", metavar="DURATION", help="Worth nothing after so long.", show_default=False
        ),
    ] = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Make a token and print it: this once, for only its hash is kept.

    It counts at once; a running controller reads the file again.

    Example: `pgvigil token add grafana`; `pgvigil token add deploy --access operator --expires 90d`
    """
    from pgvigil.api.gate import new_token, read_tokens, write_tokens

    desk = begin(ctx, config, as_json=as_json)
    file = _file(desk)
    if not name.isprintable() or len(name.split()) != 1 or len(name) > 63:
        raise UsageError("the name of a token is one word of at most 63 characters", detail=repr(name)[:80])
    tokens = read_tokens(file)
    if any(token.name == name for token in tokens):
        raise UsageError(f"there is a token {name} already", hint=f"pgvigil token drop {name}")
    until = None
    if expires is not None:
        seconds = seconds_option(expires, name="--expires")
        until = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=seconds)
    token, secret = new_token(name, access, until)
    if dry_run:
        desk.tell(f"{file}: would have one more line: {name} {access}")
        return
    write_tokens(file, (*tokens, token))
    if as_json:
        desk.print_json({**_json(token), "token": secret})
    else:
        desk.tell(
            f"{name} may {'give commands' if access is Access.OPERATOR else 'look'}; its token, shown once:"
        )
        typer.echo(secret)


def show(ctx: typer.Context, *, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """List the tokens: whose, what they allow, until when. The tokens themselves are kept nowhere.

    Example: `pgvigil token list`
    """
    from pgvigil.api.gate import read_tokens

    desk = begin(ctx, config, as_json=as_json)
    tokens = read_tokens(_file(desk))
    if as_json:
        desk.print_json([_json(token) for token in tokens])
        return
    if not tokens:
        desk.tell("there are no tokens; make one: pgvigil token add NAME")
        return
    desk.print(fitting_table(desk.out, COLUMNS, [_json(token) for token in tokens]))


def drop(
    ctx: typer.Context,
    name: NameArgument,
    *,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Take a token away: from now on it is worth nothing.

    Example: `pgvigil token drop deploy`
    """
    from pgvigil.api.gate import read_tokens, write_tokens

    desk = begin(ctx, config, as_json=as_json)
    file = _file(desk)
    tokens = read_tokens(file)
    if name not in [token.name for token in tokens]:
        raise unknown("token", name, [token.name for token in tokens])
    if dry_run:
        desk.tell(f"{file}: would have one line less: {name}")
        return
    desk.confirm(f"Take the token {name} away?", yes=yes)
    write_tokens(file, [token for token in tokens if token.name != name])
    if as_json:
        desk.print_json({"dropped": name})
    else:
        desk.tell(f"the token {name} is worth nothing any more")


def _file(desk: Desk) -> Path:
    """Where the tokens are. Raises UsageError if the configuration names no file."""
    http = desk.config.http
    if http is None or not http.tokens:
        raise UsageError(
            "the configuration names no file of tokens",
            detail="http.tokens",
            hint="write into it: http: {tokens: tokens}; then: pgvigil reload",
        )
    return Path(http.tokens)


def _until(token: Shape) -> Text:
    if token["expires"] is None:
        return Text("never", style=DIM)
    over = datetime.fromisoformat(token["expires"]) <= datetime.now(UTC)
    return Text(f"{local_time(token['expires'])}{' (over)' if over else ''}", style=BAD if over else "")


def _json(token: "Token") -> dict[str, str | None]:
    expires = token.expires.isoformat() if token.expires else None
    return {"name": token.name, "access": token.access, "expires": expires}


COLUMNS = (
    Column("Name", lambda token: str(token["name"])),
    Column("Access", lambda token: str(token["access"])),
    Column("Expires", _until),
)
