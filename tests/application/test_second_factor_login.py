"""The rules of a login to an account with a second factor."""

from dataclasses import replace
from datetime import timedelta

import pytest

from application.accounts.account_tokens import TRIES_PER_NETWORK
from application.accounts.external_identity import TOKENS_PER_ADDRESS, SignInWithIdToken
from application.accounts.password_guesses import GUESSES_PER_ACCOUNT, SecondFactorGuesses
from application.accounts.reauthentication import Proof
from application.accounts.second_factors import Enrolled
from domain.accounts import InvalidCredentials
from domain.errors import TooManyRequests
from domain.networks import network_of
from domain.second_factors import (
    TICKET_ATTEMPTS,
    TICKET_LIFETIME,
    TOTP_SECONDS,
    LoginKind,
    SecondFactorNotValid,
    SecondFactorRequired,
    TicketNotValid,
)
from tests.application.factor_use_cases import OF_GOOGLE, FactorUseCases
from tests.support.memory.account_use_cases import ADDRESS, ELSEWHERE, EMAIL, PASSWORD, a_registration
from tests.support.memory.credentials import MemoryIdentityProvider
from tests.support.memory.idempotency import claim_after_a_crash, request_under
from tests.support.memory.second_factors import MemorySecondFactors

STEP = timedelta(seconds=TOTP_SECONDS)
PER_ACCOUNT = SecondFactorGuesses.limits.per_account


@pytest.fixture
def accounts() -> FactorUseCases:
    return FactorUseCases()


@pytest.fixture
async def enrolled(accounts: FactorUseCases) -> Enrolled:
    """An account with an app, whose network has not logged in."""
    await accounts.has_registered()
    enrolled = await accounts.has_app(await accounts.signed_in())
    accounts.store.tables.of("login_networks").clear()
    accounts.store.tables.of("logins").clear()
    while await accounts.outcomes():  # the mails so far
        pass
    return enrolled


async def test_right_password_gets_a_ticket_instead_of_tokens(accounts: FactorUseCases, enrolled: Enrolled) -> None:
    with pytest.raises(SecondFactorRequired) as required:
        await accounts.has_logged_in()
    assert required.value.methods == ["totp", "recovery_code"]
    assert len(required.value.ticket) == 43, "256 bits"
    assert required.value.ticket not in repr(accounts.store.tables)
    assert not accounts.end_reasons(), "no login has started"
    assert not accounts.networks_of(accounts.users()[0])


async def test_wrong_password_reveals_no_second_factor(accounts: FactorUseCases, enrolled: Enrolled) -> None:
    with pytest.raises(InvalidCredentials):
        await accounts.has_logged_in(password="wrong password")


async def test_right_password_does_not_count_as_a_guess(accounts: FactorUseCases, enrolled: Enrolled) -> None:
    for _ in range(GUESSES_PER_ACCOUNT.times + 1):
        await accounts.ticket()


async def test_code_completes_the_login(accounts: FactorUseCases, enrolled: Enrolled) -> None:
    ticket = await accounts.ticket()
    logged_in, login = await accounts.complete(ticket, accounts.code(), address=ADDRESS)
    assert login is LoginKind.BOOKING_API
    actor = await accounts.is_authenticated(logged_in)
    assert accounts.networks_of(actor.user)
    assert (await accounts.list_factors(actor)).factors == [
        replace(enrolled.factor, last_used_at=accounts.clock.moment)
    ]


async def test_spaces_and_hyphens_in_a_code_do_not_matter(accounts: FactorUseCases, enrolled: Enrolled) -> None:
    code = accounts.code()
    await accounts.completes(f" {code[:3]} {code[3:]}\n")


@pytest.mark.parametrize("steps", [-1, 0, 1])
async def test_code_of_a_neighbouring_step_is_accepted(
    accounts: FactorUseCases, enrolled: Enrolled, steps: int
) -> None:
    accounts.clock.advance(STEP)
    await accounts.completes(accounts.code(steps=steps))


@pytest.mark.parametrize("steps", [-2, 2])
async def test_code_of_another_step_is_refused(accounts: FactorUseCases, enrolled: Enrolled, steps: int) -> None:
    accounts.clock.advance(10 * STEP)
    with pytest.raises(SecondFactorNotValid):
        await accounts.completes(accounts.code(steps=steps))


async def test_code_that_confirmed_the_app_is_not_accepted_again(accounts: FactorUseCases, enrolled: Enrolled) -> None:
    with pytest.raises(SecondFactorNotValid):
        await accounts.completes(accounts.code(steps=-1))


