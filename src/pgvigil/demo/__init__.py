"""Real servers, a writer and a story: what `pgvigil demo` shows."""
