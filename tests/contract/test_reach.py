"""The script by which a host without PostgreSQL tries to reach servers: every shell, every program."""

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pgvigil.model.vantage import Reach
from pgvigil.ports.reach import NO_WAY, reach_script, read_reach

SSL_REQUEST = bytes([0, 0, 0, 8, 4, 210, 22, 47])
WHO_ARE_YOU = b"E\0\0\0\x17SFATAL\0C28000\0Mno\0\0"
"""What pg_isready takes for an acceptance: any error but 57P03."""
SHELLS = {"dash": ["dash"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"]}
WAYS = ("bash", "python3", "perl", "nc")
TOOLS = ("timeout", "sh", "head", "sleep", "true", "kill")
NOWHERE = "no-such-host.invalid"
WAIT_S = 2.0
"""A loaded machine starts three interpreters in it."""


@contextmanager
def listening(*, answer: bytes) -> Iterator[int]:
    """A port on which somebody takes connections; an empty answer: and says nothing."""
    server = socket.create_server(("127.0.0.1", 0))
    kept: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            kept.append(client)
            threading.Thread(target=speak, args=(client,), daemon=True).start()

    def speak(client: socket.socket) -> None:
        try:
            asked = client.recv(8)
            if answer and asked == SSL_REQUEST:
                client.sendall(answer)
                if client.recv(1000):
                    client.sendall(WHO_ARE_YOU)
        except OSError:
            return

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        for client in kept:
            client.close()


@pytest.fixture
def refusing() -> Iterator[int]:
    """A port that is taken, so that nobody else gets it, and on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def path_with(folder: Path, *names: str, coreutils: bool = True) -> Path:
    """A directory with these programs alone; what the machine lacks comes from busybox."""
    folder.mkdir()
    for name in (*names, *(TOOLS if coreutils else ())):
        found = (
            os.path.realpath(sys.executable)
            if name == "python3"
            else shutil.which(name) or shutil.which("busybox")
        )
        if found is None:
            pytest.skip(f"needs {name} or busybox")
        (folder / name).symlink_to(found)
    return folder


def tried(
    shell: str, path: Path, targets: list[tuple[str, int]], *, speak: bool = True
) -> list[tuple[Reach | None, str]]:
    """What the script tells of the targets, run by that shell with the programs of that directory."""
    program = shutil.which(SHELLS[shell][0])
    if program is None:
        pytest.skip(f"needs {shell}")
    done = subprocess.run(
        [program, *SHELLS[shell][1:]],
        input=reach_script(targets, WAIT_S, speak=speak),
        env={"PATH": str(path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return [(attempt.reach, attempt.way) for attempt in read_reach(done.stdout, len(targets))]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("way", WAYS)
def test_a_server_that_answers_one_that_hangs_and_none_are_told_apart(
    tmp_path: Path, refusing: int, shell: str, way: str
) -> None:
    path = path_with(tmp_path / "bin", way)
    with listening(answer=b"N") as serving, listening(answer=b"") as hung:
        targets = [("127.0.0.1", port) for port in (serving, hung, refusing)]
        assert tried(shell, path, targets) == [
            (Reach.ANSWERS, way),
            (Reach.NO_REPLY, way),
            (Reach.REFUSED, way),
        ]


@pytest.mark.parametrize("way", [way for way in WAYS if way != "nc"])
def test_while_all_is_well_a_connect_is_enough(tmp_path: Path, refusing: int, way: str) -> None:
    path = path_with(tmp_path / "bin", way)
    with listening(answer=b"") as silent:
        targets = [("127.0.0.1", port) for port in (silent, refusing)]
        assert tried("dash", path, targets, speak=False) == [(Reach.ANSWERS, way), (Reach.REFUSED, way)]


@pytest.mark.parametrize("way", WAYS)
def test_a_name_that_cannot_be_resolved_proves_nothing(tmp_path: Path, way: str) -> None:
    assert tried("dash", path_with(tmp_path / "bin", way), [(NOWHERE, 5432)]) == [(None, way)]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_host_without_any_program_says_so(tmp_path: Path, shell: str) -> None:
    assert tried(shell, path_with(tmp_path / "bin"), [("127.0.0.1", 1)]) == [(None, NO_WAY)]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_host_without_timeout_gives_up_all_the_same(tmp_path: Path, shell: str) -> None:
    path = path_with(tmp_path / "bin", "bash", "sleep", coreutils=False)
    with listening(answer=b"N") as serving, listening(answer=b"") as hung:
        targets = [("127.0.0.1", serving), ("127.0.0.1", hung)]
        assert tried(shell, path, targets) == [(Reach.ANSWERS, "bash"), (Reach.NO_REPLY, "bash")]


def test_pg_isready_comes_first_when_it_counts_and_last_when_all_is_well(tmp_path: Path) -> None:
    path = path_with(tmp_path / "bin", "bash")
    (path / "pg_isready").write_text("#!/bin/sh\nexit 1\n")
    (path / "pg_isready").chmod(0o755)
    with listening(answer=b"N") as serving:
        assert tried("dash", path, [("127.0.0.1", serving)]) == [(Reach.REJECTS, "pg_isready")]
        assert tried("dash", path, [("127.0.0.1", serving)], speak=False) == [(Reach.ANSWERS, "bash")]


def test_a_hostile_host_name_is_a_word() -> None:
    assert "'$(reboot)'" in reach_script([("$(reboot)", 5432)], 1.0, speak=True)


@pytest.mark.parametrize("text", ["", "reach 0 answers bash", "welcome\nreach 1 answers bash"])
def test_an_answer_that_is_not_whole_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="not what was asked for"):
        read_reach(text, 2)
