"""PgBouncer through its console and one included file: `[databases]` lines that lead to the primary.

The file also says whether clients are made to wait by us (`HELD`): written before the first PAUSE and
taken out after the last RESUME, so that a controller that dies in between has left a note to the next one,
and a PAUSE of somebody else's is never ended. Source: PgBouncer's usage page, "admin console".
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from typing import Final

import psycopg
from psycopg.rows import dict_row

from pgvigil.errors import ConfigError, PgvigilError, StepFailed, Unreachable
from pgvigil.model.endpoint import Aim, Pgbouncer
from pgvigil.model.spec import ClusterSpec
from pgvigil.model.units import Generation, NodeName
from pgvigil.ports.contract import Shell
from pgvigil.ports.host import quoted

CONNECT_S: Final = 2.0
ANSWER_S: Final = 2.0
SHELL_S: Final = 2.0
RETRY_S: Final = 2.0
"""A longer `server_login_retry` is worth a word."""
HELD: Final = ";; clients wait"
NOBODY: Final = "RESUME pgvigil_nobody"
"""Changes nothing: there is no such database. The answer tells whether we might."""
_GUIDE: Final = "docs/operate/endpoints.md"

Console = psycopg.AsyncConnection[dict[str, str | None]]


class PgbouncerEndpoint:
    """An `Endpoint`."""

    def __init__(self, wanted: Pgbouncer, spec: ClusterSpec, shell: Shell) -> None:
        self.name = wanted.name
        self._wanted, self._spec = wanted, spec
        self._shell = shell
        words = dict(wanted.conninfo)
        self._place = f"{words.get('host')}:{words.get('port')}"

    def close(self) -> None:
        """See `Endpoint`."""
        self._shell.close()

    async def look(self) -> str:
        """See `Endpoint`."""
        text = await self._read()
        async with self._console() as console:
            try:
                await self._tell(console, NOBODY)
            except psycopg.Error as said:
                if "admin" in str(said).lower():
                    raise ConfigError(
                        f"PgBouncer at {self._place} does not let us steer it",
                        hint="put our user into its admin_users",
                    ) from said
            known = await self._databases(console)
            settings = {row["key"]: row["value"] for row in await self._tell(console, "SHOW CONFIG")}
        if not await self._may_write():
            raise ConfigError(
                f"{self._wanted.file} cannot be written",
                hint="it, or its directory, must belong to the user of the shell",
            )
        if float(settings.get("server_login_retry") or 0) > RETRY_S:
            raise StepFailed(
                f"PgBouncer at {self._place} answers, but would not try a new primary for "
                f"{settings['server_login_retry']} s after a failed attempt",
                hint="set server_login_retry = 0.2 in its pgbouncer.ini",
            )
        names = [name for name, _ in self._wanted.databases]
        if text and (missing := sorted(set(names) - known.keys())):
            raise self._not_included(missing)
        return f"PgBouncer at {self._place} answers; {', '.join(names)} in {self._wanted.file}"

    async def hold(self) -> None:
        """See `Endpoint`. The note first; what was begun is undone when it does not end in its time."""
        text = await self._read()
        generation, primary = read_aim(text)
        if primary is None:
            raise StepFailed(
                f"PgBouncer's {self._wanted.file} does not lead anywhere yet", hint=f"see {_GUIDE}"
            )
        async with self._console() as console:
            if HELD not in text and (names := await self._paused(console)):
                raise StepFailed(
                    f"somebody else has paused {', '.join(names)} on PgBouncer at {self._place}",
                    hint="RESUME on its console, when they are ready",
                )
            await self._write(self._text(generation, primary, held=True))
            limit_s = self._wanted.pause_timeout.total_seconds()
            try:
                async with asyncio.timeout(limit_s):
                    for name in dict(self._wanted.databases).keys() - set(await self._paused(console)):
                        await self._tell(console, f"PAUSE {_name(name)}", within_s=limit_s)
                return
            except TimeoutError:
                late = StepFailed(
                    f"transactions did not end within {limit_s:g} s, so that clients could be made to wait",
                    hint="end them, or raise pause_timeout:; nothing was changed",
                )
            except psycopg.Error as said:
                late = StepFailed("PgBouncer does not pause", detail=_said(said), hint=f"see {_GUIDE}")
        await self._let_go(generation, primary)
        raise late

    async def move(self, aim: Aim) -> str:
        """See `Endpoint`. Without a primary nothing is moved: clients find the old one gone, and wait."""
        text = await self._read()
        held = HELD in text
        if aim.primary is None:
            return ""
        done: list[str] = []
        wanted = self._text(aim.generation, aim.primary, held=held)
        async with self._console() as console:
            moved = not await self._leads(console, aim.primary)
            if moved or text != wanted:
                await self._write(wanted)
                await self._tell(console, "RELOAD")
                if not await self._leads(console, aim.primary):
                    raise self._not_included(sorted(name for name, _ in self._wanted.databases))
                if moved:
                    for name, _ in self._wanted.databases:
                        await self._tell(console, f"RECONNECT {_name(name)}")
                    done.append(f"leads to {aim.primary}")
        if held and not aim.held:
            await self._let_go(aim.generation, aim.primary)
            done.append("clients go on")
        return ", ".join(done)

    async def _let_go(self, generation: Generation, primary: NodeName) -> None:
        """RESUME, and only then strike out the note."""
        async with self._console() as console:
            for name in await self._paused(console):
                await self._tell(console, f"RESUME {_name(name)}")
        await self._write(self._text(generation, primary, held=False))

    def _text(self, generation: Generation, primary: NodeName, *, held: bool) -> str:
        """The whole file."""
        node = self._spec.node(primary)
        lines = [
            f";; Written by pgvigil for cluster {self._spec.name}; what is changed here by hand is lost.",
            f";; generation {generation}: {primary}",
            *([HELD] if held else []),
            "[databases]",
        ]
        for name, words in self._wanted.databases:
            dbname = "" if re.search(r"\bdbname\s*=", words) else f" dbname={name}"
            lines.append(f"{_name(name)} = host={node.host} port={node.port}{dbname}{words and ' ' + words}")
        return "\n".join(lines) + "\n"

    async def _leads(self, console: Console, primary: NodeName) -> bool:
        """Whether all our databases lead to that node by now."""
        node, known = self._spec.node(primary), await self._databases(console)
        return all(
            name in known and (known[name]["host"], known[name]["port"]) == (node.host, str(node.port))
            for name, _ in self._wanted.databases
        )

    async def _paused(self, console: Console) -> list[str]:
        """Those of our databases whose clients wait."""
        known = await self._databases(console)
        return [n for n, _ in self._wanted.databases if n in known and known[n]["paused"] == "1"]

    async def _databases(self, console: Console) -> dict[str, dict[str, str | None]]:
        rows = await self._tell(console, "SHOW DATABASES")
        return {row["name"] or "": {k: str(v) for k, v in row.items()} for row in rows}

    @contextlib.asynccontextmanager
    async def _console(self) -> AsyncIterator[Console]:
        """Raises Unreachable; errors of the console are mapped to StepFailed."""
        words = {**dict(self._wanted.conninfo), "application_name": "pgvigil", "gssencmode": "disable"}
        try:
            async with asyncio.timeout(CONNECT_S):
                console = await psycopg.AsyncConnection.connect(
                    **words,  # type: ignore[arg-type]  # libpq's keywords
                    autocommit=True,
                    prepare_threshold=None,
                    row_factory=dict_row,
                )
        except (psycopg.Error, OSError) as lost:
            raise Unreachable(
                f"PgBouncer's console at {self._place} does not let us in",
                detail=_said(lost) or f"no answer within {CONNECT_S:g} s",
                hint="is it running, and is our user one of its admin_users?",
            ) from lost
        try:
            yield console
        except psycopg.Error as said:
            raise StepFailed("PgBouncer refused", detail=_said(said), hint=f"see {_GUIDE}") from said
        finally:
            await console.close()

    async def _tell(
        self, console: Console, line: str, *, within_s: float = ANSWER_S
    ) -> list[dict[str, str | None]]:
        async with asyncio.timeout(within_s):
            cursor = await console.execute(line.encode())
            return await cursor.fetchall() if cursor.description else []

    async def _read(self) -> str:
        """The file as it is; empty where there is none. Raises Unreachable."""
        file = quoted(self._wanted.file)
        return (await self._shell.ask(f"[ ! -e {file} ] || cat {file}", within_s=SHELL_S)).out.decode(
            errors="replace"
        )

    async def _may_write(self) -> bool:
        file = quoted(self._wanted.file)
        script = f'f={file}; [ -w "${{f%/*}}" ] || [ -w "$f" ]'
        return (await self._shell.ask(script, within_s=SHELL_S)).status == 0

    async def _write(self, text: str) -> None:
        """All of the file at once; its rights stay. Raises StepFailed."""
        file = quoted(self._wanted.file)
        script = (
            f"f={file}; t={quoted(text)}\n"
            'if [ -w "${f%/*}" ]; then\n'
            '  if [ -e "$f" ]; then cp -p "$f" "$f.new"; else : > "$f.new" && chmod 644 "$f.new"; fi &&\n'
            '  printf %s "$t" > "$f.new" && mv -f "$f.new" "$f"\n'
            'else printf %s "$t" > "$f"; fi'
        )
        output = await self._shell.ask(script, within_s=SHELL_S)
        if output.status:
            raise StepFailed(
                f"{self._wanted.file} cannot be written",
                detail=output.complaint,
                hint="it, or its directory, must belong to the user of the shell",
            )

    def _not_included(self, names: list[str]) -> PgvigilError:
        return ConfigError(
            f"PgBouncer at {self._place} does not have {', '.join(names)} from {self._wanted.file}",
            hint=f"put into its pgbouncer.ini: %include {self._wanted.file}",
        )


def read_aim(text: str) -> tuple[Generation, NodeName | None]:
    """What a file of ours says of itself."""
    found = re.search(r"^;; generation (\d+): (.+)$", text, re.MULTILINE)
    return (Generation(int(found[1])), NodeName(found[2])) if found else (Generation(0), None)


def _name(name: str) -> str:
    """A database as the console and the file take it."""
    return name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) else '"' + name.replace('"', '""') + '"'


def _said(error: BaseException) -> str:
    return " ".join(str(error).split())
