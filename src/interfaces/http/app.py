"""The booking API: composition of routes, use cases and middleware."""

import contextlib
import functools
import ipaddress
import os
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import structlog
from litestar import Litestar, Request, Response
from litestar.config.cors import CORSConfig
from litestar.types import ASGIApp

from application.accounts.sessions import Actor
from application.audit.ports import ORIGIN
from application.write_limits import WriteLimits
from domain.errors import Unavailable
from infrastructure import container
from infrastructure.container.foundation import derived_key
from infrastructure.observability.logging import configure_logging
from infrastructure.postgres.schema_version import SCHEMA_VERSION
from infrastructure.settings import Settings, load_settings
from interfaces.http import coaching_api, events_api, health, live, ops, service, sessions_api, shared_booking_route
from interfaces.http.authentication import (
    ClientAddress,
    TrustedProxies,
    Viewer,
    actor,
    client_address,
    origin_of,
    viewer,
)
from interfaces.http.booking_api import (
    account_sessions,
    accounts,
    admin,
    admin_accounts,
    api_keys,
    audit,
    bookings,
    email_change,
    erasure,
    events,
    export,
    facilitator,
    google,
    participants,
    payments,
    razorpay,
    reviews,
    second_factors,
    stripe,
)
from interfaces.http.entrance import Entrance
from interfaces.http.error_formats import ERROR_FORMATS
from interfaces.http.errors import CountError, ErrorFormats, ErrorPage, handle
from interfaces.http.idempotency import KeyedRequests, answer_from_key
from interfaces.http.injection import Inject, Providers
from interfaces.http.json_bodies import StrictRequest
from interfaces.http.large_pages import pause_before_encoding
from interfaces.http.list_parameters import refuse_unknown_parameters
from interfaces.http.live.followers import Followers
from interfaces.http.live.sockets import SocketOrigins
from interfaces.http.middleware import MAX_BODY, RequestMiddleware
from interfaces.http.openapi import PLUGINS, openapi_config
from interfaces.http.openapi.pages import EncodedDocument
from interfaces.http.parameters import with_converters
from interfaces.http.read_your_writes import ReadYourWrites
from interfaces.http.schemas import DefaultCurrency, PublicUrl
from interfaces.http.shared_answers import OUTAGE, SharedAnswers
from interfaces.http.strict_transport import StrictTransport
from interfaces.http.web import (
    account_links,
    assets,
    booking_pages,
    event_pages,
    invitations,
    login_pages,
    payment_return,
    sandbox,
)
from interfaces.http.web.assets import Assets
from interfaces.http.web.page_sessions import FormTokens, PageCookies, PageUser, page_user, require_form_token
from interfaces.http.web.pages import Organisation, Pages
from interfaces.http.write_limits import limit_write
from servicekit.browser_pages import BrowserPages
from servicekit.json_responses import JsonResponse
from servicekit.log_errors import error_text
from servicekit.tasks import LongLivedTasks

_log = structlog.get_logger(__name__)

WEB_ROUTES: list[Any] = [*assets.ROUTES, *event_pages.ROUTES, *booking_pages.ROUTES, *login_pages.ROUTES]
"""The web pages. Without WEB_ENABLED they do not exist."""

ROUTES: list[Any] = [
    health.root,
    health.health_check,
    *accounts.ROUTES,
    *account_sessions.ROUTES,
    *email_change.ROUTES,
    *export.ROUTES,
    *erasure.ROUTES,
    *api_keys.ROUTES,
    *google.ROUTES,
    *second_factors.ROUTES,
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
    *account_links.ROUTES,
    *invitations.ROUTES,
    *WEB_ROUTES,
    *events_api.ROUTES,
    *sessions_api.ROUTES,
    *coaching_api.ROUTES,
    *shared_booking_route.ROUTES,
    *service.ROUTES,
    *admin.ROUTES,
    *admin_accounts.ROUTES,
    *audit.ROUTES,
    *live.ROUTES,
    *ops.ROUTES,
]

WEB_LINKS = {"/book": "Events"}
LINKS = {"/docs": "Documentation of the API", "/health": "Health"}
"""Links on the start page and on error pages for browsers."""


def _never() -> bool:
    return False


def create_app(
    settings: Settings | None = None, draining: Callable[[], bool] = _never, tasks: LongLivedTasks | None = None
) -> ASGIApp:
    """The application that uvicorn runs. `draining` returns whether the process is shutting down; `tasks` supervises
    the tasks that run until its end."""
    settings = settings or load_settings(os.environ)
    configure_logging(settings.log_level)
    return assemble(container.build(settings, tasks=tasks), draining)


def assemble(parts: container.Container, draining: Callable[[], bool] = _never) -> ASGIApp:
    keyed = KeyedRequests(create_litestar(parts, draining), parts.use_cases.answer_once)
    app: ASGIApp = SharedAnswers(keyed, seconds=parts.database.timeouts.total)
    if parts.replica:
        app = ReadYourWrites(app, parts.replica.writers, _cookies(parts.settings).session)
    authenticate = parts.use_cases.authenticate
    middleware = RequestMiddleware(
        app,
        ERROR_FORMATS,
        parts.answered,
        uploads=coaching_api.UPLOADS,
        authenticate=authenticate,
        entrance=Entrance(parts.admission, parts.metrics.refused),
        draining=draining,
    )
    links = WEB_LINKS | LINKS if parts.settings.web_enabled else LINKS
    pages = BrowserPages(middleware, parts.settings.organisation_name, links)
    return StrictTransport(pages) if parts.settings.public_url.startswith("https://") else pages


