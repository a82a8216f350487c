"""From a handler's annotations to shapes, or to a refusal that names the field, the cause and a way out."""

import collections
import typing
from collections import abc
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from uuid import UUID

from pydantic import Json, JsonValue, RootModel, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from typing_extensions import TypeAliasType

from taskql.shapes.bigint import is_wide
from taskql.shapes.checking import Check
from taskql.shapes.choices import choice_of_enum, choice_of_texts
from taskql.shapes.described import GENERIC_DATACLASS, check_contents, described, hint
from taskql.shapes.models import (
    computed_fields_of,
    fields_of,
    has_model_serializer,
    init_only,
    is_generic_dataclass,
    is_model,
    is_validated_first,
    serializers_of,
)
from taskql.shapes.shape import (
    AnyOf,
    Field,
    Inexpressible,
    ListOf,
    Missing,
    Model,
    Nullable,
    Result,
    Scalar,
    Shape,
    written,
)
from taskql.storable import unstorable
from taskql.task import JSON

SCALARS: dict[Any, Scalar] = {
    str: Scalar.STRING,
    int: Scalar.INT,
    float: Scalar.FLOAT,
    bool: Scalar.BOOLEAN,
    datetime: Scalar.DATETIME,
    date: Scalar.DATE,
    time: Scalar.TIME,
    UUID: Scalar.UUID,
    Decimal: Scalar.DECIMAL,
}
LISTS = (
    list, set, frozenset, collections.deque, abc.Sequence, abc.MutableSequence, abc.Set, abc.MutableSet,
    abc.Collection, abc.Iterable,
)  # fmt: skip
OBJECTS = (dict, abc.Mapping, abc.MutableMapping, collections.OrderedDict, collections.defaultdict)
EMPTY = (list, dict, set, frozenset, tuple)
"""Factories whose defaults are the same each time."""

MODEL_ELSE = "make that a pydantic model or a dataclass"


