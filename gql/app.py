"""The ASGI app: routes, and what lives as long as it does."""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from gql import pages
from gql.context import Context
from gql.health import Health
from gql.hub import Hub
from gql.request import Refused
from gql.schema import build_schema
from gql.view import GraphQLView
from taskql.bootstrap import ApiServices

LOCAL_OWNER = "local"
"""Whose tasks all are while there is no authentication."""


class Api:
    """The app, and the way to end what it streams before the server waits for it to end."""

    def __init__(self, services: ApiServices) -> None:
        self._services = services
        self._hub = Hub(services.service.fetch, services.event_source)
        self._view = GraphQLView(build_schema(services.service.registry), self._new_context)
        self.app = create_app(self._view, self._hub, Health(services.pings))

    async def go_away(self) -> None:
        """Tell all who watch that they should go on elsewhere."""
        await self._view.go_away()
        self._hub.close()

    def _new_context(self, request: Request | WebSocket) -> Context:
        return Context(
            owner=LOCAL_OWNER,
            service=self._services.service,
            hub=self._hub,
            dead_letters=self._services.dead_letters,
        )


def create_app(view: GraphQLView, hub: Hub, health: Health) -> Starlette:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with hub.running():
            # What start-up made lives on: keep the collector from going through it again and again.
            gc.collect()
            gc.freeze()
            yield

    return Starlette(
        routes=[
            Route("/graphql", view),
            WebSocketRoute("/graphql", view),
            Route("/assets/{name}", pages.asset),
            Route("/healthz", health.live),
            Route("/readyz", health.ready),
            Route("/", to_graphql),
        ],
        exception_handlers={HTTPException: refuse},
        lifespan=lifespan,
    )


async def to_graphql(request: Request) -> Response:
    return RedirectResponse("/graphql")


async def refuse(request: Request, error: Exception) -> Response:
    """JSON for what no route answers."""
    assert isinstance(error, HTTPException)
    code = "NOT_FOUND" if error.status_code == 404 else "BAD_USER_INPUT"
    return Refused(error.status_code, error.detail, code=code, headers=error.headers).response()
