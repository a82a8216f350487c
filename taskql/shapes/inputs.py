"""A handler's input: from what a client sends to what is stored, and on to what the function is given.

Invariant: what is stored is accepted again, and stored again it is the same, as far as the author's own
validators leave alone what they have passed before.
"""

from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from taskql.errors import InvalidInput
from taskql.shapes.reading import Reader
from taskql.shapes.shape import Model
from taskql.storable import UNSTORABLE_TEXT, unstorable
from taskql.task import JSON

NOT_READ_BACK = "can't be read back from what the handler's model makes of it"


class Input:
    """What a handler takes."""

    def __init__(self, annotation: Any) -> None:
        self.shape: Model = Reader(is_input=True).input(annotation)
        self._adapter: TypeAdapter[Any] = TypeAdapter(annotation)
        self._is_strict = holds(self._adapter.core_schema, "strict", True)
        self._is_odd = any(
            holds(self._adapter.core_schema, "type", type_) for type_ in ("function-plain", "function-wrap")
        )

    def parse(self, data: JSON) -> Any:
        """`data`, JSON or the model itself, as the model. Raises InvalidInput with each wrong place."""
        try:
            if self._is_strict and isinstance(data, dict):
                return self._adapter.validate_json(self._text(data), by_alias=False, by_name=True)
            return self._adapter.validate_python(data, by_alias=False, by_name=True)
        except ValidationError as error:
            raise invalid(error) from None

    def stored(self, data: JSON) -> JSON:
        """`data` checked and completed with defaults, as the JSON that is stored."""
        stored = self._dumped(self.parse(data))
        if not isinstance(data, dict):  # pydantic takes a model as it is, whatever is in it
            self.parse(stored)
        self._check_read_back(stored)
        return stored

    def _dumped(self, parsed: Any) -> JSON:
        try:
            return self._adapter.dump_python(
                parsed, mode="json", round_trip=True, by_alias=False, warnings="none"
            )
        except UnicodeEncodeError:  # half of a surrogate pair in the key of a dict
            raise InvalidInput(((), UNSTORABLE_TEXT)) from None

    def _check_read_back(self, stored: JSON) -> None:
        """Raises InvalidInput where the model would not take what it gave: a default of its own, say."""
        try:
            again = self.parse(stored)
        except InvalidInput as error:
            raise InvalidInput(*((path, f"{NOT_READ_BACK}: {why}") for path, why in error.issues)) from None
        except Exception as error:  # a validator of the author's, made for what clients send alone
            raise InvalidInput(((), NOT_READ_BACK)) from error
        if self._is_odd and self._dumped(again) != stored:
            raise InvalidInput(((), NOT_READ_BACK))

    def _text(self, data: JSON) -> bytes:
        """Strict models take a date's text from JSON alone."""
        if issues := list(unstorable(data)):
            raise InvalidInput(*issues)
        return to_json(data)


def invalid(error: ValidationError) -> InvalidInput:
    issues = error.errors(include_url=False, include_input=False)
    return InvalidInput(*((tuple(map(str, issue["loc"])), issue["msg"]) for issue in issues))


def holds(schema: Any, key: str, value: Any) -> bool:
    """Whether a pydantic-core schema says so anywhere."""
    match schema:
        case dict():
            return schema.get(key) == value or any(holds(part, key, value) for part in schema.values())
        case list() | tuple():
            return any(holds(part, key, value) for part in schema)
        case _:
            return False
