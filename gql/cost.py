"""What an operation can cost: how many fields its answer may have, those of lists once for each item.

Invariant: worked out once a document, as a sum of products; only the sizes that variables decide are left to
the request. It is an upper bound: `@skip` and `@include` are not looked at, and lists are as long as they may
be.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLList,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLOutputType,
    GraphQLSchema,
    InlineFragmentNode,
    Node,
    OperationDefinitionNode,
    SelectionSetNode,
    ValueNode,
    get_named_type,
    is_composite_type,
    value_from_ast_untyped,
)

from gql.connection import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE
from gql.inputs import MAX_REDRIVEN
from gql.uses import uses_of
from taskql.queues import Queue
from taskql.task import MAX_ATTEMPTS_KEPT

ROOT_COST = 10
"""What a root field costs beside its fields: it asks PostgreSQL."""
TASK_COST = 10
"""What a mutation costs for each task that it may make or change."""
COUNT_COST = 100
"""What counting all that matches costs: it may look at 10,000 tasks."""
UNKNOWN_SIZE = 10
"""What a list counts for of which nobody knows how long it may be: one in a handler's result."""
KINDS_EXPECTED = 25
ERRORS = "userErrors"
"""A list that counts once: mostly it is empty."""

Arguments = Mapping[str, Any]
Measure = Callable[[Arguments], int]


def page_size(arguments: Arguments) -> int:
    """What is out of bounds counts as the most: the field itself refuses it, in better words."""
    asked = [size for name in ("first", "last") if isinstance(size := arguments.get(name), int)]
    return min(max(0, *asked), MAX_PAGE_SIZE) if asked else DEFAULT_PAGE_SIZE


def length(value: object) -> int:
    """Of what stands where a list is wanted; GraphQL takes a single item for a list of one."""
    return len(value) if isinstance(value, list) else 1


def tasks_sent(arguments: Arguments) -> int:
    wanted = arguments.get("input")
    return length(wanted.get("tasks")) if isinstance(wanted, dict) else 1


def tasks_redriven(arguments: Arguments) -> int:
    wanted = arguments.get("input")
    limit = wanted.get("limit", 100) if isinstance(wanted, dict) else 100
    return min(max(0, limit), MAX_REDRIVEN) if isinstance(limit, int) else 0


MEASURES: Mapping[str, Measure] = {
    "Query.tasks": page_size,
    "Query.deadLetters": page_size,
    "Query.nodes": lambda arguments: length(arguments.get("ids")),
    "Mutation.createTasks": tasks_sent,
    "Mutation.redriveTasks": tasks_redriven,
}
"""Fields whose arguments say how much they answer or do: the size of the next list, there or below."""
LIST_SIZES: Mapping[str, int] = {
    "Task.attempts": MAX_ATTEMPTS_KEPT,
    "Query.queues": len(Queue),
    "Subscription.queues": len(Queue),
    "Query.kinds": KINDS_EXPECTED,
}
"""Lists whose longest is known, whatever the arguments."""
EXTRA: Mapping[str, int] = {
    "TaskConnection.totalCount": COUNT_COST,
    "TaskConnection.totalCountIsExact": COUNT_COST,
}


@dataclass(frozen=True, slots=True, eq=False)
class Size:
    """How long a list may be, as the arguments of a field say, some of which are variables."""

    arguments: Mapping[str, ValueNode]
    measure: Measure

    def given(self, variables: dict[str, Any]) -> int:
        return self.measure(
            {name: value_from_ast_untyped(node, variables) for name, node in self.arguments.items()}
        )


@dataclass(frozen=True, slots=True)
class Cost:
    """An operation's: a number, and products of numbers and sizes that variables decide."""

    fixed: int
    products: tuple[tuple[int, tuple[Size, ...]], ...]
    defaults: Mapping[str, Any]

    def of(self, variables: Mapping[str, Any]) -> int:
        """With a request's variables, as the client sent them."""
        if not self.products:
            return self.fixed
        known = {**self.defaults, **variables}
        return self.fixed + sum(
            number * prod(size.given(known) for size in sizes) for number, sizes in self.products
        )


