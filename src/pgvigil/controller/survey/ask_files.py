"""Looks at the files that TLS logins name: here, and through a shell on the nodes. Only reads."""

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from pgvigil.controller.survey.seen import FileSeen
from pgvigil.ports.host import quoted

TLS_FILES: Final = ("sslrootcert", "sslcert", "sslkey", "sslcrl")


def named(login: Mapping[str, str]) -> tuple[FileSeen, ...]:
    """The files that a login names, not looked at yet."""
    mode = login.get("sslmode", "")
    return tuple(
        FileSeen(keyword, path, mode)
        for keyword in TLS_FILES
        if (path := login.get(keyword, "")) and (keyword, path) != ("sslrootcert", "system")
    )


def look_here(logins: Iterable[Mapping[str, str]]) -> tuple[FileSeen, ...]:
    """Those on this host, each once. Blocks."""
    return tuple(dict.fromkeys(_looked_at(file) for login in logins for file in named(login)))


def look_script(login: Mapping[str, str]) -> str:
    """The same on a node, for its shell; a line each that `read_looks` reads."""
    return "\n".join(
        f'f={quoted(file.path)}; if [ -r "$f" ]; then r=1; else r=0; fi; '
        f'echo "tls={file.keyword} $r $(stat -L -c \'%u %a %F\' -- "$f" 2>/dev/null)"'
        for file in named(login)
    )


def read_looks(login: Mapping[str, str], lines: Iterable[str]) -> tuple[FileSeen, ...]:
    """What the script printed after `tls=`."""
    said = {words[0]: words[1:] for line in lines if (words := line.split(maxsplit=4))}
    return tuple(_read(file, said[file.keyword]) for file in named(login) if file.keyword in said)


def _read(file: FileSeen, words: list[str]) -> FileSeen:
    if len(words) < 4:
        return file
    readable, uid, mode, kind = words
    return FileSeen(
        file.keyword,
        file.path,
        file.sslmode,
        mode=int(mode, 8),
        regular=kind.startswith("regular"),
        of_root=uid == "0",
        readable=readable == "1",
    )


def _looked_at(file: FileSeen) -> FileSeen:
    try:
        found = Path(file.path).stat()
    except OSError:
        return file
    return FileSeen(
        file.keyword,
        file.path,
        file.sslmode,
        mode=stat.S_IMODE(found.st_mode),
        regular=stat.S_ISREG(found.st_mode),
        of_root=found.st_uid == 0,
        readable=os.access(file.path, os.R_OK),
    )
