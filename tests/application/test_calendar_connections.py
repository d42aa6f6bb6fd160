"""Rules of connecting and disconnecting a calendar."""

from dataclasses import replace
from datetime import timedelta

import pytest

from application.calendars.connections import MAX_CODE
from application.calendars.ports import Grant
from domain.accounts import User
from domain.calendars import (
    CalendarNotConfigured,
    CalendarNotConnected,
    CalendarUnavailable,
    ConsentRefused,
    ConsentUnknown,
    Provider,
    RedirectNotAllowed,
)
from domain.errors import Unauthenticated
from domain.outbox import MessageType
from tests.application.calendar_application import BACK, MINUTE, CalendarApplication, hours
from tests.support.memory.calendar_provider import LIFETIME, MemoryCalendars

APPLICATION = CalendarApplication


@pytest.fixture
async def coach(app: CalendarApplication) -> User:
    return await app.free_coach()


# Consent


@pytest.mark.parametrize("address", ["", f"{BACK}/", BACK.upper(), f"{BACK}?a=b", BACK.replace("https", "http")])
async def test_redirect_address_must_equal_one_of_the_allow_list(
    app: CalendarApplication, coach: User, address: str
) -> None:
    with pytest.raises(RedirectNotAllowed):
        await app.begin_consent(coach, Provider.GOOGLE, address)
    assert app.store.tables.of("oauth_attempts") == {}


async def test_provider_must_be_configured(app: CalendarApplication, coach: User) -> None:
    with pytest.raises(CalendarNotConfigured):
        await replace(app.begin_consent, services=MemoryCalendars())(coach, Provider.GOOGLE, BACK)
    with pytest.raises(CalendarNotConfigured):
        await replace(app.connect, services=MemoryCalendars())(coach, Provider.GOOGLE, BACK, code="c", state="s")


async def test_each_consent_has_another_state_and_verifier(app: CalendarApplication, coach: User) -> None:
    consents = [await app.begin_consent(coach, Provider.GOOGLE, BACK) for _ in range(2)]
    assert len({state for _, state in consents}) == 2
    assert len({url.partition("code_challenge=")[2] for url, _ in consents}) == 2
    assert all(state in url for url, state in consents)


async def test_state_connects_once(app: CalendarApplication, coach: User) -> None:
    code, state = await app.consent(coach)
    await app.connect(coach, Provider.GOOGLE, BACK, code=code, state=state)
    with pytest.raises(ConsentUnknown):
        await app.connect(coach, Provider.GOOGLE, BACK, code=code, state=state)


async def test_state_of_an_unsuccessful_attempt_is_used_up(app: CalendarApplication, coach: User) -> None:
    code, state = await app.consent(coach)
    with pytest.raises(ConsentRefused):
        await app.connect(coach, Provider.GOOGLE, BACK, code="made up", state=state)
    with pytest.raises(ConsentUnknown):
        await app.connect(coach, Provider.GOOGLE, BACK, code=code, state=state)


async def test_state_is_valid_for_ten_minutes(app: CalendarApplication, coach: User) -> None:
    code, state = await app.consent(coach)
    app.clock.advance(10 * MINUTE)
    await app.connect(coach, Provider.GOOGLE, BACK, code=code, state=state)
    code, state = await app.consent(coach)
    app.clock.advance(10 * MINUTE + timedelta(seconds=1))
    with pytest.raises(ConsentUnknown):
        await app.connect(coach, Provider.GOOGLE, BACK, code=code, state=state)


async def test_state_is_bound_to_account_provider_and_address(app: CalendarApplication, coach: User) -> None:
    code, state = await app.consent(coach)
    others: list[tuple[User, Provider, str, str]] = [
        (await app.person(), Provider.GOOGLE, BACK, state),
        (coach, Provider.OUTLOOK, BACK, state),
        (coach, Provider.GOOGLE, f"{BACK}/", state),
        (coach, Provider.GOOGLE, BACK, state[:-1]),
        (coach, Provider.GOOGLE, BACK, ""),
    ]
    for user, provider, address, given in others:
        with pytest.raises(ConsentUnknown):
            await app.connect(user, provider, address, code=code, state=given)
    await app.connect(coach, Provider.GOOGLE, BACK, code=code, state=state)


async def test_state_is_not_valid_after_the_access_of_the_account_has_ended(
    app: CalendarApplication, coach: User
) -> None:
    code, state = await app.consent(coach)
    later = replace(coach, token_version=coach.token_version + 1)
    app.replace(later)
    with pytest.raises(ConsentUnknown):
        await app.connect(later, Provider.GOOGLE, BACK, code=code, state=state)


async def test_calendar_is_not_connected_if_access_ends_meanwhile(app: CalendarApplication, coach: User) -> None:
    code, state = await app.consent(coach)
    app.replace(replace(coach, token_version=coach.token_version + 1))
    with pytest.raises(Unauthenticated):
        await app.connect(coach, Provider.GOOGLE, BACK, code=code, state=state)
    assert await app.connections.list_of(coach.id) == []


# Tokens


async def test_tokens_are_returned_and_kept(app: CalendarApplication, coach: User) -> None:
    calls = app.wake_ups.calls
    grant = await app.connected(coach)
    row = app.connection(coach)
    assert grant == Grant(row.access_token, row.refresh_token, "Bearer", LIFETIME)
    assert row.expires_at == app.clock.now() + LIFETIME
    (view,) = await app.connections.list_of(coach.id)
    assert (view.provider, view.status, view.busy_read_at) == (Provider.GOOGLE, "active", None)
    assert view.connected_at == app.clock.now()
    assert app.wake_ups.calls == calls + 1


