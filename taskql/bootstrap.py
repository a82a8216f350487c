"""The one place where adapters are opened and handed to those who need them."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from taskql import deploy_check
from taskql.adapters import postgres, redis, s3, sqs
from taskql.deploy_check import Progress, Report
from taskql.errors import Denied, StartupError, Unavailable
from taskql.lifespan import opened
from taskql.policy import Policy
from taskql.ports import (
    DeadLetterStore,
    Dispatch,
    EventSink,
    EventSource,
    LeaseStore,
    MessageReceiver,
    MessageSender,
    Outbox,
    QueueStore,
    RateLimiter,
    ResultStore,
    SecretStore,
    SnapshotCache,
)
from taskql.queues import Queue
from taskql.registry import Registry, load_registry
from taskql.service import TaskService
from taskql.settings import DatabaseSettings, Settings
from taskql.startup import Need, Ping, wait_until_ready
from taskql.upkeep import ResultSweeper, Upkeep

LAMBDA_CONNECTIONS = 4
"""To PostgreSQL, of one container: hundreds of them may run at once, each with a few tasks."""

LAMBDA_PATIENCE = timedelta(seconds=5)
"""How long an invocation waits for PostgreSQL when it opens; then its messages go back and come again."""

CHECK_PATIENCE = timedelta(seconds=5)
"""How long checking a deployment waits for PostgreSQL."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ApiServices:
    """What the API process works with."""

    service: TaskService
    event_source: EventSource
    dead_letters: DeadLetterStore
    queues: QueueStore
    secrets: SecretStore
    results: ResultStore | None
    pings: Mapping[str, Ping]
    rates: RateLimiter | None = None
    """Where requests are limited."""


@dataclass(frozen=True, kw_only=True)
class WorkerServices:
    """What a consumer process works with. `resources` are what the handlers' lifespans yield."""

    registry: Registry
    leases: LeaseStore
    receiver: MessageReceiver
    events: EventSink
    outbox: Outbox
    results: ResultStore | None
    raise_watermark: Callable[[Queue, datetime], Awaitable[None]]
    policy: Policy
    resources: Mapping[type, object]


@dataclass(frozen=True, kw_only=True)
class LambdaServices(WorkerServices):
    """What a container of Lambda works with. `flush` waits until the events are on their way."""

    flush: Callable[[], Awaitable[None]]


class NoRelay(Outbox):
    """The outbox of a process that has no relay: one that may be frozen at any moment can't promise to send.

    The relays of other processes find what became due in their sweeps, twice a second, and what was reserved
    for this one (a dead letter's task that runs again) once the reservation has ended, after five seconds.
    """

    def offer(self, dispatches: Sequence[Dispatch]) -> None: ...

    def wake(self, groups: Collection[str] = ()) -> None: ...


@asynccontextmanager
async def open_api(settings: Settings) -> AsyncIterator[ApiServices]:
    """The API's services, with upkeep running. Waits for PostgreSQL alone: it can do without the others."""
    registry = load_registry(settings.handler_modules)
    async with (
        postgres.open_engine(settings.database_url, settings.taskql_database_pool) as engine,
        open_replica(settings) as replica,
        open_events(settings) as events,
        redis.RedisEventSource(settings.redis_url) as event_source,
        open_snapshots(settings, events) as snapshots,
        open_rates(settings) as rates,
        open_sender(settings) as sender,
        open_results(settings) as results,
    ):
        store = postgres.GroupedTasks(engine)
        await wait_until_ready(settings.patience, postgresql(store))
        await postgres.refuse_unmigrated(engine)
        upkeep = open_upkeep(settings, engine, sender, events, results)
        async with upkeep.running():
            yield ApiServices(
                service=TaskService(
                    store,
                    postgres.PostgresControl(engine),
                    postgres.PostgresListings(engine, replica),
                    events,
                    registry,
                    upkeep.relay,
                    snapshots,
                ),
                event_source=event_source,
                dead_letters=postgres.PostgresDeadLetters(engine),
                queues=postgres.PostgresQueues(engine),
                secrets=postgres.PostgresSecrets(engine),
                results=results,
                pings={"postgresql": store.ping, "redis": events.ping, "sqs": sender.ping}
                | ({"s3": results.ping} if results else {}),
                rates=rates,
            )


@asynccontextmanager
async def open_worker(settings: Settings) -> AsyncIterator[WorkerServices]:
    """A consumer's services, with upkeep running. Waits for PostgreSQL and SQS."""
    registry = load_registry(settings.handler_modules)
    async with (
        postgres.open_engine(settings.database_url, settings.taskql_database_pool) as engine,
        open_events(settings) as events,
        open_sender(settings) as sender,
        sqs.open_receiver(
            settings.queue_urls,
            settings.visibility,
            endpoint_url=settings.aws_endpoint_url,
            region=settings.aws_region,
            lean=settings.has_lean_sqs_client,
        ) as receiver,
        open_results(settings) as results,
    ):
        store = postgres.PostgresTasks(engine)
        await wait_until_ready(
            settings.patience,
            postgresql(store),
            Need("SQS", "the SQS_*_URL or AWS_ENDPOINT_URL", receiver.ping),
        )
        await postgres.refuse_unmigrated(engine)
        await refuse_denied(results)
        upkeep = open_upkeep(settings, engine, sender, events, results)
        async with opened(registry.lifespans, settings.patience) as resources, upkeep.running():
            yield WorkerServices(
                registry=registry,
                leases=open_leases(settings, engine),
                receiver=receiver,
                events=events,
                outbox=upkeep.relay,
                results=results,
                raise_watermark=postgres.PostgresDispatch(engine).raise_watermark,
                policy=settings.policy,
                resources=resources,
            )


