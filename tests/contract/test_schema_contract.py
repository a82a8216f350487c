"""The schema against what clients were promised: contract.graphql, and the committed schema.graphql."""

from collections.abc import Iterator
from contextvars import copy_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from graphql import (
    DefinitionNode,
    DirectiveDefinitionNode,
    EnumTypeDefinitionNode,
    InputObjectTypeDefinitionNode,
    InputValueDefinitionNode,
    InterfaceTypeDefinitionNode,
    ObjectTypeDefinitionNode,
    TypeDefinitionNode,
    UnionTypeDefinitionNode,
    parse,
    print_ast,
)

from gql.kinds import Kinds
from gql.models.names import RESERVED
from gql.scalars import SCALARS
from gql.schema import build_schema, print_sdl
from gql.viewer import LOCAL
from taskql.registry import load_registry

ROOT = Path(__file__).parents[2]
CONTRACT = (Path(__file__).parent / "contract.graphql").read_text()
SCHEMA = print_sdl(load_registry())

LATER = """
    NoInput
""".split()  # noqa: SIM905 (a list of lines is what one reads and shortens)
"""What later issues bring; a type stands for all that is in it. NoInput waits for a kind that needs it."""


def promises(sdl: str) -> dict[str, str]:
    """What a schema says, each thing under its coordinate: `Type`, `Type.field`, `Type.field(argument:)`."""
    return dict(
        promise
        for definition in parse(sdl).definitions
        if not isinstance(definition, DirectiveDefinitionNode)
        for promise in promises_of(definition)
    )


def promises_of(definition: DefinitionNode) -> Iterator[tuple[str, str]]:
    assert isinstance(definition, TypeDefinitionNode)
    name = definition.name.value
    yield name, definition.kind
    match definition:
        case ObjectTypeDefinitionNode() | InterfaceTypeDefinitionNode():
            for interface in definition.interfaces or ():
                yield f"{name} implements {interface.name.value}", "interface"
            for field in definition.fields or ():
                yield f"{name}.{field.name.value}", print_ast(field.type)
                for argument in field.arguments or ():
                    yield f"{name}.{field.name.value}({argument.name.value}:)", input_value(argument)
        case InputObjectTypeDefinitionNode():
            for directive in definition.directives or ():
                yield f"{name} @{directive.name.value}", "directive"
            for input_field in definition.fields or ():
                yield f"{name}.{input_field.name.value}", input_value(input_field)
        case EnumTypeDefinitionNode():
            for value in definition.values or ():
                yield f"{name}.{value.name.value}", "value"
        case UnionTypeDefinitionNode():
            for member in definition.types or ():
                yield f"{name} | {member.name.value}", "member"


def input_value(node: InputValueDefinitionNode) -> str:
    default = f" = {print_ast(node.default_value)}" if node.default_value else ""
    return print_ast(node.type) + default


def is_for_later(coordinate: str) -> bool:
    return any(
        coordinate == later or coordinate.startswith((f"{later}.", f"{later} ", f"{later}("))
        for later in LATER
    )


def differences(schema: str) -> set[str]:
    """Where a schema departs from the contract, less what later issues bring."""
    promised = {
        coordinate: promise
        for coordinate, promise in promises(CONTRACT).items()
        if not is_for_later(coordinate)
    }
    return {coordinate for coordinate, _ in promised.items() ^ promises(schema).items()}


def test_schema_is_what_the_contract_promises() -> None:
    assert differences(SCHEMA) == set()


@pytest.mark.parametrize(
    ("was", "becomes", "coordinate"),
    [
        ("progress: TaskProgress\n", "progress: TaskProgress!\n", "Task.progress"),
        ("totalCountIsExact: Boolean!", "isExact: Boolean!", "TaskConnection.totalCountIsExact"),
        ("steps: Int! = 5", "steps: Int! = 6", "CountdownInput.steps"),
        ("steps: Int! = 5", "steps: Int!", "CountdownInput.steps"),
        ("average: Float!", "average: String!", "ComputeResult.average"),
        ("last: Int\n", "last: Int = null\n", "Query.tasks(last:)"),
        (" @oneOf {", " {", "TaskWorkInput @oneOf"),
        ("type Task implements Node", "type Task", "Task implements Node"),
        ("  CREATED_AT_ASC\n", "  CREATED_ASC\n", "TaskOrder.CREATED_AT_ASC"),
        (" | CountdownResult", "", "TaskResult | CountdownResult"),
        ("idempotencyKey: String\n", "idempotencyKey: String\nnew: String\n", "CreateTaskInput.new"),
    ],
)
def test_any_other_difference_is_noticed(was: str, becomes: str, coordinate: str) -> None:
    assert SCHEMA.count(was) == 1
    assert coordinate in differences(SCHEMA.replace(was, becomes))


def test_what_is_left_for_later_is_in_the_contract_and_not_in_the_schema() -> None:
    assert set(LATER) - promises(CONTRACT).keys() == set()
    assert set(LATER) & promises(SCHEMA).keys() == set()


def test_committed_schema_is_the_one_that_the_code_makes() -> None:
    assert (ROOT / "schema.graphql").read_text() == SCHEMA, "run `make schema`"


def test_introspection_tells_that_work_is_one_of() -> None:
    asking: Any = SimpleNamespace(viewer=LOCAL, for_operation=lambda: asking)
    query = '{__type(name: "TaskWorkInput") {isOneOf}}'
    schema = build_schema(load_registry())
    # An operation marks the lines that are logged after it, and those of other tests are not its own.
    found = copy_context().run(schema.execute_sync, query, context_value=asking)
    assert found.data == {"__type": {"isOneOf": True}}


def test_names_that_a_handler_could_take_from_the_api_are_reserved() -> None:
    made = Kinds(load_registry()).names.owners.keys() - RESERVED
    schema = build_schema(load_registry())._schema
    own = {name for name in schema.type_map if not name.startswith("__")} - made
    promised = {name for name in promises(CONTRACT) if name.isalnum()} - made
    only_handlers_use = {scalar.name for scalar in SCALARS.values()} | {"TaskFailureDetail"}
    assert own | promised | only_handlers_use == RESERVED
