"""The rules of an account whose password is lost."""

from dataclasses import replace
from datetime import timedelta

import pytest

from application.accounts.account_tokens import TRIES_PER_NETWORK
from application.accounts.external_identity import SignInWithIdentity
from application.accounts.recovery import RESETS_PER_ACCOUNT, RESETS_PER_NETWORK
from domain.account_tokens import TOKEN_LIFETIME, TokenKind, TokenNotValid
from domain.accounts import InvalidCredentials, PasswordPolicy
from domain.errors import Invalid, TooManyRequests, Unauthenticated
from domain.external_identity import ExternalIdentity
from domain.outbox import Delivered, MessageType
from tests.application.account_mails import NOT_SENT, AccountMails
from tests.support.memory.account_use_cases import ADDRESS, ELSEWHERE, EMAIL, PASSWORD

NEW = "another password"
LIFETIME = TOKEN_LIFETIME[TokenKind.RESET_PASSWORD]


@pytest.fixture
async def accounts() -> AccountMails:
    """With a verified account."""
    accounts = AccountMails()
    user = await accounts.has_registered()
    accounts.change(replace(user, is_verified=True))
    await accounts.outcomes()
    return accounts


async def requested(accounts: AccountMails) -> str:
    await accounts.forgot(email=EMAIL, address=ADDRESS)
    return await accounts.mailed_token()


async def test_token_of_the_mail_sets_a_new_password(accounts: AccountMails) -> None:
    await accounts.reset(await requested(accounts), password=NEW, address=ADDRESS)
    with pytest.raises(InvalidCredentials):
        await accounts.has_logged_in()
    await accounts.has_logged_in(password=NEW)
    await accounts.outcomes()
    assert [mail.message_type for mail in accounts.mail.received] == [
        MessageType.PASSWORD_RESET_REQUESTED,
        MessageType.PASSWORD_CHANGED,
    ]
    assert accounts.mail.received[-1].payload["person"]["email"] == EMAIL


async def test_new_password_ends_logins_feeds_and_pending_links(accounts: AccountMails) -> None:
    one, other = await accounts.has_logged_in(), await accounts.has_logged_in()
    accounts.has_calendars(one.user)
    pending, token = await requested(accounts), await requested(accounts)
    await accounts.reset(token, password=NEW, address=ADDRESS)

    assert accounts.end_reasons() == ["password reset"] * 2
    for ended in (one, other):
        with pytest.raises(Unauthenticated):
            await accounts.is_authenticated(ended)
    assert accounts.calendars_of(one.user) == {"calendar_connections"}
    with pytest.raises(TokenNotValid):
        await accounts.reset(pending, password=NEW, address=ADDRESS)


async def test_tokens_that_are_not_valid_are_refused_equally(accounts: AccountMails) -> None:
    late = await requested(accounts)
    accounts.clock.advance(LIFETIME)
    used = await requested(accounts)
    await accounts.reset(used, password=NEW, address=ADDRESS)
    foreign_kind = await accounts.has_registered(email="other@example.com")
    verification = await accounts.mailed_token()
    assert not foreign_kind.is_verified
    for token in (late, used, verification, "guess", ""):
        with pytest.raises(TokenNotValid):
            await accounts.reset(token, password="a third password", address=ADDRESS)
    await accounts.has_logged_in(password=NEW)


async def test_token_is_valid_until_its_end(accounts: AccountMails) -> None:
    token = await requested(accounts)
    accounts.clock.advance(LIFETIME - timedelta(seconds=1))
    await accounts.reset(token, password=NEW, address=ADDRESS)


@pytest.mark.parametrize("change", [{"email": "changed@example.com"}, {"is_active": False}])
async def test_token_of_an_account_that_has_changed_is_refused(
    accounts: AccountMails, change: dict[str, object]
) -> None:
    token = await requested(accounts)
    accounts.change(replace(accounts.users()[0], **change))  # type: ignore[arg-type]
    with pytest.raises(TokenNotValid):
        await accounts.reset(token, password=NEW, address=ADDRESS)
    assert accounts.password_hash(accounts.users()[0].id) == await accounts.hasher.hash(PASSWORD)


async def test_token_that_is_used_while_the_hash_is_computed_is_refused(accounts: AccountMails) -> None:
    token, compute = await requested(accounts), accounts.hasher.hash

    async def slow_hash(password: str) -> str:
        accounts.hasher.hash = compute  # type: ignore[method-assign]
        await accounts.reset(token, password=NEW, address=ADDRESS)
        return await compute(password)

    accounts.hasher.hash = slow_hash  # type: ignore[method-assign]
    with pytest.raises(TokenNotValid):
        await accounts.reset(token, password="a third password", address=ADDRESS)
    await accounts.has_logged_in(password=NEW)


@pytest.mark.parametrize(
    ("policy", "password"), [(PasswordPolicy.CONTRACT, "short"), (PasswordPolicy.STRICT, "ada lovelace 123")]
)
async def test_unacceptable_password_does_not_use_the_token(
    accounts: AccountMails, policy: PasswordPolicy, password: str
) -> None:
    token = await requested(accounts)
    with pytest.raises(Invalid) as refused:
        await accounts.resetting(policy)(token, password=password, address=ADDRESS)
    assert list(refused.value.details) == ["password"]
    await accounts.reset(token, password=NEW, address=ADDRESS)