class Reader:
    """Reads the annotations of one handler's input, or of its result."""

    def __init__(self, *, is_input: bool) -> None:
        self._is_input = is_input
        self._models: dict[type, Model] = {}

    def input(self, annotation: Any) -> Model:
        """The handler's input: always an object, since its fields are what a client gives."""
        bare, _ = unwrapped(annotation)
        if is_generic_dataclass(bare):
            raise Inexpressible(f"it takes {written(annotation)}, {GENERIC_DATACLASS}")
        if not is_model(bare):
            raise Inexpressible(f"it takes {written(annotation)}; {MODEL_ELSE}, or take the context alone")
        return self.model(bare)

    def result(self, annotation: Any) -> Result:
        bare, _ = unwrapped(annotation)
        members = members_of(bare)
        nullable = NoneType in members
        members = [member for member in members if member is not NoneType]
        if len(members) > 1 and all(is_model(unwrapped(member)[0]) for member in members):
            return Result(AnyOf(tuple(self.model(unwrapped(member)[0]) for member in members)), nullable)
        if len(members) > 1 and any(is_model(unwrapped(member)[0]) for member in members):
            raise Inexpressible(
                f"its result is {written(annotation)}, and GraphQL's unions are of models alone; make each "
                "member a model"
            )
        shape = self.shape(annotation, "its result")
        return Result(shape.of if isinstance(shape, Nullable) else shape, isinstance(shape, Nullable))

    def model(self, type_: type) -> Model:
        known = self._models.get(type_)
        if known is None:
            known = self._models[type_] = Model(type_)
            known.fields.update(self._fields(type_))
            check_end(known)
        return known

    def shape(
        self, annotation: Any, where: str, metadata: tuple[Any, ...] = (), default: Any = None
    ) -> Shape:
        """`where` tells of the place in words; `metadata` and `default` are a field's."""
        bare, marks = unwrapped(annotation)
        marks = (*metadata, *marks)
        if (returned := self._serialized_as(marks)) is not None:
            return self.shape(returned, where)
        if any(mark is Json or type(mark) is Json for mark in marks):
            raise Inexpressible(f"{where} is Json, a text with JSON in it; leave that out")
        if bare in (Any, object, JsonValue):
            return Nullable(Scalar.JSON)
        if bare is int and is_wide(marks, default):
            return Scalar.BIG_INT
        if isinstance(bare, type) and bare in SCALARS:
            return SCALARS[bare]
        if isinstance(bare, type) and issubclass(bare, Enum):
            return choice_of_enum(bare, where)
        if is_model(bare):
            return self.model(bare)
        if isinstance(bare, type) and issubclass(bare, RootModel):
            return self.shape(
                bare.model_fields["root"].annotation, where, tuple(bare.model_fields["root"].metadata)
            )
        return self._composed(bare, where, marks)

    def _composed(self, annotation: Any, where: str, marks: tuple[Any, ...]) -> Shape:
        """The shape of what has parts, and of what only pydantic knows."""
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin is Literal:
            return choice_of_texts(arguments, where)
        if origin in (Union, UnionType):
            return self._optional(annotation, where)
        if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
            return ListOf(self.shape(arguments[0], where))
        if origin is abc.Iterable and self._is_input:
            raise Inexpressible(
                f"{where} is {written(annotation)}, which is only checked while it is read; use a list"
            )
        if origin in LISTS and arguments:
            return ListOf(self.shape(arguments[0], where))
        if annotation in OBJECTS or origin in OBJECTS:
            check_contents(annotation, where)
            return Scalar.JSON
        return described(
            Annotated[annotation, *marks] if marks else annotation, where, is_input=self._is_input
        )

    def _optional(self, annotation: Any, where: str) -> Shape:
        members = members_of(annotation)
        present = [member for member in members if member is not NoneType]
        texts = [text for member in present if get_origin(member) is Literal for text in get_args(member)]
        if len(present) == 1:
            shape = self.shape(present[0], where)
        elif all(get_origin(member) is Literal for member in present):
            shape = choice_of_texts(tuple(texts), where)
        else:
            raise Inexpressible(f"{where} is {written(annotation)}, {hint(annotation)}")
        return Nullable(shape) if NoneType in members and not isinstance(shape, Nullable) else shape

    def _serialized_as(self, marks: tuple[Any, ...]) -> Any:
        """What a result's own serializer says that it returns."""
        if self._is_input:
            return None
        returned = [getattr(mark, "return_type", PydanticUndefined) for mark in marks]
        return next((type_ for type_ in reversed(returned) if type_ is not PydanticUndefined), None)

    # ------------------------------------------------------------ fields

    def _fields(self, type_: type) -> dict[str, Field]:
        self._check(type_)
        returned = {} if self._is_input else serializers_of(type_)
        fields = {
            name: self._field(type_, name, info, returned.get(name) or returned.get("*"))
            for name, info in fields_of(type_).items()
            if self._is_input or not info.exclude
        }
        if not self._is_input:
            for name, (annotation, description) in computed_fields_of(type_).items():
                shape = self.shape(returned.get(name, annotation), place_in(type_, name))
                fields[name] = Field(shape, description)
        if not fields:
            way_out = "take the context alone" if self._is_input else "give it a field"
            raise Inexpressible(f"{type_.__name__} has no fields, and GraphQL has no empty types; {way_out}")
        return fields

    def _field(self, type_: type, name: str, info: FieldInfo, returned: Any) -> Field:
        where = place_in(type_, name)
        if info.exclude:
            raise Inexpressible(f"{where} is excluded from what is stored; leave out exclude=True")
        default = None if info.is_required() else info.default
        if returned is not None:
            shape = self.shape(returned, where)
        else:
            shape = self.shape(info.annotation, where, tuple(info.metadata), default)
            if has_odd_none(type_, name, info, shape):
                raise Inexpressible(f"{where} is None by default, but not by its type; write … | None")
        if not self._is_input:
            return Field(shape, info.description)
        shown = default_of(info, shape)
        if any(unstorable(shown)):
            raise Inexpressible(f"{where} is {default!r} by default, which JSON can't hold; use None, say")
        return Field(shape, info.description, shown)

    def _check(self, type_: type) -> None:
        if has_model_serializer(type_):
            raise Inexpressible(
                f"{type_.__name__} has a model_serializer, so what it becomes is only known when it runs; "
                "serialize its fields one by one"
            )
        if name := init_only(type_):
            raise Inexpressible(f"{place_in(type_, name)} is an InitVar, which is not kept; make it a field")


