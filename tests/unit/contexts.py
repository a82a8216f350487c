"""A context for handlers that run in a test's own loop."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from uuid import UUID

from taskql.context import FollowUp, Host, TaskContext
from taskql.task import Progress

TASK_ID = UUID(int=1)


def nobody(*_: object) -> None: ...


def no_follow_up(follow_up: FollowUp) -> UUID:
    raise AssertionError(f"nobody expects {follow_up}")


def a_context(
    report: Callable[[Progress], None] = nobody,
    *,
    title: str = "a title",
    description: str | None = None,
    create: Callable[[FollowUp], UUID] = no_follow_up,
    resources: Mapping[type, object] = MappingProxyType({}),
) -> TaskContext:
    """The first attempt of a task of kind `test`."""
    host = Host(report, lambda: False, create, resources)
    return TaskContext(TASK_ID, 1, "test", title, description, ("a", "b"), host)
