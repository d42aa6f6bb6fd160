"""The rules of an account's second factors and of its recovery codes."""

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest

from application.accounts.administration import ResetSecondFactors
from application.accounts.api_keys import CreateApiKey
from application.accounts.reauthentication import Proof
from application.accounts.second_factors import CONFIRMATIONS_PER_ACCOUNT, FactorsOfAccount
from application.accounts.sessions import Actor, Authenticate, RequiredFactors
from domain.accounts import RECENT_SIGN_IN, InvalidCredentials, RecentSignInRequired, Role, UserNotFound
from domain.api_keys import ApiKeyRequest
from domain.errors import DomainError, Invalid, TooManyRequests, Unauthenticated
from domain.outbox import MessageType
from domain.second_factors import (
    ENROLMENT_LIFETIME,
    MAX_FACTORS,
    RECOVERY_CODES,
    EnrolmentNotFound,
    FactorId,
    FactorKind,
    FactorNotFound,
    NoSecondFactor,
    SecondFactorNotValid,
    SecondFactorRequiredForRole,
    TooManyFactors,
    TotpNotConfigured,
)
from tests.application.factor_use_cases import BY_PASSWORD, OF_GOOGLE, FactorUseCases
from tests.support.memory.account_use_cases import ADDRESS, EMAIL
from tests.support.memory.audit_log import audit_entries
from tests.support.memory.second_factors import MemoryFactorQueries, MemorySecondFactors


@pytest.fixture
def accounts() -> FactorUseCases:
    return FactorUseCases()


@pytest.fixture
async def actor(accounts: FactorUseCases) -> Actor:
    await accounts.has_registered()
    await accounts.outcomes()
    return await accounts.signed_in()


def mailed(accounts: FactorUseCases) -> int:
    return [message.message_type for message in accounts.messages()].count(MessageType.SECOND_FACTOR_CHANGED)


# Authenticator apps


async def test_app_is_a_factor_after_a_code_has_confirmed_it(accounts: FactorUseCases, actor: Actor) -> None:
    started = await accounts.start(actor, BY_PASSWORD, name="  Phone ", address=ADDRESS)
    assert started.uri == f"otpauth://totp/Convene:{EMAIL}?secret={started.secret}&issuer=Convene"
    assert started.expires_at == accounts.clock.moment + ENROLMENT_LIFETIME
    assert await accounts.list_factors(actor) == FactorsOfAccount([], 0)
    await accounts.has_logged_in()

    enrolled = await accounts.confirm(actor, started.id, accounts.code(secret=started.secret))
    factor = enrolled.factor
    assert (factor.id, factor.kind, factor.name) == (started.id, FactorKind.TOTP, "Phone")
    assert (factor.created_at, factor.last_used_at) == (accounts.clock.moment, None)
    assert await accounts.list_factors(actor) == FactorsOfAccount([factor], RECOVERY_CODES)


async def test_first_factor_has_recovery_codes_and_others_do_not(accounts: FactorUseCases, actor: Actor) -> None:
    first, second = await accounts.has_app(actor), await accounts.has_app(actor)
    assert first.recovery_codes is not None
    assert len(set(first.recovery_codes)) == RECOVERY_CODES
    assert {len(code) for code in first.recovery_codes} == {29}
    assert second.recovery_codes is None


async def test_wrong_code_does_not_confirm_and_can_be_corrected(accounts: FactorUseCases, actor: Actor) -> None:
    started = await accounts.start(actor, BY_PASSWORD, name="Phone", address=ADDRESS)
    for wrong in (accounts.code(secret=started.secret, steps=2), "", "12345", "x" * 1000):
        with pytest.raises(Invalid) as refused:
            await accounts.confirm(actor, started.id, wrong)
        assert list(refused.value.details) == ["code"]
    await accounts.confirm(actor, started.id, accounts.code(secret=started.secret))


async def test_confirmations_are_limited(accounts: FactorUseCases, actor: Actor) -> None:
    started = await accounts.start(actor, BY_PASSWORD, name="Phone", address=ADDRESS)
    for _ in range(CONFIRMATIONS_PER_ACCOUNT.times):
        with pytest.raises(Invalid):
            await accounts.confirm(actor, started.id, "wrong")
    with pytest.raises(TooManyRequests):
        await accounts.confirm(actor, started.id, accounts.code(secret=started.secret))


