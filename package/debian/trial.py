"""Tries the Debian package, as root: `make deb-trial OLD=… NEW=…`.

On a copy of this machine's files that is thrown away (overlayfs in a mount namespace): install, guard a real
cluster of three, upgrade over the live store, fail over, remove, purge. Prints a table; ends with 1 at the
first thing that is not as it should be. No systemd runs there: the controller is started by hand.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from pgvigil.demo.servers import Servers, config_text, wait_until
from pgvigil.demo.writer import Writer

RUN = ["/usr/bin/pgvigil", "run"]


class Machine:
    """A copy of this one, whose /tmp, /proc, /dev and network are this one's."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, *words: str) -> str:
        """What it prints. Raises CalledProcessError with what it said."""
        done = subprocess.run(["chroot", self.root, *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(words)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def has(self, path: str) -> bool:
        return (self.root / path.lstrip("/")).exists()

    @contextmanager
    def controller(self) -> Iterator[None]:
        with (self.root / "var/log/pgvigil.log").open("ab") as log:
            process = subprocess.Popen(["chroot", self.root, *RUN], stdout=log, stderr=log)
        try:
            wait_until(lambda: self.status().get("health") == "ok", within_s=60, what="all to be well")
            yield
        finally:
            process.terminate()
            process.wait(30)

    def status(self) -> dict[str, object]:
        words = ["chroot", str(self.root), "pgvigil", "status", "--json"]
        told = subprocess.run(words, capture_output=True, text=True, check=False)
        (found,) = json.loads(told.stdout) if told.stdout.strip() else ({},)
        return dict(found)


@contextmanager
def machine() -> Iterator[Machine]:
    """In the mount namespace of this process, which is to be its own: nothing is left when it ends."""
    base = Path(tempfile.mkdtemp(prefix="pgvigil-trial-", dir="/var/tmp"))
    mounts = [base]
    _sh("mount", "-t", "tmpfs", "tmpfs", str(base))
    root = base / "root"
    for folder in ("upper", "work", "root"):
        (base / folder).mkdir()
    _sh(
        "mount",
        "-t",
        "overlay",
        "overlay",
        "-o",
        f"lowerdir=/,upperdir={base}/upper,workdir={base}/work",
        str(root),
    )
    mounts.append(root)
    for shared in ("/proc", "/dev", "/sys", "/tmp"):
        _sh("mount", "--bind", shared, f"{root}{shared}")
        mounts.append(root / shared[1:])
    try:
        yield Machine(root)
    finally:
        for mount in reversed(mounts):
            _sh("umount", "--lazy", str(mount))
        shutil.rmtree(base)


def _sh(*words: str) -> None:
    subprocess.run(words, check=True)


class Report:
    """The table: what was done, how long it took."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def row(self, what: str, told: str = "") -> None:
        now = time.monotonic()
        print(f"| {what} | {told or 'as expected'} | {now - self._began:.1f} s |", flush=True)
        self._began = now


def expect(fact: object, what: str) -> None:
    """Raises SystemExit unless it holds."""
    if not fact:
        raise SystemExit(f"not so: {what}")


def installed(machine: Machine) -> None:
    """What an installed package brings."""
    owner = machine.run("stat", "-c", "%U %a", "/var/lib/pgvigil", "/etc/pgvigil").split()
    expect(owner == ["pgvigil", "700", "root", "750"], f"owners of state and configuration: {owner}")
    expect(machine.run("man", "-w", "pgvigil").strip().endswith("pgvigil.1.gz"), "a manual page")
    for path in ("/usr/lib/systemd/system/pgvigil.service", "/usr/share/bash-completion/completions/pgvigil"):
        expect(machine.has(path), path)
    sbom = json.loads((machine.root / "usr/share/doc/pgvigil/sbom/pgvigil.cdx.json").read_text())
    expect(len(sbom["components"]) > 30, "a list of what is inside")


def version(machine: Machine) -> str:
    return machine.run("dpkg-query", "-W", "-f", "${Package} ${Version}", "pgvigil")


def trial(machine: Machine, servers: Servers, old: str, new: str) -> None:
    report = Report()
    machine.run("dpkg", "-i", old)
    installed(machine)
    report.row(f"`dpkg -i {Path(old).name}`", version(machine))

    whole = yaml.safe_load(config_text(servers))
    whole["state_dir"] = "/var/lib/pgvigil"
    config = machine.root / "etc/pgvigil/pgvigil.yaml"
    config.write_text(yaml.safe_dump(whole))
    machine.run("pgvigil", "check")
    pg1, pg2, _ = servers.nodes.values()
    with machine.controller():
        machine.run("pgvigil", "switchover", "--to", "pg2", "--yes")
        before = machine.status()
    expect(before["primary"] == "pg2", f"pg2 to be the primary: {before['primary']}")
    report.row(
        "guards a running cluster, `pgvigil switchover --to pg2`", f"generation {before['generation']}"
    )

    machine.run("dpkg", "-i", new)
    installed(machine)
    with machine.controller():
        now = machine.status()
        expect(now["generation"] == before["generation"], f"the record of before: {now['generation']}")
        expect("switchover" in machine.run("pgvigil", "history"), "the history of before")
        report.row(f"`dpkg -i {Path(new).name}` over it", version(machine))
        with Writer({name: s.conninfo(dbname="postgres") for name, s in servers.nodes.items()}) as writer:
            wait_until(lambda: writer.acks, within_s=10, what="writes")
            pg2.kill_all()
            wait_until(
                lambda: machine.status().get("primary") not in (None, "pg2"), within_s=30, what="a failover"
            )
            wait_until(lambda: machine.status().get("health") == "ok", within_s=60, what="pg2 to be back")
        lost = writer.lost(pg1.conninfo(dbname="postgres"))
        expect(not lost, f"no row lost: {lost}")
    report.row("SIGKILL to the primary: failover and rejoin", f"{len(writer.acks)} rows acknowledged, 0 lost")

    machine.run("dpkg", "-r", "pgvigil")
    expect(not machine.has("/usr/bin/pgvigil") and not machine.has("/usr/lib/pgvigil"), "all files gone")
    expect(
        machine.has("/etc/pgvigil/pgvigil.yaml") and machine.has("/var/lib/pgvigil/pgvigil.db"), "state kept"
    )
    report.row("`dpkg -r pgvigil`", "configuration and state stay")
    machine.run("dpkg", "-P", "pgvigil")
    expect(not machine.has("/etc/pgvigil") and not machine.has("/var/lib/pgvigil"), "nothing left")
    expect("pgvigil" not in (machine.root / "etc/passwd").read_text(), "no account left")
    report.row("`dpkg -P pgvigil`", "nothing is left")


def make(servers: Servers) -> None:
    primary = servers.make_primary("pg1")
    for name in ("pg2", "pg3"):
        servers.add_standby(name, primary).wait_streaming(primary)


def main() -> None:
    if len(sys.argv) != 3:
        raise SystemExit(
            "name two packages: make deb-trial OLD=old.deb NEW=new.deb (`make deb` makes one of a commit)"
        )
    old, new = (str(Path(word).resolve()) for word in sys.argv[1:])
    here = tempfile.mkdtemp(prefix="pgvigil-packages-")
    try:
        packages = [shutil.copy(each, here) for each in (old, new)]
        with Servers() as servers, machine() as scratch:
            make(servers)
            trial(scratch, servers, *packages)
    finally:
        shutil.rmtree(here)


if __name__ == "__main__":
    main()
