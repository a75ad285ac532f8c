"""What `bench/failover.py` is made of: floors by hand, the table, and its circumstances."""
