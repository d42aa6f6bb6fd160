"""Authentication of requests and guards of routes, and the network address of the client."""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Any, NewType

from litestar import Request
from litestar.connection import ASGIConnection

from application.accounts.sessions import Actor, Authenticate
from application.bookings.ports import FacilitatorQueries
from application.events.management import OnlyFacilitatorsCreate
from domain.accounts import ProfileNotFound, User, UserId
from domain.audit import ANONYMOUS, AuditOrigin, actor_of
from domain.authorization import is_admin
from domain.errors import Forbidden, Unauthenticated
from domain.networks import client_of, network_of
from interfaces.http.injection import Inject, guard
from servicekit.logging import current_request_id

public = {"public": True}

ISSUES_TOKENS = "issues_tokens"

issues_tokens = {**public, ISSUES_TOKENS: True}
"""Marks public routes whose answer contains tokens: it is never stored, not even for an idempotency key."""

CREATES = "creates"

creates_and_issues_tokens = {**issues_tokens, CREATES: True}
"""Marks routes with such answers that also create a resource: a request that is repeated with its key creates it once
and issues new tokens."""


Connection = ASGIConnection[Any, Any, Any, Any]

USER_TOKEN, REFRESH_TOKEN, SERVICE_TOKEN, METRICS_TOKEN = "userToken", "refreshToken", "serviceToken", "metricsToken"
"""Security schemes. The endpoint that takes the last one is not in the description of the API."""

TrustedProxies = NewType("TrustedProxies", tuple[IPv4Network | IPv6Network, ...])
ClientAddress = NewType("ClientAddress", str)
"""The network address of the client."""


def bearer_token(connection: Connection) -> str:
    """The token of the Authorization header. Raises `Unauthenticated`."""
    return token_in(connection.headers.get("authorization", ""))


def token_in(authorization: str) -> str:
    """The token of this header's value. Raises `Unauthenticated`."""
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated
    return token.strip()


@guard(USER_TOKEN, Unauthenticated)
async def signed_in(connection: Connection, authenticate: Inject[Authenticate]) -> None:
    await _account(connection, authenticate)


@guard(USER_TOKEN, Unauthenticated, Forbidden)
async def admins(connection: Connection, authenticate: Inject[Authenticate]) -> None:
    if not is_admin(await _account(connection, authenticate)):
        raise Forbidden


@guard(USER_TOKEN, Unauthenticated, Forbidden)
async def facilitators(connection: Connection, authenticate: Inject[Authenticate]) -> None:
    await _facilitator(connection, authenticate)


@guard(USER_TOKEN, Unauthenticated, OnlyFacilitatorsCreate)
async def event_creators(connection: Connection, authenticate: Inject[Authenticate]) -> None:
    """Facilitators, with contract B's message for other accounts."""
    if not (await _account(connection, authenticate)).can_facilitate:
        raise OnlyFacilitatorsCreate


@guard(USER_TOKEN, Unauthenticated, Forbidden, ProfileNotFound)
async def profiled_facilitators(
    connection: Connection, authenticate: Inject[Authenticate], facilitator_queries: Inject[FacilitatorQueries]
) -> None:
    """Facilitators who have a profile."""
    user = await _facilitator(connection, authenticate)
    if not await facilitator_queries.has_profile(user.id):
        raise ProfileNotFound


async def _account(connection: Connection, authenticate: Authenticate) -> User:
    """Raises `Unauthenticated`."""
    found = await authenticate(bearer_token(connection))
    connection.scope["user"] = found
    return found.user


async def _facilitator(connection: Connection, authenticate: Authenticate) -> User:
    """Raises `Unauthenticated`, `Forbidden`."""
    user = await _account(connection, authenticate)
    if not user.can_facilitate:
        raise Forbidden
    return user


@dataclass(frozen=True, slots=True)
class Viewer:
    """The caller of a public route: the account of a valid access token, None without one."""

    user: User | None

    @property
    def id(self) -> UserId | None:
        return None if self.user is None else self.user.id


async def viewer(request: Request[Any, Any, Any], authenticate: Inject[Authenticate]) -> Viewer:
    """Authenticates the caller of a public route if there is a valid access token."""
    try:
        found = await authenticate(bearer_token(request))
    except Unauthenticated:
        return Viewer(None)
    return Viewer(found.user)


def actor(request: Request[Any, Any, Any]) -> Actor:
    """The account that a guard of the route has authenticated."""
    found: Actor = request.scope["user"]
    return found


def origin_of(request: Request[Any, Any, Any], trusted_proxies: TrustedProxies) -> AuditOrigin:
    """Who acts by this request, for the audit log."""
    found: Actor | None = request.scope.get("user")
    network = network_of(client_address(request, trusted_proxies))
    agent = request.headers.get("user-agent")
    return AuditOrigin(ANONYMOUS if found is None else actor_of(found.user), network, current_request_id(), agent)


def client_address(request: Request[Any, Any, Any], trusted_proxies: Inject[TrustedProxies]) -> ClientAddress:
    """`X-Forwarded-For` counts only behind trusted proxies."""
    peer = request.client.host if request.client else "local"
    return ClientAddress(client_of(peer, request.headers.getall("x-forwarded-for", []), trusted_proxies))
