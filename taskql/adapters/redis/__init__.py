"""EventSink and EventSource over the pub/sub of Redis or Valkey: hints, which may get lost."""

from taskql.adapters.redis.sink import RedisEventSink
from taskql.adapters.redis.source import RedisEventSource

__all__ = ["RedisEventSink", "RedisEventSource"]
