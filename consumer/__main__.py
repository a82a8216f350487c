"""`python -m consumer`: one worker process."""

import asyncio
import gc
import logging
import os
import signal
import sys

import uvloop

from consumer.courtesy import Courtesy
from consumer.executor import Executor
from consumer.watermark import Watermarks
from consumer.worker import Worker
from taskql.bootstrap import WorkerServices, open_worker
from taskql.logs import set_up_logging
from taskql.settings import Settings, load_settings
from taskql.startup import in_words

log = logging.getLogger("consumer")


def main() -> int:
    """Run until SIGTERM or SIGINT; a second one cuts the drain short."""
    with in_words("the consumer can't start"):
        settings = load_settings()
        set_up_logging(settings.log_level, settings.taskql_log_format)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(work(settings))
    return 0


async def work(settings: Settings) -> None:
    stopping, hurry = asyncio.Event(), asyncio.Event()
    starting = asyncio.current_task()
    is_ready = False

    def stop() -> None:
        if not is_ready and starting:
            starting.cancel()
        (hurry if stopping.is_set() else stopping).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    try:
        async with open_worker(settings) as services:
            is_ready = True
            # What start-up made lives as long as the process: the collector need never walk it again.
            gc.collect()
            gc.freeze()
            log.info(
                "ready: %d tasks at a time, kinds %s",
                settings.taskql_concurrency,
                ", ".join(services.registry),
            )
            await worker(settings, services).run(stopping, hurry)
    except asyncio.CancelledError:
        if not stopping.is_set():
            raise
    log.info("stopped")
    if len(asyncio.all_tasks()) > 1:
        # A handler that ignores its cancellation has had its chance; its task was given back.
        logging.shutdown()
        os._exit(0)


def worker(settings: Settings, services: WorkerServices) -> Worker:
    receiver = Courtesy(services.receiver)
    executor = Executor(
        services.leases,
        receiver,
        services.events,
        services.outbox,
        services.registry,
        lease_for=settings.visibility,
        beat_every=settings.heartbeat,
        policy=services.policy,
        resources=services.resources,
        results=services.results,
    )
    return Worker(
        receiver,
        executor,
        Watermarks(services.raise_watermark),
        concurrency=settings.taskql_concurrency,
        poll=settings.poll,
        grace=settings.drain,
    )


if __name__ == "__main__":
    sys.exit(main())
