"""The checker of the fault tests, on histories made by hand: a good one, and each way of being bad."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.faults.checker import RULES, violations
from tests.faults.evidence import Change, Delivery, Effect, End, Evidence, Letter, Request, View

START = datetime(2026, 11, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def change(version: int, status: str, attempt: int, seconds: float, **more: Any) -> Change:
    return Change("t", version, status, attempt, more.pop("max_attempts", 3), at(seconds), **more)


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
    views=[View("t", [(1, "PENDING"), (4, "PROCESSING"), (5, "COMPLETED")], completed=True)],
    deliveries=[Delivery("t", at(0.5), at(2.5)), Delivery("t", at(4.5), at(6.5))],
)
FAILED = Evidence(
    requests=[Request("k", End.PERMANENT_FAILURE, answers=["t"])],
    changes=(*COMPLETED[:2], change(3, "FAILED", 1, 2, failure_code="PERMANENT", attempt_outcome="FAILED")),
    stored={"t": (3, "FAILED")},
    letters=[Letter("t", 1, "PERMANENT: as ordered", sent=True)],
)


def with_changes(changes: Iterable[Change], evidence: Evidence = GOOD) -> Evidence:
    changed = tuple(changes)
    last = changed[-1]
    return replace(evidence, changes=changed, stored={"t": (last.version, last.status)}, views=())


def with_last(evidence: Evidence = GOOD, **fields: Any) -> Evidence:
    return with_changes((*evidence.changes[:-1], replace(evidence.changes[-1], **fields)), evidence)


def broken(evidence: Evidence) -> set[str]:
    return {violation.rule for violation in violations(evidence)}


@pytest.mark.parametrize("evidence", [GOOD, FAILED, Evidence()])
def test_a_good_history_passes(evidence: Evidence) -> None:
    assert violations(evidence) == []


def test_a_crash_in_the_last_attempt_is_a_good_end() -> None:
    last = change(3, "FAILED", 1, 2, failure_code="CRASHED", attempt_outcome="LOST", max_attempts=1)
    crashed = with_changes((*(replace(c, max_attempts=1) for c in COMPLETED[:2]), last))
    assert violations(replace(crashed, effects=(), letters=[Letter("t", 1, "CRASHED: …", sent=True)])) == []


def test_a_cancelled_task_is_a_good_end_if_it_was_asked_for() -> None:
    cancelled = with_changes((*COMPLETED[:3], change(4, "CANCELLED", 1, 3)))
    asked = Request("k", End.SUCCESS, answers=["t"], cancelling=True, cancelled=True)
    assert violations(replace(cancelled, requests=[asked])) == []
    assert broken(cancelled) == {"it_ends_as_it_must"}


CASES = {
    "it is not terminal": ("accepted_is_kept", replace(with_changes(COMPLETED[:2]), dispatched=["t"])),
    "it is not stored": ("accepted_is_kept", replace(GOOD, changes=(), stored={}, views=())),
    "it was never answered": ("accepted_is_kept", replace(Evidence(), requests=[Request("k", End.SUCCESS)])),
    "a key has two tasks": (
        "one_task_per_key",
        replace(GOOD, requests=[Request("k", End.SUCCESS, answers=["t", "u"])]),
    ),
    "nobody asked for it": ("one_task_per_key", replace(GOOD, requests=())),
    "it ended twice": ("one_outcome", with_changes((*COMPLETED, change(6, "FAILED", 2, 7)))),
    "it went on after its end": ("one_outcome", with_changes((*COMPLETED, change(6, "PENDING", 2, 7)))),
    "another attempt wrote its outcome": (
        "the_outcome_is_the_attempts_own",
        with_last(result={"attempt": 1, "token": "b"}),
    ),
    "its result is of no execution": ("the_outcome_is_the_attempts_own", replace(GOOD, effects=())),
    "an attempt ran twice": (
        "an_attempt_runs_once",
        replace(GOOD, effects=[Effect("t", 2, "a"), Effect("t", 2, "b")]),
    ),
    "a version was left out": ("versions_rise_by_one", with_last(version=6)),
    "a version came twice": ("versions_rise_by_one", with_last(version=4)),
    "what is stored is no change": (
        "versions_rise_by_one",
        replace(GOOD, stored={"t": (7, "COMPLETED")}, views=()),
    ),
    "a task has no history": ("versions_rise_by_one", replace(GOOD, changes=(), views=())),
    "an attempt was skipped": (
        "attempts_stay_within_limits",
        with_changes((COMPLETED[0], *(replace(c, attempt=c.attempt + 1) for c in COMPLETED[1:]))),
    ),
    "there were too many attempts": (
        "attempts_stay_within_limits",
        with_changes(replace(c, max_attempts=1) for c in COMPLETED),
    ),
    "an attempt began too early": (
        "no_attempt_begins_before_it_is_due",
        with_changes((*COMPLETED[:3], replace(COMPLETED[3], at=at(3.9)), COMPLETED[4])),
    ),
    "it failed though it should not": ("it_ends_as_it_must", with_last(status="FAILED")),
    "it completed though it should not": ("it_ends_as_it_must", with_last(FAILED, status="COMPLETED")),
    "it failed of something else": ("it_ends_as_it_must", with_last(FAILED, failure_code="EXCEPTION")),
    "it crashed with attempts left": (
        "it_ends_as_it_must",
        with_last(FAILED, failure_code="CRASHED", attempt_outcome="LOST"),
    ),
    "a cancellation had no effect": (
        "it_ends_as_it_must",
        replace(GOOD, requests=[Request("k", End.SUCCESS, answers=["t"], cancelling=True, cancelled=True)]),
    ),
    "a dead letter is missing": ("dead_letters_are_the_failures", replace(FAILED, letters=())),
    "a dead letter is too many": (
        "dead_letters_are_the_failures",
        replace(GOOD, letters=[Letter("t", 2, "?", sent=True)]),
    ),
    "a dead letter was not sent": (
        "dead_letters_are_the_failures",
        replace(FAILED, letters=[Letter("t", 1, "PERMANENT: as ordered", sent=False)]),
    ),
    "an unfinished task has no dispatch row": (
        "dispatch_rows_are_the_unfinished",
        with_changes(COMPLETED[:2]),
    ),
    "a finished task has a dispatch row": (
        "dispatch_rows_are_the_unfinished",
        replace(GOOD, dispatched=["t"]),
    ),
    "a watcher went back": (
        "what_is_watched_is_what_is_stored",
        replace(GOOD, views=[View("t", [(4, "PROCESSING"), (1, "PENDING"), (5, "COMPLETED")], True)]),
    ),
    "a watcher saw what never was": (
        "what_is_watched_is_what_is_stored",
        replace(GOOD, views=[View("t", [(4, "COMPLETED"), (5, "COMPLETED")], True)]),
    ),
    "a watcher never saw the end": (
        "what_is_watched_is_what_is_stored",
        replace(GOOD, views=[View("t", [(4, "PROCESSING")], True)]),
    ),
    "a watcher still waits": (
        "what_is_watched_is_what_is_stored",
        replace(GOOD, views=[View("t", [(4, "PROCESSING")])]),
    ),
    "a message was acknowledged too early": (
        "acknowledged_after_it_is_recorded",
        replace(GOOD, deliveries=[Delivery("t", at(0.5), at(1.5))]),
    ),
    "a process was left behind": ("processes_behave", replace(GOOD, processes=["left behind: 7"])),
}


@pytest.mark.parametrize("name", CASES)
def test_a_bad_history_is_caught(name: str) -> None:
    rule, evidence = CASES[name]
    assert rule in broken(evidence)


def test_every_rule_has_a_history_that_breaks_it() -> None:
    assert {rule for rule, _ in CASES.values()} == {rule.__name__ for rule in RULES}


def test_an_acknowledgement_that_another_message_may_explain_is_no_violation() -> None:
    twice = [Delivery("t", at(0.4), at(1.5)), Delivery("t", at(0.5))]
    assert violations(replace(GOOD, deliveries=twice)) == []
