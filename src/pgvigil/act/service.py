"""Starting and stopping a server the way its host does it: systemd, pg_ctl, pg_ctlcluster, own commands."""

import asyncio
from typing import Final, assert_never

from pgvigil.act.bench import Bench, Place
from pgvigil.errors import StepFailed, Unreachable
from pgvigil.model.sighting import HostAnswer, Postmaster
from pgvigil.model.spec import OwnCommands, PgCtl, PgCtlCluster, Systemd
from pgvigil.model.step import StopMode
from pgvigil.model.units import NodeName
from pgvigil.ports.contract import NoReply, QueryFailed, Rejected
from pgvigil.ports.host import program, quoted

POLL_S: Final = 0.005
START_S: Final = 60.0
BEGINS_S: Final = 15.0
"""A restart that was asked for ends our sessions at once; after this it was not carried out."""
STOP_WITHIN_S: Final = 3600.0
"""How long the last checkpoint of a server that is restarted may take: it is never left stopped for that."""
STARTED: Final = "select pg_postmaster_start_time() as started"
KILL_AFTER_S: Final = {StopMode.FAST: 30.0, StopMode.IMMEDIATE: 2.0, StopMode.KILL: 0.0}
"""How long a stop may take before its processes are killed."""
_SIGNAL: Final = {StopMode.FAST: "INT", StopMode.IMMEDIATE: "QUIT", StopMode.KILL: "KILL"}
_COMING: Final = frozenset({"57P03"})


async def stop(place: Place, mode: StopMode, *, kill_after_s: float | None = None) -> HostAnswer:
    """End the server and prove that no process of it lives; whatever supervises it does not start it again.

    The postmaster is signalled directly: `pg_ctl -w` looks only every 0.1 s. Returns the last look.
    Idempotent. Raises StepFailed if processes survive.
    """
    limit = KILL_AFTER_S[mode] if kill_after_s is None else kill_after_s
    begun = asyncio.get_running_loop().time()
    if line := supervisor_stop(place):
        await place.ask(f"{{ {line}; }} >/dev/null 2>&1 &", within_s=3.0)
    host = await place.look()
    if host.postmaster in (Postmaster.RUNNING, Postmaster.FROZEN) and mode is not StopMode.KILL:
        await place.ask(f"kill -{_SIGNAL[mode]} {host.pid}", within_s=3.0)
    while not _gone(host):
        waited = asyncio.get_running_loop().time() - begun
        if waited > limit + 5.0:
            raise StepFailed(f"{place.spec.name} does not end", detail=f"left: {host.pid} {host.strays}")
        if waited >= limit:
            await place.ask(_kill_all(place), within_s=5.0)
        await asyncio.sleep(POLL_S)
        host = await place.look()
    return host


async def start(bench: Bench, name: NodeName) -> None:
    """Start the server and return when it lets us in, as primary or standby. Idempotent.

    The pid file of a living server is never deleted (SAFETY §5). Raises StepFailed with the end of its log.
    """
    place = bench.place(name)
    host = await place.look()
    if host.postmaster in (Postmaster.CRASHED, Postmaster.STOPPED):
        await free_pid(place, host)
        output = await place.run(_start_line(place), within_s=START_S)
        if output.status:
            raise StepFailed(f"{name} could not be started", detail=output.complaint, hint=_log_hint(place))
    await _let_in(bench, name)


