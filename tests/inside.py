"""What can be seen of an API process from outside, and what it tells of itself."""

from typing import cast

import psutil
from redis import Redis

from tests.deployment import Process, poll
from tests.system import census

WITHIN_SECONDS = 120


class Inside:
    """One process; it was started with `census` among its handlers."""

    def __init__(self, api: Process, redis: Redis) -> None:
        self._api = api
        self._process = psutil.Process(api.pid)
        self._redis = redis

    @property
    def channels(self) -> set[bytes]:
        return set(cast(list[bytes], self._redis.pubsub_channels()))

    @property
    def descriptors(self) -> int:
        return self._process.num_fds()

    @property
    def resident_bytes(self) -> int:
        return int(self._process.memory_info().rss)

    @property
    def asyncio_tasks(self) -> int:
        told = self._api.said.count(census.TOLD)
        self._api.signal(census.TELL)
        poll(lambda: self._api.said.count(census.TOLD) > told, WITHIN_SECONDS)
        return int(self._api.said.rpartition(census.TOLD)[2].split()[0])
