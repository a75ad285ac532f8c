"""A host's shell for tests: what it answers is the test's own; the rest does nothing."""

from collections.abc import Callable

from pgvigil.ports.contract import Output


class FakeShell:
    """The rest of a `contract.Shell` whose `ask` is the test's."""

    async def run(
        self,
        script: str,
        *,
        stdin: bytes = b"",
        within_s: float,
        on_line: Callable[[str], None] | None = None,
    ) -> Output:
        """Nobody does."""
        raise AssertionError("no job is run here")

    def keep(self, kept: bool) -> None:
        """Nothing is open."""

    def close(self) -> None:
        """Nothing is open."""