async def restart(bench: Bench, name: NodeName) -> None:
    """Stop and start the server, and return when the new one lets us in. Raises StepFailed.

    Its host carries it through in a session of its own: once begun it is finished, whatever becomes of us.
    """
    place = bench.place(name)
    (row,) = await bench.sql(name, STARTED)
    line = quoted(_restart_line(place))
    detached = f"sh -c {line} >/dev/null 2>&1 </dev/null &"
    script = f"if command -v setsid >/dev/null; then setsid {detached} else nohup {detached} fi"
    await place.must(script, "restarting", within_s=5.0)
    waits_since, down_since = bench.clock.now(), None
    while (said := await _another_started(bench, name, row["started"] or "")) != "another":
        host, now = await place.look(), bench.clock.now()
        down = host.postmaster in (Postmaster.CRASHED, Postmaster.STOPPED)
        down_since = (now if down_since is None else down_since) if down else None
        if said == "same" and now - waits_since > BEGINS_S:
            detail = f"{BEGINS_S:g} s later its old server still serves"
            raise StepFailed(f"{name} was not restarted", detail=detail, hint=_log_hint(place))
        if down_since is not None and now - down_since > START_S:
            raise StepFailed(f"{name} does not come up", detail=said, hint=_log_hint(place))
        await asyncio.sleep(0.02)


async def _another_started(bench: Bench, name: NodeName, before: str) -> str:
    """`another` when a server lets us in that started since, `same`, or why nobody let us in."""
    session = bench.nodes[name].new_session()
    try:
        await session.open(within_s=2.0)
        (row,) = await session.query(STARTED, within_s=2.0)
    except (Unreachable, QueryFailed) as refused:
        return str(refused)
    else:
        return "same" if row["started"] == before else "another"
    finally:
        session.close()


async def _let_in(bench: Bench, name: NodeName) -> None:
    """Until a session opens. Recovery may take long: as long as the server says so, we wait."""
    begun, last = bench.clock.now(), ""
    while bench.clock.now() - begun < START_S:
        session = bench.nodes[name].new_session()
        try:
            await session.open(within_s=2.0)
        except Rejected as refused:
            last = str(refused)
            if refused.sqlstate in _COMING:
                begun = bench.clock.now()
        except NoReply as silent:
            last = str(silent)
            if (await bench.place(name).look()).postmaster in (Postmaster.CRASHED, Postmaster.STOPPED):
                begun = min(begun, type(begun)(bench.clock.now() - START_S + 2.0))
        else:
            session.close()
            return
        await asyncio.sleep(0.02)
    raise StepFailed(f"{name} does not come up", detail=last, hint=_log_hint(bench.place(name)))


async def free_pid(place: Place, host: HostAnswer) -> None:
    """See to it that the dead postmaster's pid file hinders nobody, and misleads nobody.

    A killed postmaster that its host has not reaped yet keeps its pid, and PostgreSQL refuses to start: wait
    until it is gone. After a reboot the number may be another process's: PostgreSQL would refuse to start
    for it, and `pg_ctl restart` would signal it. That file is removed, unless it names another by now.
    """
    if host.pid is None or host.postmaster is not Postmaster.CRASHED or host.strays:
        return
    for _ in range(200):
        output = await place.ask(_whose_pid(place, host.pid), within_s=2.0)
        if output.text.strip() != "zombie":
            return
        await asyncio.sleep(0.05)


def _whose_pid(place: Place, pid: int) -> str:
    """Says `zombie`, or nothing; removes a pid file that names a living process which is no server of it."""
    return (
        f"D={quoted(place.data_dir)}; p={pid}; s=; kill -0 $p 2>/dev/null || return 0; "
        '{ read -r l < "/proc/$p/stat"; } 2>/dev/null && l=${l##*) } && s=${l%% *}; '
        'case $s in Z|X) echo zombie; return 0 ;; esac; [ "/proc/$p/cwd" -ef "$D" ] && return 0; '
        '{ read -r q < "$D/postmaster.pid"; } 2>/dev/null && [ "$q" = "$p" ] && rm -f "$D/postmaster.pid"; :'
    )


def _gone(host: HostAnswer) -> bool:
    return host.postmaster in (Postmaster.CRASHED, Postmaster.STOPPED) and not host.strays


