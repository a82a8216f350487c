"""What answers by plan are given: tasks as a store may hold them, what clients send, and what comes of it.

Drawn by the seed. Most fits its type; some does no longer, or never did.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from random import Random
from typing import Any, Literal, Never, TypeVar
from uuid import UUID

from strawberry.utils.str_converters import to_camel_case

from taskql import BigInt, Permanent, TaskContext, handler
from taskql.errors import NotFound, TooLarge, Unavailable
from taskql.handler import declared
from taskql.lifecycle import AttemptOutcome, TaskStatus
from taskql.ports import Conflict, Created, Creation, Existing, NotStored
from taskql.queues import TaskPriority
from taskql.registry import Registry
from taskql.shapes.shape import AnyOf, Choice, ListOf, Model, Nullable, Scalar, Shape
from taskql.task import JSON, Attempt, Failure, Progress, Task
from tests.unit.stub_api import NOW, STORED, TASK_ID

T = TypeVar("T")


class Draw(Random):
    """Chance, the same for the same seed."""

    def once_in(self, times: int) -> bool:
        return self.randrange(times) == 0

    def maybe(self, values: Sequence[T]) -> T | None:
        return self.choice(values) if self.once_in(2) else None

    def some(self, most: int, one: Callable[[], T]) -> list[T]:
        return [one() for _ in range(self.randint(0, most))]


# ---------------------------------------------------------------- kinds


class Colour(Enum):
    RED = "red"
    GREEN = 2


@dataclass
class Line:
    amount: int
    colour: Colour
    sold_at: datetime | None = None
    part_of: "Line | None" = None


@dataclass
class Bill:
    """A field of each sort."""

    text: str
    count: int
    share: float
    paid: bool
    due_at: datetime
    day: date
    hour: time
    number: UUID
    price: Decimal
    wide: BigInt
    extra: dict[str, Any]
    colour: Colour
    how: Literal["fast", "not-so-fast"]
    first: Line
    lines: list[Line]
    table: list[list[int | None]]
    note: str | None = None


@dataclass
class Paid:
    total: float


@dataclass
class Lost:
    total: str | None
    line: Line


@dataclass
class OutOfStock(Permanent):
    item: str
    left: int
    since: datetime | None = None


@handler("bill")
def bill(work: Bill, task: TaskContext) -> Bill:
    raise NotImplementedError


@handler("either", failures=[OutOfStock])
def either(work: Line, task: TaskContext) -> Paid | Lost:
    raise NotImplementedError


@handler("numbers")
def numbers(task: TaskContext) -> list[int]:
    raise NotImplementedError


@handler("process")
async def process(task: TaskContext) -> Never:
    raise NotImplementedError


REGISTRY = Registry(found for each in (bill, either, numbers, process) if (found := declared(each)))

# ---------------------------------------------------------------- values

TEXTS = [
    "", "plain", 'a "quoted" \\ one', "line\nbreak\t\r\x00\x1f\x7f", "über ✓ \u2028", "🚀\ud800", "</script>",
]  # fmt: skip
INTS = [0, 1, -1, 7, 2**31 - 1, -(2**31)]
FLOATS = [0.5, 0.0, -0.0, 1.0, 1e308, 5e-324, 1e16, 0.1 + 0.2, 1, 0, True]
WRITTEN_MOMENTS = [
    "2026-11-22T09:30:00+00:00", "2026-11-22T09:30:00.000001Z", "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z", "2026-11-22T10:30:00+05:45", "2026-11-22T10:30:00",
]  # fmt: skip
MOMENTS = [
    NOW,
    NOW.replace(microsecond=1),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    NOW.astimezone(timezone(timedelta(hours=5, minutes=45))),
    NOW.replace(tzinfo=timezone(timedelta())),
]
JSONS: list[JSON] = [
    None, {}, [], "x", 1.5, True, {"ä": [1, 2.5, None, {"b": "🚀\ud800"}]},
    {"a": -0.0, "due_at": 5, "how": "fast"},
]  # fmt: skip
ODD: list[JSON] = [None, "odd", 2**31, -1, 1.5, True, [], {}, [None], {"amount": None}]
SCALARS: Mapping[Scalar, Sequence[JSON]] = {
    Scalar.STRING: TEXTS,
    Scalar.INT: [*INTS, 2**31],
    Scalar.FLOAT: FLOATS,
    Scalar.BOOLEAN: [True, False],
    Scalar.DATETIME: WRITTEN_MOMENTS,
    Scalar.DATE: ["2026-11-22"],
    Scalar.TIME: ["09:30:00"],
    Scalar.UUID: [str(TASK_ID)],
    Scalar.DECIMAL: ["12.50", "1e4"],
    Scalar.BIG_INT: [0, 2**31, 10**30],
    Scalar.JSON: JSONS,
}


def value_of(draw: Draw, shape: Shape, depth: int = 3) -> JSON:
    """JSON of a shape, as it is stored; now and then of none."""
    if draw.once_in(200):
        return draw.choice(ODD)
    match shape:
        case Scalar():
            return draw.choice(SCALARS[shape])
        case Choice():
            return draw.choice(list(shape.values.values()))
        case Nullable(of):
            return value_of(draw, of, depth - 1) if depth > 0 and draw.once_in(2) else None
        case ListOf(item):
            return draw.some(2, lambda: value_of(draw, item, depth - 1))
        case Model(fields=fields):
            return {name: value_of(draw, field.shape, depth) for name, field in fields.items()}


def result_of(draw: Draw, kind: str) -> JSON:
    """What a task of the kind may have for a result."""
    output = REGISTRY[kind].output if kind in REGISTRY else None
    if output is None or output.shape is None or draw.once_in(20):
        return draw.choice(ODD)
    shape = output.shape.shape
    if not isinstance(shape, AnyOf):
        return value_of(draw, shape)
    member = draw.choice(shape.members)
    result = value_of(draw, member)
    return result | {"__typename": member.type.__name__} if isinstance(result, dict) else result


OUT_OF_STOCK = {"__typename": "OutOfStock", "item": "bolts", "left": 3, "since": None, "message": "none left"}
DETAILS: list[JSON] = [
    None, OUT_OF_STOCK, OUT_OF_STOCK, OUT_OF_STOCK | {"left": "x"}, {"__typename": "Gone"},
    OUT_OF_STOCK | {"since": "0001-01-01T00:00:00Z"},
]  # fmt: skip


def failure_of(draw: Draw) -> Failure | None:
    if draw.once_in(2):
        return None
    return Failure(draw.choice(TEXTS), draw.choice(TEXTS), draw.once_in(2), draw.choice(DETAILS))


def attempt_of(draw: Draw) -> Attempt:
    return Attempt(
        draw.choice(INTS),
        draw.choice(MOMENTS),
        draw.maybe(MOMENTS),
        draw.maybe(list(AttemptOutcome)),
        failure_of(draw),
    )


NO_TITLE: Any = None
"""What no store holds, where GraphQL wants a text."""


def task_of(draw: Draw, kind: str | None = None) -> Task:
    """A task as a store may hold it: of any kind, in any status, whatever the two allow."""
    kind = kind or draw.choice([*REGISTRY, "bill", "either", "gone"])
    return replace(
        STORED,
        kind=kind,
        title=draw.choice(TEXTS) if not draw.once_in(30) else NO_TITLE,
        description=draw.maybe(TEXTS),
        input=draw.choice(JSONS),
        status=draw.choice(list(TaskStatus)),
        version=draw.choice(INTS),
        attempt=draw.choice([*INTS, 2**31]),
        attempts=tuple(draw.some(2, lambda: attempt_of(draw))),
        progress=draw.maybe([Progress(draw.choice(FLOATS), draw.maybe(TEXTS))]),
        result=None if draw.once_in(4) else result_of(draw, kind),
        result_location="s3://bucket/one" if draw.once_in(12) else None,
        failure=failure_of(draw),
        priority=draw.choice(list(TaskPriority)),
        ordering_key=draw.maybe(TEXTS),
        tags=tuple(draw.some(2, lambda: draw.choice(TEXTS))),
        run_at=draw.maybe(MOMENTS),
        expires_at=draw.maybe(MOMENTS),
        created_at=draw.choice(MOMENTS),
        updated_at=draw.choice(MOMENTS),
        started_at=draw.maybe(MOMENTS),
        finished_at=draw.maybe(MOMENTS),
    )


# ---------------------------------------------------------------- creations


def sent_value(draw: Draw, shape: Shape, depth: int = 2) -> JSON:
    """JSON of an input's shape, as a client sends it."""
    if draw.once_in(200):
        return draw.choice(ODD)
    match shape:
        case Choice():
            return draw.choice([*shape.values])
        case Scalar():
            return draw.choice(SCALARS[shape])
        case Model(fields=fields):
            return {
                to_camel_case(name): sent_value(draw, field.shape, depth)
                for name, field in fields.items()
                if not draw.once_in(100)
            }
        case Nullable(of):
            return sent_value(draw, of, depth - 1) if depth > 0 and draw.once_in(2) else None
        case ListOf(item):
            return draw.some(2, lambda: sent_value(draw, item, depth - 1))


