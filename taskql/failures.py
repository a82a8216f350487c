"""Declared failures: exceptions of a handler's author whose fields a client may read.

Their fields are their annotations. Invariant: whatever such an exception holds, the failure is recorded;
fields that can't be stored are left out of it, and the log says why.
"""

import dataclasses
import inspect
import logging
import re
import warnings
from asyncio import CancelledError
from collections.abc import Collection, Iterator, Sequence
from functools import cache
from typing import Annotated, Any, ClassVar, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticUserError

from taskql.errors import Permanent, Retryable, TaskQLError
from taskql.shapes.checking import Check
from taskql.shapes.reading import Reader
from taskql.storable import json_size, storable, unstorable
from taskql.task import JSON, MAX_FAILURE_CHARS, Failure

OWN_CODES = frozenset(
    {
        "ATTEMPTS_EXHAUSTED",
        "CRASHED",
        "EXCEPTION",
        "EXPIRED",
        "INVALID_FOLLOW_UP",
        "INVALID_INPUT",
        "INVALID_RESULT",
        "PERMANENT",
        "RESULT_TOO_LARGE",
        "RETRYABLE",
        "TIMEOUT",
        "UNKNOWN_KIND",
    }
)
"""What TaskQL itself calls failures: no declared failure may be called so."""

MAX_DETAIL_BYTES = 8 * 1024
OURS = (TaskQLError, Permanent, Retryable)
NEW_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
BASES = "derive it from Exception, Permanent or Retryable"

UNEXPECTED = re.compile(r"Expected `(.+?)` .*\[field_name='(.+?)', .*input_type=(\w+)\]")
"""How pydantic says that a field holds what it should not, with the value, which is not to be told."""

AS_IT_IS = ConfigDict(ser_json_inf_nan="constants", protected_namespaces=())
"""A number that JSON lacks must not become null on the way: it is to be noticed."""

Message = Annotated[str, Field(description="What happened, in words.")]
"""The field that every declared failure has, whether or not it declares it."""

log = logging.getLogger(__name__)


# ---------------------------------------------------------------- at boot


def check(failures: Sequence[type[BaseException]]) -> tuple[type[Exception], ...]:
    """The declared failures of one handler. Raises ValueError with the cause and a way out."""
    if not isinstance(failures, list | tuple):
        raise ValueError("failures is a list of exception classes, like failures=[OutOfStock]")
    by_code: dict[str, type] = {}
    checked = []
    for failure in failures:
        checked.append(checked_class(failure))
        known = by_code.setdefault(code_of(failure), failure)
        if known is not failure or len(checked) > len(by_code):
            raise ValueError(f"{failure.__name__} is declared twice; leave one out, or rename one")
        failure_model(failure)
    return tuple(checked)


def checked_class(failure: Any) -> type[Exception]:
    """`failure`, if it is an exception class that may be declared."""
    if not isinstance(failure, type) or not issubclass(failure, BaseException):
        raise ValueError(f"{failure!r} is no exception class; name the class itself, and {BASES}")
    name = failure.__name__
    if not issubclass(failure, Exception) or issubclass(failure, CancelledError):
        raise ValueError(f"{name} is no ordinary exception, since it ends more than a task; {BASES}")
    if failure in OURS or failure.__module__ in ("builtins", "taskql.errors", "taskql.retry"):
        raise ValueError(f"{name} is not a failure of its own; make a class for it, and {BASES}")
    if issubclass(failure, TaskQLError) and not issubclass(failure, Permanent | Retryable):
        raise ValueError(f"{name} derives from an error that is TaskQL's own; {BASES}")
    if not re.fullmatch("[A-Z][A-Za-z0-9_]*", name):
        raise ValueError(f"{name} is no name for a GraphQL type; use ASCII letters, a capital one in front")
    if (code := code_of(failure)) in OWN_CODES:
        raise ValueError(f"{name} would have the code {code}, which means something else; rename it")
    params = getattr(failure, "__dataclass_params__", None)
    if params is not None and params.frozen:
        raise ValueError(f"{name} is frozen, but Python itself writes to an exception; leave out frozen=True")
    return failure


