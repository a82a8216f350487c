"""Documents that answers by plan are asked for by: selections of all sorts, most of them valid.

What the schema refuses nobody plans; so what is unusual is rare, and nothing else is.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

from graphql import (
    GraphQLNamedType,
    GraphQLSchema,
    GraphQLUnionType,
    OperationType,
    get_named_type,
    is_leaf_type,
)

from gql.request import Operation
from gql.schema import Schema, build_schema
from taskql.task import JSON
from tests.unit.planned_values import REGISTRY, Draw
from tests.unit.stub_api import MISSING_ID, TASK_ID

DIRECTIVES = [
    "@include(if: true)", "@skip(if: false)", "@skip(if: true)", "@include(if: false)",
    "@skip(if: false) @include(if: false)", "@skip(if: true) @include(if: true)",
]  # fmt: skip


@cache
def planned_schema() -> Schema:
    return build_schema(REGISTRY)


class Selecting:
    """Draws selections, and the fragments that they spread."""

    def __init__(self, draw: Draw, schema: GraphQLSchema, *, has_variables: bool) -> None:
        self._draw = draw
        self._schema = schema
        self._has_variables = has_variables
        self._spread: dict[str, list[str]] = {}
        self.fragments: list[str] = []

    def of(self, type_: GraphQLNamedType, depth: int = 3, prefix: str = "") -> str:
        """A selection set. With a prefix its fields have names of their own: others stand beside them."""
        if isinstance(type_, GraphQLUnionType):
            parts = [self._member(type_, depth) for _ in range(self._draw.randint(1, 4))]
        else:
            parts = [self._part(type_, depth, prefix) for _ in range(self._draw.randint(1, 4))]
        return f"{{ {' '.join(parts)} }}"

    def _member(self, union: GraphQLUnionType, depth: int) -> str:
        member = self._draw.choice([None, *self._schema.get_possible_types(union)])
        if member is None:
            return "__typename"
        inner = f"... on {member.name}{self._directive()} {self.of(member, depth - 1, f'{member.name}_')}"
        return f"... on {union.name} {{ {inner} }}" if self._draw.once_in(6) else inner

    def _part(self, type_: Any, depth: int, prefix: str) -> str:
        match self._draw.choice(["field"] * 6 + ["inline", "spread", "typename", "again"]):
            case "typename":
                return self._draw.choice(["__typename", "t: __typename"]) + self._directive()
            case "inline" if depth > 0:
                on = self._draw.choice(["", f"on {type_.name}"])
                return f"... {on}{self._directive()} {self._inner(type_, depth, prefix)}"
            case "spread" if depth > 0 and not prefix:
                return f"...{self._fragment(type_, depth)}{self._directive()}"
            case "again" if self._spread.get(type_.name) and not prefix:
                return f"...{self._draw.choice(self._spread[type_.name])}"
            case _:
                return self._field(type_, depth, prefix)

    def _inner(self, type_: Any, depth: int, prefix: str) -> str:
        interfaces = getattr(type_, "interfaces", ())
        if interfaces and self._draw.once_in(3):
            return f"{{ ... on {interfaces[0].name} {self.of(interfaces[0], depth - 1, prefix)} }}"
        return self.of(type_, depth - 1, prefix)

    def _fragment(self, type_: Any, depth: int) -> str:
        on = self._draw.choice([type_, type_, *getattr(type_, "interfaces", ())])
        inner = self.of(on, depth - 1)
        name = f"F{len(self.fragments)}"
        self.fragments.append(f"fragment {name} on {on.name} {inner}")
        self._spread.setdefault(type_.name, []).append(name)
        return name

    def _field(self, type_: Any, depth: int, prefix: str) -> str:
        if self._draw.once_in(600):
            return "nothing"
        leaves = [name for name, field in type_.fields.items() if is_leaf_type(get_named_type(field.type))]
        name = self._draw.choice(list(type_.fields) if depth > 0 or not leaves else leaves)
        if name == "resultUrl" and not self._draw.once_in(8):
            return "__typename"
        named = get_named_type(type_.fields[name].type)
        below = "" if is_leaf_type(named) else self.of(named, depth - 1)
        alias = f"{prefix}{self._draw.choice(['', '', '', 'a_', 'b_'])}"
        return f"{f'{alias}{name}: ' if alias else ''}{name}{self._directive()} {below}"

    def _directive(self) -> str:
        if not self._draw.once_in(6):
            return ""
        if self._has_variables and self._draw.once_in(2):
            return self._draw.choice([" @skip(if: $no)", " @include(if: $yes)"])
        return f" {self._draw.choice(DIRECTIVES)}"


@dataclass(frozen=True)
class Root:
    """A field that is answered by plan, and how it is asked for."""

    kind: OperationType
    field: str
    argument: str
    type: str
    literal: str


QUERY = Root(OperationType.QUERY, "task", "id", "ID!", f'"{TASK_ID}"')
MUTATION = Root(OperationType.MUTATION, "createTask", "input", "CreateTaskInput!", '{title: "x"}')
SUBSCRIPTION = Root(OperationType.SUBSCRIPTION, "taskStatus", "id", "ID!", f'"{TASK_ID}"')

IDS: list[JSON] = [
    *[str(TASK_ID)] * 20,
    str(TASK_ID).upper(), str(MISSING_ID), "no id", f"{{{TASK_ID}}}", 5, None, True, [str(TASK_ID)],
]  # fmt: skip


def operation_of(draw: Draw, root: Root, value: JSON) -> Operation:
    """An operation that asks for the field, mostly as a plan has it: by one variable, and by nothing else."""
    schema = planned_schema()._schema
    has_variables = draw.once_in(3 if root is SUBSCRIPTION else 8)
    selecting = Selecting(draw, schema, has_variables=has_variables)
    type_ = schema.get_root_type(root.kind)
    assert type_ is not None
    inner = selecting.of(get_named_type(type_.fields[root.field].type))
    is_literal = draw.once_in(24)
    field = (
        f"{draw.choice(['', '', 'mine: '])}{root.field}"
        f"({root.argument}: {root.literal if is_literal else '$given'}) {inner}"
    )
    if draw.once_in(24):
        field = draw.choice([
            f"{field} @skip(if: false)", f"... {{ {field} }}", f"{field} __typename", f"{field} {field}",
        ])  # fmt: skip
    name = draw.choice(["", "Mine"])
    text = " ".join([
        f"{root.kind.value} {name}{declared_variables(draw, root, is_literal, has_variables)} {{ {field} }}",
        *selecting.fragments,
    ])  # fmt: skip
    if draw.once_in(12):
        text += " query Other { kinds { name } }"
    variables = {} if is_literal else {"given": value}
    if has_variables:
        variables |= draw.choice([{}, {"yes": False}, {"no": True}, {"yes": True, "no": None}])
    if draw.once_in(12):
        variables = draw.choice([{}, variables | {"extra": 1}, {"given": None}])
    return Operation(
        text, None if draw.once_in(40) else variables, draw.choice([name or None] * 8 + ["Mine", "Other"])
    )


def declared_variables(draw: Draw, root: Root, is_literal: bool, has_variables: bool) -> str:
    default = f" = {root.literal}" if draw.once_in(24) else ""
    declared = [] if is_literal else [f"$given: {root.type}{default}"]
    if has_variables:
        declared += ["$yes: Boolean! = true", "$no: Boolean! = false"]
    return f"({', '.join(declared)})" if declared else ""
