"""Models as people write them: the types that clients see of them, and values on their way in and out."""

# mypy: disable-error-code="empty-body"

import json
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, make_dataclass, replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum, IntEnum
from functools import cache
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NewType, TypeVar
from uuid import UUID

import pytest
from graphql import (
    EnumTypeDefinitionNode,
    InputObjectTypeDefinitionNode,
    ObjectTypeDefinitionNode,
    UnionTypeDefinitionNode,
    parse,
    print_ast,
)
from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    HttpUrl,
    PositiveInt,
    RootModel,
    computed_field,
    create_model,
    field_serializer,
    field_validator,
    model_validator,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import TypeAliasType

from gql.schema import print_sdl
from taskql import BigInt, TaskContext, handler
from taskql.errors import InvalidInput
from taskql.failures import declared_failure
from taskql.handler import Handler, declared
from taskql.registry import Registry
from taskql.retry import BadResult
from taskql.task import JSON, Failure
from tests.unit.stub_api import STORED, TASK_ID, StubApi

T = TypeVar("T")
Metres = NewType("Metres", float)
Tags = TypeAliasType("Tags", list[str])
HUGE = 2**70


class Colour(Enum):
    """What it looks like."""

    RED = "red"
    GREEN = 2


class Level(IntEnum):
    LOW = 1


class Tree(BaseModel):
    name: str
    branches: "list[Tree]" = []
    parent: "Tree | None" = None


class Page(BaseModel, Generic[T]):
    """Some of many."""

    items: list[T]


class Numbers(RootModel[list[int]]):
    pass


class Done(BaseModel):
    ok: bool


class Found(BaseModel):
    at: datetime
    colour: Colour


class Missing(BaseModel):
    why: str


class OutOfStock(Exception):
    """There is none left."""

    item: str
    left: int

    def __init__(self, item: str, left: int) -> None:
        self.item, self.left = item, left


def a_handler(work: Any = None, result: Any = Done, kind: str = "example", **options: Any) -> Handler:
    """A handler that takes and returns such models, and can't be run."""

    async def perform(work: Any, task: TaskContext) -> Any: ...
    async def alone(task: TaskContext) -> Any: ...

    function = alone if work is None else perform
    function.__annotations__ |= {"return": result} | ({} if work is None else {"work": work})
    found = declared(handler(kind, **options)(function))
    assert found is not None
    return found


def schema_of(*handlers: Handler) -> dict[str, str]:
    """What the schema says of each type, without descriptions."""
    said = {}
    for definition in parse(print_sdl(Registry(handlers))).definitions:
        match definition:
            case InputObjectTypeDefinitionNode() | ObjectTypeDefinitionNode():
                fields = [print_ast(field).rpartition('"""\n')[2] for field in definition.fields or ()]
                said[definition.name.value] = " ".join(fields)
            case EnumTypeDefinitionNode():
                said[definition.name.value] = " ".join(value.name.value for value in definition.values or ())
            case UnionTypeDefinitionNode():
                said[definition.name.value] = " | ".join(type_.name.value for type_ in definition.types or ())
    return said


def work_of(annotation: Any, *default: Any) -> type:
    return make_dataclass("Work", [("value", annotation, *default)])


# ---------------------------------------------------------------- types

