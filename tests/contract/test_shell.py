"""The contract `Shell`, kept by each real implementation: local, command, ssh."""

import asyncio
import os
import pwd
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from pgvigil.demo.processes import process_stat
from pgvigil.model.shell import CommandShell, LocalShell, ShellSpec, SshShell
from pgvigil.ports.contract import Output, Shell, ShellLost, ShellRefused
from pgvigil.ports.shell import make_shell, posix
from tests.contract.sshd import SSHD, Sshd, running_sshd

S = 20.0
"""A deadline nobody should meet, in seconds."""

Body = Callable[[Shell], Awaitable[None]]


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    if SSHD is None:
        missing = "no sshd on this machine: install openssh-server"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    with running_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture(params=["local", "command", "ssh"])
def spec(request: pytest.FixtureRequest) -> ShellSpec:
    match request.param:
        case "local":
            return LocalShell()
        case "command":
            return CommandShell(("sh",))
        case _:
            server: Sshd = request.getfixturevalue("sshd")
            return server.spec()


def with_shell(spec: ShellSpec, body: Body) -> None:
    async def main() -> None:
        shell = make_shell(spec, host="127.0.0.1")
        try:
            await body(shell)
        finally:
            shell.close()
            await asyncio.sleep(0)

    asyncio.run(main())


def a_nap() -> str:
    """A `sleep` that can be told from all others."""
    return f"{Random().randrange(10_000, 99_999)}.{Random().randrange(10_000, 99_999)}"


