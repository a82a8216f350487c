"""Requests to SQS past botocore: signed as botocore signs them, and tried again as it would."""

import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import ClientError, ConnectionClosedError
from botocore.parsers import ResponseParserError
from hypothesis import given
from hypothesis import strategies as st

from taskql.adapters.sqs import lean
from taskql.adapters.sqs.lean import LeanRequests, is_plain
from taskql.adapters.sqs.signer import Signer

words = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)
moments = st.datetimes(datetime(2020, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(
    words,
    st.sampled_from(sorted(lean.ACTIONS.values())),
    st.binary(max_size=300),
    st.builds(ReadOnlyCredentials, words, words, st.none() | words),
    st.sampled_from(["us-east-1", "eu-central-2", "us-gov-west-1"]),
    moments,
)
def test_a_request_is_signed_as_botocore_signs_it(
    host: str, action: str, body: bytes, credentials: Any, region: str, moment: datetime
) -> None:
    ours = Signer(host, region).headers(action, body, credentials, int(moment.timestamp()))
    signature = ours.pop("authorization")
    assert ours["x-amz-date"] == f"{moment:%Y%m%dT%H%M%SZ}"
    assert ours.get("x-amz-security-token") == credentials.token
    theirs = AWSRequest("POST", "https://sqs.example/", ours, body)
    theirs.context["timestamp"] = ours["x-amz-date"]
    signer = SigV4Auth(credentials, "sqs", region)
    canonical = signer.canonical_request(theirs)
    signer._inject_signature_to_request(
        theirs, signer.signature(signer.string_to_sign(theirs, canonical), theirs)
    )
    assert signature == theirs.headers["Authorization"]


Answer = tuple[int, dict[str, str], bytes] | Exception


class Service:
    """What botocore's client is made of, with answers by script."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.sent: list[Any] = []
        self._endpoint = SimpleNamespace(http_session=self)
        self._request_signer = SimpleNamespace(_credentials=self)
        self.meta = SimpleNamespace(endpoint_url="https://sqs.example", region_name="us-east-1")

    async def get_frozen_credentials(self) -> ReadOnlyCredentials:
        return ReadOnlyCredentials("key", "secret", None)

    async def send(self, request: Any) -> Any:
        self.sent.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        status, headers, body = answer

        async def content() -> bytes:
            return body

        return SimpleNamespace(status_code=status, headers=headers, content=content())


CLOSED = ConnectionClosedError(endpoint_url="https://sqs.example")
FINE: Answer = (200, {}, b'{"Messages": []}')
AILING: Answer = (503, {}, b"<html>")
THROTTLED: Answer = (400, {"x-amzn-query-error": "RequestThrottled;Sender"}, b"{}")
MISSING: Answer = (
    400,
    {"x-amzn-query-error": "AWS.SimpleQueueService.NonExistentQueue;Sender"},
    b'{"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "no such queue"}',
)


async def ask(service: Service) -> Any:
    return await LeanRequests(service).request("receive_message", {"QueueUrl": "u"})


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lean, "LONGEST_PAUSE_SECONDS", 0)


@pytest.mark.parametrize("ailment", [CLOSED, AILING, THROTTLED], ids=["closed", "ailing", "throttled"])
async def test_what_may_pass_is_tried_once_more(ailment: Any) -> None:
    service = Service(ailment, FINE)
    assert await ask(service) == {"Messages": []}
    assert [json.loads(request.body) for request in service.sent] == [{"QueueUrl": "u"}] * 2


async def test_a_second_failure_is_raised() -> None:
    with pytest.raises(ConnectionClosedError):
        await ask(Service(CLOSED, CLOSED))
    with pytest.raises(ClientError, match="503"):
        await ask(Service(AILING, AILING))


async def test_what_is_our_fault_is_raised_at_once_with_the_code_that_botocore_knows() -> None:
    service = Service(MISSING)
    with pytest.raises(ClientError, match="no such queue") as raised:
        await ask(service)
    assert raised.value.response["Error"]["Code"] == "AWS.SimpleQueueService.NonExistentQueue"
    assert len(service.sent) == 1


async def test_an_answer_that_is_no_json_is_what_botocore_calls_it() -> None:
    with pytest.raises(ResponseParserError):
        await ask(Service((200, {}, b"<html>")))
    with pytest.raises(ClientError, match="403"):
        await ask(Service((403, {}, b'"Forbidden"')))


async def test_half_a_character_in_one_message_holds_up_no_other() -> None:
    found = await ask(Service((200, {}, b'{"Messages": [{"Body": "\\ud800"}, {"Body": "fine"}]}')))
    assert found == {"Messages": [{"Body": "\ud800"}, {"Body": "fine"}]}


async def test_a_token_with_a_line_of_its_own_adds_none_to_the_request() -> None:
    credentials = ReadOnlyCredentials("key", "secret", "token\r\nx-amz-target: other\n")
    headers = Signer("sqs.example", "us-east-1").headers("SendMessage", b"", credentials, 0)
    assert not any("\r" in value or "\n" in value for value in headers.values())


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("https://sqs.us-east-1.amazonaws.com", True),
        ("http://localhost:4566/", True),
        ("http://localhost:4566/sqs", False),
        ("http://localhost:4566/?a=b", False),
        ("http://user:word@localhost:4566", False),
    ],
)
def test_only_an_address_that_is_a_host_alone_is_asked_past_botocore(url: str, plain: bool) -> None:
    assert is_plain(url) is plain
