"""Models of all sorts, made up by the dozen: what is sent arrives, and what is returned comes back."""

from collections.abc import Callable
from dataclasses import dataclass, field, make_dataclass, replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum
from itertools import count
from typing import Any, Literal
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ConfigDict, create_model
from strawberry.utils.str_converters import to_camel_case

from taskql import BigInt, TaskContext, handler
from taskql.handler import Handler, declared
from taskql.registry import Registry
from tests.unit.stub_api import STORED, TASK_ID, StubApi


class Colour(Enum):
    RED = "red"
    GREEN = 2
    BLUE = 0.5


def same(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Sort:
    """A sort of field: its annotation, its values, how a client writes them, and what it asks of them."""

    annotation: Any
    values: st.SearchStrategy[Any]
    written: Callable[[Any], Any] = same
    selection: str = ""


def moment(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")


def upper(value: str) -> str:
    return value.upper().replace("-", "_")


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)
PLAIN = [
    Sort(str, TEXTS),
    Sort(int, st.integers(-(2**31), 2**31 - 1)),
    Sort(float, st.floats(allow_nan=False, allow_infinity=False)),
    Sort(bool, st.booleans()),
    Sort(datetime, st.datetimes(timezones=st.just(UTC)), moment),
    Sort(date, st.dates(), date.isoformat),
    Sort(time, st.times(), time.isoformat),
    Sort(UUID, st.uuids(), str),
    Sort(Decimal, st.decimals(allow_nan=False, allow_infinity=False, places=3), str),
    Sort(BigInt, st.integers(), str),
    Sort(Colour, st.sampled_from(Colour), lambda colour: colour.name),
    Sort(Literal["slow-ly", "fast"], st.sampled_from(["slow-ly", "fast"]), upper),
    Sort(dict[str, Any], st.dictionaries(TEXTS, JSONS, max_size=3)),
    Sort(Any, JSONS),
]


def list_of(sort: Sort) -> Sort:
    return Sort(
        list[sort.annotation],  # type: ignore[name-defined]
        st.lists(sort.values, max_size=3),
        lambda values: [sort.written(value) for value in values],
        sort.selection,
    )


def optional(sort: Sort) -> Sort:
    return Sort(
        sort.annotation | None,
        st.none() | sort.values,
        lambda value: None if value is None else sort.written(value),
        sort.selection,
    )


NUMBERS = count()
NAMES = ["a", "of_two_words", "_private", "class_", "x1"]


@st.composite
def models(draw: st.DrawFn, fields: st.SearchStrategy[Sort]) -> Sort:
    """A model of some fields: pydantic's, strict or not, or a dataclass."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    sorts = {name: draw(fields) for name in names}
    title = f"Model{next(NUMBERS)}"
    if "_private" in sorts or draw(st.booleans()):
        type_: type = make_dataclass(title, [(name, sort.annotation) for name, sort in sorts.items()])
    else:
        base = ConfigDict(strict=draw(st.booleans()), extra=draw(st.sampled_from(["ignore", "forbid"])))
        spelt: dict[str, Any] = {name: (sort.annotation, ...) for name, sort in sorts.items()}
        type_ = create_model(title, __config__=base, **spelt)
    return Sort(
        type_,
        st.builds(type_, **{name: sort.values for name, sort in sorts.items()}),
        lambda value: {
            to_camel_case(name): sort.written(getattr(value, name)) for name, sort in sorts.items()
        },
        "{" + " ".join(to_camel_case(name) + sort.selection for name, sort in sorts.items()) + "}",
    )


SORTS = st.recursive(
    st.sampled_from(PLAIN),
    lambda inner: inner.map(list_of) | inner.map(optional) | models(inner),
    max_leaves=6,
)


@dataclass
class Api:
    """A deployment whose one kind takes and returns the same model."""

    sort: Sort
    handler: Handler = field(init=False)
    stub: StubApi = field(init=False)

    def __post_init__(self) -> None:
        async def perform(work: Any, task: TaskContext) -> Any:
            raise NotImplementedError

        perform.__annotations__ |= {"work": self.sort.annotation, "return": self.sort.annotation}
        found = declared(handler("echo")(perform))
        assert found is not None
        self.handler, self.stub = found, StubApi(Registry([found]))

    async def sent(self, value: Any) -> tuple[Any, Any]:
        """What is stored of a value that a client sends, and what the API shows of it."""
        document = """mutation ($work: TaskWorkInput) {
          createTask(input: {title: "a", work: $work}) {task {input} userErrors {message field}}
        }"""
        work = {"echo": self.sort.written(value)}
        payload = (await self.stub.data(document, work=work))["createTask"]
        assert payload["userErrors"] == []
        return self.stub.store.created[-1].input, payload["task"]["input"]

    async def returned(self, result: Any) -> Any:
        """What a client reads of a stored result."""
        self.stub.store.task = replace(STORED, kind="echo", result=result)
        query = f'{{task(id: "{TASK_ID}") {{result {{... on EchoResult {self.sort.selection}}}}}}}'
        return (await self.stub.data(query))["task"]["result"]


@settings(max_examples=25, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
async def test_what_is_sent_arrives_and_what_is_returned_comes_back(data: st.DataObject) -> None:
    api = Api(data.draw(models(SORTS)))
    for _ in range(3):
        value = data.draw(api.sort.values)
        stored, shown = await api.sent(value)
        assert api.handler.parse(stored) == value
        assert api.handler.stored(stored) == stored
        assert shown.keys() == api.sort.written(value).keys()
        assert await api.returned(api.handler.result(value)) == api.sort.written(value)