TYPES: list[tuple[Any, str]] = [
    (str, "String!"),
    (int, "Int!"),
    (float, "Float!"),
    (bool, "Boolean!"),
    (datetime, "DateTime!"),
    (AwareDatetime, "DateTime!"),
    (date, "Date!"),
    (time, "Time!"),
    (UUID, "UUID!"),
    (Decimal, "Decimal!"),
    (BigInt, "BigInt!"),
    (BigInt | None, "BigInt"),
    (Annotated[int, Field(le=10**12)], "BigInt!"),
    (Annotated[int, Field(gt=-(10**12))], "BigInt!"),
    (Annotated[int, Field(ge=0, le=2**31 - 1)], "Int!"),
    (PositiveInt, "Int!"),
    (list[str], "[String!]!"),
    (list[str | None] | None, "[String]"),
    (list[list[int]], "[[Int!]!]!"),
    (tuple[int, ...], "[Int!]!"),
    (set[int], "[Int!]!"),
    (frozenset[UUID], "[UUID!]!"),
    (Sequence[float], "[Float!]!"),
    (deque[int], "[Int!]!"),
    (dict, "JSON!"),
    (dict[str, list[int]], "JSON!"),
    (Mapping[str, Done], "JSON!"),
    (Any, "JSON"),
    (object, "JSON"),
    (Metres, "Float!"),
    (Tags, "[String!]!"),
    (Numbers, "[Int!]!"),
    (HttpUrl, "String!"),
    (IPv4Address, "String!"),
    (Path, "String!"),
    (Colour, "Colour!"),
    (list[Colour], "[Colour!]!"),
    (Literal["a"], "Literal!"),
    (Literal["a", None], "Literal"),
    (Literal["a"] | Literal["b"], "Literal!"),
    (Page[Done], "PageDone!"),
    (Page[list[int]], "PageListInt!"),
]
DEFAULTS: list[tuple[Any, Any, str]] = [
    (Colour, Colour.GREEN, "Colour! = GREEN"),
    (list[Colour], Field(default_factory=list), "[Colour!]! = []"),
    (Literal["in-progress"], "in-progress", "Literal! = IN_PROGRESS"),
    (Decimal, Decimal("1.50"), 'Decimal! = "1.50"'),
    (datetime, datetime(2026, 1, 1, tzinfo=UTC), 'DateTime! = "2026-01-01T00:00:00.000000Z"'),
    (date, date(2026, 1, 2), 'Date! = "2026-01-02"'),
    (int, HUGE, f'BigInt! = "{HUGE}"'),
    (tuple[int, ...], (1, 2), "[Int!]! = [1, 2]"),
    (dict, Field(default_factory=dict), "JSON! = {  }"),
    (Tree, Tree(name="oak"), 'TreeInput! = { name: "oak", branches: [], parent: null }'),
    (int | None, 5, "Int = 5"),
    (int | None, None, "Int"),
    (dict, Field(default_factory=lambda: {"a": [1]}), "JSON"),
    (str, Field(default_factory=lambda: "another each time"), "String"),
    (datetime, Field(default_factory=lambda: datetime.now(UTC)), "DateTime"),
    (datetime, datetime(2026, 1, 1), "DateTime"),  # noqa: DTZ001 (without a time zone on purpose)
    (int, "no number", "Int"),
    (Annotated[int, Field(ge=0)], -1, "Int"),
]
"""In both, `Literal` stands for the name that an enum takes from its field."""


@cache
def schema_of_all() -> dict[str, str]:
    """A field f0, f1, … for each of the types; a field d0, d1, … for each of the defaults."""
    fields = {f"f{place}": (annotation, ...) for place, (annotation, _) in enumerate(TYPES)}
    result = create_model("Work", **fields)  # type: ignore[call-overload]
    defaults = {f"d{place}": (annotation, default) for place, (annotation, default, _) in enumerate(DEFAULTS)}
    return schema_of(a_handler(create_model("Work", **fields, **defaults), result))  # type: ignore[call-overload]


@pytest.mark.parametrize("place", range(len(TYPES)), ids=[str(annotation) for annotation, _ in TYPES])
def test_type_of_a_field_is_the_same_in_inputs_and_results(place: int) -> None:
    _, type_ = TYPES[place]
    shown = type_.replace("Literal", f"ExampleResultF{place}")
    taken = type_.replace("Literal", f"ExampleInputF{place}")
    taken = re.sub(r"Page\w+", r"\g<0>Input", taken)
    assert f" f{place}: {shown} " in f" {schema_of_all()['ExampleResult']} "
    assert f" f{place}: {taken} " in f" {schema_of_all()['ExampleInput']} "


