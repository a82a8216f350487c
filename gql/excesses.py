"""How much one document asks for. Counted on the parsed document, before anything dearer is done with it.

Validation compares fields with fields and fragments with fragments, so its time grows with their squares:
these limits keep it under a third of a second. Introspection, which tools need all of, adds to the fields but
not to the depth, which graphql-core bounds. Fragments count wherever they are spread; one that spreads itself
is left to validation, which refuses it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    OperationDefinitionNode,
    SelectionSetNode,
)

from gql.errors import TooComplex
from gql.limits import Limits

MAX_ROOT_FIELDS = 30
MAX_FIELDS = 500
MAX_FRAGMENTS = 100


@dataclass(frozen=True, slots=True)
class Size:
    """What a selection adds up to: levels of fields, fields at its own level, fields and aliases in all."""

    depth: int = 0
    width: int = 0
    fields: int = 0
    aliases: int = 0

    def beside(self, other: "Size") -> "Size":
        return Size(
            max(self.depth, other.depth),
            self.width + other.width,
            self.fields + other.fields,
            self.aliases + other.aliases,
        )

    def under(self, field: FieldNode) -> "Size":
        aliases = self.aliases + (field.alias is not None)
        if field.name.value.startswith("__"):
            return Size(fields=self.fields + 1, aliases=aliases)
        return Size(self.depth + 1, 1, self.fields + 1, aliases)


class Measure:
    """Sizes of the selections in one document; each fragment is measured once."""

    def __init__(self, document: DocumentNode) -> None:
        self.fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self._sizes: dict[str, Size] = {}

    def of(self, selections: SelectionSetNode | None) -> Size:
        size = Size()
        for selection in selections.selections if selections else ():
            match selection:
                case FragmentSpreadNode():
                    size = size.beside(self._of_fragment(selection.name.value))
                case FieldNode():
                    size = size.beside(self.of(selection.selection_set).under(selection))
                case _:
                    size = size.beside(self.of(selection.selection_set))  # type: ignore[attr-defined]
        return size

    def _of_fragment(self, name: str) -> Size:
        if name not in self._sizes:
            self._sizes[name] = Size()  # what a fragment that spreads itself finds inside
            if fragment := self.fragments.get(name):
                self._sizes[name] = self.of(fragment.selection_set)
        return self._sizes[name]


def excesses(document: DocumentNode, limits: Limits) -> list[GraphQLError]:
    """An error for each limit that an operation of the document exceeds."""
    try:
        return list(found_excesses(document, limits))
    except RecursionError:
        return [TooComplex("Fragments are nested too deeply. Spread them where they are needed.")]


def found_excesses(document: DocumentNode, limits: Limits) -> Iterator[GraphQLError]:
    measure = Measure(document)
    if (found := len(measure.fragments)) > MAX_FRAGMENTS:
        yield TooComplex(f"This document has {found} fragments; the most is {MAX_FRAGMENTS}.")
    for operation in document.definitions:
        if isinstance(operation, OperationDefinitionNode):
            size = measure.of(operation.selection_set)
            for what, found, most in (
                ("levels of nested fields", size.depth, limits.depth),
                ("fields at its top level", size.width, MAX_ROOT_FIELDS),
                ("fields with its fragments spread out", size.fields, MAX_FIELDS),
                ("aliases with its fragments spread out", size.aliases, limits.aliases),
            ):
                if found > most:
                    yield TooComplex(
                        f"This operation has {found} {what}; the most is {most}. Split it up.", operation
                    )
