"""One controller, or one command that works without a controller, per state directory."""

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

from pgvigil.errors import StoreError, Unsafe

LOCK_FILE = "lock"
IDENTITY_FILE = "controller-id"
POLL_S = 0.1


class StateLock:
    """Holds `STATE_DIR/lock` (or `name`) while entered; the kernel gives it up when the process ends.

    Entering waits `wait_s` at most, for a command that is just ending: then it raises Unsafe naming the
    holder's pid. Raises StoreError when the directory cannot be used.
    """

    def __init__(self, state_dir: Path, *, wait_s: float = 0.0, name: str = LOCK_FILE) -> None:
        self._path = state_dir / name
        self._wait_s = wait_s
        self._file: int | None = None

    def __enter__(self) -> Self:
        make_state_dir(self._path.parent)
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as why:
            raise StoreError(f"cannot open {self._path}", detail=str(why)) from why
        until = time.monotonic() + self._wait_s
        try:
            while not _free(file) and time.monotonic() < until:
                time.sleep(POLL_S)
            self._take(file)
        except BaseException:
            os.close(file)
            raise
        self._file = file
        return self

    def _take(self, file: int) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(file, 0)
            os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError as why:
            raise Unsafe(
                f"another pgvigil works with {self._path.parent}",
                detail=f"process {_holder(file)} holds {self._path}",
                hint="a running controller takes commands through its socket; or stop it first",
            ) from why
        except OSError as why:
            raise StoreError(f"cannot lock {self._path}", detail=str(why)) from why

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def make_state_dir(state_dir: Path) -> None:
    """Create the directory for its owner alone, if there is none. Raises StoreError."""
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as why:
        raise StoreError(
            f"cannot create the state directory {state_dir}",
            detail=str(why),
            hint="name a directory that pgvigil may write to with state_dir: in the configuration",
        ) from why


def identity(state_dir: Path) -> str:
    """What this state directory is called among controllers: made once. Raises StoreError."""
    make_state_dir(state_dir)
    file = state_dir / IDENTITY_FILE
    try:
        if not file.exists():
            file.write_text(f"{uuid4().hex}\n")
        return file.read_text().strip()
    except OSError as why:
        raise StoreError(f"cannot use {file}", detail=str(why)) from why


def _free(file: int) -> bool:
    """Whether the lock could be taken: then it is, by this descriptor."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _holder(file: int) -> str:
    """The pid that the holder wrote; it may not have come to that yet."""
    return os.pread(file, 32, 0).decode(errors="replace").strip() or "(unknown)"
