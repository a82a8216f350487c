"""What operations need of who asks for them, found once a document, compared with the viewer before they run.

Invariant: every root field has a rule. With a watch token nothing runs but a subscription to `taskStatus`
that asks for nothing hidden; whether it is the token's own task, `Viewer.may_watch` tells.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    SelectionSetNode,
    TypeInfo,
    TypeInfoVisitor,
    Visitor,
    visit,
)

from gql.errors import Forbidden, Unauthenticated
from gql.viewer import Scope, Viewer

Rule = tuple[Scope, ...]
"""The scopes of which one is enough; without any, a token that counts is."""

READ, WRITE, ADMIN = (Scope.READ,), (Scope.WRITE,), (Scope.ADMIN,)
RULES: Mapping[str, Rule] = {
    "Query.task": READ,
    "Query.tasks": READ,
    "Query.node": READ,
    "Query.nodes": READ,
    "Query.kinds": (),
    "Query.queues": ADMIN,
    "Query.deadLetters": ADMIN,
    "Mutation.createTask": WRITE,
    "Mutation.createTasks": WRITE,
    "Mutation.cancelTask": WRITE,
    "Mutation.retryTask": WRITE,
    "Mutation.redriveTasks": WRITE,
    "Mutation.deleteTask": WRITE,
    "Mutation.createWatchToken": (Scope.READ, Scope.WRITE),
    "Subscription.taskStatus": READ,
    "Subscription.taskUpdates": READ,
    "Subscription.queues": ADMIN,
}
WATCHING = "Subscription.taskStatus"
HIDDEN = {"Task.input", "Task.attempts", "Task.resultUrl"}
"""What a watch token does not show."""


@dataclass(frozen=True, slots=True, eq=False)
class Needs:
    """Of one operation: the rule of each root field, and where it asks for what watch tokens do not show."""

    rules: tuple[tuple[str, FieldNode, Rule], ...]
    hidden: tuple[tuple[str, FieldNode], ...]

    def refusals(self, viewer: Viewer) -> Iterator[GraphQLError]:
        """An error for each thing that the viewer may not, at its place."""
        if viewer.has_ended(time.time()):
            yield ended()
        elif viewer.watches is not None:
            yield from self._beyond_watching()
        else:
            for coordinate, node, rule in self.rules:
                if rule and not any(map(viewer.may, rule)):
                    yield Forbidden(f"{coordinate} needs a token with the scope {' or '.join(rule)}.", node)

    def _beyond_watching(self) -> Iterator[GraphQLError]:
        if not self.rules:
            yield Forbidden("A watch token is for the subscription `taskStatus` alone.")
        for coordinate, node, _ in self.rules:
            if coordinate != WATCHING:
                message = f"A watch token is for the subscription `taskStatus` alone, not for {coordinate}."
                yield Forbidden(message, node)
        for coordinate, node in self.hidden:
            yield Forbidden(f"A watch token does not show {coordinate}.", node)


def needs_of(schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode) -> Needs:
    """What a valid document's operation needs."""
    fragments = {
        node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
    }
    root = schema.get_root_type(operation.operation)
    assert root is not None
    rules = tuple(
        (coordinate, node, RULES[coordinate])
        for node in root_fields(operation.selection_set, fragments)
        if (coordinate := f"{root.name}.{node.name.value}") and not node.name.value.startswith("__")
    )
    is_watching = any(coordinate == WATCHING for coordinate, _, _ in rules)
    return Needs(rules, tuple(hidden_fields(schema, operation, fragments)) if is_watching else ())


def root_fields(
    selections: SelectionSetNode, fragments: Mapping[str, FragmentDefinitionNode]
) -> Iterator[FieldNode]:
    for node in selections.selections:
        if isinstance(node, FieldNode):
            yield node
        elif isinstance(node, FragmentSpreadNode):
            yield from root_fields(fragments[node.name.value].selection_set, fragments)
        else:
            yield from root_fields(node.selection_set, fragments)  # type: ignore[attr-defined]


class Sought(Visitor):
    """The hidden fields in a part of a document, and the fragments that it spreads."""

    def __init__(self, types: TypeInfo) -> None:
        super().__init__()
        self._types = types
        self.found: list[tuple[str, FieldNode]] = []
        self.fragments: set[str] = set()

    def enter_field(self, node: FieldNode, *_: object) -> None:
        parent = self._types.get_parent_type()
        coordinate = f"{parent.name if parent else ''}.{node.name.value}"
        if coordinate in HIDDEN:
            self.found.append((coordinate, node))

    def enter_fragment_spread(self, node: FragmentSpreadNode, *_: object) -> None:
        self.fragments.add(node.name.value)


def hidden_fields(
    schema: GraphQLSchema, operation: OperationDefinitionNode, fragments: Mapping[str, FragmentDefinitionNode]
) -> list[tuple[str, FieldNode]]:
    """Wherever the operation or a fragment that it spreads asks for them, by whatever alias."""
    types = TypeInfo(schema)
    sought = Sought(types)
    visitor = TypeInfoVisitor(types, sought)
    visit(operation, visitor)
    visited = set[str]()
    while unvisited := sought.fragments - visited:
        for name in sorted(unvisited):
            visit(fragments[name], visitor)
        visited |= unvisited
    return sought.found


def ended() -> Unauthenticated:
    return Unauthenticated("The token has ended; come back with a new one.", token_given=True)
