"""`summarise`: what it counts, and what it says of a text that is no table."""

import pytest
from acme.summaries import Column, Numbers, Separator, Summarise, summarise

from taskql.testing import InvalidInput, perform_sync

PRICES = "fruit,price\napple,1.5\npear,\nplum,2.5\n"


def test_columns_are_counted_and_numbers_summed_up() -> None:
    summary = perform_sync(summarise, Summarise(text=PRICES)).result
    assert summary.rows == 3
    assert summary.columns == [
        Column(name="fruit", values=3, blanks=0, numbers=None),
        Column(name="price", values=2, blanks=1, numbers=Numbers(minimum=1.5, maximum=2.5, mean=2)),
    ]


@pytest.mark.parametrize(
    ("text", "rows"),
    [("a", 0), ("a\n1\n\n2", 2), ('a,b\n"1\n2",3', 1), ("a,a\n1,2", 1), ("a\r\n1\r\n", 1)],
)
def test_tables_of_all_sorts_are_read(text: str, rows: int) -> None:
    assert perform_sync(summarise, {"text": text}).result.rows == rows


@pytest.mark.parametrize("cell", ["nan", "inf", "-Infinity", "1e999", "one"])
def test_what_json_has_no_number_for_is_a_text(cell: str) -> None:
    [column] = perform_sync(summarise, {"text": f"a\n{cell}\n1"}).result.columns
    assert (column.values, column.numbers) == (2, None)


def test_chosen_columns_come_in_the_order_of_the_table() -> None:
    work = Summarise(text="a;b;c\n1;2;3", separator=Separator.SEMICOLON, columns=["c", "a"])
    assert [column.name for column in perform_sync(summarise, work).result.columns] == ["a", "c"]


def test_a_column_that_is_not_there_is_named_with_those_that_are() -> None:
    failure = perform_sync(summarise, {"text": PRICES, "columns": ["colour"]}).failure
    assert failure is not None
    assert failure.code == "NO_SUCH_COLUMN"
    assert failure.detail["column"] == "colour"
    assert failure.detail["available"] == ["fruit", "price"]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a,b\n1,2\n3", 3, "It has 1 cells, and the first line 2."),
        ("a\n" + "x" * 200_000, 2, "It can't be read: field larger than field limit (131072)."),
    ],
)
def test_a_line_that_does_not_fit_is_named(text: str, line: int, message: str) -> None:
    run = perform_sync(summarise, {"text": text})
    assert run.failure is not None
    assert (run.failure.code, run.failure.message) == ("NOT_CSV", message)
    assert run.failure.detail["line"] == line
    assert run.retry_after is None


def test_watchers_see_how_far_it_is() -> None:
    run = perform_sync(summarise, {"text": "a\n" + "1\n" * 2500})
    assert [report.message for report in run.progress] == ["1000 of 2500 rows", "2000 of 2500 rows"]


@pytest.mark.parametrize(
    ("work", "complaint"),
    [
        ({}, "text: Field required"),
        ({"text": " \n"}, "text: Value error, it is blank; its first line names the columns"),
        ({"text": "a", "columns": ["a", ""]}, "columns.1: String should have at least 1 character"),
        ({"text": "a", "columns": []}, "columns: List should have at least 1 item after validation, not 0"),
        ({"text": "a", "separator": "|"}, "separator: Input should be ',', ';' or '\\t'"),
    ],
)
def test_what_is_wrong_with_the_input_is_named_by_its_place(work: dict[str, object], complaint: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        perform_sync(summarise, work)
    assert str(refused.value) == f"work.summarise.{complaint}"
