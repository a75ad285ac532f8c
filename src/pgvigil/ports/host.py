"""The shell lines that ask a host about a PostgreSQL server, and the reading of their answers.

Nothing here does I/O: the scripts are given to a `Shell`. They are POSIX sh on Linux (they read /proc)
and fork nothing as long as the server runs.
"""

import re
from typing import Final

from pgvigil.model.sighting import ControlFile, HostAnswer, Postmaster
from pgvigil.model.units import Instant, Lsn, SystemId, Timeline

MARKER: Final = "pgvigil.rebuild"
"""File in a data directory that says which rebuild was begun there and not finished."""
BEGUN: Final = ".pgvigil-rewind/begun"
"""Behind the directory's real name: it says so too while pg_rewind is at work, which removes that file."""

_STATE = """
D={data}; B={bin}; p=; s=; c=
if [ -f "$D/PG_VERSION" ]; then echo ok=1; fi
if [ -f "$D/standby.signal" ]; then echo signal=1; fi
if [ -f "$D/{marker}" ]; then {{ read -r m < "$D/{marker}"; echo "marker=$m"; }} 2>/dev/null
elif cd -P "$D" 2>/dev/null; then if [ -f "$PWD{begun}" ]; then echo marker=rewind; fi; cd /; fi
if [ -f "$D/postmaster.pid" ]; then {{ read -r p < "$D/postmaster.pid"; echo "pid=$p"; }} 2>/dev/null; fi
case $p in *[!0-9]*) p= ;; esac
if [ -n "$p" ] && [ "/proc/$p/cwd" -ef "$D" ]; then
  {{ read -r l < "/proc/$p/stat"; }} 2>/dev/null && l=${{l##*) }} && s=${{l%% *}}
  case $s in Z|X) s= ;; esac
fi
"""
_GONE = """
if [ -z "$s" ]; then
  for q in /proc/[0-9]*; do
    if [ "$q/cwd" -ef "$D" ]; then
      {{ read -r c < "$q/comm"; }} 2>/dev/null
      case $c in post*) echo "stray=${{q#/proc/}}" ;; esac
    fi
  done
  LC_ALL=C "$B"pg_controldata -D "$D" 2>/dev/null
fi
"""
_SLOW = """
if [ -n "$s" ]; then echo "exe=$(readlink "/proc/$p/exe")"; fi
echo "free=$(df -Pk "$D/pg_wal/." 2>/dev/null | { read -r _; read -r _ _ _ f _; echo "$f"; })"
echo "clock=$(date +%s.%N)"
"""


def quoted(text: str) -> str:
    """The text as one word of a POSIX shell."""
    return "'" + text.replace("'", "'\\''") + "'"


def program(bin_dir: str, name: str) -> str:
    """A PostgreSQL program as a shell word; without a directory the shell's PATH finds it."""
    return quoted(f"{bin_dir}/{name}") if bin_dir else name


def look_script(data_dir: str, bin_dir: str, *, slow: bool) -> str:
    """Everything about the server process and the data directory; `slow`: also disk, clock, program."""
    prefix = quoted(f"{bin_dir}/") if bin_dir else "''"
    script = (_STATE + _GONE).format(data=quoted(data_dir), bin=prefix, marker=MARKER, begun=BEGUN)
    return script + 'echo "state=$s"\n' + (_SLOW if slow else "")


def read_look(text: str, at: Instant) -> HostAnswer:
    """The answer to `look_script`. Raises ValueError if it is not one."""
    said: dict[str, str] = {}
    strays: list[int] = []
    for line in text.splitlines():
        key, separator, value = line.partition("=")
        if key == "stray":
            strays.append(int(value))
        elif separator and ":" not in key:
            said[key] = value
    if "state" not in said:
        raise ValueError(f"not what was asked for: {text[-200:]!r}")
    exe = said.get("exe", "")
    return HostAnswer(
        at=at,
        postmaster=_postmaster(said),
        pid=int(said["pid"]) if said.get("pid", "").isdigit() else None,
        strays=tuple(strays),
        data_dir_ok="ok" in said,
        standby_signal="signal" in said,
        control=read_control(text),
        marker=said.get("marker", ""),
        bin_dir=exe.rpartition("/")[0],
        wal_free_bytes=int(said["free"]) * 1024 if said.get("free", "").isdigit() else None,
        clock_s=float(said["clock"]) if "clock" in said else None,
    )


def _postmaster(said: dict[str, str]) -> Postmaster:
    match said["state"]:
        case "":
            return Postmaster.CRASHED if said.get("pid") else Postmaster.STOPPED
        case "T" | "t" | "D":
            return Postmaster.FROZEN
        case _:
            return Postmaster.RUNNING


_CONTROL: Final = {
    "system_id": r"Database system identifier:\s+(\d+)",
    "state": r"Database cluster state:\s+(.+)",
    "checkpoint": r"Latest checkpoint location:\s+(\S+)",
    "timeline": r"Latest checkpoint's TimeLineID:\s+(\d+)",
    "recovery_timeline": r"Min recovery ending loc's timeline:\s+(\d+)",
}


def read_control(text: str) -> ControlFile | None:
    """What `pg_controldata` printed (in C locale); None if it printed nothing usable."""
    found = {key: re.search(pattern, text) for key, pattern in _CONTROL.items()}
    if not all(found.values()):
        return None
    value = {key: match[1].strip() for key, match in found.items() if match}
    return ControlFile(
        system_id=SystemId(value["system_id"]),
        timeline=Timeline(max(int(value["timeline"]), int(value["recovery_timeline"]))),
        checkpoint=Lsn.parse(value["checkpoint"]),
        shut_down=value["state"].startswith("shut down"),
        in_recovery="recovery" in value["state"],
    )


def in_passfile(text: str, *, host: str, port: int, database: str, user: str) -> str:
    """The password that a passfile has for a login (manual 34.16); empty: none."""
    wanted = (host, str(port), database, user)
    for line in text.splitlines():
        fields = _fields(line)
        if len(fields) == 5 and not line.startswith("#"):
            *told, password = fields
            if all(said in ("*", want) for said, want in zip(told, wanted, strict=True)):
                return password
    return ""


def _fields(line: str) -> list[str]:
    """Cut at colons that no backslash precedes; a backslash goes."""
    fields, escaped = [""], False
    for character in line:
        if escaped or character not in "\\:":
            fields[-1] += character
            escaped = False
        elif character == "\\":
            escaped = True
        else:
            fields.append("")
    return fields
