"""`pgvigil run` as its users run it: a process with a log, beside real servers."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from pgvigil.api.socket_client import SocketOperations
from pgvigil.demo.servers import Servers, wait_until
from pgvigil.errors import PgvigilError, TimedOut


class Service:
    """Context manager: runs on entering, ended on leaving. Its log goes through a pipe, to no file."""

    def __init__(self, servers: Servers, *, name: str = "") -> None:
        """`name`: of one of several, which has its own configuration and state."""
        self.state = servers.home / f"state{name}"
        config = servers.home / f"pgvigil{name}.yaml"
        self._words = [sys.executable, "-m", "pgvigil"]
        self._env = {**os.environ, "PGVIGIL_CONFIG": str(config), "COLUMNS": "200"}
        self._lines: list[str] = []
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    @property
    def log(self) -> str:
        """All that it said until now, over all its lives."""
        return "".join(self._lines)

    def start(self) -> None:
        """Run it, without waiting for anything."""
        self._process = subprocess.Popen(
            [*self._words, "run"], stderr=subprocess.PIPE, text=True, errors="replace", env=self._env
        )
        threading.Thread(target=self._read, args=(self._process,), daemon=True).start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr
        with process.stderr:
            for line in process.stderr:
                self._lines.append(line)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it, and return its exit code."""
        assert self._process
        self._process.send_signal(how)
        return self._process.wait(30)

    def ends(self) -> int:
        """Its exit code, once it has ended by itself."""
        assert self._process
        return self._process.wait(30)

    def status(self) -> dict[str, Any]:
        """What it says now; empty while it cannot be asked."""
        try:
            (found,) = asyncio.run(SocketOperations(self.state / "pgvigil.sock").status(None))
        except PgvigilError:
            return {}
        return dict(found)

    def of(self, cluster: str) -> dict[str, Any]:
        """What it says now of one of several clusters; empty while it cannot be asked."""
        try:
            all_of_them = asyncio.run(SocketOperations(self.state / "pgvigil.sock").status(None))
        except PgvigilError:
            return {}
        return next((dict(each) for each in all_of_them if each["cluster"] == cluster), {})

    def await_that(
        self, fact: Callable[[dict[str, Any]], bool], what: str, *, within_s: float = 40
    ) -> dict[str, Any]:
        """The first status of which `fact` is true."""
        seen: list[dict[str, Any]] = []

        def there() -> bool:
            found = self.status()
            if found and fact(found):
                seen.append(found)
            return bool(seen)

        try:
            wait_until(there, within_s=within_s, what=what)
        except TimedOut as late:
            last = {key: value for key, value in self.status().items() if key != "nodes"}
            raise AssertionError(f"{late}\nstatus: {last}\nlog:\n{self.log[-4000:]}") from None
        return seen[0]

    def await_health(self, wanted: str = "ok") -> dict[str, Any]:
        return self.await_that(lambda status: status["health"] == wanted, f"health {wanted}")

    def await_hold(self, rule: str) -> dict[str, Any]:
        """The decision that holds by that rule."""
        found = self.await_that(lambda status: status["decision"]["rule"] == rule, f"hold {rule}")
        decision: dict[str, Any] = found["decision"]
        return decision

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Another pgvigil command beside it."""
        return subprocess.run(
            [*self._words, *words],
            capture_output=True,
            text=True,
            env=self._env,
            timeout=60,
            check=False,
        )
