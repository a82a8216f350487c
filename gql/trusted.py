"""Trusted documents: the only ones that run, where a folder of them is set.

Invariant: all are read, parsed and validated before the API serves; a document is found by its text, white
space and comments aside, or by an id that stands for it.
"""

from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphql import GraphQLError, strip_ignored_characters

from gql.errors import Forbidden
from taskql.errors import StartupError

if TYPE_CHECKING:
    from gql.documents import Prepared

ENDING = ".graphql"
ALGORITHM = "sha256:"


class TrustedDocuments:
    """All that may run, prepared."""

    def __init__(self, texts: Mapping[str, str], prepare: "Callable[[str], Prepared]") -> None:
        self._found: dict[str, Prepared] = {}
        for name, text in texts.items():
            prepared = checked(name, text, prepare)
            self._found.update(dict.fromkeys(spellings(name, text), prepared))

    def find(self, query: str) -> "Prepared | None":
        """By a text or an id."""
        if query in self._found:
            return self._found[query]
        try:
            return self._found.get(strip_ignored_characters(query))
        except GraphQLError:
            return None

    def refusal(self) -> Forbidden:
        return Forbidden(
            "This server runs trusted documents alone, and this is none of them: send the text or the id of "
            "one that its operator has put there."
        )


def checked(name: str, text: str, prepare: "Callable[[str], Prepared]") -> "Prepared":
    try:
        prepared = prepare(text)
    except GraphQLError as error:
        raise refused(name, error) from None
    if prepared.errors:
        raise refused(name, prepared.errors[0])
    return prepared


def spellings(name: str, text: str) -> Iterator[str]:
    """What a client may send for a document: its text, the hash of it, or the file's name."""
    yield name
    yield strip_ignored_characters(text)
    for exact in (text, text.strip(), strip_ignored_characters(text)):
        yield exact
        yield sha256(exact.encode()).hexdigest()


def named(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A request's parameters, with the id of a document, if they have one instead, for its text."""
    document_id = fields.get("documentId") or persisted_hash(fields.get("extensions"))
    if fields.get("query") or not isinstance(document_id, str):
        return dict(fields)
    return {**fields, "query": document_id.removeprefix(ALGORITHM)}


def persisted_hash(extensions: object) -> object:
    """As Apollo's clients send it."""
    query = extensions.get("persistedQuery") if isinstance(extensions, dict) else None
    return query.get("sha256Hash") if isinstance(query, dict) else None


def read_folder(folder: Path) -> dict[str, str]:
    """The documents of a folder by the names of their files, less the ending. Raises StartupError."""
    try:
        files = sorted(folder.rglob(f"*{ENDING}"))
        texts = {
            file.relative_to(folder).as_posix().removesuffix(ENDING): file.read_text("utf-8")
            for file in files
        }
    except (OSError, UnicodeDecodeError) as error:
        raise StartupError(f"TASKQL_TRUSTED_DOCUMENTS: {folder} can't be read: {error}") from None
    if not texts:
        raise StartupError(f"TASKQL_TRUSTED_DOCUMENTS: there is no file *{ENDING} in {folder}.")
    return texts


def refused(name: str, error: GraphQLError) -> StartupError:
    line = f", line {error.locations[0].line}" if error.locations else ""
    return StartupError(f"TASKQL_TRUSTED_DOCUMENTS: {name}{ENDING}{line}: {error.message}")