def pids(nap: str) -> list[int]:
    """The live processes that sleep this nap, by themselves: `sleep NAP`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_bytes() == f"sleep\0{nap}\0".encode():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


async def until(fact: Callable[[], object]) -> None:
    async with asyncio.timeout(S):
        while not fact():  # noqa: ASYNC110 -- other processes set no Event
            await asyncio.sleep(0.01)


def has_ended(pid: int) -> bool:
    """Also one whose exit nobody collects: where other tests ran servers, orphans of sshd fall to us."""
    return process_stat(pid)[1] in ("X", "Z")


def survivors(nap: str) -> int:
    """How many sleep it still after what would have ended them has had its time."""
    time.sleep(0.5)
    return len(pids(nap))


def end(nap: str) -> None:
    for pid in pids(nap):
        os.kill(pid, signal.SIGKILL)


ANSWERS: list[tuple[str, Output]] = [
    ("echo hi", Output(0, b"hi\n")),
    (":", Output(0)),
    ("", Output(0)),
    ("echo out; echo err >&2; false", Output(1, b"out\n", b"err\n")),
    ("false; true", Output(0)),
    ("printf 'no line end'; printf 'nor here' >&2", Output(0, b"no line end", b"nor here")),
    ("printf '\\n\\nlines\\n\\n'", Output(0, b"\n\nlines\n\n")),
    ("exit 3", Output(3)),
    ("return 4", Output(4)),
    ("echo before; exit 5; echo after", Output(5, b"before\n")),
    ("set -e; false; echo never", Output(1)),
    ("""echo "it's" 'a "quote"' `echo tick` \\\\""", Output(0, b'it\'s a "quote" tick \\\n')),
    ("echo one\necho two\n\n# a remark\n", Output(0, b"one\ntwo\n")),
    ("cat <<X\n$((6*7)) here\nX", Output(0, b"42 here\n")),
    ("cat; echo the next request is not eaten", Output(0, b"the next request is not eaten\n")),
    ("echo $#; pwd; echo $LC_ALL", Output(0, b"0\n/\nC\n")),
    ("for i in 1 2; do\n  echo $i\ndone | tr 12 ab", Output(0, b"a\nb\n")),
    ("echo \u00fc\u4e2d", Output(0, "\u00fc\u4e2d\n".encode())),
]


@pytest.mark.parametrize(("script", "wanted"), ANSWERS)
@pytest.mark.parametrize("way", ["ask", "run"])
def test_output_errors_and_status_come_back_apart(
    spec: ShellSpec, way: str, script: str, wanted: Output
) -> None:
    async def body(shell: Shell) -> None:
        for _ in range(2):  # the second shows that the first left nothing behind
            call = shell.ask if way == "ask" else shell.run
            if script.startswith("return") and way == "run":
                continue  # only a function or the kept shell can be returned from
            assert await call(script, within_s=S) == wanted

    with_shell(spec, body)


@pytest.mark.parametrize("script", ["echo 'unbalanced", 'echo "unbalanced', "if true; then", "fi", "echo $("])
def test_a_syntax_error_is_an_answer_and_the_shell_lives_on(spec: ShellSpec, script: str) -> None:
    async def body(shell: Shell) -> None:
        kept = (await shell.ask("echo $$", within_s=S)).out
        for call in (shell.ask, shell.run):
            output = await call(script, within_s=S)
            assert output.status != 0
            assert output.out == b""
            assert output.complaint
        assert (await shell.ask("echo $$", within_s=S)).out == kept

    with_shell(spec, body)


def test_a_trace_cannot_end_an_answer_early(spec: ShellSpec) -> None:
    async def body(shell: Shell) -> None:
        output = await shell.ask("set -x; echo traced", within_s=S)
        assert output.out == b"traced\n"
        assert b"+ echo traced" in output.err
        assert await shell.ask("echo quiet", within_s=S) == Output(0, b"quiet\n")

    with_shell(spec, body)


def test_a_megabyte_comes_whole_on_both_outputs(spec: ShellSpec) -> None:
    script = "head -c 1000000 /dev/zero | tr '\\0' x; head -c 1000000 /dev/zero | tr '\\0' y >&2"

    async def body(shell: Shell) -> None:
        for call in (shell.ask, shell.run):
            assert await call(script, within_s=S) == Output(0, b"x" * 1_000_000, b"y" * 1_000_000)

    with_shell(spec, body)


def test_an_unanswered_ask_is_lost_and_the_next_is_answered(spec: ShellSpec) -> None:
    nap = a_nap()

    async def body(shell: Shell) -> None:
        with pytest.raises(ShellLost) as lost:
            await shell.ask(f"sleep {nap}", within_s=0.3)
        assert "0.3 s" in lost.value.detail
        assert nap not in str(lost.value)  # scripts may hold secrets
        assert await shell.ask("echo again", within_s=S) == Output(0, b"again\n")

    with_shell(spec, body)
    end(nap)


def test_waiting_for_a_turn_is_bounded_too(spec: ShellSpec) -> None:
    async def body(shell: Shell) -> None:
        await shell.ask(":", within_s=S)
        first = asyncio.create_task(shell.ask("sleep 1; echo first", within_s=S))
        await asyncio.sleep(0)
        with pytest.raises(ShellLost, match="busy"):
            await shell.ask("echo second", within_s=0.1)
        assert (await first).text == "first"

    with_shell(spec, body)


def test_a_cancelled_ask_does_not_spoil_the_next(spec: ShellSpec) -> None:
    async def body(shell: Shell) -> None:
        await shell.ask(":", within_s=S)
        for _ in range(3):
            task = asyncio.create_task(shell.ask("sleep 0.2; echo stale", within_s=S))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await shell.ask("echo fresh", within_s=S)).text == "fresh"

    with_shell(spec, body)


def test_twenty_asks_at_once_keep_their_answers_apart(spec: ShellSpec) -> None:
    async def body(shell: Shell) -> None:
        scripts = [f"echo {n}; echo e{n} >&2; return {n}" for n in range(20)]
        answers = await asyncio.gather(*(shell.ask(script, within_s=S) for script in scripts))
        assert answers == [Output(n, f"{n}\n".encode(), f"e{n}\n".encode()) for n in range(20)]

    with_shell(spec, body)


async def own_pid(shell: Shell) -> int:
    """The process of the `sh` that answers."""
    return int((await shell.ask("echo $$", within_s=S)).text)


def test_a_shell_that_is_not_kept_is_closed_after_its_use_and_opened_for_the_next(
    spec: ShellSpec, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posix, "LINGER_S", 0.2)
    server: Sshd | None = request.getfixturevalue("sshd") if isinstance(spec, SshShell) else None

    async def body(shell: Shell) -> None:
        shell.keep(False)
        first = await own_pid(shell)
        await until(lambda: has_ended(first))
        await until(lambda: server is None or not server.servers())
        assert await own_pid(shell) != first
        shell.keep(True)
        kept = await own_pid(shell)
        await asyncio.sleep(0.6)
        assert await own_pid(shell) == kept
        shell.keep(False)  # says so of one that has been unused for long
        await until(lambda: has_ended(kept))
        await until(lambda: server is None or not server.servers())

    with_shell(spec, body)


def test_a_shell_in_use_is_not_closed(spec: ShellSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posix, "LINGER_S", 0.1)

    async def body(shell: Shell) -> None:
        shell.keep(False)
        job = asyncio.create_task(shell.run("sleep 0.4; echo job; sleep 0.4", within_s=S))
        first = await own_pid(shell)
        assert (await shell.ask("sleep 0.5; echo $$", within_s=S)).text == str(first)
        asks = [asyncio.create_task(shell.ask("sleep 0.2; echo $$", within_s=S)) for _ in range(2)]
        assert {(await ask).text for ask in asks} == {str(first)}  # the second waited for its turn
        assert (await job).text == "job"
        await until(lambda: has_ended(first))

    with_shell(spec, body)


def test_a_shell_that_is_asked_again_and_again_stays_open(
    spec: ShellSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posix, "LINGER_S", 2.0)

    async def body(shell: Shell) -> None:
        shell.keep(False)
        first, begun = await own_pid(shell), time.monotonic()
        while time.monotonic() - begun < 3.0:
            await asyncio.sleep(0.2)
            assert await own_pid(shell) == first

    with_shell(spec, body)


def test_the_kept_shell_is_reopened_after_it_was_killed(spec: ShellSpec) -> None:
    async def body(shell: Shell) -> None:
        kept = int((await shell.ask("echo $$", within_s=S)).text)
        os.kill(kept, signal.SIGKILL)
        assert await answers_again(shell)
        assert int((await shell.ask("echo $$", within_s=S)).text) != kept

    with_shell(spec, body)


def test_a_killed_shell_loses_the_ask_it_was_answering(spec: ShellSpec) -> None:
    async def body(shell: Shell) -> None:
        with pytest.raises(ShellLost):
            await shell.ask("kill -9 $$", within_s=S)
        assert (await shell.ask("echo back", within_s=S)).text == "back"

    with_shell(spec, body)


def test_a_job_gets_and_gives_two_megabytes_of_anything(spec: ShellSpec) -> None:
    data = Random(7).randbytes(2_000_000)

    async def body(shell: Shell) -> None:
        output = await shell.run("cat; echo done >&2", stdin=data, within_s=S)
        assert output == Output(0, data, b"done\n")

    with_shell(spec, body)


def test_input_a_job_leaves_unread_is_never_a_command(spec: ShellSpec, tmp_path: Path) -> None:
    trap = tmp_path / "trap"

    async def body(shell: Shell) -> None:
        output = await shell.run("read line; echo $line", stdin=f"touch {trap}\n".encode() * 9, within_s=S)
        assert output.text == f"touch {trap}"
        assert await shell.run("cat; echo nothing", within_s=S) == Output(0, b"nothing\n")

    with_shell(spec, body)
    assert not trap.exists()


def test_lines_of_progress_come_while_the_job_runs(spec: ShellSpec) -> None:
    async def body(shell: Shell) -> None:
        lines: list[str] = []
        halfway = asyncio.Event()

        def on_line(line: str) -> None:
            lines.append(line)
            if line == "50%":
                halfway.set()

        script = r"printf '10%%\r50%%\r' >&2; sleep 1; printf '100%%\nlast, without line end' >&2; echo out"
        job = asyncio.create_task(shell.run(script, within_s=S, on_line=on_line))
        await halfway.wait()
        assert not job.done()
        assert (await job).out == b"out\n"
        assert lines == ["10%", "50%", "100%", "last, without line end"]

    with_shell(spec, body)


def test_what_on_line_raises_ends_the_job(spec: ShellSpec) -> None:
    nap = a_nap()

    async def body(shell: Shell) -> None:
        def on_line(line: str) -> None:
            raise ZeroDivisionError(line)

        with pytest.raises(ZeroDivisionError):
            await shell.run(f"echo now >&2; sleep {nap}; :", within_s=S, on_line=on_line)
        assert not pids(nap)

    with_shell(spec, body)


@pytest.mark.parametrize("how", ["cancelled", "deadline"])
def test_a_job_given_up_leaves_nothing_running(spec: ShellSpec, how: str) -> None:
    nap = a_nap()
    script = f"trap '' HUP; sleep {nap} & (sleep {nap}; :) | sh -c 'trap \"\" TERM; sleep {nap}; :'; :"

    async def body(shell: Shell) -> None:
        await shell.ask(":", within_s=S)
        job = asyncio.create_task(shell.run(script, within_s=1.5 if how == "deadline" else S))
        await until(lambda: len(pids(nap)) == 3)
        if how == "cancelled":
            job.cancel()
        with pytest.raises(asyncio.CancelledError if how == "cancelled" else ShellLost):
            await job
        assert not pids(nap)
        assert (await shell.ask("echo alive", within_s=S)).text == "alive"

    with_shell(spec, body)


def test_a_job_cancelled_at_any_moment_leaves_nothing_running(spec: ShellSpec) -> None:
    nap = a_nap()

    async def body(shell: Shell) -> None:
        for ms in range(0, 30, 2):
            job = asyncio.create_task(shell.run(f"sleep {nap}; :", within_s=S))
            await asyncio.sleep(ms / 1000)
            job.cancel()
            with pytest.raises(asyncio.CancelledError):
                await job
            assert not pids(nap)
        await asyncio.sleep(0.5)
        assert not pids(nap)

    with_shell(spec, body)


def test_asks_are_answered_while_a_job_runs(spec: ShellSpec) -> None:
    async def body(shell: Shell) -> None:
        job = asyncio.create_task(shell.run("sleep 1; echo job", within_s=S))
        assert (await shell.ask("echo ask", within_s=S)).text == "ask"
        assert not job.done()
        assert (await job).text == "job"

    with_shell(spec, body)


@pytest.mark.parametrize(
    "detach", ["sleep {} >/dev/null 2>&1 &", "setsid sleep {} </dev/null >/dev/null 2>&1 &"]
)
@pytest.mark.parametrize("way", ["ask", "run"])
def test_what_is_detached_survives_the_shell(spec: ShellSpec, way: str, detach: str) -> None:
    nap = a_nap()

    async def body(shell: Shell) -> None:
        call = shell.ask if way == "ask" else shell.run
        assert (await call(f"{detach.format(nap)} echo started", within_s=S)).text == "started"
        await until(lambda: pids(nap))  # until then it may not have left the shell's group

    try:
        with_shell(spec, body)
        assert survivors(nap) == 1
    finally:
        end(nap)


def test_a_process_that_holds_the_outputs_does_not_hold_the_job(spec: ShellSpec) -> None:
    nap = a_nap()

    async def body(shell: Shell) -> None:
        assert (await shell.run(f"sleep {nap} & echo started", within_s=S)).text == "started"

    try:
        with_shell(spec, body)
        assert survivors(nap) == 1
    finally:
        end(nap)


CONTROLLER = """
import asyncio, sys
from pgvigil.model.shell import *
from pgvigil.ports.shell import make_shell

