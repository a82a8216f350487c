"""The GraphQL endpoint over scripted parts, and a client of it: HTTP without a server or services."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import httpx
from starlette.types import ASGIApp

from gql.authentication import Authenticator, Everybody
from gql.context import Context
from gql.hub import Hub
from gql.limits import Limits
from gql.origins import Origins
from gql.schema import build_schema
from gql.view import GraphQLView
from gql.viewer import LOCAL
from taskql.ports import RateLimiter
from tests.unit.stub_api import StubApi

JSON = "application/json"
GRAPHQL = "application/graphql-response+json"


class Endpoint:
    """The view over scripted parts. Everybody may ask in Alice's name, unless an authenticator is given."""

    def __init__(
        self,
        *named: str,
        authenticator: Authenticator | None = None,
        rates: RateLimiter | None = None,
        limits: Limits | None = None,
        trusted: Mapping[str, str] | None = None,
        hub: Hub | None = None,
        here_only: bool = False,
    ) -> None:
        self.api = StubApi()
        if hub is not None:  # what subscriptions share needs contexts that can be told apart
            part: Any = SimpleNamespace
            self.api.context = replace(self.api.context, hub=part, feeds=part, queues=part)
        self.refusal: Exception | None = None
        self._authenticator = authenticator or Everybody()
        origins = Origins(named, here_only=here_only)
        if limits or trusted:
            self.api.schema = build_schema(self.api.registry, limits, trusted)
        around: Any = hub or self.api.hub
        self.view = GraphQLView(self.api.schema, self._new_context, around, origins, rates)
        self.app: ASGIApp = origins.shared(self.view)

    async def _new_context(self, authorization: Sequence[str]) -> Context:
        if self.refusal is not None:
            raise self.refusal
        viewer = await self._authenticator.viewer(authorization)
        return self.api.context if viewer is LOCAL else replace(self.api.context, viewer=viewer)

    async def send(self, method: str = "POST", **how: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://api.example.com") as client:
            return await client.request(method, "/graphql", **how)

    async def ask(self, query: Any, accept: str = JSON, **more: Any) -> httpx.Response:
        return await self.send(json={"query": query, **more}, headers={"Accept": accept})

    async def post(self, body: bytes, content_type: str = JSON, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.send(content=body, headers={"Content-Type": content_type, **named})


def code(answer: httpx.Response) -> str:
    """The error code of an answer that holds no data."""
    assert answer.headers["content-type"].split(";")[0] in (JSON, GRAPHQL)
    body = answer.json()
    assert "data" not in body
    assert all(error["message"] for error in body["errors"])
    return str(body["errors"][0]["extensions"]["code"])
