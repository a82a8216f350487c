"""The data folder: what is where, and who else is there.

    data/ .gitignore  stack.lock  postgres/  sqs/  logs/  run/ (sockets; a link where its path is too long)

Invariant: it is private, and we only make ourselves at home in a folder that is new, empty, or ours.
"""

import os
import re
import shutil
import tempfile
from pathlib import Path

from taskql.devstack.errors import DevStackError
from taskql.devstack.identity import Identity
from taskql.devstack.lock import Lock

SOCKET_PATH_BYTES = 107
LONGEST_SOCKET = "postgres/.s.PGSQL.5432"
# PostgreSQL splits a list of folders at commas, and drivers do so with hosts; other signs would need quoting.
PLAIN_PATH = re.compile(r"[A-Za-z0-9/._-]+")
RUN_PREFIX = "taskql-"


class Folder:
    """A data folder and its parts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.logs = path / "logs"
        self.run = path / "run"
        self._lock = Lock(path / "stack.lock")

    def occupy(self, identity: Identity, patience: float) -> None:
        """Make it, take it for this process alone, and clear away a killed predecessor's sockets."""
        self._make()
        if holder := self._lock.taken_by(patience):
            raise DevStackError(
                f"another TaskQL stack is running on this data folder ({holder}): {self.path}; "
                "stop it or choose another with DATA=…"
            )
        identity.admit(self.path)
        (self.path / ".gitignore").write_text("*\n")
        self.logs.mkdir(mode=0o700, exist_ok=True)
        self._clear_run()
        self.run = self._make_run(identity)

    def leave(self) -> None:
        if self._lock.descriptor >= 0:
            self._clear_run()
            self._lock.let_go()

    def _make(self) -> None:
        make_parents(self.path)
        try:
            self.path.mkdir(mode=0o700, exist_ok=True)
            if any(self.path.iterdir()) and not self._lock.path.exists():
                raise DevStackError(
                    f"{self.path} holds other files; choose a new or empty folder with DATA=…"
                )
        except OSError as error:
            raise unusable(self.path, error) from error

    def _make_run(self, identity: Identity) -> Path:
        """The folder of the sockets: data/run, which is a link where its own path doesn't suit a socket."""
        link, run = self.path / "run", self.path / "run"
        if suits_sockets(link):
            link.mkdir()
        else:
            run = Path(tempfile.mkdtemp(prefix=RUN_PREFIX))
            link.symlink_to(run)
            if not suits_sockets(run):
                raise DevStackError(f"{run} is no path for sockets; set TMPDIR to a short, plain path")
        identity.admit(run)
        return run

    def _clear_run(self) -> None:
        link = self.path / "run"
        if link.is_symlink():
            target = link.readlink()
            if target.name.startswith(RUN_PREFIX) and _is_own_folder(target):
                shutil.rmtree(target)
            link.unlink()
        elif link.exists():
            shutil.rmtree(link)


def make_parents(path: Path) -> None:
    """Those that are missing; the rights of the others are not ours to change."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unusable(path, error) from error


def unusable(path: Path, error: OSError) -> DevStackError:
    return DevStackError(f"{path} can't be used ({error}); choose another folder with DATA=…")


def suits_sockets(run: Path) -> bool:
    return PLAIN_PATH.fullmatch(str(run)) is not None and len(str(run / LONGEST_SOCKET)) <= SOCKET_PATH_BYTES


def _is_own_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and path.stat().st_uid == os.geteuid()
