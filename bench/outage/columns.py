"""Tables of words, as every benchmark prints them."""

from collections.abc import Sequence


def as_text(head: Sequence[str], lines: Sequence[Sequence[str]], *, markdown: bool) -> str:
    """A table padded with spaces, or one for Markdown."""
    if markdown:
        return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *lines])
    every = [head, *lines]
    widths = [max(len(line[i]) for line in every) for i in range(len(head))]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in every]
    return "\n".join("  ".join(line).rstrip() for line in padded)