@pytest.mark.parametrize("change", ["late", "replaced", "confirmed", "of another account", "unknown"])
async def test_enrolment_that_has_ended_is_not_found(accounts: FactorUseCases, actor: Actor, change: str) -> None:
    started = await accounts.start(actor, BY_PASSWORD, name="Phone", address=ADDRESS)
    factor_id, confirms = started.id, actor
    match change:
        case "late":
            accounts.clock.advance(ENROLMENT_LIFETIME)
        case "replaced":
            await accounts.start(actor, BY_PASSWORD, name="Phone", address=ADDRESS)
        case "confirmed":
            await accounts.confirm(actor, started.id, accounts.code(secret=started.secret))
        case "of another account":
            await accounts.has_registered(email="other@example.com")
            confirms = await accounts.is_authenticated(await accounts.has_logged_in(email="other@example.com"))
        case _:
            factor_id = FactorId(uuid4())
    with pytest.raises(EnrolmentNotFound):
        await accounts.confirm(confirms, factor_id, accounts.code(secret=started.secret))


async def test_enrolment_can_be_confirmed_until_its_end(accounts: FactorUseCases, actor: Actor) -> None:
    started = await accounts.start(actor, BY_PASSWORD, name="Phone", address=ADDRESS)
    accounts.clock.advance(ENROLMENT_LIFETIME - timedelta(seconds=1))
    await accounts.confirm(actor, started.id, accounts.code(secret=started.secret))


async def test_number_of_factors_is_limited(accounts: FactorUseCases, actor: Actor) -> None:
    for _ in range(MAX_FACTORS - 1):
        await accounts.has_app(actor)
    pending = await accounts.start(actor, BY_PASSWORD, name="Phone", address=ADDRESS)
    await accounts.confirm(actor, pending.id, accounts.code(secret=pending.secret))
    with pytest.raises(TooManyFactors):
        await accounts.start(actor, BY_PASSWORD, name="Phone", address=ADDRESS)


