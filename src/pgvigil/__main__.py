"""`python -m pgvigil` is the `pgvigil` program."""

from pgvigil.cli.app import main

main()