async def main():
    shell = make_shell(eval(sys.argv[1]), host="127.0.0.1")
    nap = sys.argv[2]
    await shell.ask(f"sleep {nap} >/dev/null 2>&1 &", within_s=20)
    await shell.run(f"setsid sleep {nap} </dev/null >/dev/null 2>&1 &", within_s=20)
    print("started", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_what_is_detached_survives_the_controller(spec: ShellSpec, death: signal.Signals) -> None:
    nap = a_nap()
    argv = [sys.executable, "-c", CONTROLLER, repr(spec), nap]
    try:
        with subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        ) as controller:
            assert controller.stdout
            assert controller.stdout.readline() == b"started\n"
            os.killpg(controller.pid, death)  # all of its terminal's group, as Ctrl-C does
        assert survivors(nap) == 2
    finally:
        end(nap)


def test_median_latencies_are_printed(spec: ShellSpec) -> None:
    async def body(shell: Shell) -> None:
        for name, call, times in (("ask", shell.ask, 300), ("run", shell.run, 20)):
            took = []
            for _ in range(times):
                began = time.perf_counter()
                await call("[ -d /tmp ] && echo yes", within_s=S)
                took.append(time.perf_counter() - began)
            print(f"\n{type(spec).__name__} {name}: {statistics.median(took) * 1000:.3f} ms", end="")

    with_shell(spec, body)


