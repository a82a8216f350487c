"""Declared failures: what may be declared, and what a client reads of one that was raised."""

import asyncio
import json
import logging
from dataclasses import InitVar, dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, ClassVar

import pytest
from pydantic import BaseModel, Field

from taskql.errors import InvalidInput, Permanent, Retryable
from taskql.failures import MAX_DETAIL_BYTES, OWN_CODES, check, code_of, failure_model
from taskql.outcome import Failed, Retry
from taskql.retry import MAX_RETRY_DELAY, BadResult, describe, plan_retry
from taskql.task import MAX_FAILURE_CHARS, Failure


@dataclass
class OutOfStock(Exception):
    """There is not enough of it.

    Order less.
    """

    sku: str
    left: int = 0


class CardDeclined(Permanent):
    """The card was declined."""

    reason: str
    _secret: str = "hidden"
    known: ClassVar[int] = 0

    def __init__(self, reason: str) -> None:
        super().__init__(f"The bank says: {reason}")
        self.reason = reason


@dataclass
class BankBusy(Retryable):
    """The bank is busy."""

    bank: str


class Plain(Exception):
    """It has no fields."""


class Part(BaseModel):
    name: str


@dataclass
class Rich(Exception):
    """All sorts of things."""

    at: datetime
    price: Decimal
    parts: list[Part]
    note: str | None = None


ALL = (OutOfStock, CardDeclined, BankBusy, Plain, Rich)


def full() -> float:
    return 1.0


def detail(error: Exception) -> Any:
    return describe(error, [type(error)]).detail


# ---------------------------------------------------------------- what may be declared


def test_what_may_be_declared_is_answered_in_its_order() -> None:
    assert check(list(ALL)) == ALL
    assert check([]) == ()


def made(name: str, *bases: type, **body: Any) -> Any:
    return type(name, bases or (Exception,), body)


def fields(name: str, **annotations: Any) -> Any:
    return made(name, __annotations__=annotations)


class Forms(Exception):
    def __init__(self, sku: str, left: int) -> None:
        self.sku = sku
        self.left = left


class Unknown:
    """Nothing that pydantic knows."""


@dataclass(frozen=True)
class Frozen(Exception):
    sku: str


def nowhere() -> Any:
    class Local(Exception):
        sku: "Sku"  # type: ignore[name-defined]  # noqa: F821

    return Local


