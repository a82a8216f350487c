"""GraphQL types from the shapes of what handlers take and return.

A handler's own model is `{Kind}Input` or `{Kind}Result`, whatever it is called in Python. The models in it go
by their own names, and are shared by all kinds. Invariant: whatever would not be a valid schema is refused,
with the function, the cause and a way out.
"""

from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any, cast
from uuid import UUID

import strawberry
from strawberry.scalars import JSON as JSONScalar
from strawberry.types.field import StrawberryField
from strawberry.utils.str_converters import to_camel_case

from gql.models.client import ClientField, ClientModel, reading, showing
from gql.models.names import API, Names
from gql.scalars import BigInt
from taskql.errors import HandlerRefused
from taskql.handler import Handler
from taskql.registry import place
from taskql.shapes.choices import GRAPHQL_NAME
from taskql.shapes.models import capitalized, name_of, own_docstring
from taskql.shapes.shape import Choice, Field, ListOf, Missing, Model, Nullable, Scalar, Shape, place_of

SCALARS: Mapping[Scalar, Any] = {
    Scalar.STRING: str,
    Scalar.INT: int,
    Scalar.FLOAT: float,
    Scalar.BOOLEAN: bool,
    Scalar.DATETIME: datetime,
    Scalar.DATE: date,
    Scalar.TIME: time,
    Scalar.UUID: UUID,
    Scalar.DECIMAL: Decimal,
    Scalar.BIG_INT: BigInt,
    Scalar.JSON: JSONScalar,
}


