"""The command that writes what other programs need: SQL, pg_hba.conf, sudoers, a unit, and the like."""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum, auto
from pathlib import Path
from typing import Annotated, Final

import typer

from pgvigil.cli.desk import ClusterArgument, ConfigOption, Desk, begin
from pgvigil.errors import ConfigError, UsageError
from pgvigil.model.face import HttpSpec
from pgvigil.model.spec import ClusterSpec

PANEL = "Protect"
UNIT_STATE: Final = "/var/lib/pgvigil"


class Rendering(StrEnum):
    """What `render` can write."""

    GRANTS = auto()
    PG_HBA = auto()
    SUDOERS = auto()
    SYSTEMD = auto()
    CERTIFICATES = auto()
    COMPLETION = auto()
    HAPROXY = auto()
    PGBOUNCER = auto()
    KEEPALIVED = auto()
    PROMETHEUS = auto()


class ShellName(StrEnum):
    """Shells that complete commands."""

    BASH = auto()
    ZSH = auto()
    FISH = auto()


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("render", rich_help_panel=PANEL)(render)


@dataclass(frozen=True, slots=True)
class _Wish:
    desk: Desk
    cluster: str | None
    major: int
    controllers: list[str]
    user: str
    shell: ShellName | None
    port: int
    read_port: int

    @property
    def spec(self) -> ClusterSpec:
        """Raises ConfigError, UsageError."""
        return self.desk.cluster(self.cluster)


def render(
    ctx: typer.Context,
    what: Annotated[
        Rendering,
        typer.Argument(
            help="grants: SQL for pgvigil's logins. pg_hba: lines that let them in. sudoers: lines for "
            "`sudo: true` of a control or vip. systemd: the controller's unit. certificates: a script "
            "that makes an authority of your own and certificates for TLS. completion: for the shell. "
            "haproxy: a whole haproxy.cfg, with a port for writes and one for reads. pgbouncer: a "
            "pgbouncer.ini for the cluster's endpoint. keepalived: a script that installs a check and a "
            "configuration on a node. prometheus: where it finds the metrics."
        ),
    ],
    cluster: ClusterArgument = None,
    *,
    major: Annotated[int, typer.Option(metavar="N", help="grants: PostgreSQL's major version.")] = 16,
    controller: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS",
            help="pg_hba: from where pgvigil logs in; may be given again. Without it: this host's own "
            "address towards the nodes. haproxy, keepalived, prometheus: where these find the controller.",
            show_default=False,
        ),
    ] = None,
    user: Annotated[str, typer.Option(help="systemd: the unit's account; else as the shells need it.")] = "",
    shell: Annotated[
        ShellName | None, typer.Option(help="completion: for which; else $SHELL.", show_default=False)
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="haproxy: port for writes.")] = 5000,
    read_port: Annotated[int, typer.Option(min=1, max=65535, help="haproxy: port for reads.")] = 5001,
    config: ConfigOption = None,
) -> None:
    """Write what other programs need, from the configuration.

    It is written on standard output, and nothing is changed anywhere.

    Example: `pgvigil render grants | psql -X -v ON_ERROR_STOP=1`
    """
    wish = _Wish(begin(ctx, config), cluster, major, controller or [], user, shell, port, read_port)
    typer.echo(_WRITERS[what](wish), nl=False)


def _grants(wish: _Wish) -> str:
    """The roles are named as in the configuration, if there is one; else pgvigil and replicator."""
    from pgvigil.config.grants import grants
    from pgvigil.config.hba import REWIND_DATABASE

    spec = wish.spec if wish.cluster or _is_configured(wish.desk) else None
    login = dict(spec.nodes[0].conninfo) if spec else {}
    streamer = dict(spec.replication.conninfo) if spec else {}
    return grants(
        wish.major * 10_000,
        login.get("user", "pgvigil"),
        streamer.get("user", "replicator"),
        tuple(dict.fromkeys((REWIND_DATABASE, login.get("dbname", REWIND_DATABASE)))),
    )


def _pg_hba(wish: _Wish) -> str:
    from pgvigil.config.hba import pg_hba
    from pgvigil.ports.ping import own_address

    spec = wish.spec
    controllers = wish.controllers or sorted({own_address(node.host) for node in spec.nodes} - {""})
    if not controllers:
        raise UsageError(
            "it is not known from which address pgvigil logs in",
            detail="no host of the configuration has an address, as seen from here",
            hint="tell it: pgvigil render pg_hba --controller 10.0.0.5",
        )
    return pg_hba(spec, controllers)


def _sudoers(wish: _Wish) -> str:
    from pgvigil.config.sudoers import sudoers

    return sudoers(wish.spec)


