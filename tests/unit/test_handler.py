"""Handlers: what a declaration may look like, what goes in and out, and how they are found."""

# mypy: disable-error-code="empty-body"

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any, Never, NoReturn

import pytest
from pydantic import BaseModel, Field, field_serializer, model_validator

from taskql import Permanent, TaskContext, handler
from taskql.errors import HandlerRefused, InvalidInput
from taskql.handler import MAX_RESULT_BYTES, MAX_TIMEOUT, Handler, declared
from taskql.registry import SHIPPED, Registry, handlers_in, load_registry
from taskql.retry import BadResult, ResultTooLarge
from taskql.task import Progress
from tests.unit.contexts import a_context


class Line(BaseModel):
    text: str
    amount: int = Field(1, ge=1)


class Order(BaseModel):
    lines: list[Line] = Field(min_length=1)
    due: datetime | None = None
    note: str = "none"


@dataclass
class Receipt:
    total: float
    lines: list[str]


class Anything(BaseModel):
    value: Any = None


async def performs(work: Order, task: TaskContext) -> Receipt:
    """Perform an order.

    Slowly.
    """
    return Receipt(1.5, [line.text for line in work.lines])


def declare(
    function: Callable[..., Any] = performs,
    kind: str = "order",
    *,
    max_attempts: int = 3,
    timeout: timedelta = timedelta(minutes=1),
) -> Handler:
    found = declared(handler(kind, max_attempts=max_attempts, timeout=timeout)(function))
    assert found is not None
    return found


def refusal(function: Callable[..., Any] = performs, kind: str = "order", **options: Any) -> str:
    with pytest.raises(HandlerRefused) as refused:
        handler(kind, **options)(function)
    message = str(refused.value)
    assert f"{function.__module__}.{function.__qualname__} (kind {kind!r}): " in message
    return message


def context(report: Callable[[Progress], None] = lambda _: None) -> TaskContext:
    return a_context(report)


def returning(model: type) -> Handler:
    """A handler that declares to return `model`."""

    def function(task: TaskContext) -> Any: ...

    function.__annotations__["return"] = model
    return declare(function)


# ---------------------------------------------------------------- declarations


def test_a_declaration_is_the_function_its_models_and_its_rules() -> None:
    found = declare(max_attempts=7, timeout=timedelta(seconds=9))
    assert (found.kind, found.function) == ("order", performs)
    assert (found.input_model, found.result_model) == (Order, Receipt)
    assert (found.max_attempts, found.timeout) == (7, timedelta(seconds=9))
    assert found.description == "Perform an order.\n\nSlowly."
    assert found.is_async


def test_a_decorated_function_is_still_the_function() -> None:
    def plain(task: TaskContext) -> Receipt:
        return Receipt(1, [])

    assert handler("plain")(plain) is plain


def test_a_plain_function_is_not_async() -> None:
    def plain(task: TaskContext) -> Receipt:
        return Receipt(1, [])

    assert not declare(plain).is_async


def test_three_attempts_of_five_minutes_are_the_default() -> None:
    def plain(task: TaskContext) -> Receipt:
        return Receipt(1, [])

    found = declared(handler("plain")(plain))
    assert found is not None
    assert (found.max_attempts, found.timeout) == (3, timedelta(minutes=5))
    assert not found.process


def test_a_function_at_the_top_of_its_module_may_ask_for_a_process() -> None:
    found = declared(handler("order", process=True)(performs))
    assert found is not None
    assert found.process
    assert found.is_importable


def test_a_nested_function_in_a_process_is_refused() -> None:
    def nested(task: TaskContext) -> Receipt: ...

    assert "define it at the top of its module, or leave out process=True" in refusal(nested, process=True)
    assert not declare(nested).is_importable


def test_a_lambda_in_a_process_is_refused() -> None:
    assert "define it at the top of its module" in refusal(lambda task: None, process=True)


def test_what_is_no_handler_declares_nothing() -> None:
    for value in (None, 5, performs.__class__, ModuleType("x"), Order):
        assert declared(value) is None


@pytest.mark.parametrize("kind", ["a", "sendEmail", "x" * 64, "mp3ToWav"])
def test_camel_case_names_are_kinds(kind: str) -> None:
    assert declare(kind=kind).kind == kind


@pytest.mark.parametrize(
    "kind",
    ["", "SendEmail", "send_email", "send-email", "1st", "x" * 65, "größe", "a b", "a\n", " a", "__typename"],
)
def test_other_names_are_refused(kind: str) -> None:
    assert "camelCase" in refusal(kind=kind)


@pytest.mark.parametrize("max_attempts", [-1, 0, 101])
def test_a_number_of_attempts_out_of_bounds_is_refused(max_attempts: int) -> None:
    assert f"max_attempts is {max_attempts}; choose 1 to 100." in refusal(max_attempts=max_attempts)


