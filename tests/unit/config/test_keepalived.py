"""What `render keepalived` prints, run as printed: it installs; its check answers; silence is no answer."""

import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pgvigil.config.keepalived import keepalived
from tests.builders import a_cluster

KEEPALIVED = shutil.which("keepalived", path="/usr/sbin:/usr/bin")
MULTICAST = 0x1000
INTERFACES = [
    place.name
    for place in sorted(Path("/sys/class/net").iterdir())
    if (place / "flags").exists() and int((place / "flags").read_text(), 16) & MULTICAST
]
SPEC = a_cluster("pg1* pg2").spec
pytestmark = pytest.mark.skipif(not shutil.which("curl"), reason="curl (Debian: curl) is not there")


class Face(http.server.BaseHTTPRequestHandler):
    """Health checks of a cluster whose primary is `primary`; no answer at all while it is empty."""

    primary = "pg1"

    def do_GET(self) -> None:
        if not self.primary:
            self.close_connection = True
            return
        self.send_response(200 if self.path == f"/clusters/orders/nodes/{self.primary}/primary" else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@contextmanager
def face() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Face)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def installed(url: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    script = keepalived(SPEC, url)
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "ETC": str(folder / "etc"), "RUN": str(folder / "run")}
    command = ["sh", "-s", *words]
    return subprocess.run(command, input=script, text=True, env=env, capture_output=True, check=False)


def test_the_check_says_who_is_primary_and_stays_at_it_without_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(node: str) -> int:
        program = tmp_path / "etc" / "pgvigil-check"
        return subprocess.run([program, node, tmp_path / node], check=False, timeout=20).returncode

    with face() as url:
        done = installed(url, tmp_path, "pg1", "10.0.0.100/24", "eth0")
        assert done.returncode == 0, done.stderr
        assert (check("pg1"), check("pg2")) == (0, 1)
        monkeypatch.setattr(Face, "primary", "")
        assert (check("pg1"), check("pg2")) == (0, 1)
        assert check("new") == 1  # nothing was ever said of it
        monkeypatch.setattr(Face, "primary", "pg2")
        assert (check("pg1"), check("pg2")) == (1, 0)
    assert (check("pg1"), check("pg2")) == (1, 0)


def test_the_file_that_keepalived_watches_follows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = tmp_path / "primary"

    def await_that(text: str) -> None:
        for _ in range(400):
            if watched.exists() and watched.read_text() == text:
                return
            threading.Event().wait(0.05)
        raise AssertionError(f"{watched} does not say {text!r}")

    with face() as url:
        installed(url, tmp_path, "pg1", "10.0.0.100/24", "eth0")
        program = tmp_path / "etc" / "pgvigil-check"
        loop = subprocess.Popen([program, "pg1", tmp_path / "state", watched])
        try:
            await_that("0\n")
            monkeypatch.setattr(Face, "primary", "pg2")
            await_that("1\n")
        finally:
            loop.terminate()
            loop.wait(10)


def test_a_node_that_is_none_is_refused(tmp_path: Path) -> None:
    done = installed("http://127.0.0.1:1", tmp_path, "pg9", "10.0.0.100/24", "eth0")
    assert (done.returncode, "no node of orders" in done.stderr) == (2, True)
    assert not (tmp_path / "etc").exists()


@pytest.mark.skipif(not KEEPALIVED, reason="keepalived (Debian: keepalived) is not there")
@pytest.mark.skipif(not INTERFACES, reason="no network interface here has multicast")
def test_keepalived_takes_the_configuration_and_the_variant_in_its_comments(tmp_path: Path) -> None:
    assert KEEPALIVED
    installed("http://127.0.0.1:1", tmp_path, "pg1", "192.0.2.100/24", INTERFACES[0])
    file = tmp_path / "etc" / "keepalived.conf"
    plain = file.read_text()
    (tmp_path / "run" / "primary").write_text("0\n")
    variant = plain.replace("# track_file", "track_file").replace("# }", "}")
    for line in ("file ", "weight 0", "init_file 1", "    pgvigil"):
        variant = variant.replace(f"#     {line.strip()}", f"    {line.strip()}")
    for text in (plain, variant):
        file.write_text(text)
        done = subprocess.run(
            [KEEPALIVED, "-t", "-f", file], capture_output=True, text=True, check=False, timeout=20
        )
        assert done.returncode == 0, done.stderr + text