def create_litestar(parts: container.Container, draining: Callable[[], bool] = _never) -> Litestar:
    followers = Followers(draining, parts.tasks)
    providers = _providers(parts, followers, draining)

    @contextlib.asynccontextmanager
    async def closing(_app: Litestar) -> AsyncIterator[None]:
        # Before the first request, so that a hold does not begin by a wrong clock; without a database at once.
        await parts.database_clock.read()
        await _record_settings(parts)
        running = [
            parts.tasks.start("read the clock", parts.database_clock.run()),
            parts.tasks.start("store uses of API keys", parts.key_uses.run()),
        ]
        if parts.replica:
            running.append(parts.tasks.start("watch the replica", parts.replica.watch.run()))
        try:
            yield
        finally:
            await parts.tasks.stop(running)
            await parts.key_uses.store()
            await followers.close()
            await parts.close()

    return Litestar(
        route_handlers=providers.bind(map(with_converters, _routes(parts.settings))),
        exception_handlers={Exception: providers.call(handle)},
        before_request=providers.call(_before_handler),
        after_request=pause_before_encoding,
        lifespan=[closing],
        cors_config=CORSConfig(
            allow_origins=list(parts.settings.cors_allowed_origins),
            expose_headers=["Idempotency-Replayed", "Link", "Retry-After", "X-Request-ID"],
        ),
        request_class=StrictRequest,
        response_class=JsonResponse,
        request_max_body_size=MAX_BODY,
        openapi_config=openapi_config(providers),
        plugins=[*PLUGINS],
        logging_config=None,
        debug=False,
    )


def _routes(settings: Settings) -> list[Any]:
    return ROUTES if settings.web_enabled else [route for route in ROUTES if route not in WEB_ROUTES]


async def _record_settings(parts: container.Container) -> None:
    """The process serves also without this entry: its database may be unreachable, or not migrated yet."""
    try:
        await parts.record_settings()
    except Exception as error:
        _log.warning("settings_not_recorded", error=error_text(error))


async def _before_handler(
    request: Request[Any, Any, Any],
    trusted_proxies: Inject[TrustedProxies],
    write_limits: Inject[WriteLimits],
    form_tokens: Inject[FormTokens],
) -> Response[bytes] | None:
    if OUTAGE in request.scope:
        raise Unavailable
    await require_form_token(request, form_tokens)
    refuse_unknown_parameters(request)
    ORIGIN.set(functools.partial(origin_of, request, trusted_proxies))
    stored = await answer_from_key(request, trusted_proxies)
    if stored is None:
        await limit_write(request, write_limits, trusted_proxies)
    return stored


def _providers(parts: container.Container, followers: Followers, draining: Callable[[], bool]) -> Providers:
    """What handlers, guards and hooks can receive. Raises `ProvidedTwice`."""
    settings = parts.settings
    proxies = tuple(ipaddress.ip_network(each, strict=False) for each in settings.trusted_proxies)
    origins = frozenset({*settings.cors_allowed_origins, _origin(settings.public_url)})
    cookies = _cookies(settings)
    form_tokens = FormTokens(derived_key(settings, b"forms"), cookies)
    pages = _pages(settings, form_tokens)
    providers = Providers()
    providers.add_fields([parts.use_cases, parts.own_account, parts.second_factors, parts.api_keys])
    providers.add_fields([parts.administration, parts.appointment, parts.feeds, parts.calendars])
    for kind, value in (
        (DefaultCurrency, settings.default_currency),
        (PublicUrl, settings.public_url),
        (TrustedProxies, proxies),
        (SocketOrigins, origins),
        (service.ServiceToken, settings.backend_service_token),
        (ops.MetricsToken | None, settings.metrics_token),
        (ops.Exposition, functools.partial(_exposition, parts)),
        (ops.Draining, draining),
        (ops.SchemaProblem, functools.partial(SCHEMA_VERSION.problem, parts.database.connection, Unavailable)),
        (ops.ReplicaHealth, functools.partial(_replica, parts)),
        (LongLivedTasks, parts.tasks),
        (CountError, parts.metrics.refused),
        (ErrorFormats, ERROR_FORMATS),
        (EncodedDocument, EncodedDocument(settings.public_url)),
        (Followers, followers),
        (Pages, pages),
        (ErrorPage, pages.error),
        (Assets, pages.assets),
        (PageCookies, cookies),
        (FormTokens, form_tokens),
    ):
        providers.add_value(kind, value, __name__)
    providers.add_of_request(Actor, actor)
    providers.add_of_request(Viewer, viewer)
    providers.add_of_request(ClientAddress, client_address)
    providers.add_of_request(PageUser, page_user)
    return providers


def _cookies(settings: Settings) -> PageCookies:
    return PageCookies(settings.public_url.startswith("https://"), timedelta(hours=settings.jwt_expires_hours))


def _pages(settings: Settings, form_tokens: FormTokens) -> Pages:
    organisation = Organisation(
        settings.organisation_name, settings.organisation_imprint_url, settings.organisation_privacy_url
    )
    assets = Assets(settings.organisation_colour, settings.organisation_logo)
    base = urlsplit(settings.public_url).path
    return Pages(organisation, assets, settings.default_language, base, form_tokens)


async def _exposition(parts: container.Container) -> bytes:
    return await parts.metrics.exposition(parts.database, parts.database_clock.difference)


def _replica(parts: container.Container) -> ops.Replica | None:
    if parts.replica is None:
        return None
    status = parts.replica.watch.status
    return ops.Replica(status.state, None if status.lag_seconds is None else round(status.lag_seconds, 1))


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()
