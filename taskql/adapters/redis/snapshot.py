"""A task's newest snapshot, as it lies in Redis for a few seconds.

It has three lines: the version, `event`, all that changes, and `rest`, all that never does. Either part may
come first: an event that finds nothing is kept alone, so that whoever has read the task a moment before it,
and brings the rest a moment after it, can't put the older state back. Invariant: the version only rises.

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

FIRST_VERSION = 1
DELETED = 2**53 - 1
"""The version of a task that is deleted: no other is newer, so nothing can bring it back."""

VERSION_DIGITS = len(str(DELETED))
"""Of each version, so that they compare as texts do."""

SCRIPT = f"""\
local key, version, event, rest = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local known = redis.call('GET', key)
local event_end = known and string.find(known, '\\n', {VERSION_DIGITS + 2}, true)
if event_end then
  local known_version, known_rest = string.sub(known, 1, {VERSION_DIGITS}), string.sub(known, event_end + 1)
  if version < known_version then
    local is_partial = known_rest == '' and known_version < '{DELETED}'
    if is_partial then redis.call('SET', key, known .. rest, 'KEEPTTL') end
    return
  end
  if rest == '' then rest = known_rest end
end
local value = version .. '\\n' .. event .. '\\n' .. rest
redis.call('SET', key, value, 'PX', rest == '' and {PASSING_MS} or ARGV[4])
"""
DIGEST = hashlib.sha1(SCRIPT.encode()).hexdigest()


def first(event: TaskEvent, encoded: bytes, rest: bytes) -> Command:
    """Remember a task at its first version: where anything is known, that is as new, and stays."""
    key = snapshot_key(event.id)
    value = _value(event.version, within_bounds(encoded), within_bounds(rest))
    return Command(key, ("SET", key, value, "NX", "PX", PASSING_MS))


def write(event: TaskEvent, encoded: bytes, rest: bytes = b"") -> Command:
    """Remember an event, and the rest of its task where that is known."""
    key, version = snapshot_key(event.id), b"%0*d" % (VERSION_DIGITS, event.version)
    milliseconds = LASTING_MS if event.status is TaskStatus.COMPLETED else PASSING_MS
    parts = within_bounds(encoded), within_bounds(rest)
    return Command(key, ("EVALSHA", DIGEST, 1, key, version, *parts, milliseconds))


def removal(task_id: UUID) -> Command:
    """Forget a task, and whatever may still be on its way."""
    key = snapshot_key(task_id)
    return Command(key, ("SET", key, _value(DELETED, b"", b""), "PX", LASTING_MS))


def lookup(task_id: UUID) -> Command:
    key = snapshot_key(task_id)
    return Command(key, ("GET", key))


def found(reply: Any) -> Task | None:
    """The task that a lookup has found, if it is all there. Raises ForeignEvent for what is not ours."""
    if reply is None:
        return None
    match reply.split(b"\n") if isinstance(reply, bytes) else None:
        case [_, event, rest]:
            return decode_task(event, rest) if event and rest else None
        case _:
            raise ForeignEvent(f"a snapshot can't be read: {reply!r}")


def within_bounds(part: bytes) -> bytes:
    return part if len(part) <= MAX_PART_BYTES else b""


def _value(version: int, event: bytes, rest: bytes) -> bytes:
    return b"%0*d\n%b\n%b" % (VERSION_DIGITS, version, event, rest)
