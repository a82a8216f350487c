"""What a handler is given besides its input."""

import logging
from threading import Thread
from uuid import UUID

import pytest

from taskql.context import FollowUp
from taskql.queues import TaskPriority
from tests.unit.contexts import TASK_ID, a_context


class Client: ...


def test_the_log_names_the_task_in_each_record_and_keeps_what_the_handler_adds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        a_context().log.info("read %d rows", 3, extra={"rows": 3, "kind": "mine"})
    [record] = caplog.records
    assert record.name == "task.test"
    assert record.getMessage() == f"read 3 rows [task {TASK_ID}, attempt 1]"
    assert (record.task_id, record.kind, record.attempt) == (str(TASK_ID), "test", 1)  # type: ignore[attr-defined]
    assert record.rows == 3  # type: ignore[attr-defined]


def test_the_log_can_be_used_from_a_thread(caplog: pytest.LogCaptureFixture) -> None:
    context = a_context()
    with caplog.at_level(logging.INFO):
        thread = Thread(target=lambda: context.log.info("100 %"))
        thread.start()
        thread.join()
    assert [record.getMessage() for record in caplog.records] == [f"100 % [task {TASK_ID}, attempt 1]"]


def test_the_idempotency_token_is_of_the_task_and_of_no_attempt() -> None:
    assert a_context().idempotency_token == str(TASK_ID)


def test_a_resource_is_found_by_its_very_type() -> None:
    client = Client()
    assert a_context(resources={Client: client}).resource(Client) is client


@pytest.mark.parametrize(
    ("there", "told"),
    [({}, "none at all"), ({str: "a", Client: Client()}, "str, tests.unit.test_context.Client")],
)
def test_a_resource_that_is_missing_is_named_with_those_that_exist(
    there: dict[type, object], told: str
) -> None:
    with pytest.raises(LookupError) as raised:
        a_context(resources=there).resource(bytes)
    assert f"no lifespan yields bytes here; there is {told}." in str(raised.value)


def test_a_follow_up_is_handed_on_as_it_was_asked_for() -> None:
    asked: list[FollowUp] = []

    def create(follow_up: FollowUp) -> UUID:
        asked.append(follow_up)
        return UUID(int=9)

    assert a_context(create=create).create_task("reverse", {"inputData": "a"}, title="next") == UUID(int=9)
    assert asked == [
        FollowUp(
            handler="reverse",
            input={"inputData": "a"},
            title="next",
            description=None,
            tags=(),
            priority=TaskPriority.NORMAL,
            run_at=None,
            expires_at=None,
            ordering_key=None,
        )
    ]
