"""The return address of checkouts: a redirect to the front end, or an HTML page. It is not part of the API's
description."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from litestar import MediaType, Request, Response, get
from litestar.params import FromPath
from litestar.response import Redirect

from application.payments.checkout_return import PaymentReturn, ShowPaymentReturn
from application.payments.ports.records import PaymentOverview
from domain.checkout_return import Outcome, ReturnStatus, with_parameters
from domain.payments import UNPAID, PaymentNotFound
from interfaces.http.authentication import public
from interfaces.http.injection import Inject
from interfaces.http.parameters import Converter
from interfaces.http.web.templates import template
from servicekit.browser_pages import STYLE, policy_for
from servicekit.links import usable_link
from servicekit.local_times import instant, reading_zone, when
from servicekit.text import clean_line

RELOADS = (*10 * (3,), *10 * (10,), *20 * (30,))
"""Delays in seconds before each reload of the page while it waits for a confirmation: 12 minutes in all."""

_PAGE_STYLE = f"""{STYLE}
dl {{ display: grid; grid-template-columns: auto 1fr; gap: .4rem 1.2rem }}
dt {{ opacity: .7 }}
dd {{ margin: 0; overflow-wrap: anywhere }}
"""
HEADERS = {"Content-Security-Policy": policy_for(_PAGE_STYLE), "X-Robots-Tag": "noindex"}

_LONGEST_TITLE = 200


@dataclass(frozen=True, slots=True)
class PageCopy:
    headline: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Reload:
    seconds: int
    url: str


_COPY = {
    ReturnStatus.COMPLETED: PageCopy("Your payment has arrived", "Thank you. Your booking is paid and confirmed."),
    ReturnStatus.PENDING: PageCopy(
        "Waiting for the confirmation",
        "We are waiting for the confirmation of the payment. It usually arrives within a minute.",
    ),
    ReturnStatus.FAILED: PageCopy(
        "The payment did not go through", "Your last payment attempt failed, and the booking is not paid."
    ),
    ReturnStatus.REFUNDED: PageCopy(
        "Your payment is refunded", "It can take some days until your bank shows the refund."
    ),
    ReturnStatus.UNPAID: PageCopy("Not paid yet", "We have received no payment for this booking."),
    ReturnStatus.ENDED: PageCopy("This booking has ended", "It was cancelled, or the time to pay for it is over."),
}
_PAYMENT = {
    ReturnStatus.COMPLETED: "paid",
    ReturnStatus.PENDING: "waiting for the confirmation",
    ReturnStatus.FAILED: "the payment failed",
    ReturnStatus.REFUNDED: "refunded",
    ReturnStatus.UNPAID: "to be paid",
    ReturnStatus.ENDED: "not paid",
}
_NEXT_STEP = {
    ReturnStatus.COMPLETED: "A receipt with an entry for your calendar comes by e-mail.",
    ReturnStatus.PENDING: (
        "This page reloads by itself. You can also close it: we send you an e-mail when the payment is confirmed. "
        "There is no need to pay again."
    ),
    ReturnStatus.REFUNDED: "We send you an e-mail with the amount and the reason.",
    ReturnStatus.ENDED: "The e-mail about the cancellation says what is refunded.",
}
_STILL_PENDING = (
    "This takes longer than usual. We send you an e-mail when the payment is confirmed; there is no need to pay again. "
    "Reload this page to see the current state."
)
_LATE_PAYMENT = (
    "If a payment of yours still arrives, you get the booking if it is still available, else the full amount is "
    "refunded. We send you an e-mail in both cases."
)
_PAYABLE = frozenset({ReturnStatus.UNPAID, ReturnStatus.FAILED})


def _outcome(_name: str, text: str) -> Outcome:
    try:
        return Outcome(text)
    except ValueError:
        raise PaymentNotFound from None


OutcomeInPath = Annotated[Outcome, Converter("", {}, _outcome, raises=PaymentNotFound)]


@get(
    "/payment/return/{token:str}/{outcome:str}",
    operation_id="showPaymentReturn",
    include_in_schema=False,
    opt=public,
    media_type=MediaType.HTML,
)
async def show_return(
    request: Request[Any, Any, Any],
    token: FromPath[str],
    outcome: FromPath[OutcomeInPath],
    show_payment_return: Inject[ShowPaymentReturn],
) -> Response[Any]:
    """Gateways add query parameters. `look` is added by this page: the number of its reloads."""
    parameters = dict(request.query_params.items())
    look = _look(parameters.get("look", ""))
    found = await show_payment_return(token, outcome, parameters, look=look)
    if found.redirect_to is not None:
        return Redirect(found.redirect_to, status_code=303)
    return Response(page_of(found, look=look, query=request.scope["query_string"].decode("ascii")), headers=HEADERS)


ROUTES = [show_return]


def page_of(found: PaymentReturn, *, look: int, query: str) -> str:
    """The page in HTML. It reloads itself while a payment is expected, after the delays in `RELOADS`."""
    reload = None
    if found.status is ReturnStatus.PENDING and look < len(RELOADS):
        reload = Reload(RELOADS[look], with_parameters(f"?{query}", {"look": str(look + 1)}))
    return page(
        _COPY[found.status],
        facts=_facts(found),
        next_step=_next_action(found, reloads=reload is not None),
        links=_links(found),
        reload=reload,
    )


def page(
    copy: PageCopy,
    *,
    facts: Mapping[str, str] | None = None,
    next_step: str | None = None,
    links: Mapping[str, str] | None = None,
    reload: Reload | None = None,
) -> str:
    page = template("payment_return.html", trimmed=True)
    return page.render(copy=copy, facts=facts, next_step=next_step, links=links, reload=reload, style=_PAGE_STYLE)


def payment_summary(payment: PaymentOverview) -> dict[str, str]:
    """Title and times of the booking, in the buyer's time zone, with the name of the zone."""
    zone = reading_zone(payment.timezone)
    return {
        "What": clean_line(payment.title, at_most=_LONGEST_TITLE),
        "When": when(payment.starts_at, payment.ends_at, zone),
    }


