"""What a subscription wants to know of a task, and the text of it, made once for all who want the same.

Invariant: a text is what graphql-core's own subscription would answer; it is written by plan where that can
be. Subscriptions share one where nothing that could show in it differs: the document, the operation, the
variables used inside the selection, and the context, which says who asks.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any
from uuid import UUID
from weakref import WeakValueDictionary

from graphql import (
    ExecutionResult,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLError,
    Node,
    OperationDefinitionNode,
    OperationType,
    located_error,
)
from graphql.execution import Executor, execute_subscription_event
from graphql.execution.values import get_argument_values, get_variable_values

from gql.context import Context
from gql.documents import MAX_REMEMBERED, MAX_REMEMBERED_CHARS
from gql.errors import format_error
from gql.permissions import Needs
from gql.scalars import parse_task_id
from gql.uses import uses_of
from gql.watched import Watched
from gql.writing import OutOfReach, Write

if TYPE_CHECKING:
    from gql.schema import Schema

FIELD = "taskStatus"


def encode_json(data: object) -> str:
    """A str: bytes would make WebSocket frames binary. All ASCII: a lone surrogate could not be sent."""
    return json.dumps(data, separators=(",", ":"))


class Selection:
    """A selection of one document for one caller, ready to be executed for any task."""

    __slots__ = ("__weakref__", "_executor", "_new_executor", "_shows_more", "_write", "field")

    def __init__(
        self, field: FieldNode, write: Write | None, new_executor: Callable[[], Executor[Any]]
    ) -> None:
        self.field = field
        self._write = write
        self._new_executor = new_executor
        self._executor: Executor[Any] | None = None
        self._shows_more = False
        """Than what changes, which is all that an event has."""

    def text(self, watched: Watched) -> str | asyncio.Future[str]:
        """The result for the newest version, as JSON; a future where a resolver takes its time."""
        text = watched.texts.get(self)
        if text is None:
            text = watched.texts[self] = self._written(watched) or self._execute(watched.task)
        return text

    def _written(self, watched: Watched) -> str | None:
        """By plan, where this task is in its reach. Most selections show nothing but what changes."""
        if self._write is None:
            return None
        if not self._shows_more:
            try:
                return self._framed(self._write(watched.newest))
            except AttributeError:
                self._shows_more = True
            except Exception:
                return None
        with suppress(Exception):
            return self._framed(self._write(watched.task))
        return None

    def _framed(self, value: str) -> str:
        return f'{{"data":{{"{self.key}":{value}}}}}'

    def _execute(self, task: object) -> str | asyncio.Future[str]:
        if self._executor is None:
            self._executor = self._new_executor()
        result = execute_subscription_event(self._executor.build_per_event_executor(task))
        if isawaitable(result):
            return asyncio.ensure_future(text_later(result))
        return text_of(result)

    def failure(self, error: Exception) -> str:
        """The result that says why a stream ended, at this field's place."""
        return text_of(ExecutionResult(None, [located_error(error, [self.field], [self.key])]))

    @property
    def key(self) -> str:
        return (self.field.alias or self.field.name).value


async def text_later(result: Awaitable[ExecutionResult]) -> str:
    return text_of(await result)


def text_of(result: ExecutionResult) -> str:
    payload: dict[str, Any] = {"data": result.data}
    if result.errors:
        payload["errors"] = [format_error(error) for error in result.errors]
    return encode_json(payload)


@dataclass(frozen=True, slots=True)
class Request:
    """A subscription to one task, read from what a client sent."""

    selection: Selection
    task_id: UUID
    after_version: int | None


@dataclass(frozen=True, eq=False)
class Plan:
    """An operation that subscribes to a task, and the variables that show inside its selection."""

    document: Any
    operation: OperationDefinitionNode
    field: FieldNode
    inside: tuple[str, ...]
    needs: Needs
    write: Write | None

    def shown(self, variables: Mapping[str, Any]) -> str:
        """Their values as a text; one that was left out is another thing than a null."""
        return encode_json([[variables[name]] if name in variables else [] for name in self.inside])


