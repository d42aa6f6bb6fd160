"""Logging in on the pages, booking, and the pages of one's own bookings."""

import re
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pyotp
import pytest
from redis.asyncio import Redis

from infrastructure.settings import Settings
from interfaces.http.app import WEB_ROUTES, create_app
from interfaces.http.errors import PAGE
from interfaces.http.web.login_pages import next_page
from interfaces.http.web.page_sessions import PageCookies, with_any_session, with_session
from tests.support.http import serving
from tests.support.people import People, Person
from tests.web.test_event_pages import event_of
from tests.web.visitors import Visitor, visiting


@pytest.fixture
async def visitor(shared_api: httpx.AsyncClient) -> AsyncIterator[Visitor]:
    async with visiting(shared_api) as visitor:
        yield visitor


@pytest.fixture
async def client(visitor: Visitor, shared_people: People) -> Person:
    """Logged in as this account."""
    person = await shared_people.user()
    assert (await visitor.log_in(person)).status_code == 303
    return person


async def booked(visitor: Visitor, facilitator: Person, **changes: Any) -> str:
    """The address of a new booking."""
    event = await event_of(facilitator, **changes)
    path = f"/book/events/{event['id']}"
    answer = await visitor.send(path, path, notes="I bring a mat")
    assert answer.status_code == 303, answer.text
    address: str = answer.headers["location"]
    return address


# Sessions


async def test_log_in_sets_a_cookie_that_scripts_cannot_read_and_leads_back(
    visitor: Visitor, shared_people: People
) -> None:
    person = await shared_people.user()
    answer = await visitor.log_in(person, "/log-in?next=/book/events/7")
    assert (answer.status_code, answer.headers["location"]) == (303, "/book/events/7")
    (cookie,) = [each for each in answer.headers.get_list("set-cookie") if each.startswith("session=")]
    assert {part.strip().lower() for part in cookie.split(";")[1:]} >= {"path=/", "httponly", "samesite=lax"}
    assert "My bookings" in await visitor.page("/book")


async def test_session_of_the_pages_is_in_the_list_of_sessions_and_ends_like_every_login(
    visitor: Visitor, client: Person
) -> None:
    listed = (await client.get("/auth/sessions")).json()["sessions"]
    assert len(listed) == 2, "the one of the test, and the one of the page"
    [of_page] = [each["id"] for each in listed if not each["current"]]
    assert (await client.delete(f"/auth/sessions/{of_page}")).status_code == 204
    assert (await visitor.api.get("/me")).headers["location"] == "/log-in?next=%2Fme"
    assert "Log in" in await visitor.page("/book")


async def test_log_in_starts_a_new_session_whatever_cookies_the_browser_has(
    visitor: Visitor, shared_people: People, client: Person
) -> None:
    """A stranger cannot prepare a cookie, and with it a session or a form token, for the account that logs in."""
    before = visitor.api.cookies["session"]
    prepared = await form_token(visitor)
    assert (await visitor.log_in(await shared_people.user())).status_code == 303
    assert visitor.api.cookies["session"] != before
    assert await form_token(visitor) != prepared
    assert (await visitor.api.post("/log-out", data={"form_token": prepared})).status_code == 403


async def test_log_out_ends_the_session(visitor: Visitor, client: Person) -> None:
    token = visitor.api.cookies["session"]
    answer = await visitor.send("/me", "/log-out")
    assert (answer.status_code, answer.headers["location"]) == (303, "/book")
    assert "session" not in visitor.api.cookies
    again = await client.api.get("/profile", headers={"Authorization": f"Bearer {token}"})
    assert again.status_code == 401


@pytest.mark.parametrize(("email", "password"), [("ada@example.com", "wrong"), ("no address", "x"), ("", "")])
async def test_wrong_password_is_said_without_saying_which_part_is_wrong(
    visitor: Visitor, email: str, password: str
) -> None:
    answer = await visitor.send("/log-in", "/log-in", email=email, password=password)
    assert answer.status_code == 400
    assert "The e-mail address or the password is wrong." in answer.text
    assert "session" not in visitor.api.cookies


