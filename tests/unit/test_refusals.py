"""What GraphQL can't express is refused at boot, with the function, the place, the cause and a way out."""

# mypy: disable-error-code="valid-type"

from collections.abc import Callable
from dataclasses import InitVar, dataclass, make_dataclass
from datetime import timedelta
from enum import Enum, Flag
from typing import Any, Generic, Literal, NamedTuple, TypedDict, TypeVar

import pytest
from pydantic import (
    BaseModel,
    ByteSize,
    Field,
    Json,
    NaiveDatetime,
    SecretStr,
    model_serializer,
)

from gql.models.names import RESERVED
from gql.schema import print_sdl
from taskql import TaskContext, handler
from taskql.errors import HandlerRefused
from taskql.handler import declared
from taskql.registry import Registry

HERE = __name__
EXPRESSIBLE = (
    "use str, int, float, bool, an Enum, a datetime, a model, a list[…] of these, a dict for any JSON, "
    "or … | None"
)
T = TypeVar("T")


class Done(BaseModel):
    ok: bool


class Found(BaseModel):
    at: str


class Missing(BaseModel):
    why: str


class Typed(TypedDict):
    a: int


class Named(NamedTuple):
    a: int


class Rights(Flag):
    READ = 1
    WRITE = 2


class Größe(Enum):
    groß = 1


class Points(Enum):
    ORIGIN = (0, 0)


class Nothing(Enum):
    pass


class Truth(Enum):
    true = 1


class Foreign:
    pass


class Page(BaseModel, Generic[T]):
    items: list[T]


class Empty(BaseModel):
    pass


class Colliding(BaseModel):
    a_b: int
    aB: int


class Hidden(BaseModel):
    kept: int
    lost: int = Field(1, exclude=True)


class Shaped(BaseModel):
    a: int

    @model_serializer
    def _shape(self) -> str:
        return "a"


@dataclass
class Given:
    a: int
    once: InitVar[int] = 5


@dataclass
class Foreigner:
    größe: int


@dataclass
class Unreadable:
    a: "Nowhere"  # type: ignore[name-defined] # noqa: F821


def offering(work: Any, result: Any = Done, kind: str = "example") -> Callable[..., Any]:
    """A function that is to be a handler."""

    async def perform(work: Any, task: TaskContext) -> Any:
        raise NotImplementedError

    perform.__annotations__ |= {"work": work, "return": result}
    return handler(kind)(perform)


def refusal(work: Any, result: Any = Done, kind: str = "example") -> str:
    """Why a handler of such models is refused; its place is known."""
    with pytest.raises(HandlerRefused) as refused:
        print_sdl(registry_of(offering(work, result, kind)))
    place, _, why = str(refused.value).partition(": ")
    assert place == f"{HERE}.offering.<locals>.perform (kind {kind!r})"
    return why


def registry_of(*functions: Callable[..., Any]) -> Registry:
    return Registry(found for function in functions if (found := declared(function)))


