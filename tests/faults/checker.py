"""Holds the promises against what was seen. Pure: evidence in, violations out.

Every rule is sound: what it reports is wrong whatever the timing was, so that one report is one defect.
"""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from tests.faults import watching, ways
from tests.faults.evidence import TERMINAL, Change, Delivery, Evidence, Request
from tests.faults.reading import Accounts, attempts_of, histories, is_lost, requests_of

CRASHED, EXPIRED = "CRASHED", "EXPIRED"
FIFO = "fifo"
RELEASE = ("PROCESSING", "PENDING", "RELEASED")


@dataclass(frozen=True, slots=True)
class Violation:
    rule: str
    task_id: str
    account: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.task_id}: {self.account}"


def violations(evidence: Evidence) -> list[Violation]:
    return [
        Violation(rule.__name__, task_id, account) for rule in RULES for task_id, account in rule(evidence)
    ]


def accepted_is_kept(evidence: Evidence) -> Accounts:
    """A task that createTask answered with is stored, and terminal in the end."""
    for request in evidence.requests:
        if not request.answers and not request.refused:
            yield request.key, "was never answered, though services were back"
    for task_id in {task_id for request in evidence.requests for task_id in request.answers} | {
        *evidence.stored
    }:
        _, status = evidence.stored.get(task_id, (0, "not stored"))
        if status not in TERMINAL:
            yield task_id, f"is {status} at the end"


def one_task_per_key(evidence: Evidence) -> Accounts:
    """However often a request was sent, there is one task, and no task that nobody asked for."""
    for request in evidence.requests:
        if len(set(request.answers)) > 1:
            yield request.key, f"has several tasks: {sorted(set(request.answers))}"
        if request.created > 1:
            yield request.key, f"was created {request.created} times, if you believe the answers"
    for key, count in Counter(evidence.keys.values()).items():
        if count > 1:
            yield key, f"has {count} tasks"
    named = {
        task_id
        for task_id, request in requests_of(evidence).items()
        if task_id in request.answers or request.refused
    }
    for task_id in evidence.stored.keys() - named - evidence.follow_ups.keys():
        yield task_id, "is stored, but no answer named it"


def one_outcome(evidence: Evidence) -> Accounts:
    """A life has one terminal status, and nothing changes after it but that another life begins."""
    for task_id, changes in histories(evidence).items():
        for end, after in pairwise(changes):
            if end.is_terminal and (end.status == "COMPLETED" or after.status != "PENDING"):
                yield task_id, f"went on after its outcome: {end.status}, {after.status}"


def another_life_is_asked_for(evidence: Evidence) -> Accounts:
    """For each life after the first there is an ask of its own, made before; what the API answered is so."""
    revivals = {
        (task_id, after.version): (end, after)
        for task_id, changes in histories(evidence).items()
        for end, after in pairwise(changes)
        if end.is_terminal
    }
    asks = sorted(evidence.asks, key=lambda ask: (ask.attempt is None, ask.task_id is not None))
    used = set[tuple[str, int]]()
    for (task_id, version), (end, after) in revivals.items():
        # The ask that explains the fewest others is taken first, or a later life could miss one it had.
        fitting = (n for n, ask in enumerate(asks) if ask.at <= after.at and ask.explains(end))
        chosen = next((n for n in fitting if (task_id, n) not in used), None)
        if chosen is None:
            yield task_id, f"lives again as version {version} after {end.status}, and nobody asked for that"
        else:
            used.add((task_id, chosen))
    for ask in asks:
        if ask.task_id and ask.version and (ask.task_id, ask.version) not in revivals:
            yield ask.task_id, f"does not live again as version {ask.version}, though retryTask said so"


def the_outcome_is_the_attempts_own(evidence: Evidence) -> Accounts:
    """A result was returned by the attempt that held the lease, in an execution that really took place."""
    marking = {task for request in evidence.requests if request.leaves_mark for task in request.answers}
    effects = {(effect.task_id, effect.attempt, effect.token) for effect in evidence.effects}
    for change in evidence.changes:
        if change.status == "COMPLETED" and change.task_id in marking:
            attempt, token = change.result["attempt"], change.result["token"]
            if attempt != change.attempt:
                yield change.task_id, f"attempt {attempt} wrote the outcome of attempt {change.attempt}"
            if (change.task_id, attempt, token) not in effects:
                yield change.task_id, f"the execution {token} of attempt {attempt} had no effect"


