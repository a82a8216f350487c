"""What resolvers are given with each request."""

from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, cast
from uuid import UUID

import strawberry
from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    SelectionSetNode,
    Undefined,
    located_error,
    value_from_ast_untyped,
)

from gql.queues import LiveQueues
from gql.results import Results
from gql.viewer import Viewer
from gql.watch_tokens import WatchTokens
from taskql.listing import TaskFilter
from taskql.ports import DeadLetterStore
from taskql.service import TaskService
from taskql.task import JSON, Task
from taskql.value import value_class

if TYPE_CHECKING:
    from gql.kinds import Kinds


class Hub(Protocol):
    """Where watchers follow tasks."""

    def watch(
        self, owner: str | None, task_id: UUID, after_version: int | None
    ) -> AsyncGenerator[Task, None]:
        """The task's states as contract.graphql promises them. Raises NotFound before the first."""
        ...


class Feeds(Protocol):
    """Where watchers follow all tasks of an owner."""

    def follow(self, owner: str, filter: TaskFilter) -> AsyncGenerator[Task, None]:
        """Changes to the owner's tasks from now on, each task as it then is, if that matches."""
        ...


@value_class()
class Context:
    """Who asks, and the parts that answer. All operations of one WebSocket share it."""

    viewer: Viewer
    service: TaskService
    hub: Hub
    dead_letters: DeadLetterStore
    feeds: Feeds
    queues: LiveQueues
    watch_tokens: WatchTokens

    @property
    def owner(self) -> str:
        return self.viewer.owner

    results: Results

    def for_operation(self) -> "Context":
        """The same, for one operation, or one event of a subscription: what it may read counts from here."""
        return replace(self, results=Results(self.results.reader))


class Info(strawberry.Info[Context, Mapping[str, Any]]):
    """The execution as resolvers see it. The root value is the raw variables (see gql/documents.py)."""

    @property
    def viewer(self) -> Viewer:
        return self.context.viewer

    @property
    def owner(self) -> str:
        """Whose tasks they create."""
        return self.context.owner

    @property
    def whose(self) -> str | None:
        """Whose tasks they see and steer: None for everybody's."""
        return self.context.viewer.whose

    @property
    def service(self) -> TaskService:
        return self.context.service

    @property
    def dead_letters(self) -> DeadLetterStore:
        return self.context.dead_letters

    @property
    def results(self) -> Results:
        return self.context.results

    @property
    def kinds(self) -> "Kinds":
        return cast("Kinds", self.schema.kinds)  # type: ignore[attr-defined]

    def located(self, error: Exception) -> GraphQLError:
        """An error with this field's place in the document and in the response."""
        return located_error(error, self._raw_info.field_nodes, self._raw_info.path.as_list())

    def selects(self, name: str) -> bool:
        """Whether the client wants to know this field of the result, by whatever name."""
        return any(
            name in field_names(node.selection_set, self._raw_info.fragments)
            for node in self._raw_info.field_nodes
        )

    def sent(self, argument: str) -> JSON:
        """An argument as the client sent it: before coercion and defaults, variables put in."""
        variables = dict(self.root_value or {})
        for definition in self._raw_info.operation.variable_definitions or ():
            if definition.default_value is not None:
                default = value_from_ast_untyped(definition.default_value)
                variables.setdefault(definition.variable.name.value, default)
        for node in self._raw_info.field_nodes[0].arguments or ():
            if node.name.value == argument:
                return without_undefined(value_from_ast_untyped(node.value, variables))
        return None


def field_names(
    selections: SelectionSetNode | None, fragments: Mapping[str, FragmentDefinitionNode]
) -> Iterator[str]:
    """The fields that are selected, those of fragments too; `@skip` and `@include` are not looked at."""
    for node in selections.selections if selections else ():
        match node:
            case FieldNode():
                yield node.name.value
            case InlineFragmentNode():
                yield from field_names(node.selection_set, fragments)
            case FragmentSpreadNode():
                yield from field_names(fragments[node.name.value].selection_set, fragments)


def without_undefined(value: Any) -> JSON:
    """A value less what its variables left undefined: fields go, list items are null, as GraphQL has it."""
    match value:
        case dict():
            return {name: without_undefined(item) for name, item in value.items() if item is not Undefined}
        case list():
            return [without_undefined(item) for item in value]
        case _:
            return None if value is Undefined else value