@pytest.mark.parametrize("place", range(len(DEFAULTS)))
def test_default_stands_in_the_schema_where_it_can(place: int) -> None:
    type_ = DEFAULTS[place][-1].replace("Literal", f"ExampleInputD{place}")
    assert f" d{place}: {type_} d" in f" {schema_of_all()['ExampleInput']} d"


def test_nested_models_go_by_their_own_names_and_serve_all_kinds() -> None:
    @dataclass
    class Wood:
        trees: list[Tree]

    class SeedInput(BaseModel):
        tree: Tree

    said = schema_of(
        a_handler(Wood, Wood, "grow"), a_handler(Wood, Done, "cut"), a_handler(SeedInput, Tree, "sow")
    )
    assert said["GrowInput"] == said["CutInput"] == "trees: [TreeInput!]!"
    assert said["GrowResult"] == "trees: [Tree!]!"
    assert said["SowInput"] == "tree: TreeInput!"
    assert said["TreeInput"] == "name: String! branches: [TreeInput!]! = [] parent: TreeInput"
    assert said["Tree"] == said["SowResult"] == "name: String! branches: [Tree!]! parent: Tree"
    assert "SeedInput" not in said


def test_name_that_ends_in_input_is_not_doubled() -> None:
    inner = make_dataclass("SeedInput", [("a", int)])
    assert schema_of(a_handler(work_of(inner)))["ExampleInput"] == "value: SeedInput!"


def test_enum_is_one_type_for_inputs_and_results() -> None:
    said = schema_of(a_handler(work_of(Colour), Found))
    assert said["Colour"] == "RED GREEN"


def test_results_are_models_unions_of_them_or_values() -> None:
    said = schema_of(
        a_handler(result=Found, kind="one"),
        a_handler(result=Found | Missing, kind="several"),
        a_handler(result=Missing | None, kind="perhaps"),
        a_handler(result=list[Found], kind="many"),
        a_handler(result=int | None, kind="number"),
        a_handler(result=None, kind="none"),
    )
    assert said["TaskResult"] == "OneResult | Found | Missing | PerhapsResult | ManyResult | NumberResult"
    assert said["Found"] == said["OneResult"] == "at: DateTime! colour: Colour!"
    assert said["ManyResult"] == "value: [Found!]!"
    assert said["NumberResult"] == "value: Int!"


async def test_kinds_name_the_types_of_their_results() -> None:
    results = {"one": Found, "several": Found | Missing, "number": int, "none": None}
    api = StubApi(Registry([a_handler(result=result, kind=kind) for kind, result in results.items()]))
    kinds = (await api.data("{kinds {resultType}}"))["kinds"]
    assert [kind["resultType"] for kind in kinds] == ["OneResult", "Found | Missing", "NumberResult", None]


def test_descriptions_are_the_authors() -> None:
    class Work(BaseModel):
        colour: Colour = Field(description="Its paint.")
        page: Page[int]

    sdl = print_sdl(Registry([a_handler(Work, Work)]))
    for description in ("Its paint.", "What it looks like.", "Some of many."):
        assert f'"""{description}"""' in sdl


def test_result_shows_what_is_computed_and_serialized_and_not_what_is_excluded() -> None:
    class Box(BaseModel):
        width: int
        made: date
        secret: str = Field(default="x", exclude=True)

        @computed_field(description="Twice.")  # type: ignore[prop-decorator]
        @property
        def double(self) -> int:
            return 2 * self.width

        @field_serializer("made")
        def _year(self, made: date) -> int:
            return made.year

    found = a_handler(result=Box)
    assert schema_of(found)["ExampleResult"] == "width: Int! made: Int! double: Int!"
    result = found.result(Box(width=3, made=date(2026, 1, 1)))
    assert result == {"width": 3, "made": 2026, "double": 6}


# ---------------------------------------------------------------- values in


class Order(BaseModel):
    """All that tempts JSON to change on its way."""

    model_config = ConfigDict(strict=True, extra="forbid")

    first: int = Field(alias="first-one")
    due: datetime
    price: Decimal
    amount: BigInt = 1
    colours: list[Colour] = [Colour.RED]
    speed: Literal["as-fast-as-it-goes", "slow"] = "slow"
    level: Level = Level.LOW
    more: dict[str, Any] = {}
    when: date | None = None
    page: Page[Found | None] | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def total(self) -> Decimal:
        return self.price * self.amount


