"""Operations that are asked again and again, by plan: one task, and createTask, read and answered without the
layers in between.

Invariant: an answer by plan is the one that the schema would give, to the letter; a test holds the two
against each other. Whatever is unusual (errors, other fields, other forms of the same) is out of reach, and
the schema answers it. Nothing is done twice: of what a plan has done, the schema is told the outcome.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from graphql import (
    FieldNode,
    GraphQLError,
    GraphQLInputObjectType,
    GraphQLNonNull,
    GraphQLObjectType,
    OperationDefinitionNode,
    VariableNode,
    print_ast,
)
from strawberry.types import ExecutionResult
from strawberry.types.base import get_object_definition
from strawberry.types.graphql import OperationType
from strawberry.utils.str_converters import to_camel_case

from gql.context import Context
from gql.creation import create_request, payload_of
from gql.deadlines import Deadlines, OutOfTime
from gql.documents import MAX_REMEMBERED, MAX_REMEMBERED_CHARS, PreparedOperation
from gql.errors import timed_out
from gql.inputs import CreateTaskInput, TaskWorkInput
from gql.reading import Readers
from gql.request import Operation
from gql.scalars import CANONICAL_UUID
from gql.selection import fragments_of
from gql.writing import OutOfReach, Write
from taskql.creation import CreateRequest
from taskql.errors import InvalidInput
from taskql.marks import begin_operation
from taskql.ports import Creation
from taskql.service import TaskService
from taskql.task import JSON

if TYPE_CHECKING:
    from gql.schema import Schema


class Once:
    """A service's `create`, done once: whoever calls it again is told what came of it."""

    __slots__ = ("_creation", "_error", "_service", "began")

    def __init__(self, service: TaskService) -> None:
        self._service = service
        self._creation: Creation | None = None
        self._error: Exception | None = None
        self.began = False

    async def create(self, owner: str, request: CreateRequest) -> Creation:
        if not self.began:
            self.began = True
            try:
                self._creation = await self._service.create(owner, request)
            except Exception as error:
                self._error = error
        if self._creation is None:
            assert self._error is not None
            raise self._error
        return self._creation


Resolve = Callable[[JSON, Context, Once], Awaitable[Any]]
"""A root field by the value of its one argument, as it was sent. Whatever it raises, the schema answers."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """An operation with one root field, whose one argument is a variable."""

    operation: PreparedOperation
    name: str | None
    type: OperationType
    key: str
    variable: str
    resolve: Resolve
    write: Write


class Plans:
    """The plans of one schema."""

    def __init__(self, schema: "Schema") -> None:
        self._schema = schema
        input_type = schema._schema.type_map["CreateTaskInput"]
        assert isinstance(input_type, GraphQLInputObjectType)
        self._read_input = Readers().of(GraphQLNonNull(input_type))
        self._plan = lru_cache(MAX_REMEMBERED)(self._new_plan)
        self._deadlines = Deadlines(schema.limits.operation_seconds)
        self._fields: Mapping[tuple[OperationType, str], tuple[str, str, Resolve]] = {
            (OperationType.QUERY, "task"): ("id", "ID!", one_task),
            (OperationType.MUTATION, "createTask"): ("input", "CreateTaskInput!", self._create_task),
        }

    async def answer(
        self, asked: Operation, context: Context, allowed: Collection[OperationType]
    ) -> str | ExecutionResult | None:
        """The answer, as JSON if all went well. None, with nothing done, where the schema has to answer."""
        plan = self._plan(asked.query, asked.name) if len(asked.query) <= MAX_REMEMBERED_CHARS else None
        variables = asked.variables or {}
        if plan is None or plan.type not in allowed or len(variables) != 1 or plan.variable not in variables:
            return None
        cost, most = plan.operation.cost.of(variables), self._schema.limits.complexity
        if cost > most or any(plan.operation.needs.refusals(context.viewer)):
            return None
        begin_operation(plan.name)
        once = Once(context.service)
        try:
            found = await self._deadlines.within(plan.resolve(variables[plan.variable], context, once))
            return (
                f'{{"data":{{"{plan.key}":{plan.write(found)}}},'
                f'"extensions":{{"cost":{{"requested":{cost},"limit":{most}}}}}}}'
            )
        except OutOfTime:
            about = {"cost": {"requested": cost, "limit": most}}
            return ExecutionResult(None, [timed_out(self._deadlines.seconds, plan.type)], about)
        except Exception:
            return await self._by_schema(asked, context, once) if once.began else None

    async def _by_schema(self, asked: Operation, context: Context, once: Once) -> ExecutionResult:
        """The schema's answer to what has been done already."""
        return await self._schema.execute(
            asked.query,
            variable_values=asked.variables,
            context_value=replace(context, service=cast(TaskService, once)),
            operation_name=asked.name,
            operation_extensions=asked.extensions,
        )

    # ------------------------------------------------------------ made once

    def _new_plan(self, query: str, name: str | None) -> Plan | None:
        try:
            prepared = self._schema.documents.prepared(query)
            operation = prepared.operation(name)
            if operation is None:
                return None
            kind, field = OperationType(operation.node.operation.value), only_field(operation.node)
            argument, type_, resolve = self._fields[kind, field.name.value]
            variable = only_variable(operation.node, field, argument, type_)
            fragments = fragments_of(prepared.document.definitions)
            root = self._schema._schema.get_root_type(operation.node.operation)
            assert isinstance(root, GraphQLObjectType)
            write = self._schema.writers.of(root.fields[field.name.value].type, [field], fragments)
        except (GraphQLError, KeyError, OutOfReach):
            return None
        name = operation.node.name.value if operation.node.name else None
        return Plan(operation, name, kind, (field.alias or field.name).value, variable, resolve, write)

    async def _create_task(self, sent: JSON, context: Context, once: Once) -> Any:
        kinds = self._schema.kinds
        request = create_request(task_input(self._read_input(sent)), sent, kinds)
        try:
            return payload_of(await once.create(context.owner, request), kinds)
        except InvalidInput as error:
            return payload_of(error, kinds)


async def one_task(sent: JSON, context: Context, _: Once) -> Any:
    if not isinstance(sent, str) or not CANONICAL_UUID.fullmatch(sent):
        raise OutOfReach
    return await context.service.get(context.viewer.whose, UUID(sent))


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
