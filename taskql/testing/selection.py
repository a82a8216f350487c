"""What to select of a GraphQL type, so that all of it is answered."""

from collections.abc import Mapping
from typing import Any

TYPES = """{ __schema { types { kind name fields { name type { ...Type } } } } }
fragment Type on __Type { kind name ofType { kind name ofType { kind name ofType { kind name
  ofType { kind name ofType { kind name ofType { kind name } } } } } } }"""

LEVELS = 4
"""How deep a type that holds itself is selected."""

Json = Any


class Types:
    """The object types of a schema, from the answer to TYPES."""

    def __init__(self, answer: Json) -> None:
        self._by_name: Mapping[str, Json] = {type_["name"]: type_ for type_ in answer["__schema"]["types"]}

    def has_field(self, name: str, field: str) -> bool:
        return any(each["name"] == field for each in self._by_name[name]["fields"])

    def whole(self, name: str) -> str:
        """A fragment with every field of the type, down to the last."""
        return f"... on {name} {{ {self._fields(name, ())} }}"

    def _fields(self, name: str, around: tuple[str, ...]) -> str:
        selected = (self._field(field, (*around, name)) for field in self._by_name[name]["fields"])
        return " ".join(filter(None, selected)) or "__typename"

    def _field(self, field: Json, around: tuple[str, ...]) -> str:
        named = innermost(field["type"])
        if named["kind"] != "OBJECT":
            return str(field["name"])
        if around.count(named["name"]) == LEVELS:
            return ""
        return f"{field['name']} {{ {self._fields(named['name'], around)} }}"


def innermost(type_: Json) -> Json:
    """The named type inside its lists and non-nulls."""
    while inside := type_.get("ofType"):
        type_ = inside
    return type_
