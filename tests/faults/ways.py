"""What each way to ask promises besides: an order, a moment before which and one after which nothing begins,
an answer for every item of a batch; and what a task promises that asks for others.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from itertools import combinations

from tests.faults.evidence import Change, Evidence, Request
from tests.faults.reading import Accounts, claims, histories, requests_of


def order_is_kept(evidence: Evidence) -> Accounts:
    """Of one key, an attempt begins only when all lives with lower numbers have ended, and no other runs.

    Read in the order in which PostgreSQL wrote it: who ends commits before who comes next is looked for.
    """
    for key, changes in lines(evidence).items():
        numbers = dict[str, int]()
        states = dict[str, Change]()
        given = set[int]()
        for change in changes:
            task_id, last = change.task_id, states.get(change.task_id)
            states[task_id] = change
            if last is None or last.is_terminal:
                if change.ordering_number is None or change.ordering_number in given:
                    yield task_id, f"has no place of its own in {key!r}: {change.ordering_number}"
                    continue
                numbers[task_id] = change.ordering_number
                given.add(change.ordering_number)
            elif (last.status, change.status) == ("PENDING", "PROCESSING") and task_id in numbers:
                mine = numbers[task_id]
                for other, number in numbers.items():
                    if number < mine:
                        yield (
                            task_id,
                            f"began as number {mine} of {key!r} before {other}, {number}, had ended",
                        )
                    elif other != task_id and states[other].status == "PROCESSING":
                        yield task_id, f"began as number {mine} of {key!r} while {other}, {number}, ran"
            if change.is_terminal:
                numbers.pop(task_id, None)


def lines(evidence: Evidence) -> dict[str, list[Change]]:
    """All changes of the tasks that were asked for under each ordering key."""
    asked = requests_of(evidence)
    found = defaultdict[str, list[Change]](list)
    for change in evidence.changes:
        request = asked.get(change.task_id)
        if request and request.ordering_key is not None:
            found[request.ordering_key].append(change)
    return found


def places_are_in_the_order_of_creation(evidence: Evidence) -> Accounts:
    """Who was answered before another was sent is before it in line; so are the items of a batch."""
    first = {task_id: changes[0].ordering_number for task_id, changes in histories(evidence).items()}
    waiting = defaultdict[str, list[Request]](list)
    for request in evidence.requests:
        if request.ordering_key is not None and request.answers:
            waiting[request.ordering_key].append(request)
    pairs = [
        pair
        for requests in waiting.values()
        for one, other in combinations(requests, 2)
        for pair in ((one, other), (other, one))
        if pair[0].answered_at and pair[1].asked_at and pair[0].answered_at < pair[1].asked_at
    ]
    for batch in evidence.batches:
        items = {item.key: item for item in batch.items if item is not None and item.answers}.values()
        pairs += [pair for pair in combinations(items, 2) if pair[0].ordering_key == pair[1].ordering_key]
    for one, other in pairs:
        before, after = first.get(one.answers[0]), first.get(other.answers[0])
        if one.ordering_key is not None and before is not None and after is not None and before >= after:
            yield other.answers[0], f"is number {after} of {one.ordering_key!r}, {one.answers[0]} is {before}"


def not_before_its_time(evidence: Evidence) -> Accounts:
    """No attempt begins before the runAt that was asked for, by the database's clock."""
    asked = requests_of(evidence)
    for task_id, changes in histories(evidence).items():
        request = asked.get(task_id)
        for _, claim in claims(changes):
            if request and request.run_at and claim.at < request.run_at:
                early = (request.run_at - claim.at).total_seconds()
                yield task_id, f"attempt {claim.attempt} began {early:.3f} s before its runAt"


def expired_only_if_not_started(evidence: Evidence) -> Accounts:
    """EXPIRED is what has an expiresAt that has passed, in a first life that never started; and what has not
    started by then, never does. A claim is late for certain only if its transaction began too late.
    """
    asked = requests_of(evidence)
    for task_id, changes in histories(evidence).items():
        expires_at = asked[task_id].expires_at if task_id in asked else None
        for change in changes:
            if change.failure_code != "EXPIRED" or change.status != "FAILED":
                continue
            if expires_at is None or change.at < expires_at:
                yield task_id, f"is EXPIRED at {change.at}, before {expires_at}"
            if change.attempt or any(each.is_terminal for each in until(changes, change)):
                yield task_id, f"is EXPIRED after attempt {change.attempt} of version {change.version}"
        for _, claim in claims(changes):
            is_first = all(each.attempt == 0 and not each.is_terminal for each in until(changes, claim))
            if expires_at and is_first and claim.began and claim.began >= expires_at:
                late = (claim.began - expires_at).total_seconds()
                yield task_id, f"began {late:.3f} s after its expiresAt"


def until(changes: Sequence[Change], change: Change) -> Sequence[Change]:
    return changes[: changes.index(change)]


def each_item_is_answered_in_its_place(evidence: Evidence) -> Accounts:
    """Good items with their own tasks, bad ones with none, in every answer."""
    for batch in evidence.batches:
        expected = [item and item.key for item in batch.items]
        for answer in batch.answers:
            late = {item.key for item in batch.items if item is not None and item.refused}
            known = [
                None if found is None and key in late else key
                for key, found in zip(expected, answer, strict=False)
            ]
            if len(answer) != len(expected) or answer != known:
                yield "batch", f"{expected} were asked for, {answer} was answered"


def follow_ups_come_with_the_outcome(evidence: Evidence) -> Accounts:
    """As many as an attempt asked for where the task is COMPLETED, and none with any other end."""
    found = Counter(evidence.follow_ups.values())
    asked = requests_of(evidence)
    for task_id, request in asked.items():
        _, status = evidence.stored.get(task_id, (0, "not stored"))
        wanted = request.follow_ups if status == "COMPLETED" else 0
        if found[task_id] != wanted:
            yield task_id, f"is {status} with {found[task_id]} follow-ups, not {wanted}"
    for task_id in found.keys() - asked.keys():
        yield task_id, "has follow-ups, and nobody asked for it"


RULES: tuple[Callable[[Evidence], Accounts], ...] = (
    order_is_kept,
    places_are_in_the_order_of_creation,
    not_before_its_time,
    expired_only_if_not_started,
    each_item_is_answered_in_its_place,
    follow_ups_come_with_the_outcome,
)
