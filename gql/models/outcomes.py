"""What becomes of tasks, as GraphQL objects: one kind's results, and the failures that handlers declare."""

from collections.abc import Iterable, Mapping
from typing import Any

from gql.errors import Outdated
from gql.models.client import ClientModel
from gql.models.names import Names
from gql.models.types import ModelTypes
from taskql.errors import InputIssue
from taskql.failures import failure_model
from taskql.handler import Handler
from taskql.shapes import Inexpressible
from taskql.shapes.checking import Check
from taskql.shapes.reading import Reader
from taskql.shapes.results import TYPE_NAME
from taskql.shapes.shape import AnyOf, Model, Result
from taskql.task import JSON, Failure


class ResultTypes:
    """The GraphQL types of one handler's results; none where it returns nothing."""

    def __init__(self, handler: Handler, names: Names) -> None:
        self._output = handler.output
        self._is_value = False
        self._by_name: Mapping[str | None, ClientModel] = {}
        if handler.output and handler.output.shape:
            self._by_name = self._made(ModelTypes(handler, names, is_input=False), handler.output.shape)

    @property
    def members(self) -> list[ClientModel]:
        return list(self._by_name.values())

    def typed(self, result: JSON) -> Any:
        """A stored result as one of the types. Raises Outdated where it is none."""
        assert self._output is not None
        if issue := self._output.issue(result):
            raise outdated("result", " | ".join(member.name for member in self.members), issue)
        if self._is_value:
            return self.members[0].type(value=result)
        return instance(self._by_name[result[TYPE_NAME] if None not in self._by_name else None], result)

    def _made(self, types: ModelTypes, result: Result) -> Mapping[str | None, ClientModel]:
        match result.shape:
            case Model():
                return {None: types.root(result.shape)}
            case AnyOf(members):
                return {made.name: made for made in map(types.nested, members)}
            case shape:
                self._is_value = True
                return {None: types.value(shape)}


class FailureDetail:
    """The GraphQL types of all failures that handlers declare."""

    def __init__(self, handlers: Iterable[Handler], names: Names) -> None:
        self._by_name: dict[str, tuple[ClientModel, Check]] = {}
        for handler in handlers:
            types = ModelTypes(handler, names, is_input=False)
            for failure in handler.failures:
                try:
                    shape = Reader(is_input=False).model(failure_model(failure))
                except Inexpressible as error:
                    raise types.refused(f"{error}.") from error
                made = types.nested(shape)
                self._by_name[made.name] = made, Check(shape)

    @property
    def members(self) -> list[ClientModel]:
        return [made for made, _ in self._by_name.values()]

    def typed(self, failure: Failure | None) -> Any:
        """A failure's details as one of the types; None where there are none, or it is unknown here.

        Raises Outdated where they are stored in another form.
        """
        detail = failure.detail if failure else None
        if detail is None or detail[TYPE_NAME] not in self._by_name:
            return None
        made, check = self._by_name[detail[TYPE_NAME]]
        if issue := check.issue(detail):
            raise outdated("failure", made.name, issue)
        return instance(made, detail)


def instance(model: ClientModel, value: Mapping[str, JSON]) -> Any:
    """A checked value as its GraphQL type, for the union to know it by."""
    return model.type(**{name: value[name] for name in model.fields})


def outdated(what: str, name: str, issue: InputIssue) -> Outdated:
    path, _ = issue
    place = f": see its field {'.'.join(path)!r}" if path else ""
    return Outdated(f"The {what} was stored by another version of the handler, and is no {name} now{place}.")