ORDER = {
    "first": 1,
    "due": "2026-11-01T12:00:00+02:00",
    "price": "1.10",
    "amount": str(HUGE),
    "colours": ["GREEN", "RED"],
    "speed": "AS_FAST_AS_IT_GOES",
    "more": {"kept_as_is": [1, None, {"aB": 0.5}]},
    "page": {"items": [None, {"at": "2026-11-01T12:00:00Z", "colour": "GREEN"}]},
}
CREATE = """mutation ($work: TaskWorkInput) {
  createTask(input: {title: "a", work: $work}) {task {input} userErrors {message field}}
}"""


async def create(api: StubApi, value: Any) -> Any:
    return (await api.data(CREATE, work={"example": value}))["createTask"]


async def errors_of(found: Handler, value: Any) -> list[tuple[list[str], str]]:
    """Where a value is refused, below the kind, and why; nothing is stored."""
    api = StubApi(Registry([found]))
    payload = await create(api, value)
    assert api.store.created == []
    above = ["input", "work", "example"]
    assert all(error["field"][:3] == above for error in payload["userErrors"])
    return [(error["field"][3:], error["message"]) for error in payload["userErrors"]]


async def test_input_is_stored_as_the_models_json_and_shown_as_it_was_sent() -> None:
    found = a_handler(Order)
    api = StubApi(Registry([found]))
    payload = await create(api, ORDER)
    assert payload["userErrors"] == []
    stored = api.store.created[0].input
    assert stored == {
        "first": 1,
        "due": "2026-11-01T10:00:00Z",
        "price": "1.10",
        "amount": HUGE,
        "colours": [2, "red"],
        "speed": "as-fast-as-it-goes",
        "level": 1,
        "more": {"kept_as_is": [1, None, {"aB": 0.5}]},
        "when": None,
        "page": {"items": [None, {"at": "2026-11-01T12:00:00Z", "colour": 2}]},
    }
    assert payload["task"]["input"] == ORDER | {
        "due": "2026-11-01T10:00:00Z",
        "level": "LOW",
        "when": None,
    }
    order = found.parse(json.loads(json.dumps(stored)))
    assert (order.price, order.amount, order.level) == (Decimal("1.10"), HUGE, Level.LOW)
    assert order.page.items[1].at == datetime(2026, 11, 1, 12, tzinfo=UTC)
    assert found.stored(stored) == found.stored(order) == stored


async def test_what_is_shown_can_be_sent_again() -> None:
    api = StubApi(Registry([a_handler(Order)]))
    shown = (await create(api, ORDER))["task"]["input"]
    again = await create(api, shown)
    assert again["task"]["input"] == shown


async def test_numbers_may_be_written_in_documents_and_as_numbers() -> None:
    @dataclass
    class Work:
        big: BigInt
        exact: Decimal
        more: dict[str, Any]

    api = StubApi(Registry([a_handler(Work)]))
    work = f"{{example: {{big: {HUGE}, exact: 1.10, more: {{a: [$x, 1.5], b: $left}}}}}}"
    document = f"""mutation ($x: JSON, $left: JSON) {{
      createTask(input: {{title: "a", work: {work}}}) {{userErrors {{message}}}}
    }}"""
    await api.data(document, x={"y": 1})
    assert api.store.created[0].input == {"big": HUGE, "exact": "1.10", "more": {"a": [{"y": 1}, 1.5]}}
    await create(api, {"big": 5, "exact": 7, "more": {}})
    assert api.store.created[1].input == {"big": 5, "exact": "7", "more": {}}


