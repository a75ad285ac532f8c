"""Asks a node's host, through its shell, what `check` and `discover` want to know. Only reads.

The scripts are POSIX sh on Linux, like those of `ports.host`.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final

from pgvigil.controller.survey.ask_files import look_script, read_looks
from pgvigil.controller.survey.seen import HostSeen, Passage
from pgvigil.model.spec import NodeSpec, PgCtl, Systemd
from pgvigil.ports.contract import Clock, NodePorts, Output, Shell, ShellLost, ShellRefused
from pgvigil.ports.host import program, quoted

PROGRAMS: Final = ("pg_controldata", "pg_rewind", "pg_basebackup", "pg_waldump", "pg_isready", "pg_ctl")
LOGIN_S: Final = 5
"""What one attempt to log in from node to node may take."""

_LOOK: Final = r"""
D={data}; S={said}; B={bin}; p=; e=
echo "user=$(id -un)"; echo "uid=$(id -u)"
{{ read -r m < /proc/sys/kernel/random/boot_id && echo "machine=$m"; }} 2>/dev/null
[ -n "$D" ] || D=$S
if [ -n "$D" ]; then
  o=$(stat -L -c %U -- "$D" 2>/dev/null) && echo "owner=$o"
  [ -f "$D/PG_VERSION" ] && echo data=1
  if [ -n "$S" ] && ! [ "$D" -ef "$S" ]; then echo differs=1; fi
  if [ -f "$D/postmaster.pid" ]; then {{ read -r p < "$D/postmaster.pid"; }} 2>/dev/null; fi
  case $p in *[!0-9]*) p= ;; esac
  if [ -n "$p" ] && [ -d "/proc/$p" ]; then
    echo running=1
    [ -n "$B" ] || {{ e=$(readlink "/proc/$p/exe") && B=${{e%/*}}; }}
    while read -r l; do case ${{l##*/}} in *.service) echo "unit=${{l##*/}}" ;; esac; done < "/proc/$p/cgroup"
  fi
  echo "free=$(df -Pk "$D/pg_wal/." 2>/dev/null | {{ read -r _; read -r _ _ _ f _; echo "$f"; }})"
fi
echo "bin=$B"
[ -z "$B" ] || [ -d "$B" ] || echo nobin=1
for f in {programs}; do
  if [ -n "$B" ]; then [ -x "$B/$f" ]; else command -v "$f" >/dev/null; fi || echo "missing=$f"
done
if [ -n "$B" ]; then [ -x "$B/psql" ]; else command -v psql >/dev/null; fi && echo psql=1
c=pg_controldata; [ -z "$B" ] || c=$B/$c
echo "version=$("$c" --version 2>/dev/null)"
[ -z "$D" ] || echo "control=$("$c" -D "$D" 2>/dev/null | grep '^Database system identifier')"
{passfile}
{tls}
{control}
:
"""


async def ask_host(
    ports: NodePorts, said_data_dir: str, replication: Mapping[str, str], clock: Clock, *, within_s: float
) -> HostSeen | ShellLost | ShellRefused | None:
    """Everything about one host, or why its shell does not work; None: it has none.

    `said_data_dir` is what the running server uses, empty if that is not known; `replication` the login
    whose files lie there.
    """
    shell, spec = ports.shell, ports.spec
    if shell is None:
        return None
    try:
        await shell.ask(":", within_s=within_s)
        off = await _clock_off(shell, clock, within_s)
        output = await shell.run(_script(spec, said_data_dir, replication), within_s=within_s)
    except (ShellLost, ShellRefused) as failure:
        return failure
    return replace(
        read_host(output.text, off),
        tls_files=read_looks(replication, re.findall(r"^tls=(.*)$", output.text, re.MULTILINE)),
    )


def _script(spec: NodeSpec, said_data_dir: str, replication: Mapping[str, str]) -> str:
    passfile = replication.get("passfile", "")
    return _LOOK.format(
        data=quoted(spec.data_dir),
        said=quoted(said_data_dir),
        bin=quoted(spec.bin_dir.rstrip("/")),
        programs=" ".join(PROGRAMS),
        passfile=f'echo "passfile=$(stat -L -c %a -- {quoted(passfile)} 2>/dev/null || echo missing)"'
        if passfile
        else "",
        tls=look_script(replication),
        control=_control_script(spec),
    )


def _control_script(spec: NodeSpec) -> str:
    """What systemd and sudo say of the unit, without asking them to do anything."""
    match spec.control:
        case Systemd(unit=unit, sudo=sudo):
            lines = [f"systemctl show -p LoadState -p Restart {quoted(unit)} 2>/dev/null"]
            if sudo:
                allowed = " && ".join(
                    f"sudo -n -l systemctl {verb} {quoted(unit)}" for verb in ("stop", "start", "restart")
                )
                lines.append(f"if {{ {allowed}; }} >/dev/null 2>&1; then echo may=1; else echo may=0; fi")
            return "\n".join(lines)
        case PgCtl():
            return '[ -z "$p" ] || systemctl show -p Restart "$p" 2>/dev/null'
        case _:
            return ""


def read_host(text: str, clock_off_s: float | None) -> HostSeen:
    """What the look script printed."""
    said: dict[str, str] = {}
    missing = []
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key == "missing":
            missing.append(value)
        else:
            said[key] = value.strip()
    version = re.search(r"\(PostgreSQL\) (\S+)", said.get("version", ""))
    system_id = re.search(r"(\d+)\s*$", said.get("control", ""))
    return HostSeen(
        user=said.get("user", ""),
        is_root=said.get("uid") == "0",
        owner=said.get("owner", ""),
        is_data_dir="data" in said,
        same_data_dir="differs" not in said,
        running="running" in said,
        system_id=system_id[1] if system_id else "",
        bin_dir=said.get("bin", ""),
        bin_dir_found="nobin" not in said,
        missing=tuple(missing),
        version_text=version[1] if version else "",
        free_bytes=int(said["free"]) * 1024 if said.get("free", "").isdigit() else None,
        clock_off_s=clock_off_s,
        machine=said.get("machine", ""),
        unit=said.get("unit", ""),
        unit_load=said.get("LoadState", ""),
        unit_restart=said.get("Restart", ""),
        may_control={"1": True, "0": False}.get(said.get("may", "")),
        has_psql="psql" in said,
        passfile_mode=said.get("passfile", ""),
    )


async def _clock_off(shell: Shell, clock: Clock, within_s: float) -> float | None:
    """How far the host's clock is ahead of ours, beyond what the way there may explain."""
    before = clock.wall()
    output = await shell.ask("date +%s.%N", within_s=within_s)
    after = clock.wall()
    return clock_distance(output.text, before, after)


def clock_distance(said: str, before: datetime, after: datetime) -> float | None:
    """Seconds between what `date +%s.%N` said and the time in which it was asked; None: it said nothing."""
    match = re.match(r"\d+(\.\d+)?", said)
    if match is None:
        return None
    theirs = float(match[0])
    if theirs < before.timestamp() - 1:  # a date without %N cuts the second off
        return theirs - before.timestamp()
    return max(0.0, theirs - after.timestamp())


async def try_passage(
    source: NodePorts, target: NodeSpec, keywords: Mapping[str, str], bin_dir: str, *, slow_s: float
) -> Passage:
    """Log in at a node from another node's host, as standbys and pg_rewind do there. Never prompts.

    The database name of the replication login is what a WAL receiver uses too: it chooses the line of the
    password file.
    """
    assert source.shell is not None
    there = {**keywords, "host": target.host, "port": str(target.port), "connect_timeout": "3"}
    replication = _conninfo({**there, "dbname": "replication", "replication": "true"})
    ordinary = _conninfo({**there, "dbname": "postgres"})
    ready, psql = program(bin_dir, "pg_isready"), program(bin_dir, "psql")
    limit = f"timeout {LOGIN_S}"
    script = (
        f"{limit} {ready} -q -t 3 -h {quoted(target.host)} -p {target.port}; r=$?; echo ready=$r\n"
        "case $r in 2|124) exit 0 ;; esac\n"
        "PGCONNECT_TIMEOUT=3; PGAPPNAME=pgvigil; export PGCONNECT_TIMEOUT PGAPPNAME\n"
        f"e=$({limit} {psql} -Xwqtc IDENTIFY_SYSTEM -d {quoted(replication)} 2>&1 >/dev/null)\n"
        'echo "replication=$?"; echo "$e" | sed "s/^/replication: /"\n'
        f"e=$({limit} {psql} -Xwqtc 'select 1' -d {quoted(ordinary)} 2>&1 >/dev/null)\n"
        'echo "ordinary=$?"; echo "$e" | sed "s/^/ordinary: /"\n'
    )
    try:
        output = await source.shell.run(script, within_s=slow_s)
    except (ShellLost, ShellRefused):
        return Passage(source.spec.name, target.name, None)
    return _read_passage(source.spec, target, output)


def _read_passage(source: NodeSpec, target: NodeSpec, output: Output) -> Passage:
    text = output.text
    ready = re.search(r"^ready=(\d+)$", text, re.MULTILINE)
    reached = {"0": True, "1": True, "2": False, "124": False}.get(ready[1]) if ready else None
    return Passage(source.name, target.name, reached, _login(text, "replication"), _login(text, "ordinary"))


def _login(text: str, kind: str) -> str | None:
    """Why that login failed; empty: it worked; None: psql is not there."""
    status = re.search(rf"^{kind}=(\d+)$", text, re.MULTILINE)
    if status is None or status[1] in ("126", "127"):
        return None
    if status[1] == "0":
        return ""
    said = [
        line for line in re.findall(rf"^{kind}: (.*\S)", text, re.MULTILINE) if "FATAL" in line or ":" in line
    ]
    last = said[-1] if said else f"no answer within {LOGIN_S} s"
    return last.rpartition("FATAL:")[2].strip() or last


def _conninfo(keywords: Mapping[str, str]) -> str:
    def value(text: str) -> str:
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

    return " ".join(f"{key}={value(text)}" for key, text in keywords.items())
