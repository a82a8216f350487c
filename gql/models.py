"""GraphQL types from handlers' models.

A model is a pydantic model or a dataclass. Its GraphQL twin exists for the schema alone: values stay JSON,
and a `ClientModel` renames them between the model's own field names and those that clients use. Constraints
are the model's business when a task is created. Invariant: what GraphQL can't express is refused at boot.
"""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Union, cast, get_args, get_origin, get_type_hints

import strawberry
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from strawberry.types.field import StrawberryField
from strawberry.utils.str_converters import to_camel_case

from taskql.errors import HandlerRefused
from taskql.handler import Handler
from taskql.registry import place
from taskql.task import JSON

GRAPHQL_NAME = re.compile(r"(?!__)[_A-Za-z][_0-9A-Za-z]*")
SCALARS = frozenset({str, int, float, bool})
MAX_INT = 2**31 - 1
EXPRESSIBLE = "use str, int, float, bool, a model, a list[…] of these, or … | None"


@dataclasses.dataclass(frozen=True, slots=True)
class ClientField:
    """A field's name over GraphQL, and the model inside it, through lists, if there is one.

    `null_is_default`: a default that GraphQL can't print; the field is nullable, and null leaves it out.
    """

    name: str
    model: "ClientModel | None" = None
    null_is_default: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class ClientModel:
    """A model as clients see it: its GraphQL type, and its fields by the model's own names."""

    type: Any
    fields: Mapping[str, ClientField]

    def from_client(self, value: JSON) -> JSON:
        """What a client sent, by the model's field names."""
        if isinstance(value, list):
            return [self.from_client(item) for item in value]
        if not isinstance(value, dict):
            return value
        return {
            name: field.model.from_client(value[field.name]) if field.model else value[field.name]
            for name, field in self.fields.items()
            if field.name in value and not (field.null_is_default and value[field.name] is None)
        }

    def to_client(self, value: JSON) -> JSON:
        """What is stored, by the names that clients use. What the model no longer has stays as it is."""
        if isinstance(value, list):
            return [self.to_client(item) for item in value]
        if not isinstance(value, dict):
            return value
        return dict(self._renamed(value))

    def client_path(self, path: Sequence[str]) -> tuple[str, ...]:
        """A path into the model as a path into what the client sent."""
        if not path:
            return ()
        step, *rest = path
        field = self.fields.get(step)
        if field is None:  # an index, or a place that only the model knows
            return (step, *self.client_path(rest))
        return (field.name, *(field.model.client_path(rest) if field.model else rest))

    def _renamed(self, value: Mapping[str, JSON]) -> Iterator[tuple[str, JSON]]:
        for name, item in value.items():
            field = self.fields.get(name, ClientField(name))
            yield field.name, field.model.to_client(item) if field.model else item


