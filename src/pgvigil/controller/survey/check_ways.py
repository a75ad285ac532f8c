"""Whether we get in: each node's server, with the reason by SQLSTATE, and each host's shell."""

import re
from collections.abc import Iterator
from typing import Final

from pgvigil.controller.survey.items import advice, at, error, fine, set_and_restart, warning
from pgvigil.controller.survey.seen import ClusterSeen, HostSeen, NodeSeen, SqlSeen
from pgvigil.model.check import CheckItem
from pgvigil.model.shell import CommandShell, LocalShell, SshShell
from pgvigil.model.sighting import Silence
from pgvigil.model.spec import NodeSpec
from pgvigil.ports.contract import NoReply, Rejected, ShellLost, ShellRefused

OLDEST: Final = 13
_FROM: Final = re.compile(r'host "([0-9a-fA-F.:]+)"')


def servers(seen: ClusterSeen) -> Iterator[CheckItem]:
    """One item a node: who it is, or why it does not answer and what to do."""
    for node in seen.nodes:
        place = at(seen, node)
        match node.sql:
            case SqlSeen() as sql:
                role = "standby" if sql.recovering else "primary"
                yield fine(
                    place,
                    f"PostgreSQL {sql.version_text}, {role} on timeline {sql.timeline}; we are {sql.user}",
                )
                yield from _version(place, sql)
            case Rejected() as rejected:
                yield _rejected(place, node, rejected)
            case NoReply() as silent:
                yield _silent(place, node, silent)


def _version(place: str, sql: SqlSeen) -> Iterator[CheckItem]:
    if sql.major < OLDEST:
        what = f"PostgreSQL {sql.version_text} is older than what pgvigil can handle"
        yield error(place, what, f"upgrade to {OLDEST} or later")
    for what in sql.unread:
        yield warning(place, f"not to be read with our login: {what}", "run: pgvigil render grants | psql")


def _silent(place: str, node: NodeSeen, silent: NoReply) -> CheckItem:
    spec = node.spec
    where = f"{spec.host}:{spec.port}"
    match silent.silence:
        case Silence.REFUSED:
            what = f"no server listens on {where}"
            host = node.host_answer
            if host and host.running:
                fix = f"its host says that it runs: correct port: here, or listen_addresses there ({where})"
            else:
                fix = f"start it on {node.name}; or correct host: and port: in the configuration"
        case Silence.TIMED_OUT:
            what = f"{where} does not answer at all"
            fix = f"is it up, and the port open in every firewall? pg_isready -h {spec.host} -p {spec.port}"
        case Silence.NO_ADDRESS:
            what = f"we cannot even try {spec.host}: {silent.detail}"
            fix = f"write an address instead of the name, or mend name resolution: getent hosts {spec.host}"
        case _:
            what = f"something at {where} takes the connection, but says nothing"
            fix = "a hung server, or another program on that port: look at its log and at its load"
    return error(place, what, fix)


def _rejected(place: str, node: NodeSeen, rejected: Rejected) -> CheckItem:
    spec, said = node.spec, rejected.detail or rejected.what
    own = dict(spec.conninfo)
    user, dbname = own.get("user", "pgvigil"), own.get("dbname", "postgres")
    match rejected.sqlstate:
        case "28P01":
            source = "password_command" if spec.password_command else own.get("passfile", "~/.pgpass")
            what = f"the password of {user} is wrong or missing: {said}"
            fix = f"put this line into {source}: {spec.host}:{spec.port}:*:{user}:PASSWORD  (mode 0600)"
            if spec.password_command:
                fix = "see what password_command prints; or set the password anew with \\password"
        case "28000":
            address = _FROM.search(said)
            net = f"{address[1]}/{128 if ':' in address[1] else 32}" if address else "OUR-ADDRESS/32"
            what = f"the server does not let {user} in: {said}"
            fix = (
                f"pg_hba.conf on {node.name}: host {dbname} {user} {net} scram-sha-256  "
                "then SELECT pg_reload_conf();"
            )
        case "3D000":
            what = f"there is no database {dbname}"
            fix = "set postgres: {dbname: …} to one that exists, such as postgres"
        case "53300":
            what = f"all connections are taken: {said}"
            fix = (
                set_and_restart("superuser_reserved_connections", "5")
                + "; or GRANT pg_use_reserved_connections"
            )
        case "57P03":
            what = f"it runs, but lets nobody in now: {said}"
            fix = "wait if it is starting; a standby needs hot_standby = on (postgresql.conf, then restart)"
        case _:
            what = f"it answered, but no session came of it: {said}"
            fix = f"is it PostgreSQL on {spec.host}:{spec.port}? see its log, and sslmode: here"
    return error(place, what, fix)


