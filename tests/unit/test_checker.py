"""The checker of the fault tests, on histories made by hand: good ones, and each way of being bad."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from tests.faults.checker import RULES, violations
from tests.faults.evidence import (
    Ask,
    Change,
    Delivery,
    Effect,
    End,
    Evidence,
    Following,
    Garbage,
    Request,
    View,
)
from tests.unit.bad_asking import BAD_ASKING
from tests.unit.bad_watching import BAD_WATCHING
from tests.unit.good_histories import (
    CANCELLED,
    COMPLETED,
    EXPIRED,
    FAILED,
    GOOD,
    LITTERED,
    ORDERED_ONES,
    RETRIED,
    at,
    change,
    letter,
    message,
)


def with_changes(changes: Iterable[Change], evidence: Evidence = GOOD) -> Evidence:
    changed = tuple(changes)
    last = changed[-1]
    return replace(evidence, changes=changed, stored={"t": (last.version, last.status)}, views=())


def with_last(evidence: Evidence = GOOD, **fields: Any) -> Evidence:
    return with_changes((*evidence.changes[:-1], replace(evidence.changes[-1], **fields)), evidence)


def broken(evidence: Evidence) -> set[str]:
    return {violation.rule for violation in violations(evidence)}


@pytest.mark.parametrize(
    "evidence", [GOOD, FAILED, CANCELLED, RETRIED, LITTERED, ORDERED_ONES, EXPIRED, Evidence()]
)
def test_a_good_history_passes(evidence: Evidence) -> None:
    assert violations(evidence) == []


def test_a_crash_in_the_last_attempt_is_a_good_end() -> None:
    last = change(3, "FAILED", 1, 2, failure_code="CRASHED", attempt_outcome="LOST", max_attempts=1)
    crashed = with_changes((*(replace(c, max_attempts=1) for c in COMPLETED[:2]), last), FAILED)
    assert violations(crashed) == []


def test_what_was_refused_may_have_been_stored_by_an_earlier_try() -> None:
    refused = [replace(EXPIRED.requests[0], answers=[], refused=True)]
    assert violations(replace(EXPIRED, requests=refused, keys={"t": "k"})) == []
    assert violations(Evidence(requests=refused)) == []


def test_a_claim_that_was_written_down_late_may_have_been_in_time() -> None:
    begun = replace(COMPLETED[1], at=at(3.5), began=at(2.9))
    evidence = replace(EXPIRED, changes=(COMPLETED[0], begun))
    assert "expired_only_if_not_started" not in broken(evidence)


def test_a_task_may_be_cancelled_only_if_that_was_asked_for() -> None:
    assert broken(replace(CANCELLED, requests=GOOD.requests)) == {"it_ends_as_it_must"}


@pytest.mark.parametrize("ask", [Ask(at(4), "t"), Ask(at(4)), Ask(at(4), "t", attempt=1)])
def test_each_way_of_asking_brings_a_failed_task_back(ask: Ask) -> None:
    assert violations(replace(RETRIED, asks=[ask])) == []


def test_asks_of_different_reach_explain_what_only_they_together_can() -> None:
    asks = [Ask(at(9.1), "t"), Ask(at(9.2)), Ask(at(3), "t", attempt=1)]
    third = change(9, "PENDING", 3, 9.5, available_at=at(9.5), max_attempts=6)
    fourth = (
        change(10, "CANCELLED", 3, 10, max_attempts=6),
        change(11, "PENDING", 3, 11, available_at=at(11), max_attempts=6),
    )
    changes = (*RETRIED.changes, third, *fourth)
    assert "another_life_is_asked_for" not in broken(replace(RETRIED, changes=changes, asks=asks))
    for number in range(3):
        fewer = replace(RETRIED, changes=changes, asks=[*asks[:number], *asks[number + 1 :]])
        assert "another_life_is_asked_for" in broken(fewer)


def test_a_watcher_may_be_dismissed_with_the_end_of_an_earlier_life() -> None:
    view = View("t", [(2, "PROCESSING"), (3, "FAILED")], completed=1)
    assert violations(replace(RETRIED, views=[view])) == []


def test_a_watcher_that_comes_back_may_see_another_life() -> None:
    view = View("t", [(3, "FAILED"), (4, "PENDING"), (8, "FAILED")], completed=1, resumed=[0, 1, 1])
    assert violations(replace(RETRIED, views=[view])) == []


def test_a_watcher_that_comes_back_knowing_the_end_is_just_dismissed() -> None:
    view = View("t", [(5, "COMPLETED")], completed=1, resumed=[0, 1])
    assert violations(replace(GOOD, views=[view])) == []


def test_a_follower_may_be_told_again_on_another_connection() -> None:
    told = [("t", 1, "PENDING"), ("t", 4, "PROCESSING")]
    following = Following([told, [*told[1:], ("t", 5, "COMPLETED")]], {"t": (5, "COMPLETED")})
    assert violations(replace(GOOD, followings=[following])) == []


def test_what_sqs_has_lost_is_missed_by_nobody() -> None:
    lost = replace(RETRIED, dead_messages=[message(3)], dead_letters_lost_at=at(3))
    assert violations(lost) == []
    assert violations(replace(LITTERED, letters=(), dead_messages=(), queue_lost_at=at(1))) == []
    unheard = [Garbage("litter", at(1))]
    assert violations(replace(LITTERED, garbage=unheard, letters=(), dead_messages=())) == []


CASES = (
    BAD_ASKING
    | BAD_WATCHING
    | {
        "it is not terminal": ("accepted_is_kept", replace(with_changes(COMPLETED[:2]), dispatched=["t"])),
        "it is not stored": ("accepted_is_kept", replace(GOOD, changes=(), stored={}, views=())),
        "it was never answered": (
            "accepted_is_kept",
            replace(Evidence(), requests=[Request("k", End.SUCCESS)]),
        ),
        "a key has two tasks": (
            "one_task_per_key",
            replace(GOOD, requests=[Request("k", End.SUCCESS, answers=["t", "u"])]),
        ),
        "nobody asked for it": ("one_task_per_key", replace(GOOD, requests=())),
        "it ended twice": ("one_outcome", with_changes((*COMPLETED, change(6, "FAILED", 2, 7)))),
        "it went on after its end": ("one_outcome", with_changes((*COMPLETED, change(6, "PENDING", 2, 7)))),
        "it ended again": (
            "one_outcome",
            with_changes((*RETRIED.changes, replace(RETRIED.changes[-1], version=9)), RETRIED),
        ),
        "it ran again without being PENDING": (
            "one_outcome",
            with_changes((*FAILED.changes, change(4, "PROCESSING", 2, 7)), RETRIED),
        ),
        "nobody wanted it to live again": ("another_life_is_asked_for", replace(RETRIED, asks=())),
        "it lived again before somebody asked": (
            "another_life_is_asked_for",
            replace(RETRIED, asks=[Ask(at(5.1), "t")]),
        ),
        "somebody asked for another task": (
            "another_life_is_asked_for",
            replace(RETRIED, asks=[Ask(at(4), "u")]),
        ),
        "an old dead letter brought it back": (
            "another_life_is_asked_for",
            replace(RETRIED, asks=[Ask(at(4), "t", attempt=2)]),
        ),
        "a redrive brought back what was CANCELLED": (
            "another_life_is_asked_for",
            with_changes(
                (*CANCELLED.changes, change(3, "PENDING", 0, 3)), replace(CANCELLED, asks=[Ask(at(2))])
            ),
        ),
        "one ask brought two lives": (
            "another_life_is_asked_for",
            with_changes((*RETRIED.changes, change(9, "PENDING", 3, 10, max_attempts=6)), RETRIED),
        ),
        "retryTask had no effect": (
            "another_life_is_asked_for",
            replace(FAILED, asks=[Ask(at(4), "t", version=4)]),
        ),
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
        "a life brought too many attempts": (
            "attempts_stay_within_limits",
            with_changes(
                (
                    *FAILED.changes,
                    *(replace(c, max_attempts=c.max_attempts + 1) for c in RETRIED.changes[3:]),
                ),
                RETRIED,
            ),
        ),
        "a life brought no attempts": (
            "attempts_stay_within_limits",
            with_changes((*FAILED.changes, replace(RETRIED.changes[3], max_attempts=3)), RETRIED),
        ),
        "an attempt that was given back counts": (
            "attempts_stay_within_limits",
            with_changes((*RETRIED.changes[:5], replace(RETRIED.changes[5], max_attempts=4)), RETRIED),
        ),
        "an attempt that was not given back does not count": (
            "attempts_stay_within_limits",
            with_changes((*COMPLETED[:2], replace(COMPLETED[2], max_attempts=4))),
        ),
        "an attempt began too early": (
            "no_attempt_begins_before_it_is_due",
            with_changes((*COMPLETED[:3], replace(COMPLETED[3], at=at(3.9)), COMPLETED[4])),
        ),
        "it failed though it should not": ("it_ends_as_it_must", with_last(status="FAILED")),
        "it completed though it should not": ("it_ends_as_it_must", with_last(FAILED, status="COMPLETED")),
        "it failed of something else": ("it_ends_as_it_must", with_last(FAILED, failure_code="EXCEPTION")),
        "its first life ended as it should not": (
            "it_ends_as_it_must",
            with_changes(
                replace(c, failure_code="EXCEPTION") if c.version == 3 else c for c in RETRIED.changes
            ),
        ),
        "it crashed with attempts left": (
            "it_ends_as_it_must",
            with_last(FAILED, failure_code="CRASHED", attempt_outcome="LOST"),
        ),
        "a cancellation had no effect": (
            "it_ends_as_it_must",
            replace(
                GOOD, requests=[Request("k", End.SUCCESS, answers=["t"], cancelling=True, cancelled=True)]
            ),
        ),
        "a dead letter is missing": ("dead_letters_are_the_failures", replace(FAILED, letters=())),
        "the second life's dead letter is missing": (
            "dead_letters_are_the_failures",
            replace(RETRIED, letters=[letter(1, 2)]),
        ),
        "a dead letter is too many": ("dead_letters_are_the_failures", replace(GOOD, letters=[letter(2, 6)])),
        "a dead letter was not sent": (
            "dead_letters_are_the_failures",
            replace(FAILED, letters=[letter(1, 2, sent=False)]),
        ),
        "garbage is gone": ("garbage_is_kept_as_dead_letters", replace(LITTERED, letters=())),
        "garbage is gone that came after the loss": (
            "garbage_is_kept_as_dead_letters",
            replace(LITTERED, letters=(), queue_lost_at=at(0.5)),
        ),
        "a message was taken for garbage": ("garbage_is_kept_as_dead_letters", replace(LITTERED, garbage=())),
        "the queue has not the dead letter": (
            "the_dead_letter_queue_holds_the_dead_letters",
            replace(FAILED, dead_messages=()),
        ),
        "the queue has not the second life's dead letter": (
            "the_dead_letter_queue_holds_the_dead_letters",
            replace(RETRIED, dead_messages=[message(1)], dead_letters_lost_at=at(8)),
        ),
        "the queue has it with another attempt": (
            "the_dead_letter_queue_holds_the_dead_letters",
            replace(FAILED, dead_messages=[message(1), message(2)]),
        ),
        "the queue has it with another reason": (
            "the_dead_letter_queue_holds_the_dead_letters",
            replace(FAILED, letters=[letter(1, 2, reason="CRASHED: …")]),
        ),
        "the queue has garbage that nobody sent": (
            "the_dead_letter_queue_holds_the_dead_letters",
            replace(GOOD, dead_messages=LITTERED.dead_messages),
        ),
        "an unfinished task has no dispatch row": (
            "dispatch_rows_are_the_unfinished",
            with_changes(COMPLETED[:2]),
        ),
        "a finished task has a dispatch row": (
            "dispatch_rows_are_the_unfinished",
            replace(GOOD, dispatched=["t"]),
        ),
        "a message was acknowledged too early": (
            "acknowledged_after_it_is_recorded",
            replace(GOOD, deliveries=[Delivery("t", at(0.5), at(1.5))]),
        ),
        "a process was left behind": ("processes_behave", replace(GOOD, processes=["left behind: 7"])),
    }
)


@pytest.mark.parametrize("name", CASES)
def test_a_bad_history_is_caught(name: str) -> None:
    rule, evidence = CASES[name]
    assert rule in broken(evidence)


def test_every_rule_has_a_history_that_breaks_it() -> None:
    assert {rule for rule, _ in CASES.values()} == {rule.__name__ for rule in RULES}


def test_an_acknowledgement_that_another_message_may_explain_is_no_violation() -> None:
    twice = [Delivery("t", at(0.4), at(1.5)), Delivery("t", at(0.5))]
    assert violations(replace(GOOD, deliveries=twice)) == []
