"""The way from a command to everything heavy: configuration, controller, demo. Imported when first used.

`pgvigil --help` must come at once, so no module of the command line imports these at its top; tests put
their own `Reach` in place of `REAL`.
"""

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from pgvigil.controller.operations import Operations
from pgvigil.errors import Unreachable
from pgvigil.model.check import CheckItem
from pgvigil.model.face import HttpSpec
from pgvigil.model.guard import GuardReport
from pgvigil.model.notify import TargetSpec
from pgvigil.model.spec import ClusterSpec
from pgvigil.model.units import ClusterName, NodeName


class Config(Protocol):
    """What commands need of the configuration."""

    @property
    def clusters(self) -> Sequence[ClusterSpec]:
        """All clusters, complete and checked."""
        ...

    @property
    def socket(self) -> Path:
        """Where a running controller listens."""
        ...

    @property
    def log_format(self) -> str:
        """`text` or `json`."""
        ...

    @property
    def log_level(self) -> str:
        """`debug`, `info`, `warning` or `error`."""
        ...

    @property
    def http(self) -> HttpSpec | None:
        """How HTTP is to be served; None: not at all."""
        ...

    @property
    def notify(self) -> Mapping[ClusterName, Sequence[TargetSpec]]:
        """Where messages about each cluster go."""
        ...


@dataclass(frozen=True, slots=True)
class Discovered:
    """A configuration made from a running cluster, and what was found while looking."""

    text: str
    items: tuple[CheckItem, ...]


def _there(module: str, name: str) -> Any:  # whatever that module offers under the name
    return getattr(import_module(f"pgvigil.{module}"), name)


async def _migrate(config: Config, to: str, dry_run: bool) -> dict[str, int]:
    counts: dict[str, int] = await _there("wiring", "migrate_store")(config, to, dry_run=dry_run)
    return counts


@dataclass(frozen=True, slots=True)
class Reach:
    """All that commands call outside of the command line."""

    load: Callable[[Path | None], Config]
    """Raises ConfigError. None: the usual places."""
    operations: Callable[[Config, Sequence[ClusterName]], AbstractAsyncContextManager[Operations]]
    """The running controller's, else the same work in this process, under the state's lock."""
    look: Callable[[Config, Sequence[ClusterName]], AbstractAsyncContextManager[Operations]]
    """The same for commands that change nothing: no lock is needed."""
    run: Callable[[Config, Callable[[], Config]], Coroutine[Any, Any, None]]
    """The controller until cancelled; the second reads the configuration again when `reload` is asked."""
    discover: Callable[[str, str, str], Coroutine[Any, Any, Discovered]]
    """From a libpq connection string and the new cluster's name (empty: its own)."""
    check: Callable[[Config, Sequence[ClusterName]], Coroutine[Any, Any, list[CheckItem]]]
    guard: Callable[[ClusterSpec, str, list[NodeName], bool], Coroutine[Any, Any, list[GuardReport]]]
    """`install`, `remove` or `status`, on which nodes, whether only to say what would be done."""
    demo: Callable[[bool, bool], int]
    """Whether to keep it running, whether to print JSON → its exit code."""
    migrate: Callable[[Config, str, bool], Coroutine[Any, Any, dict[str, int]]] = _migrate
    """The state `sqlite` or `etcd`, whether only to look → how much there is of what."""


def _load(path: Path | None) -> Config:
    config: Config = _there("config.load", "load")(path)
    return config


def connect_operations(
    config: Config, clusters: Sequence[ClusterName]
) -> AbstractAsyncContextManager[Operations]:
    """The running controller's operations if its socket answers, else this process's own, under the lock."""
    return _connect(config, clusters, "local_operations")


def connect_look(config: Config, clusters: Sequence[ClusterName]) -> AbstractAsyncContextManager[Operations]:
    """The running controller's view if its socket answers, else this process's own, without any lock."""
    return _connect(config, clusters, "local_look")


@asynccontextmanager
async def _connect(
    config: Config, clusters: Sequence[ClusterName], otherwise: str
) -> AsyncIterator[Operations]:
    client: Any = _there("api.socket_client", "SocketOperations")(config.socket)
    try:
        await client.ping()
    except Unreachable:
        _there("cli.logs", "set_up_logging")(level="error")  # a command's own output is its log
        async with _there("wiring", otherwise)(config, clusters=clusters) as local:
            yield local
    else:
        yield client


async def _run(config: Config, reread: Callable[[], Config]) -> None:
    await _there("wiring", "run_controller")(config, reread=reread)


async def _discover(dsn: str, name: str, ssh_key: str) -> Discovered:
    found: Discovered = await _there("wiring", "discover")(dsn, name, ssh_key)
    return found


async def _check(config: Config, clusters: Sequence[ClusterName]) -> list[CheckItem]:
    items: list[CheckItem] = await _there("wiring", "check")(config, clusters)
    return items


async def _guard(spec: ClusterSpec, action: str, names: list[NodeName], dry: bool) -> list[GuardReport]:
    reports: list[GuardReport] = await _there("wiring", "guard")(spec, action, names, dry_run=dry)
    return reports


def _demo(keep: bool, as_json: bool) -> int:
    code: int = _there("cli.story", "run_demo")(keep=keep, as_json=as_json)
    return code


REAL = Reach(_load, connect_operations, connect_look, _run, _discover, _check, _guard, _demo)
