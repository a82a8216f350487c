"""Resources that handlers share: opened once per worker by a generator function, closed after its drain.

`@lifespan` only attaches the declaration to the function, as `@handler` does. Invariant: whatever was opened
is closed again, in reverse order, whether or not the next one opens.
"""

import asyncio
import inspect
import logging
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from taskql.context import type_name
from taskql.errors import HandlerRefused, StartupError
from taskql.thread import ThreadCall

F = TypeVar("F", bound=Callable[[], Any])
_DECLARATION = "__taskql_lifespan__"
WAY_OUT = "wrap it in a class of your own"
FORMS: Mapping[str, tuple[Any, ...]] = {
    "AsyncIterator": (AsyncIterator, AsyncGenerator, AsyncIterable),
    "Iterator": (Iterator, Generator, Iterable),
}

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Lifespan:
    """A generator function, and the type of the one object that it yields."""

    function: Callable[[], Any]
    type: type

    @property
    def place(self) -> str:
        return place(self.function)

    def opened(self) -> AbstractAsyncContextManager[Any]:
        if inspect.isasyncgenfunction(self.function):
            return asynccontextmanager(self.function)()
        return apart(self.function)


def lifespan(function: F) -> F:
    """Make a generator function open what handlers share, and close it.

    It takes nothing and yields one object, which `task.resource(Type)` hands to handlers; `Type` is the one
    of its annotation, `AsyncIterator[Type]` (`Iterator[Type]` for a plain generator). A worker opens it
    before its first task, in its loop (a plain generator in a thread), and closes it when its last one has
    ended; a Lambda container opens it once; a process of its own (`process=True`) for its one call, where
    the handler's module defines or imports it. The API never does. It has `TASKQL_PATIENCE_SECONDS` to open,
    and as long to close; a worker that can't open it says why and ends, one that can't close it logs why.
    """
    setattr(function, _DECLARATION, Lifespan(function, yielded_type(function)))
    return function


def declared_lifespan(value: object) -> Lifespan | None:
    """The declaration that `@lifespan` left on `value`, if it did."""
    found = getattr(value, _DECLARATION, None)
    return found if isinstance(found, Lifespan) else None


def one_of_each_type(lifespans: Iterable[Lifespan]) -> tuple[Lifespan, ...]:
    """The lifespans, each once. Raises HandlerRefused where two yield one type."""
    by_type: dict[type, Lifespan] = {}
    for each in lifespans:
        known = by_type.setdefault(each.type, each)
        if known is not each:
            raise HandlerRefused(
                f"{known.place} and {each.place} both yield {type_name(each.type)}, so that no handler could "
                f"tell which it gets: {WAY_OUT}."
            )
    return tuple(by_type.values())


@asynccontextmanager
async def opened(lifespans: Iterable[Lifespan], patience: timedelta) -> AsyncIterator[Mapping[type, object]]:
    """What the lifespans yield, by type. Raises StartupError naming one that can't be opened."""
    resources: dict[type, object] = {}
    async with AsyncExitStack() as stack:
        for each in lifespans:
            manager = each.opened()
            resources[each.type] = await entered(each, manager, patience)
            stack.push_async_callback(close, each, manager, patience)
        yield resources


async def entered(
    lifespan: Lifespan, manager: AbstractAsyncContextManager[Any], patience: timedelta
) -> object:
    seconds = patience.total_seconds()
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await manager.__aenter__()
    except (Exception, SystemExit) as error:  # a hook that exits must not end us without a word
        is_late = isinstance(error, TimeoutError) and limit.expired()
        why = f"it took longer than {seconds:g} s" if is_late else f"{type(error).__name__}: {error}"
        in_a_line = " ".join(why.split()).rstrip(":.")
        raise StartupError(f"The lifespan {lifespan.place} could not be opened: {in_a_line}.") from error


async def close(lifespan: Lifespan, manager: AbstractAsyncContextManager[Any], patience: timedelta) -> None:
    try:
        async with asyncio.timeout(patience.total_seconds()):
            await manager.__aexit__(None, None, None)
    except (Exception, SystemExit):
        log.exception("the lifespan %s could not be closed", lifespan.place)


@asynccontextmanager
async def apart(function: Callable[[], Iterator[Any]]) -> AsyncIterator[Any]:
    """A plain generator's object. In threads, where it can hang without holding up the loop."""
    manager = contextmanager(function)()
    resource = await ThreadCall(manager.__enter__).result()
    try:
        yield resource
    finally:
        await ThreadCall(manager.__exit__, None, None, None).result()


def yielded_type(function: Callable[..., Any]) -> type:
    """The type in the annotation of a lifespan. Raises HandlerRefused."""

    def refuse(why: str) -> HandlerRefused:
        return HandlerRefused(f"{place(function)} (a lifespan): {why}")

    form = form_of(function)
    if form is None:
        raise refuse("it is no generator function; yield what it opened, once, and close it after that.")
    if inspect.signature(function).parameters:
        raise refuse("it has parameters, but it is called with none; read settings from the environment.")
    try:
        annotation = get_type_hints(function).get("return")
    except Exception as error:
        raise refuse(
            f"its annotation can't be read ({error}); import the type at the top of the module."
        ) from error
    if get_origin(annotation) not in FORMS[form]:
        raise refuse(f"it does not say what it yields; annotate it with -> {form}[YourType].")
    found = get_args(annotation)[0]
    if not isinstance(found, type) or found in (object, type(None), Any) or get_origin(found):
        raise refuse(f"{found!r} is no class that handlers could ask for: {WAY_OUT}.")
    return found


def form_of(function: Callable[..., Any]) -> str | None:
    """How its annotation should begin; None for what is no generator function."""
    if inspect.isasyncgenfunction(function):
        return "AsyncIterator"
    return "Iterator" if inspect.isgeneratorfunction(function) else None


def place(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__qualname__}"
