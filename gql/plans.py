"""Operations that are asked again and again, by plan: one task, and createTask, read and answered without the
layers in between.

Invariant: an answer by plan is the one that the schema would give, to the letter; a test holds the two
against each other. Whatever is unusual (errors, other fields, other forms of the same) is out of reach, and
the schema answers it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLObjectType,
    OperationDefinitionNode,
    Undefined,
    VariableNode,
    located_error,
    print_ast,
)
from graphql.utilities import coerce_input_value
from strawberry.types import ExecutionResult
from strawberry.types.base import get_object_definition
from strawberry.types.graphql import OperationType
from strawberry.utils.str_converters import to_camel_case

from gql.context import Context
from gql.creation import create_request, payload_of
from gql.documents import MAX_REMEMBERED, MAX_REMEMBERED_CHARS, PreparedOperation
from gql.errors import presented, timed_out
from gql.inputs import CreateTaskInput, TaskWorkInput
from gql.request import Operation
from gql.scalars import CANONICAL_UUID
from gql.writing import OutOfReach, Write, Writers
from taskql.errors import InvalidInput
from taskql.marks import begin_operation
from taskql.task import JSON

if TYPE_CHECKING:
    from gql.schema import Schema

Resolve = Callable[[JSON, Context], Awaitable[Any]]
"""A root field by the value of its one argument, as the client sent it. Raises OutOfReach."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """An operation with one root field, whose one argument is a variable."""

    operation: PreparedOperation
    type: OperationType
    field: FieldNode
    variable: str
    resolve: Resolve
    write: Write

    @property
    def key(self) -> str:
        return (self.field.alias or self.field.name).value


class Plans:
    """The plans of one schema."""

    def __init__(self, schema: "Schema") -> None:
        self._schema = schema
        self._input = schema._schema.type_map["CreateTaskInput"]
        self._plan = lru_cache(MAX_REMEMBERED)(self._new_plan)
        shown = {("Task", "isTerminal"): is_terminal, ("Task", "input"): schema.kinds.shown_input}
        self._fields: Mapping[tuple[OperationType, str], tuple[str, str, Resolve, Writers]] = {
            (OperationType.QUERY, "task"): ("id", "ID!", one_task, schema.writers),
            # What has been done can't be out of reach: this plan has no field that may not be shown.
            (OperationType.MUTATION, "createTask"): (
                "input",
                "CreateTaskInput!",
                self._create_task,
                Writers(schema._schema, shown),
            ),
        }

    async def answer(
        self, asked: Operation, context: Context, allowed: set[OperationType]
    ) -> str | ExecutionResult | None:
        """The answer, as JSON if all went well. None, with nothing done, where the schema has to answer."""
        plan = self._plan(asked.query, asked.name) if len(asked.query) <= MAX_REMEMBERED_CHARS else None
        variables = asked.variables or {}
        if plan is None or plan.type not in allowed or variables.keys() != {plan.variable}:
            return None
        cost, limits = plan.operation.cost.of(variables), self._schema.limits
        if cost > limits.complexity or any(plan.operation.needs.refusals(context.viewer)):
            return None
        name = plan.operation.node.name
        begin_operation(name.value if name else None)
        about = {"cost": {"requested": cost, "limit": limits.complexity}}
        limit, is_done = asyncio.timeout(limits.operation_seconds), False
        try:
            async with limit:
                value = await plan.resolve(variables[plan.variable], context)
                is_done = plan.type is OperationType.MUTATION
                data = plan.write(value)
        except OutOfReach:
            if is_done:
                raise  # the schema would do it again
            return None
        except Exception as error:
            if limit.expired():
                return ExecutionResult(None, [timed_out(limits.operation_seconds, plan.type)], about)
            if plan.type is OperationType.QUERY:
                return None
            located = located_error(error, [plan.field], [plan.key])
            return ExecutionResult(None, [presented(located)], about)
        return (
            f'{{"data":{{"{plan.key}":{data}}},'
            f'"extensions":{{"cost":{{"requested":{cost},"limit":{limits.complexity}}}}}}}'
        )

    # ------------------------------------------------------------ made once

    def _new_plan(self, query: str, name: str | None) -> Plan | None:
        try:
            prepared = self._schema.documents.prepared(query)
            operation = prepared.operation(name)
            if operation is None:
                return None
            kind, field = OperationType(operation.node.operation.value), only_field(operation.node)
            argument, type_, resolve, writers = self._fields[kind, field.name.value]
            variable = only_variable(operation.node, field, argument, type_)
            fragments = {
                node.name.value: node
                for node in prepared.document.definitions
                if isinstance(node, FragmentDefinitionNode)
            }
            root = self._schema._schema.get_root_type(operation.node.operation)
            assert isinstance(root, GraphQLObjectType)
            write = writers.of(root.fields[field.name.value].type, [field], fragments)
        except (GraphQLError, KeyError, OutOfReach):
            return None
        return Plan(operation, kind, field, variable, resolve, write)

    async def _create_task(self, sent: JSON, context: Context) -> Any:
        value = coerce_input_value(sent, self._input)  # type: ignore[arg-type]
        if value is Undefined or value is None:
            raise OutOfReach
        kinds = self._schema.kinds
        try:
            request = create_request(task_input(value), sent, kinds)
            outcome = await context.service.create(context.owner, request)
        except InvalidInput as error:
            return payload_of(error, kinds)
        return payload_of(outcome, kinds)


async def one_task(sent: JSON, context: Context) -> Any:
    if not isinstance(sent, str) or not CANONICAL_UUID.fullmatch(sent):
        raise OutOfReach
    return await context.service.get(context.viewer.whose, UUID(sent))


def is_terminal(task: Any) -> bool:
    return bool(task.status.is_terminal)


def task_input(value: Mapping[str, Any]) -> CreateTaskInput:
    """What strawberry makes of the coerced value."""
    given: dict[str, Any] = {python_name: value.get(name) for name, python_name in NAMES.items()}
    if work := given["work"]:
        [(kind, input)] = work.items()
        given["work"] = TaskWorkInput(kind=kind, input=input)
    return CreateTaskInput(**given)


def python_names(type_: type) -> dict[str, str]:
    """The fields of an input type: the model's names by those that clients use."""
    definition = get_object_definition(type_, strict=True)
    return {
        field.graphql_name or to_camel_case(field.python_name): field.python_name
        for field in definition.fields
    }


NAMES = python_names(CreateTaskInput)


def only_field(operation: OperationDefinitionNode) -> FieldNode:
    """The one field of a plain operation. Raises OutOfReach for any other."""
    selections = operation.selection_set.selections
    if operation.directives or len(selections) != 1:
        raise OutOfReach
    field = selections[0]
    if not isinstance(field, FieldNode) or field.directives:
        raise OutOfReach
    return field


def only_variable(operation: OperationDefinitionNode, field: FieldNode, argument: str, type_: str) -> str:
    """The variable that gives the field its one argument. Raises OutOfReach where it is another."""
    definitions, arguments = operation.variable_definitions or (), field.arguments or ()
    if len(definitions) != 1 or len(arguments) != 1:
        raise OutOfReach
    [definition], [given] = definitions, arguments
    plain = (
        definition.default_value is None and not definition.directives and print_ast(definition.type) == type_
    )
    if not plain or given.name.value != argument or not isinstance(given.value, VariableNode):
        raise OutOfReach
    return definition.variable.name.value
