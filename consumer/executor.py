"""One message, from receipt to acknowledgement.

Invariant: a message is acknowledged only when PostgreSQL holds what it was about; whatever goes wrong before
that, the message, the lease or the dispatch row brings the task back.
"""

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import assert_never

from consumer.attempt import Attempt, StopReason
from consumer.heartbeat import Heartbeat
from consumer.progress import ProgressReporter
from consumer.recorder import Recorder
from taskql.errors import Unavailable
from taskql.follow_ups import FollowUps
from taskql.marks import attempt_marked
from taskql.message import ForeignMessage, decode
from taskql.notices import tell
from taskql.policy import Policy
from taskql.ports import (
    Claimed,
    EventSink,
    Finished,
    GivenUp,
    LeasedElsewhere,
    LeaseStore,
    Message,
    MessageReceiver,
    NoHandler,
    NotDue,
    Outbox,
    ResultStore,
    Unknown,
)
from taskql.registry import Registry
from taskql.task import Lease, Task

REST = timedelta(seconds=1)
"""How long a message rests that could not be dealt with, because PostgreSQL is away, say."""

log = logging.getLogger(__name__)


class Executor:
    """Performs what messages point to; knows the attempts that run."""

    def __init__(
        self,
        leases: LeaseStore,
        receiver: MessageReceiver,
        events: EventSink,
        outbox: Outbox,
        registry: Registry,
        *,
        lease_for: timedelta,
        beat_every: timedelta,
        policy: Policy,
        resources: Mapping[type, object],
        results: ResultStore | None,
    ) -> None:
        self._leases = leases
        self._receiver = receiver
        self._events = events
        self._outbox = outbox
        self._registry = registry
        self._kinds = tuple(registry)
        self._recorder = Recorder(leases, events, results, policy.max_row_bytes)
        self._policy = policy
        self._resources = resources
        self._lease_for = lease_for
        self._beat_every = beat_every
        self._attempts: dict[Lease, Attempt] = {}
        self._draining = False

    async def execute(self, message: Message) -> None:
        """Decode, claim, run under heartbeat, record, acknowledge."""
        heartbeat = Heartbeat(self._leases, self._receiver, message, self._lease_for, self._beat_every)
        try:
            async with heartbeat:
                await self._settle(message, heartbeat)
        except Unavailable as error:
            log.warning("a message goes back to its queue: %s", error)
            await self._hide(message, REST)

    def stop_attempts(self) -> None:
        """Give back what runs or is about to; each attempt ends as soon as its handler lets it."""
        self._draining = True
        for attempt in self._attempts.values():
            attempt.stop(StopReason.DRAINED)

    async def stop_lost_attempts(self) -> None:
        """Stop what was cancelled or rescued meanwhile, long before the next heartbeat would tell."""
        if running := dict(self._attempts):
            held = await self._leases.held(running.keys())
            for lease in running.keys() - held:
                running[lease].stop(StopReason.LEASE_LOST)

    async def _settle(self, message: Message, heartbeat: Heartbeat) -> None:
        try:
            claim = await self._leases.claim(decode(message.body), self._kinds, self._lease_for)
        except ForeignMessage as error:
            return await self._bury(message, f"FOREIGN_MESSAGE: {error}")
        match claim:
            case Claimed():
                with attempt_marked(claim.task, claim.traceparent):
                    await self._perform(claim, message, heartbeat)
            case Finished() if message.failed_attempt is not None:
                await self._redrive(message, message.failed_attempt)
            case Finished() | NotDue() | NoHandler():
                log.debug("nothing to do for %s: %s", message.body, claim)
                await self._acknowledge(message)
            case LeasedElsewhere() if message.ordering_group is not None:
                # Hidden, a repeat would hold up its group. Should the lease be lost, the rescuer sends anew.
                await self._acknowledge(message)
            case LeasedElsewhere(remaining):
                await self._hide(message, max(remaining, REST))
            case GivenUp(event):
                log.warning("task %s is given up: no worker that it met knows its kind", event.id)
                self._events.publish(event)
                if message.ordering_group is not None:
                    self._outbox.wake([message.ordering_group])
                await self._acknowledge(message)
            case Unknown():
                await self._bury(message, "UNKNOWN_TASK: no task has this id")
            case _:
                assert_never(claim)

    async def _perform(self, claimed: Claimed, message: Message, heartbeat: Heartbeat) -> None:
        task, lease = claimed.task, claimed.lease
        self._events.publish(task)
        reporter = ProgressReporter(self._leases, self._events, lease)
        attempt = self._attempt(task, reporter)
        heartbeat.hold(lease, lost=lambda: attempt.stop(StopReason.LEASE_LOST))
        self._attempts[lease] = attempt
        if self._draining:
            attempt.stop(StopReason.DRAINED)
        try:
            async with reporter:
                outcome = await attempt.run()
            created = await self._recorder.record(claimed, outcome, keep_trying=self._lease_for)
            self._let_the_next_go(task)
            tell(created, self._outbox, self._events)
            await self._acknowledge(message)
        finally:
            del self._attempts[lease]
        heartbeat.let_go()
        await attempt.settled()

    def _attempt(self, task: Task, reporter: ProgressReporter) -> Attempt:
        return Attempt(
            self._registry[task.kind],
            task,
            reporter.report,
            FollowUps(task.owner, self._registry),
            self._resources,
            self._policy,
        )

    async def _redrive(self, message: Message, failed_attempt: int) -> None:
        """A dead letter was put back: its task runs again, if it FAILED at just that attempt."""
        task_id = decode(message.body)
        revived = await self._leases.redrive(task_id, failed_attempt, self._registry.max_attempts)
        if revived is not None:
            tell([revived], self._outbox, self._events)
        await self._acknowledge(message)

    async def _bury(self, message: Message, reason: str) -> None:
        """Keep a message that is not ours as a dead letter, where an operator finds it."""
        log.warning("a message on queue %r is not ours (%s)", message.queue, reason)
        await self._leases.bury(message.queue, message.body, reason)
        await self._acknowledge(message)

    def _let_the_next_go(self, task: Task) -> None:
        """Its ordering group has changed: have the relay look at once for whose turn it is there."""
        if task.ordering_group is not None:
            self._outbox.wake([task.ordering_group])

    async def _acknowledge(self, message: Message) -> None:
        """A failed acknowledgement is harmless: the message comes again and finds nothing to do."""
        try:
            await self._receiver.acknowledge(message)
        except Unavailable as error:
            log.warning("a message could not be acknowledged: %s", error)

    async def _hide(self, message: Message, duration: timedelta) -> None:
        try:
            await self._receiver.hide(message, duration)
        except Unavailable as error:
            log.warning("a message stays invisible until its time-out: %s", error)
