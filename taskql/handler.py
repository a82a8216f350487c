"""Handlers: a typed function that performs the tasks of one kind.

`@handler` only attaches the declaration to the function; nothing is registered globally. `taskql.registry`
collects the declarations from modules at start-up.
"""

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Never, NoReturn, TypeVar, get_type_hints

from pydantic.errors import PydanticUserError

from taskql.context import TaskContext
from taskql.errors import HandlerRefused
from taskql.failures import check
from taskql.policy import MAX_STORED_RESULT_BYTES
from taskql.retry import BadResult
from taskql.shapes import Inexpressible
from taskql.shapes.inputs import Input
from taskql.shapes.results import Output
from taskql.task import JSON

DEFAULT_MAX_ATTEMPTS = 3
MAX_MAX_ATTEMPTS = 100
DEFAULT_TIMEOUT = timedelta(minutes=5)
MAX_TIMEOUT = timedelta(hours=11)
MAX_RESULT_BYTES = MAX_STORED_RESULT_BYTES
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
KIND_NAME = re.compile(r"[a-z][A-Za-z0-9]{0,63}")

F = TypeVar("F", bound=Callable[..., Any])
_DECLARATION = "__taskql_handler__"


@dataclass(frozen=True, eq=False)
class Handler:
    """A kind: its function, its models and its rules.

    `input_model` and `result_model` are the function's own annotations, or None: the one where it takes no
    input, the other where it never returns. Raises Inexpressible where clients can't be shown one of them.
    """

    kind: str
    function: Callable[..., Any]
    input_model: Any
    result_model: Any
    max_attempts: int
    timeout: timedelta
    process: bool
    failures: tuple[type[Exception], ...] = ()
    input: Input | None = field(init=False)
    output: Output | None = field(init=False)

    def __post_init__(self) -> None:
        takes = None if self.input_model is None else Input(self.input_model)
        gives = None if self.result_model is None else Output(self.result_model)
        object.__setattr__(self, "input", takes)
        object.__setattr__(self, "output", gives)

    @property
    def description(self) -> str | None:
        return inspect.getdoc(self.function)

    @property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.function)

    @property
    def is_importable(self) -> bool:
        """Whether another process can import the function: it is neither nested nor a lambda."""
        return is_importable(self.function)

    def parse(self, data: JSON) -> Any:
        """`data` as the handler's input model. Raises InvalidInput with a path for each wrong place."""
        return data if self.input is None else self.input.parse(data)

    def stored(self, data: Any) -> JSON:
        """`data`, JSON or the model itself, checked and completed with defaults, as JSON to be stored."""
        return {} if self.input is None else self.input.stored(data)

    def arguments(self, data: JSON, context: TaskContext) -> tuple[Any, ...]:
        """What the function is called with, from the stored input."""
        return (context,) if self.input is None else (self.input.parse(data), context)

    def result(self, value: Any, max_bytes: int = MAX_STORED_RESULT_BYTES) -> JSON:
        """What the function returned, as JSON. Raises BadResult where it can't be stored or shown."""
        if self.output is None:
            raise BadResult("The handler declares that it never returns, yet it did.")
        return self.output.json(value, max_bytes)


def handler(
    kind: str,
    *,
    max_attempts: int = DEFAULT_MAX_ATTEMPTS,
    timeout: timedelta = DEFAULT_TIMEOUT,
    process: bool = False,
    failures: Sequence[type[Exception]] = (),
) -> Callable[[F], F]:
    """Make a function the handler of `kind`.

    The function takes its input model and a `TaskContext`, or the context alone, and returns its result: a
    model, one of several, or any other value that clients can be shown (`None` if there is nothing to tell,
    `Never` if all it does is raise). A plain `def` runs in a thread, which nothing can stop; with `process`
    it runs in a process of its own, which is killed when its time is over or its task is cancelled, and may
    crash alone. `max_attempts` counts executions, `timeout` bounds each of them (at most 11 hours).
    `failures` are exceptions whose fields clients may read.
    """
    if not isinstance(kind, str):
        raise HandlerRefused(f'{named(kind)}: name its kind: @handler("doThis"), not @handler alone.')

    def declare(function: F) -> F:
        try:
            found = declaration(kind, function, max_attempts, timeout, process, failures)
        except (Inexpressible, PydanticUserError) as error:
            raise HandlerRefused(f"{named(function)} (kind {kind!r}): {error}.") from error
        setattr(function, _DECLARATION, found)
        return function

    return declare


