"""Requests made from a schema: what is added to it is asked for, or its maker is asked what to send."""

from collections.abc import Iterator

import pytest
from graphql import build_schema

from tests.cases import Case, Cases, Known

SCHEMA = """
type Query { task(id: ID!): Task, tasks(filter: TaskFilter): [Task!]! }
type Mutation { cancelTask(input: CancelTaskInput!): Task }
type Subscription { taskStatus(id: ID!): Task! }
type Task { id: ID!, title: String! }
input TaskFilter { title: String }
input CancelTaskInput { id: ID! }
input TaskWorkInput @oneOf { ping: PingInput }
input PingInput { echo: String! }
"""
KNOWN = Known([{"id": "1", "title": "hers"}], ["1"], {}, {})


def cases(old: str = "", new: str = "") -> Iterator[Case]:
    """With one change to the schema."""
    return iter(Cases(build_schema(SCHEMA.replace(old, new) if old else SCHEMA), KNOWN))


def test_every_root_field_gets_each_of_its_arguments() -> None:
    assert [(case.about, case.variables) for case in cases()] == [
        ("Query.task", {"id": "1"}),
        ("Query.tasks", {}),
        ("Query.tasks", {"filter": {}}),
        ("Query.tasks", {"filter": {"title": "hers"}}),
        ("Mutation.cancelTask", {"input": {"id": "1"}}),
        ("Subscription.taskStatus", {"id": "1"}),
    ]


def test_a_new_output_field_is_asked_for() -> None:
    added = "type Task { secret: Secret, "
    documents = {case.document for case in cases("type Task { ", "type Secret { word: String! }\n" + added)}
    assert all("secret { __typename word }" in document for document in documents)


def test_a_new_root_field_or_mutation_is_asked_for() -> None:
    abouts = {case.about for case in cases("type Query { ", "type Query { owners: [String!]!, ")}
    assert "Query.owners" in abouts


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (("input TaskFilter { ", "input TaskFilter { inFolder: String, "), "TaskFilter.inFolder"),
        (("tasks(filter: TaskFilter)", "tasks(filter: TaskFilter, of: String)"), "Query.tasks.of"),
        (("input CancelTaskInput { ", "input CancelTaskInput { token: Int!, "), "CancelTaskInput.token"),
        (("title: String!", "title(of: String): String!"), "Task.title"),
    ],
)
def test_what_nobody_could_guess_stops_the_making(change: tuple[str, str], where: str) -> None:
    with pytest.raises(AssertionError, match=f"{where}.*say what val"):
        list(cases(*change))
