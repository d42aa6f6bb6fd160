"""Stripe's webhook, and where its checkout sends people back to."""

from typing import Any, Literal

from litestar import MediaType, Request, Response, get, post
from litestar.params import FromPath

from application.payments import TakeGatewayEvent
from interfaces.http.actor import public
from interfaces.http.core.payments import Received
from interfaces.http.injection import Given

TAGS = ["Contract D: payments"]

_SENTENCES = {
    "paid": "Thank you. As soon as the payment has reached us, a confirmation comes by mail.",
    "unpaid": "Nothing was paid. Your place is held for a while; the same link leads back to the checkout.",
}
_PAGE = '<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>Payment</title><p>{}</p></html>'
_POLICY = "default-src 'none'; frame-ancestors 'none'"


@post("/payment/stripe/webhook", operation_id="stripeWebhook", tags=TAGS, status_code=200, opt=public)
async def stripe_webhook(request: Request[Any, Any, Any], take_gateway_event: Given[TakeGatewayEvent]) -> Received:
    """Stripe reports; who cannot sign as it does, or signed more than five minutes ago, is refused."""
    await take_gateway_event("stripe", await request.body(), dict(request.headers))
    return Received("received")


@get(
    "/payment/stripe/back/{outcome:str}",
    operation_id="comeBackFromStripe",
    include_in_schema=False,
    opt=public,
    media_type=MediaType.HTML,
)
async def come_back(outcome: FromPath[Literal["paid", "unpaid"]]) -> Response[str]:
    """A page for people who come from the checkout. It settles nothing: that is the webhook's word."""
    return Response(_PAGE.format(_SENTENCES[outcome]), headers={"Content-Security-Policy": _POLICY})


ROUTES = [stripe_webhook, come_back]