async def test_second_factor_is_asked_for(visitor: Visitor, shared_people: People) -> None:
    person = await shared_people.user()
    secret = (await person.post("/auth/factors/totp", {"name": "Phone", "password": "password123"})).json()
    code = pyotp.TOTP(secret["secret"]).now()
    confirmed = await person.post(f"/auth/factors/totp/{secret['id']}/confirm", {"code": code})
    assert confirmed.status_code in {200, 201}, confirmed.text
    asked = await visitor.log_in(person)
    assert asked.status_code == 200
    assert "session" not in visitor.api.cookies
    hidden = dict(re.findall(r'name="(\w+)" value="([^"]*)"', asked.text))
    wrong = await visitor.api.post("/log-in/second-factor", data=hidden | {"code": "000000"})
    assert wrong.status_code == 400
    assert "This code is not valid" in wrong.text
    right = {**hidden, "code": confirmed.json()["recovery_codes"][0]}
    assert (await visitor.api.post("/log-in/second-factor", data=right)).status_code == 303
    assert "My bookings" in await visitor.page("/me")
    late = await visitor.api.post("/log-in/second-factor", data={**right, "ticket": "x"})
    assert late.status_code == 403, "the form of a visitor without a session, sent in one"


async def test_sign_up_makes_a_client_and_logs_in(visitor: Visitor, shared_database: asyncpg.Connection) -> None:
    fields = {"name": "Nina <b>", "email": "nina@example.com", "password": "a long password"}
    wrong = await visitor.send("/sign-up", "/sign-up", **fields | {"email": "nina", "password": "x"})
    assert wrong.status_code == 400
    assert 'value="Nina &lt;b&gt;"' in wrong.text, "what was entered stays, but for the password"
    answer = await visitor.send("/sign-up?next=/book", "/sign-up", **fields)
    assert (answer.status_code, answer.headers["location"]) == (303, "/book")
    assert await shared_database.fetchval("SELECT role FROM users WHERE email = 'nina@example.com'") == "user"
    await visitor.send("/me", "/log-out")
    taken = await visitor.send("/sign-up", "/sign-up", **fields)
    assert "There is an account with this e-mail address" in taken.text


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/book",
        "//evil.example/me",
        "/\\evil.example",
        "/book//evil",
        "javascript:1",
        "/api",
        "",
        "/m",
        "/me/../docs",
        "//[",
        "/me/\r\nX: y",
        "/me?" + "a" * 300,
        "/mé",
    ],
)
def test_log_in_leads_to_no_other_site(target: str) -> None:
    assert next_page(target) == "/me"


def test_log_in_leads_to_pages_of_ours() -> None:
    for target in ("/book", "/book/events/3", "/me/bookings/3", "/book?q=a"):
        assert next_page(target) == target


def test_cookies_are_bound_to_the_host_where_it_is_https() -> None:
    secure, local = (PageCookies(is_secure, timedelta(hours=1)) for is_secure in (True, False))
    cookie = secure.set_session("token")
    assert (cookie.key, cookie.secure, cookie.path, cookie.domain) == ("__Host-session", True, "/", None)
    assert (local.session, local.set_session("x").secure) == ("session", False)


# Booking


async def test_free_event_is_booked_and_cancelled(visitor: Visitor, client: Person, john: Person) -> None:
    address = await booked(visitor, john, title="Morning", price=0)
    text = await visitor.page(address)
    for shown in ("Morning", "Booked", "I bring a mat", "Nothing is paid, so nothing is refunded."):
        assert shown in text
    assert "Morning" in (await visitor.page("/me")).partition("Past and cancelled")[0]
    answer = await visitor.send(address, f"{address}/cancel")
    assert (answer.status_code, answer.headers["location"]) == (303, address)
    assert "Cancelled" in await visitor.page(address)
    assert "Morning" in (await visitor.page("/me")).partition("Past and cancelled")[2]
    again = await visitor.api.post(f"{address}/cancel", data={"form_token": await form_token(visitor)})
    assert again.status_code == 400
    assert "This booking is cancelled already." in again.text