@pytest.mark.parametrize(
    ("wrong", "why", "way_out"),
    [
        (OutOfStock("a"), "no exception class", "name the class itself"),
        ("OutOfStock", "no exception class", "derive it from Exception"),
        (Part, "no exception class", "derive it from Exception"),
        (made("Quit", SystemExit), "ends more than a task", "derive it from Exception"),
        (made("Stop", BaseException), "ends more than a task", "derive it from Exception"),
        (made("Gone", asyncio.CancelledError), "ends more than a task", "derive it from Exception"),
        (asyncio.CancelledError, "ends more than a task", "derive it from Exception"),
        (Permanent, "not a failure of its own", "make a class for it"),
        (Retryable, "not a failure of its own", "make a class for it"),
        (ValueError, "not a failure of its own", "make a class for it"),
        (BadResult, "not a failure of its own", "make a class for it"),
        (made("Bad", InvalidInput), "TaskQL's own", "derive it from Exception"),
        (made("Timeout"), "the code TIMEOUT", "rename it"),
        (made("UnknownKind"), "the code UNKNOWN_KIND", "rename it"),
        (made("Größe"), "no name for a GraphQL type", "use ASCII"),
        (made("declined"), "no name for a GraphQL type", "a capital one in front"),
        (made("_Hidden"), "no name for a GraphQL type", "use ASCII"),
        (Frozen, "is frozen", "leave out frozen=True"),
        (Forms, "made from sku, left, but annotates no field", "@dataclass"),
        (fields("Odd", what=Unknown), "can't be made JSON", "types that pydantic knows"),
        (fields("Clash", args=str), "'args' of Clash", "rename it"),
        (nowhere(), "can't be read (name 'Sku' is not defined)", "top of the module"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_may_not_be_declared_is_refused_with_a_way_out(wrong: Any, why: str, way_out: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 (the texts are compared below)
        check([wrong])
    assert why in str(refused.value)
    assert way_out in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("twice", [[Plain, Plain], [Plain, made("Plain")]], ids=["class", "name"])
def test_a_failure_declared_twice_is_refused(twice: list[Any]) -> None:
    with pytest.raises(ValueError, match="Plain is declared twice; leave one out, or rename one"):
        check(twice)


@pytest.mark.parametrize("wrong", [OutOfStock, "OutOfStock", None, {OutOfStock: 1}])
def test_what_is_no_list_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"like failures=\[OutOfStock\]"):
        check(wrong)


@pytest.mark.parametrize("code", sorted(OWN_CODES))
def test_a_code_of_our_own_can_not_be_taken(code: str) -> None:
    name = code.title().replace("_", "")
    with pytest.raises(ValueError, match=f"the code {code}"):
        check([made(name)])


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("OutOfStock", "OUT_OF_STOCK"),
        ("HTTPError", "HTTP_ERROR"),
        ("NoHTTPHere", "NO_HTTP_HERE"),
        ("Error404Found", "ERROR404_FOUND"),
        ("Under_score", "UNDER_SCORE"),
        ("declined", "DECLINED"),
        ("X", "X"),
    ],
)
def test_the_code_is_the_classs_name(name: str, code: str) -> None:
    assert code_of(made(name)) == code


# ---------------------------------------------------------------- the model


def test_the_model_has_the_failures_fields_and_a_message() -> None:
    model = failure_model(OutOfStock)
    assert (model.__name__, (model.__doc__ or "").splitlines()[0]) == (
        "OutOfStock",
        "There is not enough of it.",
    )
    assert {name: info.annotation for name, info in model.model_fields.items()} == {
        "sku": str,
        "left": int,
        "message": str,
    }
    assert model is failure_model(OutOfStock)


def test_private_and_class_attributes_are_no_fields() -> None:
    assert list(failure_model(CardDeclined).model_fields) == ["reason", "message"]
    assert list(failure_model(Plain).model_fields) == ["message"]


def test_what_only_makes_a_dataclass_is_no_field() -> None:
    @dataclass
    class Made(Exception):
        seed: InitVar[int]
        number: int = 0

        def __post_init__(self, seed: int) -> None:
            self.number = seed + 1

    assert list(failure_model(Made).model_fields) == ["number", "message"]
    assert detail(Made(3))["number"] == 4


def test_a_message_of_its_own_is_the_failures() -> None:
    @dataclass
    class Told(Exception):
        message: Annotated[str, Field(description="In its own words.")]

    assert failure_model(Told).model_fields["message"].description == "In its own words."
    assert describe(Told("told so"), [Told]) == Failure(
        "TOLD", "told so", False, {"__typename": "Told", "message": "told so"}
    )


def test_fields_are_inherited() -> None:
    class Sub(CardDeclined):
        card: str

    assert list(failure_model(Sub).model_fields) == ["reason", "card", "message"]


# ---------------------------------------------------------------- when raised


def test_a_declared_failure_ends_the_task_at_once_with_its_fields() -> None:
    failure = Failure(
        "OUT_OF_STOCK",
        "There is not enough of it.",
        retryable=False,
        detail={
            "__typename": "OutOfStock",
            "sku": "A-1",
            "left": 3,
            "message": "There is not enough of it.",
        },
    )
    assert plan_retry(1, 3, OutOfStock("A-1", 3), full, ALL) == Failed(failure)


def test_what_derives_from_retryable_is_tried_again_and_shown_when_attempts_are_exhausted() -> None:
    error = BankBusy("acme")
    failure = describe(error, ALL)
    assert failure.detail == {"__typename": "BankBusy", "bank": "acme", "message": "The bank is busy."}
    assert plan_retry(1, 3, error, full, ALL) == Retry(failure, timedelta(seconds=1))
    assert plan_retry(3, 3, error, full, ALL) == Failed(failure)
    assert (failure.code, failure.retryable) == ("BANK_BUSY", True)


@pytest.mark.parametrize(
    ("after", "delay"), [(timedelta(days=999), MAX_RETRY_DELAY), ("soon", timedelta(seconds=1))]
)
def test_only_a_duration_tells_when_to_try_again(after: Any, delay: timedelta) -> None:
    class Busy(Retryable):
        """Busy."""

    error = Busy("later")
    error.after = after
    outcome = plan_retry(1, 3, error, full, [Busy])
    assert isinstance(outcome, Retry)
    assert outcome.delay == delay


def test_undeclared_it_is_what_it_derives_from() -> None:
    assert describe(OutOfStock("a")).code == "EXCEPTION"
    assert describe(CardDeclined("no")) == Failure("PERMANENT", "The bank says: no", retryable=False)
    assert describe(BankBusy("acme")).code == "RETRYABLE"


def test_a_subclass_counts_as_what_was_declared_and_the_nearest_counts() -> None:
    class Worse(CardDeclined):
        """Worse than declined."""

        degree: int = 1

    assert describe(Worse("no"), [CardDeclined]).code == "CARD_DECLINED"
    assert describe(Worse("no"), [CardDeclined]).detail == {
        "__typename": "CardDeclined",
        "reason": "no",
        "message": "The bank says: no",
    }
    assert describe(Worse("no"), [CardDeclined, Worse]).code == "WORSE"


def test_fields_become_json() -> None:
    error = Rich(datetime(2026, 1, 1, tzinfo=UTC), Decimal("1.10"), [Part(name="bolt")])
    assert detail(error) == {
        "__typename": "Rich",
        "at": "2026-01-01T00:00:00Z",
        "price": "1.10",
        "parts": [{"name": "bolt"}],
        "note": None,
        "message": "All sorts of things.",
    }


def test_fields_are_told_by_their_own_names() -> None:
    @dataclass
    class Aliased(Exception):
        sku_code: Annotated[str, Field(alias="skuCode", serialization_alias="SKU")]

    assert detail(Aliased("a")) == {"__typename": "Aliased", "sku_code": "a", "message": "Aliased"}


# ---------------------------------------------------------------- its words


class Speaking(Exception):
    """Not these words."""

    sku: str

    def __init__(self, sku: str) -> None:
        self.sku = sku

    def __str__(self) -> str:
        return f"no {self.sku} left"


@dataclass
class Named(Exception):
    sku: str


@dataclass
class Composed(Exception):
    """Not these words."""

    sku: str

    def __post_init__(self) -> None:
        super().__init__(f"no {self.sku} left")


class Missing(KeyError):
    """It is missing."""


class Nothing(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (Speaking("bolt"), "no bolt left"),
        (made("Sub", Speaking)("bolt"), "no bolt left"),
        (CardDeclined("no"), "The bank says: no"),
        (Composed("bolt"), "no bolt left"),
        (OutOfStock("A-1", 3), "There is not enough of it."),
        (OutOfStock("A-1"), "There is not enough of it."),
        (OutOfStock(sku="A-1"), "There is not enough of it."),
        (Named("A-1"), "Named"),
        (Plain("in my own words"), "in my own words"),
        (Plain(), "It has no fields."),
        (Plain(""), "It has no fields."),
        (Plain("two", "words"), "It has no fields."),
        (Missing("a key"), "a key"),
        (Missing(), "It is missing."),
        (Nothing(), "Nothing"),
        (Plain("a\x00b\ud800"), "a\ufffdb\ufffd"),
        (Plain("x" * 3000), "x" * MAX_FAILURE_CHARS),
    ],
    ids=repr,
)
def test_its_words_are_its_own_else_its_docstrings_else_its_name(error: Exception, message: str) -> None:
    failure = describe(error, [type(error)])
    assert failure.message == message
    assert failure.detail["message"] == message


