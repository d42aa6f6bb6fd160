"""The rules of verifying the address of an account."""

from dataclasses import replace
from datetime import timedelta

import pytest

from application.accounts.account_tokens import TRIES_PER_NETWORK
from application.accounts.external_identity import SignInWithIdentity
from application.accounts.registration import CreateAccount
from application.accounts.verification import VERIFICATIONS_PER_ACCOUNT
from domain.account_tokens import TOKEN_LIFETIME, AlreadyVerified, TokenKind, TokenNotValid
from domain.accounts import PasswordPolicy
from domain.errors import TooManyRequests
from domain.external_identity import ExternalIdentity
from domain.outbox import Delivered, MessageType
from tests.application.account_mails import NOT_SENT, AccountMails
from tests.support.memory.account_use_cases import ADDRESS, EMAIL, a_registration

SECOND = timedelta(seconds=1)
LIFETIME = TOKEN_LIFETIME[TokenKind.VERIFY_EMAIL]


@pytest.fixture
def accounts() -> AccountMails:
    return AccountMails()


async def test_token_of_the_mail_verifies_the_address(accounts: AccountMails) -> None:
    user = await accounts.has_registered()
    assert not user.is_verified
    assert accounts.wake_ups.calls == 1
    token = await accounts.mailed_token()
    (message,) = accounts.mail.received
    assert (message.message_type, message.payload["person"]["email"]) == (MessageType.EMAIL_VERIFICATION, EMAIL)

    await accounts.verify(token, address=ADDRESS)
    assert accounts.user(user.id) == replace(user, is_verified=True)


async def test_no_stored_message_or_row_has_the_token(accounts: AccountMails) -> None:
    await accounts.has_registered()
    token = await accounts.mailed_token()
    assert token not in repr(accounts.messages())
    assert token not in repr(accounts.store.tables.of("account_tokens"))
    assert len(token) == 43, "256 bits in base64"


async def test_tokens_that_are_not_valid_are_refused_equally(accounts: AccountMails) -> None:
    user = await accounts.has_registered()
    replayed, late, foreign = (await accounts.mailed_token(), "", "")
    await accounts.resend(await accounts.signed_in())
    late = await accounts.mailed_token()
    accounts.clock.advance(LIFETIME)
    await accounts.resend(await accounts.signed_in())
    other = await accounts.mailed_token()
    await accounts.verify(other, address=ADDRESS)
    assert accounts.user(user.id).is_verified
    await accounts.has_registered(email="other@example.com")
    foreign = await accounts.mailed_token()
    accounts.change(replace(accounts.users()[1], email="changed@example.com"))
    for token in (replayed, late, other, foreign, "", "guess", other[:-1], "\0", "ü"):
        with pytest.raises(TokenNotValid):
            await accounts.verify(token, address=ADDRESS)


async def test_token_is_valid_until_its_end(accounts: AccountMails) -> None:
    await accounts.has_registered()
    token = await accounts.mailed_token()
    accounts.clock.advance(LIFETIME - SECOND)
    await accounts.verify(token, address=ADDRESS)


async def test_other_tokens_end_with_the_one_that_is_used(accounts: AccountMails) -> None:
    await accounts.has_registered()
    first = await accounts.mailed_token()
    await accounts.resend(await accounts.signed_in())
    second = await accounts.mailed_token()
    assert first != second
    await accounts.verify(first, address=ADDRESS)
    with pytest.raises(TokenNotValid):
        await accounts.verify(second, address=ADDRESS)


async def test_deactivated_account_is_not_verified(accounts: AccountMails) -> None:
    user = await accounts.has_registered()
    token = await accounts.mailed_token()
    accounts.change(replace(user, is_active=False))
    with pytest.raises(TokenNotValid):
        await accounts.verify(token, address=ADDRESS)
    assert not accounts.user(user.id).is_verified


async def test_wrong_tokens_are_limited_per_network(accounts: AccountMails) -> None:
    await accounts.has_registered()
    token = await accounts.mailed_token()
    for _ in range(TRIES_PER_NETWORK.times):
        with pytest.raises(TokenNotValid):
            await accounts.verify("guess", address=ADDRESS)
    with pytest.raises(TooManyRequests):
        await accounts.verify(token, address=ADDRESS)
    await accounts.verify(token, address="198.51.100.7")
    assert accounts.limiter.counted(TRIES_PER_NETWORK, "198.51.100.7") == 0


async def test_resending_is_limited(accounts: AccountMails) -> None:
    await accounts.has_registered()
    actor = await accounts.signed_in()
    for _ in range(VERIFICATIONS_PER_ACCOUNT.times):
        await accounts.resend(actor)
    with pytest.raises(TooManyRequests):
        await accounts.resend(actor)
    assert len(accounts.messages()) == 1 + VERIFICATIONS_PER_ACCOUNT.times


async def test_verified_address_needs_no_mail(accounts: AccountMails) -> None:
    user = await accounts.has_registered()
    accounts.change(replace(user, is_verified=True))
    with pytest.raises(AlreadyVerified):
        await accounts.resend(await accounts.signed_in())
    assert await accounts.outcomes() == [Delivered(NOT_SENT)]
    assert not accounts.mail.received


@pytest.mark.parametrize("change", [{"email": "changed@example.com"}, {"is_active": False}])
async def test_mail_to_an_account_that_has_changed_is_not_sent(
    accounts: AccountMails, change: dict[str, object]
) -> None:
    user = await accounts.has_registered()
    accounts.change(replace(user, **change))  # type: ignore[arg-type]
    assert [type(outcome) for outcome in await accounts.outcomes()] == [Delivered]
    assert not accounts.mail.received


async def test_other_mails_are_sent_unchanged(accounts: AccountMails) -> None:
    user = await accounts.has_registered()
    async with accounts.units() as work:
        await work.messages.enqueue_facilitator_approved(user.id)
        await work.commit()
    while await accounts.outcomes():
        pass
    assert "token" not in accounts.mail.received[-1].payload


async def test_registration_with_login_sends_the_mail(accounts: AccountMails) -> None:
    await accounts.register_and_log_in()(a_registration(), address=ADDRESS)
    assert accounts.wake_ups.calls == 1
    assert await accounts.mailed_token()


async def test_account_of_an_operator_is_verified(accounts: AccountMails) -> None:
    create = CreateAccount(
        accounts.units, accounts.hasher, accounts.limiter, accounts.wake_ups, accounts.clock, PasswordPolicy.CONTRACT
    )
    user = await create(a_registration(), address="local")
    assert user.is_verified
    assert accounts.users() == [user]
    assert not accounts.messages()


@pytest.mark.parametrize("verified", [True, False])
async def test_addresses_that_google_has_verified_count(accounts: AccountMails, *, verified: bool) -> None:
    sign_in = SignInWithIdentity(accounts.units, accounts.start_login, accounts.wake_ups, accounts.clock)
    identity = ExternalIdentity("google", "a subject", EMAIL, verified, "Ada", None)
    logged_in = await sign_in(identity)
    assert logged_in.user.is_verified is verified
    assert len(accounts.messages()) == (0 if verified else 1)
    assert accounts.wake_ups.calls == (0 if verified else 1)
