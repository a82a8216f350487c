"""What TaskQL needs of the outside: narrow protocols, each with one conformance suite in tests/contract/.

Rules for every adapter: `owner` is in the WHERE of every client's request; time is the database's; an outage
raises `Unavailable`, and the same call may be made again.
"""

from taskql.ports.backlog import Backlog, Stored
from taskql.ports.events import EventSink, EventSource, Hearing, SnapshotCache
from taskql.ports.leases import (
    BatchLeaseStore,
    Claim,
    Claimed,
    Completion,
    Finished,
    GivenUp,
    LeasedElsewhere,
    LeaseStore,
    NoHandler,
    NotDue,
    Success,
    Unknown,
)
from taskql.ports.messages import (
    MAX_POLL_SECONDS,
    POLLS_OF_A_QUEUE,
    SQS_MAX_BATCH,
    Message,
    MessageReceiver,
    MessageSender,
)
from taskql.ports.rates import Allowance, RateLimiter
from taskql.ports.requests import (
    Conflict,
    Created,
    Creation,
    Dispatch,
    Existing,
    Newer,
    NotStored,
    Outbox,
    Revived,
    TaskControl,
    TaskListings,
    TaskStore,
)
from taskql.ports.results import DiscardedResults, ResultStore
from taskql.ports.secrets import SecretStore
from taskql.ports.upkeep import DeadLetter, DeadLetterStore, DispatchStore, QueueFigures, QueueStore

__all__ = [
    "MAX_POLL_SECONDS",
    "POLLS_OF_A_QUEUE",
    "SQS_MAX_BATCH",
    "Allowance",
    "Backlog",
    "BatchLeaseStore",
    "Claim",
    "Claimed",
    "Completion",
    "Conflict",
    "Created",
    "Creation",
    "DeadLetter",
    "DeadLetterStore",
    "DiscardedResults",
    "Dispatch",
    "DispatchStore",
    "EventSink",
    "EventSource",
    "Existing",
    "Finished",
    "GivenUp",
    "Hearing",
    "LeaseStore",
    "LeasedElsewhere",
    "Message",
    "MessageReceiver",
    "MessageSender",
    "Newer",
    "NoHandler",
    "NotDue",
    "NotStored",
    "Outbox",
    "QueueFigures",
    "QueueStore",
    "RateLimiter",
    "ResultStore",
    "Revived",
    "SecretStore",
    "SnapshotCache",
    "Stored",
    "Success",
    "TaskControl",
    "TaskListings",
    "TaskStore",
    "Unknown",
]
