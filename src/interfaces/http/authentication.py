"""Authentication of requests and guards of routes, and the network address of the client."""

from dataclasses import dataclass
from typing import Any

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from application.accounts.sessions import Actor
from application.events.management import OnlyFacilitatorsCreate
from domain.accounts import ProfileNotFound, User, UserId
from domain.authorization import is_admin
from domain.errors import Forbidden, Unauthenticated
from domain.networks import client_of

public = {"public": True}

ISSUES_TOKENS = "issues_tokens"

issues_tokens = {**public, ISSUES_TOKENS: True}
"""Marks public routes whose answer contains tokens: it is never stored, not even for an idempotency key."""

CREATES = "creates"

creates_and_issues_tokens = {**issues_tokens, CREATES: True}
"""Marks those that also create a resource: a request that is repeated with its key creates it once and issues new
tokens."""


Connection = ASGIConnection[Any, Any, Any, Any]


def bearer_token(connection: Connection) -> str:
    """The token of the Authorization header. Raises `Unauthenticated`."""
    return token_in(connection.headers.get("authorization", ""))


def token_in(authorization: str) -> str:
    """The token of this header's value. Raises `Unauthenticated`."""
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated
    return token.strip()


async def signed_in(connection: Connection, _handler: BaseRouteHandler) -> None:
    connection.scope["user"] = await connection.app.state.use_cases.authenticate(bearer_token(connection))


async def admins(connection: Connection, handler: BaseRouteHandler) -> None:
    await signed_in(connection, handler)
    if not is_admin(connection.scope["user"].user):
        raise Forbidden


async def facilitators(connection: Connection, handler: BaseRouteHandler) -> None:
    await signed_in(connection, handler)
    if not connection.scope["user"].user.can_facilitate:
        raise Forbidden


async def event_creators(connection: Connection, handler: BaseRouteHandler) -> None:
    """Facilitators, with contract B's message for other accounts."""
    await signed_in(connection, handler)
    if not connection.scope["user"].user.can_facilitate:
        raise OnlyFacilitatorsCreate


async def profiled_facilitators(connection: Connection, handler: BaseRouteHandler) -> None:
    """Facilitators who have a profile."""
    await facilitators(connection, handler)
    if not await connection.app.state.use_cases.facilitator_queries.has_profile(connection.scope["user"].user.id):
        raise ProfileNotFound


@dataclass(frozen=True, slots=True)
class Viewer:
    """The caller of a public route: the account of a valid access token, None without one."""

    user: User | None

    @property
    def id(self) -> UserId | None:
        return None if self.user is None else self.user.id


async def viewer(request: Request[Any, Any, Any]) -> Viewer:
    """Authenticates the caller of a public route if there is a valid access token."""
    try:
        found: Actor = await request.app.state.use_cases.authenticate(bearer_token(request))
    except Unauthenticated:
        return Viewer(None)
    return Viewer(found.user)


def actor(request: Request[Any, Any, Any]) -> Actor:
    """The account that a guard of the route has authenticated."""
    found: Actor = request.scope["user"]
    return found


def client_address(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    """The network address of the client. `X-Forwarded-For` counts only behind trusted proxies."""
    peer = connection.client.host if connection.client else "local"
    return client_of(peer, connection.headers.getall("x-forwarded-for", []), connection.app.state.trusted_proxies)