@pytest.mark.parametrize(
    "broken",
    [
        CommandShell(("/nonexistent/kubectl",)),
        CommandShell(("false",)),
        CommandShell(("sh", "-c", "echo 'no such pod' >&2; exit 1")),
        SshShell(host="127.0.0.1", port=1, known_hosts="/dev/null", config="/dev/null"),
        SshShell(host="name.invalid", known_hosts="/dev/null", config="/dev/null"),
    ],
    ids=["no program", "ends at once", "complains", "port closed", "no such name"],
)
def test_a_shell_that_cannot_be_had_is_lost_with_its_reason(broken: ShellSpec) -> None:
    async def body(shell: Shell) -> None:
        for call in (shell.ask, shell.run):
            with pytest.raises(ShellLost) as lost:
                await call(":", within_s=S)
            assert lost.value.detail
            assert lost.value.hint

    with_shell(broken, body)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"keys": ("{}/nowhere",)}, "No such file or directory: '{}/nowhere'"),
        ({"keys": ("{}",)}, "Is a directory: '{}'"),
        ({"keys": ("{}/text",)}, "Invalid private key (keys: {}/text)"),
        ({"config": "{}/nowhere"}, "No such file or directory: '{}/nowhere'"),
    ],
    ids=["no key", "a folder", "no private key", "no ssh_config"],
)
def test_a_file_that_is_named_and_cannot_be_used_is_told(
    tmp_path: Path, given: dict[str, Any], words: str
) -> None:
    (tmp_path / "text").write_text("hello\n")

    def here(value: Any) -> Any:
        return tuple(map(here, value)) if isinstance(value, tuple) else value.format(tmp_path)

    spec = SshShell(host="127.0.0.1", port=1, **{name: here(value) for name, value in given.items()})

    async def body(shell: Shell) -> None:
        with pytest.raises(ShellLost) as lost:
            await shell.ask(":", within_s=S)
        assert words.format(tmp_path) in lost.value.detail

    with_shell(spec, body)