@pytest.mark.parametrize(
    ("annotation", "value", "told"),
    [
        (Decimal, 1.1, 'A Decimal is a string like "12.50".'),
        (Decimal, "NaN", 'A Decimal is a string like "12.50".'),
        (Decimal, "1_0", 'A Decimal is a string like "12.50".'),
        (BigInt, "1.0", 'A BigInt is a string like "9007199254740993".'),
        (BigInt, True, 'A BigInt is a string like "9007199254740993".'),
        (BigInt, "9" * 1001, 'A BigInt is a string like "9007199254740993".'),
        (date, "2026-02-30", 'A Date is a string like "2026-11-22".'),
        (time, "25:00", 'A Time is a string like "09:30:00".'),
        (UUID, "{0198c5a4-6f1e-7b3c-9d2a-4e8f10b7c6d5}", 'A UUID is a string like "0198c5a4-'),
        (datetime, "2026-01-01T00:00:00", "has no time zone"),
        (Colour, "red", "does not exist in 'Colour' enum"),
        (int, 2**31, "non 32-bit signed integer"),
    ],
)
async def test_what_is_no_such_value_is_refused_before_the_model_sees_it(
    annotation: Any, value: Any, told: str
) -> None:
    api = StubApi(Registry([a_handler(work_of(annotation))]))
    result = await api.execute(CREATE, work={"example": {"value": value}})
    [error] = result.errors or []
    assert told in error.message
    assert error.extensions == {"code": "BAD_USER_INPUT"}
    assert api.store.created == []


class Line(BaseModel):
    text: str = Field(min_length=2, alias="theText")
    at_least: int = 0
    at_most: int = 9

    @field_validator("text")
    @classmethod
    def _plain(cls, text: str) -> str:
        if "!" in text:
            raise ValueError("say it calmly")
        return text

    @model_validator(mode="after")
    def _ordered(self) -> "Line":
        if self.at_least > self.at_most:
            raise ValueError("atLeast is above atMost")
        return self


class Letter(BaseModel):
    all_lines: list[Line] = Field(default=[], max_length=3)
    last_line: Line | None = None
    by_name: dict[str, int] = {}
    numbers: list[float] | None = None


@pytest.mark.parametrize(
    ("value", "where", "why"),
    [
        ({"numbers": [1, 2, 3], "byName": {"a": "x"}}, "byName.a", "unable to parse string as an integer"),
        ({"allLines": [{"text": "ab"}, {"text": "a"}]}, "allLines.1.text", "at least 2 characters"),
        ({"lastLine": {"text": "a!"}}, "lastLine.text", "Say it calmly."),
        ({"lastLine": {"text": "ab", "atLeast": 10}}, "lastLine", "AtLeast is above atMost."),
        ({"allLines": [{"text": "ab"}] * 4}, "allLines", "at most 3 items"),
        ({"allLines": [{"text": "ab"}, {"text": "a\0"}]}, "allLines.1.text", "holds a NUL character"),
    ],
)
async def test_error_names_the_very_place(value: Any, where: str, why: str) -> None:
    [(field, message)] = await errors_of(a_handler(Letter), value)
    assert field == where.split(".")
    assert why in message


async def test_strict_models_and_json_have_their_places_too() -> None:
    [(field, message)] = await errors_of(a_handler(Order), ORDER | {"more": {"a": ["\0"]}})
    assert field == ["more", "a", "0"]
    assert "NUL" in message


async def test_model_that_does_not_read_what_it_writes_is_told_at_once() -> None:
    class Odd(BaseModel):
        day: date

        @field_serializer("day")
        def _german(self, day: date) -> str:
            return day.strftime("%d.%m.%Y")

    [(field, message)] = await errors_of(a_handler(Odd), {"day": "2026-11-22"})
    assert field == ["day"]
    assert "can't be read back" in message


async def test_default_that_the_model_would_not_take_is_told_before_anything_is_stored() -> None:
    class Box(BaseModel):
        size: int = Field(0, ge=1)

    class Parcel(BaseModel):
        name: str = "a"
        boxes: list[Box] = Field(default_factory=lambda: [Box()])  # type: ignore[call-arg]

    [(field, message)] = await errors_of(a_handler(Parcel), {})
    assert field == ["boxes", "0", "size"]
    assert message.endswith("makes of it: Input should be greater than or equal to 1.")


