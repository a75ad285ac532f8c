"""The first line of a configuration that we write: it tells editors where the file's JSON Schema is.

The schema is kept beside this module, made by `python -m pgvigil.config.reference --json-schema`.
"""

from pathlib import Path
from typing import Final

SCHEMA_FILE: Final = Path(__file__).with_name("pgvigil.schema.json")


def modeline() -> str:
    """A comment that yaml-language-server reads, in VS Code, Neovim, Emacs and others."""
    return f"# yaml-language-server: $schema={SCHEMA_FILE.as_uri()}"
