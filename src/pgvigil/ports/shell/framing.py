r"""What is said to an `sh`, and how its answers are told apart. No I/O.

Theory. Every request carries a mark nobody can guess. Its script is handed over as one single-quoted
word to `eval`, so that no quote, syntax error or newline of it can reach the request after it, with
standard input at /dev/null, so that no command of it can eat the request after it. Then the mark is
printed on both outputs, and on standard output the exit status behind it:

    standard output   <what the script printed>\n<mark> <status> <words>\n
    standard error    <what the script printed>\n<mark>\n

What stands before "\n<mark>" is exactly what was printed, its last line end or the lack of it included.
`set -x` cannot forge it: a trace shows the printf, never a line that begins with the mark.

The shell is only asked for POSIX; tried with dash, bash and busybox. The few liberties: `kill -TERM -7`
without `--`, which busybox does not know, and `command eval`, which keeps a syntax error from ending sh.
"""

import math
import secrets
import shlex
from dataclasses import dataclass

SCRIPT_MAX_BYTES = 100_000
"""Linux passes at most 128 KiB in one environment string, by which a job gets its script."""

BACKSTOP_S = 2
"""A job whose controller is gone is ended by its own host so long after its deadline."""

TERM_GRACE_TENTHS = 10
KILL_GRACE_TENTHS = 5
"""Tenths of a second an ended job gets after either signal."""

_ENVIRONMENT = (
    'PATH="${PATH:+$PATH:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"; LC_ALL=C; '
    "export PATH LC_ALL; unset ENV BASH_ENV CDPATH; "
)

# Two functions, so that `return` in a script leaves only the inner one. `$?` is that of the script.
_KEPT = r"""
pgv_end() {
    { set +efux; } 2>/dev/null
    printf '\n%s %s %s\n' "$pgv_mark" "$1" "$2"; printf '\n%s\n' "$pgv_mark" >&2
}
pgv_eval() { pgv_script=$1; shift; command eval "$pgv_script" </dev/null; }
pgv() { pgv_mark=$1; cd /; pgv_eval "$2"; pgv_end $? kept; }
trap 'pgv_end $? ended' EXIT
"""

# A job's sh: script and mark come by the environment, not as arguments that `ps` shows to everybody.
_JOB = (
    r"""pgv=$PGVIGIL_JOB pgv_mark=$PGVIGIL_MARK; unset PGVIGIL_JOB PGVIGIL_MARK; (eval "$pgv"); """
    r"""pgv=$?; printf '\n%s %s\n' $pgv_mark $pgv; printf '\n%s\n' $pgv_mark >&2"""
)


def new_mark() -> bytes:
    """A word that no output holds by chance or on purpose."""
    return b"pgv" + secrets.token_hex(12).encode()


def quoted(script: str) -> str:
    """The script as one word of sh. A script is text of at most SCRIPT_MAX_BYTES without NUL."""
    assert "\0" not in script, "a shell script cannot hold NUL"
    assert len(script.encode(errors="surrogateescape")) <= SCRIPT_MAX_BYTES, "script too long: use stdin"
    return shlex.quote(script)


def opening(mark: bytes) -> bytes:
    """Makes a fresh `sh` ready for `request`; answered like a request."""
    return f"{_ENVIRONMENT}\n{_KEPT}pgv {mark.decode()} :\n".encode()


def request(mark: bytes, script: str) -> bytes:
    """One script for the kept `sh`. Forks nothing by itself.

    The word behind the status is `ended` if the script called `exit` or failed under `set -e`: the
    answer is complete, but this `sh` is over.
    """
    return f"pgv {mark.decode()} {quoted(script)}\n".encode(errors="surrogateescape")


