"""The part of the schema that handlers make: TaskWorkInput, TaskResult, and what depends on them.

Invariant: whatever a client can ask for by kind comes from the registry, so a handler's function is its API.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Annotated, Any

import strawberry
from strawberry.scalars import JSON as JSONScalar
from strawberry.types.field import StrawberryField

from gql.inputs import NoInput, TaskWorkInput
from gql.models import ClientModel, ModelTypes, is_model, make_field, refused, written
from gql.types import Kind, Task
from taskql import task as values
from taskql.handler import Handler
from taskql.registry import Registry
from taskql.task import JSON

RESERVED = frozenset(
    {
        "CancelTaskInput",
        "CreateTaskInput",
        "CreateTasksInput",
        "CreateWatchTokenInput",
        "DeleteTaskInput",
        "NoInput",
        "RedriveTasksInput",
        "RetryTaskInput",
        "TaskResult",
        "TaskWorkInput",
    }
)
"""Names of the API's own that a handler's type could take: like those they end in Input or Result."""

NO_INPUT = ClientModel(NoInput, {})


class Kinds:
    """The GraphQL side of a registry's handlers."""

    def __init__(self, registry: Registry) -> None:
        self._taken = dict.fromkeys(RESERVED, "the API itself")
        self._inputs = {kind: self._input(handler) for kind, handler in registry.items()}
        self._results = {
            kind: self._result(handler)
            for kind, handler in registry.items()
            if handler.result_model is not None
        }
        self.listing = [self._listed(handler) for handler in registry.values()]
        self.fields: Mapping[type, Sequence[StrawberryField]] = {
            TaskWorkInput: [self._work_field(handler) for handler in registry.values()],
            Task: self._task_fields(),
        }
        """The fields that the schema adds to types that can't know them."""

    def from_client(self, work: TaskWorkInput) -> JSON:
        """A kind's input by its model's field names."""
        return self._inputs[work.kind].from_client(dict(work.input))

    def client_path(self, path: Sequence[str]) -> tuple[str, ...]:
        """A path of InvalidInput that begins with a kind, by the names that clients use."""
        kind, *rest = path
        return (kind, *self._inputs[kind].client_path(rest))

    def shown_input(self, task: values.Task) -> JSON:
        """A task's input as a client would send it; as it is stored where the kind is not known here."""
        model = self._inputs.get(task.kind)
        return model.to_client(task.input) if model else task.input

    def typed_result(self, task: values.Task) -> Any:
        """A task's result as a member of the union; None where there is none, or the kind is unknown here."""
        model = self._results.get(task.kind)
        if model is None or task.result is None:
            return None
        return model.type(**{name: task.result.get(name) for name in model.fields})

    # ------------------------------------------------------------ built once

    def _input(self, handler: Handler) -> ClientModel:
        if handler.input_model is None:
            return NO_INPUT
        return self._made(handler, handler.input_model, is_input=True)

    def _result(self, handler: Handler) -> ClientModel:
        return self._made(handler, handler.result_model, is_input=False)

    def _made(self, handler: Handler, model: Any, *, is_input: bool) -> ClientModel:
        if not is_model(model):
            raise refused(
                handler,
                f"it {'takes' if is_input else 'returns'} {written(model)}; "
                "make that a pydantic model or a dataclass.",
            )
        types = ModelTypes(handler, is_input=is_input)
        made = types.root(model)
        for name in types.names:
            if owner := self._taken.get(name):
                raise refused(
                    handler, f"its GraphQL type {name} is a name of {owner}; rename the kind or the model."
                )
            self._taken[name] = f"the kind {handler.kind!r}"
        return made

    def _listed(self, handler: Handler) -> Kind:
        result = self._results.get(handler.kind)
        return Kind(
            name=handler.kind,
            description=handler.description,
            max_attempts=handler.max_attempts,
            timeout_seconds=handler.timeout.total_seconds(),
            input_type=type_name(self._inputs[handler.kind]) if handler.input_model else None,
            result_type=type_name(result) if result else None,
        )

    def _work_field(self, handler: Handler) -> StrawberryField:
        type_ = self._inputs[handler.kind].type | None
        description = handler.description or f"Run the handler of the kind `{handler.kind}`."
        return make_field(handler.kind, type_, description, strawberry.UNSET)

    def _task_fields(self) -> list[StrawberryField]:
        def input(root: strawberry.Parent[values.Task]) -> Any:
            return self.shown_input(root)

        def result(root: strawberry.Parent[values.Task]) -> Any:
            return self.typed_result(root)

        fields = [
            strawberry.field(
                resolver=input,
                graphql_type=JSONScalar | None,
                description="The kind's input as it is run: what was sent, completed with defaults.",
            ),
        ]
        if self._results:
            fields.append(
                strawberry.field(
                    resolver=result,
                    graphql_type=self._union() | None,
                    description=(
                        "What the handler returned, as the type that `kinds` names; null unless COMPLETED."
                    ),
                )
            )
        return fields

    def _union(self) -> Any:
        members = reduce(or_, (model.type for model in self._results.values()))
        description = "What comes out of a task: one type for each kind that has results."
        return Annotated[members, strawberry.union("TaskResult", description=description)]


def type_name(model: ClientModel) -> str:
    name: str = model.type.__strawberry_definition__.name
    return name
