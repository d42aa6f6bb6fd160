"""Authentication of requests and guards of routes, and the network address of the client."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from typing import Any, NewType, TypeAlias

from litestar import Request
from litestar.connection import ASGIConnection

from application.accounts.sessions import Actor, Authenticate
from application.bookings.ports import FacilitatorQueries
from application.events.management import OnlyFacilitatorsCreate
from domain.accounts import ProfileNotFound, User, UserId
from domain.api_keys import ApiKeyNotAllowed, InsufficientScope, Scope
from domain.audit import ANONYMOUS, AuditOrigin
from domain.authorization import is_admin
from domain.errors import DomainError, Forbidden, Unauthenticated
from domain.networks import client_of, network_of
from domain.second_factors import SecondFactorRequiredForRole
from interfaces.http.injection import Guard, Inject
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

USER_TOKEN, API_KEY, REFRESH_TOKEN = "userToken", "apiKey", "refreshToken"
SERVICE_TOKEN, METRICS_TOKEN = "serviceToken", "metricsToken"
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


Scopes: TypeAlias = tuple[Scope, ...]
SCOPES = "scopes"
"""The parameter of a guard's function."""


@dataclass(frozen=True)
class AccountGuard(Guard):
    """A guard that authenticates an account. Each route declares which API keys may call it, by `with_scope` or
    `without_keys`. Without either none may, and a test fails."""

    is_declared: bool = False

    @property
    def scopes(self) -> Scopes:
        """All of these are needed. None: no key may call the route."""
        found: Scopes = self.declared[SCOPES]
        return found

    def with_scope(self, *scopes: Scope) -> "AccountGuard":
        """For logins, and for keys with this scope; with all of several."""
        return self._declaring(scopes, InsufficientScope)

    @property
    def without_keys(self) -> "AccountGuard":
        """For logins only: the security of the account, and routes that create credentials."""
        return self._declaring((), ApiKeyNotAllowed)

    def _declaring(self, scopes: Scopes, error: type[Forbidden]) -> "AccountGuard":
        first, *others = self.raises
        return replace(self, raises=(first, error, *others), declared={SCOPES: scopes}, is_declared=True)


def account_guard(*raises: type[DomainError]) -> Callable[[Callable[..., Awaitable[None]]], AccountGuard]:
    """For functions of the connection and the scopes that its route has declared."""
    return partial(AccountGuard, scheme=USER_TOKEN, raises=(Unauthenticated, *raises), declared={SCOPES: ()})


@account_guard()
async def enrolling(connection: Connection, scopes: Scopes, authenticate: Inject[Authenticate]) -> None:
    """As `signed_in`, also for accounts whose role needs a second factor that they have not added yet."""
    await _account(connection, scopes, authenticate, enrolling=True)


@account_guard(SecondFactorRequiredForRole)
async def signed_in(connection: Connection, scopes: Scopes, authenticate: Inject[Authenticate]) -> None:
    await _account(connection, scopes, authenticate)


@account_guard(SecondFactorRequiredForRole, Forbidden)
async def admins(connection: Connection, scopes: Scopes, authenticate: Inject[Authenticate]) -> None:
    if not is_admin(await _account(connection, scopes, authenticate)):
        raise Forbidden


@account_guard(SecondFactorRequiredForRole, Forbidden)
async def facilitators(connection: Connection, scopes: Scopes, authenticate: Inject[Authenticate]) -> None:
    await _facilitator(connection, scopes, authenticate)


@account_guard(SecondFactorRequiredForRole, OnlyFacilitatorsCreate)
async def event_creators(connection: Connection, scopes: Scopes, authenticate: Inject[Authenticate]) -> None:
    """Facilitators, with contract B's message for other accounts."""
    if not (await _account(connection, scopes, authenticate)).can_facilitate:
        raise OnlyFacilitatorsCreate


@account_guard(SecondFactorRequiredForRole, Forbidden, ProfileNotFound)
async def profiled_facilitators(
    connection: Connection,
    scopes: Scopes,
    authenticate: Inject[Authenticate],
    facilitator_queries: Inject[FacilitatorQueries],
) -> None:
    """Facilitators who have a profile."""
    user = await _facilitator(connection, scopes, authenticate)
    if not await facilitator_queries.has_profile(user.id):
        raise ProfileNotFound


async def _account(
    connection: Connection, scopes: Scopes, authenticate: Authenticate, *, enrolling: bool = False
) -> User:
    """Raises `Unauthenticated`, `SecondFactorRequiredForRole`, and for an API key `InsufficientScope` or
    `ApiKeyNotAllowed`."""
    found = await authenticate(bearer_token(connection), enrolling=enrolling)
    found.require(*scopes)
    connection.scope["user"] = found
    return found.user


async def _facilitator(connection: Connection, scopes: Scopes, authenticate: Authenticate) -> User:
    """Raises the errors of `_account`, `Forbidden`."""
    user = await _account(connection, scopes, authenticate)
    if not user.can_facilitate:
        raise Forbidden
    return user


@dataclass(frozen=True, slots=True)
class Viewer:
    """The caller of a public route: the account of a valid access token or API key, None without one."""

    user: User | None

    @property
    def id(self) -> UserId | None:
        return None if self.user is None else self.user.id


VIEWED_BY_KEY = "viewed_by_key"


def public_with(scope: Scope) -> dict[str, object]:
    """Marks public routes that show more to some accounts: to API keys with this scope too."""
    return {**public, VIEWED_BY_KEY: (scope,)}


async def viewer(request: Request[Any, Any, Any], authenticate: Inject[Authenticate]) -> Viewer:
    """Authenticates the caller of a public route if there is a valid access token or API key. A key without the route's
    scope counts as no caller."""
    try:
        found = await authenticate(bearer_token(request))
        found.require(*request.route_handler.opt.get(VIEWED_BY_KEY, ()))
    except (Unauthenticated, SecondFactorRequiredForRole, InsufficientScope, ApiKeyNotAllowed):
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
    return AuditOrigin(ANONYMOUS if found is None else found.for_audit, network, current_request_id(), agent)


def client_address(request: Request[Any, Any, Any], trusted_proxies: Inject[TrustedProxies]) -> ClientAddress:
    """`X-Forwarded-For` counts only behind trusted proxies."""
    peer = request.client.host if request.client else "local"
    return ClientAddress(client_of(peer, request.headers.getall("x-forwarded-for", []), trusted_proxies))
