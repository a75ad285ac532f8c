"""All tests of pgvigil, from tables of cases to real servers under faults."""
