"""Erasure of an account by its owner. Beside the contracts."""

from datetime import datetime

from litestar import delete
from litestar.params import JSONBody
from msgspec import Struct

from application.accounts.sessions import Actor
from application.erasure.requests import EraseOwnAccount
from interfaces.http.authentication import ClientAddress, signed_in
from interfaces.http.booking_api.accounts import TAGS
from interfaces.http.injection import Inject
from interfaces.http.schemas import whole_seconds


class ErasureRequest(Struct):
    """`password`: that of the account. Left out for an account without one."""

    password: str | None = None


class RequestedErasure(Struct):
    """`due_at`: the account is erased from then on, once the mails about cancellations are sent."""

    message: str
    due_at: datetime


@delete("/profile", operation_id="eraseProfile", tags=TAGS, status_code=202, guards=[signed_in.without_keys])
async def erase_profile(
    data: JSONBody[ErasureRequest],
    address: Inject[ClientAddress],
    actor: Inject[Actor],
    erase_own_account: Inject[EraseOwnAccount],
) -> RequestedErasure:
    erasure = await erase_own_account(actor, password=data.password, address=address)
    return RequestedErasure(
        "Your account is being erased. You get a mail about it, and every login has ended",
        whole_seconds(erasure.due_at),
    )


ROUTES = [erase_profile]
