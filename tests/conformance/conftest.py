"""The same real servers as in `tests/postgres`, on PGVIGIL_MAJORS where that is set."""

from tests.postgres.conftest import binaries, eventually, servers, trio_of_servers

__all__ = ["binaries", "eventually", "servers", "trio_of_servers"]
