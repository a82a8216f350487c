"""The schema: static types, and what the handlers add to them."""

from collections.abc import Mapping
from typing import Any

import strawberry
from graphql import ExecutionResult, GraphQLError, GraphQLObjectType, GraphQLSchema, Undefined
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.types import ExecutionContext
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.field import StrawberryField

from gql.context import Info
from gql.dead_letters import DeadLetter
from gql.deadlines import Deadlines, OutOfTime
from gql.documents import Documents, PreparedDocument
from gql.errors import presented, timed_out
from gql.kinds import Kinds
from gql.limits import Limits
from gql.mutations import Mutation
from gql.queries import Query
from gql.scalars import SCALARS
from gql.subscriptions import Subscription
from gql.types import Task
from gql.writing import Writers
from taskql.registry import Registry


class OperationExecutor(StrawberryGraphQLCoreExecutionContext):
    """Executes one operation, or one event of a subscription, each with a context of its own."""

    def execute_operation(self, serially: bool | None = None) -> Any:
        if self.context_value is not None:  # as for introspection
            self.context_value = self.context_value.for_operation()
        return super().execute_operation(serially)


class Schema(strawberry.Schema):
    """strawberry's schema with the kinds' fields in it. Every error that leaves it has been presented."""

    def __init__(self, kinds: Kinds, limits: Limits, trusted: Mapping[str, str] | None) -> None:
        self.kinds = kinds
        self.limits = limits
        self._deadlines = Deadlines(limits.operation_seconds)
        super().__init__(
            query=Query,
            mutation=Mutation,
            subscription=Subscription,
            types=[Task, DeadLetter],
            extensions=[PreparedDocument],
            execution_context_class=OperationExecutor,
            config=StrawberryConfig(info_class=Info, scalar_map=SCALARS, default_resolver=read_field),
        )
        drop_null_defaults(self._schema)
        self.documents = Documents(self._schema, limits, trusted)
        self.writers = Writers(self._schema, kinds.getters)

    def get_fields(self, type_definition: StrawberryObjectDefinition) -> list[StrawberryField]:
        return [*super().get_fields(type_definition), *self.kinds.fields.get(type_definition.origin, ())]

    async def _execute_operation(self, execution_context: ExecutionContext, *how: Any) -> Any:
        """Queries and mutations of every transport come by here; a stream may take its time."""
        try:
            return await self._deadlines.within(super()._execute_operation(execution_context, *how))
        except OutOfTime:
            error = timed_out(self._deadlines.seconds, execution_context.operation_type)
            return ExecutionResult(None, [error])

    def process_errors(
        self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None
    ) -> None:
        """Present the errors of any result, in place: strawberry sends the list that it shows us here."""
        errors[:] = map(presented, errors)


def build_schema(
    registry: Registry, limits: Limits | None = None, trusted: Mapping[str, str] | None = None
) -> Schema:
    """The API of a registry's handlers, for which documents alone run if some are `trusted`.

    Raises HandlerRefused where a handler can't be offered, and StartupError where a document can't be run.
    """
    return Schema(Kinds(registry), limits or Limits(), trusted)


def print_sdl(registry: Registry) -> str:
    """The schema in GraphQL's own language, as schema.graphql holds it."""
    return build_schema(registry).as_str() + "\n"


def drop_null_defaults(schema: GraphQLSchema) -> None:
    """Python's `= None` makes an argument optional; as a default in the schema it would say nothing."""
    for type_ in schema.type_map.values():
        for field in type_.fields.values() if isinstance(type_, GraphQLObjectType) else ():
            for argument in field.args.values():
                if argument.default_value is None:
                    argument.default_value = Undefined


def read_field(value: object, name: str) -> object:
    """A field of a value; nested results are the JSON that is stored."""
    return value.get(name) if isinstance(value, dict) else getattr(value, name)
