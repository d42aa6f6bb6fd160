"""The rules of the list of sessions, and of ending one of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from application.accounts.sessions import Actor, EndSession, ListSessions
from application.audit.ports import ORIGIN
from application.ports import PageRequest
from domain.accounts import LoginId
from domain.audit import AuditOrigin
from domain.errors import Invalid, Unauthenticated
from domain.sessions import MAX_USER_AGENT, Client, Session, SessionNotFound
from tests.support.memory.account_use_cases import (
    ACCESS_LIFETIME,
    ADDRESS,
    SESSION_LIFETIME,
    AccountUseCases,
    a_registration,
)
from tests.support.memory.accounts import MemorySessionQueries
from tests.support.memory.audit_log import audit_entries

MINUTE = timedelta(minutes=1)


class Sessions(AccountUseCases):
    def __init__(self) -> None:
        super().__init__()
        self.list_sessions = ListSessions(
            MemorySessionQueries(self.store), self.clock, SESSION_LIFETIME, ACCESS_LIFETIME
        )
        self.end_session = EndSession(self.units, self.clock)

    async def signed_in(self, **values: str) -> Actor:
        return await self.is_authenticated(await self.has_logged_in(**values))

    async def listed(self, actor: Actor) -> list[Session]:
        return [*(await self.list_sessions(actor, PageRequest())).items]


@pytest.fixture
async def accounts() -> Sessions:
    """With a registered account."""
    accounts = Sessions()
    await accounts.has_registered()
    return accounts


@contextmanager
def request_by(network: str | None, user_agent: str | None) -> Iterator[None]:
    token = ORIGIN.set(lambda: AuditOrigin(network=network, user_agent=user_agent))
    yield
    ORIGIN.reset(token)


# The list


async def test_sessions_are_listed_newest_first_with_their_client(accounts: Sessions) -> None:
    began = accounts.clock.moment
    with request_by("192.0.2.1", "Firefox"):
        first = await accounts.signed_in()
    accounts.clock.advance(MINUTE)
    with request_by(None, None):
        second = await accounts.signed_in()

    assert await accounts.listed(first) == [
        Session(second.login_id, began + MINUTE, began + MINUTE, Client()),
        Session(first.login_id, began, began, Client("192.0.2.1", "Firefox")),
    ]


async def test_refresh_is_a_use_of_the_session(accounts: Sessions) -> None:
    began, logged_in = accounts.clock.moment, await accounts.has_logged_in()
    accounts.clock.advance(MINUTE)
    with request_by("198.51.100.7", "Safari"):
        await accounts.refresh()(logged_in.refresh_token)

    actor = await accounts.is_authenticated(logged_in)
    assert await accounts.listed(actor) == [
        Session(actor.login_id, began, began + MINUTE, Client("198.51.100.7", "Safari"))
    ]


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("", None),
        (" \t", None),
        ("Mozilla/5.0 (X11)\r\n\u202eevil", "Mozilla/5.0 (X11) evil"),
        ("x" * 10_000, "x" * (MAX_USER_AGENT - 1) + "…"),
    ],
)
async def test_user_agent_is_one_bounded_line(accounts: Sessions, sent: str, shown: str | None) -> None:
    with request_by(None, sent):
        actor = await accounts.signed_in()
    assert [session.client.user_agent for session in await accounts.listed(actor)] == [shown]


async def test_list_has_pages(accounts: Sessions) -> None:
    actors = [await accounts.signed_in() for _ in range(3)]
    first = await accounts.list_sessions(actors[0], PageRequest(2))
    second = await accounts.list_sessions(actors[0], PageRequest(2, first.next))
    assert second.next is None
    listed = [session.id for session in [*first.items, *second.items]]
    assert listed == [actor.login_id for actor in reversed(actors)]
    with pytest.raises(Invalid):
        await accounts.list_sessions(actors[0], PageRequest(2, "another list"))


async def test_sessions_of_others_and_ended_ones_are_not_listed(accounts: Sessions) -> None:
    stranger = await accounts.has_registered(email="stranger@example.com")
    await accounts.signed_in(email=stranger.email)
    ended, actor = await accounts.signed_in(), await accounts.signed_in()
    await accounts.log_out(ended)
    assert [session.id for session in await accounts.listed(actor)] == [actor.login_id]


async def test_session_is_listed_as_long_as_one_of_its_tokens_is_valid(accounts: Sessions) -> None:
    old = (await accounts.signed_in()).login_id
    accounts.clock.advance(timedelta(days=30) - timedelta(seconds=1))
    actor = await accounts.signed_in()
    assert [session.id for session in await accounts.listed(actor)] == [actor.login_id, old]
    accounts.clock.advance(timedelta(seconds=1))  # the refresh token has expired, as the access token before
    assert [session.id for session in await accounts.listed(actor)] == [actor.login_id]


async def test_session_whose_refresh_token_has_expired_is_listed_while_its_access_token_is_valid(
    accounts: Sessions,
) -> None:
    old = await accounts.has_logged_in()
    accounts.clock.advance(timedelta(days=30) - timedelta(seconds=1))
    last = await accounts.refresh(rotate=False)(old.refresh_token)
    accounts.clock.advance(ACCESS_LIFETIME - timedelta(seconds=1))
    assert len(await accounts.listed(await accounts.is_authenticated(last))) == 1
    accounts.clock.advance(timedelta(seconds=1))
    assert len(await accounts.listed(await accounts.signed_in())) == 1, "the new one"


# Ending one


async def test_ended_session_has_no_valid_token(accounts: Sessions) -> None:
    other, actor = await accounts.has_logged_in(), await accounts.signed_in()
    await accounts.end_session(actor, (await accounts.is_authenticated(other)).login_id)

    with pytest.raises(Unauthenticated):
        await accounts.is_authenticated(other)
    with pytest.raises(Unauthenticated):
        await accounts.refresh()(other.refresh_token)
    assert [session.id for session in await accounts.listed(actor)] == [actor.login_id]
    entry = audit_entries(accounts.store)[-1]
    assert (entry.action, entry.after) == ("session.ended", {"reason": "ended in the list of sessions"})


async def test_present_session_can_be_ended(accounts: Sessions) -> None:
    logged_in = await accounts.has_logged_in()
    actor = await accounts.is_authenticated(logged_in)
    await accounts.end_session(actor, actor.login_id)
    with pytest.raises(Unauthenticated):
        await accounts.is_authenticated(logged_in)


async def test_unknown_foreign_and_ended_sessions_get_one_answer(accounts: Sessions) -> None:
    stranger = await accounts.has_registered(email="stranger@example.com")
    foreign = await accounts.has_logged_in(email=stranger.email)
    foreign_id = (await accounts.is_authenticated(foreign)).login_id
    ended, actor = await accounts.signed_in(), await accounts.signed_in()
    await accounts.end_session(actor, ended.login_id)
    recorded = len(audit_entries(accounts.store))
    for session_id in (ended.login_id, foreign_id, LoginId(stranger.uuid)):
        with pytest.raises(SessionNotFound):
            await accounts.end_session(actor, session_id)
    await accounts.is_authenticated(foreign)
    assert len(audit_entries(accounts.store)) == recorded


# The absolute end


async def test_session_ends_after_its_lifetime_however_often_it_is_refreshed(accounts: Sessions) -> None:
    last, began = await accounts.has_logged_in(), accounts.clock.moment
    while accounts.clock.moment - began < SESSION_LIFETIME - timedelta(days=10):
        accounts.clock.advance(timedelta(days=10))
        last = await accounts.refresh()(last.refresh_token)
    accounts.clock.advance(timedelta(days=10) - MINUTE)
    last = await accounts.refresh()(last.refresh_token)
    await accounts.is_authenticated(last)
    accounts.clock.advance(MINUTE)
    with pytest.raises(Unauthenticated):
        await accounts.is_authenticated(last)
    with pytest.raises(Unauthenticated):
        await accounts.refresh()(last.refresh_token)
    assert len(await accounts.listed(await accounts.signed_in())) == 1, "the new one"


async def test_shorter_lifetime_applies_to_sessions_in_progress(accounts: Sessions) -> None:
    logged_in = await accounts.has_logged_in()
    accounts.clock.advance(timedelta(days=7))
    refresh = accounts.refresh()
    shorter = type(refresh)(refresh.open_work, refresh.tokens, refresh.clock, timedelta(days=7))
    with pytest.raises(Unauthenticated):
        await shorter(logged_in.refresh_token)


async def test_first_tokens_expire_with_a_short_session(accounts: Sessions) -> None:
    start = accounts.start_login
    accounts.start_login = type(start)(start.tokens, start.known_networks, start.clock, MINUTE)
    registered = await accounts.register_and_log_in()(a_registration(email="other@example.com"), address=ADDRESS)
    accounts.clock.advance(MINUTE)
    with pytest.raises(Unauthenticated):
        await accounts.is_authenticated(registered)
    with pytest.raises(Unauthenticated):
        await accounts.refresh()(registered.refresh_token)
