"""One request, byte for byte, and what comes back; an event stream is left once it has nothing new to say."""

import socket
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import unquote_plus

import h11

from tests.generated.answers import Finding, check_json, check_result, check_text
from tests.generated.doors import Door

PATIENCE_SECONDS = 60.0
QUIET_SECONDS = 0.05
"""So long we listen to what may never come: live events, an answer to half a request."""
RECEIVE_BYTES = 65_536
MAX_ANSWER_BYTES = 32 * 2**20
JSON = ("application/json", "application/graphql-response+json")


@dataclass(frozen=True, slots=True)
class Request:
    """`whole`: it has all that it announces, so that it must be answered."""

    method: str
    raw: bytes
    whole: bool = True

    def __repr__(self) -> str:
        shown = self.raw if len(self.raw) < 3000 else self.raw[:1500] + b" ... " + self.raw[-500:]
        return f"{'' if self.whole else 'half '}{len(self.raw)} bytes {shown!r}"


@dataclass(slots=True)
class Answer:
    """A response, as much of it as came."""

    status: int = 0
    type: str = ""
    body: bytes = b""


def ask(door: Door, request: Request) -> Answer | None:
    """What a request is answered; None where it need not be, and is not."""
    with socket.create_connection(("127.0.0.1", door.port), PATIENCE_SECONDS) as client:
        with suppress(OSError):  # refused before its end: the answer says why
            client.sendall(request.raw)
        if not request.whole:
            client.settimeout(QUIET_SECONDS)
        return receive(client, request)


def receive(client: socket.socket, request: Request, begun: bytes = b"") -> Answer | None:
    """The answer to what was sent; `begun` is what of it was read already."""
    parser = h11.Connection(h11.CLIENT)
    method = request.method if request.method in ("HEAD", "CONNECT") else "GET"
    parser.send(h11.Request(method=method, target="/", headers=[("Host", "localhost")]))
    parser.send(h11.EndOfMessage())
    if begun:
        parser.receive_data(begun)
    answer = Answer()
    try:
        while len(answer.body) < MAX_ANSWER_BYTES:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                parser.receive_data(client.recv(RECEIVE_BYTES))
            elif isinstance(event, h11.InformationalResponse):
                if event.status_code == 101:
                    return None
            elif isinstance(event, h11.Response):
                answer.status = event.status_code
                answer.type = dict(event.headers).get(b"content-type", b"").decode().partition(";")[0]
                if answer.type == "text/event-stream":
                    client.settimeout(QUIET_SECONDS)
            elif isinstance(event, h11.Data):
                answer.body += event.data
            else:
                return answer
    except TimeoutError:
        if answer.type == "text/event-stream":
            return answer
        if not request.whole:
            return None
        raise Finding("is never answered") from None
    except (ConnectionError, h11.RemoteProtocolError) as error:
        if not answer.status and not request.whole:
            return None
        raise Finding(f"is answered by no HTTP: {error}") from None
    raise Finding("is answered without end")


def check_answer(request: Request, answer: Answer) -> None:
    """Raise Finding unless this is how a request may be answered."""
    if not 200 <= answer.status < 500:
        raise Finding(f"answered with {answer.status}: {answer.body[:1000]!r}")
    sent = unquote_plus(request.raw.decode("utf-8", "replace"))
    text = answer.body.decode()
    if answer.type in JSON:
        if request.method != "HEAD":
            said = check_json(text, sent)
            if not (isinstance(said, dict) and isinstance(said.get("status"), str)):  # /healthz, /readyz
                check_result(said)
                refused = "data" not in said
                if (answer.status == 200) is refused and answer.type != "application/json":
                    raise Finding(f"the status {answer.status} with {text[:1000]}")
    elif answer.type == "text/event-stream":
        check_text(text, sent)
        check_events(text, sent)
    elif answer.type == "text/html":
        if "text/html" not in sent:
            raise Finding("answered with a page that nobody wanted")
    elif answer.body or not (request.method == "HEAD" or answer.status in (204, 304, 307, 403)):
        raise Finding(f"answered with {answer.status} {answer.type or 'of no type'}: {text[:1000]}")


def check_events(text: str, sent: str) -> None:
    """Results as graphql-sse frames them; the last event may be cut, for we left."""
    *events, _ = text.split("\r\n\r\n")
    for event in events:
        if event in (": ping", "event: complete\r\ndata: "):
            continue
        head, _, data = event.partition("\r\ndata: ")
        if head != "event: next":
            raise Finding(f"no event: {event[:1000]}")
        check_result(check_json(data, sent))