def failure_model(failure: type[BaseException]) -> type[BaseModel]:
    """A model of what a client reads of a declared failure: its fields, and always a `message`.

    Raises ValueError, with a way out, where the fields are not annotated so that pydantic understands them.
    """
    return made_model(failure)  # type: ignore[arg-type]  # a class has a hash, whatever its instances have


@cache
def made_model(failure: type[BaseException]) -> type[BaseModel]:
    """The same, made once."""
    fields: dict[str, Any] = {name: (hint, ...) for name, hint in fields_of(failure).items()}
    fields.setdefault("message", (Message, ...))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a field called `json`, say, hides nothing that is used here
            return create_model(
                failure.__name__,
                __config__=AS_IT_IS,
                __module__=failure.__module__,
                __doc__=docstring(failure),
                **fields,
            )
    except (PydanticUserError, NameError, TypeError, ValueError) as error:
        why = str(error).splitlines()[0]
        raise ValueError(
            f"the fields of {failure.__name__} can't be made JSON ({why}); annotate them with types that "
            "pydantic knows"
        ) from error


def fields_of(failure: type[BaseException]) -> dict[str, Any]:
    """The public fields of a declared failure, with their annotations."""
    try:
        hints = get_type_hints(failure, include_extras=True)
    except Exception as error:
        raise ValueError(
            f"the annotations of {failure.__name__} can't be read ({error}); define it, and what it names, "
            "at the top of the module"
        ) from error
    named = [name for cls in reversed(authored(failure)) for name in inspect.get_annotations(cls)]
    fields = {name: hints[name] for name in named if not name.startswith("_") and is_field(hints[name])}
    if clash := sorted(name for name in fields if hasattr(BaseException, name)):
        raise ValueError(f"field {clash[0]!r} of {failure.__name__} is Python's own of exceptions; rename it")
    if not fields and (given := unannotated(failure)):
        raise ValueError(
            f"{failure.__name__} is made from {', '.join(given)}, but annotates no field; make it a "
            f"@dataclass, or annotate what clients may read at the top of the class, as in `{given[0]}: str`"
        )
    return fields


def is_field(hint: Any) -> bool:
    of_the_class = hint is ClassVar or get_origin(hint) is ClassVar
    return not of_the_class and not isinstance(hint, dataclasses.InitVar)


def unannotated(failure: type[BaseException]) -> list[str]:
    """What the exception is made from, but for a message, where its author wrote how it is made."""
    if not any("__init__" in vars(cls) for cls in authored(failure)):
        return []
    _, *parameters = inspect.signature(failure.__init__).parameters.values()
    loose = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.kind not in loose and p.name != "message"]


def authored(cls: type) -> list[type]:
    """The class and those of its bases that are neither Python's nor ours, the nearest first."""
    return [base for base in cls.__mro__ if base not in OURS and base.__module__ != "builtins"]


def docstring(cls: type) -> str | None:
    """What the author says of the class, or of the nearest base: not what Python makes up for a dataclass."""
    for base in authored(cls):
        text = inspect.cleandoc(vars(base).get("__doc__") or "")
        if text and not (dataclasses.is_dataclass(base) and text.startswith(f"{base.__name__}(")):
            return text
    return None


def code_of(failure: type[BaseException]) -> str:
    """OUT_OF_STOCK for OutOfStock."""
    return NEW_WORD.sub("_", failure.__name__).upper()


# ---------------------------------------------------------------- when raised


def declared_class(
    error: BaseException, declared: Collection[type[BaseException]]
) -> type[BaseException] | None:
    """Which of the declared failures `error` is: the nearest of its classes, if any is one."""
    return next((cls for cls in type(error).__mro__ if cls in declared), None)


