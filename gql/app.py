"""The ASGI app: routes, and what lives as long as it does."""

import gc
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from gql import pages
from gql.authentication import Authenticator
from gql.context import Context
from gql.errors import ErrorCode
from gql.feeds import Feeds
from gql.health import Health
from gql.hub import Hub
from gql.limits import Limits
from gql.origins import Origins
from gql.queues import LiveQueues
from gql.results import ResultReader, Results
from gql.schema import build_schema
from gql.view import GraphQLView
from gql.watch_tokens import WatchTokens
from taskql.bootstrap import ApiServices

ENDPOINT = "/graphql"

FULL_COLLECTION_EVERY = 100
"""So many smaller ones at least; Python's own default is 10."""


class Api:
    """The app, and the way to end what it streams before the server waits for it to end."""

    def __init__(
        self,
        services: ApiServices,
        authenticator: Authenticator,
        watch_tokens: WatchTokens,
        origins: Origins | None = None,
        limits: Limits | None = None,
        trusted: Mapping[str, str] | None = None,
    ) -> None:
        self._services = services
        self._authenticator = authenticator
        self._watch_tokens = watch_tokens
        service = services.service
        self._feeds = Feeds(service, services.event_source)
        self._queues = LiveQueues(services.queues)
        self._results = ResultReader(services.results)
        self._hub = Hub(service.fetch, service.newer, services.event_source, self._feeds)
        origins = origins or Origins()
        schema = build_schema(service.registry, limits, trusted)
        self._view = GraphQLView(schema, self._new_context, self._hub, origins, services.rates)
        endpoint = origins.shared(self._view)
        self.app = Front(
            endpoint, create_app(self._view, endpoint, self._hub, self._feeds, Health(services.pings))
        )

    async def go_away(self) -> None:
        """Tell all who watch that they should go on elsewhere."""
        await self._view.go_away()
        self._hub.close()
        self._feeds.close()
        self._queues.close()

    async def _new_context(self, authorization: Sequence[str]) -> Context:
        return Context(
            viewer=await self._authenticator.viewer(authorization),
            service=self._services.service,
            hub=self._hub,
            dead_letters=self._services.dead_letters,
            feeds=self._feeds,
            queues=self._queues,
            watch_tokens=self._watch_tokens,
            results=Results(self._results),
        )


class Front:
    """Leads what is for the endpoint straight there: it deals with all that Starlette would see to."""

    def __init__(self, endpoint: ASGIApp, others: ASGIApp) -> None:
        self._endpoint = endpoint
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan" and scope["path"] == ENDPOINT:
            await self._endpoint(scope, receive, send)
        else:
            await self._others(scope, receive, send)


def create_app(view: GraphQLView, endpoint: ASGIApp, hub: Hub, feeds: Feeds, health: Health) -> Starlette:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with hub.running(), feeds.running(), view.pulse.running():
            tune_collector()
            yield

    return Starlette(
        routes=[
            Route(ENDPOINT, endpoint),
            WebSocketRoute(ENDPOINT, endpoint),
            Route("/assets/{name}", pages.asset),
            Route("/healthz", health.live),
            Route("/readyz", health.ready),
            Route("/", to_graphql),
        ],
        exception_handlers={HTTPException: refuse},
        lifespan=lifespan,
    )


def tune_collector() -> None:
    """Keep the collector from going through all that lives on, again and again.

    That is what start-up made, and then the connections: with five thousand of them, a full collection stops
    everything for half a second, and a storm of connects would bring on ten.
    """
    gc.collect()
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, FULL_COLLECTION_EVERY)


async def to_graphql(request: Request) -> Response:
    return RedirectResponse("/graphql")


async def refuse(request: Request, error: Exception) -> Response:
    """JSON for what no route answers."""
    assert isinstance(error, HTTPException)
    code = ErrorCode.NOT_FOUND if error.status_code == 404 else ErrorCode.BAD_USER_INPUT
    body = {"errors": [{"message": error.detail, "extensions": {"code": code.value}}]}
    return JSONResponse(body, error.status_code, error.headers)
