"""What `render` writes: texts for pg_hba.conf, sudoers, systemd and openssl, checked by those programs."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pgvigil.act import service
from pgvigil.act.bench import Place
from pgvigil.act.service import supervisor_stop
from pgvigil.config.certificates import certificates
from pgvigil.config.hba import pg_hba
from pgvigil.config.load import parse
from pgvigil.config.service_unit import Service, service_unit
from pgvigil.config.sudoers import sudoers
from pgvigil.controller import guards
from pgvigil.errors import UsageError
from pgvigil.model.record import Paths
from pgvigil.model.spec import ClusterSpec

TLS = "sslmode: verify-full, sslrootcert: /etc/ca.crt, sslcert: /etc/c.crt, sslkey: /etc/c.key"
SUDO = "{control: {systemd: postgresql@16-main, sudo: true}}"


def cluster(settings: str = "", nodes: str = "{pg1: 10.0.0.11, pg2: db2.example.org}") -> ClusterSpec:
    """From its YAML, as users write it."""
    lines = [f"nodes: {nodes}", *settings.splitlines()]
    text = "clusters:\n  orders:\n" + "".join(f"    {line}\n" for line in lines)
    return parse(text.encode(), Path("/etc/pgvigil/pgvigil.yaml"), {}).clusters[0]


def rows(spec: ClusterSpec, *controllers: str) -> list[list[str]]:
    return [line.split(maxsplit=4) for line in pg_hba(spec, controllers).splitlines() if line[:1] == "h"]


@pytest.mark.parametrize(
    ("login", "kind", "method"),
    [
        ("user: w", "host", "scram-sha-256"),
        ("user: w, sslmode: prefer", "host", "scram-sha-256"),
        ("user: w, sslmode: require, passfile: /p", "hostssl", "scram-sha-256"),
        (f"user: w, {TLS}", "hostssl", "cert"),
        (f"user: w, passfile: /p, {TLS}", "hostssl", "scram-sha-256 clientcert=verify-full"),
        ("user: w, gssencmode: require, require_auth: gss", "hostgssenc", "gss"),
    ],
)
def test_a_line_asks_for_what_the_login_can_give(login: str, kind: str, method: str) -> None:
    spec = cluster(f"postgres: {{{login}}}\nreplication: {{{login}}}")
    for row in rows(spec, "10.0.0.5"):
        assert (row[0], row[2], row[4]) == (kind, "w", method)


def test_every_node_lets_in_the_controllers_and_all_other_nodes() -> None:
    spec = cluster("replication: {user: streamer}\npostgres: {user: watcher, dbname: ops}")
    assert rows(spec, "10.0.0.5", "fd00::5") == [
        ["host", "ops", "watcher", "10.0.0.5/32", "scram-sha-256"],
        ["host", "ops", "watcher", "fd00::5/128", "scram-sha-256"],
        ["host", "replication", "streamer", "db2.example.org", "scram-sha-256"],
        ["host", "postgres", "streamer", "db2.example.org", "scram-sha-256"],
        ["host", "ops", "watcher", "10.0.0.5/32", "scram-sha-256"],
        ["host", "ops", "watcher", "fd00::5/128", "scram-sha-256"],
        ["host", "replication", "streamer", "10.0.0.11/32", "scram-sha-256"],
        ["host", "postgres", "streamer", "10.0.0.11/32", "scram-sha-256"],
    ]


def test_words_with_a_meaning_are_quoted() -> None:
    spec = cluster("postgres: {user: all, dbname: replication}\nreplication: {user: 'a b'}")
    assert 'host  "replication"  "all"' in re.sub(" +", "  ", pg_hba(spec, ["c"]))
    assert '"a b"' in pg_hba(spec, ["c"])


def test_sudoers_has_the_very_commands_that_are_run() -> None:
    nodes = rf"{{pg1: {{host: a, postgres: {SUDO}}}, pg2: {{host: b, control: pg_ctl}}}}"
    spec = cluster("shell: {via: ssh, user: pg-admin}\nfencing: {guard: true}", nodes)
    node, text = spec.nodes[0], sudoers(spec)
    said = [line.split("NOPASSWD: ")[1] for line in text.splitlines() if "NOPASSWD" in line]
    place = Place(node, None, "/data", "", "")  # type: ignore[arg-type]  # its shell is not used
    site = guards._Site(spec, node, None, Paths("/data", ""), "postgres", "sudo -n systemctl")  # type: ignore[arg-type]
    lines = (supervisor_stop(place), service._start_line(place), service._restart_line(place))
    run = re.findall(r"sudo -n ([^&|>]+?)(?= >| &&|$)", " && ".join((*lines, guards._start(site))))
    for command in run:
        assert f"/usr/bin/{' '.join(shlex.split(command))}" in said, command
    assert len(run) == 7
    assert all(line.startswith("pg-admin ALL=(root)") for line in text.splitlines() if "NOPASSWD" in line)
    assert "pg2" not in text


def test_no_other_verb_of_systemctl_is_used_anywhere() -> None:
    source = Path(__file__).parents[3] / "src" / "pgvigil"
    texts = [file.read_text() for part in ("act", "controller") for file in (source / part).rglob("*.py")]
    verbs = set(re.findall(r"""(?:systemctl\} |_systemctl\(\w+, ")([a-z-]+)""", "\n".join(texts)))
    told = sudoers(cluster(f"fencing: {{guard: true}}\npostgres: {SUDO}"))
    assert {"start", "stop", "restart", "enable", "daemon-reload"} <= verbs
    assert verbs <= set(re.findall(r"/systemctl (\S+)", told))


