"""Stripe's webhook, and the return addresses of checkouts that earlier versions opened."""

from typing import Any, Literal

from litestar import MediaType, Request, Response, get, post
from litestar.params import FromPath

from application.payments.webhooks import ReceiveWebhook
from interfaces.http.authentication import public
from interfaces.http.booking_api.payments import Received
from interfaces.http.injection import Inject
from interfaces.http.web.payment_return import HEADERS, PageCopy, page

TAGS = ["Contract D: payments"]

_COPY = {
    "paid": PageCopy(
        "Waiting for the confirmation",
        "We are waiting for the confirmation of the payment. When it has arrived, we send you an e-mail.",
    ),
    "unpaid": PageCopy(
        "Not paid yet", "The booking is held for you for a while. The same link leads back to the checkout."
    ),
}


@post("/payment/stripe/webhook", operation_id="stripeWebhook", tags=TAGS, status_code=200, opt=public)
async def stripe_webhook(request: Request[Any, Any, Any], receive_webhook: Inject[ReceiveWebhook]) -> Received:
    """Receives Stripe's webhooks. Rejects requests with an invalid signature, or one older than five minutes."""
    await receive_webhook("stripe", await request.body(), dict(request.headers))
    return Received("received")


@get(
    "/payment/stripe/back/{outcome:str}",
    operation_id="comeBackFromStripe",
    include_in_schema=False,
    opt=public,
    media_type=MediaType.HTML,
)
async def come_back(outcome: FromPath[Literal["paid", "unpaid"]]) -> Response[str]:
    """The return address of checkouts that an earlier version opened. Stripe keeps them open for a day at most."""
    return Response(page(_COPY[outcome]), headers=HEADERS)


ROUTES = [stripe_webhook, come_back]
