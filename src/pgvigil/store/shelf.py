"""Recordings in SQLite: so many of each kind, the oldest make room. All of it runs in the store's thread."""

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from pgvigil.errors import StoreError
from pgvigil.model.recording import LAST_TICK, Draft, Kept, around
from pgvigil.model.units import ClusterName
from pgvigil.store.limits import CHANGES_KEPT, RECORDING_AT_MOST, RECORDINGS_KEPT

TABLE: Final = """
CREATE TABLE recording (number INTEGER PRIMARY KEY AUTOINCREMENT, cluster TEXT NOT NULL, began TEXT NOT NULL,
  ended TEXT NOT NULL, ticks INTEGER NOT NULL, changed INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX recording_by_cluster ON recording (cluster, began);
"""


def keep(db: sqlite3.Connection, draft: Draft, body: bytes) -> None:
    """Insert one, and drop the oldest of its kind beyond what is kept. Raises StoreError: too large."""
    if len(body) > RECORDING_AT_MOST:
        detail = f"{len(body)} bytes, {RECORDING_AT_MOST} at most"
        raise StoreError("the recording is too large to be kept", detail=detail)
    changed = int(draft.changed_primary)
    db.execute(
        "INSERT INTO recording (cluster, began, ended, ticks, changed, body) VALUES (?, ?, ?, ?, ?, ?)",
        (draft.spec.name, _text(draft.began), _text(draft.ended), len(draft.ticks), changed, body),
    )
    db.execute(
        "DELETE FROM recording WHERE changed = ? AND number NOT IN"
        " (SELECT number FROM recording WHERE changed = ? ORDER BY number DESC LIMIT ?)",
        (changed, changed, CHANGES_KEPT if changed else RECORDINGS_KEPT),
    )


def take_in(db: sqlite3.Connection, recordings: Sequence[tuple[Kept, bytes]]) -> None:
    """Insert another store's, under the numbers that they have."""
    db.executemany(
        "INSERT INTO recording (number, cluster, began, ended, ticks, changed, body)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (k.number, k.cluster, _text(k.began), _text(k.ended), k.ticks, int(k.changed_primary), body)
            for k, body in recordings
        ],
    )


def kept(db: sqlite3.Connection, cluster: ClusterName) -> tuple[Kept, ...]:
    """All of a cluster, oldest first."""
    rows = db.execute(
        "SELECT number, began, ended, ticks, length(body), changed FROM recording WHERE cluster = ?"
        " ORDER BY number",
        (cluster,),
    ).fetchall()
    return tuple(
        Kept(number, cluster, _time(began), _time(ended), ticks, size, bool(changed))
        for number, began, ended, ticks, size, changed in rows
    )


def of_moment(db: sqlite3.Connection, cluster: ClusterName, at: datetime) -> bytes | None:
    """The one that has most around this moment."""
    rows = db.execute(
        "SELECT number, began, ended FROM recording WHERE cluster = ? AND began <= ? AND ended >= ?",
        (cluster, _text(at), _text(at - LAST_TICK)),
    ).fetchall()
    best = max(rows, key=lambda row: around(_time(row[1]), _time(row[2]), at), default=None)
    if best is None:
        return None
    return bytes(db.execute("SELECT body FROM recording WHERE number = ?", best[:1]).fetchone()[0])


def _text(at: datetime) -> str:
    """Always as long, so that texts compare as times do."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
