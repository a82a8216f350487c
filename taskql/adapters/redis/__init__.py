"""EventSink, EventSource, SnapshotCache and RateLimiter over Redis or Valkey: hints, which may get lost."""

from taskql.adapters.redis.bucket import RedisBuckets
from taskql.adapters.redis.cache import RedisSnapshots
from taskql.adapters.redis.sink import RedisEventSink
from taskql.adapters.redis.source import RedisEventSource

__all__ = ["RedisBuckets", "RedisEventSink", "RedisEventSource", "RedisSnapshots"]