async def test_apps_need_a_key_of_the_operator(
    accounts: FactorUseCases, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def without_key(*_: object) -> None:
        raise TotpNotConfigured

    monkeypatch.setattr(MemorySecondFactors, "add_totp", without_key)
    with pytest.raises(TotpNotConfigured) as refused:
        await accounts.start(actor, BY_PASSWORD, name="Phone", address=ADDRESS)
    assert refused.value.retry_after is None, "waiting does not help"


@pytest.mark.parametrize("name", ["", " ", "x" * 61, "a\nb"])
async def test_factor_has_a_name(accounts: FactorUseCases, actor: Actor, name: str) -> None:
    enrolled = await accounts.has_app(actor)
    with pytest.raises(Invalid):
        await accounts.start(actor, BY_PASSWORD, name=name, address=ADDRESS)
    with pytest.raises(Invalid):
        await accounts.rename(actor, BY_PASSWORD, enrolled.factor.id, name=name, address=ADDRESS)


# Changes


async def test_factor_is_renamed(accounts: FactorUseCases, actor: Actor) -> None:
    enrolled = await accounts.has_app(actor)
    renamed = await accounts.rename(actor, BY_PASSWORD, enrolled.factor.id, name="Tablet", address=ADDRESS)
    assert renamed == replace(enrolled.factor, name="Tablet")
    assert (await accounts.list_factors(actor)).factors == [renamed]


async def test_recovery_codes_end_with_the_last_factor(accounts: FactorUseCases, actor: Actor) -> None:
    first, second = await accounts.has_app(actor), await accounts.has_app(actor)
    await accounts.remove(actor, BY_PASSWORD, first.factor.id, address=ADDRESS)
    assert await accounts.list_factors(actor) == FactorsOfAccount([second.factor], RECOVERY_CODES)
    await accounts.remove(actor, BY_PASSWORD, second.factor.id, address=ADDRESS)
    assert await accounts.list_factors(actor) == FactorsOfAccount([], 0)
    await accounts.has_logged_in()


async def test_factors_of_others_are_not_found(accounts: FactorUseCases, actor: Actor) -> None:
    factor_id = (await accounts.has_app(actor)).factor.id
    await accounts.has_registered(email="other@example.com")
    other = await accounts.is_authenticated(await accounts.has_logged_in(email="other@example.com"))
    for foreign in (factor_id, FactorId(uuid4())):
        with pytest.raises(FactorNotFound):
            await accounts.rename(other, BY_PASSWORD, foreign, name="Mine", address=ADDRESS)
        with pytest.raises(FactorNotFound):
            await accounts.remove(other, BY_PASSWORD, foreign, address=ADDRESS)


async def test_recovery_codes_are_replaced(accounts: FactorUseCases, actor: Actor) -> None:
    with pytest.raises(NoSecondFactor):
        await accounts.replace_codes(actor, BY_PASSWORD, address=ADDRESS)
    before = (await accounts.has_app(actor)).recovery_codes
    after = await accounts.replace_codes(actor, BY_PASSWORD, address=ADDRESS)
    assert before is not None
    assert not set(before) & set(after)
    with pytest.raises(SecondFactorNotValid):
        await accounts.completes(before[0])
    await accounts.completes(after[0])


async def test_owner_gets_a_mail_about_each_change(accounts: FactorUseCases, actor: Actor) -> None:
    calls = accounts.wake_ups.calls
    enrolled = await accounts.has_app(actor)
    assert mailed(accounts) == 1
    await accounts.replace_codes(actor, BY_PASSWORD, address=ADDRESS)
    assert mailed(accounts) == 2
    await accounts.remove(actor, BY_PASSWORD, enrolled.factor.id, address=ADDRESS)
    assert mailed(accounts) == 3
    assert accounts.wake_ups.calls == calls + 3
    assert accounts.messages()[-1].payload["person"]["email"] == EMAIL


async def test_changes_are_recorded_without_names_and_secrets(accounts: FactorUseCases, actor: Actor) -> None:
    enrolled = await accounts.has_app(actor)
    factor_id = enrolled.factor.id
    await accounts.rename(actor, BY_PASSWORD, factor_id, name="Ada's tablet", address=ADDRESS)
    await accounts.replace_codes(actor, BY_PASSWORD, address=ADDRESS)
    with pytest.raises(SecondFactorNotValid):
        await accounts.completes("wrong")
    assert enrolled.recovery_codes is not None
    codes = await accounts.replace_codes(actor, BY_PASSWORD, address=ADDRESS)
    await accounts.completes(codes[0])
    await accounts.remove(actor, BY_PASSWORD, factor_id, address=ADDRESS)
    entries = [entry for entry in audit_entries(accounts.store) if entry.action.startswith(("factor", "recovery"))]
    factor = {"factor": str(factor_id)}
    assert [(entry.action, entry.after) for entry in entries] == [
        ("factor.added", factor),
        ("recovery_codes.replaced", {"recovery_codes": 10}),
        ("factor.renamed", factor),
        ("recovery_codes.replaced", {"recovery_codes": 10}),
        ("factor.failed", None),
        ("recovery_codes.replaced", {"recovery_codes": 10}),
        ("recovery_code.used", None),
        ("factor.removed", factor),
        ("recovery_codes.replaced", {"recovery_codes": 0}),
    ]
    assert {(entry.audited.kind, entry.audited.id) for entry in entries} == {("account", str(actor.user.id))}
    assert not any(secret in repr(entries) for secret in ("Ada", accounts.secret, codes[0], EMAIL))


# Proof that the account is the person's


async def test_changes_need_the_password_or_a_code(accounts: FactorUseCases, actor: Actor) -> None:
    enrolled = await accounts.has_app(actor)
    factor_id = enrolled.factor.id
    wrong: list[tuple[Proof, type[DomainError]]] = [
        (Proof(), InvalidCredentials),
        (Proof(password="wrong password"), InvalidCredentials),
        (Proof(factor="000000"), SecondFactorNotValid),
        (Proof(password="wrong password", factor="wrong"), SecondFactorNotValid),
    ]
    for proof, refused in wrong:
        with pytest.raises(refused):
            await accounts.start(actor, proof, name="Phone", address=ADDRESS)
        with pytest.raises(refused):
            await accounts.rename(actor, proof, factor_id, name="Mine", address=ADDRESS)
        with pytest.raises(refused):
            await accounts.remove(actor, proof, factor_id, address=ADDRESS)
        with pytest.raises(refused):
            await accounts.replace_codes(actor, proof, address=ADDRESS)
    assert (await accounts.list_factors(actor)).factors == [enrolled.factor]


async def test_code_is_a_proof_once(accounts: FactorUseCases, actor: Actor) -> None:
    enrolled = await accounts.has_app(actor)
    proof = Proof(factor=accounts.code())
    codes = await accounts.replace_codes(actor, proof, address=ADDRESS)
    with pytest.raises(SecondFactorNotValid):
        await accounts.remove(actor, proof, enrolled.factor.id, address=ADDRESS)
    await accounts.remove(actor, Proof(factor=codes[0]), enrolled.factor.id, address=ADDRESS)


async def test_attempts_with_passwords_and_codes_are_limited(accounts: FactorUseCases, actor: Actor) -> None:
    await accounts.has_app(actor)
    for proof, refused in (
        (Proof(password="wrong password"), InvalidCredentials),
        (Proof(factor="wrong"), SecondFactorNotValid),
    ):
        for _ in range(10):
            with pytest.raises(refused):
                await accounts.replace_codes(actor, proof, address=ADDRESS)
        with pytest.raises(TooManyRequests):
            await accounts.replace_codes(actor, proof, address=ADDRESS)


async def test_recent_login_is_a_proof_for_an_account_without_a_password(accounts: FactorUseCases) -> None:
    signed_in = await accounts.is_authenticated(await accounts.sign_in(OF_GOOGLE))
    accounts.clock.advance(RECENT_SIGN_IN)
    await accounts.has_app(signed_in, Proof())
    accounts.clock.advance(timedelta(seconds=1))
    with pytest.raises(RecentSignInRequired):
        await accounts.replace_codes(signed_in, Proof(), address=ADDRESS)
    await accounts.replace_codes(signed_in, Proof(factor=accounts.code()), address=ADDRESS)


async def test_change_for_an_access_that_has_ended_is_refused(accounts: FactorUseCases, actor: Actor) -> None:
    accounts.change(replace(actor.user, token_version=2))
    with pytest.raises(Unauthenticated):
        await accounts.start(actor, BY_PASSWORD, name="Phone", address=ADDRESS)


# Required factors


def required_of(accounts: FactorUseCases, *roles: Role) -> Authenticate:
    required = RequiredFactors(frozenset(roles), MemoryFactorQueries(accounts.store))
    return replace(accounts.authenticate, required_factors=required)


async def test_role_without_its_factor_may_only_add_one(accounts: FactorUseCases, actor: Actor) -> None:
    logged_in = await accounts.has_logged_in()
    authenticate = required_of(accounts, Role.USER)
    with pytest.raises(SecondFactorRequiredForRole):
        await authenticate(logged_in.access_token)
    await accounts.has_app(await authenticate(logged_in.access_token, enrolling=True))
    await authenticate(logged_in.access_token)
    await authenticate(logged_in.access_token, enrolling=True)


async def test_key_of_an_account_without_its_factor_is_refused(accounts: FactorUseCases, actor: Actor) -> None:
    create_key = CreateApiKey(accounts.units, accounts.limiter, accounts.clock, at_most=1)
    _, secret = await create_key(actor, ApiKeyRequest("CRM", ["bookings:read"]))
    authenticate = required_of(accounts, Role.USER)
    with pytest.raises(SecondFactorRequiredForRole):
        await authenticate(secret)
    await accounts.has_app(actor)
    await authenticate(secret)


async def test_other_roles_need_no_factor(accounts: FactorUseCases, actor: Actor) -> None:
    logged_in = await accounts.has_logged_in()
    await required_of(accounts, Role.ADMIN, Role.FACILITATOR)(logged_in.access_token)


# Operators


async def test_operator_removes_all_factors_of_an_account(accounts: FactorUseCases, actor: Actor) -> None:
    await accounts.has_app(actor)
    reset = ResetSecondFactors(accounts.units, accounts.wake_ups, accounts.clock)
    with pytest.raises(UserNotFound):
        await reset("unknown@example.com")
    assert await reset(EMAIL) == accounts.users()[0]
    with pytest.raises(Unauthenticated):
        await accounts.replace_codes(actor, BY_PASSWORD, address=ADDRESS)
    assert await accounts.list_factors(await accounts.signed_in()) == FactorsOfAccount([], 0)
    assert mailed(accounts) == 2
    entry = next(entry for entry in audit_entries(accounts.store) if entry.action == "factors.removed")
    assert entry.after == {"reason": "second factors reset"}
