"""Histories in which watchers were shown something wrong, by what is wrong; each with the rule it breaks."""

from dataclasses import replace

from tests.faults.evidence import Evidence, Following, View
from tests.unit.good_histories import GOOD, RETRIED

END = (5, "COMPLETED")
KNOWN = {"t": END}


def seen(
    *states: tuple[int, str], completed: int = 1, resumed: tuple[int, ...] = (), of: Evidence = GOOD
) -> Evidence:
    return replace(of, views=[View("t", list(states), completed, list(resumed))])


def followed(*told: tuple[int, str], known: dict[str, tuple[int, str]] = KNOWN) -> Evidence:
    return replace(GOOD, followings=[Following([[("t", *state) for state in told]], known)])


WATCHED, ONCE = "what_is_watched_is_what_is_stored", "a_watch_completes_once"
FOLLOWED = "what_is_followed_is_what_is_stored"
BAD_WATCHING = {
    "a watcher went back": (WATCHED, seen((4, "PROCESSING"), (1, "PENDING"), END)),
    "a watcher was told twice": (WATCHED, seen((4, "PROCESSING"), (4, "PROCESSING"), END)),
    "a watcher that came back was told again": (
        WATCHED,
        seen((1, "PENDING"), (1, "PENDING"), END, resumed=(0, 1)),
    ),
    "a watcher saw what never was": (WATCHED, seen((4, "COMPLETED"), END)),
    "a watcher never saw the end": (WATCHED, seen((4, "PROCESSING"))),
    "a watcher saw nothing": (WATCHED, seen()),
    "a watcher still waits": (ONCE, seen((4, "PROCESSING"), completed=0)),
    "a watcher saw the end and still waits": (ONCE, seen(END, completed=0)),
    "a watch was completed twice": (ONCE, seen(END, completed=2)),
    "a watch went on into another life": (
        ONCE,
        seen((3, "FAILED"), (4, "PENDING"), (8, "FAILED"), of=RETRIED),
    ),
    "a follower's task went back": (FOLLOWED, followed((4, "PROCESSING"), (1, "PENDING"), END)),
    "a follower was told twice": (FOLLOWED, followed(END, END)),
    "a follower saw what never was": (FOLLOWED, followed((4, "COMPLETED"), END)),
    "a follower missed the end": (FOLLOWED, followed((4, "PROCESSING"), known={"t": (4, "PROCESSING")})),
    "a follower missed a task": (FOLLOWED, followed(known={})),
}
