"""The rules of passwords and profiles."""

from dataclasses import replace
from datetime import timedelta

import pytest

from application.accounts.password_guesses import GUESSES_PER_ACCOUNT, GUESSES_PER_NETWORK
from application.accounts.profile import ChangePassword, UpdateProfile
from application.accounts.sessions import Actor
from domain.accounts import InvalidCredentials, PasswordPolicy
from domain.errors import Invalid, TooManyRequests, Unauthenticated
from domain.outbox import MessageType
from tests.support.memory.account_use_cases import ADDRESS, EMAIL, PASSWORD, AccountUseCases

NEW = "another password"


@pytest.fixture
async def accounts() -> AccountUseCases:
    """With a registered account."""
    accounts = AccountUseCases()
    await accounts.has_registered()
    return accounts


@pytest.fixture
async def actor(accounts: AccountUseCases) -> Actor:
    return await accounts.is_authenticated(await accounts.has_logged_in())


def change_password(accounts: AccountUseCases, policy: PasswordPolicy = PasswordPolicy.CONTRACT) -> ChangePassword:
    return ChangePassword(accounts.units, accounts.hasher, accounts.guesses, accounts.wake_ups, accounts.clock, policy)


# Password


async def test_new_password_replaces_the_old_one(accounts: AccountUseCases, actor: Actor) -> None:
    await change_password(accounts)(actor, current=PASSWORD, new=NEW, address=ADDRESS)

    with pytest.raises(InvalidCredentials):
        await accounts.has_logged_in()
    await accounts.has_logged_in(password=NEW)


async def test_new_password_ends_every_login_and_the_calendar_feed(accounts: AccountUseCases) -> None:
    one, other = await accounts.has_logged_in(), await accounts.has_logged_in()
    accounts.has_calendars(one.user)
    actor = await accounts.is_authenticated(one)
    await change_password(accounts)(actor, current=PASSWORD, new=NEW, address=ADDRESS)

    assert accounts.end_reasons() == ["password changed"] * 2
    for ended in (one, other):
        with pytest.raises(Unauthenticated):
            await accounts.is_authenticated(ended)
        with pytest.raises(Unauthenticated):
            await accounts.refresh()(ended.refresh_token)
    assert accounts.calendars_of(one.user) == {"calendar_connections"}
    assert len(accounts.networks_of(one.user)) == 1, "the network stays known"


async def test_owner_gets_a_mail_about_the_new_password(accounts: AccountUseCases, actor: Actor) -> None:
    calls = accounts.wake_ups.calls
    await change_password(accounts)(actor, current=PASSWORD, new=NEW, address=ADDRESS)
    message = accounts.messages()[-1]
    assert (message.message_type, message.payload["person"]["email"]) == (MessageType.PASSWORD_CHANGED, EMAIL)
    assert accounts.wake_ups.calls == calls + 1


async def test_wrong_current_password_changes_nothing(accounts: AccountUseCases, actor: Actor) -> None:
    with pytest.raises(InvalidCredentials):
        await change_password(accounts)(actor, current="wrong password", new=NEW, address=ADDRESS)
    await accounts.has_logged_in()
    assert accounts.end_reasons() == [None, None]


async def test_wrong_passwords_count_towards_the_limits_of_logins(accounts: AccountUseCases, actor: Actor) -> None:
    elsewhere = [f"203.0.113.{number}" for number in range(10)]
    for address in elsewhere:
        with pytest.raises(InvalidCredentials):
            await change_password(accounts)(actor, current="wrong password", new=NEW, address=address)

    assert accounts.limiter.counted(GUESSES_PER_ACCOUNT, EMAIL) == 10
    with pytest.raises(TooManyRequests):
        await change_password(accounts)(actor, current=PASSWORD, new=NEW, address=elsewhere[0])
    with pytest.raises(TooManyRequests):
        await accounts.has_logged_in(address=elsewhere[0])


