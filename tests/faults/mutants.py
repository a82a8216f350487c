"""Mutants: the product with one safeguard taken out, by changing it in memory as a process starts.

Each must make the checker fail; one that no longer finds what it takes out stops its process.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

MUTANT = "TASKQL_FAULTS_MUTANT"
"""The variable that names the mutant."""

DISPATCH = "taskql.adapters.postgres.dispatch"
CLAIMS = "taskql.adapters.postgres.claims"
LEASES = "taskql.adapters.postgres.leases"
TASKS = "taskql.adapters.postgres.tasks"
CREATE = ("CREATE_ALONE", "CREATE_WITHIN")


class MutantError(Exception):
    """The product no longer has what the mutant takes out: adapt the mutant."""


async def nothing(*_: Any, **__: Any) -> list[Any]:
    return []


async def no_rows(*_: Any, **__: Any) -> int:
    return 0


def ignore(*_: Any, **__: Any) -> None:
    pass


async def unsent(self: Any, letters: Any) -> Any:
    return letters


def no_fence(role: str) -> None:
    """Whoever names the task may write, whatever attempt it holds."""
    for name in ("EXTEND", "COMPLETE", "FAIL", "BACK_TO_PENDING"):
        cut(LEASES, name, "AND d.attempt = :attempt")
    cut(LEASES, "COMPLETE_MANY", "AND d.attempt = given.attempt")
    cut(LEASES, "COMPLETE_MANY", "AND given.attempt = mine.attempt")
    cut(LEASES, "PROGRESS", "AND t.attempt = :attempt")
    cut(LEASES, "STILL_HELD", "AND d.attempt = lease.attempt")


def no_rescuer(role: str) -> None:
    """Nobody looks for leases that have ended."""
    replace(DISPATCH, "PostgresDispatch", "rescue_expired", nothing)


def no_resend(role: str) -> None:
    """Nobody looks for messages that a queue lost."""
    replace(DISPATCH, "PostgresDispatch", "resend_lost", no_rows)


def no_dispatch_row(role: str) -> None:
    """The task alone is stored; what is to be sent is only in the API's memory."""
    for name in CREATE:
        cut(TASKS, name, "placed USING (id)\n)", "placed USING (id) WHERE false\n)")


def acknowledge_before_record(role: str) -> None:
    """The message is gone as soon as the handler has returned, before its outcome is stored."""
    if role != "consumer":
        return
    executor = import_module("consumer.executor").Executor
    recorder = import_module("consumer.recorder").Recorder
    hold, record = executor._perform, recorder.record
    waiting: dict[Any, Callable[[], Any]] = {}

    async def perform(self: Any, claimed: Any, message: Any, heartbeat: Any) -> None:
        waiting[claimed.lease] = lambda: self._acknowledge(message)
        await hold(self, claimed, message, heartbeat)

    async def acknowledge_and_record(self: Any, claimed: Any, *arguments: Any, **options: Any) -> Any:
        await waiting.pop(claimed.lease)()
        return await record(self, claimed, *arguments, **options)

    replace("consumer.executor", "Executor", "_perform", perform)
    replace("consumer.recorder", "Recorder", "record", acknowledge_and_record)


def retry_without_due_check(role: str) -> None:
    """A duplicate that comes early begins the next attempt at once."""
    cut(CLAIMS, "CLAIM", "AND d.available_at <= clock_timestamp()")


def no_reconcile(role: str) -> None:
    """What Redis loses, the hub never looks up."""
    if role == "gql":
        replace("gql.hub", "Hub", "_reconcile", nothing)


def no_resync(role: str) -> None:
    """The hub does not care that events were lost, and never looks whether some were."""
    no_reconcile(role)
    if role == "gql":
        replace("gql.hub", "Hub", "_lose", ignore)
        replace("gql.hub", "Hub", "_regain", ignore)