async def test_refund_is_shown_before_the_cancellation(
    visitor: Visitor, client: Person, john: Person, shared_database: asyncpg.Connection
) -> None:
    policy = [{"hours_before": 24, "percent": 50}]
    address = await booked(visitor, john, price=40, currency="EUR", refund_policy=policy)
    before = await visitor.page(address)
    assert "to be paid" in before
    number = int(address.rpartition("/")[2])
    await shared_database.execute("UPDATE bookings SET payment_status = 'completed' WHERE id = $1", number)
    await shared_database.execute("UPDATE payments SET status = 'completed' WHERE booking_id = $1", number)
    terms = "You have paid €40.00. If you cancel now, €20.00 is refunded."
    assert terms in await visitor.page(address)
    old_form = {"form_token": await form_token(visitor), "refund": _refund(before)}
    changed = await visitor.api.post(f"{address}/cancel", data=old_form)
    assert changed.status_code == 409
    assert "The refund has changed since you opened this page." in changed.text
    assert terms in changed.text
    assert "Booked" in await visitor.page(address), "nothing is cancelled with another refund than the one shown"
    new_form = old_form | {"refund": _refund(changed.text)}
    assert (await visitor.api.post(f"{address}/cancel", data=new_form)).status_code == 303
    assert "Cancelled" in await visitor.page(address)


def _refund(text: str) -> str:
    """What the form of a cancellation shows."""
    found = re.search(r'name="refund" value="([^"]+)"', text)
    assert found
    return found[1]


async def test_payment_on_site_has_no_link(visitor: Visitor, client: Person, john: Person) -> None:
    address = await booked(visitor, john, price=40)
    answer = await visitor.send(address, f"{address}/pay")
    assert answer.status_code == 200
    assert "Please pay on site." in answer.text


async def test_refused_booking_says_why(visitor: Visitor, client: Person, john: Person) -> None:
    event = await event_of(john, price=0)
    path = f"/book/events/{event['id']}"
    await visitor.send(path, path)
    again = await visitor.send(path, path)
    assert again.status_code == 400
    assert "You have booked this event already." in again.text


# Access


def test_every_page_states_who_may_open_it() -> None:
    """Pages are public or need a session; and each form is checked by the hook that finds the mark."""
    for route in WEB_ROUTES:
        if str(route.operation_id) == "getAsset":
            continue
        assert PAGE in route.opt, route.operation_id
        is_guarded = any(guard in (with_session, with_any_session) for guard in route.guards or ())
        assert is_guarded is not bool(route.opt.get("public")), route.operation_id


async def form_token(visitor: Visitor) -> str:
    found = re.search(r'name="form_token" value="([^"]+)"', await visitor.page("/me"))
    assert found
    return found[1]


FORMS = [
    "/log-in",
    "/log-in/second-factor",
    "/sign-up",
    "/log-out",
    "/book/events/{event}",
    "/me/bookings/{booking}/pay",
    "/me/bookings/{booking}/cancel",
]


def test_every_form_is_tried_below() -> None:
    paths = {path for route in WEB_ROUTES if "POST" in route.http_methods for path in route.paths}
    assert {re.sub(r"\{(\w+)_id:str\}", r"{\1}", path) for path in paths} == set(FORMS)


async def test_form_without_its_token_is_refused_and_changes_nothing(
    visitor: Visitor, client: Person, john: Person, shared_api: httpx.AsyncClient, shared_people: People
) -> None:
    """Without a token, with one of another visitor, and with JSON instead of a form."""
    address = await booked(visitor, john, price=40)
    event = await event_of(john)
    other = await shared_people.user()
    async with visiting(shared_api) as stranger:
        await stranger.log_in(other)
        foreign = await form_token(stranger)
    for form in FORMS:
        path = form.format(event=event["id"], booking=address.rpartition("/")[2])
        for data in ({}, {"form_token": ""}, {"form_token": foreign}):
            answer = await visitor.api.post(path, data=data)
            assert answer.status_code == 403, (path, data)
            assert "This form is too old." in answer.text
        assert (await visitor.api.post(path, json={"form_token": await form_token(visitor)})).status_code == 403
    async with visiting(shared_api) as anonymous:
        for form in FORMS:
            path = form.format(event=event["id"], booking=address.rpartition("/")[2])
            assert (await anonymous.api.post(path)).status_code == 403, "before the session is looked up"
    assert "Booked" in await visitor.page(address)
    assert len((await client.get("/bookings")).json()["bookings"]) == 1