def job(ready: bytes, done: bytes, script: str, *, within_s: float, has_input: bool) -> bytes:
    """A long script for a fresh `sh`, which then reads nothing but `go` and the script's own input.

    First `ready` comes on both outputs, on standard output with the process group the job will have;
    nothing runs before `go` is sent, so a job whose group is unknown is never running. Last comes
    `done`. coreutils' timeout, where there is one, makes that group and ends it BACKSTOP_S after the
    deadline; else the group is that of the `sh`, which leads one if it can.
    """
    inner = shlex.quote(_JOB)
    rest = "" if has_input else " </dev/null"
    limit = math.ceil(within_s) + BACKSTOP_S
    return (
        "{ " + _ENVIRONMENT + "cd /; pgv_lead=\n"
        "kill -0 -$$ 2>/dev/null || ! command -v setsid >/dev/null || pgv_lead=setsid\n"
        f"printf '\\n%s %s\\n' {ready.decode()} $$; printf '\\n%s\\n' {ready.decode()} >&2\n"
        f'read -r pgv_go; [ "$pgv_go" = {ready.decode()} ] || exit 0\n'
        f"PGVIGIL_JOB={quoted(script)} PGVIGIL_MARK={done.decode()}; export PGVIGIL_JOB PGVIGIL_MARK\n"
        "if timeout -k 1 9 true </dev/null >/dev/null 2>&1\n"
        f"then exec $pgv_lead timeout -k 1 {limit} sh -c {inner}{rest}\n"
        f"else exec $pgv_lead sh -c {inner}{rest}; fi; }}\n"
    ).encode(errors="surrogateescape")


def go(ready: bytes) -> bytes:
    """Starts the job that said `ready`."""
    return ready + b"\n"


def ending(group: int, done: bytes) -> bytes:
    """Ends a job's process group from another `sh`: SIGTERM, and after a second SIGKILL.

    Answered like a request, when the group is gone or half a second after SIGKILL.
    """
    return (
        "{ " + _ENVIRONMENT + "\n"
        f"to_it() {{ kill -$1 -{group} || kill -$1 {group}; }} 2>/dev/null\n"
        "linger() { n=0; while to_it 0 && [ $n -lt $1 ]; do sleep 0.1 || sleep 1; n=$((n+1)); done; }\n"
        f"to_it TERM; linger {TERM_GRACE_TENTHS}; to_it KILL && linger {KILL_GRACE_TENTHS}\n"
        f"printf '\\n%s 0\\n' {done.decode()}; printf '\\n%s\\n' {done.decode()} >&2; exit; }}\n"
    ).encode()


@dataclass(frozen=True, slots=True)
class Cut:
    """What stood before a mark, and the words behind it."""

    text: bytes
    words: tuple[bytes, ...]


class Stream:
    """One output of an `sh`, cut at marks."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._searched = 0
        self._told = 0

    def __len__(self) -> int:
        return len(self._held)

    def feed(self, data: bytes) -> None:
        """Append what came."""
        self._held += data

    def cut(self, mark: bytes) -> Cut | None:
        """Take all up to and with the line of `mark`; None while it has not come whole."""
        begin = self._held.find(b"\n" + mark, self._searched)
        if begin < 0:
            self._searched = max(0, len(self._held) - len(mark))
            return None
        self._searched = begin
        end = self._held.find(b"\n", begin + 1)
        if end < 0:
            return None
        words = bytes(self._held[begin + 1 + len(mark) : end]).split()
        taken = Cut(bytes(self._held[:begin]), tuple(words))
        del self._held[: end + 1]
        self._searched = self._told = 0
        return taken

    def new_lines(self) -> list[str]:
        """The lines ended by newline or carriage return since the last call, without blank ones."""
        whole = max(self._held.rfind(b"\n", self._told), self._held.rfind(b"\r", self._told)) + 1
        if not whole:
            return []
        lines = bytes(self._held[self._told : whole]).replace(b"\r", b"\n").split(b"\n")
        self._told = whole
        return [line.decode(errors="replace") for line in lines if line.strip()]

    def tail(self) -> str:
        """The last that came, for people."""
        return "\n".join(bytes(self._held[-2000:]).decode(errors="replace").strip().splitlines()[-5:])
