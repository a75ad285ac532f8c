"""pgvigil keeps PostgreSQL streaming-replication clusters available, seen from outside."""

__version__ = "0.1.0"