def _kill_all(place: Place) -> str:
    """Kill every server process of this data directory: the postmaster first, so that it forks no more."""
    return (
        f"D={quoted(place.data_dir)}; "
        '{ read -r p < "$D/postmaster.pid"; } 2>/dev/null && [ "/proc/$p/cwd" -ef "$D" ] && kill -KILL "$p"; '
        'for q in /proc/[0-9]*; do if [ "$q/cwd" -ef "$D" ]; then { read -r c < "$q/comm"; } 2>/dev/null; '
        'case $c in post*) kill -KILL "${q#/proc/}" 2>/dev/null ;; esac; fi; done'
    )


def supervisor_stop(place: Place) -> str:
    """The line that keeps a service manager from starting the server again; empty: nobody would."""
    match place.spec.control:
        case Systemd() as unit:
            return _systemctl(unit, "stop")
        case OwnCommands(stop=line):
            return line
        case PgCtl() | PgCtlCluster():
            return ""
        case control:
            assert_never(control)


def _systemctl(control: Systemd, verb: str) -> str:
    return f"{'sudo -n ' if control.sudo else ''}systemctl {verb} {quoted(control.unit)}"


def _start_line(place: Place) -> str:
    data = quoted(place.data_dir)
    match place.spec.control:
        case Systemd() as unit:
            return _systemctl(unit, "start")
        case PgCtlCluster(version=version, name=name):
            return f"pg_ctlcluster --skip-systemctl-redirect {quoted(version)} {quoted(name)} start"
        case OwnCommands(start=line):
            return line
        case PgCtl(options=options):
            # `restart` takes the options of the last start from postmaster.opts; `start` would lose them
            extra = f" -o {quoted(options)}" if options else ""
            if place.config_outside and not options:
                extra = f" -o {quoted(f'-c config_file={place.config_file}')}"
            pg_ctl = program(place.bin_dir, "pg_ctl")
            rest = f"-W -s -m fast -D {data} -l {data}/pgvigil-start.log{extra} </dev/null"
            start = f"{pg_ctl} start {rest.replace(' -m fast', '', 1)}"
            if extra:
                return start
            again = f"{pg_ctl} restart{_configured_program(place)} {rest}"
            return f"{_whole_path(data)}if [ -f {data}/postmaster.opts ]; then {again}; else {start}; fi"
        case control:
            assert_never(control)


def _restart_line(place: Place) -> str:
    """One line that stops and starts the server, the way its host does it."""
    data = quoted(place.data_dir)
    match place.spec.control:
        case Systemd() as unit:
            return _systemctl(unit, "restart")
        case PgCtlCluster(version=version, name=name):
            return f"pg_ctlcluster --skip-systemctl-redirect {quoted(version)} {quoted(name)} restart -m fast"
        case OwnCommands(stop=stop, start=start):
            return f"{{ {stop}; }}; {{ {start}; }}"
        case PgCtl(options=options):
            extra = f" -o {quoted(options)}" if options else ""
            waits = f"-W -s -m fast -t {STOP_WITHIN_S:.0f}"
            pg_ctl = program(place.bin_dir, "pg_ctl")
            again = f"{_whole_path(data)}{pg_ctl} restart{_configured_program(place)}"
            return f"{again} {waits} -D {data} -l {data}/pgvigil-start.log{extra}"
        case control:
            assert_never(control)


def _whole_path(data: str) -> str:
    """Take a relative data directory out of what `pg_ctl restart` repeats: `pg_ctl -D pg1 start` left it.

    From another directory it leads nowhere, and counts more than the one that `restart` is given. The server
    writes that file anew whenever it starts.
    """
    mend = """sed -i 's| "-D" "[^/"][^"]*"||'"""
    return f"[ ! -f {data}/postmaster.opts ] || {mend} {data}/postmaster.opts; "


def _configured_program(place: Place) -> str:
    """`pg_ctl restart` takes the program of the last start, which an update may have left behind."""
    return f" -p {program(place.bin_dir, 'postgres')}" if place.bin_dir else ""


def _log_hint(place: Place) -> str:
    if isinstance(place.spec.control, PgCtl):
        return f"see {place.data_dir}/pgvigil-start.log on {place.spec.name} and its server log"
    return f"see the server log on {place.spec.name}"
