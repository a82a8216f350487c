"""Signals for a process together with its descendants, wherever they set up sessions of their own."""

import contextlib
import os
import signal
from pathlib import Path


def freeze(leader: int) -> list[int]:
    """Stop the whole family and name its members; frozen parents can't have children we'd miss."""
    frozen: list[int] = []
    while found := [pid for pid in (leader, *descendants(leader)) if pid not in frozen]:
        frozen += found
        _signal(found, signal.SIGSTOP)
    return frozen


def thaw(leader: int) -> None:
    _signal([*descendants(leader), leader], signal.SIGCONT)


def kill(leader: int) -> None:
    """SIGKILL for all; nobody gets to notice that another one died first."""
    _signal(freeze(leader), signal.SIGKILL)


def descendants(leader: int) -> list[int]:
    parents = _parents()
    found = [leader]
    for ancestor in found:  # grows while we walk it
        found += [pid for pid, parent in parents.items() if parent == ancestor]
    return found[1:]


def _parents() -> dict[int, int]:
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):  # ended while we looked
                # The command's name may hold anything, parentheses too: the fields begin after the last one.
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                parents[int(entry)] = int(fields[1])
    return parents


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
