"""Change of the e-mail address of an account."""

from litestar import post
from litestar.params import JSONBody
from msgspec import Struct

from application.accounts.email_change import ChangeEmail, RequestEmailChange, UndoEmailChange
from application.accounts.sessions import Actor
from interfaces.emails import account_address
from interfaces.http.authentication import ClientAddress, public, signed_in
from interfaces.http.booking_api.accounts import MailedToken
from interfaces.http.injection import Inject
from interfaces.http.schemas import Done

TAGS = ["Accounts"]


class EmailChangeRequest(Struct):
    """`password`: that of the account. Left out for an account without one."""

    email: str
    password: str | None = None


@post("/profile/email", operation_id="requestEmailChange", tags=TAGS, status_code=202, guards=[signed_in.without_keys])
async def request_change_of_email(
    data: JSONBody[EmailChangeRequest],
    address: Inject[ClientAddress],
    actor: Inject[Actor],
    request_email_change: Inject[RequestEmailChange],
) -> Done:
    await request_email_change(actor, email=account_address(data.email), password=data.password, address=address)
    return Done("A mail with a link is on its way to the new address")


@post("/auth/email/change", operation_id="changeEmail", tags=TAGS, status_code=200, opt=public)
async def change_email_address(
    data: JSONBody[MailedToken], address: Inject[ClientAddress], change_email: Inject[ChangeEmail]
) -> Done:
    await change_email(data.token, address=address)
    return Done("E-mail address changed successfully")


@post("/auth/email/undo", operation_id="undoEmailChange", tags=TAGS, status_code=200, opt=public)
async def undo_change_of_email(
    data: JSONBody[MailedToken], address: Inject[ClientAddress], undo_email_change: Inject[UndoEmailChange]
) -> Done:
    await undo_email_change(data.token, address=address)
    return Done("The account has this e-mail address. A mail with a link that sets a new password is on its way")


ROUTES = [request_change_of_email, change_email_address, undo_change_of_email]
