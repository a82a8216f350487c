"""Models as their authors write them: pydantic models and dataclasses, with their fields as pydantic's."""

import dataclasses
import inspect
import re
from collections.abc import Iterator
from typing import Any, cast, get_origin, get_type_hints

from pydantic import BaseModel, RootModel
from pydantic.errors import PydanticUndefinedAnnotation
from pydantic.fields import FieldInfo

from taskql.shapes.shape import Inexpressible

MADE_UP = "An enumeration."
"""What Python says of an Enum without a docstring."""


def is_model(annotation: Any) -> bool:
    return (
        isinstance(annotation, type)
        and (issubclass(annotation, BaseModel) or dataclasses.is_dataclass(annotation))
        and not issubclass(annotation, RootModel)
    )


def is_generic_dataclass(annotation: Any) -> bool:
    """Whether it is `Page[Item]` of a dataclass: no class, unlike that of a pydantic model."""
    return dataclasses.is_dataclass(get_origin(annotation))


def name_of(type_: type) -> str:
    """A class's name as a GraphQL name: `Page[Item]`, a generic model's, becomes `PageItem`."""
    return "".join(map(capitalized, re.split(r"\W+", type_.__name__)))


def capitalized(name: str) -> str:
    return name[:1].upper() + name[1:]


def fields_of(model: type) -> dict[str, FieldInfo]:
    """A model's fields as pydantic sees them, in order. Raises Inexpressible where that can't be told."""
    if issubclass(model, BaseModel):
        if not model.__pydantic_complete__:
            rebuild(model)
        return dict(model.model_fields)
    if found := getattr(model, "__pydantic_fields__", None):
        return dict(found)
    try:
        hints = get_type_hints(model, include_extras=True)
    except Exception as error:
        raise unreadable(model, error) from error
    return {
        field.name: FieldInfo.from_annotated_attribute(
            hints[field.name], field.default if isinstance(field.default, FieldInfo) else field
        )
        for field in dataclasses.fields(cast(Any, model))
        if field.init
    }


def rebuild(model: type[BaseModel]) -> None:
    """Have a model read annotations that named something later in its module."""
    try:
        model.model_rebuild()
    except PydanticUndefinedAnnotation as error:
        raise unreadable(model, error) from error


def unreadable(model: type, error: Exception) -> Inexpressible:
    why = str(error).splitlines()[0]
    return Inexpressible(
        f"the annotations of {model.__name__} can't be read ({why}); define it, and what it names, at "
        "the top of the module"
    )


def computed_fields_of(model: type) -> dict[str, Any]:
    """What a pydantic model computes of its fields, with the types that it says."""
    decorators = getattr(model, "__pydantic_decorators__", None)
    if decorators is None:
        return {}
    return {
        name: (found.info.return_type, found.info.description)
        for name, found in decorators.computed_fields.items()
    }


def is_validated_first(model: type, name: str) -> bool:
    """Whether a model's own validators may make another value of a field's before its type is asked."""
    decorators = getattr(model, "__pydantic_decorators__", None)
    if decorators is None:
        return False
    of_fields = [found.info for found in decorators.field_validators.values()]
    of_models = [found.info for found in decorators.model_validators.values()]
    return any(info.mode != "after" and {name, "*"} & set(info.fields) for info in of_fields) or any(
        info.mode != "after" for info in of_models
    )


def serializers_of(model: type) -> dict[str, Any]:
    """The return annotation of each field's own serializer; None where its author wrote none."""
    decorators = getattr(model, "__pydantic_decorators__", None)
    return dict(serialized(decorators)) if decorators is not None else {}


def serialized(decorators: Any) -> Iterator[tuple[str, Any]]:
    for found in decorators.field_serializers.values():
        try:
            returned = get_type_hints(found.func, include_extras=True).get("return")
        except Exception:
            returned = None
        for name in found.info.fields:
            yield name, returned


def has_model_serializer(model: type) -> bool:
    decorators = getattr(model, "__pydantic_decorators__", None)
    return bool(decorators and decorators.model_serializers)


def init_only(model: type) -> str | None:
    """A dataclass's InitVar, if it has one: what is given to it is not kept."""
    for field in getattr(model, "__dataclass_fields__", {}).values():
        if isinstance(field.type, dataclasses.InitVar) or str(field.type).startswith("dataclasses.InitVar"):
            return str(field.name)
    return None


def own_docstring(model: type) -> str | None:
    """What the author wrote; not what dataclasses and enums write, or a base class says of itself."""
    docstring: str | None = model.__dict__.get("__doc__")
    origin = getattr(model, "__pydantic_generic_metadata__", {}).get("origin")
    if not docstring and origin is not None:
        docstring = origin.__dict__.get("__doc__")
    if not docstring or docstring == MADE_UP or docstring.startswith(f"{model.__name__}("):
        return None
    return inspect.cleandoc(docstring)
