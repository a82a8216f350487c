"""The figures of the page, which part of the measurement takes each, and the goals of ours."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Goal:
    """Either so many times the best of these, or less than a number."""

    times: float = 0
    of: tuple[str, ...] = ()
    under: float = 0


@dataclass(frozen=True)
class Figure:
    part: str
    title: str
    unit: str
    goals: tuple[Goal, ...] = ()
    more_is_better: bool = True


FIGURES = {
    "create": Figure("create", "createTask (queues: enqueue)", "/s", (Goal(3, ("yoga", "mercurius")),)),
    "read": Figure("read", "read one task", "/s", (Goal(1, ("mercurius",)),)),
    "e2e": Figure("e2e", "end to end", "tasks/s", (Goal(5, ("yoga",)), Goal(4, ("procrastinate",)))),
    "seen_p50": Figure(
        "latency", "created to seen completed, p50", "ms", (Goal(under=10),), more_is_better=False
    ),
    "seen_p99": Figure(
        "latency", "created to seen completed, p99", "ms", (Goal(under=40),), more_is_better=False
    ),
    "fanout_one": Figure(
        "fanout", "fan-out, 1,000 watchers of one task", "messages/s", (Goal(2.5, ("yoga",)),)
    ),
    "fanout_own": Figure(
        "fanout", "fan-out, 1,000 watchers, a task each", "messages/s", (Goal(1.5, ("yoga",)),)
    ),
    "paced_p50": Figure("fanout", "publish to client at 300/s, p50", "ms", more_is_better=False),
    "paced_p99": Figure("fanout", "publish to client at 300/s, p99", "ms", more_is_better=False),
    "memory": Figure("memory", "memory of a subscription", "kB", (Goal(under=30),), more_is_better=False),
}