# S1-13
def test_a_silent_port_is_lost_at_the_deadline(tmp_path: Path) -> None:
    async def body(shell: Shell) -> None:
        for call in (shell.ask, shell.run):
            with pytest.raises(ShellLost):
                await call(":", within_s=0.3)

    async def main() -> None:
        talks = []
        server = await asyncio.start_server(lambda *talk: talks.append(talk), "127.0.0.1", 0)
        spec = SshShell(host="127.0.0.1", port=server.sockets[0].getsockname()[1], known_hosts="/dev/null")
        shell = make_shell(spec, host="")
        await body(shell)
        shell.close()
        server.close()
        for _, writer in talks:
            writer.close()

    asyncio.run(main())


REFUSALS: list[tuple[str, dict[str, Any], str]] = [
    ("unknown host key", {"known_hosts": "nobody"}, "ssh-keyscan"),
    ("no known_hosts file", {"known_hosts": "missing"}, "ssh-keyscan"),
    ("changed host key", {"known_hosts": "changed"}, "ssh-keyscan"),
    ("wrong key", {"key": "stranger"}, "ssh-copy-id"),
    ("closed account", {"key": "barred"}, "account's shell"),
]


# S0-13, S3-03
@pytest.mark.parametrize(("case", "change", "hint"), REFUSALS, ids=[case[0] for case in REFUSALS])
def test_a_host_that_turns_us_away_is_refused_with_the_fix(
    sshd: Sshd, case: str, change: dict[str, str], hint: str
) -> None:
    stranger = (sshd.dir / "stranger.pub").read_text()
    (sshd.dir / "nobody").write_text("")
    (sshd.dir / "changed").write_text(f"[127.0.0.1]:{sshd.port} {stranger}")
    spec = sshd.spec(**{word: str(sshd.dir / file) for word, file in change.items()})
    there = Path(spec.known_hosts).exists()

    async def body(shell: Shell) -> None:
        for call in (shell.ask, shell.run):
            with pytest.raises(ShellRefused) as refused:
                await call(":", within_s=S)
            assert refused.value.detail
            assert hint in refused.value.hint
            if "known_hosts" in change:
                assert spec.known_hosts in refused.value.hint
                assert there == ("which is not there" not in refused.value.detail)

    with_shell(spec, body)


