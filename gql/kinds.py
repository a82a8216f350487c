"""The part of the schema that handlers make: TaskWorkInput, TaskResult, and what depends on them.

Invariant: whatever a client can ask for by kind comes from the registry, so a handler's function is its API.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Annotated, Any

import strawberry
from strawberry.scalars import JSON as JSONScalar
from strawberry.types.field import StrawberryField

from gql.context import Info
from gql.inputs import NoInput, TaskWorkInput
from gql.models.client import ClientModel
from gql.models.names import Names
from gql.models.outcomes import FailureDetail, ResultTypes
from gql.models.types import ModelTypes, make_field
from gql.results import Results
from gql.types import Kind, Task
from gql.writing import Getter, OutOfReach
from taskql import task as values
from taskql.handler import Handler
from taskql.registry import Registry
from taskql.task import JSON

NO_INPUT = ClientModel(NoInput, "NoInput")


class Kinds:
    """The GraphQL side of a registry's handlers."""

    def __init__(self, registry: Registry) -> None:
        self.names = Names()
        self._inputs = {kind: self._input(handler) for kind, handler in registry.items()}
        results = {kind: ResultTypes(handler, self.names) for kind, handler in registry.items()}
        self._results = {kind: made for kind, made in results.items() if made.members}
        self._failures = FailureDetail(registry.values(), self.names)
        self.listing = [self._listed(handler) for handler in registry.values()]
        self.fields: Mapping[type, Sequence[StrawberryField]] = {
            TaskWorkInput: [self._work_field(handler) for handler in registry.values()],
            Task: self._task_fields(),
        }
        """The fields that the schema adds to types that can't know them."""

    def from_client(self, work: TaskWorkInput) -> JSON:
        """A kind's input as JSON by its model's field names."""
        return self._inputs[work.kind].from_client(work.input)

    def client_path(self, path: Sequence[str]) -> tuple[str, ...]:
        """A path of InvalidInput that begins with a kind, by the names that clients use."""
        kind, *rest = path
        return (kind, *self._inputs[kind].client_path(rest))

    def shown_input(self, task: values.Task) -> JSON:
        """A task's input as a client would send it; as it is stored where the kind is not known here."""
        model = self._inputs.get(task.kind)
        return model.to_client(task.input) if model else task.input

    def typed_result(self, task: values.Task, result: JSON) -> Any:
        """A result of the task as a member of the union; None where there is none, or its kind is unknown.

        Raises Outdated where the handler has changed so that it can't be shown.
        """
        types = self._results.get(task.kind)
        return None if types is None or result is None else types.typed(result)

    @property
    def getters(self) -> Mapping[tuple[str, str], Getter]:
        """How the fields of a task are read that have resolvers, where that takes no time."""
        return {
            ("Task", "isTerminal"): lambda task: task.status.is_terminal,
            ("Task", "input"): self.shown_input,
            ("Task", "result"): self._result_at_hand,
            ("Task", "failureDetail"): lambda task: self._failures.typed(task.failure),
        }

    def _result_at_hand(self, task: values.Task) -> Any:
        if task.result_location is not None:
            raise OutOfReach
        return self.typed_result(task, task.result)

    # ------------------------------------------------------------ built once

    def _input(self, handler: Handler) -> ClientModel:
        if handler.input is None:
            return NO_INPUT
        return ModelTypes(handler, self.names, is_input=True).root(handler.input.shape)

    def _listed(self, handler: Handler) -> Kind:
        result = self._results.get(handler.kind)
        return Kind(
            name=handler.kind,
            description=handler.description,
            max_attempts=handler.max_attempts,
            timeout_seconds=handler.timeout.total_seconds(),
            input_type=self._inputs[handler.kind].name if handler.input else None,
            result_type=" | ".join(member.name for member in result.members) if result else None,
        )

    def _work_field(self, handler: Handler) -> StrawberryField:
        type_ = self._inputs[handler.kind].type | None
        description = handler.description or f"Run the handler of the kind `{handler.kind}`."
        return make_field(handler.kind, type_, description, strawberry.UNSET)

    def _task_fields(self) -> list[StrawberryField]:
        def input(root: strawberry.Parent[values.Task]) -> Any:
            return self.shown_input(root)

        def result(root: strawberry.Parent[values.Task], info: Info) -> Any:
            if root.result_location is None:
                return self.typed_result(root, root.result)
            return stored_result(root, root.result_location, info.results)

        async def stored_result(task: values.Task, location: str, results: Results) -> Any:
            return self.typed_result(task, await results.result(location))

        def failure_detail(root: strawberry.Parent[values.Task]) -> Any:
            return self._failures.typed(root.failure)

        fields = [
            strawberry.field(
                resolver=input,
                graphql_type=JSONScalar | None,
                description="The kind's input as it is run: what was sent, completed with defaults.",
            ),
        ]
        if self._results:
            members = [member for types in self._results.values() for member in types.members]
            fields.append(
                strawberry.field(
                    resolver=result,
                    graphql_type=union("TaskResult", members, RESULT) | None,
                    description=(
                        "What the handler returned, as the type that `kinds` names; null unless COMPLETED."
                    ),
                )
            )
        if self._failures.members:
            fields.append(
                strawberry.field(
                    resolver=failure_detail,
                    graphql_type=union("TaskFailureDetail", self._failures.members, FAILURE) | None,
                    description="What the handler says of its failure, if that is one that it declares.",
                )
            )
        return fields


RESULT = "What comes out of a task: one type for each kind that has results."
FAILURE = "A failure that a handler declares, with what it tells of itself."


def union(name: str, members: Iterable[ClientModel], description: str) -> Any:
    types = reduce(or_, dict.fromkeys(member.type for member in members))
    return Annotated[types, strawberry.union(name, description=description)]