OPTIONAL: Mapping[str, Sequence[JSON]] = {
    "description": [None, *TEXTS],
    "priority": ["HIGH", "NORMAL", "LOW"] * 3 + ["odd", None],
    "runAt": [None, "2999-11-22T09:30:00+01:00", "2020-01-01T00:00:00Z", "2999-11-22T09:30:00Z", "soon"],
    "expiresAt": [None, "2999-12-22T09:30:00Z", "2999-12-22T09:30:00Z", "2020-01-01T00:00:00Z", 5],
    "idempotencyKey": [None, "k", "k", "", "x" * 256, 5],
    "orderingKey": [None, "o", "x" * 129],
    "tags": [None, [], ["a", "b", "a"], "one", [""], [None], [1], ["x"] * 11],
}


def input_of(draw: Draw) -> JSON:
    """A CreateTaskInput, right or almost."""
    if draw.once_in(40):
        return draw.choice(ODD)
    chosen: dict[str, JSON] = {"title": draw.choice(["a title"] * 6 + [" ", "🚀", "x" * 256, "\x00"])}
    chosen |= {name: draw.choice(values) for name, values in OPTIONAL.items() if draw.once_in(4)}
    if draw.once_in(60):
        chosen["unknown"] = 1
    if not draw.once_in(3):
        chosen["work"] = work_of(draw)
    return chosen


def work_of(draw: Draw) -> JSON:
    kind = draw.choice(list(REGISTRY))
    wanted = REGISTRY[kind].input
    sent = {} if wanted is None else sent_value(draw, wanted.shape)
    if draw.once_in(8):
        return draw.choice(
            [{}, {kind: sent, "process": {}}, {kind: None}, {kind: sent, "bill": None}, 5, None]
        )
    return {kind: sent}


def error_of(draw: Draw) -> Exception:
    error = draw.choice([Unavailable, RuntimeError, TimeoutError, TooLarge, NotFound])
    return error("away")


def creation_of(draw: Draw) -> Creation | Exception | None:
    """What comes of storing a task; None for the task as it was asked for."""
    outcomes: list[Creation | Exception | None] = [
        *[None] * 5,
        Created(task_of(draw), None),
        *[Existing(task_of(draw)) for _ in range(4)],
        Conflict(TASK_ID),
        NotStored(RuntimeError("refused")),
        error_of(draw),
    ]
    return draw.choice(outcomes)
