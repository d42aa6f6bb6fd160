"""The pages of the links in mails about accounts. An HTML page is not part of the API's description. Opening a page
changes nothing and reads nothing, because programs that check links in mails also open it; its button does."""

from dataclasses import dataclass, replace

from litestar import MediaType, Response, get, post
from litestar.params import FromPath, URLEncodedBody
from msgspec import Struct

from application.accounts.email_change import ChangeEmail, UndoEmailChange
from application.accounts.recovery import ResetPassword
from application.accounts.verification import VerifyEmail
from domain.errors import Invalid
from interfaces.http.authentication import ClientAddress, public
from interfaces.http.injection import Inject
from interfaces.http.web.templates import template
from servicekit.browser_pages import STYLE, policy_for

_STYLE = STYLE + (
    "button { font: inherit; padding: .6rem 1.6rem; border-radius: 8px; border: 1px solid #2f6f5e; cursor: pointer; "
    "background: #2f6f5e; color: #fff }\n"
)
_HEADERS = {
    "Content-Security-Policy": policy_for(_STYLE, form=True),
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Page:
    """`button`: its label; None for a page without one. `field`: the label of a field for a new password."""

    heading: str
    sentence: str
    button: str | None = None
    field: str | None = None


class PasswordForm(Struct):
    password: str


_VERIFY = Page("Confirm your e-mail address", "Please confirm that this is your account.", "Confirm the address")
_VERIFIED = Page("Your e-mail address is confirmed", "You can close this page.")

_RESET = Page("Set a new password", "Every login of your account ends.", "Set the password", field="New password")
_RESET_DONE = Page("You have a new password", "Please log in with it. You can close this page.")

_CHANGE = Page(
    "Confirm your new e-mail address", "Please confirm that this is your new address.", "Confirm the new address"
)
_CHANGED = Page("Your account has this e-mail address now", "You can close this page.")

_UNDO = Page(
    "Undo the change of your e-mail address",
    "Your account keeps or gets back this address, and every login ends. A mail has a link to set a new password.",
    "Undo the change",
)
_UNDONE = Page("Your account has this e-mail address", "Please set a new password by the link of our next mail.")


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


@get(
    "/reset-password/{token:str}",
    operation_id="showPasswordReset",
    include_in_schema=False,
    opt=public,
    media_type=MediaType.HTML,
    sync_to_thread=False,
)
def show_password_reset(token: FromPath[str]) -> Response[str]:  # noqa: ARG001
    return _shown(_RESET)


@post(
    "/reset-password/{token:str}",
    operation_id="submitPasswordReset",
    include_in_schema=False,
    status_code=200,
    opt=public,
    media_type=MediaType.HTML,
)
async def submit_password_reset(
    token: FromPath[str],
    data: URLEncodedBody[PasswordForm],
    address: Inject[ClientAddress],
    reset_password: Inject[ResetPassword],
) -> Response[str]:
    """The button "Set the password"."""
    try:
        await reset_password(token, password=data.password, address=address)
    except Invalid as error:
        return _shown(replace(_RESET, sentence=error.details["password"]), status=400)
    return _shown(_RESET_DONE)


@get(
    "/change-email/{token:str}",
    operation_id="showEmailChange",
    include_in_schema=False,
    opt=public,
    media_type=MediaType.HTML,
    sync_to_thread=False,
)
def show_email_change(token: FromPath[str]) -> Response[str]:  # noqa: ARG001
    return _shown(_CHANGE)


@post(
    "/change-email/{token:str}",
    operation_id="confirmEmailChange",
    include_in_schema=False,
    status_code=200,
    opt=public,
    media_type=MediaType.HTML,
)
async def confirm_email_change(
    token: FromPath[str], address: Inject[ClientAddress], change_email: Inject[ChangeEmail]
) -> Response[str]:
    """The button "Confirm the new address"."""
    await change_email(token, address=address)
    return _shown(_CHANGED)


@get(
    "/undo-email-change/{token:str}",
    operation_id="showUndoingOfEmailChange",
    include_in_schema=False,
    opt=public,
    media_type=MediaType.HTML,
    sync_to_thread=False,
)
def show_undoing_of_email_change(token: FromPath[str]) -> Response[str]:  # noqa: ARG001
    return _shown(_UNDO)


@post(
    "/undo-email-change/{token:str}",
    operation_id="confirmUndoingOfEmailChange",
    include_in_schema=False,
    status_code=200,
    opt=public,
    media_type=MediaType.HTML,
)
async def confirm_undoing_of_email_change(
    token: FromPath[str], address: Inject[ClientAddress], undo_email_change: Inject[UndoEmailChange]
) -> Response[str]:
    """The button "Undo the change"."""
    await undo_email_change(token, address=address)
    return _shown(_UNDONE)


ROUTES = [
    show_verification,
    confirm_verification,
    show_password_reset,
    submit_password_reset,
    show_email_change,
    confirm_email_change,
    show_undoing_of_email_change,
    confirm_undoing_of_email_change,
]


def _shown(page: Page, status: int = 200) -> Response[str]:
    text = template("account_link.html", trimmed=True).render(page=page, style=_STYLE)
    return Response(text, headers=_HEADERS, status_code=status)
