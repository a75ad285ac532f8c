"""Passwords that new roles get: found where libpq finds them, and turned into verifiers before they travel.

A server that gets only the verifier can neither log nor keep the password (manual 21.5: SCRAM).
"""

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo

from pgvigil.errors import ConfigError
from pgvigil.model.spec import NodeSpec
from pgvigil.ports.dial import conninfo, password_by_command


async def own_password(spec: NodeSpec) -> str:
    """The password with which we would log in at the node; empty: there is none.

    From `password_command`, the passfile, the service file or the environment. Raises ConfigError.
    """
    try:
        words = make_conninfo(conninfo(spec), **await password_by_command(spec))
        conn = pq.PGconn.connect_start(words.encode())
    except (psycopg.Error, OSError) as wrong:
        raise ConfigError(f"the password for {spec.name} cannot be read", detail=str(wrong).strip()) from None
    try:
        return conn.password.decode()
    finally:
        conn.finish()


def verifier(password: str, user: str) -> str:
    """What `ALTER ROLE … PASSWORD` stores of it: SCRAM-SHA-256, made here."""
    conn = pq.PGconn.connect_start(b"host=/nonexistent")  # libpq wants one, and asks it nothing
    try:
        return conn.encrypt_password(password.encode(), user.encode(), b"scram-sha-256").decode()
    finally:
        conn.finish()
