"""Handlers: a typed function that performs the tasks of one kind.

`@handler` only attaches the declaration to the function; nothing is registered globally. `taskql.registry`
collects the declarations from modules at start-up.
"""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Never, NoReturn, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from taskql.context import TaskContext
from taskql.errors import HandlerRefused, InvalidInput
from taskql.retry import BadResult, ResultTooLarge
from taskql.storable import UNSTORABLE_TEXT, json_size, unstorable
from taskql.task import JSON

DEFAULT_MAX_ATTEMPTS = 3
MAX_MAX_ATTEMPTS = 100
DEFAULT_TIMEOUT = timedelta(minutes=5)
MAX_TIMEOUT = timedelta(hours=11)
MAX_RESULT_BYTES = 64 * 1024
KIND_NAME = re.compile(r"[a-z][A-Za-z0-9]{0,63}")

F = TypeVar("F", bound=Callable[..., Any])
_DECLARATION = "__taskql_handler__"


@dataclass(frozen=True, eq=False)
class Handler:
    """A kind: its function, its models and its rules.

    `input_model` and `result_model` are the function's own annotations: pydantic models or dataclasses, or
    None where it takes no input, or never returns.
    """

    kind: str
    function: Callable[..., Any]
    input_model: type | None
    result_model: type | None
    max_attempts: int
    timeout: timedelta
    process: bool
    failures: tuple[type[Exception], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "_input", TypeAdapter(self.input_model or dict[str, Any]))
        object.__setattr__(self, "_result", TypeAdapter(self.result_model or Any))

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
        try:
            return self._input.validate_python(data)  # type: ignore[attr-defined]
        except ValidationError as error:
            raise InvalidInput(
                *((tuple(map(str, issue["loc"])), issue["msg"]) for issue in error.errors())
            ) from None

    def stored(self, data: JSON) -> JSON:
        """`data` checked and completed with defaults, as the JSON that is stored for the task."""
        if self.input_model is None:
            return {}
        parsed = self.parse(data)
        try:
            return self._input.dump_python(parsed, mode="json")  # type: ignore[attr-defined]
        except UnicodeEncodeError:  # half of a surrogate pair in the key of a dict
            raise InvalidInput(((), UNSTORABLE_TEXT)) from None

    def arguments(self, data: JSON, context: TaskContext) -> tuple[Any, ...]:
        """What the function is called with, from the stored input."""
        return (context,) if self.input_model is None else (self.parse(data), context)

    def result(self, value: Any) -> JSON:
        """What the function returned, as JSON. Raises BadResult where it can't be stored."""
        if self.result_model is None:
            raise BadResult("The handler declares that it never returns, yet it did.")
        try:
            checked = self._result.validate_python(value)  # type: ignore[attr-defined]
            result = self._result.dump_python(checked, mode="json", warnings="error")  # type: ignore[attr-defined]
        except UnicodeEncodeError as error:
            raise BadResult(f"The result can't be stored: it {UNSTORABLE_TEXT}.") from error
        except (ValidationError, PydanticSerializationError) as error:
            raise BadResult(f"The result is not what the handler declares: {reason(error)}.") from error
        for path, why in unstorable(result):
            raise BadResult(f"The result can't be stored: {'.'.join(path) or 'it'} {why}.")
        if (size := json_size(result)) > MAX_RESULT_BYTES:
            raise ResultTooLarge(f"The result has {size} bytes as JSON; the most is {MAX_RESULT_BYTES}.")
        return result


def handler(
    kind: str,
    *,
    max_attempts: int = DEFAULT_MAX_ATTEMPTS,
    timeout: timedelta = DEFAULT_TIMEOUT,
    process: bool = False,
) -> Callable[[F], F]:
    """Make a function the handler of `kind`.

    The function takes its input model and a `TaskContext`, or the context alone, and returns its result
    model (`Never` if all it does is raise). A plain `def` runs in a thread, which nothing can stop; with
    `process` it runs in a process of its own, which is killed when its time is over or its task is
    cancelled, and may crash alone. `max_attempts` counts executions, `timeout` bounds each of them (at most
    11 hours).
    """
    if not isinstance(kind, str):
        raise HandlerRefused(f'{kind!r}: name its kind: @handler("doThis"), not @handler alone.')

    def declare(function: F) -> F:
        setattr(function, _DECLARATION, _declaration(kind, function, max_attempts, timeout, process))
        return function

    return declare


def declared(value: object) -> Handler | None:
    """The declaration that `@handler` left on `value`, if it did."""
    found = getattr(value, _DECLARATION, None)
    return found if isinstance(found, Handler) else None


def is_importable(function: Callable[..., Any]) -> bool:
    return "<" not in function.__qualname__


def _declaration(
    kind: str, function: Callable[..., Any], max_attempts: int, timeout: timedelta, process: bool
) -> Handler:
    def refuse(why: str) -> HandlerRefused:
        return HandlerRefused(f"{function.__module__}.{function.__qualname__} (kind {kind!r}): {why}")

    if not KIND_NAME.fullmatch(kind):
        raise refuse("a kind is a camelCase GraphQL name of at most 64 letters and digits, like 'sendEmail'.")
    if not 1 <= max_attempts <= MAX_MAX_ATTEMPTS:
        raise refuse(f"max_attempts is {max_attempts}; choose 1 to {MAX_MAX_ATTEMPTS}.")
    if not timedelta(0) < timeout <= MAX_TIMEOUT:
        raise refuse(f"timeout is {timeout}; choose more than nothing and at most {MAX_TIMEOUT}.")
    if process and not is_importable(function):
        raise refuse(
            "a process of its own can't import a nested function or a lambda; define it at the top of its "
            "module, or leave out process=True."
        )
    try:
        hints = get_type_hints(function)
    except Exception as error:
        raise refuse(
            f"its annotations can't be read ({error}); define the models at the top of the module."
        ) from error
    parameters = list(inspect.signature(function).parameters.values())
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    types = [hints.get(p.name) for p in parameters]
    if (
        len(types) not in (1, 2)
        or types[-1] is not TaskContext
        or any(p.kind not in plain for p in parameters)
    ):
        raise refuse(
            "its parameters are (work: YourInput, task: TaskContext), or (task: TaskContext) alone, "
            "all annotated."
        )
    if types[0] is None:
        raise refuse(f"parameter {parameters[0].name!r} has no annotation; annotate it with a model.")
    never_returns = hints.get("return") in (Never, NoReturn)
    if not never_returns and not isinstance(hints.get("return"), type):
        raise refuse("it has no return annotation that is a model; add `-> YourResult`.")
    return Handler(
        kind=kind,
        function=function,
        input_model=types[0] if len(types) == 2 else None,
        result_model=None if never_returns else hints["return"],
        max_attempts=max_attempts,
        timeout=timeout,
        process=process,
    )


def reason(error: Exception) -> str:
    """A short account of a validation error, without the value that was refused."""
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'value'}: {e['msg']}" for e in error.errors()[:3])
    return str(error) or type(error).__name__