def declared_failure(error: BaseException, cls: type[BaseException]) -> Failure:
    """What is recorded of a declared failure. Only one that derives from Retryable is tried again."""
    message = said(error)
    detail = None
    try:
        detail = detail_of(error, cls, message)
    except Exception as why:
        log.warning("the fields of %s are not recorded: %s", cls.__name__, reason(why))
    return Failure(code_of(cls), message, retryable=isinstance(error, Retryable), detail=detail)


def detail_of(error: BaseException, cls: type[BaseException], message: str) -> JSON:
    """The fields as JSON that can be stored. Raises ValueError, or pydantic's errors, where there is none."""
    values = {name: getattr(error, name) for name in fields_of(cls) if hasattr(error, name)}
    checked = failure_model(cls).model_validate({"message": message} | values, by_alias=False, by_name=True)
    fields = cleaned(checked.model_dump(mode="json", by_alias=False, warnings="error"))
    shown = shape_check(cls)  # type: ignore[arg-type]  # as above
    for path, why in (*unstorable(fields), *filter(None, [shown.issue(fields)])):
        raise ValueError(f"{'.'.join(path)} {why}")
    if (size := json_size({name: fields[name] for name in values})) > MAX_DETAIL_BYTES:
        raise ValueError(f"they have {size} bytes as JSON; the most is {MAX_DETAIL_BYTES}")
    return {"__typename": cls.__name__, **fields}


@cache
def shape_check(cls: type[BaseException]) -> Check:
    """What a client is promised of a declared failure."""
    return Check(Reader(is_input=False).model(failure_model(cls)))


def cleaned(value: JSON) -> JSON:
    """The value with a replacement for each character, in texts and keys, that PostgreSQL can't hold."""
    match value:
        case str():
            return storable(value)
        case dict():
            return {storable(key): cleaned(item) for key, item in value.items()}
        case list():
            return [cleaned(item) for item in value]
        case _:
            return value


def said(error: BaseException) -> str:
    """A declared failure in words: its own, else its docstring's first line, else its name."""
    try:
        return next(filter(None, map(readable, words(error))), class_name(error))
    except Exception:  # an author's property that can't be read
        return class_name(error)


def words(error: BaseException) -> Iterator[str]:
    """Where a declared failure's words may be, the best place first."""
    if any("__str__" in vars(cls) for cls in authored(type(error))):
        yield text_of(error)
    if isinstance(message := getattr(error, "message", None), str):
        yield message
    # Python keeps what an exception is made from as its text, also what a dataclass takes for its fields.
    if len(error.args) == 1 and isinstance(error.args[0], str) and not is_made_from_fields(error):
        yield error.args[0]
    yield (docstring(type(error)) or "").partition("\n")[0]


def is_made_from_fields(error: BaseException) -> bool:
    """Whether the exception's arguments are a dataclass's fields, and so no words."""
    fields = getattr(error, "__dataclass_fields__", {}).values()
    made_from = [field.name for field in fields if field.init and not field.kw_only]
    return bool(made_from) and all(
        argument is getattr(error, name, None) for argument, name in zip(error.args, made_from, strict=False)
    )


# ---------------------------------------------------------------- any exception


def text_of(error: BaseException) -> str:
    """An exception's text; nothing where its class doesn't know how to say it."""
    try:
        return str(error)
    except Exception:
        return ""


def readable(text: str) -> str:
    """A text as PostgreSQL can hold it and a client may read it."""
    return storable(text)[:MAX_FAILURE_CHARS]


def reason(error: Exception) -> str:
    """A short account of a validation error, without the value that was refused."""
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'value'}: {e['msg']}" for e in error.errors()[:3])
    text = text_of(error)
    if unexpected := UNEXPECTED.findall(text):
        return "; ".join(f"{field}: expected {type_}, not {given}" for type_, field, given in unexpected[:3])
    return text or class_name(error)


def class_name(error: BaseException) -> str:
    """The name of an exception's class; a name that no source code could give it is not repeated."""
    name = type.__getattribute__(type(error), "__name__")
    return name[:MAX_FAILURE_CHARS] if name.isidentifier() else "an exception without a name"
