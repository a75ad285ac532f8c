"""The seam inside the port: what starts an `sh` (`Transport`), hears it (`Wire`), feeds it (`Link`)."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from pgvigil.ports.shell.framing import Cut, Stream

OUTPUT_MAX_BYTES = 256 * 1024 * 1024
"""More from one script is not an answer but an accident, and would take the controller's memory."""

LINGER_S = 1.0
"""How long what an ended `sh` has printed may still be on its way, when its outputs stay open."""


class Ended(Exception):
    """The `sh` is over before it answered. `turned_away`: the host itself ended it, in good order."""

    def __init__(self, detail: str, *, turned_away: bool) -> None:
        super().__init__(detail)
        self.detail, self.turned_away = detail, turned_away


class Wire:
    """What one `sh` prints, for one reader."""

    def __init__(self) -> None:
        self.out, self.err = Stream(), Stream()
        self._end: Ended | None = None
        self._news: asyncio.Future[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether an answer can still come."""
        return self._end is None

    def feed(self, descriptor: int, data: bytes) -> None:
        """Called by the link: bytes of descriptor 1 or 2."""
        stream = self.out if descriptor == 1 else self.err
        if len(stream) + len(data) > OUTPUT_MAX_BYTES:
            self.close(f"more than {OUTPUT_MAX_BYTES >> 20} MiB of output")
        if self._end is None:
            stream.feed(data)
            self._wake()

    def exited(self, detail: str = "") -> None:
        """Called by the link: the `sh` is gone, its outputs perhaps not yet empty."""
        asyncio.get_running_loop().call_later(LINGER_S, self.close, detail)

    def close(self, detail: str = "", *, turned_away: bool = False) -> None:
        """Called by the link: nothing more comes."""
        if self._end is None:
            # Standard output is the script's result and may be secret; of a refused login it is the reason.
            said = self.err.tail() or (self.out.tail() if turned_away else "")
            what = "; ".join(filter(None, (detail, said))) or "the shell ended without an answer"
            self._end = Ended(what, turned_away=turned_away)
            self._wake()

    async def answer(self, mark: bytes, on_news: Callable[[], None] | None = None) -> tuple[Cut, Cut]:
        """Both outputs up to `mark`. Raises Ended. `on_news` is called whenever something came.

        Has no deadline of its own. Cancelled, it leaves what came in place.
        """
        out = err = None
        while True:
            if on_news:
                on_news()
            out = out or self.out.cut(mark)
            err = err or self.err.cut(mark)
            if out and err:
                return out, err
            if self._end:
                raise self._end
            self._news = asyncio.get_running_loop().create_future()
            await self._news

    def _wake(self) -> None:
        if self._news and not self._news.done():
            self._news.set_result(None)


class Link(Protocol):
    """The input of one `sh`. No call waits or raises; on a broken link they do nothing."""

    def write(self, data: bytes) -> None:
        """Queue bytes for its standard input."""
        ...

    def finish(self) -> None:
        """End its standard input behind what is queued."""
        ...

    def leave(self) -> None:
        """It ends by itself now; let go of it when it has."""
        ...

    def drop(self) -> None:
        """Let go of it at once, whatever it is doing. Commands it started are not touched."""
        ...


class Transport(Protocol):
    """A way to get an `sh` on a host."""

    label: str
    """For people, without secrets."""

    async def start(self, wire: Wire) -> Link:
        """A new `sh` that prints to `wire`. Has no deadline; cancelled, it leaves nothing open.

        Raises ShellLost or ShellRefused.
        """
        ...

    def abort(self) -> None:
        """Drop what all its `sh` share, such as a connection. The next start makes it anew."""
        ...

    def leave(self) -> None:
        """The same in good order, when none of its `sh` is needed any more. Returns at once."""
        ...
