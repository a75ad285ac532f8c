"""The files that TLS logins name: our own ones here, those of standbys and rewinds on the nodes.

What libpq makes of a file that is missing or open to others: manual 34.19, and its `fe-secure-openssl.c`.
"""

from collections.abc import Iterator
from typing import Final

from pgvigil.controller.survey.items import at, error, warning
from pgvigil.controller.survey.seen import ClusterSeen, FileSeen
from pgvigil.model.check import CheckItem

VERIFIES: Final = frozenset({"verify-ca", "verify-full"})
WHAT: Final = {
    "sslrootcert": "certificates of the authorities",
    "sslcert": "client certificate",
    "sslkey": "key",
    "sslcrl": "list of revoked certificates",
}


def tls(seen: ClusterSeen) -> Iterator[CheckItem]:
    """Each file that is not as libpq wants it, where it is used."""
    for file in seen.tls_files:
        yield from _file(seen.spec.name, file, "our", "")
    for node in seen.nodes:
        if host := node.host_answer:
            for file in host.tls_files:
                yield from _file(at(seen, node), file, "replication's", "on the node: ")


def all_well(seen: ClusterSeen) -> str:
    """What is said when nothing was found; empty when there was nothing to look at."""
    own = len(seen.tls_files)
    theirs = sum(len(node.host_answer.tls_files) for node in seen.nodes if node.host_answer)
    return f"TLS: {own} files here and {theirs} on the nodes are as libpq wants them" if own + theirs else ""


def _file(place: str, file: FileSeen, whose: str, where: str) -> Iterator[CheckItem]:
    if file.sslmode == "disable":
        return
    name = f"{whose} {WHAT[file.keyword]} {file.path} ({file.keyword})"
    if file.mode is None or not file.regular:
        what = "is not there" if file.mode is None else "is no file"
        fix = f"{where}put it there, or correct {file.keyword}: in the configuration; see ls -lL {file.path}"
        made = warning if _goes_on_without(file) else error
        yield made(place, f"{name} {what}{_meaning(file)}", fix)
    elif not file.readable:
        yield error(place, f"{name} cannot be read by us there", f"{where}chown it; see ls -lL {file.path}")
    elif file.keyword == "sslkey" and file.mode & (0o037 if file.of_root else 0o077):
        limit = "0640" if file.of_root else "0600"
        what = f"is open to others (mode {file.mode:04o}), so libpq refuses every login with it"
        yield error(place, f"{name} {what}", f"{where}chmod {limit} {file.path}")


def _goes_on_without(file: FileSeen) -> bool:
    return file.keyword == "sslcrl" or (file.keyword == "sslrootcert" and file.sslmode not in VERIFIES)


def _meaning(file: FileSeen) -> str:
    """What libpq does then."""
    match file.keyword:
        case "sslrootcert" if file.sslmode in VERIFIES:
            return ", so no connection is made"
        case "sslrootcert":
            return f": with sslmode {file.sslmode or 'prefer'} any server is believed then"
        case "sslcert":
            return ": libpq logs in without a certificate then"
        case "sslcrl":
            return ": what was revoked is believed then"
        case _:
            return ", so no login with the certificate succeeds"
