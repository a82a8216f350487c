"""Generated cases against API processes over real services, and what must be so after each of them."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.deployment import Process
from tests.generated import documents, frames, requests
from tests.generated.answers import Finding
from tests.generated.doors import GOOD, Door, authorizations
from tests.generated.http import Request, ask, check_answer
from tests.generated.payloads import payloads
from tests.generated.sockets import check_heard, talk

WRONG = re.compile(
    r"^\S+ \S+ (?:ERROR|CRITICAL) .*|Traceback|\w+Warning: |never awaited|Answered UNAVAILABLE|eyJ[\w-]+\.",
    re.M,
)
"""In a log: an error of ours, a warning of Python's, somebody's token."""


@dataclass(slots=True)
class Campaign:
    """Who is asked what, how often. `cases` counts by sort, `answers` by what came of it."""

    doors: list[Door]
    processes: list[Process]
    known: list[str]
    cases: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    _read: dict[Process, int] = field(default_factory=dict)

    def check_logs(self) -> None:
        """Raise Finding where a log has got what no log should have."""
        for process in self.processes:
            size = process.log.stat().st_size
            if size > (begin := self._read.get(process, 0)):
                fresh = process.log.read_bytes()[begin:size].decode("utf-8", "replace")
                self._read[process] = size
                if found := WRONG.search(fresh):
                    raise Finding(f"the log says: {fresh[max(0, found.start() - 300) :][:4000]}")
            if not process.alive:
                raise Finding(f"the process has ended: {process.said[-2000:]}")

    def send(self, sort: str, door: Door, request: Request) -> None:
        self.cases[sort] += 1
        answer = ask(door, request)
        self.answers[str(answer.status) if answer else "none"] += 1
        if answer:
            check_answer(request, answer)
        self.check_logs()

    def speak(self, sort: str, door: Door, said: frames.Talk) -> None:
        self.cases[sort] += 1
        heard = talk(door, said)
        if heard.refused:
            self.answers["no socket"] += 1
        self.answers[
            f"close {int.from_bytes(heard.close[:2], 'big')}" if heard.close else "open"
        ] += not heard.refused
        for text in heard.messages:
            self.answers[text.partition('"type":"')[2].partition('"')[0]] += 1
        check_heard(said, heard)
        self.check_logs()

    # ------------------------------------------------------------ sorts

    def operations(self, data: st.DataObject, door: Door) -> None:
        """Queries and mutations as schemathesis makes them."""
        query = data.draw(documents.documents("operations", self.known))
        accept = data.draw(st.sampled_from(requests.ACCEPTS[:3]))
        self.send("operations", door, requests.posted({"query": query}, accept, self.pass_for(data, door)))

    def subscriptions(self, data: st.DataObject, door: Door) -> None:
        query = data.draw(documents.documents("subscriptions", self.known))
        authorization = self.pass_for(data, door)
        if data.draw(st.booleans()):
            request = requests.posted({"query": query}, "text/event-stream", authorization)
            return self.send("subscriptions", door, request)
        return self.speak("subscriptions", door, frames.subscribing(query, authorization))

    def http(self, data: st.DataObject, door: Door) -> None:
        self.send("HTTP", door, data.draw(requests.raw(self.known)))

    def payloads(self, data: st.DataObject, door: Door) -> None:
        accept = data.draw(st.sampled_from(requests.ACCEPTS[:4]))
        payload = data.draw(payloads(self.known))
        self.send("payloads", door, requests.posted(payload, accept, self.pass_for(data, door)))

    def gets(self, data: st.DataObject, door: Door) -> None:
        self.send("GET", door, data.draw(requests.gets(self.known)))

    def sockets(self, data: st.DataObject, door: Door) -> None:
        self.speak("WebSockets", door, data.draw(frames.talks(self.known)))

    def pass_for(self, data: st.DataObject, door: Door) -> str | None:
        """Where a token is needed, mostly a good one."""
        if door.auth == "none" or data.draw(st.integers(0, 4)) == 0:
            return data.draw(authorizations())
        return f"Bearer {data.draw(st.sampled_from(GOOD))}"

    def run(self, sort: str, cases: int, number: int | None = None) -> None:
        """So many cases of one sort; without a number of one's own, the same ones each time."""

        @settings(
            max_examples=cases,
            derandomize=number is None,
            database=None,
            deadline=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        )
        @given(st.data(), st.sampled_from(self.doors))
        def case(data: st.DataObject, door: Door) -> None:
            SORTS[sort].ask(self, data, door)

        (case if number is None else seed(number)(case))()


@dataclass(frozen=True, slots=True)
class Sort:
    """One way to ask, and which part of all cases it is."""

    ask: Callable[[Campaign, st.DataObject, Door], None]
    part: float


SORTS = {
    "operations": Sort(Campaign.operations, 0.35),
    "subscriptions": Sort(Campaign.subscriptions, 0.1),
    "payloads": Sort(Campaign.payloads, 0.15),
    "HTTP": Sort(Campaign.http, 0.2),
    "GET": Sort(Campaign.gets, 0.05),
    "WebSockets": Sort(Campaign.sockets, 0.15),
}
