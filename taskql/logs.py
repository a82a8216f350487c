"""Logging of our processes: a line an event, to standard error, as text or as JSON.

Invariant: no payload, title, token, secret or value of a variable is in a line of ours, at any level. What
handlers log is their authors' own.
"""

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Literal

from taskql.marks import current
from taskql.tracebacks import Words, traceback_of

LogFormat = Literal["text", "json"]

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
QUIET = (
    "aiobotocore", "alembic", "asyncio", "boto3", "botocore", "httpcore", "httpx", "redis", "s3transfer",
    "sqlalchemy", "urllib3", "uvicorn", "websockets",
)  # fmt: skip
"""Libraries whose own chatter is shown from warnings up: it repeats what goes through them."""
OURS = frozenset({"gql", "consumer", "taskql", "strawberry", "graphql", *QUIET})
"""Whose tracebacks tell of foreign exceptions no more than their types."""
OF_HANDLERS = frozenset({"consumer.attempt", "consumer.child", "taskql.lifespan"})
"""Those of ours that log what handlers and their lifespans raised."""
FIRST = ("time", "level", "logger", "message")
STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}
CONTROLS = {code: repr(chr(code))[1:-1] for code in range(32) if chr(code) != "\t"}


def set_up_logging(level: str, format: LogFormat = "text") -> None:
    root = logging.getLogger()
    if not root.handlers:
        to_stderr = logging.StreamHandler(sys.stderr)
        to_stderr.setFormatter(TextLines(FORMAT))
        root.addHandler(to_stderr)
    if format == "json":
        for handler in root.handlers:
            handler.setFormatter(JsonLines())
    root.setLevel(level.upper())
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def format_in_use() -> LogFormat:
    """For a process that is to log like this one."""
    return "json" if any(isinstance(h.formatter, JsonLines) for h in logging.getLogger().handlers) else "text"


class TextLines(logging.Formatter):
    """For people: what happened, then whose it is, unless the record's own words name that."""

    def format(self, record: logging.LogRecord) -> str:
        record.message = record.getMessage()
        record.asctime = self.formatTime(record)
        line = self.formatMessage(record).translate(CONTROLS)
        marks = " ".join(
            f"{name}={value}" for name, value in current().fields().items() if name not in record.__dict__
        )
        return "\n".join(filter(None, (f"{line} [{marks}]" if marks else line, *further_lines(record))))


class JsonLines(logging.Formatter):
    """For programs: one object a line. What a record is given as `extra` is in it by its own name."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, object] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        extra = {name: value for name, value in record.__dict__.items() if name not in STANDARD}
        line = {**current().fields(), **extra, **line}
        if further := "\n".join(filter(None, further_lines(record))):
            line["exception"] = further
        return as_json({name: line[name] for name in sorted(line, key=is_context)})


def is_context(name: str) -> bool:
    """Sorts what every line has before what only some have."""
    return name not in FIRST


def as_json(line: Mapping[str, object]) -> str:
    """Whatever a handler puts into a record, the line is written."""
    try:
        return json.dumps(line, default=str, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return json.dumps({str(name): str(value) for name, value in line.items()})


def further_lines(record: logging.LogRecord) -> Iterator[str | None]:
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        yield traceback_of(error, words_of(record.name))
    yield record.stack_info


def words_of(logger: str) -> Words:
    """How much of an exception's words a line of this logger may repeat."""
    if logger in OF_HANDLERS:
        return Words.OF_HANDLERS
    return Words.OWN if logger.partition(".")[0] in OURS else Words.ALL