@pytest.mark.parametrize(
    "timeout", [timedelta(0), timedelta(seconds=-1), MAX_TIMEOUT + timedelta(microseconds=1)]
)
def test_a_time_limit_out_of_bounds_is_refused(timeout: timedelta) -> None:
    assert "timeout is" in refusal(timeout=timeout)


@pytest.mark.parametrize("timeout", [timedelta(microseconds=1), MAX_TIMEOUT])
def test_the_bounds_of_a_time_limit_are_allowed(timeout: timedelta) -> None:
    assert declare(timeout=timeout).timeout == timeout


async def no_parameters() -> Receipt: ...
async def no_context(work: Order) -> Receipt: ...
async def wrong_order(task: TaskContext, work: Order) -> Receipt: ...
async def one_too_many(work: Order, more: Order, task: TaskContext) -> Receipt: ...
async def bare_context(work: Order, task) -> Receipt: ...  # type: ignore[no-untyped-def]
async def keyword_only(work: Order, *, task: TaskContext) -> Receipt: ...
async def starred(work: Order, *tasks: TaskContext) -> Receipt: ...
async def loose(task: TaskContext, **more: int) -> Receipt: ...
async def optional_context(work: Order, task: TaskContext | None) -> Receipt: ...


@pytest.mark.parametrize(
    ("function", "cause"),
    [
        (no_parameters, "it has 0 parameters"),
        (no_context, "parameter 'work' is no TaskContext"),
        (wrong_order, "parameter 'work' is no TaskContext"),
        (one_too_many, "it has 3 parameters"),
        (bare_context, "parameter 'task' has no annotation"),
        (keyword_only, "parameter 'task' is not given by its place"),
        (starred, "parameter '*tasks' is not given by its place"),
        (loose, "parameter '**more' is not given by its place"),
        (optional_context, "parameter 'task' is no TaskContext"),
    ],
)
def test_other_parameters_are_refused(function: Callable[..., Any], cause: str) -> None:
    expected = (
        f"{cause}; its parameters are (work: YourInput, task: TaskContext), or (task: TaskContext) alone."
    )
    assert refusal(function).endswith(f"(kind 'order'): {expected}")


def test_an_input_without_annotation_is_refused_by_its_name() -> None:
    async def bare_input(order, task: TaskContext) -> Receipt: ...  # type: ignore[no-untyped-def]

    assert "parameter 'order' has no annotation" in refusal(bare_input)


def test_a_missing_result_model_is_refused() -> None:
    async def no_result(task: TaskContext): ...  # type: ignore[no-untyped-def]

    told = "it has no return annotation; add `-> YourResult`, or `-> None` if it has none."
    assert refusal(no_result).endswith(told)


def test_annotations_that_cannot_be_read_are_refused() -> None:
    async def unreadable(work: "Nowhere", task: TaskContext) -> Receipt: ...  # type: ignore[name-defined] # noqa: F821

    assert "top of the module" in refusal(unreadable)


@pytest.mark.parametrize("never", [Never, NoReturn])
def test_a_handler_that_only_raises_has_no_result_model(never: Any) -> None:
    async def raises(task: TaskContext) -> Any:
        raise Permanent("no")

    raises.__annotations__["return"] = never
    found = declare(raises)
    assert found.result_model is None
    with pytest.raises(BadResult, match="never returns, yet it did"):
        found.result(None)


def test_annotations_may_be_text() -> None:
    async def late(work: "Order", task: "TaskContext") -> "Receipt": ...

    assert declare(late).input_model is Order


# ---------------------------------------------------------------- input


def test_the_stored_input_is_checked_json_completed_with_defaults() -> None:
    stored = declare().stored({"lines": [{"text": "ä"}], "due": "2026-11-01T12:00:00Z"})
    assert stored == {"lines": [{"text": "ä", "amount": 1}], "due": "2026-11-01T12:00:00Z", "note": "none"}
    work, given = declare().arguments(stored, it := context())
    assert isinstance(work, Order)
    assert (work.lines, given) == ([Line(text="ä", amount=1)], it)


@pytest.mark.parametrize(
    ("data", "paths"),
    [
        ({}, {("lines",)}),
        ({"lines": []}, {("lines",)}),
        (
            {"lines": [{"text": "x"}, {"text": 5, "amount": 0}]},
            {("lines", "1", "text"), ("lines", "1", "amount")},
        ),
        ({"lines": [{"text": "x"}], "due": "soon"}, {("due",)}),
        (None, {()}),
        ([], {()}),
        ("x", {()}),
    ],
)
def test_wrong_input_is_refused_with_a_path_for_each_place(data: Any, paths: set[tuple[str, ...]]) -> None:
    with pytest.raises(InvalidInput) as refused:
        declare().parse(data)
    assert {path for path, _ in refused.value.issues} == paths
    assert all(reason for _, reason in refused.value.issues)
    for path, reason in refused.value.issues:
        assert f"{'.'.join(path)}: {reason}" in str(refused.value)


