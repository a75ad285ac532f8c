"""`PosixShell`: the contract's Shell on top of any way to start an `sh`."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator

from pgvigil.model.shell import LINGER_S
from pgvigil.ports.contract import Output, ShellLost, ShellRefused
from pgvigil.ports.shell import framing
from pgvigil.ports.shell.framing import Cut
from pgvigil.ports.shell.wire import Ended, Link, Transport, Wire

ENDING_S = 5.0
"""What ending a given-up job may take: 1.5 s of grace, and the way there and back."""


class PosixShell:
    """A kept `sh` for short questions, and one of its own for each job.

    Every request begins in `/` with `LC_ALL=C` and the usual directories at the end of PATH; variables
    and functions persist between asks. A script that ends with `exit` is answered, but costs a new `sh`:
    use `return`. A background process of an ask must redirect its outputs, or they end up in later
    answers.

    What is detached is left alone: a background process with redirected outputs survives the end of the
    ask or job that started it, of this shell and of the controller; if its job is given up it dies with
    the job unless it has a session of its own (`setsid`, as every postmaster started by pg_ctl).
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._kept: tuple[Wire, Link] | None = None
        self._turn = asyncio.Lock()
        self._jobs = 0
        self._stays = True
        self._users = 0
        self._used_at = 0.0
        self._closing: asyncio.TimerHandle | None = None
        self._endings: set[asyncio.Task[None]] = set()

    async def ask(self, script: str, *, within_s: float) -> Output:
        """Run lines on the kept `sh`, after the asks before it.

        Takes at most `within_s` for its turn and as much again for opening and the answer. Raises
        ShellLost or ShellRefused. Given up or cancelled, the kept `sh` is dropped and the next ask opens
        another; the script may still be running.
        """
        with self._use():
            return await self._ask(script, within_s)

    async def _ask(self, script: str, within_s: float) -> Output:
        try:
            async with asyncio.timeout(within_s):
                await self._turn.acquire()
        except TimeoutError:
            raise self._lost(f"still busy with another request after {within_s:g} s") from None
        try:
            async with asyncio.timeout(within_s):
                wire, link = await self._kept_sh()
                mark = framing.new_mark()
                link.write(framing.request(mark, script))
                out, err = await wire.answer(mark)
            if out.words[1:] == (b"ended",):
                self._drop_kept()
            return Output(int(out.words[0]), out.text, err.text)
        except TimeoutError:
            self._give_up()
            raise self._lost(f"no answer within {within_s:g} s") from None
        except Ended as end:
            self._drop_kept()
            raise self._lost(end.detail) from None
        except BaseException:
            self._drop_kept()
            raise
        finally:
            self._turn.release()

    async def run(
        self,
        script: str,
        *,
        stdin: bytes = b"",
        within_s: float,
        on_line: Callable[[str], None] | None = None,
    ) -> Output:
        """Run a long job beside the kept `sh`; binary safe, at most OUTPUT_MAX_BYTES an output.

        `on_line` gets each line of standard error that is not blank, ended by newline or carriage
        return; what it raises ends the job. Standard input is /dev/null when `stdin` is empty.

        Returns when the script has ended and all it printed has come, even if something it detached
        holds the outputs open. Raises ShellLost or ShellRefused. Given up, broken or cancelled, the job's
        process group is ended (SIGTERM, after 1 s SIGKILL), for which up to 5 s more are taken. If the
        host cannot be reached for that, its own `timeout` ends the job 2 s after the deadline; a host
        without that command leaves it running.
        """
        with self._use():
            return await self._run(script, stdin, within_s, on_line)

    async def _run(
        self, script: str, stdin: bytes, within_s: float, on_line: Callable[[str], None] | None
    ) -> Output:
        self._jobs += 1
        link: Link | None = None
        group = 0
        try:
            ready, done = framing.new_mark(), framing.new_mark()
            async with asyncio.timeout(within_s):
                line = framing.job(ready, done, script, within_s=within_s, has_input=bool(stdin))
                wire, link, answer = await self._opened(line, ready)
                group = int(answer.words[0])
                link.write(framing.go(ready) + stdin)
                link.finish()
                out, err = await wire.answer(done, on_line and (lambda: _tell(wire, done, on_line)))
            link.leave()
            link = None
            return Output(int(out.words[0]), out.text, err.text)
        except TimeoutError:
            await self._end_job(group)
            raise self._lost(f"the job was not done within {within_s:g} s") from None
        except Ended as end:
            await self._end_job(group)
            raise self._lost(end.detail) from None
        except BaseException:
            await self._end_job(group)
            raise
        finally:
            self._jobs -= 1
            if link:
                link.drop()

    def keep(self, kept: bool) -> None:
        """Whether `sh` and connection stay between uses; if not, they are closed LINGER_S after the last."""
        self._stays = kept
        self._close_later()

    @contextlib.contextmanager
    def _use(self) -> Iterator[None]:
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            self._used_at = asyncio.get_running_loop().time()
            self._close_later()

    def _close_later(self) -> None:
        """Look after a while whether it is still unused; once at a time."""
        if self._stays or self._closing is not None or not self._used_at:
            return
        loop = asyncio.get_running_loop()
        self._closing = loop.call_at(max(self._used_at + LINGER_S, loop.time()), self._close_unused)

    def _close_unused(self) -> None:
        """In good order; whoever uses it now looks again when he has done."""
        self._closing = None
        if self._stays or self._users:
            return
        now = asyncio.get_running_loop().time()
        if self._endings:  # a job that was given up is ended over it
            self._used_at = now
        if now < self._used_at + LINGER_S:
            self._close_later()
            return
        if self._kept:
            self._kept[1].finish()
            self._kept[1].leave()
            self._kept = None
        self._transport.leave()

    def close(self) -> None:
        """Drop the kept `sh` and the connection at once. Cancel running jobs first: they would be lost.

        May be called twice; a later ask or run opens anew.
        """
        self._drop_kept()
        self._transport.abort()

    async def _kept_sh(self) -> tuple[Wire, Link]:
        if self._kept and not self._kept[0].is_open:
            self._drop_kept()
        if self._kept is None:
            mark = framing.new_mark()
            wire, link, _ = await self._opened(framing.opening(mark), mark)
            self._kept = wire, link
        return self._kept

    async def _opened(self, line: bytes, mark: bytes) -> tuple[Wire, Link, Cut]:
        """A new `sh` that has answered its first line. What came before, such as greetings, is dropped."""
        wire = Wire()
        link = await self._transport.start(wire)
        try:
            link.write(line)
            out, _ = await wire.answer(mark)
        except Ended as end:
            link.drop()
            if end.turned_away:
                raise ShellRefused(
                    f"{self._transport.label} gave no shell",
                    detail=end.detail,
                    hint="the login shell must be able to run sh: check the account's shell, its start-up"
                    " files, ForceCommand in sshd_config and command= in authorized_keys",
                ) from None
            raise
        except BaseException:
            link.drop()
            raise
        return wire, link, out

    def _give_up(self) -> None:
        """Nothing came in time. Whether sh or the connection hangs cannot be seen: a job keeps the latter."""
        self._drop_kept()
        if not self._jobs:
            self._transport.abort()

    def _drop_kept(self) -> None:
        if self._kept:
            self._kept[1].drop()
            self._kept = None

    async def _end_job(self, group: int) -> None:
        if not group:  # it never got its `go`
            if self._jobs == 1 and not self._kept:
                self._transport.abort()
            return
        task = asyncio.create_task(self._kill(group))
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)
        await asyncio.shield(task)

    async def _kill(self, group: int) -> None:
        link = None
        try:
            async with asyncio.timeout(ENDING_S):
                mark = framing.new_mark()
                _, link, _ = await self._opened(framing.ending(group, mark), mark)
            link.leave()
        except (TimeoutError, Ended, ShellLost, ShellRefused):
            return  # out of reach; the host's own timeout is the backstop

    def _lost(self, detail: str) -> ShellLost:
        return ShellLost(f"{self._transport.label} did not answer", detail=detail)


def _tell(wire: Wire, mark: bytes, on_line: Callable[[str], None]) -> None:
    for line in wire.err.new_lines():
        if not line.startswith(mark.decode()):
            on_line(line)