async def test_code_is_accepted_once_and_earlier_ones_no_more(accounts: FactorUseCases, enrolled: Enrolled) -> None:
    await accounts.completes(accounts.code(steps=1))
    for steps in (1, 0):
        with pytest.raises(SecondFactorNotValid):
            await accounts.completes(accounts.code(steps=steps))
    accounts.clock.advance(STEP)
    await accounts.completes(accounts.code(steps=1))


async def test_codes_of_every_app_are_accepted(accounts: FactorUseCases, enrolled: Enrolled) -> None:
    first = accounts.secret
    await accounts.has_app(await accounts.is_authenticated(await accounts.completes(accounts.code())))
    await accounts.completes(accounts.code())
    await accounts.completes(accounts.code(secret=first, steps=1))


async def test_code_that_is_used_at_the_same_time_is_refused(
    accounts: FactorUseCases, enrolled: Enrolled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another login has used it since the factor was read."""

    async def used_meanwhile(*_: object) -> bool:
        return False

    monkeypatch.setattr(MemorySecondFactors, "use_totp", used_meanwhile)
    with pytest.raises(SecondFactorNotValid):
        await accounts.completes(accounts.code())


# Recovery codes


async def test_recovery_code_is_accepted_once(accounts: FactorUseCases, enrolled: Enrolled) -> None:
    assert enrolled.recovery_codes is not None
    first, second, *_ = enrolled.recovery_codes
    actor = await accounts.is_authenticated(await accounts.completes(first))
    assert (await accounts.list_factors(actor)).recovery_codes == 9
    with pytest.raises(SecondFactorNotValid):
        await accounts.completes(first)
    await accounts.completes(second.upper().replace("-", " ").replace("0", "O").replace("1", "L"))


async def test_recovery_codes_are_not_stored(accounts: FactorUseCases, enrolled: Enrolled) -> None:
    stored = repr(accounts.store.tables)
    for code in enrolled.recovery_codes or ():
        assert code not in stored
        assert code.replace("-", "") not in stored


async def test_recovery_code_of_another_account_is_refused(accounts: FactorUseCases, enrolled: Enrolled) -> None:
    await accounts.has_registered(email="other@example.com")
    other = await accounts.is_authenticated(await accounts.has_logged_in(email="other@example.com"))
    foreign = (await accounts.has_app(other)).recovery_codes
    assert foreign is not None
    with pytest.raises(SecondFactorNotValid):
        await accounts.completes(foreign[0])


# Tickets


async def test_ticket_is_used_once(accounts: FactorUseCases, enrolled: Enrolled) -> None:
    ticket = await accounts.ticket()
    await accounts.completes(accounts.code(), ticket=ticket)
    with pytest.raises(TicketNotValid):
        await accounts.completes(accounts.code(steps=1), ticket=ticket)


async def test_ticket_has_a_number_of_attempts(accounts: FactorUseCases, enrolled: Enrolled) -> None:
    ticket = await accounts.ticket()
    for _ in range(TICKET_ATTEMPTS):
        with pytest.raises(SecondFactorNotValid):
            await accounts.completes("wrong", ticket=ticket)
    with pytest.raises(TicketNotValid):
        await accounts.completes(accounts.code(), ticket=ticket)
    await accounts.completes(accounts.code())


async def test_ticket_expires(accounts: FactorUseCases, enrolled: Enrolled) -> None:
    late, intime = await accounts.ticket(), await accounts.ticket()
    accounts.clock.advance(TICKET_LIFETIME - timedelta(seconds=1))
    await accounts.completes(accounts.code(), ticket=intime)
    accounts.clock.advance(timedelta(seconds=1))
    with pytest.raises(TicketNotValid):
        await accounts.completes(accounts.code(steps=1), ticket=late)


@pytest.mark.parametrize("change", [{"token_version": 2}, {"is_active": False}])
async def test_ticket_ends_with_the_access_to_the_account(
    accounts: FactorUseCases, enrolled: Enrolled, change: dict[str, object]
) -> None:
    ticket = await accounts.ticket()
    accounts.change(replace(accounts.users()[0], **change))  # type: ignore[arg-type]
    with pytest.raises(TicketNotValid):
        await accounts.completes(accounts.code(), ticket=ticket)


async def test_unknown_tickets_are_limited_per_network(accounts: FactorUseCases, enrolled: Enrolled) -> None:
    for _ in range(TRIES_PER_NETWORK.times):
        with pytest.raises(TicketNotValid):
            await accounts.completes("a code", ticket="guess")
    with pytest.raises(TooManyRequests):
        await accounts.completes(accounts.code(), ticket=await accounts.ticket())
    assert accounts.limiter.counted(TRIES_PER_NETWORK, ELSEWHERE) == 0


async def test_wrong_codes_are_limited_over_all_tickets(accounts: FactorUseCases, enrolled: Enrolled) -> None:
    for _ in range(PER_ACCOUNT.times):
        with pytest.raises(SecondFactorNotValid):
            await accounts.completes("wrong")
    with pytest.raises(TooManyRequests):
        await accounts.completes(accounts.code())
    accounts.clock.advance(PER_ACCOUNT.per)
    await accounts.completes(accounts.code())
    assert accounts.limiter.counted(PER_ACCOUNT, EMAIL) == 0
    assert accounts.limiter.counted(SecondFactorGuesses.limits.per_network, network_of(ADDRESS)) == 0


async def test_network_that_has_logged_in_has_a_limit_of_its_own(accounts: FactorUseCases, enrolled: Enrolled) -> None:
    await accounts.completes(accounts.code())
    for _ in range(PER_ACCOUNT.times):
        ticket = await accounts.ticket(address=ELSEWHERE)
        with pytest.raises(SecondFactorNotValid):
            await accounts.complete(ticket, "wrong", address=ELSEWHERE)
    with pytest.raises(TooManyRequests):
        await accounts.complete(await accounts.ticket(), accounts.code(), address=ELSEWHERE)
    accounts.clock.advance(STEP)
    await accounts.completes(accounts.code())


# The other logins


@pytest.mark.parametrize("login", LoginKind)
async def test_answer_is_that_of_the_login(accounts: FactorUseCases, enrolled: Enrolled, login: LoginKind) -> None:
    with pytest.raises(SecondFactorRequired) as required:
        await accounts.log_in(email=EMAIL, password=PASSWORD, address=ADDRESS, login=login)
    assert (await accounts.complete(required.value.ticket, accounts.code(), address=ADDRESS))[1] is login


async def test_sign_in_with_google_needs_the_second_factor_too(accounts: FactorUseCases) -> None:
    signed_in = await accounts.is_authenticated(await accounts.sign_in(OF_GOOGLE))
    await accounts.has_app(signed_in, Proof())
    with pytest.raises(SecondFactorRequired) as required:
        await accounts.sign_in(OF_GOOGLE)
    logged_in, login = await accounts.complete(required.value.ticket, accounts.code(), address=ADDRESS)
    assert (logged_in.user.email, login) == (OF_GOOGLE.email, LoginKind.GOOGLE)


async def test_sign_in_with_an_id_token_needs_the_second_factor_too(accounts: FactorUseCases) -> None:
    await accounts.has_app(await accounts.is_authenticated(await accounts.sign_in(OF_GOOGLE)), Proof())
    provider = MemoryIdentityProvider()
    provider.identities["a token"] = OF_GOOGLE
    sign_in = SignInWithIdToken(provider, accounts.sign_in, accounts.limiter)
    with pytest.raises(SecondFactorRequired) as required:
        await sign_in(
            id_token="a token", subject=OF_GOOGLE.subject, email="google@example.com", name="Ada", address=ADDRESS
        )
    assert accounts.limiter.counted(TOKENS_PER_ADDRESS, network_of(ADDRESS)) == 0
    assert (await accounts.complete(required.value.ticket, accounts.code(), address=ADDRESS))[1] is (
        LoginKind.SESSIONS_API
    )


async def test_repeated_registration_needs_the_second_factor_too(accounts: FactorUseCases, enrolled: Enrolled) -> None:
    claim = replace(await claim_after_a_crash(accounts.store, accounts.clock), made=str(accounts.users()[0].id))
    with request_under(claim), pytest.raises(SecondFactorRequired):
        await accounts.register_and_log_in()(a_registration(), address=ADDRESS)


async def test_owner_who_proves_the_address_removes_the_factors_of_others(
    accounts: FactorUseCases, enrolled: Enrolled
) -> None:
    """An attacker may have registered with the address before its owner."""
    await accounts.forgot(email=EMAIL, address=ADDRESS)
    await accounts.reset(await accounts.mailed_token(), password="another password", address=ADDRESS)
    actor = await accounts.is_authenticated(await accounts.has_logged_in(password="another password"))
    assert (await accounts.list_factors(actor)).factors == []


async def test_new_password_keeps_the_factors(accounts: FactorUseCases, enrolled: Enrolled) -> None:
    accounts.change(replace(accounts.users()[0], is_verified=True))
    await accounts.forgot(email=EMAIL, address=ADDRESS)
    await accounts.reset(await accounts.mailed_token(), password="another password", address=ADDRESS)
    await accounts.ticket(password="another password")