async def test_validator_that_breaks_on_what_it_made_is_told_before_anything_is_stored() -> None:
    class Words(BaseModel):
        words: list[str]

        @field_validator("words", mode="before")
        @classmethod
        def _split(cls, words: Any) -> Any:
            return [part for word in words for part in word.removeprefix("#").split()] if words else 1 / 0

    [(field, message)] = await errors_of(a_handler(Words), {"words": [""]})
    assert field == []
    assert "can't be read back" in message


def test_validator_may_make_something_of_a_default_of_none() -> None:
    class Named(BaseModel):
        name: str = None  # type: ignore[assignment]
        title: Annotated[str, BeforeValidator(lambda title: title or "none")] = None  # type: ignore[assignment]

        @field_validator("name", mode="before")
        @classmethod
        def _anonymous(cls, name: str | None) -> str:
            return name or "anonymous"

    found = a_handler(Named)
    assert found.parse(found.stored({})).name == "anonymous"


async def test_serializer_of_what_can_be_read_again_is_the_authors_choice() -> None:
    class Spaced(BaseModel):
        words: list[str]

        @field_serializer("words")
        def _joined(self, words: list[str]) -> str:
            return " ".join(words)

        @field_validator("words", mode="before")
        @classmethod
        def _split(cls, words: Any) -> Any:
            return words.split() if isinstance(words, str) else words

    found = a_handler(Spaced)
    api = StubApi(Registry([found]))
    payload = await create(api, {"words": ["a", "b"]})
    assert api.store.created[0].input == {"words": "a b"}
    assert payload["task"]["input"] == {"words": "a b"}
    assert found.parse({"words": "a b"}).words == ["a", "b"]


@pytest.mark.parametrize("make", [dataclass, pydantic_dataclass])
async def test_dataclasses_of_both_sorts_are_inputs(make: Callable[[type], type]) -> None:
    class Job:
        how_many: Annotated[int, Field(gt=0)]
        colour: Colour = Colour.RED

    Job.__module__ = __name__
    found = a_handler(make(Job))
    api = StubApi(Registry([found]))
    await create(api, {"howMany": 2})
    assert api.store.created[0].input == {"how_many": 2, "colour": "red"}
    assert found.parse({"how_many": 2, "colour": "red"}).colour is Colour.RED
    [(field, _)] = await errors_of(found, {"howMany": 0})
    assert field == ["howMany"]


def test_model_itself_is_taken_and_checked_like_what_a_client_sends() -> None:
    found = a_handler(Letter)
    line = Line(theText="ab", at_least=1)
    assert found.stored(Letter(last_line=line))["last_line"] == {"text": "ab", "at_least": 1, "at_most": 9}
    with pytest.raises(InvalidInput) as refused:
        found.stored(Letter(all_lines=[Line.model_construct(text=5)]))
    assert [path for path, _ in refused.value.issues] == [("all_lines", "0", "text")]


def test_stored_input_that_the_model_no_longer_takes_is_invalid() -> None:
    with pytest.raises(InvalidInput) as refused:
        a_handler(Found).parse({"at": "2026-01-01T00:00:00Z", "colour": "blue"})
    assert [path for path, _ in refused.value.issues] == [("colour",)]


# ---------------------------------------------------------------- values out


async def shown(found: Handler, selection: str, **fields: Any) -> Any:
    """What a client sees of a task of this kind."""
    api = StubApi(Registry([found]))
    api.store.task = replace(STORED, **({"kind": found.kind} | fields))
    return await api.execute(f'{{task(id: "{TASK_ID}") {{title {selection}}}}}')


async def result_of(found: Handler, value: Any, selection: str) -> Any:
    stored = json.loads(json.dumps(found.result(value)))
    answer = await shown(found, f"result {{__typename {selection}}}", result=stored)
    assert answer.errors is None
    return answer.data["task"]["result"]


NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