def shells(seen: ClusterSeen) -> Iterator[CheckItem]:
    """One item a node at least: what its shell is good for."""
    for node in seen.nodes:
        place = at(seen, node)
        match node.host:
            case None:
                yield warning(
                    place,
                    "no shell: it cannot be stopped, fenced, started, rewound or copied from here",
                    "shell: {via: ssh, user: postgres}  in the configuration; local, if it is on this host",
                )
            case ShellRefused() | ShellLost() as failure:
                yield error(
                    place, _lost(node.spec, failure), failure.hint.removesuffix(" see: pgvigil check")
                )
            case HostSeen() as host:
                yield from _host(place, node, host)


def _lost(spec: NodeSpec, failure: ShellRefused | ShellLost) -> str:
    return f"no shell on {spec.host}: {failure}"


def _host(place: str, node: NodeSeen, host: HostSeen) -> Iterator[CheckItem]:
    problems = [*_who(place, node, host), *_data_dir(place, node, host), *_programs(place, node, host)]
    if not problems:
        yield fine(place, f"shell: {_way(node.spec)} as {host.user}; {_good_for(node, host)}")
    yield from problems


def _way(spec: NodeSpec) -> str:
    match spec.shell:
        case SshShell(host=host):
            return f"ssh to {host or spec.host}, its host key verified,"
        case LocalShell():
            return "local"
        case CommandShell(command=command):
            return f"from {command[0]}"
        case None:
            return "none"


def _good_for(node: NodeSeen, host: HostSeen) -> str:
    version = f" {host.version_text}" if host.version_text else ""
    return f"data directory and programs{version} are right"


def _who(place: str, node: NodeSeen, host: HostSeen) -> Iterator[CheckItem]:
    if not host.owner or host.owner == host.user:
        return
    local = isinstance(node.spec.shell, LocalShell)
    what = f"its shell is {host.user}, but the data directory belongs to {host.owner}"
    fix = f"shell: {{user: {host.owner}}}  in the configuration"
    if local and not host.is_root:
        fix += f", and run pgvigil as {host.owner} or root"
    yield error(place, what, fix)


def _data_dir(place: str, node: NodeSeen, host: HostSeen) -> Iterator[CheckItem]:
    sql, configured = node.answer, node.spec.data_dir
    said = sql.text("data_directory") if sql else ""
    if not configured and not said:
        yield warning(
            place,
            "it is not known where it keeps its data: it has to answer once, as a login with pg_monitor",
            "postgres: {data_dir: …}  in the configuration  (psql -c 'show data_directory')",
        )
        return
    where = configured or said
    if configured and said and not host.same_data_dir:
        yield error(
            place,
            f"data_dir is {configured}, but the server uses {said}",
            f"postgres: {{data_dir: {said}}}  in the configuration of {node.name}",
        )
    elif not host.is_data_dir and host.owner:
        yield error(
            place,
            f"{where} is no data directory that {host.user} can read",
            f"correct data_dir:, or see on {node.name}: ls -ld {where} {where}/PG_VERSION",
        )
    elif not host.is_data_dir:
        yield error(
            place,
            f"there is no {where} on its host",
            "is this shell's host the one the server runs on? correct shell: or data_dir:",
        )
    elif sql and host.system_id and host.system_id != sql.system_id:
        yield error(
            place,
            f"{where} belongs to another cluster than the server that answers",
            "is this shell's host the one the server runs on? correct host: or data_dir:",
        )


def _programs(place: str, node: NodeSeen, host: HostSeen) -> Iterator[CheckItem]:
    if not host.bin_dir_found:
        fix = "postgres: {bin_dir: …}  in the configuration  (on the node: pg_config --bindir)"
        yield error(place, f"there is no program directory {host.bin_dir}", fix)
        return
    where = host.bin_dir or "PATH"
    if host.missing:
        what = f"{', '.join(host.missing)} missing in {where}"
        fix = "install PostgreSQL's server and client packages there, or correct bin_dir:"
        yield error(place, what, fix)
    sql = node.answer
    if sql and host.version_text and host.version_text.partition(".")[0] != str(sql.major):
        what = f"the programs in {where} are of {host.version_text}, the server is {sql.version_text}"
        yield error(place, what, f"postgres: {{bin_dir: …}}  of PostgreSQL {sql.major} in the configuration")
    if not host.bin_dir and not host.missing and not node.spec.bin_dir:
        yield advice(
            place,
            "the program directory is not known; PATH is used",
            "postgres: {bin_dir: …}  in the configuration  (on the node: pg_config --bindir)",
        )