@asynccontextmanager
async def open_lambda(settings: Settings) -> AsyncIterator[LambdaServices]:
    """A Lambda container's services, without upkeep. Waits for PostgreSQL, but not for long."""
    registry = load_registry(settings.handler_modules)
    connections = min(settings.taskql_database_pool, LAMBDA_CONNECTIONS)
    async with (
        # A container sleeps between invocations: by the next one its connections may be gone.
        postgres.open_engine(settings.database_url, connections, ping_first=True) as engine,
        open_events(settings) as events,
        sqs.open_control(
            settings.queue_urls,
            settings.visibility,
            endpoint_url=settings.aws_endpoint_url,
            region=settings.aws_region,
            lean=settings.has_lean_sqs_client,
        ) as receiver,
        open_results(settings) as results,
    ):
        await wait_until_ready(
            min(settings.patience, LAMBDA_PATIENCE), postgresql(postgres.PostgresTasks(engine))
        )
        await postgres.refuse_unmigrated(engine)
        async with opened(registry.lifespans, settings.patience) as resources:
            yield LambdaServices(
                registry=registry,
                leases=open_leases(settings, engine),
                receiver=receiver,
                events=events,
                outbox=NoRelay(),
                results=results,
                raise_watermark=postgres.PostgresDispatch(engine).raise_watermark,
                flush=events.flush,
                policy=settings.policy,
                resources=resources,
            )


def migrate(settings: Settings) -> str:
    """Bring the database to the newest revision, waiting for it if need be; answers the revision."""

    async def run() -> str:
        # Large tables take their time, and so do other processes that migrate already.
        async with postgres.open_engine(settings.database_url, 2, statement_seconds=None) as engine:
            await wait_until_ready(settings.patience, postgresql(postgres.PostgresTasks(engine)))
            return await postgres.migrate(engine)

    return asyncio.run(run())


@asynccontextmanager
async def open_replica(settings: Settings) -> AsyncIterator[AsyncEngine | None]:
    if settings.database_replica_url is None:
        yield None
        return
    async with postgres.open_engine(settings.database_replica_url, settings.taskql_database_pool) as engine:
        yield engine


def check_deploy(settings: DatabaseSettings, progress: Progress) -> Report:
    """Hold the handlers of this environment against what is stored."""
    registry = load_registry(settings.handler_modules)

    async def run() -> Report:
        async with postgres.open_engine(settings.database_url, 2) as engine:
            await wait_until_ready(CHECK_PATIENCE, postgresql(postgres.PostgresTasks(engine)))
            return await deploy_check.check_deploy(registry, postgres.PostgresBacklog(engine), progress)

    return asyncio.run(run())


def open_upkeep(
    settings: Settings,
    engine: AsyncEngine,
    sender: MessageSender,
    events: EventSink,
    results: ResultStore | None,
) -> Upkeep:
    return Upkeep(
        postgres.PostgresDispatch(engine),
        sender,
        events,
        settings.resend_margin,
        settings.retention,
        ResultSweeper(postgres.PostgresDiscarded(engine), results),
    )


def open_leases(settings: Settings, engine: AsyncEngine) -> LeaseStore:
    return postgres.GroupedLeases(postgres.PostgresLeases(engine, settings.unknown_kind_patience))


def open_events(settings: Settings) -> redis.RedisEventSink:
    return redis.RedisEventSink(settings.redis_url, snapshots=settings.has_status_cache)


@asynccontextmanager
async def open_snapshots(
    settings: Settings, events: redis.RedisEventSink
) -> AsyncIterator[SnapshotCache | None]:
    if not settings.has_status_cache:
        yield None
        return
    async with redis.RedisSnapshots(settings.redis_url, events) as snapshots:
        yield snapshots


@asynccontextmanager
async def open_rates(settings: Settings) -> AsyncIterator[RateLimiter | None]:
    if settings.taskql_rate_limit is None:
        yield None
        return
    async with redis.RedisBuckets(
        settings.redis_url, settings.taskql_rate_limit, settings.rate_burst
    ) as buckets:
        yield buckets


@asynccontextmanager
async def open_results(settings: Settings) -> AsyncIterator[ResultStore | None]:
    """Where large results go; None for a deployment that has none."""
    if settings.results_bucket is None:
        yield None
        return
    async with s3.open_results(
        settings.results_bucket, endpoint_url=settings.aws_endpoint_url, region=settings.aws_region
    ) as results:
        yield results


async def refuse_denied(results: ResultStore | None) -> None:
    """A bucket that can't be used is named before a result is lost to it; an outage will pass."""
    try:
        if results is not None:
            await results.ping()
    except Denied as error:
        raise StartupError(f"{error} Check RESULTS_BUCKET.") from error
    except Unavailable as error:
        log.warning("large results have to wait: %s", error)


def open_sender(settings: Settings) -> AbstractAsyncContextManager[sqs.SqsSender]:
    return sqs.open_sender(
        settings.queue_urls,
        settings.dead_letter_urls,
        endpoint_url=settings.aws_endpoint_url,
        region=settings.aws_region,
        lean=settings.has_lean_sqs_client,
    )


def postgresql(store: postgres.PostgresTasks) -> Need:
    return Need("PostgreSQL", "DATABASE_URL", store.ping)
