"""The booking API: composition of routes, use cases and middleware."""

import contextlib
import functools
import ipaddress
import os
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlsplit

from litestar import Litestar, Request, Response
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.types import ASGIApp

from application.accounts.sessions import Actor
from infrastructure import container
from infrastructure.observability.logging import configure_logging
from infrastructure.settings import Settings, load_settings
from interfaces.http import coaching_api, events_api, health, live, ops, service, sessions_api, shared_booking_route
from interfaces.http.authentication import Viewer, actor, viewer
from interfaces.http.booking_api import (
    accounts,
    admin,
    bookings,
    events,
    facilitator,
    google,
    participants,
    payments,
    razorpay,
    reviews,
    stripe,
)
from interfaces.http.errors import ErrorFormats, handle
from interfaces.http.idempotency import KeyedRequests, answer_from_key
from interfaces.http.injection import Providers
from interfaces.http.json_bodies import StrictRequest
from interfaces.http.large_pages import pause_before_encoding
from interfaces.http.list_parameters import refuse_unknown_parameters
from interfaces.http.live.followers import Followers
from interfaces.http.methods import tell_methods
from interfaces.http.middleware import MAX_BODY, RequestMiddleware
from interfaces.http.openapi import PLUGINS, openapi_config
from interfaces.http.schemas import DefaultCurrency
from interfaces.http.web import invitations, payment_return, sandbox
from servicekit.browser_pages import BrowserPages

ROUTES: list[Any] = [
    health.root,
    health.health_check,
    *accounts.ROUTES,
    *google.ROUTES,
    *events.ROUTES,
    *bookings.ROUTES,
    *facilitator.ROUTES,
    *participants.ROUTES,
    *reviews.ROUTES,
    *payments.ROUTES,
    *razorpay.ROUTES,
    *stripe.ROUTES,
    *payment_return.ROUTES,
    *sandbox.ROUTES,
    *invitations.ROUTES,
    *events_api.ROUTES,
    *sessions_api.ROUTES,
    *coaching_api.ROUTES,
    *shared_booking_route.ROUTES,
    *service.ROUTES,
    *admin.ROUTES,
    *live.ROUTES,
    *ops.ROUTES,
]

LINKS = {"/docs": "Documentation of the API", "/health": "Health"}
"""On the start page and the error pages that a browser is shown."""

ERROR_FORMATS = ErrorFormats({**events_api.ERROR_FORMATS, **sessions_api.ERROR_FORMATS, **coaching_api.ERROR_FORMATS})


def _never() -> bool:
    return False


def create_app(settings: Settings | None = None, draining: Callable[[], bool] = _never) -> ASGIApp:
    """The application that uvicorn runs. `draining` returns whether the process is shutting down."""
    settings = settings or load_settings(os.environ)
    configure_logging(settings.log_level)
    return assemble(container.build(settings), draining)


def assemble(parts: container.Container, draining: Callable[[], bool] = _never) -> ASGIApp:
    app = KeyedRequests(create_litestar(parts, draining), parts.use_cases.answer_once)
    authenticate = parts.use_cases.authenticate
    middleware = RequestMiddleware(
        app, ERROR_FORMATS, parts.answered, uploads=coaching_api.UPLOADS, authenticate=authenticate, draining=draining
    )
    return BrowserPages(middleware, "Convene", LINKS)


def create_litestar(parts: container.Container, draining: Callable[[], bool] = _never) -> Litestar:
    settings = parts.settings
    followers = Followers(draining)

    @contextlib.asynccontextmanager
    async def closing(_app: Litestar) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await followers.close()
            await parts.close()

    return Litestar(
        route_handlers=_providers(parts).bind(ROUTES),
        exception_handlers={Exception: handle},
        before_request=_before_handler,
        after_request=pause_before_encoding,
        before_send=[tell_methods],
        lifespan=[closing],
        state=State(
            {
                "use_cases": parts.use_cases,
                "trusted_proxies": [ipaddress.ip_network(each, strict=False) for each in settings.trusted_proxies],
                "public_url": settings.public_url,
                "error_formats": ERROR_FORMATS,
                "service_token": settings.backend_service_token,
                "metrics_token": settings.metrics_token,
                "exposition": functools.partial(parts.metrics.exposition, parts.database),
                "count_error": parts.metrics.refused,
                "draining": draining,
                "followers": followers,
                "socket_origins": frozenset({*settings.cors_allowed_origins, _origin(settings.public_url)}),
            }
        ),
        cors_config=CORSConfig(
            allow_origins=list(settings.cors_allowed_origins),
            expose_headers=["Idempotency-Replayed", "Link", "Retry-After", "X-Request-ID"],
        ),
        request_class=StrictRequest,
        request_max_body_size=MAX_BODY,
        openapi_config=openapi_config(),
        plugins=[*PLUGINS],
        logging_config=None,
        debug=False,
    )


async def _before_handler(request: Request[Any, Any, Any]) -> Response[bytes] | None:
    refuse_unknown_parameters(request)
    return await answer_from_key(request)


def _providers(parts: container.Container) -> Providers:
    """What handlers can receive. Raises `ProvidedTwice`."""
    providers = Providers()
    providers.add_fields([parts.use_cases, parts.appointment, parts.feeds, parts.calendars])
    providers.add_value(DefaultCurrency, parts.settings.default_currency, "Settings.default_currency")
    providers.add_of_request(Actor, actor)
    providers.add_of_request(Viewer, viewer)
    return providers


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()