@pytest.mark.parametrize(
    ("annotation", "why"),
    [
        (timedelta, "timedelta, for which GraphQL has no type; take a number of seconds, as a float."),
        (bytes, "bytes, and bytes are no JSON; take text, in base64 say."),
        (bytes | None, "bytes, and bytes are no JSON; take text, in base64 say."),
        (bytearray, "bytearray, and bytes are no JSON; take text, in base64 say."),
        (list, "list, and GraphQL must know of what; write list[str], say."),
        (tuple, "tuple, and GraphQL must know of what; write tuple[str, ...], say."),
        (
            tuple[int, str],
            "tuple[int, str], whose places have no names; make it a dataclass with a field for each.",
        ),
        (int | str, "int | str, which GraphQL can't express; give each its own field, … | None."),
        (
            int | str | None,
            "int | str | None, which GraphQL can't express; give each its own field, … | None.",
        ),
        (
            Found | Missing,
            f"{HERE}.Found | {HERE}.Missing, and GraphQL has no unions inside of fields; give each "
            "its own field, "
            "… | None.",
        ),
        (Typed, "Typed, which is no model; make it a dataclass."),
        (Named, "Named, which is no model; make it a dataclass."),
        (
            SecretStr,
            "SecretStr, which would be stored masked; take a str, or a name under which the worker finds it.",
        ),
        (
            dict[str, SecretStr],
            "dict[str, pydantic.types.SecretStr], which would be stored masked; take a str, or a "
            "name under which "
            "the worker finds it.",
        ),
        (Literal[1, 2], "a Literal with 1 in it, and GraphQL's choices are names; use texts, or an Enum."),
        (
            Literal["a b", "a-b"],
            "a Literal in which 'a b' and 'a-b' would both be A_B in GraphQL; use an Enum.",
        ),
        (Literal["1a"], "a Literal with '1a' in it, which makes no name in GraphQL; use an Enum."),
        (Rights, "the Flag Rights, whose combinations are no members; take a list of an Enum."),
        (
            Größe,
            "Größe, whose member 'groß' is no name in GraphQL; use ASCII letters and digits, and no "
            "two underscores "
            "in front.",
        ),
        (
            Truth,
            "Truth, whose member 'true' is no name in GraphQL; use ASCII letters and digits, and no "
            "two underscores "
            "in front.",
        ),
        (
            Points,
            "Points, whose member ORIGIN is (0, 0), which can't be stored as it is; use texts or numbers.",
        ),
        (Nothing, "Nothing, an Enum without members; give it some."),
        (None, "None, which tells a client nothing; leave it out."),
        (
            NaiveDatetime,
            "NaiveDatetime, a moment without a time zone, which means another moment elsewhere; use "
            "datetime.",
        ),
        (Foreign, f"Foreign, which GraphQL can't express; {EXPRESSIBLE}."),
        (ByteSize, f"ByteSize, which GraphQL can't express; {EXPRESSIBLE}."),
        (dict[str, Foreign], f"dict[str, {HERE}.Foreign], which GraphQL can't express; {EXPRESSIBLE}."),
        (Json[int], "Json, a text with JSON in it; leave that out."),
        (T, "~T, which stands for any type; say which, as in Page[Item]."),
    ],
)
def test_field_of_a_type_that_graphql_can_not_express_is_refused(annotation: Any, why: str) -> None:
    assert refusal(make_dataclass("Work", [("value", annotation)])) == f"field 'value' of Work is {why}"


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (int, "it takes int; make that a pydantic model or a dataclass, or take the context alone."),
        (
            Found | Missing,
            f"it takes {HERE}.Found | {HERE}.Missing; make that a pydantic model or a dataclass, or "
            "take the context "
            "alone.",
        ),
        (Empty, "Empty has no fields, and GraphQL has no empty types; take the context alone."),
        (Colliding, "fields 'a_b' and 'aB' of Colliding would both be 'aB' in GraphQL; rename one."),
        (
            Foreigner,
            "field 'größe' of Foreigner would be 'größe' in GraphQL, which is no name there; use "
            "ASCII letters and "
            "digits, and no two underscores in front.",
        ),
        (Page, "field 'items' of Page is ~T, which stands for any type; say which, as in Page[Item]."),
        (Hidden, "field 'lost' of Hidden is excluded from what is stored; leave out exclude=True."),
        (
            Shaped,
            "Shaped has a model_serializer, so what it becomes is only known when it runs; "
            "serialize its fields one "
            "by one.",
        ),
        (Given, "field 'once' of Given is an InitVar, which is not kept; make it a field."),
        (
            Unreadable,
            "the annotations of Unreadable can't be read (name 'Nowhere' is not defined); define "
            "it, and what it "
            "names, at the top of the module.",
        ),
    ],
)
def test_input_that_graphql_can_not_express_is_refused(model: Any, why: str) -> None:
    assert refusal(model) == why


@pytest.mark.parametrize(
    ("result", "why"),
    [
        (
            timedelta,
            "its result is timedelta, for which GraphQL has no type; take a number of seconds, as a float.",
        ),
        (
            Found | int,
            f"its result is {HERE}.Found | int, and GraphQL's unions are of models alone; make each "
            "member a model.",
        ),
        (
            list[Found | Missing],
            f"its result is {HERE}.Found | {HERE}.Missing, and GraphQL has no unions inside of "
            "fields; give each its "
            "own field, … | None.",
        ),
        (Empty, "Empty has no fields, and GraphQL has no empty types; give it a field."),
    ],
)
def test_result_that_graphql_can_not_express_is_refused(result: Any, why: str) -> None:
    assert refusal(Found, result) == why