def an_attempt_runs_once(evidence: Evidence) -> Accounts:
    """Executions repeat, attempts don't: one claim, one execution at most."""
    runs = Counter((effect.task_id, effect.attempt) for effect in evidence.effects)
    for (task_id, attempt), count in runs.items():
        if count > 1:
            yield task_id, f"attempt {attempt} ran {count} times"


def versions_rise_by_one(evidence: Evidence) -> Accounts:
    for task_id, changes in histories(evidence).items():
        versions = [change.version for change in changes]
        if versions != list(range(1, len(versions) + 1)):
            yield task_id, f"versions {versions}"
        if task_id in evidence.stored and evidence.stored[task_id] != (
            changes[-1].version,
            changes[-1].status,
        ):
            yield task_id, f"{evidence.stored[task_id]} is stored, {changes[-1]} was the last change"
    for task_id in evidence.stored.keys() - histories(evidence).keys():
        yield task_id, "has no history"


def attempts_stay_within_limits(evidence: Evidence) -> Accounts:
    """Each claim is the next attempt, up to the maximum. A life brings as many as the first one had, and an
    attempt that was given back one more; nothing else counts attempts."""
    for task_id, changes in histories(evidence).items():
        for before, after in pairwise(changes):
            claimed = (before.status, after.status) == ("PENDING", "PROCESSING")
            if after.attempt != before.attempt + claimed:
                yield task_id, f"attempt {before.attempt} became {after.attempt} at version {after.version}"
            released = (before.status, after.status, after.attempt_outcome) == RELEASE
            allowed = after.attempt + changes[0].max_attempts if before.is_terminal else before.max_attempts
            if after.max_attempts != allowed + released:
                yield task_id, f"may have {after.max_attempts} attempts as version {after.version}"
            if after.attempt > after.max_attempts:
                yield task_id, f"attempt {after.attempt} of {after.max_attempts}"


def no_attempt_begins_before_it_is_due(evidence: Evidence) -> Accounts:
    for task_id, changes in histories(evidence).items():
        for before, after in pairwise(changes):
            due = before.available_at
            if before.status == "PENDING" and after.status == "PROCESSING" and due and after.at < due:
                early = (due - after.at).total_seconds()
                yield task_id, f"attempt {after.attempt} began {early:.3f} s before it was due"


def it_ends_as_it_must(evidence: Evidence) -> Accounts:
    """COMPLETED, FAILED with its own code, CANCELLED on demand; CRASHED only after a lost last attempt."""
    found = histories(evidence)
    for request in evidence.requests:
        for task_id in set(request.answers) & found.keys():
            ends = [change for change in found[task_id] if change.is_terminal]
            for end in ends:
                if fault := wrong_end(request, end):
                    yield task_id, fault
            if request.cancelled and all(end.status != "CANCELLED" for end in ends):
                yield task_id, "was never CANCELLED, though cancelTask had answered that it is"


def wrong_end(request: Request, end: Change) -> str | None:
    statuses, code = request.end.value
    if end.status == "CANCELLED":
        return None if request.cancelling else "is CANCELLED, but nobody asked for that"
    if end.status == "FAILED" and end.failure_code == CRASHED:
        crashed = end.attempt_outcome in ("LOST", "FAILED") and end.attempt == end.max_attempts
        return None if crashed else f"is CRASHED after attempt {end.attempt} was {end.attempt_outcome}"
    if end.status == "FAILED" and end.failure_code == EXPIRED and request.expires_at:
        return None
    if end.status not in statuses:
        return f"is {end.status} ({end.failure_code}), not {' or '.join(statuses)}"
    if end.status == "FAILED" and end.failure_code != code:
        return f"failed with {end.failure_code}, not with {code}"
    return None


