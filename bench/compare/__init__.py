"""pgvigil beside Patroni, repmgr and pg_auto_failover: the same faults on the same hosts, in one run."""
