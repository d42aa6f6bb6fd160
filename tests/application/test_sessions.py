"""The rules of sessions: authentication, refresh, logout."""

from dataclasses import replace
from datetime import timedelta

import pytest

from application.accounts.sessions import Actor
from domain.accounts import User
from domain.errors import Unauthenticated
from tests.support.memory.account_use_cases import AccountUseCases


@pytest.fixture
async def accounts() -> AccountUseCases:
    """With a registered account."""
    accounts = AccountUseCases()
    await accounts.has_registered()
    return accounts


async def change(accounts: AccountUseCases, **values: object) -> None:
    async with accounts.units() as work:
        user: User = replace(accounts.users()[0], **values)  # type: ignore[arg-type]
        await work.users.save(user)
        await work.commit()


# Authentication


async def test_access_token_authenticates_its_account_and_login(accounts: AccountUseCases) -> None:
    logged_in = await accounts.has_logged_in()
    actor = await accounts.authenticate(logged_in.access_token)

    assert actor.user == accounts.users()[0]
    assert actor == Actor(logged_in.user, accounts.tokens.read_refresh(logged_in.refresh_token))


@pytest.mark.parametrize("values", [{"is_active": False}, {"token_version": 2}])
async def test_deactivated_account_and_revoked_token_are_rejected_at_the_next_request(
    accounts: AccountUseCases, values: dict[str, object]
) -> None:
    logged_in = await accounts.has_logged_in()
    await change(accounts, **values)
    with pytest.raises(Unauthenticated):
        await accounts.is_authenticated(logged_in)


async def test_token_of_an_ended_login_is_rejected(accounts: AccountUseCases) -> None:
    logged_in = await accounts.has_logged_in()
    await accounts.log_out(await accounts.is_authenticated(logged_in))
    with pytest.raises(Unauthenticated):
        await accounts.is_authenticated(logged_in)


async def test_expired_access_token_is_rejected(accounts: AccountUseCases) -> None:
    logged_in = await accounts.has_logged_in()
    accounts.clock.advance(timedelta(minutes=15))
    with pytest.raises(Unauthenticated):
        await accounts.is_authenticated(logged_in)


async def test_refresh_token_is_no_access_token(accounts: AccountUseCases) -> None:
    logged_in = await accounts.has_logged_in()
    with pytest.raises(Unauthenticated):
        await accounts.authenticate(logged_in.refresh_token)
    with pytest.raises(Unauthenticated):
        await accounts.refresh()(logged_in.access_token)


# Refresh


async def test_refresh_issues_an_access_token_and_replaces_the_refresh_token(accounts: AccountUseCases) -> None:
    first = await accounts.has_logged_in()
    accounts.clock.advance(timedelta(minutes=20))
    second = await accounts.refresh()(first.refresh_token)

    assert second.refresh_token != first.refresh_token
    assert await accounts.is_authenticated(second) == Actor(
        first.user, accounts.tokens.read_refresh(first.refresh_token)
    )
    assert (await accounts.refresh()(second.refresh_token)).user == first.user


async def test_retired_token_that_is_used_again_ends_its_login_with_all_of_its_tokens(
    accounts: AccountUseCases,
) -> None:
    first, other = await accounts.has_logged_in(), await accounts.has_logged_in()
    second = await accounts.refresh()(first.refresh_token)
    with pytest.raises(Unauthenticated):
        await accounts.refresh()(first.refresh_token)

    assert accounts.end_reasons() == ["refresh token used twice", None]
    for ended in (first, second):
        with pytest.raises(Unauthenticated):
            await accounts.is_authenticated(ended)
        with pytest.raises(Unauthenticated):
            await accounts.refresh()(ended.refresh_token)
    await accounts.is_authenticated(other)
    await accounts.refresh()(other.refresh_token)