# S0-13
@pytest.mark.parametrize(
    "line", ["UserKnownHostsFile none", "StrictHostKeyChecking no", "UserKnownHostsFile /dev/null"]
)
def test_ssh_config_cannot_switch_verification_off(
    sshd: Sshd, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "config").write_text(f"Host *\n  {line}\n")
    spec = sshd.spec(known_hosts="", config=str(tmp_path / "config"))

    async def body(shell: Shell) -> None:
        with pytest.raises(ShellRefused):
            await shell.ask(":", within_s=S)

    with_shell(spec, body)


# S0-13
def test_ssh_config_names_host_port_user_key_and_jump(sshd: Sshd, tmp_path: Path) -> None:
    good = sshd.spec()
    common = f"  HostName 127.0.0.1\n  Port {sshd.port}\n  User {good.user}\n  IdentityFile {good.keys[0]}\n"
    common += f"  UserKnownHostsFile {good.known_hosts}\n"
    (tmp_path / "config").write_text(f"Host pg1\n{common}  ProxyJump gate\nHost gate\n{common}")

    async def body(shell: Shell) -> None:
        before = sshd.servers()
        connection = (await shell.ask("echo $SSH_CONNECTION", within_s=S)).text
        assert connection.split()[0] == "127.0.0.1"
        assert len(sshd.servers() - before) >= 2  # to the gate, and through it

    with_shell(SshShell(host="pg1", config=str(tmp_path / "config")), body)


def test_a_jump_host_that_refuses_says_nothing_of_the_host_behind(sshd: Sshd, tmp_path: Path) -> None:
    good = sshd.spec()
    (tmp_path / "config").write_text(
        f"Host gate\n  HostName 127.0.0.1\n  Port {sshd.port}\n  UserKnownHostsFile /dev/null\n"
        "Host pg1\n  ProxyJump gate\n"
    )
    spec = SshShell(host="pg1", keys=good.keys, config=str(tmp_path / "config"))

    async def body(shell: Shell) -> None:
        with pytest.raises(ShellLost, match="gate"):
            await shell.ask(":", within_s=S)

    with_shell(spec, body)


@pytest.mark.parametrize("fault", [signal.SIGSTOP, signal.SIGKILL])
def test_a_hanging_or_broken_connection_is_replaced(sshd: Sshd, fault: signal.Signals) -> None:
    async def body(shell: Shell) -> None:
        before = sshd.servers()
        await shell.ask(":", within_s=S)
        served = sshd.servers() - before
        for pid in served:
            os.kill(pid, fault)
        try:
            if fault is signal.SIGSTOP:
                with pytest.raises(ShellLost):
                    await shell.ask(":", within_s=0.5)
            assert await answers_again(shell)
        finally:
            for pid in served & sshd.servers():
                os.kill(pid, signal.SIGKILL)

    with_shell(sshd.spec(), body)


