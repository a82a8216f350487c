"""Resources of handlers: what is refused at boot, and how they are opened and closed."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest

from taskql import lifespan
from taskql.errors import HandlerRefused, StartupError
from taskql.lifespan import Lifespan, declared_lifespan, opened
from taskql.registry import Registry, lifespans_in

AT_ONCE = timedelta(milliseconds=1)
HOUR = timedelta(hours=1)
LONGEST_WAIT_SECONDS = 60


class Client:
    pass


class Model:
    pass


def declare(function: Callable[..., Any]) -> Lifespan:
    found = declared_lifespan(lifespan(function))
    assert found is not None
    return found


def noting(notes: list[str], of: type, name: str) -> Lifespan:
    async def function() -> AsyncIterator[Any]:
        notes.append(f"open {name}")
        yield of()
        notes.append(f"close {name}")

    function.__annotations__["return"] = AsyncIterator[of]  # type: ignore[valid-type]
    return declare(function)


# ---------------------------------------------------------------- declarations


async def endless() -> AsyncIterator[Client]:
    yield Client()


async def generated() -> AsyncGenerator[Client, None]:
    yield Client()


def plain() -> Iterator[Client]:
    yield Client()


def plainly_generated() -> Generator[Client, None, None]:
    yield Client()


@pytest.mark.parametrize("function", [endless, generated, plain, plainly_generated])
async def test_the_type_is_that_of_the_annotation(function: Callable[..., Any]) -> None:
    found = declare(function)
    assert found.type is Client
    async with opened([found], HOUR) as resources:
        assert isinstance(resources[Client], Client)


async def without_annotation():  # type: ignore[no-untyped-def]
    yield Client()


async def with_a_bare_type() -> Client:  # type: ignore[misc]
    yield Client()


async def of_anything() -> AsyncIterator[Any]:
    yield Client()


async def of_a_list() -> AsyncIterator[list[str]]:
    yield []


async def of_one_or_none() -> AsyncIterator[Client | None]:
    yield None


async def of_a_plain_one() -> Iterator[Client]:  # type: ignore[misc]
    yield Client()


async def of_a_missing_type() -> AsyncIterator["Nowhere"]:  # type: ignore[name-defined]  # noqa: F821
    yield None


async def with_a_parameter(url: str) -> AsyncIterator[Client]:
    yield Client()


async def no_generator() -> Client:
    return Client()


@pytest.mark.parametrize(
    ("function", "cause", "way_out"),
    [
        (without_annotation, "does not say what it yields", "-> AsyncIterator[YourType]"),
        (with_a_bare_type, "does not say what it yields", "-> AsyncIterator[YourType]"),
        (of_a_plain_one, "does not say what it yields", "-> AsyncIterator[YourType]"),
        (of_anything, "typing.Any is no class", "wrap it in a class of your own"),
        (of_a_list, "list[str] is no class", "wrap it in a class of your own"),
        (of_one_or_none, "Client | None is no class", "wrap it in a class of your own"),
        (of_a_missing_type, "'Nowhere' is not defined", "import the type at the top of the module"),
        (with_a_parameter, "it has parameters", "read settings from the environment"),
        (no_generator, "it is no generator function", "yield what it opened, once"),
    ],
)
def test_a_refusal_names_the_function_the_cause_and_a_way_out(
    function: Callable[..., Any], cause: str, way_out: str
) -> None:
    with pytest.raises(HandlerRefused) as refused:
        lifespan(function)
    message = str(refused.value)
    assert message.startswith(f"{__name__}.{function.__name__} (a lifespan): ")
    assert cause in message
    assert way_out in message


def test_two_lifespans_of_one_type_are_refused() -> None:
    with pytest.raises(HandlerRefused) as refused:
        Registry([], [declare(endless), declare(plain)])
    assert f"{__name__}.endless and {__name__}.plain both yield {__name__}.Client" in str(refused.value)
    assert "wrap it in a class of your own" in str(refused.value)


def test_a_lifespan_that_two_modules_hold_counts_once() -> None:
    modules = [ModuleType("a"), ModuleType("b")]
    found = declare(endless)
    for module in modules:
        vars(module)["http"] = found.function
    assert Registry([], [each for module in modules for each in lifespans_in(module)]).lifespans == (found,)


# ---------------------------------------------------------------- open and close


async def test_they_open_in_order_and_close_in_reverse() -> None:
    notes: list[str] = []
    async with opened([noting(notes, Client, "a"), noting(notes, Model, "b")], HOUR) as resources:
        assert set(resources) == {Client, Model}
        notes.append("work")
    assert notes == ["open a", "open b", "work", "close b", "close a"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError("no\nroute."), "OSError: no route."),
        (SystemExit(3), "SystemExit: 3."),
        (TimeoutError(), "TimeoutError."),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_one_that_cannot_be_opened_is_named_in_a_line_and_the_others_are_closed(
    error: BaseException | None, told: str
) -> None:
    async def broken() -> AsyncIterator[Model]:
        if error is not None:
            raise error
        yield Model()

    notes: list[str] = []
    with pytest.raises(StartupError) as raised:
        async with opened([noting(notes, Client, "a"), declare(broken)], HOUR):
            pytest.fail("it opened")
    where = f"{__name__}.{broken.__qualname__}"
    assert str(raised.value) == f"The lifespan {where} could not be opened: {told}"
    assert notes == ["open a", "close a"]


async def test_one_that_yields_nothing_cannot_be_opened() -> None:
    async def empty() -> AsyncIterator[Model]:
        for _ in ():
            yield Model()

    with pytest.raises(StartupError, match="didn't yield"):
        async with opened([declare(empty)], HOUR):
            pytest.fail("it opened")


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What holds up a thread; opened at the end, so that none is left behind."""
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.mark.parametrize("is_plain", [False, True])
async def test_one_that_hangs_is_given_up_when_patience_is_over(
    is_plain: bool, gate: threading.Event
) -> None:
    async def hangs() -> AsyncIterator[Model]:
        await asyncio.Event().wait()
        yield Model()

    def hangs_plainly() -> Iterator[Model]:
        gate.wait(LONGEST_WAIT_SECONDS)
        yield Model()

    with pytest.raises(StartupError, match=r"could not be opened: it took longer than 0.001 s\.$"):
        async with opened([declare(hangs_plainly if is_plain else hangs)], AT_ONCE):
            pytest.fail("it opened")


async def test_one_that_cannot_be_closed_is_logged_and_the_others_are_closed(
    caplog: pytest.LogCaptureFixture, gate: threading.Event
) -> None:
    async def breaks() -> AsyncIterator[Model]:
        yield Model()
        raise OSError("gone")

    def hangs() -> Iterator[bytes]:
        yield b""
        gate.wait(LONGEST_WAIT_SECONDS)

    notes: list[str] = []
    caplog.set_level(logging.ERROR)
    every = [noting(notes, Client, "a"), declare(breaks), declare(hangs)]
    async with opened(every, timedelta(milliseconds=50)):
        pass
    assert notes == ["open a", "close a"]
    names = [f"{__name__}.{each.function.__qualname__}" for each in (every[2], every[1])]
    assert [record.getMessage() for record in caplog.records] == [
        f"the lifespan {name} could not be closed" for name in names
    ]


async def test_they_are_closed_as_usual_though_the_work_failed() -> None:
    notes: list[str] = []
    with contextlib.suppress(ValueError):
        async with opened([noting(notes, Client, "a")], HOUR):
            raise ValueError
    assert notes == ["open a", "close a"]