class ModelTypes:
    """Makes the GraphQL types of one handler's input or result."""

    def __init__(self, handler: Handler, *, is_input: bool) -> None:
        self._handler = handler
        self._is_input = is_input
        self._suffix = "Input" if is_input else "Result"
        self._inside: list[type] = []
        self._models: dict[type, ClientModel] = {}
        self.names: list[str] = []
        """The GraphQL types made, to be held against those of others."""

    def root(self, model: type) -> ClientModel:
        """The handler's own model: `{Kind}Input` or `{Kind}Result`, whatever it is called in Python."""
        return self._model(model, "")

    def _nested(self, model: type) -> ClientModel:
        return self._models.get(model) or self._model(model, capitalized(model.__name__))

    def _model(self, model: type, infix: str) -> ClientModel:
        if model in self._inside:
            raise self._refused(
                f"{model.__name__} holds itself, and so has no end; nest another model in it."
            )
        name = f"{capitalized(self._handler.kind)}{infix}{self._suffix}"
        if not GRAPHQL_NAME.fullmatch(name) or name in self.names:
            raise self._refused(
                f"{model.__name__} would be {name} in GraphQL, which is no name there or is taken; rename it."
            )
        self._inside.append(model)
        fields = {field: self._field(model, field, info) for field, info in fields_of(model).items()}
        self._inside.pop()
        self._check_names(model, fields)
        self.names.append(name)
        description = (
            own_docstring(model) or f"The {self._suffix.lower()} of the kind `{self._handler.kind}`."
        )
        twin = make_type(
            name, description, {own: field for own, (field, _) in fields.items()}, is_input=self._is_input
        )
        self._models[model] = ClientModel(twin, {own: client for own, (_, client) in fields.items()})
        return self._models[model]

    def _field(self, model: type, name: str, info: FieldInfo) -> tuple[StrawberryField, ClientField]:
        where = f"field {name!r} of {model.__name__}"
        if self._is_input and not accepts_own_names(model, info):
            raise self._refused(
                f"{where} has an alias; remove it, or set populate_by_name in the model's config."
            )
        type_, nested = self.graphql_type(info.annotation, where)
        default, null_is_default = strawberry.UNSET, False
        if self._is_input and not info.is_required():
            if is_printable(info.default):
                default = info.default
            else:
                type_, null_is_default = type_ | None, True
        client_field = ClientField(to_camel_case(name), nested, null_is_default)
        return make_field(client_field.name, type_, info.description, default), client_field

    def graphql_type(self, annotation: Any, where: str) -> tuple[Any, ClientModel | None]:
        """The type that strawberry takes for a model's annotation, and the model inside it, if there is one.

        The seam for more kinds of annotations: this maps all that GraphQL can express and refuses the rest.
        """
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            return self.graphql_type(arguments[0], where)
        if annotation in SCALARS:
            return annotation, None
        if is_model(annotation):
            nested = self._nested(annotation)
            return nested.type, nested
        if origin is list and arguments:
            item, inside = self.graphql_type(arguments[0], where)
            return list[item], inside  # type: ignore[valid-type]
        if origin in (Union, UnionType) and len(arguments) == 2 and NoneType in arguments:
            [item] = [argument for argument in arguments if argument is not NoneType]
            optional, inside = self.graphql_type(item, where)
            return optional | None, inside
        raise self._refused(f"{where} is {written(annotation)}, which GraphQL can't express; {EXPRESSIBLE}.")

    def _check_names(self, model: type, made: Mapping[str, tuple[StrawberryField, ClientField]]) -> None:
        if not made:
            way_out = "take the context alone" if self._is_input else "give it a field"
            raise self._refused(f"{model.__name__} has no fields, and GraphQL has no empty types; {way_out}.")
        taken: dict[str, str] = {}
        for name, (_, field) in made.items():
            if not GRAPHQL_NAME.fullmatch(field.name):
                raise self._refused(
                    f"field {name!r} of {model.__name__} would be {field.name!r} in GraphQL, which is no "
                    "name there; use ASCII letters and digits, and no two underscores in front."
                )
            if other := taken.get(field.name):
                raise self._refused(
                    f"fields {other!r} and {name!r} of {model.__name__} would both be {field.name!r} in "
                    "GraphQL; rename one."
                )
            taken[field.name] = name

    def _refused(self, why: str) -> HandlerRefused:
        return refused(self._handler, why)


def refused(handler: Handler, why: str) -> HandlerRefused:
    return HandlerRefused(f"{place(handler)} (kind {handler.kind!r}): {why}")


def is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and (
        issubclass(annotation, BaseModel) or dataclasses.is_dataclass(annotation)
    )


def fields_of(model: type) -> dict[str, FieldInfo]:
    """A model's fields as pydantic sees them, in order."""
    if issubclass(model, BaseModel):
        return dict(model.model_fields)
    hints = get_type_hints(model, include_extras=True)
    return {
        field.name: FieldInfo.from_annotated_attribute(
            hints[field.name], field.default if isinstance(field.default, FieldInfo) else field
        )
        for field in dataclasses.fields(cast(Any, model))
        if field.init
    }


def accepts_own_names(model: type, info: FieldInfo) -> bool:
    config = getattr(model, "model_config", None) or getattr(model, "__pydantic_config__", None) or {}
    by_name = config.get("populate_by_name") or config.get("validate_by_name")
    return info.validation_alias is None or bool(by_name)


def own_docstring(model: type) -> str | None:
    """What the model's author wrote; not what dataclasses write, or a base class says of itself."""
    docstring: str | None = model.__dict__.get("__doc__")
    if not docstring or docstring.startswith(f"{model.__name__}("):
        return None
    return docstring.strip()


def is_printable(default: Any) -> bool:
    """Whether a default can stand in the schema."""
    match default:
        case bool() | str():
            return True
        case int():
            return abs(default) <= MAX_INT
        case float():
            return math.isfinite(default)
        case list():
            return all(map(is_printable, default))
        case _:
            return False


def make_field(name: str, type_: Any, description: str | None, default: Any) -> StrawberryField:
    if isinstance(default, list):
        given: dict[str, Any] = {"default_factory": lambda: list(default)}
    else:
        given = {"default": default}
    return cast(
        StrawberryField, strawberry.field(name=name, graphql_type=type_, description=description, **given)
    )


def make_type(name: str, description: str, fields: Mapping[str, StrawberryField], *, is_input: bool) -> Any:
    cls = type(name, (), {**fields, "__annotations__": dict.fromkeys(fields, Any)})
    return strawberry.type(cls, name=name, description=description, is_input=is_input)


def capitalized(name: str) -> str:
    return name[:1].upper() + name[1:]


def written(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")
