"""What every effect works with: the ways to the nodes, where their data lies, and proof of a fresh look."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from pgvigil.errors import StepFailed, Unreachable, WorldChanged
from pgvigil.model.record import Paths
from pgvigil.model.sighting import HostAnswer
from pgvigil.model.spec import ClusterSpec, NodeSpec
from pgvigil.model.step import Step
from pgvigil.model.units import Generation, Instant, NodeName
from pgvigil.ports.contract import Clock, NodePorts, Output, QueryFailed, Row, Shell, ShellLost, ShellRefused
from pgvigil.ports.host import look_script, read_look

S = TypeVar("S", bound=Step)

DENIED = "42501"
"""SQLSTATE insufficient_privilege."""


@dataclass(frozen=True, slots=True)
class Confirmed(Generic[S]):
    """A step whose node was looked at a moment ago and is still what the decision saw.

    Only `act.engine` makes one: an effect that takes a Confirmed cannot be called without that look.
    """

    step: S


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node keeps its data and programs, and the shell there."""

    spec: NodeSpec
    shell: Shell
    data_dir: str
    bin_dir: str
    config_file: str
    lost: Callable[[], str] = lambda: ""
    """Why this controller may not act any more; empty: it may."""

    @property
    def config_outside(self) -> bool:
        """Whether postgresql.conf lies outside of the data directory, as on Debian."""
        return bool(self.config_file) and not self.config_file.startswith(self.data_dir.rstrip("/") + "/")

    async def ask(self, script: str, *, within_s: float) -> Output:
        """A short script on the kept shell. Raises StepFailed if the host does not answer."""
        _leave(self.lost)
        try:
            return await self.shell.ask(script, within_s=within_s)
        except Unreachable as lost:
            raise StepFailed(
                f"the shell on {self.spec.name} failed", detail=str(lost), hint=lost.hint
            ) from lost

    async def run(
        self,
        script: str,
        *,
        within_s: float,
        stdin: bytes = b"",
        on_line: Callable[[str], None] | None = None,
    ) -> Output:
        """A long job in a shell of its own. Raises StepFailed if the host does not answer in time."""
        _leave(self.lost)
        try:
            return await self.shell.run(script, stdin=stdin, within_s=within_s, on_line=on_line)
        except Unreachable as lost:
            raise StepFailed(f"a job on {self.spec.name} failed", detail=str(lost), hint=lost.hint) from lost

    async def must(self, script: str, what: str, *, within_s: float) -> Output:
        """A short script that has to succeed. Raises StepFailed with what it complained about."""
        output = await self.ask(script, within_s=within_s)
        if output.status:
            raise StepFailed(f"{what} failed on {self.spec.name}", detail=output.complaint)
        return output

    async def look(self, *, within_s: float = 2.0) -> HostAnswer:
        """What the host says now of its server process. Raises StepFailed."""
        output = await self.ask(look_script(self.data_dir, self.bin_dir, slow=False), within_s=within_s)
        try:
            return read_look(output.text, Instant(0.0))
        except ValueError as error:
            raise StepFailed(f"the shell on {self.spec.name} is confused", detail=str(error)) from error


def _leave(lost: Callable[[], str]) -> None:
    """Raises WorldChanged if this controller may act no more."""
    if why := lost():
        raise WorldChanged("this controller may not act any more", detail=why)


def host_was_lost(failed: BaseException | None) -> bool:
    """Whether the host did not answer: that says nothing against the method, which is tried again later."""
    while failed is not None:
        if isinstance(failed, ShellLost | ShellRefused):
            return True
        failed = failed.__cause__
    return False


async def _nobody_waits() -> None:
    """Without endpoints there is nobody to hold."""


@dataclass(frozen=True, slots=True)
class Bench:
    """One cluster's ports, as effects use them. `generation` is the record's at this moment."""

    spec: ClusterSpec
    nodes: Mapping[NodeName, NodePorts]
    paths: Callable[[NodeName], Paths]
    clock: Clock
    generation: Callable[[], Generation]
    own_shell: Shell
    """On the controller's own host, for the user's commands."""
    report: Callable[[NodeName, str], None]
    """Progress for people: the node and a sentence."""
    far: Mapping[NodeName, NodePorts] = field(default_factory=dict)
    """The ways to the nodes of the cluster that this one is to follow."""
    hold_clients: Callable[[], Awaitable[None]] = _nobody_waits
    """Has clients wait at the endpoints. Raises StepFailed."""
    lost: Callable[[], str] = lambda: ""
    """Why this controller may not act any more; empty: it may."""

    def place(self, name: NodeName) -> Place:
        """Raises StepFailed if the node has no shell, or nobody knows where its data lies."""
        ports, paths = self.nodes[name], self.paths(name)
        if ports.shell is None:
            raise StepFailed(
                f"{name} has no shell",
                detail="this step is done on its host",
                hint="set shell: in the configuration",
            )
        if not paths.data_dir:
            raise StepFailed(
                f"it is not known where {name} keeps its data",
                detail="it has not answered since pgvigil was started",
                hint="set postgres.data_dir in the configuration",
            )
        return Place(ports.spec, ports.shell, paths.data_dir, paths.bin_dir, paths.config_file, self.lost)

    async def sql(
        self, name: NodeName, text: str, params: Sequence[str | None] = (), *, within_s: float = 3.0
    ) -> tuple[Row, ...]:
        """A short statement on the kept session. Raises QueryFailed, or StepFailed if nothing comes back.

        Right before it is sent the lease is looked at: whoever stood still since the step's own look hears of
        it here.
        """
        _leave(self.lost)
        try:
            return await self.nodes[name].session.query(text, params, within_s=within_s)
        except QueryFailed:
            raise
        except Unreachable as lost:
            raise StepFailed(f"{name} did not answer", detail=str(lost)) from lost

    @contextlib.asynccontextmanager
    async def extra_session(self, name: NodeName, *, within_s: float = 3.0) -> AsyncIterator["Bench"]:
        """This bench with a second session to that node, for statements that take long."""
        ports = self.nodes.get(name) or self.far[name]
        session = ports.new_session()
        try:
            await session.open(within_s=within_s)
        except Unreachable as lost:
            raise StepFailed(f"{name} did not let us in", detail=str(lost)) from lost
        try:
            nodes = {**self.nodes, name: NodePorts(ports.spec, ports.new_session, session, ports.shell)}
            yield replace(self, nodes=nodes)
        finally:
            session.close()

    def close(self) -> None:
        """Drop all sessions and shells at once."""
        for ports in (*self.nodes.values(), *self.far.values()):
            ports.close()

    def still(self, generation: Generation) -> None:
        """Raises WorldChanged if the record has moved on since, or this controller may act no more."""
        _leave(self.lost)
        if self.generation() != generation:
            raise WorldChanged(
                f"the cluster is at generation {self.generation()}, the step was of {generation}"
            )

    async def in_recovery(self, name: NodeName) -> bool:
        """Raises StepFailed if the node does not answer."""
        (row,) = await self.sql(name, "select pg_is_in_recovery() as recovering")
        return row["recovering"] == "t"
