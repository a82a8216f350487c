"""A task's newest snapshot, as it lies in Redis for a few seconds.

It has two parts: `event`, all that changes, and `rest`, all that never does. Either may come first: an event
that finds nothing is kept alone, so that whoever has read the task a moment before it, and brings the rest a
moment after it, can't put the older state back. Invariant: the event's version only rises.

What gets lost on the way to Redis can't mislead for long, since a snapshot that can still become wrong is
forgotten after two seconds. COMPLETED tasks never change again; FAILED and CANCELLED ones can be retried.
"""

import hashlib
from typing import Any
from uuid import UUID

from taskql.adapters.redis.codec import ForeignEvent, decode_task, snapshot_key
from taskql.adapters.redis.nodes import Command
from taskql.lifecycle import TaskStatus
from taskql.task import Task, TaskEvent

PASSING_MS = 2_000
LASTING_MS = 60_000
MAX_PART_BYTES = 16 * 1024
"""Larger events and rests are not cached: a snapshot has 32 KiB at most."""

DELETED = 2**53 - 1
"""The version of a task that is deleted: no other is newer, so nothing can bring it back."""

SCRIPT = f"""\
local key, version, event, rest = KEYS[1], tonumber(ARGV[1]), ARGV[3], ARGV[4]
local known = tonumber(redis.call('HGET', key, 'version') or '-1')
if version == {DELETED} then redis.call('DEL', key) end
if version > known then redis.call('HSET', key, 'version', ARGV[1], 'event', event) end
if rest ~= '' and known < {DELETED} then redis.call('HSET', key, 'rest', rest) end
if version >= known then
  local passing = version < {DELETED} and redis.call('HEXISTS', key, 'rest') == 0
  redis.call('PEXPIRE', key, passing and {PASSING_MS} or ARGV[2])
end
"""
DIGEST = hashlib.sha1(SCRIPT.encode()).hexdigest()


def write(event: TaskEvent, encoded: bytes, rest: bytes = b"") -> Command:
    """Remember an event, and the rest of its task where that is known."""
    return _evaluation(
        event.id,
        event.version,
        LASTING_MS if event.status is TaskStatus.COMPLETED else PASSING_MS,
        within_bounds(encoded),
        within_bounds(rest),
    )


def removal(task_id: UUID) -> Command:
    """Forget a task, and whatever may still be on its way."""
    return _evaluation(task_id, DELETED, LASTING_MS, b"", b"")


def lookup(task_id: UUID) -> Command:
    key = snapshot_key(task_id)
    return Command(key, ("HMGET", key, "event", "rest"))


def found(reply: Any) -> Task | None:
    """The task that a lookup has found, if it is all there. Raises ForeignEvent for what is not ours."""
    match reply:
        case [bytes(event), bytes(rest)] if event and rest:
            return decode_task(event, rest)
        case [_, _]:
            return None
        case _:
            raise ForeignEvent(f"a snapshot can't be read: {reply}")


def within_bounds(part: bytes) -> bytes:
    return part if len(part) <= MAX_PART_BYTES else b""


def _evaluation(task_id: UUID, version: int, milliseconds: int, event: bytes, rest: bytes) -> Command:
    key = snapshot_key(task_id)
    return Command(key, ("EVALSHA", DIGEST, 1, key, version, milliseconds, event, rest))
