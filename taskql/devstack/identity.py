"""As whom a server runs. PostgreSQL refuses root, so that root needs another identity for it.

Invariant: rights are granted on the stack's own folders alone, never on a parent's.
"""

import os
import pwd
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from taskql.devstack.errors import DevStackError

CHILD = Path(__file__).with_name("child.py")


@dataclass(frozen=True)
class Identity:
    """`name` is what child.py understands; the others, to whom the files belong as seen from here."""

    name: str
    uid: int
    gid: int

    @property
    def is_caller(self) -> bool:
        return self == CALLER

    def launcher(self, death_signal: signal.Signals) -> list[str]:
        """The words before a command that give it this identity, and an end with ours."""
        python = [sys.executable, "-I", "-S", str(CHILD)]
        return [*python, str(os.getpid()), str(int(death_signal)), self.name]

    def reaches(self, *paths: Path) -> bool:
        """Whether it can be taken on here, and can enter these folders and run these programs."""
        test = ["/bin/sh", "-c", 'for path; do test -x "$path" || exit 1; done', "sh"]
        command = [*self.launcher(signal.SIGKILL), *test, *map(str, paths)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def admit(self, folder: Path) -> None:
        """Make a folder of ours private, but for its way through to what it owns."""
        os.chown(folder, -1, self.gid)
        folder.chmod(0o700 if self.uid == os.geteuid() else 0o710)

    def own(self, tree: Path) -> None:
        """Give it a tree, the top last: a walk that was cut short is taken up again."""
        if (tree.lstat().st_uid, tree.lstat().st_gid) == (self.uid, self.gid):
            return
        for folder, folders, files in os.walk(tree, topdown=False):
            for name in (*folders, *files):
                os.chown(Path(folder, name), self.uid, self.gid, follow_symlinks=False)
        os.chown(tree, self.uid, self.gid)


CALLER = Identity("same", os.geteuid(), os.getegid())


def root_in_a_namespace() -> Identity:
    """Root, whom PostgreSQL sees as nobody: the rights on files remain root's."""
    return Identity(f"namespace:{_nobody().pw_uid}", os.geteuid(), os.getegid())


def unprivileged() -> Identity:
    nobody = _nobody()
    return Identity(f"user:{nobody.pw_uid}:{nobody.pw_gid}", nobody.pw_uid, nobody.pw_gid)


def _nobody() -> pwd.struct_passwd:
    """Somebody with a name (initdb asks for it) and no rights."""
    accounts = {account.pw_name: account for account in pwd.getpwall() if account.pw_uid != 0}
    if not accounts:
        raise DevStackError(
            "PostgreSQL refuses root, and this machine has no other account; add one (nobody)"
        )
    return accounts.get("nobody") or max(accounts.values(), key=lambda account: account.pw_uid)
