"""The page of an invitation's link: the event and two buttons. An HTML page is not part of the API's description.
Opening the page changes nothing, because programs that check links in mails also open it."""

from litestar import MediaType, Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect

from application.bookings.invitations import AnswerInvitation
from interfaces.http.authentication import public
from interfaces.http.injection import Inject
from interfaces.http.web.templates import template
from servicekit.local_times import instant, reading_zone, when

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}


@get(
    "/invitations/{token:str}",
    operation_id="showInvitation",
    include_in_schema=False,
    opt=public,
    media_type=MediaType.HTML,
)
async def show_invitation(token: FromPath[str], answer_invitation: Inject[AnswerInvitation]) -> Response[str]:
    """Shows the invitation. The link alone gives access."""
    shown, zone = await answer_invitation.show(token), reading_zone(None)
    times = {
        "when": when(shown.starts_at, shown.ends_at, zone),
        "until": instant(min(shown.invitation.expires_at, shown.starts_at), zone),
    }
    return Response(template("invitation.html").render(shown=shown, token=token, **times), headers=_HEADERS)


@post(
    "/invitations/{token:str}/confirm",
    operation_id="confirmInvitation",
    include_in_schema=False,
    status_code=303,
    opt=public,
)
async def confirm_invitation(token: FromPath[str], answer_invitation: Inject[AnswerInvitation]) -> Redirect:
    """The button "Confirm"."""
    await answer_invitation.confirm(token)
    return _to_page(token)


@post(
    "/invitations/{token:str}/decline",
    operation_id="declineInvitation",
    include_in_schema=False,
    status_code=303,
    opt=public,
)
async def decline_invitation(token: FromPath[str], answer_invitation: Inject[AnswerInvitation]) -> Redirect:
    """The button "Decline"."""
    await answer_invitation.decline(token)
    return _to_page(token)


def _to_page(token: str) -> Redirect:
    """Redirects to the page by a relative address, because PUBLIC_URL may have a path."""
    return Redirect(f"../{token}", status_code=303)


ROUTES = [show_invitation, confirm_invitation, decline_invitation]