def _facts(found: PaymentReturn) -> dict[str, str]:
    payment = found.payment
    paid = _PAYMENT[found.status]
    if found.status is ReturnStatus.ENDED and payment.payment_status not in UNPAID:
        paid = "paid"
    return {
        **payment_summary(payment),
        "Booking": payment.reference,
        "Payment": f"{payment.price}, {paid}",
    }


def _next_action(found: PaymentReturn, *, reloads: bool) -> str:
    payment = found.payment
    if found.status in _PAYABLE:
        if payment.hold_until is None:
            return "You can still pay."
        until = instant(payment.hold_until, reading_zone(payment.timezone))
        return f"The booking is held for you until {until}. Without a payment by then it ends."
    if found.status is ReturnStatus.PENDING and not reloads:
        return _STILL_PENDING
    if found.status is ReturnStatus.ENDED and payment.payment_status in UNPAID:
        return _LATE_PAYMENT
    return _NEXT_STEP[found.status]


def _links(found: PaymentReturn) -> dict[str, str]:
    pay = usable_link(found.payment.checkout_url) if found.status in _PAYABLE else None
    links = {"Pay now": pay, "View or cancel your booking": found.booking_url}
    if found.status in {ReturnStatus.ENDED, ReturnStatus.REFUNDED}:
        links = {"View your booking": found.booking_url}
    return {text: url for text, url in links.items() if url is not None}


def _look(text: str) -> int:
    """The number of reloads. An invalid one counts as the maximum: the page does not reload again."""
    if not text:
        return 0
    return min(int(text), len(RELOADS)) if text.isascii() and text.isdecimal() and len(text) <= 4 else len(RELOADS)
