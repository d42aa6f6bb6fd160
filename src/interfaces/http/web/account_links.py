"""The pages of the links in mails about accounts. An HTML page is not part of the API's description. Opening a page
changes nothing and reads nothing, because programs that check links in mails also open it; its button does."""

from dataclasses import dataclass

from litestar import MediaType, Response, get, post
from litestar.params import FromPath

from application.accounts.verification import VerifyEmail
from interfaces.http.authentication import ClientAddress, public
from interfaces.http.injection import Inject
from interfaces.http.web.templates import template
from servicekit.browser_pages import STYLE, policy_for

_STYLE = STYLE + (
    "button { font: inherit; padding: .6rem 1.6rem; border-radius: 8px; border: 1px solid #2f6f5e; cursor: pointer; "
    "background: #2f6f5e; color: #fff }\n"
)
_HEADERS = {
    "Content-Security-Policy": policy_for(_STYLE).replace("form-action 'none'", "form-action 'self'"),
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Page:
    """`button`: its label; None for a page without one."""

    heading: str
    sentence: str
    button: str | None = None


_VERIFY = Page("Confirm your e-mail address", "Please confirm that this is your account.", "Confirm the address")
_VERIFIED = Page("Your e-mail address is confirmed", "You can close this page.")


@get(
    "/verify-email/{token:str}",
    operation_id="showVerification",
    include_in_schema=False,
    opt=public,
    media_type=MediaType.HTML,
    sync_to_thread=False,
)
def show_verification(token: FromPath[str]) -> Response[str]:  # noqa: ARG001
    return _shown(_VERIFY)


@post(
    "/verify-email/{token:str}",
    operation_id="confirmVerification",
    include_in_schema=False,
    status_code=200,
    opt=public,
    media_type=MediaType.HTML,
)
async def confirm_verification(
    token: FromPath[str], address: Inject[ClientAddress], verify_email: Inject[VerifyEmail]
) -> Response[str]:
    """The button "Confirm the address"."""
    await verify_email(token, address=address)
    return _shown(_VERIFIED)


ROUTES = [show_verification, confirm_verification]


def _shown(page: Page) -> Response[str]:
    text = template("account_link.html", trimmed=True).render(page=page, style=_STYLE)
    return Response(text, headers=_HEADERS)
