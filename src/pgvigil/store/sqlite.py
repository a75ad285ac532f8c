"""The controller's durable state in one SQLite file.

Owns `STATE_DIR/pgvigil.db` and the one thread that touches it: a disk that stalls in fsync delays whoever
waits for the save, never the event loop. A save is durable on return (write-ahead log, `synchronous=FULL`).
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Final, Self, TypeVar

from pgvigil.errors import StoreError
from pgvigil.model.parameter import ParameterVersion, Trial
from pgvigil.model.record import ClusterRecord, Event
from pgvigil.model.recording import Draft, Kept, packed
from pgvigil.model.units import ClusterName
from pgvigil.store import shelf, versions
from pgvigil.store.batch import Batches
from pgvigil.store.codec import from_json, to_json
from pgvigil.store.limits import EVENTS_KEPT, WAITING_AT_MOST, record_changed
from pgvigil.store.lock import make_state_dir
from pgvigil.store.renew import TABLES, renew

FILE_NAME: Final = "pgvigil.db"
SCHEMA_VERSION: Final = 11
BUSY_TIMEOUT_S: Final = 2.0
"""How long to wait for another program (a backup, `sqlite3`) that has the file locked."""

_SCHEMA: Final = f"""
BEGIN IMMEDIATE;
CREATE TABLE record (cluster TEXT PRIMARY KEY, revision INTEGER NOT NULL, body TEXT NOT NULL);
CREATE TABLE event (number INTEGER PRIMARY KEY AUTOINCREMENT, cluster TEXT NOT NULL, body TEXT NOT NULL);
CREATE INDEX event_by_cluster ON event (cluster, number);{"".join(TABLES.values())}
PRAGMA user_version = {SCHEMA_VERSION};
COMMIT;
"""

_CAUSES: Final = (
    ("SQLITE_FULL", "the disk is full", "free space on its file system; the next save then works"),
    (
        "SQLITE_IOERR",
        "the disk fails or is full",
        "see df and dmesg; the next save tries again",
    ),
    ("SQLITE_CORRUPT", "the file is damaged", ""),
    ("SQLITE_NOTADB", "the file is no store of pgvigil, or damaged", ""),
    (
        "SQLITE_READONLY",
        "the file cannot be written",
        "check its owner and rights, and the disk",
    ),
    ("SQLITE_CANTOPEN", "the file cannot be opened", "check the owner and rights of the directory"),
    ("SQLITE_PERM", "the file cannot be opened", "check the owner and rights of the directory"),
    ("SQLITE_BUSY", "another program has it locked", "end the program that holds it: fuser -v"),
    ("SQLITE_LOCKED", "another program has it locked", "end the program that holds it: fuser -v"),
)
_DAMAGED: Final = (
    "databases run on; stop pgvigil, move the file aside and start it again: it learns the clusters "
    "anew from what runs; see docs/operate/store.md"
)

T = TypeVar("T")
Body = tuple[ClusterName, str]
"""An event as it is stored: its cluster, its JSON."""


class SqliteStore:
    """`ports.contract.Store` on SQLite. A StateLock keeps a second process away.

    The file is opened by `open`, else with the first call, and again with the next one if that failed.
    A call that is cancelled may still be carried out. After a StoreError from `save` the record may be
    read again to see what is stored; nothing is ever stored in part.
    """

    def __init__(self, path: Path, *, events_kept: int = EVENTS_KEPT) -> None:
        """Name the file; nothing is touched yet."""
        self.path = path
        self._events_kept = events_kept
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pgvigil-store")
        self._packer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pgvigil-recordings")
        self._connection: sqlite3.Connection | None = None
        self._places: tuple[tuple[int, int] | None, ...] = ()
        self._closed = False
        self._waiting, self._counting = 0, Lock()
        self._batches = Batches[Body](lambda take: self._do(lambda: self._add(take)))

    @classmethod
    async def open(cls, state_dir: Path, *, events_kept: int = EVENTS_KEPT) -> Self:
        """Open or create the store. Raises StoreError: damaged, not ours, newer than us, not accessible."""
        store = cls(state_dir / FILE_NAME, events_kept=events_kept)
        try:
            await store._do(lambda: store._db)
        except BaseException:
            store._thread.shutdown(wait=False)
            raise
        return store

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Finish what was asked before, then close the file. Safe to call twice."""
        with suppress(StoreError):
            await self._do(self._close)
        self._thread.shutdown(wait=False)
        self._packer.shutdown(wait=False)

    async def load(self, cluster: ClusterName) -> ClusterRecord | None:
        """The record, None if the cluster was never managed."""
        return await self._do(lambda: self._load(cluster))

    async def save(self, record: ClusterRecord, events: Sequence[Event] = ()) -> ClusterRecord:
        """Durable on return, with its new revision. Raises StoreError, also if it was changed meanwhile."""
        return await self._do(lambda: self._save(record, events))

    async def add(self, events: Sequence[Event]) -> None:
        """Append events, together with those that others add until the thread comes to them."""
        if events:
            await self._batches.add([_body(event) for event in events])

    async def events(self, cluster: ClusterName | None, *, limit: int, after: int = 0) -> tuple[Event, ...]:
        """The newest `limit` events with a number above `after`, oldest first."""
        return await self._do(lambda: self._events(cluster, max(limit, 0), after))

    async def event(self, number: int) -> Event | None:
        """The event of that number; None: there is none, or not any more."""
        return await self._do(lambda: self._event(number))

    async def keep(self, draft: Draft) -> None:
        """Keep a recording; the oldest make room. Packed beside the store's thread: a save does not wait."""
        body = await asyncio.get_running_loop().run_in_executor(self._packer, packed, draft)
        await self._do(lambda: self._keep(draft, body))

    async def recordings(self, cluster: ClusterName) -> tuple[Kept, ...]:
        """The recordings that are kept, oldest first."""
        return await self._do(lambda: shelf.kept(self._db, cluster))

    async def recording(self, cluster: ClusterName, at: datetime) -> bytes | None:
        """The recording of that moment, as a file."""
        return await self._do(lambda: shelf.of_moment(self._db, cluster, at))

    async def take_in(self, events: Sequence[Event], recordings: Sequence[tuple[Kept, bytes]]) -> None:
        """Keep another store's under the numbers that they have; this one is empty."""

        def work() -> None:
            with self._transaction() as db:
                rows = [(e.number, e.cluster, to_json(replace(e, number=0))) for e in events]
                db.executemany("INSERT INTO event (number, cluster, body) VALUES (?, ?, ?)", rows)
                shelf.take_in(db, recordings)

        await self._do(work)

    async def add_version(self, version: ParameterVersion) -> None:
        """Make a version durable, and forget its trial. Raises StoreError if its number is taken."""

        def work() -> None:
            with self._transaction() as db:
                versions.add(db, version)

        await self._do(work)

    async def versions(self, cluster: ClusterName, *, limit: int) -> tuple[ParameterVersion, ...]:
        """The newest `limit` versions, oldest first."""
        return await self._do(lambda: versions.newest(self._db, cluster, max(limit, 0)))

    async def note_trial(self, cluster: ClusterName, trial: Trial | None) -> None:
        """Make durable what is being tried on the cluster's nodes. None: nothing any more."""

        def work() -> None:
            with self._transaction() as db:
                versions.note_trial(db, cluster, trial)

        await self._do(work)

    async def trial(self, cluster: ClusterName) -> Trial | None:
        """What is noted as being tried."""
        return await self._do(lambda: versions.trial(self._db, cluster))

    async def _do(self, work: Callable[[], T]) -> T:
        """Do `work` in the store's thread, after all that was asked before."""
        if self._waiting >= WAITING_AT_MOST:
            raise StoreError(
                f"{self.path} does not keep up", detail=f"{self._waiting} calls wait for the disk"
            )
        try:
            job = self._thread.submit(self._guarded, work)
        except RuntimeError as why:
            raise StoreError(f"{self.path} is closed") from why
        with self._counting:
            self._waiting += 1
        job.add_done_callback(self._one_less)
        return await asyncio.shield(asyncio.wrap_future(job))

    def _one_less(self, _: object) -> None:
        with self._counting:
            self._waiting -= 1

    # From here on everything runs in the store's thread.

    def _guarded(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except sqlite3.Error as why:
            raise self._failure(why) from why
        except OSError as why:
            raise StoreError(f"{self.path} cannot be used", detail=str(why)) from why

    def _failure(self, why: sqlite3.Error) -> StoreError:
        """The error for a person. Its name is missing where Python itself complains."""
        name = getattr(why, "sqlite_errorname", None) or type(why).__name__
        for prefix, cause, hint in _CAUSES:
            if name.startswith(prefix):
                return StoreError(f"{self.path}: {cause}", detail=f"{why} ({name})", hint=hint or _DAMAGED)
        return StoreError(f"{self.path} cannot be used", detail=f"{why} ({name})")

    def _open(self) -> sqlite3.Connection:
        make_state_dir(self.path.parent)
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # for its owner alone
        connection = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """See that the file is one of ours and sound, before anything in it is changed."""
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"{self.path} was written by a newer pgvigil",
                detail=f"it has version {version}, this one knows {SCHEMA_VERSION}; nothing was changed",
                hint="use the newer pgvigil",
            )
        if version == 0 and connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            raise StoreError(
                f"{self.path} is another program's database",
                detail="nothing was changed",
                hint="name another state_dir: in the configuration",
            )
        if (found := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise StoreError(f"{self.path}: the file is damaged", detail=str(found), hint=_DAMAGED)
        if (mode := connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]) != "wal":
            raise StoreError(
                f"{self.path}: its file system takes no write-ahead log",
                detail=f"journal_mode stays {mode}",
                hint="name a state_dir: on a local disk",
            )
        connection.execute("PRAGMA synchronous = FULL")
        if version == 0:
            connection.executescript(_SCHEMA)
        elif version < SCHEMA_VERSION:
            renew(connection, version, SCHEMA_VERSION)

    def _close(self) -> None:
        self._closed = True
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @property
    def _db(self) -> sqlite3.Connection:
        if self._closed:
            raise StoreError(f"{self.path} is closed")
        if self._connection is None:
            self._connection = self._open()
            self._places = self._found()
        elif any(now != then for now, then in zip(self._found(), self._places, strict=True) if then):
            raise StoreError(
                f"{self.path} was removed or replaced while pgvigil ran",
                detail="what is written now would be lost with it",
                hint="databases run on; put it back, or start pgvigil again: it then learns the clusters "
                "anew from what runs, and pauses are forgotten; see docs/operate/store.md",
            )
        return self._connection

    def _found(self) -> tuple[tuple[int, int] | None, ...]:
        """Which files lie at our paths: SQLite would go on writing into one that was removed."""
        return tuple(_identity(Path(f"{self.path}{suffix}")) for suffix in ("", "-wal"))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
            db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                db.execute("ROLLBACK")  # SQLite may have done so itself
            raise

    def _load(self, cluster: ClusterName) -> ClusterRecord | None:
        row = self._db.execute("SELECT revision, body FROM record WHERE cluster = ?", (cluster,)).fetchone()
        return replace(from_json(ClusterRecord, row[1]), revision=row[0]) if row else None

    def _save(self, record: ClusterRecord, events: Sequence[Event]) -> ClusterRecord:
        saved = replace(record, revision=record.revision + 1)
        with self._transaction() as db:
            row = db.execute("SELECT revision FROM record WHERE cluster = ?", (record.cluster,)).fetchone()
            stored: int = row[0] if row else 0
            if stored != record.revision:
                raise record_changed(record, stored)
            db.execute(
                "INSERT INTO record (cluster, revision, body) VALUES (?, ?, ?)"
                " ON CONFLICT (cluster) DO UPDATE SET revision = excluded.revision, body = excluded.body",
                (saved.cluster, saved.revision, to_json(saved)),
            )
            self._append(db, [_body(event) for event in events])
        return saved

    def _add(self, take: Callable[[], Sequence[Body]]) -> None:
        bodies = take()
        with self._transaction() as db:
            self._append(db, bodies)

    def _append(self, db: sqlite3.Connection, bodies: Sequence[Body]) -> None:
        db.executemany("INSERT INTO event (cluster, body) VALUES (?, ?)", bodies)
        if bodies:
            db.execute(
                "DELETE FROM event WHERE number <= (SELECT max(number) FROM event) - ?", (self._events_kept,)
            )

    def _keep(self, draft: Draft, body: bytes) -> None:
        with self._transaction() as db:
            shelf.keep(db, draft, body)

    def _event(self, number: int) -> Event | None:
        row = self._db.execute("SELECT body FROM event WHERE number = ?", (number,)).fetchone()
        return replace(from_json(Event, row[0]), number=number) if row else None

    def _events(self, cluster: ClusterName | None, limit: int, after: int) -> tuple[Event, ...]:
        of_cluster, names = ("AND cluster = ?", (cluster,)) if cluster else ("", ())
        rows = self._db.execute(
            f"SELECT number, body FROM event WHERE number > ? {of_cluster} ORDER BY number DESC LIMIT ?",  # noqa: S608  # no text from outside
            (after, *names, limit),
        ).fetchall()
        return tuple(replace(from_json(Event, body), number=number) for number, body in reversed(rows))


def _body(event: Event) -> Body:
    return event.cluster, to_json(replace(event, number=0))


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