def declared(value: object) -> Handler | None:
    """The declaration that `@handler` left on `value`, if it did."""
    found = getattr(value, _DECLARATION, None)
    return found if isinstance(found, Handler) else None


def named(function: object) -> str:
    """What is to be a handler, as its author would look for it."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    return f"{module}.{name}" if module and name else repr(function)


def is_importable(function: Callable[..., Any]) -> bool:
    return "<" not in function.__qualname__


def declaration(
    kind: str,
    function: Callable[..., Any],
    max_attempts: int,
    timeout: timedelta,
    process: bool,
    failures: Sequence[type[Exception]],
) -> Handler:
    """What is declared, checked. Raises Inexpressible."""
    if not KIND_NAME.fullmatch(kind):
        raise Inexpressible(
            "a kind is a camelCase GraphQL name of at most 64 letters and digits, like 'sendEmail'"
        )
    if not inspect.isfunction(function):
        raise Inexpressible("it is no function; wrap it in a def of its own")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise Inexpressible("it yields; return the result, and tell of what is on the way by task.progress()")
    if type(max_attempts) is not int or not 1 <= max_attempts <= MAX_MAX_ATTEMPTS:
        raise Inexpressible(f"max_attempts is {max_attempts!r}; choose 1 to {MAX_MAX_ATTEMPTS}")
    if not isinstance(timeout, timedelta):
        raise Inexpressible(f"timeout is {timeout!r}; give a timedelta, like timedelta(seconds=30)")
    if not timedelta(0) < timeout <= MAX_TIMEOUT:
        raise Inexpressible(f"timeout is {timeout}; choose more than nothing and at most {MAX_TIMEOUT}")
    if process and not is_importable(function):
        raise Inexpressible(
            "a process of its own can't import a nested function or a lambda; define it at the top of its "
            "module, or leave out process=True"
        )
    input_model, result_model = models_of(function)
    return Handler(
        kind=kind,
        function=function,
        input_model=input_model,
        result_model=result_model,
        max_attempts=max_attempts,
        timeout=timeout,
        process=process,
        failures=checked(failures),
    )


def checked(failures: Sequence[type[Exception]]) -> tuple[type[Exception], ...]:
    try:
        return check(failures)
    except ValueError as error:
        raise Inexpressible(str(error)) from error


def models_of(function: Callable[..., Any]) -> tuple[Any, Any]:
    """The annotations of a function's input and its result; None for none of it. Raises Inexpressible."""
    try:
        hints = get_type_hints(function, include_extras=True)
    except Exception as error:
        raise Inexpressible(
            f"its annotations can't be read ({error}); define the models at the top of the module"
        ) from error
    parameters = list(inspect.signature(function).parameters.values())
    types = [hints.get(parameter.name) for parameter in parameters]
    if why := misfit(parameters, types):
        raise Inexpressible(
            f"{why}; its parameters are (work: YourInput, task: TaskContext), or (task: TaskContext) alone"
        )
    if "return" not in hints:
        raise Inexpressible("it has no return annotation; add `-> YourResult`, or `-> None` if it has none")
    never_returns = hints["return"] in (Never, NoReturn)
    return types[0] if len(types) == 2 else None, None if never_returns else hints["return"]


def misfit(parameters: Sequence[inspect.Parameter], types: Sequence[Any]) -> str | None:
    """Why a function can't be called with its input and a context, if that is so."""
    for parameter, type_ in zip(parameters, types, strict=True):
        if parameter.kind not in POSITIONAL:
            name = str(parameter.replace(annotation=inspect.Parameter.empty))
            return f"parameter {name!r} is not given by its place"
        if type_ is None:
            return f"parameter {parameter.name!r} has no annotation"
    if len(types) not in (1, 2):
        return f"it has {len(types)} parameters"
    if types[-1] is not TaskContext:
        return f"parameter {parameters[-1].name!r} is no TaskContext"
    return None
