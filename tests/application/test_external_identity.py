"""The rules of sign-in with an external identity."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from application.accounts.account_tokens import issue_token
from application.accounts.external_identity import (
    MAX_CODE,
    STARTS_PER_ADDRESS,
    TOKENS_PER_ADDRESS,
    TRIES,
    FinishExternalSignIn,
    SignInWithIdentity,
    SignInWithIdToken,
    StartExternalSignIn,
)
from application.oauth import ATTEMPT_LIFETIME, AttemptUnknown, OAuthAttempts, Started
from application.unit_of_work import OpenUnitOfWork
from domain.account_tokens import TokenKind
from domain.accounts import EmailTaken, InvalidCredentials, Role, User
from domain.api_keys import NewApiKey, Scope
from domain.credentials import Credential
from domain.errors import Invalid, TooManyRequests, Unauthenticated, Unavailable
from domain.external_identity import (
    AccountDeactivated,
    EmailNotShared,
    EmailNotVerified,
    ExternalIdentity,
    IdentityNotProven,
    IdentityProviderUnavailable,
    OtherExternalAccount,
    SignInDenied,
    SignInNotConfigured,
    SignInRefused,
)
from tests.support.memory.account_use_cases import ADDRESS, EMAIL, AccountUseCases
from tests.support.memory.accounts import MemoryAttempts, MemoryUsers
from tests.support.memory.credentials import MemoryIdentityProvider

CODE = "a code"


@dataclass
class SignIns:
    accounts: AccountUseCases

    def __post_init__(self) -> None:
        self.provider = MemoryIdentityProvider()
        self.attempts = OAuthAttempts(MemoryAttempts(self.accounts.store), self.accounts.clock)
        self.sign_in = self.signing_in(self.accounts.units)
        self.start = StartExternalSignIn(self.provider, self.attempts, self.accounts.limiter)
        self.finish = FinishExternalSignIn(self.provider, self.attempts, self.sign_in)
        self.by_token = SignInWithIdToken(self.provider, self.sign_in, self.accounts.limiter)

    def signing_in(self, units: OpenUnitOfWork, *, smtputf8: bool = False) -> SignInWithIdentity:
        return SignInWithIdentity(
            units, self.accounts.start_login, self.accounts.wake_ups, self.accounts.clock, smtputf8
        )

    async def returns(self, started: Started, **parameters: str | None) -> User:
        """The browser returns from the consent screen."""
        usual: dict[str, Any] = {"state": started.state, "browser": started.browser, "code": CODE, "error": None}
        return (await self.finish(**usual | parameters, address=ADDRESS)).user


@pytest.fixture
def accounts() -> AccountUseCases:
    return AccountUseCases()


@pytest.fixture
def google(accounts: AccountUseCases) -> SignIns:
    return SignIns(accounts)


def an_identity(**claims: Any) -> ExternalIdentity:
    usual: dict[str, Any] = {"email": EMAIL, "email_verified": True, "name": "Ada", "picture": "https://p.example/1"}
    return ExternalIdentity(**{"provider": "google", "subject": "one"} | usual | claims)


async def stored(accounts: AccountUseCases, user: User, **changes: Any) -> User:
    changed = replace(user, **changes)
    async with accounts.units() as work:
        await work.users.save(changed)
        await work.commit()
    return changed


# Accounts


async def test_new_account_has_role_user_and_no_password(accounts: AccountUseCases, google: SignIns) -> None:
    logged_in = await google.sign_in(an_identity(), address=ADDRESS)

    assert accounts.users() == [logged_in.user]
    user = logged_in.user
    assert (user.email, user.name, user.role, user.external_id) == (EMAIL, "Ada", Role.USER, "one")
    assert (user.is_verified, user.profile_picture) == (True, "https://p.example/1")
    assert accounts.password_hash(user.id) is None
    assert (await accounts.is_authenticated(logged_in)).user == user
    assert len(accounts.networks_of(user)) == 1


async def test_new_account_is_named_by_the_client_or_by_its_email(google: SignIns) -> None:
    nameless = an_identity(name=" ")
    assert (await google.sign_in(nameless, name="Countess")).user.name == "Countess"
    other = an_identity(subject="two", email="grace@example.com", name=None)
    assert (await google.sign_in(other)).user.name == "grace"


async def test_account_is_found_by_provider_and_subject(accounts: AccountUseCases, google: SignIns) -> None:
    first = (await google.sign_in(an_identity())).user
    again = (await google.sign_in(an_identity(email="moved@example.com", picture="https://p.example/2"))).user

    assert accounts.users() == [again]
    assert again == replace(first, profile_picture="https://p.example/2"), "the address of the account stays"


async def test_linked_account_needs_no_email(google: SignIns) -> None:
    first = (await google.sign_in(an_identity())).user
    assert (await google.sign_in(an_identity(email=None, picture=None))).user == first


async def test_identity_without_email_has_no_account(accounts: AccountUseCases, google: SignIns) -> None:
    with pytest.raises(EmailNotShared):
        await google.sign_in(an_identity(email=None))
    assert not accounts.users()


async def test_new_account_needs_an_address_that_mail_can_be_sent_to(
    accounts: AccountUseCases, google: SignIns
) -> None:
    identity = an_identity(email="zoë@example.com")
    with pytest.raises(Invalid) as refused:
        await google.sign_in(identity)
    assert list(refused.value.details) == ["email"]
    assert (await google.signing_in(accounts.units, smtputf8=True)(identity)).user.email == "zoë@example.com"


async def test_account_with_the_email_is_linked(accounts: AccountUseCases, google: SignIns) -> None:
    registered = await accounts.has_registered()
    proven = await stored(accounts, registered, is_verified=True)
    linked = (await google.sign_in(an_identity())).user

    assert linked == replace(proven, external_id="one", profile_picture="https://p.example/1")
    await accounts.has_logged_in()  # the password of a proven owner stays


async def test_unverified_address_links_no_account(accounts: AccountUseCases, google: SignIns) -> None:
    registered = await accounts.has_registered()
    with pytest.raises(EmailNotVerified):
        await google.sign_in(an_identity(email_verified=False))
    assert accounts.users() == [registered]


async def test_account_of_another_identity_is_refused(accounts: AccountUseCases, google: SignIns) -> None:
    first = (await google.sign_in(an_identity())).user
    with pytest.raises(OtherExternalAccount):
        await google.sign_in(an_identity(subject="two"))
    assert accounts.users() == [first]


async def test_all_access_ends_when_the_owner_proves_the_address(accounts: AccountUseCases, google: SignIns) -> None:
    """An attacker may have registered with the address before its owner."""
    registered = await accounts.has_registered()
    before = await accounts.has_logged_in()
    accounts.has_calendars(registered)
    async with accounts.units() as work:
        await issue_token(work, TokenKind.VERIFY_EMAIL, registered, email=EMAIL, now=accounts.clock.now())
        key = NewApiKey("CRM", frozenset({Scope.BOOKINGS_READ}), None)
        await work.api_keys.add(registered.id, key, accounts.clock.now(), prefix="cvk_0", fingerprint=b"hash")
        await work.commit()
    accounts.store.tables.of("idempotency_keys")[f"user:{registered.id}", "a key"] = "an answer"
    async with accounts.units() as work:
        factor_id = await work.second_factors.add_totp(registered.id, "Phone", "a secret", accounts.clock.now())
        await work.second_factors.confirm_totp(registered.id, factor_id, 1, accounts.clock.now())
        await work.second_factors.replace_recovery_codes(registered.id, [b"a code"], accounts.clock.now())
        await work.commit()
    logged_in = await google.sign_in(an_identity(), address="198.51.100.7")

    assert accounts.users() == [logged_in.user]
    assert (logged_in.user.is_verified, logged_in.user.token_version) == (True, 2)
    assert accounts.end_reasons() == ["address proven by its owner with Google", None]
    with pytest.raises(Unauthenticated):
        await accounts.is_authenticated(before)
    with pytest.raises(Unauthenticated):
        await accounts.refresh()(before.refresh_token)
    with pytest.raises(InvalidCredentials):
        await accounts.has_logged_in()
    assert accounts.calendars_of(registered) == set()
    assert not accounts.store.tables.of("idempotency_keys")
    assert len(accounts.networks_of(registered)) == 1, "that of the sign-in alone"
    await accounts.is_authenticated(logged_in)
    assert not [row for row in accounts.store.tables.of("account_tokens").values() if row.used_at is None]
    assert await accounts.actors.find_by_key(b"hash") is None
    assert not accounts.store.tables.of("second_factors")
    assert not accounts.store.tables.of("recovery_codes")
    assert len(Credential) == 9, "each kind of credential is checked above"


async def test_identity_linked_before_the_proof_is_replaced(accounts: AccountUseCases, google: SignIns) -> None:
    unproven = (await google.sign_in(an_identity(email_verified=False))).user
    assert not unproven.is_verified
    owner = (await google.sign_in(an_identity(subject="two"))).user
    assert (owner.id, owner.external_id, owner.is_verified) == (unproven.id, "two", True)


async def test_deactivated_account_is_refused(accounts: AccountUseCases, google: SignIns) -> None:
    user = await stored(accounts, (await google.sign_in(an_identity())).user, is_active=False)
    with pytest.raises(AccountDeactivated):
        await google.sign_in(an_identity())
    assert accounts.users() == [user]
    assert accounts.end_reasons() == [None], "no second login"


async def test_deactivated_account_is_not_linked(accounts: AccountUseCases, google: SignIns) -> None:
    user = await stored(accounts, await accounts.has_registered(), is_active=False)
    with pytest.raises(AccountDeactivated):
        await google.sign_in(an_identity())
    assert accounts.users() == [user]


# Concurrent first sign-ins. Their race is tested on PostgreSQL.


@pytest.mark.parametrize("failures", [1, TRIES - 1, TRIES])
async def test_sign_in_is_tried_again_when_a_concurrent_one_adds_the_account(
    accounts: AccountUseCases, google: SignIns, failures: int
) -> None:
    tries = []

    class Interfering(SignInWithIdentity):
        async def _account(self, *arguments: Any) -> User:
            tries.append(arguments)
            if len(tries) <= failures:
                raise EmailTaken
            return await SignInWithIdentity._account(self, *arguments)

    sign_in = Interfering(accounts.units, accounts.start_login, accounts.wake_ups, accounts.clock)
    if failures < TRIES:
        assert (await sign_in(an_identity())).user == accounts.users()[0]
    else:
        with pytest.raises(Unavailable):
            await sign_in(an_identity())
    assert len(tries) == min(failures + 1, TRIES)


async def test_account_that_a_concurrent_sign_in_has_linked_is_logged_in(
    google: SignIns, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = (await google.sign_in(an_identity())).user

    async def find_none(*_: object) -> None:
        """The other sign-in commits after this query, and before the account is locked."""

    monkeypatch.setattr(MemoryUsers, "find_by_identity", find_none)
    assert (await google.sign_in(an_identity())).user == first


# The flow in a browser


async def test_attempt_is_completed_with_its_code(accounts: AccountUseCases, google: SignIns) -> None:
    url, started = await google.start(address=ADDRESS)
    google.provider.identities[CODE] = an_identity()

    assert started.state in url
    assert started.verifier not in url
    assert await google.returns(started) == accounts.users()[0]


async def test_attempt_can_be_completed_once(google: SignIns) -> None:
    _, started = await google.start(address=ADDRESS)
    google.provider.identities |= {CODE: an_identity(), "another code": an_identity()}
    await google.returns(started)
    with pytest.raises(AttemptUnknown):
        await google.returns(started, code="another code")


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"error": "access_denied"}, SignInDenied),
        ({"error": "server_error"}, IdentityProviderUnavailable),
        ({"error": "temporarily_unavailable"}, IdentityProviderUnavailable),
        ({"error": "invalid_scope"}, SignInRefused),
        ({"code": None}, SignInRefused),
        ({"code": "x" * (MAX_CODE + 1)}, SignInRefused),
        ({"code": "unknown"}, SignInRefused),
    ],
)
async def test_failed_attempt_cannot_be_completed_again(
    google: SignIns, parameters: dict[str, str | None], error: type[Exception]
) -> None:
    _, started = await google.start(address=ADDRESS)
    google.provider.identities |= {CODE: an_identity(), "x" * (MAX_CODE + 1): an_identity()}
    with pytest.raises(error):
        await google.returns(started, **parameters)
    with pytest.raises(AttemptUnknown):
        await google.returns(started)


@pytest.mark.parametrize("value", ["another", None])
@pytest.mark.parametrize("secret", ["browser", "state"])
async def test_attempt_of_another_browser_is_refused(google: SignIns, secret: str, value: str | None) -> None:
    _, started = await google.start(address=ADDRESS)
    google.provider.identities[CODE] = an_identity()
    with pytest.raises(AttemptUnknown):
        await google.returns(started, **{secret: value})
    await google.returns(started)


async def test_denial_without_a_state_is_answered_as_a_denial(google: SignIns) -> None:
    _, started = await google.start(address=ADDRESS)
    with pytest.raises(SignInDenied):
        await google.returns(started, state=None, error="access_denied", code=None)


async def test_attempt_is_valid_for_10_minutes(accounts: AccountUseCases, google: SignIns) -> None:
    _, in_time = await google.start(address=ADDRESS)
    _, too_late = await google.start(address=ADDRESS)
    google.provider.identities[CODE] = an_identity()
    accounts.clock.advance(ATTEMPT_LIFETIME)
    await google.returns(in_time)
    accounts.clock.advance(timedelta(microseconds=1))
    with pytest.raises(AttemptUnknown):
        await google.returns(too_late)


async def test_stored_attempt_does_not_contain_the_secrets_of_the_browser(
    accounts: AccountUseCases, google: SignIns
) -> None:
    _, started = await google.start(address=ADDRESS)
    (attempt,) = accounts.store.tables.of("oauth_attempts").values()
    assert started.state.encode() not in {attempt.state, attempt.browser}
    assert started.browser.encode() not in {attempt.state, attempt.browser}


async def test_starts_are_limited_per_network(google: SignIns) -> None:
    for _ in range(STARTS_PER_ADDRESS.times):
        await google.start(address=ADDRESS)
    with pytest.raises(TooManyRequests):
        await google.start(address=ADDRESS)
    await google.start(address="198.51.100.7")


async def test_no_attempt_is_stored_while_the_provider_is_unavailable(
    accounts: AccountUseCases, google: SignIns
) -> None:
    google.provider.is_available = False
    with pytest.raises(IdentityProviderUnavailable):
        await google.start(address=ADDRESS)
    assert not accounts.store.tables.of("oauth_attempts")


# ID tokens of clients


def with_token(google: SignIns, **changes: str) -> Awaitable[Any]:
    claimed = {"id_token": CODE, "subject": "one", "email": EMAIL, "name": "Countess"}
    return google.by_token(**claimed | changes, address=ADDRESS)


async def test_id_token_signs_in(accounts: AccountUseCases, google: SignIns) -> None:
    google.provider.identities[CODE] = an_identity(name=None)
    assert (await with_token(google)).user == accounts.users()[0]
    assert accounts.users()[0].name == "Countess"


@pytest.mark.parametrize(
    ("claim", "value", "field"), [("subject", "two", "google_id"), ("email", "grace@example.com", "email")]
)
async def test_id_token_proves_the_other_arguments(
    accounts: AccountUseCases, google: SignIns, claim: str, value: str, field: str
) -> None:
    google.provider.identities[CODE] = an_identity()
    with pytest.raises(Invalid) as refused:
        await with_token(google, **{claim: value})
    assert list(refused.value.details) == [field]
    assert not accounts.users()


async def test_failed_id_tokens_are_limited_per_network(google: SignIns) -> None:
    google.provider.identities[CODE] = an_identity()
    for _ in range(TOKENS_PER_ADDRESS.times):
        with pytest.raises(IdentityNotProven):
            await with_token(google, id_token="forged")
    with pytest.raises(TooManyRequests):
        await with_token(google)


async def test_successful_id_tokens_do_not_count(accounts: AccountUseCases, google: SignIns) -> None:
    google.provider.identities[CODE] = an_identity()
    await with_token(google)
    assert accounts.limiter.counted(TOKENS_PER_ADDRESS, ADDRESS) == 0


# Without a provider


async def test_sign_in_without_a_provider_is_not_configured(accounts: AccountUseCases, google: SignIns) -> None:
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: StartExternalSignIn(None, google.attempts, accounts.limiter)(address=ADDRESS),
        lambda: FinishExternalSignIn(None, google.attempts, google.sign_in)(
            state=None, browser=None, code=None, error="access_denied", address=ADDRESS
        ),
        lambda: SignInWithIdToken(None, google.sign_in, accounts.limiter)(
            id_token="", subject="", email="", name="", address=ADDRESS
        ),
    ]
    for call in calls:
        with pytest.raises(SignInNotConfigured):
            await call()