def dead_letters_are_the_failures(evidence: Evidence) -> Accounts:
    """One for each life that FAILED, naming its last attempt; all are sent."""
    expected = Counter((c.task_id, c.attempt) for c in evidence.changes if c.status == "FAILED")
    found = Counter((each.task_id, each.attempt or 0) for each in evidence.letters if each.task_id)
    for task_id, attempt in (expected - found).elements():
        yield task_id, f"failed in attempt {attempt} without a dead letter"
    for extra, number in (found - expected).elements():
        reasons = [letter.reason for letter in evidence.letters if letter.task_id == extra]
        yield str(extra), f"attempt {number} has a dead letter too many: {reasons}"
    for letter in evidence.letters:
        if not letter.sent:
            yield str(letter.task_id), "its dead letter was not sent"


def garbage_is_kept_as_dead_letters(evidence: Evidence) -> Accounts:
    """Once or more often, as it was delivered; nothing else has a dead letter without a task."""
    kept = {(letter.body, letter.queue) for letter in evidence.letters if not letter.task_id}
    for garbage in evidence.garbage:
        due = garbage.accepted and not is_lost(garbage.at, evidence.queue_lost_at)
        if due and (garbage.body, garbage.queue) not in kept:
            yield "garbage", f"was not kept as a dead letter: {garbage.body}"
    for body in kept - {(garbage.body, garbage.queue) for garbage in evidence.garbage}:
        yield "garbage", f"is kept as a dead letter, but nobody sent it: {body}"


def the_dead_letter_queue_holds_the_dead_letters(evidence: Evidence) -> Accounts:
    """Each at least once, just as PostgreSQL has it, unless SQS lost it; and nothing else.

    Those of ordered tasks are in the FIFO one, all others in the other.
    """
    letters = {
        (each.task_id, each.attempt, each.reason, each.body, each.queue == FIFO): each
        for each in evidence.letters
    }
    messages = {
        (each.task_id, each.attempt, each.reason, each.body, each.ordered) for each in evidence.dead_messages
    }
    for letter, stored in letters.items():
        if letter not in messages and not is_lost(stored.at, evidence.dead_letters_lost_at):
            yield str(stored.task_id), f"is not in the dead-letter queue: {letter}"
    for message in messages - letters.keys():
        yield str(message[0]), f"is in the dead-letter queue without cause: {message}"


def dispatch_rows_are_the_unfinished(evidence: Evidence) -> Accounts:
    unfinished = {
        task_id for task_id, (_, status) in evidence.stored.items() if status in ("PENDING", "PROCESSING")
    }
    for task_id in unfinished.symmetric_difference(evidence.dispatched):
        yield task_id, f"is {evidence.stored.get(task_id)}; dispatch row: {task_id in evidence.dispatched}"


def acknowledged_after_it_is_recorded(evidence: Evidence) -> Accounts:
    """The message that began an attempt is acknowledged only when that attempt is over in PostgreSQL.

    Which message it was is certain only where a single one was with a consumer at the time; others pass.
    """
    deliveries = defaultdict[str, list[Delivery]](list)
    for delivery in evidence.deliveries:
        deliveries[delivery.task_id].append(delivery)
    for task_id, changes in histories(evidence).items():
        for claim, over in attempts_of(changes):
            out = [d for d in deliveries[task_id] if d.at <= claim.at]
            out = [d for d in out if d.acknowledged_at is None or d.acknowledged_at >= claim.at]
            if len(out) == 1 and (at := out[0].acknowledged_at) and (over is None or at < over.at):
                yield task_id, f"attempt {claim.attempt} still ran when its message was acknowledged"


def processes_behave(evidence: Evidence) -> Accounts:
    for account in evidence.processes:
        yield "processes", account


RULES: tuple[Callable[[Evidence], Accounts], ...] = (
    accepted_is_kept,
    one_task_per_key,
    one_outcome,
    another_life_is_asked_for,
    the_outcome_is_the_attempts_own,
    an_attempt_runs_once,
    versions_rise_by_one,
    attempts_stay_within_limits,
    no_attempt_begins_before_it_is_due,
    it_ends_as_it_must,
    dead_letters_are_the_failures,
    garbage_is_kept_as_dead_letters,
    the_dead_letter_queue_holds_the_dead_letters,
    dispatch_rows_are_the_unfinished,
    acknowledged_after_it_is_recorded,
    processes_behave,
    *ways.RULES,
    *watching.RULES,
)