def test_a_rule_of_the_whole_model_has_the_models_path() -> None:
    class Range(BaseModel):
        low: int
        high: int

        @model_validator(mode="after")
        def _ordered(self) -> "Range":
            if self.low > self.high:
                raise ValueError("low is above high")
            return self

    async def ranges(work: Any, task: TaskContext) -> Receipt: ...

    ranges.__annotations__["work"] = Range
    with pytest.raises(InvalidInput, match="low is above high") as refused:
        declare(ranges).stored({"low": 2, "high": 1})
    assert [path for path, _ in refused.value.issues] == [()]


def test_a_dataclass_is_an_input_too() -> None:
    async def takes(work: Receipt, task: TaskContext) -> Receipt: ...

    found = declare(takes)
    assert found.stored({"total": 1, "lines": ["x"]}) == {"total": 1.0, "lines": ["x"]}
    assert found.arguments({"total": 1.0, "lines": ["x"]}, it := context()) == (Receipt(1.0, ["x"]), it)
    with pytest.raises(InvalidInput):
        found.stored({"total": 1})


def test_a_handler_without_input_stores_nothing_and_is_given_the_context_alone() -> None:
    async def alone(task: TaskContext) -> Receipt: ...

    found = declare(alone)
    assert found.input_model is None
    assert found.stored({"whatever": 1}) == {}
    assert found.arguments({}, it := context()) == (it,)


def test_half_a_surrogate_pair_in_a_key_is_refused_not_raised() -> None:
    async def takes(work: Anything, task: TaskContext) -> Receipt: ...

    with pytest.raises(InvalidInput, match="surrogate"):
        declare(takes).stored({"value": {"a": {"\ud800": 1}}})


# ---------------------------------------------------------------- results


def test_a_result_is_json() -> None:
    assert declare().result(Receipt(1, ["x"])) == {"total": 1.0, "lines": ["x"]}
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    assert returning(Anything).result(Anything(value=moment)) == {"value": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    "value",
    [None, 5, "x", Line(text="x", amount=1), Receipt("much", []), Receipt(1, [5]), {"total": 1}],  # type: ignore[arg-type, list-item]
)
def test_a_result_of_another_type_is_refused(value: Any) -> None:
    with pytest.raises(BadResult, match="not what the handler declares"):
        declare().result(value)


def test_a_refused_result_is_not_shown() -> None:
    with pytest.raises(BadResult) as refused:
        declare().result({"total": "my secret", "lines": []})
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_refused(number: float) -> None:
    with pytest.raises(BadResult, match="total is not a finite number"):
        declare().result(Receipt(number, []))


@pytest.mark.parametrize("text", ["a\x00b", "\x00"])
def test_text_that_cannot_be_stored_is_refused_by_its_place(text: str) -> None:
    with pytest.raises(BadResult, match=r"lines\.1 holds a NUL character"):
        declare().result(Receipt(1, ["x", text]))


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(BadResult):
        declare().result(Receipt(1, ["\ud800"]))
    with pytest.raises(BadResult):
        returning(Anything).result(Anything(value={"\ud800": 1}))


def test_what_json_cannot_express_is_refused() -> None:
    with pytest.raises(BadResult):
        returning(Anything).result(Anything(value=object()))


