"""PID 1 of a lab host: mounts what is the host's own, starts sshd, reaps every orphan at once.

Run by `host.LabHost` as `unshare --pid --fork --mount-proc … python init.py HOME SSHD_CONFIG`; says
`ready` on standard output once sshd listens. Ends, and the whole host with it, when standard input
ends: the lab's process is gone. Imports nothing of ours, so that it starts fast.
"""

import os
import pwd
import shutil
import socket
import subprocess
import sys
import threading
import time

LOGIN = "postgres"


def main(home: str, sshd_config: str) -> None:
    """Never returns."""
    account = pwd.getpwnam(LOGIN)
    # Copies of other hosts' namespace mounts would keep those alive after they were deleted.
    subprocess.run(["umount", "--recursive", "--lazy", "/run/netns"], check=False, capture_output=True)
    subprocess.run(["mount", "--bind", home, account.pw_dir], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    os.mkdir("/run/sshd", 0o755)
    os.mkdir("/run/postgresql", 0o775)
    os.chown("/run/postgresql", account.pw_uid, account.pw_gid)
    program = shutil.which("sshd") or "/usr/sbin/sshd"
    sshd = subprocess.Popen(  # sshd insists on an absolute path
        [program, "-D", "-e", "-f", sshd_config], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    threading.Thread(target=_end_with_the_lab, daemon=True).start()
    threading.Thread(target=_say_ready, daemon=True).start()
    _reap(sshd.pid)


def _reap(sshd: int) -> None:
    while True:
        try:
            pid, _ = os.waitpid(-1, 0)
        except ChildProcessError:
            time.sleep(0.01)
            continue
        if pid == sshd:
            os._exit(1)


def _end_with_the_lab() -> None:
    while os.read(0, 1):
        pass
    os._exit(0)


def _say_ready() -> None:
    while True:
        try:
            socket.create_connection(("127.0.0.1", 22), timeout=1).close()
        except OSError:
            time.sleep(0.005)
            continue
        print("ready", flush=True)
        return


if __name__ == "__main__":
    main(*sys.argv[1:])
