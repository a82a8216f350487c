"""Histories made by hand in which the ways to ask are not what they promise: the rule, and the evidence."""

from collections.abc import Sequence
from dataclasses import replace

from tests.faults.evidence import Batch, Change, Evidence
from tests.unit.good_histories import (
    COMPLETED,
    EXPIRED,
    FAILED,
    GOOD,
    ORDERED_ONES,
    at,
    change,
    in_line,
    ordered,
)


def in_this_order(*changes: Change) -> Evidence:
    return replace(ORDERED_ONES, changes=changes)


def answered(*titles: str | None) -> Evidence:
    [batch] = ORDERED_ONES.batches
    return replace(ORDERED_ONES, batches=[replace(batch, answers=[[*titles]])])


def one_after_another(first: Sequence[Change], second: Sequence[Change]) -> Evidence:
    """Both are created at once, and then the first has all its life before the second's."""
    return in_this_order(first[0], second[0], *first[1:], *second[1:])


GOOD_REQUEST = GOOD.requests[0]
A, B = in_line("a", 0.5, 4, 5, number=1), in_line("b", 2.5, 7, 8, number=2)
BAD_ASKING: dict[str, tuple[str, Evidence]] = {
    "the second overtook the first": ("order_is_kept", one_after_another(B, A)),
    "the second began while the first ran": (
        "order_is_kept",
        in_this_order(A[0], B[0], A[1], B[1], A[2], B[2]),
    ),
    "the second began while the first waited for its retry": (
        "order_is_kept",
        in_this_order(A[0], B[0], A[1], replace(A[0], version=3, attempt=1), *B[1:]),
    ),
    "the first ran again beside the second": (
        "order_is_kept",
        in_this_order(A[0], B[0], B[1], A[1], A[2], B[2]),
    ),
    "a task has no place": (
        "order_is_kept",
        one_after_another(A, [replace(each, ordering_number=None) for each in B]),
    ),
    "two have one place": (
        "order_is_kept",
        one_after_another(A, [replace(each, ordering_number=1) for each in B]),
    ),
    "a life keeps its old place": (
        "order_is_kept",
        in_this_order(*A, replace(A[0], version=4, attempt=1)),
    ),
    "who came later is first": (
        "places_are_in_the_order_of_creation",
        one_after_another(
            [replace(each, ordering_number=2) for each in A], [replace(each, ordering_number=1) for each in B]
        ),
    ),
    "the items of a batch changed places": (
        "places_are_in_the_order_of_creation",
        replace(
            ORDERED_ONES,
            requests=[ordered("a", 0, 3), ordered("b", 0, 3)],
            batches=[Batch([ordered("b", 0, 3), ordered("a", 0, 3)])],
        ),
    ),
    "a follow-up is missing": (
        "follow_ups_come_with_the_outcome",
        replace(GOOD, requests=[replace(GOOD_REQUEST, follow_ups=1)]),
    ),
    "a task that FAILED has a follow-up": (
        "follow_ups_come_with_the_outcome",
        replace(FAILED, requests=[replace(FAILED.requests[0], follow_ups=1)], follow_ups={"u": "t"}),
    ),
    "a follow-up is of a task that nobody asked for": (
        "follow_ups_come_with_the_outcome",
        replace(GOOD, follow_ups={"u": "v"}),
    ),
    "it began before its runAt": (
        "not_before_its_time",
        replace(GOOD, requests=[replace(GOOD_REQUEST, run_at=at(1.5))]),
    ),
    "it is EXPIRED too early": (
        "expired_only_if_not_started",
        replace(EXPIRED, requests=[replace(EXPIRED.requests[0], expires_at=at(4))]),
    ),
    "it is EXPIRED, but has no expiresAt": (
        "expired_only_if_not_started",
        replace(EXPIRED, requests=[replace(EXPIRED.requests[0], expires_at=None)]),
    ),
    "it is EXPIRED after it started": (
        "expired_only_if_not_started",
        replace(EXPIRED, changes=(*COMPLETED[:2], change(3, "FAILED", 1, 4, failure_code="EXPIRED"))),
    ),
    "it is EXPIRED in its second life": (
        "expired_only_if_not_started",
        replace(
            EXPIRED,
            changes=(
                *EXPIRED.changes,
                change(3, "PENDING", 0, 5),
                change(4, "FAILED", 0, 6, failure_code="EXPIRED"),
            ),
        ),
    ),
    "it began after its expiresAt": (
        "expired_only_if_not_started",
        replace(EXPIRED, changes=(COMPLETED[0], replace(COMPLETED[1], at=at(3.5), began=at(3.2)))),
    ),
    "an item is missing": ("each_item_is_answered_in_its_place", answered("key of a", "key of b")),
    "a bad item has a task": (
        "each_item_is_answered_in_its_place",
        answered("key of a", "bad", "key of b"),
    ),
    "a good item has none": ("each_item_is_answered_in_its_place", answered(None, None, "key of b")),
    "the answers changed places": (
        "each_item_is_answered_in_its_place",
        answered("key of b", None, "key of a"),
    ),
    "an answer more said created": (
        "one_task_per_key",
        replace(GOOD, requests=[replace(GOOD_REQUEST, created=2)]),
    ),
    "a key has two tasks, of which one was never named": (
        "one_task_per_key",
        replace(GOOD, stored={**GOOD.stored, "u": (1, "COMPLETED")}, keys={"t": "k", "u": "k"}),
    ),
    "what was refused is stored and does not end": (
        "accepted_is_kept",
        replace(
            EXPIRED,
            requests=[replace(EXPIRED.requests[0], answers=[], refused=True)],
            keys={"t": "k"},
            stored={"t": (1, "PENDING")},
        ),
    ),
    "its dead letter is in the queue of another sort": (
        "the_dead_letter_queue_holds_the_dead_letters",
        replace(EXPIRED, dead_messages=[replace(EXPIRED.dead_messages[0], ordered=True)]),
    ),
}
