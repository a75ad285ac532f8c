"""A shell script that makes certificates of an authority of one's own with `openssl`, for TLS everywhere.

Keys never pass through pgvigil: the script runs where its user likes. Pure text. Sources: manual 19.9.5
(creating certificates), 34.19.1 (which names `verify-full` compares), openssl-req(1).
"""

import ipaddress
from shlex import quote
from typing import Final

from pgvigil.model.spec import ClusterSpec

_SCRIPT: Final = """\
#!/bin/sh
# Certificates for TLS with verify-full, and for clients. Run it with: sh FILE [DIRECTORY [DAYS]]
# What is there already is kept: run it again for a new node. Keep ca.key where nobody else can read it;
# it is needed for that only.
set -eu
umask 077
out=${1:-certificates} days=${2:-3650}
mkdir -p "$out"
cd "$out"
key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }
issue() { # file, subject, extensions
  [ -f "$1.crt" ] && return
  mkdir -p "$(dirname "$1")"
  key "$1"
  printf '%s\\n' "$3" > ca.ext
  openssl req -new -key "$1.key" -subj "$2" -out ca.csr
  openssl x509 -req -in ca.csr -CA ca.crt -CAkey ca.key -CAcreateserial -sha256 -days "$days" \\
    -extfile ca.ext -out "$1.crt" 2>ca.log || { cat ca.log >&2; exit 1; }
  rm -f ca.ext ca.csr ca.log
  echo "made $out/$1.crt" >&2
}
if [ ! -f ca.crt ]; then
  key ca
  openssl req -x509 -new -key ca.key -sha256 -days "$days" -subj @CA@ -out ca.crt \\
    -addext 'keyUsage=critical,keyCertSign,cRLSign'
fi
@ISSUED@
cat >&2 <<'END'
@NEXT@
END
"""
_SERVER: Final = "extendedKeyUsage=serverAuth\nsubjectAltName="
_CLIENT: Final = "extendedKeyUsage=clientAuth"
_NEXT: Final = """\
On each node, in the same place everywhere, owned by the server's account, keys with mode 0600:
  NODE/server.crt NODE/server.key ca.crt {streamer}.crt {streamer}.key
postgresql.conf:
  ssl = on; ssl_cert_file, ssl_key_file, ssl_ca_file: the first three
On the controller: ca.crt {watcher}.crt {watcher}.key
pgvigil.yaml:
  postgres: {{user: {watcher}, sslmode: verify-full, sslrootcert: FILE, sslcert: FILE, sslkey: FILE}}
  replication: {{user: {streamer}, sslmode: verify-full, sslrootcert: FILE, sslcert: FILE, sslkey: FILE}}
pg_hba.conf: as `pgvigil render pg_hba` says then."""


def certificates(spec: ClusterSpec) -> str:
    """The script for a cluster: one certificate a node, for its host, and one for each of the two logins."""
    watcher = dict(spec.nodes[0].conninfo).get("user", "pgvigil")
    streamer = dict(spec.replication.conninfo).get("user", "replicator")
    calls = [
        _call(f"{node.name}/server", node.host, _SERVER + _alternative(node.host)) for node in spec.nodes
    ]
    calls += [_call(_file(user), user, _CLIENT) for user in dict.fromkeys((watcher, streamer))]
    next_steps = _NEXT.format(streamer=_file(streamer), watcher=_file(watcher))
    text = _SCRIPT.replace("@CA@", quote(_subject(f"pgvigil {spec.name}")))
    return text.replace("@ISSUED@", "\n".join(calls)).replace("@NEXT@", next_steps)


def _call(file: str, name: str, extensions: str) -> str:
    return f"issue {quote(file)} {quote(_subject(name))} {quote(extensions)}"


def _alternative(host: str) -> str:
    try:
        return f"IP:{ipaddress.ip_address(host)}"
    except ValueError:
        return f"DNS:{host}"


def _subject(name: str) -> str:
    """Its parts would be split at `/` and `+`."""
    return "/CN=" + "".join("\\" + c if c in "/+\\" else c for c in name)


def _file(user: str) -> str:
    return "".join(c if c.isalnum() or c in "._-" else "_" for c in user)
