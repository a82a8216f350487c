"""A handler's result: from what its function returns to what is stored, and whether that can be shown."""

import inspect
from types import NoneType
from typing import Any

from pydantic import TypeAdapter

from taskql.errors import InputIssue
from taskql.failures import reason
from taskql.retry import BadResult, ResultTooLarge
from taskql.shapes.checking import Check
from taskql.shapes.models import name_of
from taskql.shapes.reading import Reader
from taskql.shapes.shape import AnyOf, Result
from taskql.storable import UNSTORABLE_TEXT, json_size, unstorable
from taskql.task import JSON

TYPE_NAME = "__typename"
"""Where the JSON of a result that is one of several models says which: no field can be called so."""


class Output:
    """What a handler returns. `shape` is None where that is always None."""

    def __init__(self, annotation: Any) -> None:
        self.shape: Result | None = None
        self._checks: dict[str | None, Check] = {}
        self._members: dict[str | None, TypeAdapter[Any]] = {}
        if annotation not in (None, NoneType):
            self.shape = Reader(is_input=False).result(annotation)
            shape = self.shape.shape
            if isinstance(shape, AnyOf):
                self._checks = {name_of(member.type): Check(member) for member in shape.members}
                self._members = {name_of(member.type): TypeAdapter(member.type) for member in shape.members}
            else:
                self._checks = {None: Check(shape)}
        self._adapter: TypeAdapter[Any] = TypeAdapter(annotation)

    def json(self, value: Any, max_bytes: int) -> JSON:
        """What the function returned, as JSON. Raises BadResult where it can't be stored or shown."""
        if inspect.iscoroutine(value):
            value.close()
            raise BadResult("The handler returned a coroutine: what decorates it must be async too.")
        try:
            result = self._dumped(self._adapter.validate_python(value, by_alias=False, by_name=True))
        except UnicodeEncodeError as error:
            raise BadResult(f"The result can't be stored: it {UNSTORABLE_TEXT}.") from error
        except (ValueError, RecursionError) as error:  # pydantic's own, and what is told of endless values
            raise BadResult(f"The result is not what the handler declares: {reason(error)}.") from error
        for path, why in unstorable(result):
            raise BadResult(f"The result can't be stored: {'.'.join(path) or 'it'} {why}.")
        if issue := self.issue(result):
            path, why = issue
            raise BadResult(f"The result can't be shown: {sentence(path, why)}.")
        if (size := json_size(result)) > max_bytes:
            raise ResultTooLarge(
                f"The result has {size} bytes as JSON; the most is {max_bytes}. "
                "A deployment allows more by RESULTS_BUCKET and TASKQL_MAX_RESULT_BYTES."
            )
        return result

    def issue(self, result: JSON) -> InputIssue | None:
        """Why stored JSON is no result of this handler as it is today, if it is none."""
        if self.shape is None:
            return None
        if result is None:
            return None if self.shape.nullable else ((), "is null")
        name = result.get(TYPE_NAME) if isinstance(result, dict) and None not in self._checks else None
        check = self._checks.get(name)
        return check.issue(result) if check else ((), f"is {name}, which the handler no longer returns")

    def _dumped(self, checked: Any) -> JSON:
        """A result as JSON. One of several models is that of its own class, or of the nearest base."""
        bases = map(name_of, type(checked).__mro__ if self._members else ())
        name = next((base for base in bases if base in self._members), None)
        adapter = self._adapter if name is None else self._members[name]
        result = adapter.dump_python(checked, mode="json", by_alias=False, warnings="error")
        return result if name is None else {TYPE_NAME: name, **result}


def sentence(path: tuple[str, ...], why: str) -> str:
    """A place, and what is the matter with it, in our own words or in pydantic's."""
    place = ".".join(path) or "it"
    return f"{place} {why}" if why[:1].islower() else f"{place}: {why}"