@pytest.mark.parametrize("kind", ["createTask", "taskWork", "no", "redriveTasks", "createWatchToken"])
def test_kind_whose_input_would_be_called_like_a_type_of_the_api_is_refused(kind: str) -> None:
    name = f"{kind[0].upper()}{kind[1:]}Input"
    assert refusal(Found, kind=kind) == (
        f"the kind {kind!r} would be {name} in GraphQL, which is a name of the API itself; rename it."
    )


def test_kind_whose_result_would_be_called_like_a_type_of_the_api_is_refused() -> None:
    assert refusal(Found, kind="task") == (
        "the kind 'task' would be TaskResult in GraphQL, which is a name of the API itself; rename it."
    )


@pytest.mark.parametrize(
    "name", ["Task", "Queue", "TaskStatus", "Date", "CreateWatchTokenPayload", "Boolean"]
)
def test_model_that_is_called_like_a_type_of_the_api_is_refused(name: str) -> None:
    assert name in RESERVED
    model = make_dataclass(name, [("a", int)])
    outer = make_dataclass("Outer", [("inner", model)])
    assert refusal(Found, outer) == (
        f"{model.__module__}.{name} would be {name} in GraphQL, which is a name of the API itself; rename it."
    )


def other(name: str, *fields: tuple[str, Any]) -> type:
    """A model of that name in another module."""
    return make_dataclass(name, fields, namespace={"__module__": "acme.other"})


def test_two_models_of_one_name_are_refused_with_both_places() -> None:
    one = offering(make_dataclass("A", [("inner", Found)]), None, kind="one")
    two = offering(make_dataclass("B", [("inner", other("Found", ("x", int)))]), None, kind="two")
    with pytest.raises(HandlerRefused) as refused:
        print_sdl(registry_of(one, two))
    assert str(refused.value).endswith(
        f"(kind 'two'): {HERE}.Found and acme.other.Found would both be FoundInput in GraphQL; rename one."
    )


def test_two_models_of_one_name_and_place_are_refused_as_two() -> None:
    work = make_dataclass("Work", [("one", other("Item", ("x", int))), ("two", other("Item", ("y", int)))])
    assert refusal(work) == (
        "acme.other.Item and acme.other.Item would both be ItemInput in GraphQL; rename one."
    )


def test_two_enums_of_one_name_are_refused_with_both_places() -> None:
    colours = [Enum("Colour", {"RED": "red"}, module=module) for module in ("acme.one", "acme.two")]
    fields = [("one", colours[0]), ("two", colours[1])]
    assert refusal(make_dataclass("Work", fields)) == (
        "acme.one.Colour and acme.two.Colour would both be Colour in GraphQL; rename one."
    )


def test_model_that_is_called_like_the_input_of_a_kind_is_refused() -> None:
    work = make_dataclass("Work", [("inner", other("ExampleInput", ("x", int)))])
    assert refusal(work) == (
        "the kind 'example' and acme.other.ExampleInput would both be ExampleInput in GraphQL; rename one."
    )


def test_model_whose_input_would_be_called_like_its_result_is_refused() -> None:
    both = make_dataclass("Outer", [("inner", other("SeedInput", ("x", int)))])
    assert refusal(both, both) == (
        "acme.other.SeedInput is in an input and in a result, and would be SeedInput in both; give it a name "
        "that does not end in Input."
    )


def test_failures_that_can_not_be_declared_are_refused() -> None:
    def fails(task: TaskContext) -> None: ...

    with pytest.raises(HandlerRefused) as refused:
        handler("fails", failures=[ValueError])(fails)
    assert str(refused.value).startswith(f"{HERE}.{fails.__qualname__} (kind 'fails'): ValueError is not ")


class Late(Exception):
    """Too late."""

    by: timedelta


def test_declared_failure_with_a_field_that_graphql_can_not_express_is_refused() -> None:
    def fails(task: TaskContext) -> None: ...

    with pytest.raises(HandlerRefused) as refused:
        print_sdl(registry_of(handler("fails", failures=[Late])(fails)))
    assert str(refused.value).endswith(
        "(kind 'fails'): field 'by' of Late is timedelta, for which GraphQL has no type; take a number of "
        "seconds, as a float."
    )
