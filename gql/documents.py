"""Documents, parsed and validated once and then remembered.

Validation is three quarters of what a request costs. strawberry's own caches would save it too, but at four
extensions a request, and its limiters make their rules anew each time, so that those caches never hit.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache

from graphql import DocumentNode, GraphQLError, GraphQLSchema, OperationDefinitionNode, parse, specified_rules
from strawberry.extensions import SchemaExtension
from strawberry.schema.schema import validate_document

from gql.limits import MAX_TOKENS, excesses

MAX_REMEMBERED = 128
MAX_REMEMBERED_CHARS = 4_000
"""Longer documents are prepared each time: a parsed one takes 200 bytes of memory for each character."""


class Documents:
    """The documents of one schema."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._schema = schema
        self.remembered = lru_cache(MAX_REMEMBERED)(self._prepared)

    def prepared(self, query: str) -> tuple[DocumentNode, Sequence[GraphQLError]]:
        """A document and what is wrong with it. Raises GraphQLError where it is no document at all."""
        return self.remembered(query) if len(query) <= MAX_REMEMBERED_CHARS else self._prepared(query)

    def _prepared(self, query: str) -> tuple[DocumentNode, Sequence[GraphQLError]]:
        document = parse(query, max_tokens=MAX_TOKENS)
        return document, excesses(document) or validate_document(
            self._schema, document, tuple(specified_rules)
        )


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
        operation.parse_options = {"max_tokens": MAX_TOKENS}
        # What is no document strawberry parses again, to report it.
        with suppress(GraphQLError):
            document, errors = operation.schema.documents.prepared(operation.query or "")  # type: ignore[attr-defined]
            asked_for = operation.operation_name  # with a document, strawberry answers the first one's name
            operation.graphql_document = document
            operation.pre_execution_errors = [*errors] or [*ambiguity(document, asked_for)]
        yield
