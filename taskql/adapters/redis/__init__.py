"""EventSink, EventSource and SnapshotCache over Redis or Valkey: hints, which may get lost."""

from taskql.adapters.redis.cache import RedisSnapshots
from taskql.adapters.redis.sink import RedisEventSink
from taskql.adapters.redis.source import RedisEventSource

__all__ = ["RedisEventSink", "RedisEventSource", "RedisSnapshots"]