class ModelTypes:
    """Makes the GraphQL types of one handler's input, result or failures."""

    def __init__(self, handler: Handler, names: Names, *, is_input: bool) -> None:
        self._handler = handler
        self._names = names
        self._is_input = is_input

    def root(self, model: Model) -> ClientModel:
        """The handler's own model."""
        suffix = "Input" if self._is_input else "Result"
        description = f"The {suffix.lower()} of the kind `{self._handler.kind}`."
        name = f"{capitalized(self._handler.kind)}{suffix}"
        return self._made(model, name, f"the kind {self._handler.kind!r}", description)

    def value(self, shape: Shape) -> ClientModel:
        """A result that is no object, as the one field of one."""
        return self.root(Model(type(None), {"value": Field(shape, "What the handler returned.")}))

    def nested(self, model: Model) -> ClientModel:
        """A model that all kinds share."""
        key = (model.type, self._is_input)
        if key not in self._names.models:
            name = name_of(model.type)
            if self._is_input and not name.endswith("Input"):
                name += "Input"
            self._made(model, name, place_of(model.type), None, key)
        return self._names.models[key]

    def _made(
        self,
        model: Model,
        name: str,
        owner: str,
        description: str | None,
        key: tuple[type, bool] | None = None,
    ) -> ClientModel:
        self._take(name, owner, model.type)
        twin = type(name, (), {})
        made = ClientModel(twin, name)
        if key is not None:
            self._names.models[key] = made  # before its fields: it may hold itself
        fields = {own: self._field(name, made, own, field) for own, field in model.fields.items()}
        self._check_names(model, made.fields)
        for own, field in fields.items():
            setattr(twin, own, field)
        twin.__annotations__ = dict.fromkeys(fields, Any)
        strawberry.type(
            twin, name=name, description=own_docstring(model.type) or description, is_input=self._is_input
        )
        return made

    def _field(self, owner: str, made: ClientModel, own: str, field: Field) -> StrawberryField:
        client_name = to_camel_case(own)
        type_, model = self._type(field.shape, f"{owner}{capitalized(client_name)}")
        default, null_is_default = strawberry.UNSET, False
        if field.default is not Missing.REQUIRED:
            if is_printable(field.shape, field.default):
                default = field.default
            else:
                type_, null_is_default = type_ | None, True
        read, show = reading(field.shape, model), showing(field.shape, model)
        made.fields[own] = ClientField(client_name, model, null_is_default, read, show)
        return make_field(client_name, type_, field.description, default)

    def _type(self, shape: Shape, choice_name: str) -> tuple[Any, ClientModel | None]:
        """The type that strawberry takes for a shape, and the model inside it, if there is one."""
        match shape:
            case Scalar():
                return SCALARS[shape], None
            case Choice():
                return self._enum(shape, choice_name), None
            case Model():
                model = self.nested(shape)
                return model.type, model
            case Nullable(of):
                type_, inside = self._type(of, choice_name)
                return type_ | None, inside
            case ListOf(item):
                type_, inside = self._type(item, choice_name)
                return list[type_], inside  # type: ignore[valid-type]

    def _enum(self, choice: Choice, name: str) -> Any:
        if choice.enum is None:
            self._take(name, f"a Literal of the kind {self._handler.kind!r}")
            return make_enum(name, choice, None)
        if choice.enum not in self._names.enums:
            name = name_of(choice.enum)
            self._take(name, place_of(choice.enum))
            self._names.enums[choice.enum] = make_enum(name, choice, own_docstring(choice.enum))
        return self._names.enums[choice.enum]

    # ------------------------------------------------------------ refusals

    def _take(self, name: str, owner: str, type_: type | None = None) -> None:
        if not GRAPHQL_NAME.fullmatch(name):
            raise self.refused(f"{owner} would be {name!r} in GraphQL, which is no name there; rename it.")
        taken = self._names.take(name, owner)
        if taken == API:
            raise self.refused(f"{owner} would be {name} in GraphQL, which is a name of {API}; rename it.")
        if taken == owner and (type_, not self._is_input) in self._names.models:
            raise self.refused(
                f"{owner} is in an input and in a result, and would be {name} in both; give it a name "
                "that does not end in Input."
            )
        if taken is not None:
            raise self.refused(f"{taken} and {owner} would both be {name} in GraphQL; rename one.")

    def _check_names(self, model: Model, fields: Mapping[str, ClientField]) -> None:
        taken: dict[str, str] = {}
        for name, field in fields.items():
            if not GRAPHQL_NAME.fullmatch(field.name):
                raise self.refused(
                    f"field {name!r} of {model.type.__name__} would be {field.name!r} in GraphQL, which is "
                    "no name there; use ASCII letters and digits, and no two underscores in front."
                )
            if other := taken.get(field.name):
                raise self.refused(
                    f"fields {other!r} and {name!r} of {model.type.__name__} would both be {field.name!r} in "
                    "GraphQL; rename one."
                )
            taken[field.name] = name

    def refused(self, why: str) -> HandlerRefused:
        return HandlerRefused(f"{place(self._handler)} (kind {self._handler.kind!r}): {why}")


def is_printable(shape: Shape, default: Any) -> bool:
    """Whether a default can stand in the schema. JSON can't: its keys need not be names."""
    match shape:
        case _ if default is Missing.UNPRINTABLE:
            return False
        case Nullable(of):
            return default is None or is_printable(of, default)
        case Scalar.JSON:
            return default == {} or isinstance(default, str | int | float)
        case ListOf(item):
            return all(is_printable(item, part) for part in default)
        case Model(fields=fields):
            return all(is_printable(field.shape, default[name]) for name, field in fields.items())
        case _:
            return True


def make_field(name: str, type_: Any, description: str | None, default: Any) -> StrawberryField:
    if isinstance(default, list | dict):
        given: dict[str, Any] = {"default_factory": lambda: default.copy()}
    else:
        given = {"default": default}
    return cast(
        StrawberryField, strawberry.field(name=name, graphql_type=type_, description=description, **given)
    )


def make_enum(name: str, choice: Choice, description: str | None) -> Any:
    """An enum whose values are what is stored, so that results need no conversion."""
    twin: Any = Enum(name, dict(choice.values))  # type: ignore[misc]
    return strawberry.enum(twin, name=name, description=description)
