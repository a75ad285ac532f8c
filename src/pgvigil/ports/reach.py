"""The shell lines by which a host without PostgreSQL tries to reach servers, and their reading.

Nothing here does I/O: the script is given to a `Shell`. It is POSIX sh and takes the first of these
that the host has: pg_isready, bash's /dev/tcp, python3, perl, nc. All but the first ask as libpq does
before it logs in: with an SSLRequest, which every running PostgreSQL answers with one byte. A server that
hangs, a port that only forwards and a firewall that merely lets TCP connect do not (manual 55.2.11).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pgvigil.model.vantage import Reach
from pgvigil.ports.host import quoted

_WORDS: Final[Mapping[str, Reach]] = {
    "accepts": Reach.ACCEPTS,
    "rejects": Reach.REJECTS,
    "answers": Reach.ANSWERS,
    "refused": Reach.REFUSED,
    "silent": Reach.NO_REPLY,
}
NO_WAY: Final = "none"
"""The way that is told when the host has no program to try with."""

_SCRIPT: Final = r"""
LC_ALL=C; export LC_ALL; T={wait_s}; S={speak}
if ! command -v timeout >/dev/null 2>&1; then
  limited() {{ "$@" </dev/null & p=$!; ( sleep 1; kill "$p" ) >/dev/null 2>&1 & wait "$p"; }}
else
  timeout "$T" true 2>/dev/null || T=1
  limited() {{ timeout "$T" "$@" </dev/null; }}
fi
there() {{ command -v "$1" >/dev/null 2>&1; }}
told() {{
  case $1 in 10|11) echo answers; return ;; 12|124|137|143) echo silent; return ;; 126|127) return ;; esac
  case $2 in
    *efused*) echo refused ;;
    *"not known"*|*esolution*|*"bad address"*|*"not resolve"*|*"hostname"*) echo noname ;;
    *"such file"*) ;;
    *) echo silent ;;
  esac
}}
by_pg_isready() {{
  there pg_isready || return 0
  limited pg_isready -q -t 3 -h "$1" -p "$2" >/dev/null 2>&1
  case $? in 0) echo accepts ;; 1) echo rejects ;; 124|137|143) echo silent ;; esac
}}
by_bash() {{
  there bash || return 0
  e=$(limited bash -c 'exec 3<>"/dev/tcp/$1/$2" || exit 3
[ "$3" = 1 ] || exit 10
printf "\000\000\000\010\004\322\026\057" >&3
IFS= read -r -n 1 -u 3 a && [ -n "$a" ] && exit 11
exit 12' bash "$1" "$2" "$S" 2>&1)
  told $? "$e"
}}
by_python3() {{
  there python3 || return 0
  e=$(limited python3 -S -E -c 'import socket, sys
host, port, speak = sys.argv[1:]
try:
    made = socket.create_connection((host, int(port)), 3)
    if speak != "1":
        sys.exit(10)
    made.sendall(bytes([0, 0, 0, 8, 4, 210, 22, 47]))
    sys.exit(11 if made.recv(1) else 12)
except OSError as why:
    sys.exit(str(why))' "$1" "$2" "$S" 2>&1)
  told $? "$e"
}}
by_perl() {{
  there perl || return 0
  e=$(limited perl -e 'eval {{ require IO::Socket::IP; 1 }} or exit 127;
my ($host, $port, $speak) = @ARGV;
my $made = IO::Socket::IP->new(PeerHost => $host, PeerPort => $port, Timeout => 3);
if (!$made) {{ print STDERR $@ || $!; exit 3 }}
exit 10 if $speak ne "1";
syswrite $made, pack("C8", 0, 0, 0, 8, 4, 210, 22, 47);
exit(sysread($made, my $byte, 1) ? 11 : 12);' "$1" "$2" "$S" 2>&1)
  told $? "$e"
}}
by_nc() {{
  there nc || return 0
  v=; case $(nc -h 2>&1 </dev/null) in *-v*) v=-v ;; esac
  e=$(limited sh -c '{{ printf "\000\000\000\010\004\322\026\057"; sleep 1; }} | nc $3 -w 1 "$1" "$2" |
    head -c 1' sh "$1" "$2" "$v" 2>&1)
  case $e in S|N|E|*"
"[SNE]) echo answers ;; *) told 3 "$e" ;; esac
}}
try() {{
  for way in {ways}; do
    word=$("by_$way" "$1" "$2")
    if [ -n "$word" ]; then echo "reach $3 $word $way"; return 0; fi
  done
  there pg_isready && echo "reach $3 silent pg_isready" || echo "reach $3 none none"
}}
"""
_LOUD: Final = "pg_isready bash python3 perl nc"
_QUIET: Final = "bash python3 perl nc pg_isready"
"""pg_isready comes last while all is well: each of its attempts may be a line in the server's log. Its "no
response" may also mean a name that cannot be resolved: the others are asked then, if there are any. nc cannot
but speak: not every one says whether it connected; OpenBSD's says only with -v that it was refused."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of one attempt. `reach` is None if it could not be made, for want of a program or address."""

    reach: Reach | None
    way: str


def reach_script(targets: Sequence[tuple[str, int]], wait_s: float, *, speak: bool) -> str:
    """Try all these (host, port) side by side, each for `wait_s` at most (a second where that must be whole).

    `speak`: ask the server for an answer. Without it a TCP connect is enough, which no server logs.
    """
    head = _SCRIPT.format(wait_s=f"{max(wait_s, 0.1):.2f}", speak=int(speak), ways=_LOUD if speak else _QUIET)
    tries = (f"try {quoted(host)} {port} {i} &" for i, (host, port) in enumerate(targets))
    return "\n".join([head, *tries, "wait"])


def read_reach(text: str, targets: int) -> tuple[Attempt, ...]:
    """The answers to `reach_script`, in its order. Raises ValueError if they are not all there."""
    found: dict[int, Attempt] = {}
    for line in text.splitlines():
        match line.split():
            case ["reach", number, word, way] if number.isdigit():
                found[int(number)] = Attempt(_WORDS.get(word), way)
            case _:
                continue
    if set(found) != set(range(targets)):
        raise ValueError(f"not what was asked for: {text[-200:]!r}")
    return tuple(found[i] for i in range(targets))
