"""How the rules read the evidence."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise

from tests.faults.evidence import Change, Evidence, Request

Accounts = Iterator[tuple[str, str]]
"""Of each violation: the task, and what is wrong with it."""


def histories(evidence: Evidence) -> dict[str, list[Change]]:
    found = defaultdict[str, list[Change]](list)
    for change in evidence.changes:
        found[change.task_id].append(change)
    return found


def attempts_of(changes: Sequence[Change]) -> Iterator[tuple[Change, Change | None]]:
    """Each claim, and the change that ended its attempt."""
    for index, change in enumerate(changes):
        if index and change.status == "PROCESSING" and changes[index - 1].status == "PENDING":
            yield change, next((later for later in changes[index:] if later.status != "PROCESSING"), None)


def claims(changes: Sequence[Change]) -> Iterator[tuple[Change, Change]]:
    """Each claim of a task, after the change before it."""
    for before, after in pairwise(changes):
        if (before.status, after.status) == ("PENDING", "PROCESSING"):
            yield before, after


def requests_of(evidence: Evidence) -> dict[str, Request]:
    """Who asked for each task, by its key where an answer was lost."""
    by_key = {request.key: request for request in evidence.requests}
    found = {task_id: by_key[key] for task_id, key in evidence.keys.items() if key in by_key}
    for request in evidence.requests:
        found |= dict.fromkeys(request.answers, request)
    return found


def is_lost(at: datetime, lost_at: datetime | None) -> bool:
    """Whether a loss may have taken it: what came to be after the last one is still there."""
    return lost_at is not None and at <= lost_at
