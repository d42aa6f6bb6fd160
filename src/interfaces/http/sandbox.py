"""The sandbox gateway's own page: what is bought, and two buttons. For people, so no description of the API has it."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from litestar import MediaType, Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect

from application.payments import PayAtSandbox
from interfaces.http.actor import public
from interfaces.http.injection import Given

_page = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True).get_template("sandbox.html")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"


@get(
    "/sandbox/pay/{order_id:str}",
    operation_id="showSandboxOrder",
    include_in_schema=False,
    opt=public,
    media_type=MediaType.HTML,
)
async def show_order(order_id: FromPath[str], pay_at_sandbox: Given[PayAtSandbox]) -> Response[str]:
    """Shows what is bought. Whoever has the address may pay, as at a real gateway."""
    order = await pay_at_sandbox.show(order_id)
    return Response(_page.render(order=order), headers={"Content-Security-Policy": _POLICY})


@post(
    "/sandbox/pay/{order_id:str}/paid",
    operation_id="payAtSandbox",
    include_in_schema=False,
    status_code=303,
    opt=public,
)
async def pay(order_id: FromPath[str], pay_at_sandbox: Given[PayAtSandbox]) -> Redirect:
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
async def decline(order_id: FromPath[str], pay_at_sandbox: Given[PayAtSandbox]) -> Redirect:
    """The button "Decline"."""
    await pay_at_sandbox.decide(order_id, "declined")
    return Redirect(f"/sandbox/pay/{order_id}", status_code=303)


ROUTES = [show_order, pay, decline]
