"""The shell lines that put a guard on a node, renew its lease, and read its answers.

Nothing here does I/O but reading the script, which is part of the package. The guard itself is `guard.sh`
beside this module; it says what it does and when.

A renewal is two questions on the kept shell: `pulse_script` reads the node's clock, and `grant_script` gives
a lease that runs from that reading. So no lease ends later than its length after the answer to the first
one came in, however long the second was under way.
"""

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from pgvigil.model.guard import GuardLook, GuardState
from pgvigil.model.record import Paths
from pgvigil.model.spec import ClusterSpec, NodeSpec
from pgvigil.model.units import Instant
from pgvigil.ports.host import quoted

SCRIPT: Final = files("pgvigil.ports").joinpath("guard.sh").read_text(encoding="utf-8")
VERSION: Final = hashlib.sha256(SCRIPT.encode()).hexdigest()[:12]
"""Of the script: a guard that runs another one is outdated."""
FRESH_S: Final = 4.0
"""A guard that has not told of itself for so long does not do its work. It does so every second at least."""
LINE: Final = 100
"""A lease is written as a line of this length, in one piece: the guard never finds half of one."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """What a node said of its guard, and its clock in hundredths of a second since its boot."""

    clock: int
    boot: str
    state: GuardState
    config: str = ""
    """The id of the configuration it has read."""
    doing: str = ""
    acted: int = 0
    watchdog: str = "none"

    def look(self, at: Instant, leased_until: Instant) -> GuardLook:
        """The same, as the core knows it."""
        return GuardLook(self.state, leased_until, at, self.doing, self.acted, self.watchdog)


def guard_dir(data_dir: str) -> str:
    """The guard's directory: beside the data directory, named after it."""
    return f"{data_dir.rstrip('/')}.pgvigil-guard"


def guard_config(spec: ClusterSpec, node: NodeSpec, paths: Paths) -> str:
    """What the node's guard is to know. The first line is the id of the rest: it tells when that changes."""
    lines = [f"data {paths.data_dir}"]
    lines += [f"bin {paths.bin_dir}"] if paths.bin_dir else []
    lines += [f"watchdog {spec.fencing.guard_watchdog}"] if spec.fencing.guard_watchdog else []
    lines += [f"peer {other.host} {other.port}" for other in spec.others(node.name)]
    text = "\n".join(lines)
    return f"id {hashlib.sha256(text.encode()).hexdigest()[:12]}\n{text}\n"


def config_id(text: str) -> str:
    """The id in the first line."""
    return text.partition("\n")[0].removeprefix("id ")


def pulse_script(data_dir: str) -> str:
    """The node's clock, and what its guard says. Forks nothing."""
    return f"""
G={quoted(guard_dir(data_dir))}; b=; p=; l=; s=
read -r u _ < /proc/uptime; read -r k < /proc/sys/kernel/random/boot_id
echo "clock=$u"; echo "boot=$k"
if [ -f "$G/guard.sh" ]; then echo installed=1; fi
{{ read -r b < "$G/beat"; }} 2>/dev/null; echo "beat=$b"
p=${{b#* }}; p=${{p#* }}; p=${{p%% *}}
case $p in *[!0-9]*) p= ;; esac
if [ -n "$p" ]; then {{ read -r l < "/proc/$p/stat"; }} 2>/dev/null && l=${{l##*) }} && s=${{l%% *}}; fi
if [ -f "$G/leaving" ]; then s=; fi
echo "process=$s"
"""


def read_pulse(text: str, config: str | None) -> Pulse:
    """The answer to `pulse_script`; `config`: the id it ought to have, None: any. Raises ValueError."""
    said = dict(line.partition("=")[::2] for line in text.splitlines())
    if not {"clock", "boot", "process"} <= said.keys():
        raise ValueError(f"not what was asked for: {text[-200:]!r}")
    clock, boot = round(float(said["clock"]) * 100), said["boot"]
    if "installed" not in said:
        return Pulse(clock, boot, GuardState.MISSING)
    beat = said["beat"].split()
    if len(beat) != 11 or beat[10] != "." or beat[0] != boot or said["process"] in ("", "Z", "X"):
        return Pulse(clock, boot, GuardState.DEAD)
    _, at, _, version, has, doing, _, _, acted, watchdog, _ = beat
    if said["process"] in ("T", "t") or clock - int(at) > FRESH_S * 100:
        state = GuardState.STALLED
    elif version != VERSION or config not in (None, has):
        state = GuardState.OUTDATED
    else:
        state = GuardState.ALIVE
    return Pulse(clock, boot, state, has, doing, int(acted), watchdog)


def grant_script(data_dir: str, pulse: Pulse, lease_s: float, config: str = "") -> str:
    """Give a lease that runs from the clock's reading in `pulse`; and the configuration, if it is another."""
    directory = quoted(guard_dir(data_dir))
    lease = f"{pulse.boot} {pulse.clock} {round(lease_s * 100)} ."
    grant = f"printf '%-{LINE}s\\n' {quoted(lease)} 1<> {directory}/lease"
    if not config or pulse.config == config_id(config):
        return grant
    return f"{_put(config, f'{directory}/config')} && {grant}"


def install_script(data_dir: str, config: str) -> str:
    """Make the directory and everything in it but the lease; the guard is not started."""
    directory = quoted(guard_dir(data_dir))
    return " && ".join(
        [
            f"[ -f {quoted(data_dir)}/PG_VERSION ]",
            "umask 077",
            f"mkdir -p {directory}",
            f"chmod 700 {directory}",
            _put(SCRIPT, f"{directory}/guard.sh"),
            _put(VERSION + "\n", f"{directory}/version"),
            _put(config, f"{directory}/config"),
            f": >> {directory}/lease",
            f"rm -f {directory}/leaving",
        ]
    )


def start_script(data_dir: str) -> str:
    """End the guard that runs, and start the one that is installed. Takes a few seconds at most."""
    script = f"{quoted(guard_dir(data_dir))}/guard.sh"
    return f"sh {script} stop && sh {script} start"


def leave_script(data_dir: str) -> str:
    """From now on the guard counts as dead, though it works on: nobody is to rely on one that is removed."""
    directory = quoted(guard_dir(data_dir))
    return f"if [ -d {directory} ]; then : > {directory}/leaving; fi"


def remove_script(data_dir: str) -> str:
    """End the guard and remove its directory; nothing is left. Nothing happens if there is none."""
    directory = quoted(guard_dir(data_dir))
    names = " ".join(f"{directory}/{name}" for name in FILES)
    return (
        f"if [ -d {directory} ]; then "
        f"{{ [ ! -f {directory}/guard.sh ] || sh {directory}/guard.sh stop; }} && rm -f {names} && "
        f"rmdir {directory}; fi"
    )


FILES: Final = (
    "guard.sh",
    "version",
    "config",
    "lease",
    "beat",
    "pid",
    "acted",
    "leaving",
    "log",
    "log.1",
    *(f"{name}.new" for name in ("guard.sh", "version", "config")),
)
"""All that lies in the guard's directory."""


def _put(text: str, path: str) -> str:
    """The line that replaces a file in one piece."""
    return f"printf %s {quoted(text)} > {path}.new && mv -f {path}.new {path}"
