"""The checkout page of the sandbox gateway: the booking and its time, two buttons, and a link back; once it is paid,
buttons for a dispute. An HTML page is not part of the API's description."""

from datetime import timedelta

from litestar import MediaType, Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect

from application.payments.sandbox import PayAtSandbox, SandboxPage
from domain.disputes import DisputeStatus
from domain.payments import PaymentNotFound
from interfaces.http.authentication import public
from interfaces.http.injection import Inject
from interfaces.http.web.payment_return import payment_summary
from interfaces.http.web.templates import template
from servicekit.local_times import instant, reading_zone

RELOAD_SECONDS = 60
"""Keeps the remaining time on the page correct; the page ends with the hold."""
DISPUTE_BUTTONS = {
    DisputeStatus.OPEN: "Dispute the payment",
    DisputeStatus.WON: "Decide for the seller",
    DisputeStatus.LOST: "Decide for the payer",
}
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"


@get(
    "/sandbox/pay/{order_id:str}",
    operation_id="showSandboxOrder",
    include_in_schema=False,
    opt=public,
    media_type=MediaType.HTML,
)
async def show_order(order_id: FromPath[str], pay_at_sandbox: Inject[PayAtSandbox]) -> Response[str]:
    """Shows the order. The address alone allows payment, as at a real gateway."""
    shown = await pay_at_sandbox.show(order_id)
    text = template("sandbox.html").render(
        shown=shown,
        order=shown.order,
        facts=payment_summary(shown.payment),
        time_left=time_left(shown),
        dispute_buttons={status: DISPUTE_BUTTONS[status] for status in shown.next_disputes},
        seconds=RELOAD_SECONDS if shown.can_be_paid and shown.time_left is not None else None,
    )
    return Response(text, headers={"Content-Security-Policy": _POLICY})


@post(
    "/sandbox/pay/{order_id:str}/paid",
    operation_id="payAtSandbox",
    include_in_schema=False,
    status_code=303,
    opt=public,
)
async def pay(order_id: FromPath[str], pay_at_sandbox: Inject[PayAtSandbox]) -> Redirect:
    """The button "Pay"."""
    await pay_at_sandbox.decide(order_id, "paid")
    return Redirect(f"/sandbox/pay/{order_id}", status_code=303)


@post(
    "/sandbox/pay/{order_id:str}/declined",
    operation_id="declineAtSandbox",
    include_in_schema=False,
    status_code=303,
    opt=public,
)
async def decline(order_id: FromPath[str], pay_at_sandbox: Inject[PayAtSandbox]) -> Redirect:
    """The button "Decline"."""
    await pay_at_sandbox.decide(order_id, "declined")
    return Redirect(f"/sandbox/pay/{order_id}", status_code=303)


@post(
    "/sandbox/pay/{order_id:str}/dispute/{status:str}",
    operation_id="disputeAtSandbox",
    include_in_schema=False,
    status_code=303,
    opt=public,
)
async def dispute(order_id: FromPath[str], status: FromPath[str], pay_at_sandbox: Inject[PayAtSandbox]) -> Redirect:
    """The buttons of a paid order, which open and decide a dispute."""
    if status not in set(DisputeStatus):
        raise PaymentNotFound
    await pay_at_sandbox.dispute(order_id, DisputeStatus(status))
    return Redirect(f"/sandbox/pay/{order_id}", status_code=303)


ROUTES = [show_order, pay, decline, dispute]


def time_left(shown: SandboxPage) -> str | None:
    """The remaining time of the hold, in whole minutes; None without a hold."""
    until, left = shown.payment.hold_until, shown.time_left
    if until is None or left is None or left <= timedelta(0):
        return None
    minutes = left // timedelta(minutes=1)
    words = "less than a minute" if minutes == 0 else "1 minute" if minutes == 1 else f"{minutes} minutes"
    return f"{words}, until {instant(until, reading_zone(shown.payment.timezone))}"