def test_a_backslash_in_a_units_name_comes_through() -> None:
    nodes = r"{pg1: {host: a, postgres: {control: {systemd: 'pg\x2d16', sudo: true}}}, pg2: b}"
    assert r"systemctl start pg\\\\x2d16" in sudoers(cluster("", nodes))


def test_without_sudo_there_are_no_lines() -> None:
    with pytest.raises(UsageError, match="nothing in orders is run by sudo"):
        sudoers(cluster("postgres: {control: pg_ctl}"))


def test_visudo_accepts_the_lines(tmp_path: Path) -> None:
    visudo = shutil.which("visudo", path=f"{os.environ['PATH']}:/usr/sbin")
    if visudo is None:
        pytest.skip("needs visudo")
    file = tmp_path / "pgvigil"
    file.write_text(sudoers(cluster(f"postgres: {SUDO}\nfencing: {{guard: true}}\nshell: {{user: 'a b'}}")))
    done = subprocess.run([visudo, "-cf", file], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr


def unit(*clusters: ClusterSpec, **changes: str) -> str:
    program = (sys.executable, "-m", "pgvigil")
    told: dict[str, Any] = {
        "config_file": "/etc/pgvigil/pgvigil.yaml",
        "state_dir": "/var/lib/pgvigil",
        "socket": "/var/lib/pgvigil/pgvigil.sock",
        "user": "",
    }
    return service_unit(Service(program, clusters=clusters, **{**told, **changes}))


REMOTE = cluster("shell: ssh\nreference_targets: [10.0.0.1]\nhooks: {on_event: [/bin/true]}")
LOCAL = cluster("shell: local")
SWITCHING = cluster("shell: {via: local, user: postgres}")


def test_the_unit_is_shut_in_where_no_server_lives_beside() -> None:
    text = unit(REMOTE)
    for line in ("User=pgvigil", "ProtectSystem=strict", "NoNewPrivileges=yes", "StateDirectory=pgvigil"):
        assert line in text.splitlines()
    assert "AmbientCapabilities=CAP_NET_RAW" in text
    assert "CapabilityBoundingSet=\n" in unit(cluster("shell: ssh"))


def test_what_a_pgbouncer_needs_is_open() -> None:
    login = (
        "host: localhost, passfile: $CREDENTIALS_DIRECTORY/console, databases: [app], file: /etc/b/orders.ini"
    )
    lines = unit(cluster(f"shell: ssh\nendpoints: [{{pgbouncer: {{{login}}}}}]")).splitlines()
    assert "ReadWritePaths=/etc/b" in lines
    assert "LoadCredential=console:/etc/pgvigil/credentials/console" in lines
    assert "User=pgvigil" in lines
    other = login + ", shell: {via: local, user: bouncer}"
    assert "User=root" in unit(cluster(f"shell: ssh\nendpoints: [{{pgbouncer: {{{other}}}}}]")).splitlines()


@pytest.mark.parametrize(("spec", "user"), [(LOCAL, "postgres"), (SWITCHING, "root")])
def test_servers_on_the_same_host_inherit_nothing_and_live_on(spec: ClusterSpec, user: str) -> None:
    text = unit(REMOTE, spec)
    assert f"User={user}" in text.splitlines()
    assert "KillMode=process" in text.splitlines()
    assert "Protect" not in text
    assert "NoNewPrivileges=yes" not in text


def test_the_words_that_are_run_are_quoted_one_by_one() -> None:
    text = unit(REMOTE, config_file="/etc/my files/50%.yaml")
    assert f'ExecStart={sys.executable} -m pgvigil run --config "/etc/my files/50%%.yaml"' in text


def test_places_elsewhere_may_be_written() -> None:
    text = unit(REMOTE, state_dir="/srv/my state", socket="/run/pgvigil/s")
    assert 'ReadWritePaths="/srv/my state"' in text
    assert "RuntimeDirectory=pgvigil" in text


def test_credentials_that_the_configuration_names_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    settings = """\
postgres: {passfile: $CREDENTIALS_DIRECTORY/pgpass, password_command: 'cat "${CREDENTIALS_DIRECTORY}/word"'}
shell: {via: ssh, key: $CREDENTIALS_DIRECTORY/id_ed25519}"""
    text = unit(cluster(settings))
    assert re.findall("LoadCredential=([^:]+):", text) == ["id_ed25519", "pgpass", "word"]
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/pgvigil.service")
    login = dict(cluster(settings).nodes[0].conninfo)
    assert login["passfile"] == "/run/credentials/pgvigil.service/pgpass"


# S1-10, S4-05
@pytest.mark.parametrize("spec", [REMOTE, LOCAL, SWITCHING])
def test_systemd_accepts_the_unit(spec: ClusterSpec, tmp_path: Path) -> None:
    if (analyze := shutil.which("systemd-analyze")) is None:
        pytest.skip("needs systemd-analyze")
    file = tmp_path / "pgvigil.service"
    file.write_text(unit(spec, config_file="/etc/50% off/$x.yaml", state_dir="/srv/a b"))
    done = subprocess.run(
        [analyze, "verify", "--man=no", file], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_typing_error_in_a_unit_would_be_found(tmp_path: Path) -> None:
    if (analyze := shutil.which("systemd-analyze")) is None:
        pytest.skip("needs systemd-analyze")
    file = tmp_path / "pgvigil.service"
    file.write_text(unit(REMOTE).replace("ProtectHome=", "ProtectHouse="))
    done = subprocess.run(
        [analyze, "verify", "--man=no", file], capture_output=True, text=True, timeout=60, check=False
    )
    assert "ProtectHouse" in done.stderr


# S4-12
def test_the_script_makes_certificates_that_fit_and_keeps_what_is_there(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    spec = cluster(
        "postgres: {user: watcher}\nreplication: {user: 'odd/na me'}", "{pg1: 10.0.0.11, pg2: db2}"
    )
    script = tmp_path / "make.sh"
    script.write_text(certificates(spec))

    def make() -> str:
        done = subprocess.run(
            ["sh", script, tmp_path / "out"], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    def openssl(*words: str) -> str:
        done = subprocess.run(
            ["openssl", *words], cwd=tmp_path / "out", capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout

    assert "made" in make()
    for file, purpose in (("pg1/server", "sslserver"), ("pg2/server", "sslserver"), ("watcher", "sslclient")):
        assert "OK" in openssl("verify", "-purpose", purpose, "-CAfile", "ca.crt", f"{file}.crt")
        assert (tmp_path / "out" / f"{file}.key").stat().st_mode & 0o077 == 0
    assert "10.0.0.11 does match" in openssl(
        "x509", "-in", "pg1/server.crt", "-noout", "-checkip", "10.0.0.11"
    )
    assert "db2 does match" in openssl("x509", "-in", "pg2/server.crt", "-noout", "-checkhost", "db2")
    assert "CN = odd/na me" in openssl("x509", "-in", "odd_na_me.crt", "-noout", "-subject")
    before = (tmp_path / "out" / "ca.crt").read_bytes()
    assert "made" not in make()
    assert (tmp_path / "out" / "ca.crt").read_bytes() == before