async def test_result_that_is_one_of_several_models_says_which() -> None:
    found = a_handler(result=Found | Missing | None)
    assert found.result(Missing(why="x")) == {"__typename": "Missing", "why": "x"}
    selection = "... on Found {at colour} ... on Missing {why}"
    assert await result_of(found, Missing(why="x"), selection) == {"__typename": "Missing", "why": "x"}
    assert await result_of(found, Found(at=NOON, colour=Colour.GREEN), selection) == {
        "__typename": "Found",
        "at": "2026-11-01T12:00:00.000000Z",
        "colour": "GREEN",
    }
    assert await result_of(found, None, selection) is None


@pytest.mark.parametrize(
    ("annotation", "value", "selection", "seen"),
    [
        (int, 5, "value", 5),
        (str, "x", "value", "x"),
        (BigInt, HUGE, "value", str(HUGE)),
        (Decimal, Decimal("0.10"), "value", "0.10"),
        (Colour, Colour.GREEN, "value", "GREEN"),
        (Literal["ok-ish"], "ok-ish", "value", "OK_ISH"),
        (list[Decimal], [Decimal(1)], "value", ["1"]),
        (dict[str, int], {"a_b": 1}, "value", {"a_b": 1}),
        (list[Missing], [Missing(why="x")], "value {why}", [{"why": "x"}]),
        (Any, [1, None], "value", [1, None]),
    ],
)
async def test_result_that_is_no_object_is_the_value_of_one(
    annotation: Any, value: Any, selection: str, seen: JSON
) -> None:
    result = await result_of(a_handler(result=annotation), value, f"... on ExampleResult {{{selection}}}")
    assert result == {"__typename": "ExampleResult", "value": seen}


async def test_models_that_hold_themselves_are_shown_as_deep_as_asked() -> None:
    tree = Tree(name="a", branches=[Tree(name="b", parent=Tree(name="c"))])
    selection = "... on ExampleResult {name branches {name parent {name branches {name}}}}"
    assert await result_of(a_handler(result=Tree), tree, selection) == {
        "__typename": "ExampleResult",
        "name": "a",
        "branches": [{"name": "b", "parent": {"name": "c", "branches": []}}],
    }


def test_handler_of_no_result_returns_none() -> None:
    found = a_handler(result=None)
    assert found.result(None) is None
    with pytest.raises(BadResult, match="Input should be None"):
        found.result(5)


@pytest.mark.parametrize(
    ("annotation", "value", "told"),
    [
        (
            int,
            2**31,
            "value is no integer of 32 bits, which is all that a GraphQL Int holds; declare it as "
            "taskql.BigInt.",
        ),
        (
            list[datetime],
            [NOON, NOON.replace(tzinfo=None)],
            "value.1 is a time without a time zone; make it with one, like datetime.now(UTC).",
        ),
        (Decimal, Decimal("NaN"), "value is no finite decimal number."),
        (int, None, "value: Input should be a valid integer."),
    ],
)
def test_result_that_would_be_shown_wrongly_fails_the_task(annotation: Any, value: Any, told: str) -> None:
    model = work_of(annotation)
    with pytest.raises(BadResult) as refused:
        a_handler(result=model).result(model(value))
    assert str(refused.value) == f"The result can't be shown: {told}"


def test_result_with_a_field_of_another_type_is_told_by_its_place_without_its_value() -> None:
    done = Missing(why="x")
    done.why = 4711  # type: ignore[assignment]
    with pytest.raises(BadResult) as refused:
        a_handler(result=Missing).result(done)
    assert str(refused.value) == ("The result is not what the handler declares: why: expected str, not int.")


def test_coroutine_that_nobody_awaited_is_told() -> None:
    async def perform() -> str:
        return "never"

    with pytest.raises(BadResult, match="what decorates it must be async too"):
        a_handler(result=str).result(perform())


