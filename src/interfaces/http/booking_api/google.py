"""Contract B 3 and 4, and contract D: Google login in a browser."""

import hashlib
from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, get
from litestar.datastructures import Cookie
from litestar.params import FromQuery, QueryParameter
from litestar.response import Redirect
from msgspec import Struct

from application.accounts.external_identity import FinishExternalSignIn, StartExternalSignIn
from application.accounts.login import LoggedIn
from application.oauth import ATTEMPT_LIFETIME
from domain.accounts import Role
from interfaces.http.authentication import ClientAddress, public
from interfaces.http.injection import Inject
from interfaces.http.parameters import Converter
from interfaces.http.schemas import PublicUrl

TAGS = ["Contract B: accounts"]


class GoogleUser(Struct):
    id: int
    uuid: UUID
    email: str
    name: str
    role: Role
    google_id: str | None
    profile_picture: str | None


class GoogleTokens(Struct):
    access_token: str
    refresh_token: str
    user: GoogleUser


SignInState = Annotated[
    str | None,
    QueryParameter(name="state"),
    Converter("The state that was sent to Google with the browser.", {"type": "string"}),
]
AuthorizationCode = Annotated[str | None, Converter("Google's authorization code.", {"type": "string"})]
GoogleError = Annotated[str | None, Converter("Google's error code.", {"type": "string"})]


@get("/auth/google", operation_id="signInWithGoogle", tags=TAGS, status_code=302, opt=public)
async def start_sign_in(
    start_external_sign_in: Inject[StartExternalSignIn],
    address: Inject[ClientAddress],
    public_url: Inject[PublicUrl],
) -> Redirect:
    """Sends the browser to Google's consent screen. Google sends it back to `/auth/google/callback`."""
    return await _to_google(start_external_sign_in, address, public_url)


@get(
    "/auth/google/login",
    operation_id="signInWithGoogleOfD",
    tags=["Contract D: accounts"],
    status_code=302,
    opt=public,
)
async def start_login(
    start_external_sign_in: Inject[StartExternalSignIn],
    address: Inject[ClientAddress],
    public_url: Inject[PublicUrl],
) -> Redirect:
    """The same as `/auth/google`."""
    return await _to_google(start_external_sign_in, address, public_url)


@get("/auth/google/callback", operation_id="finishGoogleSignIn", tags=TAGS, opt=public)
async def finish_sign_in(
    request: Request[Any, Any, Any],
    finish_external_sign_in: Inject[FinishExternalSignIn],
    address: Inject[ClientAddress],
    public_url: Inject[PublicUrl],
    sign_in_state: SignInState = None,
    code: FromQuery[AuthorizationCode] = None,
    error: FromQuery[GoogleError] = None,
) -> Response[GoogleTokens]:
    """Google redirects the browser to this address. Valid once, in the browser that started the sign-in, for 10
    minutes."""
    over_https = public_url.startswith("https:")
    cookie = _cookie_name(sign_in_state or "", over_https=over_https)
    logged_in = await finish_external_sign_in(
        state=sign_in_state,
        browser=request.cookies.get(cookie),
        code=code,
        error=error,
        address=address,
    )
    return Response(google_tokens(logged_in), cookies=[_cookie(cookie, "", over_https=over_https, seconds=0)])


ROUTES = [start_sign_in, start_login, finish_sign_in]


async def _to_google(
    start_external_sign_in: StartExternalSignIn, address: ClientAddress, public_url: PublicUrl
) -> Redirect:
    over_https = public_url.startswith("https:")
    url, started = await start_external_sign_in(address=address)
    cookie = _cookie(
        _cookie_name(started.state, over_https=over_https),
        started.browser,
        over_https=over_https,
        seconds=int(ATTEMPT_LIFETIME.total_seconds()),
    )
    return Redirect(url, status_code=302, cookies=[cookie])


def _cookie_name(state: str, *, over_https: bool) -> str:
    """One name for each attempt, so that attempts in two tabs do not overwrite each other. Another host of the domain
    cannot set a `__Host-` cookie (RFC 6265bis, 4.1.3.2)."""
    name = f"convene-sign-in-{hashlib.sha256(state.encode()).hexdigest()[:16]}"
    return f"__Host-{name}" if over_https else name


def _cookie(name: str, value: str, *, over_https: bool, seconds: int) -> Cookie:
    return Cookie(key=name, value=value, path="/", max_age=seconds, httponly=True, samesite="lax", secure=over_https)


def google_tokens(logged_in: LoggedIn) -> GoogleTokens:
    user = logged_in.user
    shown = GoogleUser(
        id=user.id,
        uuid=user.uuid,
        email=user.email,
        name=user.name,
        role=user.role,
        google_id=user.external_id,
        profile_picture=user.profile_picture,
    )
    return GoogleTokens(logged_in.access_token, logged_in.refresh_token, shown)
