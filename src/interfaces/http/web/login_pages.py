"""The pages to log in, to register and to log out."""

from typing import Any

from litestar import Response, get, post
from litestar.datastructures import Cookie
from litestar.response import Redirect

from application.accounts.login import LogIn
from application.accounts.registration import RegisterAndLogIn, Registration
from application.accounts.second_factor_login import CompleteLogin
from application.accounts.sessions import Actor, LogOut
from domain.accounts import EmailTaken, InvalidCredentials, Role
from domain.errors import DomainError, Invalid, TooManyRequests
from domain.second_factors import SecondFactorNotValid, SecondFactorRequired, TicketNotValid
from interfaces.emails import email_address, plausible_email_address
from interfaces.http.authentication import ClientAddress
from interfaces.http.injection import Inject
from interfaces.http.web.page_sessions import PageCookies, form_fields, public_page, session_page, with_any_session
from interfaces.http.web.pages import AnyRequest, Pages

_AFTER_LOGIN = "/me"
_SITES = ("/book", "/me")
"""Where a log-in may lead to."""
_LONGEST_TARGET = 300
_REMEMBERED = ("name", "email")
"""Fields of a registration that are shown again."""
_NOT_IN_TARGETS = ("//", "\\", "..")
"""Browsers read the first two as the beginning of a host, and the last as the folder above."""


@get("/log-in", operation_id="showLogInPage", include_in_schema=False, opt=public_page)
async def show_log_in(request: AnyRequest, pages: Inject[Pages]) -> Response[str]:
    target = next_page(request.query_params.get("next", ""))
    return pages.show(request, "log_in.html", has_form=True, next=target, email="", problem=None)


@post("/log-in", operation_id="logInOnPage", include_in_schema=False, status_code=303, opt=public_page)
async def log_in(
    request: AnyRequest,
    pages: Inject[Pages],
    address: Inject[ClientAddress],
    log_in_by_password: Inject[LogIn],
    cookies: Inject[PageCookies],
) -> Response[Any]:
    fields = await form_fields(request)
    email, target = fields.get("email", ""), next_page(fields.get("next", ""))
    try:
        password = fields.get("password", "")
        logged_in = await log_in_by_password(email=_account_address(email), password=password, address=address)
    except SecondFactorRequired as required:
        return pages.show(
            request, "second_factor.html", has_form=True, next=target, ticket=required.ticket, problem=None
        )
    except (InvalidCredentials, TooManyRequests) as error:
        return _refused(pages, request, "log_in.html", error, next=target, email=email)
    return _logged_in(pages, target, cookies.set_session(logged_in.access_token))


@post(
    "/log-in/second-factor",
    operation_id="completeLogInOnPage",
    include_in_schema=False,
    status_code=303,
    opt=public_page,
)
async def complete_log_in(
    request: AnyRequest,
    pages: Inject[Pages],
    address: Inject[ClientAddress],
    complete_login: Inject[CompleteLogin],
    cookies: Inject[PageCookies],
) -> Response[Any]:
    """With the code of an authenticator app or a recovery code."""
    fields = await form_fields(request)
    ticket, target = fields.get("ticket", ""), next_page(fields.get("next", ""))
    try:
        logged_in, _ = await complete_login(ticket, fields.get("code", "").strip(), address=address)
    except (SecondFactorNotValid, TooManyRequests) as error:
        return _refused(pages, request, "second_factor.html", error, next=target, ticket=ticket)
    except TicketNotValid as error:
        return _refused(pages, request, "log_in.html", error, next=target, email="")
    return _logged_in(pages, target, cookies.set_session(logged_in.access_token))


@get("/sign-up", operation_id="showSignUpPage", include_in_schema=False, opt=public_page)
async def show_sign_up(request: AnyRequest, pages: Inject[Pages]) -> Response[str]:
    target = next_page(request.query_params.get("next", ""))
    return pages.show(
        request, "sign_up.html", has_form=True, next=target, fields=dict.fromkeys(_REMEMBERED, ""), problems={}
    )


@post("/sign-up", operation_id="signUpOnPage", include_in_schema=False, status_code=303, opt=public_page)
async def sign_up(
    request: AnyRequest,
    pages: Inject[Pages],
    address: Inject[ClientAddress],
    register_and_log_in: Inject[RegisterAndLogIn],
    cookies: Inject[PageCookies],
) -> Response[Any]:
    """Registers a client and logs in."""
    fields = await form_fields(request)
    target, given = next_page(fields.get("next", "")), {name: fields.get(name, "") for name in _REMEMBERED}
    try:
        registration = Registration(
            email=email_address(given["email"]), password=fields.get("password", ""), name=given["name"], role=Role.USER
        )
        logged_in = await register_and_log_in(registration, address=address)
    except (Invalid, EmailTaken, TooManyRequests) as error:
        problems = error.details if isinstance(error, Invalid) else {error.code: ""}
        return _refused(pages, request, "sign_up.html", error, next=target, fields=given, problems=problems)
    return _logged_in(pages, target, cookies.set_session(logged_in.access_token))


@post(
    "/log-out",
    operation_id="logOutOnPage",
    include_in_schema=False,
    status_code=303,
    opt=session_page,
    guards=[with_any_session],
)
async def log_out(
    pages: Inject[Pages], actor: Inject[Actor], end_login: Inject[LogOut], cookies: Inject[PageCookies]
) -> Response[Any]:
    await end_login(actor)
    return Redirect(pages.address("/book"), status_code=303, cookies=[cookies.end_session()])


ROUTES = [show_log_in, log_in, complete_log_in, show_sign_up, sign_up, log_out]


def next_page(text: str) -> str:
    """A page of ours that may follow a log-in: never an address of another host."""
    is_plain = len(text) < _LONGEST_TARGET and text.isascii() and text.isprintable()
    if not is_plain or any(each in text for each in _NOT_IN_TARGETS):
        return _AFTER_LOGIN
    path = text.partition("?")[0].partition("#")[0]
    return text if any(path == site or path.startswith(f"{site}/") for site in _SITES) else _AFTER_LOGIN


def _account_address(text: str) -> str:
    """Raises `InvalidCredentials` for text that is no address, because no account has it."""
    address = plausible_email_address(text)
    if address is None:
        raise InvalidCredentials
    return address


def _logged_in(pages: Pages, target: str, cookie: Cookie) -> Response[Any]:
    return Redirect(pages.address(target), status_code=303, cookies=[cookie])


def _refused(pages: Pages, request: AnyRequest, template: str, error: DomainError, **values: Any) -> Response[str]:
    """The form once more, with the reason."""
    status = 429 if isinstance(error, TooManyRequests) else 400
    answer = pages.show(request, template, status=status, has_form=True, problem=error.code, **values)
    if isinstance(error, TooManyRequests):
        answer.headers["Retry-After"] = str(error.retry_after)
    return answer