async def test_without_rotation_the_refresh_token_stays(accounts: AccountUseCases) -> None:
    refresh, first = accounts.refresh(rotate=False), await accounts.has_logged_in()
    for _ in range(2):
        again = await refresh(first.refresh_token)
        assert again.refresh_token == first.refresh_token
        await accounts.is_authenticated(again)


async def test_without_rotation_a_token_retired_before_is_accepted(accounts: AccountUseCases) -> None:
    first = await accounts.has_logged_in()
    await accounts.refresh()(first.refresh_token)
    await accounts.refresh(rotate=False)(first.refresh_token)
    assert accounts.end_reasons() == [None]


async def test_expired_refresh_token_is_rejected(accounts: AccountUseCases) -> None:
    logged_in = await accounts.has_logged_in()
    accounts.clock.advance(timedelta(days=30))
    with pytest.raises(Unauthenticated):
        await accounts.refresh()(logged_in.refresh_token)


async def test_refresh_token_is_rejected_from_its_stored_expiry_on(accounts: AccountUseCases) -> None:
    """The setting for the lifetime of tokens may have changed since."""
    logged_in = await accounts.has_logged_in()
    tokens = accounts.store.tables.of("refresh_tokens")
    for fingerprint, row in tokens.items():
        tokens[fingerprint] = replace(row, expires_at=accounts.clock.moment)
    with pytest.raises(Unauthenticated):
        await accounts.refresh()(logged_in.refresh_token)


async def test_unknown_refresh_token_is_rejected(accounts: AccountUseCases) -> None:
    login_id = (await accounts.is_authenticated(await accounts.has_logged_in())).login_id
    never_stored, _ = accounts.tokens.issue_refresh(login_id, accounts.clock.moment)
    with pytest.raises(Unauthenticated):
        await accounts.refresh()(never_stored)


async def test_refresh_token_of_a_deactivated_account_is_rejected(accounts: AccountUseCases) -> None:
    logged_in = await accounts.has_logged_in()
    await change(accounts, is_active=False)
    with pytest.raises(Unauthenticated):
        await accounts.refresh()(logged_in.refresh_token)


# Logout


async def test_logout_revokes_the_tokens_of_this_login_only(accounts: AccountUseCases) -> None:
    one, other = await accounts.has_logged_in(), await accounts.has_logged_in()
    accounts.has_calendars(one.user)
    await accounts.log_out(await accounts.is_authenticated(one))

    assert accounts.end_reasons() == ["logged out", None]
    with pytest.raises(Unauthenticated):
        await accounts.refresh()(one.refresh_token)
    await accounts.is_authenticated(other)
    assert accounts.calendars_of(one.user) == {"calendar_feeds", "calendar_connections"}


async def test_logout_everywhere_ends_all_logins_and_the_calendar_feed(accounts: AccountUseCases) -> None:
    one, other = await accounts.has_logged_in(), await accounts.has_logged_in()
    stranger = await accounts.has_registered(email="stranger@example.com")
    stranger_login = await accounts.has_logged_in(email=stranger.email)
    for user in (one.user, stranger):
        accounts.has_calendars(user)
    await accounts.log_out(await accounts.is_authenticated(one), everywhere=True)

    assert accounts.end_reasons() == ["logged out everywhere"] * 2 + [None]
    for ended in (one, other):
        with pytest.raises(Unauthenticated):
            await accounts.is_authenticated(ended)
        with pytest.raises(Unauthenticated):
            await accounts.refresh()(ended.refresh_token)
    assert accounts.calendars_of(one.user) == {"calendar_connections"}
    await accounts.is_authenticated(stranger_login)
    assert accounts.calendars_of(stranger) == {"calendar_feeds", "calendar_connections"}


async def test_logout_everywhere_outdates_tokens_that_are_bound_to_the_version(accounts: AccountUseCases) -> None:
    logged_in = await accounts.has_logged_in()
    await accounts.log_out(await accounts.is_authenticated(logged_in), everywhere=True)
    assert accounts.users()[0].token_version == logged_in.user.token_version + 1