async def test_tokens_are_not_shown_in_the_text_of_objects(app: CalendarApplication, coach: User) -> None:
    grant = await app.connected(coach)
    async with app.open_work() as work:
        connection = await work.calendars.find(coach.id, Provider.GOOGLE)
        forgotten = await work.calendars.forget(coach.id, Provider.GOOGLE)
    for shown in (grant, connection, forgotten):
        assert str(grant.access_token) not in repr(shown)
        assert str(grant.refresh_token) not in repr(shown)


@pytest.mark.parametrize("code", ["", "x" * (MAX_CODE + 1)])
async def test_code_of_no_possible_length_is_not_sent_to_the_provider(
    app: CalendarApplication, coach: User, code: str
) -> None:
    _, state = await app.consent(coach)
    with pytest.raises(ConsentRefused):
        await app.connect(coach, Provider.GOOGLE, BACK, code=code, state=state)
    assert app.google.calls == []


async def test_consent_without_lasting_access_connects_nothing(
    app: CalendarApplication, coach: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, state = await app.consent(coach)
    exchange = app.google.exchange

    async def without_refresh_token(code: str, *, redirect_uri: str, verifier: str) -> Grant:
        return replace(await exchange(code, redirect_uri=redirect_uri, verifier=verifier), refresh_token=None)

    monkeypatch.setattr(app.google, "exchange", without_refresh_token)
    with pytest.raises(ConsentRefused, match="Google Calendar gave no lasting access"):
        await app.connect(coach, Provider.GOOGLE, BACK, code=code, state=state)
    assert await app.connections.list_of(coach.id) == []


async def test_future_bookings_are_added_and_cancelled_ones_removed(app: CalendarApplication, coach: User) -> None:
    stays, cancelled = await app.appointment(coach, hour=10), await app.appointment(coach, hour=12)
    await app.connected(coach)
    await app.run()
    assert app.google.shown() == [hours(10), hours(12)]
    await app.disconnect(coach, Provider.GOOGLE)
    await app.cancel(app.client_of(cancelled), cancelled)
    await app.connected(coach)
    await app.run()
    assert app.google.shown() == [hours(10)]
    assert app.stored(stays).meeting_link is not None


async def test_past_bookings_are_not_added(app: CalendarApplication, coach: User) -> None:
    await app.appointment(coach)
    app.clock.moment = hours(11).starts_at
    await app.connected(coach)
    assert app.messages(MessageType.CALENDAR_OUTDATED) == []


async def test_another_account_of_the_provider_gets_all_future_bookings(app: CalendarApplication, coach: User) -> None:
    appointment_id = await app.appointment(coach)
    await app.connected(coach)
    await app.run()
    connection_id, link = app.connection(coach).id, app.stored(appointment_id).meeting_link
    app.google.entries.clear()  # the other account
    await app.connected(coach)
    await app.run()
    assert app.google.shown() == [hours(10)]
    assert app.connection(coach).id == connection_id
    assert app.stored(appointment_id).meeting_link == link


async def test_repeated_request_returns_the_kept_tokens(app: CalendarApplication, coach: User) -> None:
    code, state = await app.consent(coach)

    async def request() -> Grant:
        return await app.connect(coach, Provider.GOOGLE, BACK, code=code, state=state)

    first, second = await app.repeated(request)
    assert first == second
    assert app.google.calls == ["exchange"]


async def test_repeated_request_returns_no_negative_lifetime(app: CalendarApplication, coach: User) -> None:
    code, state = await app.consent(coach)
    requests: list[int] = []

    async def request() -> Grant:
        if requests:
            app.clock.advance(2 * LIFETIME)
        requests.append(1)
        return await app.connect(coach, Provider.GOOGLE, BACK, code=code, state=state)

    _, second = await app.repeated(request)
    assert second.lifetime == timedelta()


async def test_repeated_request_finds_no_disconnected_calendar(app: CalendarApplication, coach: User) -> None:
    code, state = await app.consent(coach)
    requests: list[int] = []

    async def request() -> Grant:
        if requests:
            app.store.tables.of("calendar_connections").clear()
        requests.append(1)
        return await app.connect(coach, Provider.GOOGLE, BACK, code=code, state=state)

    with pytest.raises(CalendarNotConnected):
        await app.repeated(request)


# Disconnecting


async def test_disconnecting_deletes_the_stored_data_and_revokes_the_consent(
    app: CalendarApplication, coach: User
) -> None:
    await app.appointment(coach)
    grant = await app.connected(coach)
    await app.run()
    await app.disconnect(coach, Provider.GOOGLE)
    assert await app.connections.list_of(coach.id) == []
    assert app.stored_entries() == []
    assert app.google.revoked == [grant.refresh_token]
    assert app.google.shown() == [hours(10)], "entries in the calendar stay"
    with pytest.raises(CalendarNotConnected):
        await app.disconnect(coach, Provider.GOOGLE)


async def test_calendar_is_disconnected_while_its_provider_is_unavailable(
    app: CalendarApplication, coach: User
) -> None:
    await app.connected(coach)
    app.google.faults.append(CalendarUnavailable())
    await app.disconnect(coach, Provider.GOOGLE)
    assert await app.connections.list_of(coach.id) == []


async def test_calendar_whose_tokens_cannot_be_decrypted_is_disconnected(app: CalendarApplication, coach: User) -> None:
    await app.connected(coach)
    app.replace_connection(coach, can_be_decrypted=False)
    await app.disconnect(coach, Provider.GOOGLE)
    assert await app.connections.list_of(coach.id) == []
    assert app.google.revoked == []


async def test_other_calendar_stays_connected(app: CalendarApplication, coach: User) -> None:
    for provider in Provider:
        await app.connected(coach, provider)
    await app.disconnect(coach, Provider.GOOGLE)
    assert [view.provider for view in await app.connections.list_of(coach.id)] == [Provider.OUTLOOK]