def snapshot_before_subscribe(role: str) -> None:
    """Newcomers are shown what PostgreSQL has, and only then does somebody listen.

    The reconcile, which would find within seconds what fell in between, is out too.
    """
    no_reconcile(role)
    if role != "gql":
        return

    async def welcome(self: Any, newcomers: Any) -> None:
        for owner, watcher in newcomers:
            await self._look(owner, [watcher])
        await self._listening.listen({watcher.watched for _, watcher in newcomers if watcher.watched})

    replace("gql.hub", "Hub", "_welcome", welcome)


def no_version_check(role: str) -> None:
    """Whatever comes is handed on, be it old or known."""
    if role != "gql":
        return
    Task = import_module("taskql.task").Task

    async def tell(self: Any, news: Any) -> None:
        if isinstance(news, Task):
            self._whole = news
        elif self._whole is None:
            self._keep_early(news)
            return
        self.newest = news
        self.texts.clear()
        for watcher in self.watchers:
            watcher.version = None
        await self.tell_each(list(self.watchers))

    replace("gql.watched", "Watched", "tell", tell)


def no_dead_letters_sent(role: str) -> None:
    """Dead letters are marked as sent, and that is all."""
    replace("taskql.adapters.sqs.sender", "SqsSender", "send_dead_letters", unsent)


def redrive_without_attempt_check(role: str) -> None:
    """Any dead letter brings its task back, however old."""
    cut(LEASES, "REDRIVE", "AND t.attempt = :attempt")


def no_order(role: str) -> None:
    """Whoever waits for its turn is sent and claimed all the same."""
    cut(DISPATCH, "RESERVE_DUE", "AND NOT blocked")
    cut(CLAIMS, "CLAIM", "AND NOT d.blocked")


def sent_before_due(role: str) -> None:
    """Nobody looks at the clock before a task is sent, nor before it is claimed."""
    cut(DISPATCH, "RESERVE_DUE", "AND available_at <= now()")
    retry_without_due_check(role)


def expire_started(role: str) -> None:
    """A claim does not put an end to the wait."""
    cut(CLAIMS, "CLAIM", ", expires_at = NULL")
    cut(DISPATCH, "EXPIRE", "AND d.lease_expires_at IS NULL")


def no_idempotency(role: str) -> None:
    """The key of a request is forgotten as its task is stored."""
    for name in CREATE:
        cut(TASKS, name, "key, hash, trace\n    FROM placed", "NULL, NULL, trace\n    FROM placed")


def follow_ups_apart(role: str) -> None:
    """The follow-ups of a task are stored after its outcome, and not with it."""
    leases = import_module(LEASES)
    if not callable(getattr(leases, "transaction", None)):
        raise MutantError(f"{LEASES} has no transaction()")
    leases.transaction = leases.connection  # type: ignore[attr-defined]


MUTANTS: dict[str, Callable[[str], None]] = {
    mutant.__name__: mutant
    for mutant in (
        no_fence,
        no_rescuer,
        no_resend,
        no_dispatch_row,
        acknowledge_before_record,
        retry_without_due_check,
        no_reconcile,
        no_resync,
        snapshot_before_subscribe,
        no_version_check,
        no_dead_letters_sent,
        redrive_without_attempt_check,
        no_order,
        sent_before_due,
        expire_started,
        no_idempotency,
        follow_ups_apart,
    )
}


def install(name: str, role: str) -> None:
    """In a process of ours, before it starts; `role` is the package that it runs."""
    MUTANTS[name](role)


def cut(module: str, name: str, part: str, instead: str = "") -> None:
    """Take `part` out of a statement."""
    statement = getattr(import_module(module), name)
    clause = getattr(statement, "element", statement)  # of a TextualSelect
    if part not in clause.text:
        raise MutantError(f"{module}.{name} has no {part!r}")
    clause.text = clause.text.replace(part, instead)


def replace(module: str, owner: str, method: str, by: Callable[..., Any]) -> None:
    target = getattr(import_module(module), owner)
    if not callable(getattr(target, method, None)):
        raise MutantError(f"{module}.{owner} has no {method}()")
    setattr(target, method, by)
