"""What the testing fixture selects of a kind's result."""

import pytest
from graphql import build_schema, graphql_sync

from taskql.testing.selection import TYPES, Types

SCHEMA = build_schema("""
type Query { any: [Result!] }
type Result { text: String! lines: [[Line!]!]! tree: Tree loop: Loop size: Size }
type Line { amount: Int! }
type Tree { name: String! parts: [Tree!]! }
type Loop { loop: Loop }
enum Size { SMALL }
""")


@pytest.fixture
def types() -> Types:
    return Types(graphql_sync(SCHEMA, TYPES).data)


def test_all_of_a_result_is_selected_down_to_its_last_field(types: Types) -> None:
    assert types.whole("Line") == "... on Line { amount }"
    assert types.whole("Result").startswith("... on Result { text lines { amount } tree { name parts {")
    assert types.whole("Result").endswith("size }")


def test_a_model_that_holds_itself_is_selected_four_levels_deep(types: Types) -> None:
    assert types.whole("Tree").count("name") == 4
    assert types.whole("Loop").count("loop") == 3
    assert "{ __typename }" in types.whole("Loop")
    assert graphql_sync(SCHEMA, f"{{ any {{ {types.whole('Result')} }} }}").errors is None


def test_what_a_type_has_is_known(types: Types) -> None:
    assert types.has_field("Tree", "parts")
    assert not types.has_field("Tree", "lines")
