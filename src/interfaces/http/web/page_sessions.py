"""Sessions of the pages: a cookie with an access token, and tokens that prove that a form is one of ours.

The session is a row of the same table as every login: it is in the list of sessions, and everything that ends a login
ends it. Only the pages read the cookie; the API takes tokens in headers alone.
"""

import hmac
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from litestar import Request
from litestar.datastructures import Cookie

from application.accounts.sessions import Actor, Authenticate
from domain.accounts import User
from domain.api_keys import is_api_key
from domain.errors import Forbidden, Unauthenticated
from domain.second_factors import SecondFactorRequiredForRole
from interfaces.http.authentication import ISSUES_TOKENS, Connection, public
from interfaces.http.errors import PAGE
from interfaces.http.injection import Inject, guard

SESSION_COOKIE = "sessionCookie"
"""The security scheme of the pages, which are not in the description of the API."""

FORM_TOKEN = "form_token"  # noqa: S105 (a name)
"""The name of the field with the token of a form."""

session_page = {PAGE: True, ISSUES_TOKENS: True}
"""Marks pages that need a session, which their guard checks. A page has form tokens, so none is stored for an
idempotency key."""
public_page = {**public, **session_page}
"""Marks pages for everyone."""

_FORM_COOKIE_LIFETIME = timedelta(days=1)


class FormNotValid(Forbidden):
    """A form without the token of this visitor: it is older than the login, or another site has sent it."""

    code = "form_not_valid"
    message = "This form is not valid any more"


@dataclass(frozen=True, slots=True)
class PageCookies:
    """Names and attributes of the cookies. `is_secure`: PUBLIC_URL is https. Then `__Host-` in the name makes browsers
    accept the cookie from this host alone, encrypted."""

    is_secure: bool
    lifetime: timedelta

    @property
    def session(self) -> str:
        return f"{self._prefix}session"

    @property
    def form(self) -> str:
        return f"{self._prefix}form"

    @property
    def _prefix(self) -> str:
        return "__Host-" if self.is_secure else ""

    def set_session(self, access_token: str) -> Cookie:
        return self._cookie(self.session, access_token, self.lifetime)

    def end_session(self) -> Cookie:
        return self._cookie(self.session, "", timedelta())

    def set_form(self, value: str) -> Cookie:
        return self._cookie(self.form, value, _FORM_COOKIE_LIFETIME)

    def _cookie(self, name: str, value: str, lifetime: timedelta) -> Cookie:
        age = int(lifetime.total_seconds())
        return Cookie(name, value=value, path="/", max_age=age, secure=self.is_secure, httponly=True, samesite="lax")


class FormTokens:
    """Tokens of forms: a keyed hash of the visitor's session cookie, or of the cookie of a visitor without a session.
    Other sites neither know the cookie nor can they set it, so they cannot make a form that is accepted."""

    def __init__(self, key: bytes, cookies: PageCookies) -> None:
        self._key = key
        self._cookies = cookies

    def token(self, connection: Connection) -> tuple[str, Cookie | None]:
        """The token of the visitor's forms, and the cookie to be set for it if there is none."""
        bound = self._bound(connection)
        if bound is not None:
            return self._token(bound), None
        fresh = secrets.token_urlsafe(32)
        return self._token(fresh), self._cookies.set_form(fresh)

    def require(self, connection: Connection, given: str) -> None:
        """Raises `FormNotValid`."""
        bound = self._bound(connection)
        if bound is None or not hmac.compare_digest(self._token(bound).encode(), given.encode()):
            raise FormNotValid

    def _bound(self, connection: Connection) -> str | None:
        cookies = connection.cookies
        return cookies.get(self._cookies.session) or cookies.get(self._cookies.form)

    def _token(self, bound: str) -> str:
        return urlsafe_b64encode(hmac.digest(self._key, bound.encode(), "sha256")).decode().rstrip("=")


async def require_form_token(request: Request[Any, Any, Any], form_tokens: FormTokens) -> None:
    """For each form of a page, before its handler; guards of pages call it first, because they run before the hook
    that covers every form. Raises `FormNotValid`."""
    if request.method == "POST" and PAGE in request.route_handler.opt:
        form_tokens.require(request, (await form_fields(request)).get(FORM_TOKEN, ""))


async def form_fields(request: Request[Any, Any, Any]) -> Mapping[str, str]:
    """The fields of a form, the last of several of a name. The body of a request is bounded, and use cases
    bound each text."""
    return {name: value for name, value in (await request.form()).multi_items() if isinstance(value, str)}


@guard(SESSION_COOKIE, FormNotValid, Unauthenticated, SecondFactorRequiredForRole)
async def with_session(
    request: Any,
    authenticate: Inject[Authenticate],
    cookies: Inject[PageCookies],
    form_tokens: Inject[FormTokens],
) -> None:
    await require_form_token(request, form_tokens)
    request.scope["user"] = await _actor(request, authenticate, cookies)


@guard(SESSION_COOKIE, FormNotValid, Unauthenticated)
async def with_any_session(
    request: Any,
    authenticate: Inject[Authenticate],
    cookies: Inject[PageCookies],
    form_tokens: Inject[FormTokens],
) -> None:
    """As `with_session`, also for accounts whose role needs a second factor that they have not added yet."""
    await require_form_token(request, form_tokens)
    request.scope["user"] = await _actor(request, authenticate, cookies, enrolling=True)


@dataclass(frozen=True, slots=True)
class PageUser:
    """The account of the visitor of a public page; None without a session."""

    user: User | None


async def page_user(request: Any, authenticate: Inject[Authenticate], cookies: Inject[PageCookies]) -> PageUser:
    """Also tells the layout of the page."""
    if not request.cookies.get(cookies.session):
        return PageUser(None)
    try:
        actor = await _actor(request, authenticate, cookies)
    except (Unauthenticated, SecondFactorRequiredForRole):
        return PageUser(None)
    request.scope["user"] = actor
    return PageUser(actor.user)


async def _actor(
    connection: Connection, authenticate: Authenticate, cookies: PageCookies, *, enrolling: bool = False
) -> Actor:
    """Raises `Unauthenticated`, `SecondFactorRequiredForRole`."""
    token = connection.cookies.get(cookies.session, "")
    if not token or is_api_key(token):
        raise Unauthenticated
    return await authenticate(token, enrolling=enrolling)
