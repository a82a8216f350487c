"""The rules of what watchers saw: one task each, or all of an owner's."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from tests.faults.evidence import TERMINAL, Evidence, View
from tests.faults.reading import Accounts


def what_is_watched_is_what_is_stored(evidence: Evidence) -> Accounts:
    """Versions rise, over all connections, each was stored as shown, and a terminal one comes last."""
    stored = states_stored(evidence)
    for view in evidence.views:
        versions = [version for version, _ in view.states]
        if falls(versions):
            yield view.task_id, f"a watcher saw versions {versions}"
        for version, status in view.states:
            if stored.get((view.task_id, version)) != status:
                yield view.task_id, f"a watcher saw {status} as version {version}, which is not stored"
        if view.completed and (not view.states or view.states[-1][1] not in TERMINAL):
            yield view.task_id, f"a watcher was dismissed with {view.states[-1:]}"


def a_watch_completes_once(evidence: Evidence) -> Accounts:
    """After the terminal state, and nothing comes over that connection any more."""
    for view in evidence.views:
        if not view.completed:
            yield view.task_id, f"a watcher still waits, after {view.states[-1:]}"
        elif view.completed > 1:
            yield view.task_id, f"a watch was completed {view.completed} times"
        for before, after in pairwise(connections_of(view)):
            if any(status in TERMINAL for _, status in view.states[before : after - 1]):
                yield view.task_id, f"a watch went on after the end: {view.states[before:after]}"


def what_is_followed_is_what_is_stored(evidence: Evidence) -> Accounts:
    """A task's versions rise over each connection; in the end a follower knows all tasks as they are."""
    stored = states_stored(evidence)
    for following in evidence.followings:
        for told in following.connections:
            for task_id in {task_id for task_id, _, _ in told}:
                versions = [version for id, version, _ in told if id == task_id]
                if falls(versions):
                    yield task_id, f"a follower was told of versions {versions}"
            for task_id, version, status in told:
                if stored.get((task_id, version)) != status:
                    yield task_id, f"a follower saw {status} as version {version}, which is not stored"
        for task_id, state in evidence.stored.items():
            if (known := following.known.get(task_id)) != state:
                yield task_id, f"a follower knows it as {known}, it is {state}"


def states_stored(evidence: Evidence) -> dict[tuple[str, int], str]:
    return {(change.task_id, change.version): change.status for change in evidence.changes}


def connections_of(view: View) -> list[int]:
    """Where what each of its connections has shown begins, and the end of the last."""
    return sorted({0, *view.resumed, len(view.states)})


def falls(versions: Sequence[int]) -> bool:
    return any(after <= before for before, after in pairwise(versions))


RULES: tuple[Callable[[Evidence], Accounts], ...] = (
    what_is_watched_is_what_is_stored,
    a_watch_completes_once,
    what_is_followed_is_what_is_stored,
)