def _systemd(wish: _Wish) -> str:
    """Of the whole configuration; without one, of what it will be."""
    from pgvigil.config.load import USUAL_PLACES, find, load
    from pgvigil.config.service_unit import Service, service_unit

    if wish.cluster:
        raise UsageError("one unit runs all clusters", hint="pgvigil render systemd")
    program = _program()
    if wish.desk.config_path is None and not any(place.exists() for place in USUAL_PLACES):
        socket = f"{UNIT_STATE}/pgvigil.sock"
        return service_unit(Service(program, str(USUAL_PLACES[-1]), UNIT_STATE, socket, wish.user, ()))
    file = find(wish.desk.config_path, {})
    found = load(file, {"STATE_DIRECTORY": UNIT_STATE})
    return service_unit(
        Service(
            program,
            str(file.absolute()),
            str(found.state_dir),
            str(found.socket),
            wish.user,
            found.clusters,
            tuple(dict.fromkeys(target for each in found.notify.values() for target in each)),
        )
    )


def _program() -> tuple[str, ...]:
    """How this very pgvigil is called: by its script beside the interpreter, if it has one."""
    beside = Path(sys.executable).with_name("pgvigil")
    return (str(beside),) if os.access(beside, os.X_OK) else (sys.executable, "-m", "pgvigil")


def _certificates(wish: _Wish) -> str:
    from pgvigil.config.certificates import certificates

    return certificates(wish.spec)


def _completion(wish: _Wish) -> str:
    from typer._completion_shared import get_completion_script

    shell = wish.shell or Path(os.environ.get("SHELL", "")).name
    if shell not in set(ShellName):
        raise UsageError(
            "for which shell?", detail="$SHELL is none that is known", hint="--shell bash, zsh or fish"
        )
    script = get_completion_script(prog_name="pgvigil", complete_var="_PGVIGIL_COMPLETE", shell=shell)
    return script.rstrip() + "\n"


def _haproxy(wish: _Wish) -> str:
    from pgvigil.config.haproxy import haproxy

    http = wish.desk.config.http
    if http is None or not http.haproxy_host:
        raise UsageError(
            "nobody would answer HAProxy's agent checks",
            detail="http.haproxy",
            hint="write into the configuration: http: {haproxy: 127.0.0.1:8010}; then: pgvigil reload",
        )
    address = _controller(wish, http.haproxy_host)
    return haproxy(wish.spec, (address, http.haproxy_port), write=wish.port, read=wish.read_port)


def _pgbouncer(wish: _Wish) -> str:
    from pgvigil.config.pgbouncer import pgbouncer

    return pgbouncer(wish.spec)


def _http(wish: _Wish, who: str) -> HttpSpec:
    """The HTTP face. Raises UsageError without one."""
    http = wish.desk.config.http
    if http is None:
        raise UsageError(
            f"nobody would answer {who}", detail="http: {listen: off}", hint="http: {listen: 0.0.0.0:8009}"
        )
    return http


def _controller(wish: _Wish, host: str) -> str:
    """Where others find the controller: as told, else as it listens."""
    if len(wish.controllers) > 1:
        raise UsageError("one controller at a time", detail=" ".join(wish.controllers))
    return wish.controllers[0] if wish.controllers else _reachable(host)


def _keepalived(wish: _Wish) -> str:
    from pgvigil.config.keepalived import keepalived

    http = _http(wish, "keepalived's checks")
    host = _controller(wish, http.host)
    if host in ("127.0.0.1", "::1", "localhost") and not wish.controllers:
        raise UsageError(
            "nodes do not reach the controller's HTTP face",
            detail=f"it listens on {host}",
            hint="http: {listen: 0.0.0.0:8009} and --controller ADDRESS, as nodes see it",
        )
    shown = f"[{host}]" if ":" in host else host
    url = f"{'https' if http.cert else 'http'}://{shown}:{http.port}"
    return keepalived(wish.spec, url, ca="/etc/keepalived/pgvigil-ca.crt" if http.cert else "")


def _prometheus(wish: _Wish) -> str:
    from pgvigil.config.prometheus import prometheus

    http = _http(wish, "Prometheus")
    return prometheus(http, _controller(wish, http.host))


def _reachable(host: str) -> str:
    """Where HAProxy finds the controller; one that listens everywhere is taken to be on HAProxy's host."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # compared, not bound


_WRITERS: Final[Mapping[Rendering, Callable[[_Wish], str]]] = {
    Rendering.GRANTS: _grants,
    Rendering.PG_HBA: _pg_hba,
    Rendering.SUDOERS: _sudoers,
    Rendering.SYSTEMD: _systemd,
    Rendering.CERTIFICATES: _certificates,
    Rendering.COMPLETION: _completion,
    Rendering.HAPROXY: _haproxy,
    Rendering.PGBOUNCER: _pgbouncer,
    Rendering.KEEPALIVED: _keepalived,
    Rendering.PROMETHEUS: _prometheus,
}


def _is_configured(desk: Desk) -> bool:
    try:
        return len(desk.config.clusters) == 1
    except ConfigError:
        if desk.config_path is not None:
            raise
        return False
