"""The way back from paying over HTTP: the addresses that each gateway is given, and what is behind them."""

import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import httpx
import pytest

from infrastructure.embedded import EmbeddedPostgres
from infrastructure.settings import Settings
from interfaces.http.app import create_app
from interfaces.http.log_redaction import shown
from tests.conftest import a_client
from tests.payments import razorpay_harness, stripe_harness
from tests.payments.gateway_harness import Booked, PaymentsHarness
from tests.support.appointments import a_price_for, free_hour, uuid_of, wanted
from tests.support.databases import a_database
from tests.support.http import serving
from tests.support.load import Member
from tests.support.people import People, Person
from tests.support.settings import settings_for

PUBLIC = "http://127.0.0.1:5000"
BACK, OTHER = "https://app.example.com/back?lang=en", "https://shop.example/thanks"
SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "x-robots-tag": "noindex",
}


async def opened(api: httpx.AsyncClient, address: str) -> str:
    """The page behind an address of ours, as a browser gets it."""
    answer = await api.get(address.removeprefix(PUBLIC), headers={"Accept": "text/html,*/*;q=0.8"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert {name: answer.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    return answer.text


async def redirected(api: httpx.AsyncClient, address: str) -> str:
    answer = await api.get(address.removeprefix(PUBLIC))
    assert answer.status_code == 303, answer.text
    location: str = answer.headers["location"]
    return location


async def books(gateway_harness: PaymentsHarness, person: Member, **body: Any) -> Booked:
    answer = await gateway_harness.post("/bookings", {"event_id": await gateway_harness.event()} | body, by=person)
    assert answer.status_code == 201, answer.text
    booked: Booked = answer.json()
    return booked


async def require_nothing_private(page: str, database: asyncpg.Connection) -> None:
    """Neither names nor addresses of accounts, nor what the gateways' secrets begin with."""
    for row in await database.fetch("SELECT name, email FROM users"):
        assert row["name"] not in page
        assert row["email"] not in page
    assert "sk_test" not in page
    assert "whsec" not in page


# Stripe and Razorpay


async def test_stripe_checkout_has_a_success_and_a_cancel_address(
    make_settings: Callable[..., Settings], database: asyncpg.Connection
) -> None:
    """Cancelled: the same checkout again. Paid: waiting until the webhook has come. `return_url`: the front end."""
    async with stripe_harness.open_gateway_harness(
        make_settings, database, oauth_redirect_allowlist=f"{BACK},{OTHER}"
    ) as gateway_harness:
        person = await gateway_harness.person()
        booked = await books(gateway_harness, person)
        session = gateway_harness.session_of(booked)
        for address in (session["success_url"], session["cancel_url"]):
            assert address.startswith(f"{PUBLIC}/payment/return/")
            assert "{" not in address, "Stripe fills in what is in braces"

        page = await opened(gateway_harness.api, session["cancel_url"])
        assert "We have received no payment" in page
        assert f'href="{session["url"]}"' in page
        await require_nothing_private(page, database)

        gateway_harness.stripe.pays(session)
        page = await opened(gateway_harness.api, session["success_url"])
        assert "We are waiting for the confirmation of the payment" in page
        assert 'http-equiv="refresh" content="3; url=?look=1"' in page
        await gateway_harness.process_webhooks()
        page = await opened(gateway_harness.api, f"{session['success_url']}?look=1")
        assert "Your booking is paid and confirmed" in page
        assert "http-equiv" not in page
        await require_nothing_private(page, database)

        booked = await books(gateway_harness, person, return_url=BACK)
        session, reference = gateway_harness.session_of(booked), booked["booking"]["booking_reference"]
        expected = f"{BACK}&booking_reference={reference}&status="
        assert await redirected(gateway_harness.api, session["cancel_url"]) == f"{expected}unpaid"
        gateway_harness.stripe.pays(session)
        assert await redirected(gateway_harness.api, session["success_url"]) == f"{expected}pending"
        await gateway_harness.process_webhooks()
        assert await redirected(gateway_harness.api, session["success_url"]) == f"{expected}completed"


async def test_razorpay_link_has_one_callback_address(
    make_settings: Callable[..., Settings], database: asyncpg.Connection
) -> None:
    """What Razorpay signs is waited for, what it does not sign is no payment; the webhook completes it."""
    async with razorpay_harness.open_gateway_harness(
        make_settings, database, oauth_redirect_allowlist=f"{BACK},{OTHER}", payment_return_url=OTHER
    ) as gateway_harness:
        person = await gateway_harness.person()
        booked = await books(gateway_harness, person)
        reference = booked["booking"]["booking_reference"]
        [link] = gateway_harness.razorpay.links.values()
        gateway_harness.razorpay.pays_link(booked["payment_url"])
        address = gateway_harness.razorpay.sends_back(booked["payment_url"])
        expected = f"{OTHER}?booking_reference={reference}&status="
        assert await redirected(gateway_harness.api, link["callback_url"]) == f"{expected}unpaid"
        assert await redirected(gateway_harness.api, address.replace("pay_", "pay_x")) == f"{expected}unpaid"
        assert await redirected(gateway_harness.api, address) == f"{expected}pending"
        await gateway_harness.process_webhooks()
        assert await redirected(gateway_harness.api, address) == f"{expected}completed"

        booked = await books(gateway_harness, person, return_url=BACK)
        gateway_harness.razorpay.pays_link(booked["payment_url"])
        address = gateway_harness.razorpay.sends_back(booked["payment_url"])
        expected = f"{BACK}&booking_reference={booked['booking']['booking_reference']}&status=pending"
        assert await redirected(gateway_harness.api, address) == expected


async def test_unavailable_gateway_keeps_the_return_address(
    make_settings: Callable[..., Settings], database: asyncpg.Connection
) -> None:
    """The address is kept with the payment before the gateway is asked, and another one for the same checkout."""
    async with stripe_harness.open_gateway_harness(
        make_settings, database, oauth_redirect_allowlist=f"{BACK},{OTHER}"
    ) as gateway_harness:
        person = await gateway_harness.person()
        gateway_harness.stripe.trouble("500")
        booked = await books(gateway_harness, person, return_url=BACK)
        assert booked["payment_url"] is None
        gateway_harness.stripe.mend()
        path = f"/bookings/{booked['booking']['id']}/pay"
        url = (await gateway_harness.post(path, by=person)).json()["payment_url"]
        session = gateway_harness.session_of(booked)
        assert (await redirected(gateway_harness.api, session["cancel_url"])).startswith(BACK)
        answer = await gateway_harness.post(path, {"return_url": OTHER}, by=person)
        assert answer.json() == {"payment_url": url}
        assert len(gateway_harness.stripe.sessions) == 1
        assert (await redirected(gateway_harness.api, session["cancel_url"])).startswith(OTHER)
        answer = await gateway_harness.post(path, {}, by=person)
        assert (await redirected(gateway_harness.api, session["cancel_url"])).startswith(OTHER), (
            "named before, so it stays"
        )


# The sandbox, for all contracts


@pytest.fixture(scope="module")
async def sandbox_url(postgres: EmbeddedPostgres) -> str:
    return await a_database(postgres)


@pytest.fixture(scope="module")
async def sandbox(
    sandbox_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    """The API with the sandbox as its gateway; no worker."""
    settings = settings_for(
        sandbox_url,
        redis_url,
        tmp_path_factory.mktemp("data"),
        payment_provider="sandbox",
        oauth_redirect_allowlist=f"{BACK},{OTHER}",
        booking_url_template="https://app.example.com/b/{reference}",
        unpaid_holds_per_account="100",
        unpaid_holds_per_coach="100",
    )
    async with serving(create_app(settings)) as address, a_client(address) as client:
        yield client


@pytest.fixture(scope="module")
async def guest(sandbox: httpx.AsyncClient) -> Person:
    return await People(sandbox).user()


@pytest.fixture(scope="module")
async def host(sandbox: httpx.AsyncClient) -> Person:
    return await People(sandbox).facilitator()


@pytest.fixture(scope="module")
async def coach(sandbox_url: str, host: Person) -> str:
    uuid = await uuid_of(host)
    await a_price_for(sandbox_url, uuid)
    return uuid


def links(page: str) -> dict[str, str]:
    return {text: url for url, text in re.findall(r'<a href="([^"]*)">([^<]*)</a>', page)}


async def test_sandbox_page_shows_the_deadline_and_links_back(
    sandbox: httpx.AsyncClient, guest: Person, host: Person
) -> None:
    """Date, time left and a way back without paying; after paying a way to the booking."""
    event = await host.creates_event(title="Tea & <b>Talk</b>", price=12.5, currency="EUR")
    answer = (await guest.post("/bookings", {"event_id": event["id"]})).json()
    path = answer["payment_url"].removeprefix(PUBLIC)
    page = (await sandbox.get(path)).text
    day = event["start_datetime"][:4]
    assert re.search(rf"<dd>[A-Z][a-z]+day, \d+ [A-Z][a-z]+ {day}, \d\d:\d\d to [^<]*\d\d:\d\d UTC</dd>", page)
    assert re.search(r'<dd id="time-left">(29|30) minutes, until [^<]+ UTC</dd>', page)
    assert answer["booking"]["booking_reference"] in page
    assert "Tea &amp; &lt;b&gt;Talk&lt;/b&gt;" in page
    back = links(page)["Go back without paying"]
    assert "We have received no payment" in await opened(sandbox, back)
    assert links(await opened(sandbox, back))["Pay now"] == answer["payment_url"]

    assert (await sandbox.post(f"{path}/paid")).headers["location"] == path
    page = (await sandbox.get(path)).text
    assert "Go back without paying" not in page
    page = await opened(sandbox, links(page)["Continue"])
    assert "We are waiting for the confirmation of the payment" in page
    reference = answer["booking"]["booking_reference"]
    assert links(page)["View or cancel your booking"] == f"https://app.example.com/b/{reference}"


async def test_ended_hold_cannot_be_paid_at_the_sandbox(
    sandbox: httpx.AsyncClient, guest: Person, host: Person, sandbox_url: str
) -> None:
    """The page has no button from the moment on, also before the worker has closed the checkout."""
    event = await host.creates_event()
    answer = (await guest.post("/bookings", {"event_id": event["id"]})).json()
    connection = await asyncpg.connect(sandbox_url)
    await connection.execute("UPDATE bookings SET hold_until = now() WHERE id = $1", answer["booking"]["id"])
    await connection.close()
    page = (await sandbox.get(answer["payment_url"].removeprefix(PUBLIC))).text
    assert "can no longer be paid" in page
    assert "<button" not in page
    assert "This booking has ended" in await opened(sandbox, links(page)["Go back"])


async def test_client_of_a_coach_returns_to_the_front_end(
    sandbox: httpx.AsyncClient, guest: Person, coach: str
) -> None:
    """A single appointment, and each one of a series: the reference is the appointment's id."""
    single = await guest.post("/booking", wanted(coach, free_hour(), return_url=BACK))
    rule = "FREQ=DAILY;COUNT=2"
    series = await guest.post("/booking/recurring", wanted(coach, free_hour(), rrule=rule, return_url=OTHER))
    assert (single.status_code, series.status_code) == (201, 201), series.text
    for booked, address in ((single.json(), BACK), *((each, OTHER) for each in series.json()["bookings"])):
        page = (await sandbox.get(booked["payment_url"].removeprefix(PUBLIC))).text
        mark = "&" if "?" in address else "?"
        expected = f"{address}{mark}booking_reference={booked['id']}&status=unpaid"
        assert await redirected(sandbox, links(page)["Go back without paying"]) == expected
    path = f"/booking/{single.json()['id']}/pay"
    assert (await guest.post(path, {"return_url": OTHER})).status_code == 200
    page = (await sandbox.get(single.json()["payment_url"].removeprefix(PUBLIC))).text
    assert (await redirected(sandbox, links(page)["Go back without paying"])).startswith(OTHER)


EVIL = "https://app.example.com.evil.example/back?lang=en"


async def test_return_url_that_is_not_allowed_is_rejected_in_each_contract_shape(
    sandbox: httpx.AsyncClient, guest: Person, host: Person, coach: str
) -> None:
    """Before anything is booked, also where an address is given for a booking that exists."""
    event = (await host.creates_event())["id"]
    ours = (await guest.post("/bookings", {"event_id": event})).json()["booking"]["id"]
    time = (await guest.post("/booking", wanted(coach, free_hour()))).json()["id"]
    other = (await host.creates_event())["id"]
    hour = free_hour()
    asked = [
        ("/bookings", {"event_id": other}),
        ("/api/bookings", {"event_id": other}),
        ("/api/bookings", {"session_id": other}),
        (f"/bookings/{ours}/pay", {}),
        ("/booking", wanted(coach, hour)),
        ("/booking/recurring", wanted(coach, hour, rrule="FREQ=DAILY;COUNT=2")),
        (f"/booking/{time}/pay", {}),
    ]
    for path, body in asked:
        for address in (EVIL, f"{BACK}#top", "javascript:alert(1)", ""):
            answer = await guest.post(path, body | {"return_url": address})
            refused = answer.json()
            assert (answer.status_code, refused["code"]) == (400, "validation_error"), answer.text
            assert "return_url" in answer.text
            if path.startswith("/booking/") or path == "/booking":
                assert "return_url" in str(refused["detail"])
            elif "event_id" in body and path.startswith("/api"):
                assert refused["error"] == "Bad Request"
                assert "return_url" in refused["message"]
            else:
                assert "return_url" in refused["details"] or "return_url" in str(refused["message"])
        answer = await guest.post(path, body | {"return_url": 5})
        assert answer.status_code == 400, answer.text
    assert (await guest.post("/bookings", {"event_id": other})).status_code == 201, "nothing was booked"
    assert (await guest.post("/booking", wanted(coach, hour))).status_code == 201, "nothing was booked"


async def test_same_key_with_another_return_url_is_another_request(guest: Person, host: Person) -> None:
    """`return_url` is a part of the request as any other field is; without a payment it is checked all the same."""
    event = (await host.creates_event(price=0))["id"]
    body = {"event_id": event, "return_url": BACK}
    first = await guest.post("/bookings", body, key="a-key-of-the-guest")
    again = await guest.post("/bookings", body, key="a-key-of-the-guest")
    other = await guest.post("/bookings", body | {"return_url": OTHER}, key="a-key-of-the-guest")
    assert (first.status_code, again.status_code, other.status_code) == (201, 201, 422)
    assert first.json() == again.json()


@pytest.mark.parametrize(
    "path", ["/payment/return/x/success", f"/payment/return/{'A' * 43}/cancelled", f"/payment/return/{'A' * 43}/other"]
)
async def test_unknown_return_address_is_not_found(sandbox: httpx.AsyncClient, path: str) -> None:
    """A browser gets the page for errors, a program JSON."""
    page = await sandbox.get(path, headers={"Accept": "text/html"})
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert (await sandbox.get(path)).status_code == 404


async def test_return_addresses_of_an_earlier_version_show_a_page(sandbox: httpx.AsyncClient) -> None:
    """Stripe keeps a checkout open for a day, with the addresses that it was given."""
    assert "waiting for the confirmation" in await opened(sandbox, "/payment/stripe/back/paid")
    assert "Not paid yet" in await opened(sandbox, "/payment/stripe/back/unpaid")


async def test_only_the_buyer_can_set_the_return_url(guest: Person, host: Person, sandbox: httpx.AsyncClient) -> None:
    """A stranger's request for the link changes nothing."""
    event = (await host.creates_event())["id"]
    booked = (await guest.post("/bookings", {"event_id": event, "return_url": BACK})).json()
    stranger = await People(sandbox).user()
    path = f"/bookings/{booked['booking']['id']}/pay"
    assert (await stranger.post(path, {"return_url": OTHER})).status_code == 403
    page = (await sandbox.get(booked["payment_url"].removeprefix(PUBLIC))).text
    assert (await redirected(sandbox, links(page)["Go back without paying"])).startswith(BACK)


def test_return_address_is_redacted_in_logs() -> None:
    """Who reads a log does not find the page of a payment."""
    assert shown("/payment/return/abc/success") == "/payment/return/…"
