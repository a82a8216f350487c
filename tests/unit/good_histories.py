"""Histories made by hand that a checker must let pass, and what they are made of."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.faults.evidence import (
    Ask,
    Batch,
    Change,
    DeadMessage,
    Delivery,
    Effect,
    End,
    Evidence,
    Garbage,
    Letter,
    Request,
    View,
)

START = datetime(2026, 11, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def change(
    version: int, status: str, attempt: int, seconds: float, *, task_id: str = "t", **more: Any
) -> Change:
    return Change(task_id, version, status, attempt, more.pop("max_attempts", 3), at(seconds), **more)


def in_line(
    task_id: str, *moments: float, number: int, first: int = 1, attempt: int = 0
) -> tuple[Change, ...]:
    """A life of an ordered task: it comes, it begins, it is CANCELLED."""
    return tuple(
        change(first + step, status, attempt + (step > 0), moment, task_id=task_id, ordering_number=number)
        for step, (status, moment) in enumerate(
            zip(("PENDING", "PROCESSING", "CANCELLED"), moments, strict=False)
        )
    )


def ordered(task_id: str, asked: float, answered: float) -> Request:
    return Request(
        f"key of {task_id}",
        End.SUCCESS,
        answers=[task_id],
        cancelling=True,
        ordering_key="line",
        asked_at=at(asked),
        answered_at=at(answered),
    )


def letter(attempt: int, seconds: float, **more: Any) -> Letter:
    return Letter("t", attempt, more.pop("reason", ORDERED), BODY, at(seconds), more.pop("sent", True))


def message(attempt: int) -> DeadMessage:
    return DeadMessage("t", attempt, ORDERED, BODY)


ORDERED = "PERMANENT: as ordered"
BODY = '{"task_id": "t", "v": 1}'
COMPLETED = (
    change(1, "PENDING", 0, 0, available_at=at(0)),
    change(2, "PROCESSING", 1, 1, available_at=at(0)),
    change(3, "PENDING", 1, 2, available_at=at(4), attempt_outcome="RETRIED"),
    change(4, "PROCESSING", 2, 5, available_at=at(4)),
    change(5, "COMPLETED", 2, 6, result={"attempt": 2, "token": "b"}, attempt_outcome="COMPLETED"),
)
GOOD = Evidence(
    requests=[Request("k", End.SUCCESS, leaves_mark=True, answers=["t", "t"])],
    changes=COMPLETED,
    stored={"t": (5, "COMPLETED")},
    effects=[Effect("t", 2, "b")],
    views=[View("t", [(1, "PENDING"), (4, "PROCESSING"), (5, "COMPLETED")], completed=1)],
    deliveries=[Delivery("t", at(0.5), at(2.5)), Delivery("t", at(4.5), at(6.5))],
)
FAILED = Evidence(
    requests=[Request("k", End.PERMANENT_FAILURE, answers=["t"])],
    changes=(*COMPLETED[:2], change(3, "FAILED", 1, 2, failure_code="PERMANENT", attempt_outcome="FAILED")),
    stored={"t": (3, "FAILED")},
    letters=[letter(1, 2)],
    dead_messages=[message(1), message(1)],
)
CANCELLED = Evidence(
    requests=[Request("k", End.SUCCESS, answers=["t"], cancelling=True, cancelled=True)],
    changes=(COMPLETED[0], change(2, "CANCELLED", 0, 1)),
    stored={"t": (2, "CANCELLED")},
)
RETRIED = replace(
    FAILED,
    changes=(
        *FAILED.changes,
        change(4, "PENDING", 1, 5, available_at=at(5), max_attempts=4, attempt_outcome="FAILED"),
        change(5, "PROCESSING", 2, 6, available_at=at(5), max_attempts=4),
        change(6, "PENDING", 2, 7, available_at=at(7), max_attempts=5, attempt_outcome="RELEASED"),
        change(7, "PROCESSING", 3, 8, available_at=at(7), max_attempts=5),
        change(8, "FAILED", 3, 9, max_attempts=5, failure_code="PERMANENT", attempt_outcome="FAILED"),
    ),
    stored={"t": (8, "FAILED")},
    letters=[letter(1, 2), letter(3, 9)],
    dead_messages=[message(1), message(3)],
    asks=[Ask(at(4), "t", version=4)],
)
"""Two lives, the second one with an attempt that was given back."""
LITTERED = Evidence(
    garbage=[Garbage("litter", at(1), accepted=True)],
    letters=[Letter(None, None, "FOREIGN_MESSAGE: …", "litter", at(2), sent=True)],
    dead_messages=[DeadMessage(None, None, "FOREIGN_MESSAGE: …", "litter")],
)
ORDERED_ONES = Evidence(
    requests=[ordered("a", 0, 1), ordered("b", 2, 3)],
    batches=[Batch([ordered("a", 0, 1), None, ordered("b", 2, 3)], [["key of a", None, "key of b"]])],
    changes=(
        *in_line("a", 0.5, 4, 5, number=1),
        in_line("b", 2.5, number=2)[0],
        replace(in_line("a", 6, number=3, first=4, attempt=1)[0], max_attempts=4),
        *in_line("b", 2.5, 7, 8, number=2)[1:],
        *(replace(c, max_attempts=4) for c in in_line("a", 6, 9, 10, number=3, first=4, attempt=1)[1:]),
    ),
    stored={"a": (6, "CANCELLED"), "b": (3, "CANCELLED")},
    keys={"a": "key of a", "b": "key of b"},
    asks=[Ask(at(5.5), "a")],
)
"""`a` is retried while `b` waits, and then waits for `b`."""
EXPIRED = replace(
    FAILED,
    requests=[Request("k", End.SUCCESS, answers=["t"], run_at=at(1), expires_at=at(3))],
    changes=(
        COMPLETED[0],
        change(2, "FAILED", 0, 3.5, failure_code="EXPIRED"),
    ),
    stored={"t": (2, "FAILED")},
    letters=[letter(0, 3.5)],
    dead_messages=[message(0)],
)