def test_a_job_on_a_dead_link_is_lost_by_keepalive_and_hinders_nothing(sshd: Sshd) -> None:
    async def body(shell: Shell) -> None:
        before = sshd.servers()
        job = asyncio.create_task(shell.run("sleep 60", within_s=60))
        await shell.ask(":", within_s=S)
        served = sshd.servers() - before
        try:
            for pid in served:
                os.kill(pid, signal.SIGSTOP)
            with pytest.raises(ShellLost):
                await job
            assert await answers_again(shell)
        finally:
            for pid in served & sshd.servers():
                os.kill(pid, signal.SIGKILL)

    with_shell(sshd.spec(), body)


async def answers_again(shell: Shell) -> bool:
    """At most one more ask may be lost to the old connection."""
    try:
        return (await shell.ask("echo back", within_s=2)).text == "back"
    except ShellLost:
        return (await shell.ask("echo back", within_s=S)).text == "back"


# With the real thing: a postmaster is what must live on when all else is given up.

PG_BIN = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"))), None)


@pytest.fixture
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if PG_BIN is None:
        pytest.skip("no PostgreSQL in /usr/lib/postgresql")
    with tempfile.TemporaryDirectory(prefix="pgvigil-shell-") as name:
        folder = Path(name)
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        yield folder
        pidfile = folder / "data" / "postmaster.pid"
        if pidfile.exists():
            os.kill(int(pidfile.read_text().split()[0]), signal.SIGQUIT)
            while pidfile.exists():
                time.sleep(0.05)


@pytest.mark.postgres
@pytest.mark.parametrize("end", ["done", "cancelled", "holds the outputs"])
def test_a_postmaster_survives_its_job_however_that_ends(data_dir: Path, end: str) -> None:
    assert PG_BIN
    data = data_dir / "data"
    options = f"-c listen_addresses= -c unix_socket_directories={data_dir}"
    start = f"{PG_BIN}/pg_ctl start -w -D {data} -o '{options}'"

    async def body(shell: Shell) -> None:
        made = await shell.run(f"{PG_BIN}/initdb -D {data} -N -A trust", within_s=60)
        assert made.status == 0, made.complaint
        match end:
            case "done":
                output = await shell.run(f"{start} -l {data_dir}/log", within_s=60)
                assert output.status == 0, output.complaint
            case "holds the outputs":  # no -l: server messages go where the job's did
                output = await shell.run(start, within_s=60)
                assert output.status == 0, output.complaint
            case _:
                started = asyncio.Event()
                script = f"{start} -l {data_dir}/log; echo started >&2; sleep 100; :"
                job = asyncio.create_task(shell.run(script, within_s=60, on_line=lambda _: started.set()))
                await started.wait()
                job.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await job
        shell.close()
        status = await shell.run(f"{PG_BIN}/pg_ctl status -D {data}; id -un", within_s=S)
        assert status.status == 0
        assert "server is running" in status.text

    user = "postgres" if os.geteuid() == 0 else ""
    with_shell(LocalShell(user=user), body)
    os.kill(int((data / "postmaster.pid").read_text().split()[0]), 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_a_local_shell_is_the_user_in_all_respects() -> None:
    entry = pwd.getpwnam("nobody")
    script = "id -u; id -g; id -G; echo $HOME $USER $LOGNAME; pwd; env"

    async def body(shell: Shell) -> None:
        for call in (shell.ask, shell.run):
            lines = (await call(script, within_s=S)).text.splitlines()
            assert lines[:3] == [str(entry.pw_uid), str(entry.pw_gid), str(entry.pw_gid)]
            assert lines[3:5] == [f"{entry.pw_dir} nobody nobody", "/"]
            assert not [line for line in lines if "TOP_SECRET" in line]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOP_SECRET", "hunter2")
        with_shell(LocalShell(user="nobody"), body)


def test_an_unknown_user_is_refused() -> None:
    async def body(shell: Shell) -> None:
        with pytest.raises(ShellRefused, match="no OS user"):
            await shell.ask(":", within_s=S)

    with_shell(LocalShell(user="no-such-user"), body)