def check_end(model: Model, above: tuple[Model, ...] = ()) -> None:
    """Raises Inexpressible where a model can't be made without one more of its kind."""
    above = (*above, model)
    for name, field in model.fields.items():
        if isinstance(field.shape, Model) and field.default is Missing.REQUIRED:
            if field.shape in above:
                raise Inexpressible(
                    f"{place_in(model.type, name)} needs one more {field.shape.type.__name__}, and so on "
                    "without an end; make it a list, or … | None"
                )
            check_end(field.shape, above)


def place_in(type_: type, name: str) -> str:
    return f"field {name!r} of {type_.__name__}"


def unwrapped(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """An annotation without its aliases, new names and marks; and the marks."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *marks = get_args(annotation)
        bare, more = unwrapped(inner)
        return bare, (*more, *marks)
    if isinstance(annotation, TypeAliasType):
        # pydantic's JsonValue is an alias that holds itself, and ends here.
        json: Any = JsonValue
        return (annotation, ()) if annotation is json else unwrapped(annotation.__value__)
    if isinstance(origin, TypeAliasType):
        return unwrapped(origin.__value__[get_args(annotation)])
    if isinstance(annotation, typing.NewType):
        return unwrapped(annotation.__supertype__)
    if origin is typing.Final:
        return unwrapped(get_args(annotation)[0])
    return annotation, ()


def members_of(annotation: Any) -> list[Any]:
    """The members of a union, those of aliases and unions in it too; else the annotation alone."""
    bare, marks = unwrapped(annotation)
    if get_origin(bare) in (Union, UnionType):
        return [found for member in get_args(bare) for found in members_of(member)]
    if get_origin(bare) is Literal and None in get_args(bare):
        return [bare, NoneType]
    return [NoneType if bare is None else Annotated[bare, *marks] if marks else bare]


def has_odd_none(type_: type, name: str, info: FieldInfo, shape: Shape) -> bool:
    """Whether a field is None by default though nothing that its author wrote takes None."""
    if info.default is not None or isinstance(shape, Nullable) or is_validated_first(type_, name):
        return False
    try:
        TypeAdapter(annotated(info)).validate_python(None)
    except Exception:  # whatever a validator of the author's may raise
        return True
    return False


def annotated(info: FieldInfo) -> Any:
    return Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation


def default_of(info: FieldInfo, shape: Shape) -> JSON | Missing:
    """A field's default as JSON, where it is a value that the field itself would take."""
    if info.is_required():
        return Missing.REQUIRED
    if info.default_factory is not None and info.default_factory not in EMPTY:
        return Missing.UNPRINTABLE
    try:
        given: TypeAdapter[Any] = TypeAdapter(annotated(info))
        default = info.get_default(call_default_factory=True)
        shown = given.dump_python(default, mode="json", round_trip=True, by_alias=False, warnings="error")
        again = given.validate_python(shown, by_alias=False, by_name=True, strict=False)
    except Exception:  # whatever a model's own code may raise
        return Missing.UNPRINTABLE
    is_shown = shown is not None and again == default and Check(shape).issue(shown) is None
    return shown if is_shown else Missing.UNPRINTABLE