def cost_of(schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode) -> Cost:
    """The cost of a valid document's operation."""
    tally = Tally(schema, document)
    root = schema.get_root_type(operation.operation)
    assert root is not None
    tally.count(operation.selection_set, root, Place(root=True))
    fixed = tally.numbers.pop((), 0)
    defaults = {
        definition.variable.name.value: value_from_ast_untyped(definition.default_value)
        for definition in operation.variable_definitions or ()
        if definition.default_value is not None
    }
    return Cost(fixed, tuple((number, sizes) for sizes, number in tally.numbers.items()), defaults)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a selection stands: in how many items, by numbers and by variables; `size` is the next list's."""

    times: int = 1
    sizes: tuple[Size, ...] = ()
    size: int | Size = UNKNOWN_SIZE
    root: bool = False

    def inside(self, size: int | Size) -> "Place":
        """In each item of a list."""
        if isinstance(size, Size):
            return Place(self.times, (*self.sizes, size))
        return Place(self.times * size, self.sizes)


class Tally:
    """Counts the fields of one operation: `numbers` has how many there are for each product of sizes."""

    def __init__(self, schema: GraphQLSchema, document: DocumentNode) -> None:
        self._schema = schema
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self.numbers: defaultdict[tuple[Size, ...], int] = defaultdict(int)

    def count(self, selections: SelectionSetNode | None, type_: GraphQLNamedType, place: Place) -> None:
        for node in selections.selections if selections else ():
            match node:
                case FieldNode():
                    self._count_field(node, type_, place)
                case InlineFragmentNode():
                    name = node.type_condition.name.value if node.type_condition else type_.name
                    self.count(node.selection_set, self._schema.type_map[name], place)
                case FragmentSpreadNode():
                    fragment = self._fragments[node.name.value]
                    on = self._schema.type_map[fragment.type_condition.name.value]
                    self.count(fragment.selection_set, on, place)

    def _count_field(self, node: FieldNode, type_: GraphQLNamedType, place: Place) -> None:
        if node.name.value.startswith("__"):
            # Introspection: the schema's own lists count once.
            self.numbers[place.sizes] += place.times * self._fields_in(node)
            return
        coordinate = f"{type_.name}.{node.name.value}"
        field_type = type_.fields[node.name.value].type  # type: ignore[attr-defined]
        size = size_of(node, MEASURES[coordinate]) if coordinate in MEASURES else place.size
        own = 1 + EXTRA.get(coordinate, 0) + (ROOT_COST if place.root else 0)
        self.numbers[place.sizes] += place.times * own
        if coordinate in MEASURES and type_ is self._schema.mutation_type:
            each = place.inside(size)
            self.numbers[each.sizes] += each.times * TASK_COST
        inner = get_named_type(field_type)
        if is_list(field_type) and is_composite_type(inner):
            below = place.inside(1 if node.name.value == ERRORS else LIST_SIZES.get(coordinate, size))
        else:
            below = Place(place.times, place.sizes, size)
        self.count(node.selection_set, inner, below)

    def _fields_in(self, node: Node) -> int:
        uses = uses_of(node)
        return uses.fields + sum(self._fields_in(self._fragments[name]) for name in uses.fragments)


def size_of(node: FieldNode, measure: Measure) -> int | Size:
    """By a field's arguments; a number where they have no variables."""
    arguments = {argument.name.value: argument.value for argument in node.arguments or ()}
    size = Size(arguments, measure)
    return size if any(uses_of(value).variables for value in arguments.values()) else size.given({})


def is_list(type_: GraphQLOutputType) -> bool:
    return isinstance(type_.of_type if isinstance(type_, GraphQLNonNull) else type_, GraphQLList)