# The first proof of an address


async def test_reset_verifies_the_address_and_ends_what_others_may_have_prepared() -> None:
    accounts = AccountMails()
    user = await accounts.has_registered()
    login = await accounts.has_logged_in()
    accounts.has_calendars(user)
    accounts.change(replace(accounts.user(user.id), external_id="subject of an attacker"))
    token = await requested(accounts)
    await accounts.reset(token, password=NEW, address=ELSEWHERE)

    proven = accounts.user(user.id)
    assert (proven.is_verified, proven.external_id) == (True, None)
    assert not accounts.calendars_of(user)
    assert not accounts.networks_of(user)
    with pytest.raises(Unauthenticated):
        await accounts.is_authenticated(login)
    await accounts.has_logged_in(password=NEW)


async def test_account_of_google_can_set_a_password(accounts: AccountMails) -> None:
    sign_in = SignInWithIdentity(accounts.units, accounts.start_login, accounts.wake_ups, accounts.clock)
    identity = ExternalIdentity("google", "a subject", "google@example.com", True, "Ada", None)
    signed_in = await sign_in(identity)
    await accounts.forgot(email="google@example.com", address=ADDRESS)
    await accounts.reset(await accounts.mailed_token(), password=NEW, address=ADDRESS)
    await accounts.has_logged_in(email="google@example.com", password=NEW)
    assert (await sign_in(identity)).user.id == signed_in.user.id


# Requests


async def test_request_stores_the_same_for_every_address(accounts: AccountMails) -> None:
    before, calls = len(accounts.messages()), accounts.wake_ups.calls
    for email in (EMAIL, "unknown@example.com"):
        await accounts.forgot(email=email, address=ADDRESS)
    known, unknown = accounts.messages()[before:]
    assert (known.payload, unknown.payload) == ({"email": EMAIL}, {"email": "unknown@example.com"})
    assert accounts.wake_ups.calls == calls + 2
    assert not accounts.store.tables.of("account_tokens")


async def test_mail_is_sent_to_accounts_only(accounts: AccountMails) -> None:
    await accounts.forgot(email="unknown@example.com", address=ADDRESS)
    assert await accounts.outcomes() == [Delivered(NOT_SENT)]
    await accounts.forgot(email=EMAIL, address=ADDRESS)
    accounts.change(replace(accounts.users()[0], is_active=False))
    assert await accounts.outcomes() == [Delivered(NOT_SENT)]
    assert not accounts.mail.received


@pytest.mark.parametrize("email", [EMAIL, "unknown@example.com"])
async def test_requests_are_limited_per_address(accounts: AccountMails, email: str) -> None:
    for number in range(RESETS_PER_ACCOUNT.times):
        await accounts.forgot(email=email, address=f"192.0.2.{number}")
    with pytest.raises(TooManyRequests):
        await accounts.forgot(email=email, address="192.0.2.99")
    accounts.clock.advance(RESETS_PER_ACCOUNT.per)
    await accounts.forgot(email=email, address=ADDRESS)


async def test_requests_are_limited_per_network(accounts: AccountMails) -> None:
    for number in range(RESETS_PER_NETWORK.times):
        await accounts.forgot(email=f"user{number}@example.com", address=ADDRESS)
    with pytest.raises(TooManyRequests):
        await accounts.forgot(email=EMAIL, address=ADDRESS)
    await accounts.forgot(email=EMAIL, address=ELSEWHERE)


async def test_wrong_tokens_are_limited_per_network(accounts: AccountMails) -> None:
    token = await requested(accounts)
    for _ in range(TRIES_PER_NETWORK.times):
        with pytest.raises(TokenNotValid):
            await accounts.reset("guess", password=NEW, address=ADDRESS)
    with pytest.raises(TooManyRequests):
        await accounts.reset(token, password=NEW, address=ADDRESS)
    await accounts.reset(token, password=NEW, address=ELSEWHERE)
    assert accounts.limiter.counted(TRIES_PER_NETWORK, ELSEWHERE) == 0


# Operators


async def test_operator_sets_a_password(accounts: AccountMails) -> None:
    login, pending = await accounts.has_logged_in(), await requested(accounts)
    user = await accounts.set_password(email=EMAIL, password=NEW)
    assert user == accounts.users()[0]
    with pytest.raises(Unauthenticated):
        await accounts.is_authenticated(login)
    with pytest.raises(TokenNotValid):
        await accounts.reset(pending, password=NEW, address=ADDRESS)
    await accounts.has_logged_in(password=NEW)
    await accounts.outcomes()
    assert accounts.mail.received[-1].message_type is MessageType.PASSWORD_CHANGED


async def test_operator_names_an_account_and_an_acceptable_password(accounts: AccountMails) -> None:
    assert await accounts.set_password(email="unknown@example.com", password=NEW) is None
    with pytest.raises(Invalid):
        await accounts.set_password(email=EMAIL, password="short")
    await accounts.has_logged_in()