async def test_right_current_password_does_not_count(accounts: AccountUseCases, actor: Actor) -> None:
    await change_password(accounts)(actor, current=PASSWORD, new=NEW, address=ADDRESS)
    assert accounts.limiter.counted(GUESSES_PER_NETWORK, ADDRESS) == 0


@pytest.mark.parametrize(
    ("policy", "password"),
    [(PasswordPolicy.CONTRACT, "short"), (PasswordPolicy.STRICT, "ada lovelace 12"), (PasswordPolicy.STRICT, NEW[:14])],
)
async def test_unacceptable_new_password_is_rejected_and_does_not_count(
    accounts: AccountUseCases, actor: Actor, policy: PasswordPolicy, password: str
) -> None:
    with pytest.raises(Invalid) as refused:
        await change_password(accounts, policy)(actor, current="wrong password", new=password, address=ADDRESS)
    assert list(refused.value.details) == ["password"]
    assert accounts.limiter.counted(GUESSES_PER_NETWORK, ADDRESS) == 0


async def test_account_without_password_cannot_set_one(accounts: AccountUseCases, actor: Actor) -> None:
    async with accounts.units() as work:
        await work.users.set_password(actor.user.id, None)
        await work.commit()
    with pytest.raises(InvalidCredentials):
        await change_password(accounts)(actor, current=PASSWORD, new=NEW, address=ADDRESS)
    assert accounts.password_hash(actor.user.id) is None


async def test_password_that_changes_while_the_hash_is_computed_stays(accounts: AccountUseCases, actor: Actor) -> None:
    compute = accounts.hasher.hash

    async def slow_hash(password: str) -> str:
        async with accounts.units() as work:
            await work.users.set_password(actor.user.id, "new changed meanwhile")
            await work.commit()
        return await compute(password)

    accounts.hasher.hash = slow_hash  # type: ignore[method-assign]
    with pytest.raises(InvalidCredentials):
        await change_password(accounts)(actor, current=PASSWORD, new=NEW, address=ADDRESS)
    assert accounts.password_hash(actor.user.id) == "new changed meanwhile"
    assert accounts.end_reasons() == [None]


# Profile


async def test_omitted_fields_stay(accounts: AccountUseCases, actor: Actor) -> None:
    update = UpdateProfile(accounts.units)
    full = await update(actor, name="Countess", phone="+49 30 1234", timezone="Europe/Berlin")
    assert full == replace(actor.user, name="Countess", phone="+49 30 1234", timezone="Europe/Berlin")

    assert await update(actor, name=None, phone=None) == full
    assert accounts.users() == [full]


async def test_empty_phone_number_and_time_zone_are_removed(accounts: AccountUseCases, actor: Actor) -> None:
    update = UpdateProfile(accounts.units)
    await update(actor, name=None, phone="+49 30 1234", timezone="Europe/Berlin")
    await update(actor, name=None, phone="", timezone="")
    assert accounts.users() == [actor.user]


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", " "), ("name", "x" * 121), ("phone", "1" * 41), ("phone", "1\n2"), ("timezone", "Europe/Atlantis")],
)
async def test_invalid_field_is_named_and_nothing_changes(
    accounts: AccountUseCases, actor: Actor, field: str, value: str
) -> None:
    fields = {"name": "Countess", "phone": None, "timezone": None} | {field: value}
    with pytest.raises(Invalid) as refused:
        await UpdateProfile(accounts.units)(actor, **fields)
    assert list(refused.value.details) == [field]
    assert accounts.users() == [actor.user]


async def test_stored_name_that_new_rules_reject_may_be_sent_back(accounts: AccountUseCases, actor: Actor) -> None:
    old = replace(actor.user, name="x" * 200)
    async with accounts.units() as work:
        await work.users.save(old)
        await work.commit()
    accounts.clock.advance(timedelta(minutes=1))

    changed = await UpdateProfile(accounts.units)(actor, name=old.name, phone="1", timezone=None)
    assert changed == replace(old, phone="1")
