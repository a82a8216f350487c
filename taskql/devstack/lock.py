"""A file lock that a process and its descendants can hold: it is free once the last of them is gone.

The kernel keeps it, so that no crash leaves it behind; nothing written in a file has to be believed.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

POLL_SECONDS = 0.01


class Lock:
    """`flock` on a file; whoever inherits `descriptor` holds it as well."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor = -1

    def acquire(self, seconds: float) -> bool:
        """Take the lock, waiting for it at most so long."""
        self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        deadline = time.monotonic() + seconds
        while not self._try():
            if time.monotonic() > deadline:
                self.let_go()
                return False
            time.sleep(POLL_SECONDS)
        return True

    def let_go(self) -> None:
        """Close our end only: those who inherited the lock keep it (LOCK_UN would take it from them)."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def taken_by(self, seconds: float) -> str | None:
        """Whose it is, in words, where it can't be taken within `seconds`; None once it is ours."""
        if self.acquire(seconds):
            return None
        if pids := self.holders():
            return f"pid {', '.join(map(str, pids))}"
        # Whom we did not find has ended meanwhile, or is not ours to look into.
        return None if self.acquire(0) else "another user's"

    def holders(self) -> list[int]:
        """The pids that hold it, as far as we may look into their open files."""
        return sorted(pid for pid in _pids() if _holds(pid, self.path))

    def _try(self) -> bool:
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _pids() -> Iterator[int]:
    return (int(entry) for entry in os.listdir("/proc") if entry.isdigit())


def _holds(pid: int, path: Path) -> bool:
    try:
        descriptors = os.listdir(f"/proc/{pid}/fd")
    except OSError:  # it has ended, or it is somebody else's
        return False
    return any(_has_lock(pid, descriptor, path) for descriptor in descriptors)


def _has_lock(pid: int, descriptor: str, path: Path) -> bool:
    """Whether it not only opened the file but has the lock (a backup only reads it)."""
    try:
        return (
            os.readlink(f"/proc/{pid}/fd/{descriptor}") == str(path)
            and "FLOCK" in Path(f"/proc/{pid}/fdinfo/{descriptor}").read_text()
        )
    except OSError:  # closed since they were listed: by its process, or as the one that listed our own
        return False