class Selections:
    """Reads subscriptions to one task. What it makes nothing of, the schema itself must answer."""

    def __init__(self, schema: "Schema") -> None:
        self._schema = schema
        self._graphql = schema._schema
        assert self._graphql.subscription_type is not None
        self._field = self._graphql.subscription_type.fields[FIELD]
        self._plan = lru_cache(MAX_REMEMBERED)(self._new_plan)
        self._shared: WeakValueDictionary[tuple[Plan, str, Context], Selection] = WeakValueDictionary()

    def read(
        self, query: str, variables: Mapping[str, Any] | None, operation_name: str | None, context: Context
    ) -> Request | None:
        """None for any other operation, and for whatever is wrong with this one."""
        plan = self._plan(query, operation_name) if len(query) <= MAX_REMEMBERED_CHARS else None
        if plan is None or any(plan.needs.refusals(context.viewer)):
            return None
        sent = dict(variables or {})
        coerced = get_variable_values(self._graphql, plan.operation.variable_definitions or (), sent)
        if isinstance(coerced, list):  # of errors
            return None
        try:
            arguments = get_argument_values(self._field, plan.field, coerced)
            task_id = parse_task_id(arguments["id"])
        except GraphQLError:
            return None
        if not context.viewer.may_watch(task_id):
            return None
        return Request(self._share(plan, sent, context), task_id, arguments.get("afterVersion"))

    def _new_plan(self, query: str, operation_name: str | None) -> Plan | None:
        try:
            prepared = self._schema.documents.prepared(query)
        except GraphQLError:
            return None
        wanted = prepared.operation(operation_name)
        # Nothing in a task depends on variables in size: what it costs, it costs always.
        if wanted is None or not is_plain(wanted.node) or wanted.cost.fixed > self._schema.limits.complexity:
            return None
        [field] = wanted.node.selection_set.selections
        assert isinstance(field, FieldNode)
        definitions = prepared.document.definitions
        inside = variables_inside(field, definitions)
        write = self._writer(field, definitions)
        return Plan(prepared.document, wanted.node, field, inside, wanted.needs, write)

    def _writer(self, field: FieldNode, definitions: Sequence[Node]) -> Write | None:
        try:
            return self._schema.writers.of(self._field.type, [field], fragments_of(definitions))
        except OutOfReach:
            return None

    def _share(self, plan: Plan, variables: dict[str, Any], context: Context) -> Selection:
        key = (plan, plan.shown(variables), context)
        selection = self._shared.get(key)
        if selection is None:
            new_executor = partial(self._executor, plan, variables, context)
            selection = self._shared[key] = Selection(plan.field, plan.write, new_executor)
        return selection

    def _executor(self, plan: Plan, variables: dict[str, Any], context: Context) -> Executor[Any]:
        name = plan.operation.name.value if plan.operation.name else None
        executor = self._schema.execution_context_class.build(
            self._graphql,
            plan.document,
            context_value=context,
            raw_variable_values=variables,
            operation_name=name,
        )
        assert isinstance(executor, Executor)
        return executor


def is_plain(operation: OperationDefinitionNode) -> bool:
    """Whether it is nothing but the one field: a fragment or a directive at the root is for the schema."""
    selections = operation.selection_set.selections
    field = selections[0] if len(selections) == 1 else None  # graphql-core parses `{}`
    return (
        operation.operation is OperationType.SUBSCRIPTION
        and not operation.directives
        and isinstance(field, FieldNode)
        and field.name.value == FIELD
        and not field.directives
    )


def fragments_of(definitions: Sequence[Node]) -> dict[str, FragmentDefinitionNode]:
    return {node.name.value: node for node in definitions if isinstance(node, FragmentDefinitionNode)}


def variables_inside(field: FieldNode, definitions: Sequence[Node]) -> tuple[str, ...]:
    """The variables that a field's selection uses, through all its fragments."""
    fragments = fragments_of(definitions)
    used = [uses_of(field.selection_set)] if field.selection_set is not None else []
    variables, visited = set[str](), set[str]()
    while used:
        uses = used.pop()
        variables.update(uses.variables)
        unvisited = set(uses.fragments) - visited
        visited |= unvisited
        used += [uses_of(fragments[name]) for name in unvisited]
    return tuple(sorted(variables))
