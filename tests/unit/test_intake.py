"""How messages are brought into free slots, on scripted queues."""

from collections import Counter

import pytest

from consumer import intake as module
from taskql.ports import POLLS_OF_A_QUEUE
from taskql.queues import SHARES, Queue
from tests.unit.intake_run import an_intake, turns_of_the_loop
from tests.unit.scripted import AT_ONCE, AWAY, HOUR, NOTHING, Outside, messages


@pytest.fixture
def outside() -> Outside:
    return Outside()


@pytest.fixture(autouse=True)
def short_head_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEAD_START", AT_ONCE)


# ---------------------------------------------------------------- listening


async def test_an_idle_worker_listens_to_each_queue_with_one_poll(outside: Outside) -> None:
    async with an_intake(outside, 1):
        await outside.until_idle()
        await turns_of_the_loop()
        assert [queue for queue, _ in outside.asked] == list(SHARES)


@pytest.mark.parametrize("queue", Queue)
async def test_whichever_queue_brings_something_first_starts_at_once(outside: Outside, queue: Queue) -> None:
    async with an_intake(outside, 1) as run:
        await outside.until_idle()
        outside.bring(*messages(1, queue))
        await run.until_started(1)
        assert run.queues == [queue]


async def test_the_next_queue_is_asked_only_after_a_head_start(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEAD_START", HOUR)
    async with an_intake(outside, 1) as run:
        await outside.until(lambda: bool(outside.polls))
        await turns_of_the_loop()
        assert [queue for queue, _ in outside.asked] == [Queue.HIGH]
        outside.bring(*messages(1, Queue.HIGH))
        await run.until_started(1)


async def test_no_more_messages_are_asked_for_than_there_are_free_slots(outside: Outside) -> None:
    async with an_intake(outside, 5) as run:
        await outside.until_idle()
        for number in range(1, 6):
            outside.bring(*messages(1, Queue.HIGH))
            await run.until_started(number)
            await turns_of_the_loop()
        limits = [limit for queue, limit in outside.asked if queue is Queue.HIGH]
        assert limits[1:] == [4, 3, 2, 1]
        assert Queue.HIGH not in outside.polls, "without a free slot nothing is asked for"
        await run.free()
        await outside.until(lambda: Queue.HIGH in outside.polls)
        assert outside.asked[-1] == (Queue.HIGH, 1)


async def test_no_more_than_ten_messages_are_asked_for(outside: Outside) -> None:
    async with an_intake(outside, 500):
        await outside.until_idle()
        assert max(limit for _, limit in outside.asked) == 10


# ---------------------------------------------------------------- in turn


@pytest.mark.parametrize("backlog", [Queue.NORMAL, Queue.LOW, Queue.FIFO])
async def test_high_overtakes_a_backlog_at_the_next_free_slot(outside: Outside, backlog: Queue) -> None:
    outside.hold(*messages(100, backlog))
    async with an_intake(outside, 1) as run:
        await run.until_started(1)
        while outside.polls.keys() != set(Queue) - {backlog}:
            await run.free()
            await run.until_started(len(run.started) + 1)
            await turns_of_the_loop()
        [urgent] = messages(1, Queue.HIGH)
        outside.bring(urgent)
        await outside.until(lambda: ("hide", urgent, NOTHING) in outside.log)
        await run.free()
        await run.until_started(len(run.started) + 1)
        assert run.started[-1] == urgent


async def test_what_comes_without_a_free_slot_is_given_back_at_once_and_once(outside: Outside) -> None:
    async with an_intake(outside, 2) as run:
        await outside.until_idle()
        outside.bring(*messages(2))
        await run.until_started(2)
        late = messages(2, Queue.LOW)
        outside.bring(*late)
        await outside.until(lambda: len(outside.named("hide")) == 2)
        await turns_of_the_loop()
        assert {message for _, message, _ in outside.named("hide")} == set(late)
        assert outside.polls.keys() == {Queue.HIGH, Queue.FIFO}
        asked = len(outside.asked)
        await turns_of_the_loop()
        assert len(outside.asked) == asked, "nothing is asked for until there is a slot"
        await run.free(2)
        await run.until_started(4)
        assert set(run.started[2:]) == set(late)


async def test_queues_with_backlogs_share_one_slot_by_weight(outside: Outside) -> None:
    for queue in Queue:
        outside.hold(*messages(300, queue))
    async with an_intake(outside, 1, is_quick=True) as run:
        await run.until_started(210)
        found = Counter(run.queues[:210])
    assert found == {queue: 10 * share for queue, share in SHARES.items()}


async def test_of_slots_that_become_free_together_low_has_its_portion_alone(outside: Outside) -> None:
    """Else its turn could fill all of them, and the next would have to wait for the end of its tasks."""
    for queue in Queue:
        outside.hold(*messages(300, queue))
    async with an_intake(outside, 10) as run:
        for wave in range(1, 22):
            await run.until_started(10 * wave)
            assert run.queues[10 * wave - 10 : 10 * wave].count(Queue.LOW) <= 1
            await run.free(10)
        found = Counter(run.queues[:210])
    for queue, share in SHARES.items():
        assert found[queue] == pytest.approx(10 * share, abs=3)


async def test_queues_that_answer_from_afar_share_by_weight_too(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answer takes longer than the head start; without its place kept, LOW would starve."""
    monkeypatch.setattr(module, "HEAD_START", NOTHING)
    outside.turns_of_an_answer = 20
    for queue in (Queue.HIGH, Queue.LOW):
        outside.hold(*messages(3_000, queue))
    async with an_intake(outside, 1) as run:
        for count in range(1, 131):
            await run.until_started(count)
            await turns_of_the_loop()
            await run.free()
        found = Counter(run.queues)
    assert 6 <= found[Queue.LOW] <= 40


# ---------------------------------------------------------------- requests


async def test_a_backlog_costs_one_request_a_message_with_one_slot(outside: Outside) -> None:
    async with an_intake(outside, 1, is_quick=True) as run:
        await outside.until_idle()
        listening = len(outside.asked)
        outside.bring(*messages(200))
        await run.until_started(200)
        assert len(outside.asked) - listening <= 200
        assert outside.named("hide") == []


async def test_a_backlog_costs_one_request_for_all_slots_that_are_free(outside: Outside) -> None:
    async with an_intake(outside, 10) as run:
        await outside.until_idle()
        outside.hold(*messages(200))
        outside.end_polls(Queue.NORMAL)
        for wave in range(1, 21):
            await run.until_started(10 * wave)
            listening = len(outside.asked)
            await run.free(10)
            await turns_of_the_loop()
            assert len(outside.asked) <= listening + 1
        assert outside.named("hide") == []


async def test_slots_that_become_free_while_a_request_is_under_way_are_filled_by_the_next(
    outside: Outside,
) -> None:
    async with an_intake(outside, 20) as run:
        await outside.until_idle()
        outside.hold(*messages(60))
        outside.end_polls(Queue.NORMAL)
        await run.until_started(20)
        outside.turns_of_an_answer = 1_000
        asked = len(outside.asked)
        for _ in range(10):
            await run.free()
            await turns_of_the_loop()
        await run.until_started(30)
        assert outside.asked[asked:] == [(Queue.NORMAL, 1), (Queue.NORMAL, 9)]


async def test_many_free_slots_are_asked_for_while_a_request_is_under_way(outside: Outside) -> None:
    async with an_intake(outside, 40) as run:
        await outside.until_idle()
        outside.hold(*messages(90))
        outside.end_polls(Queue.NORMAL)
        await run.until_started(40)
        outside.turns_of_an_answer = 1_000
        await run.free(40)
        await turns_of_the_loop()
        assert outside.asked[-2:] == [(Queue.NORMAL, 10), (Queue.NORMAL, 10)]
        assert len(outside.polls[Queue.NORMAL]) == POLLS_OF_A_QUEUE
        await run.until_started(80)
        assert outside.named("hide") == []


async def test_a_queue_that_has_run_dry_is_soon_listened_to_by_one_poll_alone(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PROMPT", NOTHING)
    async with an_intake(outside, 40) as run:
        await outside.until_idle()
        outside.bring(*messages(40))
        await run.until_started(40)
        await run.free(40)
        await outside.until(lambda: len(outside.polls.get(Queue.NORMAL, [])) == POLLS_OF_A_QUEUE)
        outside.end_polls(Queue.NORMAL)
        await turns_of_the_loop()
        assert len(outside.polls[Queue.NORMAL]) == 1


async def test_a_queue_that_was_silent_keeps_one_slot_waiting_and_no_more(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with an_intake(outside, 10) as run:
        await outside.until_idle()
        monkeypatch.setattr(module, "HEAD_START", HOUR)
        monkeypatch.setattr(module, "PROMPT", NOTHING)
        outside.end_polls(Queue.HIGH)
        await outside.until(lambda: outside.asked[-1] == (Queue.HIGH, 10))
        outside.bring(*messages(1))
        await run.until_started(1)
        await outside.until(lambda: outside.polls.keys() == set(Queue))
        assert outside.asked[-1] == (Queue.NORMAL, 8)


async def test_a_queue_that_answers_at_once_that_it_is_empty_is_left_alone_for_a_while(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PROMPT", HOUR)
    async with an_intake(outside, 1) as run:
        await outside.until_idle()
        outside.end_polls(Queue.HIGH, Queue.LOW)
        await outside.until(lambda: len(outside.polls) == 2)
        await turns_of_the_loop()
        assert outside.polls.keys() == {Queue.NORMAL, Queue.FIFO}
        outside.bring(*messages(1, Queue.FIFO))
        await run.until_started(1)


async def test_a_queue_that_stayed_empty_is_asked_again(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PROMPT", NOTHING)
    async with an_intake(outside, 1):
        for round_ in range(1, 4):
            await outside.until(lambda: outside.polls.keys() == set(Queue))
            assert len(outside.asked) == 4 * round_
            outside.end_polls()
            await outside.until(lambda round_=round_: len(outside.asked) == 4 * round_ + 4)  # type: ignore[misc]


async def test_a_queue_that_is_away_is_asked_again_and_holds_up_no_other(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside.fails("receive high", *[AWAY] * 4)
    outside.hold(*messages(1, Queue.HIGH))
    async with an_intake(outside, 5) as run:
        await outside.until(lambda: len(outside.polls) == 3)
        outside.bring(*messages(1, Queue.LOW))
        await run.until_started(1)
        assert run.queues == [Queue.LOW], "HIGH backs off"
        assert len(outside.named("receive high")) == 1
    monkeypatch.setattr("taskql.upkeep.pace.FIRST_PAUSE", NOTHING)
    async with an_intake(outside, 5) as run:
        await run.until_started(1)
        assert run.queues == [Queue.HIGH]
    assert len(outside.named("receive high")) >= 5


# ---------------------------------------------------------------- stopping


async def test_open_polls_are_left_to_finish_and_what_they_bring_is_given_back(outside: Outside) -> None:
    async with an_intake(outside, 1) as run:
        await outside.until_idle()
        run.stopping.set()
        await turns_of_the_loop()
        assert len(outside.polls) == 4
        outside.bring(*messages(1, Queue.LOW))
        outside.end_polls()
        await run.end()
    assert run.started == []
    assert len(outside.named("hide")) == 1


async def test_an_answer_that_never_comes_holds_up_the_end_no_longer_than_a_poll(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER", AT_ONCE)
    async with an_intake(outside, 1, poll=AT_ONCE) as run:
        await outside.until_idle()
        run.stopping.set()
        await run.end()


async def test_a_queue_that_backs_off_holds_up_no_end(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskql.upkeep.pace.FIRST_PAUSE", HOUR)
    for queue in Queue:
        outside.fails(f"receive {queue}", AWAY)
    async with an_intake(outside, 1) as run:
        await outside.until(lambda: len(outside.asked) == 4)
        run.stopping.set()
        await run.end()
