"""Becomes a server: takes an identity, ties its life to the stack's process, then execs the command.

Run as a script by the stack's own Python: between fork and exec of a process with threads no Python may
run, so that all of this happens after a first exec.

Invariant: what it becomes does not outlive the process that started it, not even for a moment's race.
"""

import ctypes
import os
import resource
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
CLONE_NEWUSER = 0x10000000
OPEN_FILES = 65_536


def main(parent: str, death_signal: str, identity: str, *command: str) -> None:
    take(identity)
    die_with(int(parent), int(death_signal))
    raise_open_files()
    os.execv(command[0], command)


def take(identity: str) -> None:
    """`same`; `namespace:UID`, root seen as UID from inside a user namespace; `user:UID:GID`."""
    match identity.split(":"):
        case ["namespace", uid]:
            enter_namespace(int(uid))
        case ["user", uid, gid]:
            os.setgroups([])
            os.setgid(int(gid))
            os.setuid(int(uid))


def enter_namespace(uid: int) -> None:
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    libc("unshare", CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")  # the kernel's condition for mapping a group unprivileged
    Path("/proc/self/gid_map").write_text(f"{uid} {outer_gid} 1")
    Path("/proc/self/uid_map").write_text(f"{uid} {outer_uid} 1")


def die_with(parent: int, death_signal: int) -> None:
    """Ask the kernel for the signal. A change of identity would forget it, so this comes after `take`."""
    libc("prctl", PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != parent:  # it died before the kernel knew of our wish
        sys.exit("the stack is gone")


def raise_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def libc(function: str, *arguments: int) -> None:
    """Call a function of the C library that Python 3.11 has no name for."""
    if getattr(ctypes.CDLL(None, use_errno=True), function)(*arguments) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{function}: {os.strerror(error)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
