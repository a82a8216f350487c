"""Settings: complete and right at boot, or a message names the variable; and .env.example has them all."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from taskql.errors import StartupError
from taskql.queues import Queue
from taskql.settings import Settings, load_database_settings, load_handler_modules, load_settings

EXAMPLE = Path(__file__).resolve().parents[2] / ".env.example"
HEAD = """\
# TaskQL's settings, one by one. Copy this file to .env, or set them in the environment, which wins.
# `make run` needs none of them. A line that begins with "# NAME=" shows a default.
"""
REQUIRED = {
    "DATABASE_URL": "postgresql://taskql:hidden-password@db:5432/taskql",
    "REDIS_URL": "redis://cache:6379/0",
    "SQS_QUEUE_URL": "http://sqs:4566/000000000000/tasks",
    "SQS_HIGH_QUEUE_URL": "http://sqs:4566/000000000000/urgent-tasks",
    "SQS_LOW_QUEUE_URL": "http://sqs:4566/000000000000/patient-tasks",
    "SQS_FIFO_QUEUE_URL": "http://sqs:4566/000000000000/tasks.fifo",
    "SQS_DLQ_URL": "http://sqs:4566/000000000000/dead-letters",
    "SQS_FIFO_DLQ_URL": "http://sqs:4566/000000000000/dead-letters.fifo",
}
TIMES = {
    "TASKQL_VISIBILITY_SECONDS": "visibility",
    "TASKQL_HEARTBEAT_SECONDS": "heartbeat",
    "TASKQL_POLL_SECONDS": "poll",
    "TASKQL_RESEND_SECONDS": "resend_margin",
    "TASKQL_DRAIN_SECONDS": "drain",
    "TASKQL_UNKNOWN_KIND_SECONDS": "unknown_kind_patience",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The required settings and no others, in a folder without .env; all is put back, whatever .env adds."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    for name in Settings.model_fields:
        os.environ.pop(name.upper(), None)
    os.environ.update(REQUIRED)
    monkeypatch.chdir(tmp_path)


def refusal() -> str:
    with pytest.raises(StartupError) as refused:
        load_settings()
    return str(refused.value)


def example() -> str:
    """What .env.example should hold."""
    parts = [HEAD]
    for name, field in Settings.model_fields.items():
        line = f"{name.upper()}=" if field.is_required() else f"# {name.upper()}={shown(field.default)}"
        parts.append(f"# {field.description}\n{line}\n")
    return "\n".join(parts)


def shown(default: Any) -> str:
    return "" if default is None else str(default)


def test_the_example_lists_every_setting_with_its_description_and_default() -> None:
    assert EXAMPLE.read_text() == example()


def test_the_example_alone_lacks_the_required_settings_and_no_others(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(EXAMPLE.read_text())
    for name in REQUIRED:
        del os.environ[name]
    assert {line.split(" ", 1)[0] for line in refusal().splitlines()} == set(REQUIRED)


def test_every_default_of_the_example_is_accepted(tmp_path: Path) -> None:
    defaults = load_settings()
    lines = [line.removeprefix("# ") for line in EXAMPLE.read_text().splitlines()]
    settings = [
        line for line in lines if line.split("=")[0].lower() in Settings.model_fields and line[-1] != "="
    ]
    assert len(settings) > 5
    (tmp_path / ".env").write_text("\n".join(settings))
    assert load_settings() == defaults


def test_the_required_settings_are_enough() -> None:
    settings = load_settings()
    assert settings.database_url == REQUIRED["DATABASE_URL"]
    assert (settings.port, settings.host, settings.log_level) == (8000, "127.0.0.1", "info")
    assert (settings.visibility, settings.heartbeat) == (timedelta(seconds=60), timedelta(seconds=20))
    assert settings.handler_modules == []


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("how", ["missing", "empty"])
def test_a_required_setting_that_is_missing_is_named(name: str, how: str) -> None:
    if how == "missing":
        del os.environ[name]
    else:
        os.environ[name] = ""
    message = refusal()
    assert message.startswith(f"{name} is not set: ")
    assert ".env.example" in message
    assert len(message.splitlines()) == 1


def test_all_that_is_missing_is_named_at_once() -> None:
    for name in REQUIRED:
        del os.environ[name]
    assert [line.split(" ", 1)[0] for line in refusal().splitlines()] == list(REQUIRED)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "http"),
        ("LOG_LEVEL", "loud"),
        ("TASKQL_STATUS_CACHE", "maybe"),
        ("TASKQL_SQS_CLIENT", "boto3"),
        ("TASKQL_RESULTS", "small"),
        ("TASKQL_MAX_RESULT_BYTES", "65535"),
        ("TASKQL_MAX_RESULT_BYTES", "104857601"),
        ("TASKQL_EXPOSE_ERRORS", "maybe"),
        ("TASKQL_UNKNOWN_KIND_SECONDS", "0"),
        ("SQS_QUEUE_URL", "tasks"),
        ("SQS_HIGH_QUEUE_URL", "tasks"),
        ("SQS_LOW_QUEUE_URL", "tasks"),
        ("SQS_FIFO_QUEUE_URL", "tasks.fifo"),
        ("SQS_FIFO_QUEUE_URL", REQUIRED["SQS_QUEUE_URL"]),
        ("SQS_FIFO_DLQ_URL", REQUIRED["SQS_DLQ_URL"]),
        ("SQS_DLQ_URL", "arn:aws:sqs:eu-west-1:000000000000:dlq"),
        ("TASKQL_CONCURRENCY", "0"),
        ("TASKQL_CONCURRENCY", "1001"),
        ("TASKQL_CONCURRENCY", "1.5"),
        ("TASKQL_POLL_SECONDS", "21"),
        ("TASKQL_POLL_SECONDS", "0"),
        ("TASKQL_VISIBILITY_SECONDS", "1"),
        ("TASKQL_VISIBILITY_SECONDS", "43201"),
        ("TASKQL_HEARTBEAT_SECONDS", "0"),
        ("TASKQL_HEARTBEAT_SECONDS", "-1"),
        ("TASKQL_RESEND_SECONDS", "0.5"),
        ("TASKQL_DRAIN_SECONDS", "-1"),
        ("TASKQL_DATABASE_POOL", "1"),
        ("TASKQL_DATABASE_POOL", "501"),
        ("TASKQL_MAX_DEPTH", "0"),
        ("TASKQL_MAX_COMPLEXITY", "many"),
        ("TASKQL_MAX_OPERATION_SECONDS", "0"),
        ("TASKQL_MAX_OPERATION_SECONDS", "nan"),
        ("TASKQL_MAX_REQUEST_BYTES", "1"),
        ("TASKQL_MAX_CONNECTIONS", "0"),
        ("TASKQL_RATE_LIMIT", "0"),
        ("TASKQL_INTROSPECTION", "maybe"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str) -> None:
    os.environ[name] = value
    assert refusal().startswith(f"{name}: ")


@pytest.mark.parametrize("name", ["SQS_FIFO_QUEUE_URL", "SQS_FIFO_DLQ_URL"])
def test_a_fifo_queue_is_told_by_its_ending(name: str) -> None:
    os.environ[name] = "https://sqs.eu-west-1.amazonaws.com/000000000000/tasks"
    assert refusal() == f"{name}: a FIFO queue's URL ends in .fifo"


def test_each_queue_has_a_url_and_dead_letters_go_to_a_queue_of_its_type() -> None:
    settings = load_settings()
    assert settings.queue_urls == {
        Queue.HIGH: REQUIRED["SQS_HIGH_QUEUE_URL"],
        Queue.NORMAL: REQUIRED["SQS_QUEUE_URL"],
        Queue.LOW: REQUIRED["SQS_LOW_QUEUE_URL"],
        Queue.FIFO: REQUIRED["SQS_FIFO_QUEUE_URL"],
    }
    assert settings.dead_letter_urls == {
        Queue.HIGH: REQUIRED["SQS_DLQ_URL"],
        Queue.NORMAL: REQUIRED["SQS_DLQ_URL"],
        Queue.LOW: REQUIRED["SQS_DLQ_URL"],
        Queue.FIFO: REQUIRED["SQS_FIFO_DLQ_URL"],
    }


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e300", "soon"])
def test_a_time_that_is_no_time_is_refused_at_boot(name: str, value: str) -> None:
    os.environ[name] = value
    assert name in refusal()


def test_a_secret_is_never_repeated() -> None:
    for name in Settings.model_fields:
        os.environ[name.upper()] = "hidden-secret"
    message = refusal()
    assert "hidden" not in message
    assert "PORT: " in message


@pytest.mark.parametrize(
    ("visibility", "heartbeat"), [("10", "5"), ("10", "4.999"), ("60", "30"), ("2", "1")]
)
def test_a_heartbeat_is_less_than_half_of_the_visibility(visibility: str, heartbeat: str) -> None:
    os.environ["TASKQL_VISIBILITY_SECONDS"] = visibility
    os.environ["TASKQL_HEARTBEAT_SECONDS"] = heartbeat
    if float(heartbeat) < float(visibility) / 2:
        assert load_settings().heartbeat < load_settings().visibility / 2
    else:
        message = refusal()
        assert "TASKQL_HEARTBEAT_SECONDS must be less than half of TASKQL_VISIBILITY_SECONDS" in message


def test_settings_are_read_from_the_file_and_the_environment_wins(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=9001\nHOST=0.0.0.0\nUNKNOWN_TO_US=1\n")
    os.environ["PORT"] = "9002"
    settings = load_settings()
    assert (settings.port, settings.host) == (9002, "0.0.0.0")


def test_an_empty_optional_setting_is_its_default() -> None:
    os.environ.update(PORT="", AWS_REGION="", AWS_ENDPOINT_URL="", TASK_HANDLERS="")
    settings = load_settings()
    assert (settings.port, settings.aws_region, settings.aws_endpoint_url) == (8000, None, None)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        load_settings().port = 1


@pytest.mark.parametrize(
    ("text", "modules"),
    [("", []), ("a", ["a"]), ("a.b, c ,,d,", ["a.b", "c", "d"]), (" , ", [])],
)
def test_handler_modules_are_separated_by_commas(text: str, modules: list[str]) -> None:
    os.environ["TASK_HANDLERS"] = text
    assert load_settings().handler_modules == modules
    for name in REQUIRED:
        del os.environ[name]
    assert load_handler_modules() == modules


@pytest.mark.parametrize("name", TIMES)
def test_times_are_durations(name: str) -> None:
    os.environ[name] = "3"
    if name == "TASKQL_VISIBILITY_SECONDS":
        os.environ["TASKQL_HEARTBEAT_SECONDS"] = "1"
    assert getattr(load_settings(), TIMES[name]) == timedelta(seconds=3)


def test_a_log_level_may_be_written_in_capitals() -> None:
    os.environ["LOG_LEVEL"] = "INFO"
    assert load_settings().log_level == "info"


@pytest.mark.parametrize(
    ("text", "cached"), [("", True), ("on", True), ("ON", True), ("off", False), ("Off", False)]
)
def test_the_cache_of_statuses_is_on_unless_it_is_switched_off(text: str, cached: bool) -> None:
    os.environ["TASKQL_STATUS_CACHE"] = text
    assert load_settings().has_status_cache is cached


@pytest.mark.parametrize(
    "origins",
    ["https://app.example.com", " http://localhost:5173 , https://a.b:8443,", "http://[::1]:3000", ""],
)
def test_origins_are_taken_as_browsers_name_them(origins: str) -> None:
    os.environ["TASKQL_CORS_ORIGINS"] = origins
    assert load_settings().cors_origins == [part.strip() for part in origins.split(",") if part.strip()]


@pytest.mark.parametrize(
    "origins", ["app.example.com", "https://app.example.com/", "https://*.example.com", "HTTPS://APP", "null"]
)
def test_what_no_browser_calls_an_origin_is_refused(origins: str) -> None:
    os.environ["TASKQL_CORS_ORIGINS"] = origins
    assert "TASKQL_CORS_ORIGINS: an origin looks like https://app.example.com" in refusal()


def test_all_origins_may_be_named_only_where_tokens_are_needed() -> None:
    os.environ["TASKQL_CORS_ORIGINS"] = "*"
    assert "needs AUTH=jwt" in refusal()
    os.environ |= {"AUTH": "jwt", "JWT_SECRET": "x" * 32}
    assert load_settings().cors_origins == ["*"]


@pytest.mark.parametrize(("limit", "burst", "at_once"), [("2", "", 20), ("0.01", "", 1), ("2", "7", 7)])
def test_ten_seconds_of_requests_may_come_at_once_unless_it_is_set(
    limit: str, burst: str, at_once: int
) -> None:
    os.environ.update(TASKQL_RATE_LIMIT=limit, TASKQL_RATE_BURST=burst)
    assert load_settings().rate_burst == at_once


def test_a_burst_without_a_rate_is_refused() -> None:
    os.environ["TASKQL_RATE_BURST"] = "7"
    assert "TASKQL_RATE_BURST says nothing without TASKQL_RATE_LIMIT" in refusal()


@pytest.mark.parametrize(("text", "exposed"), [("", False), ("off", False), ("on", True), ("ON", True)])
@pytest.mark.parametrize("bucket", ["", "results"])
def test_errors_are_exposed_only_where_that_is_switched_on(text: str, exposed: bool, bucket: str) -> None:
    os.environ["TASKQL_EXPOSE_ERRORS"] = text
    os.environ["RESULTS_BUCKET"] = bucket
    assert load_settings().policy.expose_errors is exposed


def test_checking_a_deployment_needs_the_database_alone() -> None:
    for name in REQUIRED:
        if name != "DATABASE_URL":
            del os.environ[name]
    assert load_database_settings().database_url == REQUIRED["DATABASE_URL"]


@pytest.mark.parametrize(
    ("given", "max_result_bytes", "max_row_bytes"),
    [
        ({}, 65_536, 65_536),
        ({"TASKQL_MAX_RESULT_BYTES": "1000000"}, 65_536, 65_536),
        ({"RESULTS_BUCKET": "b"}, 10_485_760, 65_536),
        ({"RESULTS_BUCKET": "b", "TASKQL_MAX_RESULT_BYTES": "1000000"}, 1_000_000, 65_536),
        ({"RESULTS_BUCKET": "b", "TASKQL_RESULTS": "ALL"}, 10_485_760, 0),
    ],
)
def test_how_large_results_may_be_depends_on_the_bucket(
    given: dict[str, str], max_result_bytes: int, max_row_bytes: int
) -> None:
    os.environ.update(given)
    policy = load_settings().policy
    assert (policy.max_result_bytes, policy.max_row_bytes) == (max_result_bytes, max_row_bytes)


def test_all_results_need_a_bucket_to_go_to() -> None:
    os.environ["TASKQL_RESULTS"] = "all"
    assert refusal() == "TASKQL_RESULTS=all needs RESULTS_BUCKET, the S3 bucket that they go to"
