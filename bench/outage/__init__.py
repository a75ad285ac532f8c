"""What `bench/failover.py` is made of: floors by hand, pgvigil's runs, and the table."""