# ---------------------------------------------------------------- what can't be recorded


@dataclass
class Loose(Exception):
    """Anything may be in it."""

    what: Any


circle: list[Any] = []
circle.append(circle)
deep: list[Any] = []
for _ in range(10_000):
    deep = [deep]


@pytest.mark.parametrize(
    ("what", "why"),
    [
        (object(), "Unable to serialize unknown type"),
        (float("nan"), "what is not a finite number"),
        ({"a": [float("inf")]}, "what.a.0 is not a finite number"),
        ("x" * MAX_DETAIL_BYTES, "the most is 8192"),
        (circle, ""),
        (deep, ""),
    ],
    ids=["no JSON", "NaN", "infinity", "large", "circle", "deep"],
)
def test_fields_that_can_not_be_stored_never_lose_the_outcome(
    what: Any, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "taskql.failures"):
        failure = describe(Loose(what), [Loose])
    assert failure == Failure("LOOSE", "Anything may be in it.", retryable=False)
    [said] = caplog.messages
    assert said.startswith("the fields of Loose are not recorded: ")
    assert why in said


def test_as_large_as_may_be_is_recorded() -> None:
    room = MAX_DETAIL_BYTES - len('{"what":""}')
    assert describe(Loose("x" * room), [Loose]).detail["what"] == "x" * room
    assert describe(Loose("x" * (room + 1)), [Loose]).detail is None


@pytest.mark.parametrize(
    ("what", "stored"),
    [("a\x00b", "a\ufffdb"), (["\ud800"], ["\ufffd"]), ({"k\x00": {"\x00": 1}}, {"k\ufffd": {"\ufffd": 1}})],
)
def test_texts_are_made_storable(what: Any, stored: Any) -> None:
    assert describe(Loose(what), [Loose]).detail["what"] == stored


def test_a_typed_field_that_can_not_be_encoded_never_loses_the_outcome() -> None:
    failure = describe(OutOfStock("\ud800"), [OutOfStock])
    assert failure.code == "OUT_OF_STOCK"
    json.dumps(failure.detail, ensure_ascii=False).encode()


def test_a_field_that_could_not_be_shown_is_not_recorded(caplog: pytest.LogCaptureFixture) -> None:
    assert describe(OutOfStock("a", 2**31), [OutOfStock]).detail is None
    assert "left is no integer of 32 bits" in caplog.text


@pytest.mark.parametrize("left", ["many", None])
def test_a_field_of_another_type_is_not_recorded(left: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert describe(OutOfStock("a", left), [OutOfStock]).detail is None
    assert "left: " in caplog.text


def test_a_field_that_was_never_set_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    class Forgetful(Exception):
        """It forgets."""

        sku: str

    failure = describe(Forgetful(), [Forgetful])
    assert failure == Failure("FORGETFUL", "It forgets.", retryable=False)
    assert "sku: Field required" in caplog.text


@dataclass
class Hostile(Exception):
    parts: list[str] = field(default_factory=list)

    @property
    def message(self) -> str:
        raise RuntimeError("not today")

    def __str__(self) -> str:
        raise RuntimeError("nor today")


def test_an_exception_that_can_not_be_read_is_recorded_by_its_name() -> None:
    failure = describe(Hostile(), [Hostile])
    assert (failure.code, failure.message) == ("HOSTILE", "Hostile")
    assert failure.detail == {"__typename": "Hostile", "parts": [], "message": "Hostile"}
