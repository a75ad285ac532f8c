"""A picture of a real copy with its bar: `python -m tests.clone_picture > docs/operate/clone.svg`.

A primary of some gigabytes, an empty node, and `pgvigil clone` on a terminal. The picture is what that showed
half-way and at the end. Takes a minute or two, and twice the size on the disk.
"""

import argparse
import io
import os
import pty
import re
import subprocess
import sys
from typing import Final

from rich.console import Console
from rich.text import Text

from pgvigil.demo.servers import Servers, config_text

COLUMNS: Final = 100
HALF_WAY: Final = re.compile(rb" [56][0-9] %[^\r]* left")
COMMAND: Final = "pgvigil clone orders pg2 --max-rate 60MB --yes"
FILL: Final = """
create table orders as select i, repeat(md5(i::text), 56) as what from generate_series(1, {rows}) as i
"""
ROWS_OF_A_MEGABYTE: Final = 512


def shown(data: bytes) -> list[Text]:
    """The lines of a terminal after these bytes, which only ever rewrite their last line."""
    lines = data.decode(errors="replace").replace("\r\n", "\n").split("\n")
    last = [re.split(r"\r(?:\x1b\[2K)?", line.removesuffix("\r"))[-1] for line in lines]
    plain = [re.sub(r"\x1b\[\?\d+[hl]|\x1b\[\d*[AKJ]", "", line) for line in last]
    return [Text.from_ansi(line) for line in plain]


def watch(servers: Servers) -> tuple[bytes, bytes]:
    """Run the command on a terminal; what it had printed half-way, and in the end."""
    leader, follower = pty.openpty()
    env = {**os.environ, "PGVIGIL_CONFIG": str(servers.home / "pgvigil.yaml"), "TERM": "xterm-256color"}
    env |= {"COLUMNS": str(COLUMNS), "LINES": "30", "COLORTERM": "truecolor"}
    words = [sys.executable, "-m", *COMMAND.split()]
    process = subprocess.Popen(words, stdin=follower, stdout=follower, stderr=follower, env=env)
    os.close(follower)
    data, half = b"", b""
    while chunk := _read(leader):
        data += chunk
        if not half and (found := HALF_WAY.search(data)):
            half = data[: found.end()]
    if process.wait():
        raise SystemExit(data.decode(errors="replace"))
    return half, data


def _read(leader: int) -> bytes:
    try:
        return os.read(leader, 65536)
    except OSError:  # how Linux says that nobody has the other end any more
        return b""


def picture(half: bytes, end: bytes) -> str:
    """Both moments below each other, as SVG without anything from elsewhere."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ {COMMAND}", style="bold"))
    for line in shown(half):
        console.print(line)
    console.print(Text("… and in the end:", style="dim italic"))
    for line in shown(end):
        console.print(line)
    svg = console.export_svg(title="pgvigil clone")
    return re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)


def main() -> None:
    """Print the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=2048)
    wanted = parser.parse_args()
    with Servers(settings={"fsync": False, "max_wal_size": "1GB", "wal_keep_size": 0}) as servers:
        primary = servers.make_primary("pg1")
        servers._new("pg2")
        primary.sql(FILL.format(rows=wanted.megabytes * ROWS_OF_A_MEGABYTE))
        (servers.home / "pgvigil.yaml").write_text(config_text(servers, "orders"))
        print(picture(*watch(servers)))


if __name__ == "__main__":
    main()