async def test_result_of_a_derived_class_is_shown_as_the_member_that_it_derives_from() -> None:
    class Animal(BaseModel):
        name: str

    class Cat(Animal):
        lives: int = 9

    class Kitten(Cat):
        age: int = 1

    found = a_handler(result=Animal | Cat)
    assert found.result(Kitten(name="Tom")) == {"__typename": "Cat", "name": "Tom", "lives": 9}


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        ({"why": 5}, "is no ExampleResult now: see its field 'why'."),
        ({}, "is no ExampleResult now: see its field 'why'."),
        ("x", "is no ExampleResult now."),
    ],
)
async def test_result_of_an_earlier_handler_is_an_error_at_its_place_alone(stored: JSON, told: str) -> None:
    answer = await shown(a_handler(result=Missing), "result {__typename}", result=stored)
    assert answer.data == {"task": {"title": STORED.title, "result": None}}
    [error] = answer.errors
    assert error.message == f"The result was stored by another version of the handler, and {told}"
    assert error.path == ["task", "result"]
    assert error.extensions == {"code": "OUTDATED"}


async def test_result_that_was_another_member_of_the_union_is_outdated() -> None:
    answer = await shown(
        a_handler(result=Found | Missing), "result {__typename}", result={"__typename": "Gone", "a": 1}
    )
    [error] = answer.errors
    assert error.message.endswith("and is no Found | Missing now.")


async def test_what_a_newer_model_adds_or_drops_does_not_hide_a_result() -> None:
    answer = await shown(
        a_handler(result=Missing),
        "result {... on ExampleResult {why}}",
        result={"why": "x", "dropped": 1, "__typename": "Missing"},
    )
    assert answer.data["task"]["result"] == {"why": "x"}


@pytest.mark.parametrize(
    "stored", [{"first": [], "colours": "RED", "page": 5, "x": 1}, "no object", {"colours": [{}, 7]}, None]
)
async def test_input_of_an_earlier_handler_is_shown_as_it_is_stored(stored: JSON) -> None:
    answer = await shown(a_handler(Order), "input", input=stored)
    assert answer.errors is None
    assert answer.data["task"]["input"] == stored


# ---------------------------------------------------------------- declared failures

DETAIL = "failureDetail {__typename ... on OutOfStock {item left message}}"


async def test_declared_failure_is_shown_with_its_fields() -> None:
    found = a_handler(failures=[OutOfStock])
    said = schema_of(found)
    assert said["TaskFailureDetail"] == "OutOfStock"
    assert said["OutOfStock"] == "item: String! left: Int! message: String!"
    failure = declared_failure(OutOfStock("bolts", 3), OutOfStock)
    answer = await shown(found, DETAIL, failure=failure)
    assert answer.errors is None
    assert answer.data["task"]["failureDetail"] == {
        "__typename": "OutOfStock",
        "item": "bolts",
        "left": 3,
        "message": "There is none left.",
    }


@pytest.mark.parametrize(
    "failure",
    [
        None,
        Failure("TIMEOUT", "x", True),
        Failure("GONE", "x", False, {"__typename": "Gone", "message": "x"}),
    ],
)
async def test_any_other_failure_has_no_detail(failure: Failure | None) -> None:
    answer = await shown(a_handler(failures=[OutOfStock]), DETAIL, failure=failure)
    assert answer.errors is None
    assert answer.data["task"]["failureDetail"] is None


async def test_failure_that_was_declared_otherwise_is_outdated() -> None:
    failure = Failure("OUT_OF_STOCK", "x", False, {"__typename": "OutOfStock", "message": "x"})
    answer = await shown(a_handler(failures=[OutOfStock]), DETAIL, failure=failure)
    [error] = answer.errors
    assert error.message == (
        "The failure was stored by another version of the handler, and is no OutOfStock now: see "
        "its field 'item'."
    )
    assert answer.data["task"]["failureDetail"] is None


def test_failures_that_two_handlers_declare_are_one_type() -> None:
    handlers = [a_handler(kind=kind, failures=[OutOfStock]) for kind in ("one", "two")]
    assert schema_of(*handlers)["TaskFailureDetail"] == "OutOfStock"


def test_a_deployment_without_declared_failures_has_no_field_for_them() -> None:
    assert "failureDetail" not in schema_of(a_handler())["Task"]
