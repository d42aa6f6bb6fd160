"""What strangers learn of the objects of others: each operation answers them alike in every state of the object.

The operations are those of the authorisation matrix whose rule is about an owner, called by another client and by
another facilitator. Public states are left out: a deleted event is found by no user.
"""

import re
from collections.abc import AsyncIterator
from functools import partial

import httpx
import pyotp
import pytest

from application.payments import checkout
from tests.support.appointments import in_status
from tests.support.authorisation import BOOKING_API, Account, rules
from tests.support.description_checks import named
from tests.support.people import PASSWORD
from tests.support.settings import settings_for
from tests.support.world import World, a_call, populated

ABOUT_AN_OWNER = {name: rule for name, rule in rules(BOOKING_API).items() if rule.is_about_an_owner}
STRANGERS = (Account.OTHER_CLIENT, Account.OTHER_FACILITATOR)

Parameters = dict[str, str]
States = dict[str, list[Parameters]]
"""By kind of `World`: the parameters of a path to each state."""


async def done(answer: httpx.Response) -> None:
    assert answer.status_code < 300, answer.text


async def every_event(world: World) -> AsyncIterator[Parameters]:
    """With a booking that is unpaid, paid, refunded, cancelled, cancelled with its event, and one that is over."""
    client, facilitator = world.people[Account.CLIENT], world.people[Account.FACILITATOR]
    unpaid, paid, refunded, cancelled, without_event, over = [await world.event(price=25) for _ in range(6)]
    for event in (paid, refunded):
        await done(await facilitator.post(f"/facilitator/bookings/{event['booking_id']}/payment"))
    await done(await facilitator.post(f"/bookings/{refunded['booking_id']}/refund"))
    await done(await client.post(f"/bookings/{cancelled['booking_id']}/cancel"))
    await done(await facilitator.post(f"/facilitator/events/{without_event['event_id']}/cancel"))
    await world.database.execute(
        "UPDATE events SET starts_at = now() - interval '2 hours', ends_at = now() - interval '1 hour' WHERE id = $1",
        int(over["event_id"]),
    )
    for event in (unpaid, paid, refunded, cancelled, without_event, over):
        yield event


async def every_appointment(world: World) -> AsyncIterator[Parameters]:
    """In every status, and one without its file."""
    client, coach = world.people[Account.CLIENT], world.people[Account.FACILITATOR]
    for status in ("pending", "confirmed", "completed", "cancelled"):
        booking_id = await in_status(status, client, coach, world.coach_uuid)
        yield await world.appointment() | {"booking_id": booking_id}
    without_file = await world.appointment()
    await done(await client.delete("/booking/{booking_id}/attachments/{attachment_id}".format(**without_file)))
    yield without_file


async def every_invitation(world: World) -> AsyncIterator[Parameters]:
    """A pending and a withdrawn one."""
    pending, withdrawn = await world.invitation(), await world.invitation()
    path = f"/facilitator/invitations/{withdrawn['invitation_id']}/cancel"
    await done(await world.people[Account.FACILITATOR].post(path))
    for invitation in (pending, withdrawn):
        yield invitation


@pytest.fixture(scope="module")
async def world(
    shared_database_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    settings = settings_for(
        shared_database_url, redis_url, tmp_path_factory.mktemp("data"), unpaid_holds_per_account="1000"
    )
    async with populated(settings, shared_database_url) as world:
        yield world


@pytest.fixture(scope="module")
async def states(world: World) -> States:
    every = {"event": every_event, "appointment": every_appointment, "invitation": every_invitation}
    return {kind: [state async for state in made(world)] for kind, made in every.items()}


async def answers(world: World, states: States, name: str, stranger: Account) -> set[tuple[int, str]]:
    """Status and code of the answers to one operation in every state."""
    operation, found = named(name), set()
    for parameters in states[world.kind_of(operation)]:
        call = a_call(operation, ABOUT_AN_OWNER[name], await world.other() | parameters)
        answer = await call.by(f"Bearer {world.people[stranger].access_token}")(world.api)
        found.add((answer.status_code, answer.json().get("code", "")))
    return found


@pytest.mark.parametrize("name", ABOUT_AN_OWNER)
async def test_strangers_get_one_answer_in_every_state(world: World, states: States, name: str) -> None:
    for stranger in STRANGERS:
        found = await answers(world, states, name, stranger)
        assert len(found) == 1, (stranger, found)
        assert {status for status, _ in found} <= {403, 404}


async def test_state_that_is_told_without_a_check_of_the_owner_is_noticed(
    world: World, states: States, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control."""
    monkeypatch.setattr(checkout, "require_owner", lambda *_, **__: None)
    assert len(await answers(world, states, "payBooking", Account.OTHER_CLIENT)) == 2


BODIES = {"renameFactor": {"name": "Mine", "password": PASSWORD}, "removeFactor": {"password": PASSWORD}}


async def test_credentials_of_others_are_not_told_from_unknown_ones(world: World) -> None:
    owner, stranger = world.people[Account.ADMIN_WITHOUT_PROFILE], world.people[Account.OTHER_CLIENT]
    key = (await owner.post("/api-keys", {"name": "mine", "scopes": ["profile:read"]})).json()["id"]
    login = (await owner.get("/auth/sessions")).json()["sessions"][0]["id"]
    enrolled = (await owner.post("/auth/factors/totp", {"name": "Phone", "password": PASSWORD})).json()
    factor, code = enrolled["id"], pyotp.TOTP(enrolled["secret"]).now()
    await done(await owner.post(f"/auth/factors/totp/{factor}/confirm", {"code": code}))
    unknown = "00000000-0000-4000-8000-000000000000"
    operations = {"revokeApiKey": key, "endLoginSession": login, "renameFactor": factor, "removeFactor": factor}
    for name, credential in operations.items():
        operation = named(name)
        path = re.sub("{.*}", "{}", operation.path)
        call = partial(world.api.request, operation.method, headers=stranger.headers, json=BODIES.get(name))
        foreign, missing = [await call(path.format(each)) for each in (credential, unknown)]
        assert foreign.status_code == missing.status_code == 404
        assert foreign.json()["code"] == missing.json()["code"]