@pytest.mark.parametrize("most", [MAX_RESULT_BYTES, 100])
def test_the_largest_result_is_kept_and_a_larger_one_refused(most: int) -> None:
    room = most - len('{"total":1.0,"lines":[""]}')
    assert declare().result(Receipt(1, ["x" * room]), most)
    with pytest.raises(ResultTooLarge) as refused:
        declare().result(Receipt(1, ["x" * (room + 1)]), most)
    assert str(refused.value).startswith(f"The result has {most + 1} bytes as JSON; the most is {most}.")
    with pytest.raises(ResultTooLarge):
        declare().result(Receipt(1, ["ä" * (room // 2 + 1)]), most)


def test_without_a_limit_a_result_is_what_postgresql_keeps() -> None:
    with pytest.raises(ResultTooLarge, match=f"the most is {MAX_RESULT_BYTES}"):
        declare().result(Receipt(1, ["x" * MAX_RESULT_BYTES]))


def test_a_result_without_an_end_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(BadResult, match="not what the handler declares"):
        returning(Anything).result(Anything(value=endless))


def test_a_serializer_that_fails_makes_a_bad_result() -> None:
    class Odd(BaseModel):
        x: int = 1

        @field_serializer("x")
        def _odd(self, _: int) -> int:
            raise ValueError("no")

    with pytest.raises(BadResult):
        returning(Odd).result(Odd())


# ---------------------------------------------------------------- context


@pytest.mark.parametrize(
    ("fraction", "shown"), [(0, 0.0), (0.5, 0.5), (1, 1.0), (-3, 0.0), (7.5, 1.0), (True, 1.0)]
)
def test_progress_is_clamped(fraction: float, shown: float) -> None:
    reports: list[Progress] = []
    context(reports.append).progress(fraction, "x")
    assert reports == [Progress(shown, "x")]
    assert type(reports[0].fraction) is float


@pytest.mark.parametrize("fraction", [math.nan, math.inf, -math.inf])
def test_progress_must_be_finite(fraction: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        context(lambda _: pytest.fail("it was reported")).progress(fraction)


@pytest.mark.parametrize(
    ("message", "shown"),
    [(None, None), ("", None), ("x" * 501, "x" * 500), ("a\x00b\ud800", "a\ufffdb\ufffd")],
)
def test_a_message_is_made_fit_to_be_shown(message: str | None, shown: str | None) -> None:
    reports: list[Progress] = []
    context(reports.append).progress(0.5, message)
    assert reports == [Progress(0.5, shown)]


# ---------------------------------------------------------------- registry


def test_the_kinds_that_ship_are_known() -> None:
    assert tuple(load_registry()) == SHIPPED
    assert load_registry()["reverse"].kind == "reverse"


def test_two_handlers_of_a_kind_are_refused_with_both_named() -> None:
    def one(task: TaskContext) -> Receipt: ...
    def two(task: TaskContext) -> Receipt: ...

    with pytest.raises(HandlerRefused, match=r"'order' has two handlers, .*one and .*two. rename one"):
        Registry([declare(one), declare(two)])


def test_one_handler_found_twice_is_one_handler() -> None:
    found = declare()
    assert list(Registry([found, found])) == ["order"]


def test_handlers_are_found_at_the_top_of_a_module_whatever_their_names() -> None:
    found = declare()
    module = ModuleType("some")
    module.__dict__.update(a=performs, b=performs, c=5, d=None, _hidden=declare)
    assert handlers_in(module) == [found, found]


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of modules that can be imported during the test."""
    monkeypatch.syspath_prepend(str(tmp_path))
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


HANDLER = """
from pydantic import BaseModel
from taskql import TaskContext, handler

class Out(BaseModel):
    x: int

@handler("{kind}"{options})
def perform(task: TaskContext) -> Out:
    return Out(x=1)
"""


def test_modules_of_others_add_their_kinds(modules: Path) -> None:
    (modules / "their_tasks.py").write_text(HANDLER.format(kind="theirs", options=""))
    assert list(load_registry(["their_tasks"])) == [*SHIPPED, "theirs"]


def test_a_module_that_repeats_a_kind_that_ships_is_refused(modules: Path) -> None:
    (modules / "their_tasks.py").write_text(HANDLER.format(kind="reverse", options=""))
    with pytest.raises(HandlerRefused, match=r"taskql\.kinds\.reverse\.reverse and their_tasks\.perform"):
        load_registry(["their_tasks"])


def test_a_module_that_is_not_there_is_refused_by_its_name() -> None:
    with pytest.raises(HandlerRefused, match=r"'no_such_module' can't be imported: .*TASK_HANDLERS"):
        load_registry(["no_such_module"])


@pytest.mark.parametrize("code", ["1 / 0", "def f(:", "import no_such_package", "raise RuntimeError('no')"])
def test_a_module_that_fails_at_its_import_is_refused_with_the_reason(modules: Path, code: str) -> None:
    (modules / "broken_tasks.py").write_text(code)
    with pytest.raises(HandlerRefused, match=r"'broken_tasks' can't be imported: \w+Error"):
        load_registry(["broken_tasks"])


def test_a_refused_declaration_keeps_its_own_words(modules: Path) -> None:
    (modules / "odd_tasks.py").write_text(HANDLER.format(kind="odd", options=", max_attempts=0"))
    with pytest.raises(HandlerRefused, match=r"^odd_tasks\.perform \(kind 'odd'\): max_attempts is 0"):
        load_registry(["odd_tasks"])


def test_a_registry_cannot_be_changed() -> None:
    registry = Registry([declare()])
    with pytest.raises(TypeError):
        registry._by_kind["x"] = declare()  # type: ignore[index]
    assert "x" not in registry
    assert len(registry) == 1


def test_a_decorator_without_a_kind_is_refused() -> None:
    def nameless(task: TaskContext) -> None: ...

    with pytest.raises(HandlerRefused, match=r"^tests\.unit\.test_handler\.\S+\.nameless: name its kind"):
        handler(nameless)  # type: ignore[arg-type]
