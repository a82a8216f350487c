"""Types that only pydantic knows, by the JSON Schema in which it describes them; and why others are refused.

Invariant: nothing is taken that would be stored otherwise than it was given: masked, or not to be read back.
"""

from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, is_typeddict

from pydantic import NaiveDatetime, TypeAdapter

from taskql.shapes.models import is_generic_dataclass, is_model
from taskql.shapes.shape import Inexpressible, Scalar, written

TYPES = {
    "string": Scalar.STRING,
    "integer": Scalar.INT,
    "number": Scalar.FLOAT,
    "boolean": Scalar.BOOLEAN,
}
FORMATS = {
    "date-time": Scalar.DATETIME,
    "date": Scalar.DATE,
    "time": Scalar.TIME,
    **{f"uuid{version}": Scalar.UUID for version in ("", 1, 3, 4, 5, 6, 7, 8)},
}
EXPRESSIBLE = (
    "use str, int, float, bool, an Enum, a datetime, a model, a list[…] of these, a dict for any JSON, "
    "or … | None"
)
GENERIC_DATACLASS = "a dataclass that is another for each type; make it a pydantic model, Generic as well"
REFUSED_FORMATS = {
    "password": "which would be stored masked; take a str, or a name under which the worker finds it",
    "binary": "and bytes are no JSON; take text, in base64 say",
    "base64url": "and bytes are no JSON; take text, in base64 say",
    "duration": "for which GraphQL has no type; take a number of seconds, as a float",
}


def described(annotation: Any, where: str, *, is_input: bool) -> Scalar:
    """The scalar as which pydantic describes a type. Raises Inexpressible where it is none."""
    if get_origin(annotation) is Annotated and is_known_misfit(bare := get_args(annotation)[0]):
        annotation = bare
    if is_known_misfit(annotation):
        raise refusal(annotation, where)
    stored = json_schema(annotation, where, "serialization")
    check_formats(stored, annotation, where)
    taken = json_schema(annotation, where, "validation") if is_input else stored
    type_ = stored.get("type")
    if not isinstance(type_, str) or type_ not in TYPES or taken.get("type") != type_:
        raise refusal(annotation, where)
    return FORMATS.get(stored.get("format", ""), TYPES[type_]) if type_ == "string" else TYPES[type_]


def check_contents(annotation: Any, where: str) -> None:
    """Whether what a dict holds can be stored as JSON."""
    check_formats(json_schema(annotation, where, "serialization"), annotation, where)


def check_formats(schema: Any, annotation: Any, where: str) -> None:
    for format_ in formats_in(schema):
        if why := REFUSED_FORMATS.get(format_):
            raise Inexpressible(f"{where} is {written(annotation)}, {why}")


def formats_in(schema: Any) -> Iterator[str]:
    match schema:
        case dict():
            if isinstance(format_ := schema.get("format"), str):
                yield format_
            for part in schema.values():
                yield from formats_in(part)
        case list():
            for part in schema:
                yield from formats_in(part)


def json_schema(annotation: Any, where: str, mode: Any) -> dict[str, Any]:
    try:
        return TypeAdapter(annotation).json_schema(mode=mode)
    except ImportError as error:
        raise Inexpressible(f"{where} is {written(annotation)}, and {error}") from error
    except Exception as error:  # a type of others may raise anything
        raise refusal(annotation, where) from error


def is_known_misfit(annotation: Any) -> bool:
    return (
        annotation in (NaiveDatetime, None, NoneType, list, tuple, set, frozenset)
        or get_origin(annotation) in (tuple, Union, UnionType)
        or is_typeddict(annotation)
        or is_generic_dataclass(annotation)
        or is_named_tuple(annotation)
        or isinstance(annotation, TypeVar)
    )


def is_named_tuple(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, tuple) and annotation is not tuple


def refusal(annotation: Any, where: str) -> Inexpressible:
    return Inexpressible(f"{where} is {written(annotation)}, {hint(annotation)}")


def hint(annotation: Any) -> str:
    """Why GraphQL can't express a type, and what to write instead."""
    if annotation is NaiveDatetime:
        return "a moment without a time zone, which means another moment elsewhere; use datetime"
    if annotation in (bytearray, memoryview):
        return REFUSED_FORMATS["binary"]
    if annotation in (None, NoneType):
        return "which tells a client nothing; leave it out"
    if annotation in (list, tuple, set, frozenset):
        items = "str, ..." if annotation is tuple else "str"
        return f"and GraphQL must know of what; write {annotation.__name__}[{items}], say"
    if is_typeddict(annotation) or is_named_tuple(annotation):
        return "which is no model; make it a dataclass"
    if is_generic_dataclass(annotation):
        return GENERIC_DATACLASS
    if get_origin(annotation) is tuple:
        return "whose places have no names; make it a dataclass with a field for each"
    if isinstance(annotation, TypeVar):
        return "which stands for any type; say which, as in Page[Item]"
    if get_origin(annotation) in (Union, UnionType):
        members = [member for member in get_args(annotation) if member is not NoneType]
        if any(map(is_model, members)):
            return "and GraphQL has no unions inside of fields; give each its own field, … | None"
        return "which GraphQL can't express; give each its own field, … | None"
    return f"which GraphQL can't express; {EXPRESSIBLE}"
