"""What the API serves to browsers: GraphiQL's page and its assets, and nothing else from the disk."""

import re
from collections.abc import Iterator
from http.client import HTTPConnection

import httpx
import pytest

from tests.deployment import Deployment

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


@pytest.fixture
def http(api: Deployment) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=api.url, timeout=30) as client:
        yield client


@pytest.fixture
def assets(http: httpx.Client) -> list[str]:
    """The paths that the page names."""
    paths = re.findall(r'"\./(assets/[^"]+)"', http.get("/graphql", headers=BROWSER).text)
    assert {path[path.rindex(".") :] for path in paths} == TYPES.keys()
    return paths


def test_page_forbids_whatever_is_not_its_own(http: httpx.Client) -> None:
    headers = http.get("/graphql", headers=BROWSER).headers

    policy = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == policy["worker-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-cache"


def test_head_is_answered_like_get_without_a_body(http: httpx.Client, assets: list[str]) -> None:
    for path in ("/graphql", assets[0]):
        head = http.head(path, headers=BROWSER)
        assert head.status_code == 200
        assert head.content == b""
        assert head.headers["content-length"] == http.get(path, headers=BROWSER).headers["content-length"]


def test_assets_are_served_for_good_and_as_what_they_are(http: httpx.Client, assets: list[str]) -> None:
    for path in assets:
        answer = http.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(TYPES[path[path.rindex(".") :]])
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "immutable" in answer.headers["cache-control"]


def test_programs_get_no_page(http: httpx.Client) -> None:
    for headers in ({"Accept": "application/json"}, {"Accept": "*/*"}):
        assert http.get("/graphql", headers=headers).status_code == 400
        assert http.head("/graphql", headers=headers).status_code == 405

    answer = http.get("/graphql", params={"query": "{ __typename }"}, headers=BROWSER)
    assert answer.json()["data"] == {"__typename": "Query"}


@pytest.mark.parametrize(
    "path",
    [
        "/assets/",
        "/assets/..",
        "/assets/%2e%2e",
        "/assets/../graphiql.html",
        "/assets/..%2fgraphiql.html",
        "/assets/%2e%2e%2f%2e%2e%2fsrc%2ffavicon.svg",
        "/assets/..%2f..%2fsrc%2ffavicon.svg",
        "/assets//etc/passwd",
        "/assets/%00.js",
        "/assets/nothing.js",
        f"/assets/{'a' * 300}.js",
    ],
)
def test_nothing_else_is_served(api: Deployment, path: str) -> None:
    connection = HTTPConnection("127.0.0.1", api.port)  # unlike httpx, it sends the path as it is
    try:
        connection.request("GET", path)
        assert connection.getresponse().status == 404
    finally:
        connection.close()
