"""What a part of a document uses by name."""

from typing import Any

from graphql import FragmentSpreadNode, Node, VariableNode, Visitor, visit


class Uses(Visitor):
    """The variables and fragments that a node names, each time it does, and how many fields are in it."""

    def __init__(self) -> None:
        super().__init__()
        self.variables: list[str] = []
        self.fragments: list[str] = []
        self.fields = 0

    def enter_variable(self, node: VariableNode, *_: Any) -> None:
        self.variables.append(node.name.value)

    def enter_fragment_spread(self, node: FragmentSpreadNode, *_: Any) -> None:
        self.fragments.append(node.name.value)

    def enter_field(self, *_: Any) -> None:
        self.fields += 1


def uses_of(node: Node) -> Uses:
    uses = Uses()
    visit(node, uses)
    return uses
