"""Reads a node's parameters: when somebody asks, and never as part of watching it."""

import asyncio
import re
from collections.abc import Mapping
from typing import Final

from pgvigil.errors import PgvigilError, StepFailed
from pgvigil.model.parameter import SECRETIVE, NodeParameters, Parameter
from pgvigil.model.units import NodeName
from pgvigil.ports.contract import NodePorts, Row, Session
from pgvigil.ports.host import quoted
from pgvigil.sight.probe import without_secrets

WITHIN_S: Final = 5.0
AUTO_FILE: Final = "postgresql.auto.conf"
PARAMETERS: Final = """
select name, coalesce(reset_val, '') as value, coalesce(current_setting(name, true), '') as shown,
  context, source, pending_restart as pending, coalesce(boot_val, '') as boot
from pg_settings where context <> 'internal'
"""
ABOUT: Final = """
select pg_is_in_recovery() as recovering, pg_postmaster_start_time() as started,
  current_setting('server_version_num') as version,
  current_setting('data_directory', true) as data_dir,
  case when pg_is_in_recovery() then pg_is_wal_replay_paused()
    or current_setting('recovery_min_apply_delay') <> '0' else false end as late,
  has_function_privilege('pg_show_all_file_settings()', 'execute') as may_read_files
"""
FILE_SETTINGS: Final = """
select coalesce(sourcefile, '') as file, sourceline as line, coalesce(name, '') as name,
  coalesce(setting, '') as value, coalesce(error, '') as error
from pg_file_settings order by seqno
"""
_LINE: Final = re.compile(r"^\s*([\w.]+)\s*=?\s*'((?:[^']|'')*)'", re.MULTILINE)
_RESTART_ONLY: Final = "setting could not be applied"
"""What the server says of a line that only waits for a restart (guc-file.l)."""


async def read_parameters(ports: NodePorts) -> NodeParameters:
    """One node's parameters. Raises Unreachable or QueryFailed, or StepFailed if nobody may read its file.

    In a session of its own: the kept one may be that of a server that has just been restarted.
    """
    session = ports.new_session()
    try:
        await session.open(within_s=WITHIN_S)
        return await _read(ports, session)
    finally:
        session.close()


async def _read(ports: NodePorts, session: Session) -> NodeParameters:
    (about,) = await session.query(ABOUT, within_s=WITHIN_S)
    rows = await session.query(PARAMETERS, within_s=WITHIN_S)
    mistakes: tuple[str, ...] = ()
    files: dict[str, str] = {}
    if about["may_read_files"] == "t":
        written, files, mistakes = read_files(await session.query(FILE_SETTINGS, within_s=WITHIN_S))
    else:
        written = await _through_the_host(ports, about["data_dir"] or ports.spec.data_dir)
    return NodeParameters(
        node=ports.spec.name,
        primary=about["recovering"] == "f",
        started=about["started"] or "",
        version=int(about["version"] or 0),
        parameters={row["name"] or "": _parameter(row) for row in rows if row["name"] not in SECRETIVE},
        written=written,
        files=files,
        mistakes=mistakes,
        replays_late=about["late"] == "t",
    )


async def read_all(
    nodes: Mapping[NodeName, NodePorts],
) -> tuple[dict[NodeName, NodeParameters], dict[NodeName, str]]:
    """Every node's parameters, and why the others gave none. Side by side; a dead node delays nobody."""
    answers: dict[NodeName, NodeParameters] = {}
    silent: dict[NodeName, str] = {}

    async def one(name: NodeName, ports: NodePorts) -> None:
        try:
            answers[name] = await read_parameters(ports)
        except PgvigilError as failed:
            silent[name] = str(failed)

    async with asyncio.TaskGroup() as group:
        for name, ports in nodes.items():
            group.create_task(one(name, ports))
    return {name: answers[name] for name in nodes if name in answers}, silent


def read_files(rows: tuple[Row, ...]) -> tuple[dict[str, str], dict[str, str], tuple[str, ...]]:
    """Rows of `FILE_SETTINGS` → ALTER SYSTEM's lines, those of the other files, and what is wrong in them."""
    written: dict[str, str] = {}
    files: dict[str, str] = {}
    mistakes = []
    for row in rows:
        name, file = (row["name"] or "").lower(), row["file"] or ""
        if row["error"] and row["error"] != _RESTART_ONLY:
            mistakes.append(f"{file} line {row['line']}: {name} {row['error']}".replace("  ", " "))
        elif name and name not in SECRETIVE:
            (written if file.endswith(f"/{AUTO_FILE}") else files)[name] = without_secrets(row["value"] or "")
    return written, files, tuple(mistakes)


def read_auto_file(text: str) -> dict[str, str]:
    """The lines of `postgresql.auto.conf`, as ALTER SYSTEM writes them."""
    found = {name.lower(): value.replace("''", "'") for name, value in _LINE.findall(text)}
    return {name: value for name, value in found.items() if name not in SECRETIVE}


async def _through_the_host(ports: NodePorts, data_dir: str) -> dict[str, str]:
    if ports.shell is None or not data_dir:
        raise StepFailed(
            f"{ports.spec.name} does not let us read its configuration files",
            hint="grant execute on function pg_show_all_file_settings() to our login, or give it a shell",
        )
    output = await ports.shell.ask(f"cat {quoted(f'{data_dir}/{AUTO_FILE}')}", within_s=WITHIN_S)
    if output.status:
        raise StepFailed(f"{AUTO_FILE} of {ports.spec.name} cannot be read", detail=output.complaint)
    return read_auto_file(output.text)


def _parameter(row: Row) -> Parameter:
    return Parameter(
        name=row["name"] or "",
        value=without_secrets(row["value"] or ""),
        shown=without_secrets(row["shown"] or ""),
        context=row["context"] or "",
        source=row["source"] or "",
        pending=row["pending"] == "t",
        default=row["boot"] or "",
    )
