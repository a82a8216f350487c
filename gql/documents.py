"""Documents, parsed and validated once and then remembered.

Validation is three quarters of what a request costs. strawberry's own caches would save it too, but at four
extensions a request, and its limiters make their rules anew each time, so that those caches never hit.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    parse,
    specified_rules,
    validate,
)
from graphql.validation import NoSchemaIntrospectionCustomRule
from strawberry.extensions import SchemaExtension
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule

from gql.cost import Cost, cost_of
from gql.errors import TooComplex
from gql.excesses import excesses
from gql.limits import Limits
from gql.permissions import Needs, needs_of
from gql.trusted import TrustedDocuments, named
from taskql.marks import begin_operation

RULES = (*specified_rules, MaybeNullValidationRule, OneOfInputValidationRule)
"""GraphQL's own, and those that strawberry adds."""
MAX_REMEMBERED = 128
MAX_REMEMBERED_CHARS = 4_000
"""Longer documents are prepared each time: a parsed one takes 200 bytes of memory for each character."""


@dataclass(frozen=True, slots=True, eq=False)
class PreparedOperation:
    """One of a valid document's operations, with what is known of it before it runs."""

    node: OperationDefinitionNode
    cost: Cost
    needs: Needs


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A document, and what is wrong with it; its operations by name, where nothing is."""

    document: DocumentNode
    errors: Sequence[GraphQLError]
    operations: Mapping[str | None, PreparedOperation]

    def operation(self, name: str | None) -> PreparedOperation | None:
        """The one that is meant; without a name, the only one. None where nobody can say, or errors do."""
        if name is None and len(self.operations) == 1:
            return next(iter(self.operations.values()))
        return self.operations.get(name)

    def name_of(self, name: str | None) -> str | None:
        """What the document calls it; None where it has no name, or can't be run."""
        meant = self.operation(name)
        return meant.node.name.value if meant and meant.node.name else None


class Documents:
    """The documents of one schema. With `texts`, only these run: the trusted ones, by name."""

    def __init__(self, schema: GraphQLSchema, limits: Limits, texts: Mapping[str, str] | None = None) -> None:
        self._schema = schema
        self._limits = limits
        self._rules = RULES if limits.introspection else (*RULES, NoSchemaIntrospectionCustomRule)
        self.trusted = None if texts is None else TrustedDocuments(texts, self._read)
        self.remembered = lru_cache(MAX_REMEMBERED)(self._prepared)

    def prepared(self, query: str) -> Prepared:
        """A document as it can be run or refused. Raises GraphQLError where it is no document at all."""
        return self.remembered(query) if len(query) <= MAX_REMEMBERED_CHARS else self._prepared(query)

    def with_text(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """A request's parameters; where documents are trusted, an id stands for a text that is not sent."""
        return fields if self.trusted is None else named(fields)

    def _prepared(self, query: str) -> Prepared:
        if self.trusted is None:
            return self._read(query)
        return self.trusted.find(query) or Prepared(NOTHING, [self.trusted.refusal()], {})

    def _read(self, query: str) -> Prepared:
        document = parse(query, max_tokens=self._limits.tokens)
        errors = excesses(document, self._limits) or self._validate(document)
        return Prepared(document, errors, {} if errors else self._operations(document))

    def _validate(self, document: DocumentNode) -> list[GraphQLError]:
        # "Did you mean" would tell of the schema what introspection does not.
        hidden = not self._limits.introspection
        return validate(self._schema, document, self._rules, hide_suggestions=hidden)

    def _operations(self, document: DocumentNode) -> dict[str | None, PreparedOperation]:
        return {
            node.name.value if node.name else None: PreparedOperation(
                node, cost_of(self._schema, document, node), needs_of(self._schema, document, node)
            )
            for node in document.definitions
            if isinstance(node, OperationDefinitionNode)
        }


NOTHING = parse("{__typename}")
"""Stands for a document that nobody reads, since it is refused whatever it says."""


def ambiguity(document: DocumentNode, operation_name: str | None) -> Iterator[GraphQLError]:
    """The error of not saying which of several operations is meant; strawberry would take the first."""
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    if operation_name is None and len(operations) > 1:
        yield GraphQLError("The document has several operations: name one with `operationName`.", operations)


class PreparedDocument(SchemaExtension):
    """Gives each operation its prepared document, and its raw variables as the root value (for `Info.sent`).

    strawberry neither parses nor validates what it finds done. It makes one of these for each request.
    """

    def on_operation(self) -> Iterator[None]:
        operation = self.execution_context
        operation.root_value = operation.variables
        schema: Any = operation.schema
        self._cost: dict[str, int] | None = None
        try:
            prepared: Prepared = schema.documents.prepared(operation.query or "")
        except GraphQLError:
            # What is no document strawberry parses again, to report it.
            operation.parse_options = {"max_tokens": schema.limits.tokens}
        else:
            asked_for = operation.operation_name  # with a document, strawberry answers the first one's name
            operation.graphql_document = prepared.document
            begin_operation(prepared.name_of(asked_for))
            if prepared.document is NOTHING:
                operation._provided_operation_name = None  # which strawberry would look for in vain
            operation.pre_execution_errors = [*prepared.errors] or [
                *ambiguity(prepared.document, asked_for),
                *self._refusals(prepared.operation(asked_for)),
                *self._excess(prepared.operation(asked_for), schema.limits.complexity),
            ]
        yield

    def get_results(self) -> dict[str, Any]:
        return {} if self._cost is None else {"cost": self._cost}

    def _refusals(self, operation: PreparedOperation | None) -> Iterator[GraphQLError]:
        """The errors of asking for what the viewer may not."""
        if operation is not None:
            yield from operation.needs.refusals(self.execution_context.context.viewer)

    def _excess(self, operation: PreparedOperation | None, limit: int) -> Iterator[GraphQLError]:
        """The error of costing too much. What it costs is in the answer, but not in those of a stream."""
        if operation is None:
            return
        requested = operation.cost.of(self.execution_context.variables or {})
        if requested > limit or operation.node.operation is not OperationType.SUBSCRIPTION:
            self._cost = {"requested": requested, "limit": limit}
        if requested > limit:
            yield TooComplex(
                f"This operation can cost {requested:,}; the most is {limit:,}. Ask for smaller pages, or "
                "for fewer fields of what is in lists.",
                operation.node,
            )