async def test_pages_of_a_client_need_a_session(visitor: Visitor, client: Person, john: Person) -> None:
    """Also a form with its token, once the session has ended."""
    event = await event_of(john)
    token = {"form_token": await form_token(visitor)}
    await client.post("/auth/logout", {"everywhere": True})
    for path in ("/me", "/me/bookings/1", "/me?cursor=x"):
        answer = await visitor.api.get(path)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/log-in?next=%2Fme")
    for path, back in (
        (f"/book/events/{event['id']}", f"%2Fbook%2Fevents%2F{event['id']}"),
        ("/me/bookings/1/cancel", "%2Fme"),
    ):
        answer = await visitor.api.post(path, data=token)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/log-in?next={back}")


async def test_browsers_keep_no_page(visitor: Visitor, client: Person, john: Person) -> None:
    address = await booked(visitor, john)
    for path in ("/log-in", "/sign-up", "/me", address, "/book", "/me/bookings/0"):
        assert (await visitor.api.get(path)).headers["cache-control"] == "no-store", path


async def test_pages_count_in_the_limits_of_the_api(
    make_shared_settings: Callable[..., Settings], redis_url: str
) -> None:
    """Wrong passwords, whichever way they come."""
    async with Redis.from_url(redis_url) as redis:
        await redis.flushall()
    app = create_app(make_shared_settings(rate_limit_enabled="true"))
    async with serving(app) as address, httpx.AsyncClient(base_url=address) as api, visiting(api) as visitor:
        person = await People(api).user()
        for attempt in range(10):
            wrong = {"email": person.email, "password": "wrong password"}
            if attempt % 2:
                answer = await api.post("/auth/login", json=wrong)
                assert answer.status_code == 401
            else:
                answer = await visitor.send("/log-in", "/log-in", **wrong)
                assert answer.status_code == 400
        assert (await api.post("/auth/login", json=wrong)).status_code == 429
        refused = await visitor.log_in(person)
        assert refused.status_code == 429
        assert 0 < int(refused.headers["retry-after"]) <= 3600
        assert "There were too many attempts." in refused.text


async def test_pages_store_no_answer_for_an_idempotency_key(visitor: Visitor, client: Person, john: Person) -> None:
    """A page has form tokens, and a stored answer would come without its cookie."""
    address = await booked(visitor, john, price=40)
    for _ in range(2):
        answer = await visitor.api.post(
            f"{address}/pay", data={"form_token": await form_token(visitor)}, headers={"Idempotency-Key": "k" * 20}
        )
        assert answer.status_code == 200
        assert "idempotency-replayed" not in answer.headers


async def test_booking_of_another_account_is_neither_shown_nor_cancelled_nor_paid(
    visitor: Visitor, client: Person, john: Person, shared_api: httpx.AsyncClient, shared_people: People
) -> None:
    """Its facilitator sees it, but cannot cancel it here."""
    address = await booked(visitor, john, price=0, title="Not yours")
    others = [await shared_people.user(), await shared_people.facilitator(), john]
    for person in others:
        async with visiting(shared_api) as other:
            await other.log_in(person)
            shown = await other.api.get(address)
            assert (shown.status_code == 200) is (person is john)
            assert ("Not yours" in shown.text) is (person is john)
            assert "/cancel" not in shown.text
            token = await form_token(other)
            for action in ("cancel", "pay"):
                answer = await other.api.post(f"{address}/{action}", data={"form_token": token})
                assert answer.status_code == 403, action
    assert "Booked" in await visitor.page(address)


async def test_api_does_not_read_the_cookie_and_pages_take_no_api_key(visitor: Visitor, client: Person) -> None:
    assert (await visitor.api.get("/profile")).status_code == 401
    assert (await visitor.api.post("/bookings", json={"event_id": 1})).status_code == 401
    assert (await visitor.api.get("/bookings")).status_code == 401
    made = await client.post("/api-keys", {"name": "Key", "scopes": ["bookings:read"]})
    async with httpx.AsyncClient(base_url=visitor.api.base_url, cookies={"session": made.json()["key"]}) as with_key:
        assert (await with_key.get("/me")).status_code == 303
