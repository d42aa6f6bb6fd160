"""The rules of passkeys as second factors."""

from dataclasses import replace
from datetime import timedelta

import pytest

from application.accounts.account_tokens import TRIES_PER_NETWORK
from application.accounts.reauthentication import Proof
from application.accounts.sessions import Actor
from domain.account_tokens import TOKEN_LIFETIME, TokenKind
from domain.accounts import InvalidCredentials
from domain.errors import Invalid, TooManyRequests
from domain.outbox import MessageType
from domain.second_factors import (
    MAX_FACTORS,
    FactorKind,
    NoSecondFactor,
    PasskeyNotValid,
    PasskeyTaken,
    SecondFactorNotValid,
    SecondFactorRequired,
    TicketNotValid,
    TooManyFactors,
)
from tests.application.factor_use_cases import BY_PASSWORD, FactorUseCases
from tests.support.memory.account_use_cases import ADDRESS, ELSEWHERE, EMAIL
from tests.support.memory.passkeys import RP_ID, MemoryAuthenticator

LIFETIME = TOKEN_LIFETIME[TokenKind.ADD_PASSKEY]


@pytest.fixture
def accounts() -> FactorUseCases:
    return FactorUseCases()


@pytest.fixture
async def actor(accounts: FactorUseCases) -> Actor:
    await accounts.has_registered()
    await accounts.outcomes()
    return await accounts.signed_in()


@pytest.fixture
def laptop() -> MemoryAuthenticator:
    return MemoryAuthenticator()


# Adding


async def test_passkey_is_a_factor_with_recovery_codes(
    accounts: FactorUseCases, actor: Actor, laptop: MemoryAuthenticator
) -> None:
    enrolled = await accounts.has_passkey(actor, laptop)
    assert (enrolled.factor.kind, enrolled.factor.name) == (FactorKind.PASSKEY, "Laptop")
    assert enrolled.recovery_codes is not None
    assert (await accounts.list_factors(actor)).factors == [enrolled.factor]
    assert accounts.messages()[-1].message_type is MessageType.SECOND_FACTOR_CHANGED
    assert (await accounts.has_app(actor)).recovery_codes is None


async def test_options_name_the_service_and_the_account(
    accounts: FactorUseCases, actor: Actor, laptop: MemoryAuthenticator
) -> None:
    await accounts.has_passkey(actor, laptop)
    options = await accounts.start_passkey(actor, BY_PASSWORD, address=ADDRESS)
    assert options["rp"] == {"id": RP_ID, "name": "Convene"}
    assert (options["user"]["name"], options["user"]["displayName"]) == (EMAIL, "Ada Lovelace")
    assert (len(options["user"]["id"]), len(options["challenge"])) == (22, 43)
    assert options["timeout"] == 300_000
    assert options["excludeCredentials"] == [
        {"type": "public-key", "id": laptop.create(options)["id"]},
    ]
    assert options["challenge"] not in repr(accounts.store.tables)


async def test_adding_needs_the_password_or_a_factor(
    accounts: FactorUseCases, actor: Actor, laptop: MemoryAuthenticator
) -> None:
    with pytest.raises(InvalidCredentials):
        await accounts.has_passkey(actor, laptop, Proof())


async def test_challenge_is_answered_once(accounts: FactorUseCases, actor: Actor, laptop: MemoryAuthenticator) -> None:
    options = await accounts.start_passkey(actor, BY_PASSWORD, address=ADDRESS)
    await accounts.add_passkey(actor, laptop.create(options), name="Laptop")
    with pytest.raises(PasskeyNotValid):
        await accounts.add_passkey(actor, MemoryAuthenticator().create(options), name="Another")


async def test_challenge_expires_and_belongs_to_its_account(
    accounts: FactorUseCases, actor: Actor, laptop: MemoryAuthenticator
) -> None:
    options = await accounts.start_passkey(actor, BY_PASSWORD, address=ADDRESS)
    await accounts.has_registered(email="other@example.com")
    other = await accounts.is_authenticated(await accounts.has_logged_in(email="other@example.com"))
    with pytest.raises(PasskeyNotValid):
        await accounts.add_passkey(other, laptop.create(options), name="Laptop")
    accounts.clock.advance(LIFETIME - timedelta(seconds=1))
    await accounts.add_passkey(actor, laptop.create(options), name="Laptop")
    late = await accounts.start_passkey(actor, BY_PASSWORD, address=ADDRESS)
    accounts.clock.advance(LIFETIME)
    with pytest.raises(PasskeyNotValid):
        await accounts.add_passkey(actor, MemoryAuthenticator().create(late), name="Another")


async def test_answer_of_another_address_or_to_nothing_is_refused(accounts: FactorUseCases, actor: Actor) -> None:
    options = await accounts.start_passkey(actor, BY_PASSWORD, address=ADDRESS)
    for response in ({}, MemoryAuthenticator("https://phishing.example").create(options)):
        with pytest.raises(PasskeyNotValid):
            await accounts.add_passkey(actor, response, name="Laptop")
    assert (await accounts.list_factors(actor)).factors == []


async def test_passkey_is_added_once(accounts: FactorUseCases, actor: Actor, laptop: MemoryAuthenticator) -> None:
    await accounts.has_passkey(actor, laptop)
    with pytest.raises(PasskeyTaken):
        await accounts.has_passkey(actor, laptop)


async def test_passkey_has_a_name(accounts: FactorUseCases, actor: Actor, laptop: MemoryAuthenticator) -> None:
    options = await accounts.start_passkey(actor, BY_PASSWORD, address=ADDRESS)
    with pytest.raises(Invalid):
        await accounts.add_passkey(actor, laptop.create(options), name=" ")


async def test_number_of_factors_is_limited(
    accounts: FactorUseCases, actor: Actor, laptop: MemoryAuthenticator
) -> None:
    pending = await accounts.start_passkey(actor, BY_PASSWORD, address=ADDRESS)
    for _ in range(MAX_FACTORS):
        await accounts.has_passkey(actor, MemoryAuthenticator())
    with pytest.raises(TooManyFactors):
        await accounts.start_passkey(actor, BY_PASSWORD, address=ADDRESS)
    with pytest.raises(TooManyFactors):
        await accounts.add_passkey(actor, laptop.create(pending), name="Laptop")


# Logins


async def test_passkey_completes_a_login(accounts: FactorUseCases, actor: Actor, laptop: MemoryAuthenticator) -> None:
    await accounts.has_passkey(actor, laptop)
    with pytest.raises(SecondFactorRequired) as required:
        await accounts.has_logged_in()
    assert required.value.methods == ["passkey", "recovery_code"]
    options = await accounts.challenge_login(required.value.ticket, address=ADDRESS)
    assert (options["rpId"], options["timeout"]) == (RP_ID, 300_000)
    assert [each["id"] for each in options["allowCredentials"]] == [laptop.get(options)["id"]]
    signed_in = await accounts.is_authenticated(
        await accounts.completes(laptop.get(options), ticket=required.value.ticket)
    )
    [factor] = (await accounts.list_factors(signed_in)).factors
    assert factor.last_used_at == accounts.clock.moment


async def test_answer_of_a_passkey_is_accepted_once(
    accounts: FactorUseCases, actor: Actor, laptop: MemoryAuthenticator
) -> None:
    await accounts.has_passkey(actor, laptop)
    ticket = await accounts.ticket()
    answer = laptop.get(await accounts.challenge_login(ticket, address=ADDRESS))
    await accounts.completes(answer, ticket=ticket)
    with pytest.raises(SecondFactorNotValid):
        await accounts.completes(answer)


@pytest.mark.parametrize("wrong", ["another key", "another address", "no passkey of the account", "a copy", "nothing"])
async def test_answers_that_are_not_valid_are_refused(
    accounts: FactorUseCases, actor: Actor, laptop: MemoryAuthenticator, wrong: str
) -> None:
    await accounts.has_passkey(actor, laptop)
    ticket = await accounts.ticket()
    options = await accounts.challenge_login(ticket, address=ADDRESS)
    other = MemoryAuthenticator("https://phishing.example" if wrong == "another address" else laptop.origin)
    if wrong == "another address":
        other.key = laptop.key
    if wrong == "a copy":
        other.key, other.sign_count = laptop.key, 0
    if wrong != "no passkey of the account":
        other.credential_id = laptop.credential_id
    answer = {} if wrong == "nothing" else other.get(options)
    with pytest.raises(SecondFactorNotValid):
        await accounts.completes(answer, ticket=ticket)
    with pytest.raises(SecondFactorNotValid):
        await accounts.completes({"signed": "get a b c 1"}, ticket=ticket)


async def test_authenticator_that_does_not_count_is_accepted(accounts: FactorUseCases, actor: Actor) -> None:
    phone = MemoryAuthenticator(counts=False)
    await accounts.has_passkey(actor, phone)
    for _ in range(2):
        ticket = await accounts.ticket()
        await accounts.completes(phone.get(await accounts.challenge_login(ticket, address=ADDRESS)), ticket=ticket)


async def test_account_without_a_passkey_has_no_challenge(accounts: FactorUseCases, actor: Actor) -> None:
    await accounts.has_app(actor)
    with pytest.raises(NoSecondFactor):
        await accounts.challenge_login(await accounts.ticket(), address=ADDRESS)
    with pytest.raises(NoSecondFactor):
        await accounts.challenge(actor)


async def test_challenge_of_a_login_needs_its_ticket(
    accounts: FactorUseCases, actor: Actor, laptop: MemoryAuthenticator
) -> None:
    await accounts.has_passkey(actor, laptop)
    ticket = await accounts.ticket()
    accounts.change(replace(accounts.users()[0], is_active=False))
    with pytest.raises(TicketNotValid):
        await accounts.challenge_login(ticket, address=ADDRESS)
    for _ in range(TRIES_PER_NETWORK.times - 1):
        with pytest.raises(TicketNotValid):
            await accounts.challenge_login("guess", address=ADDRESS)
    with pytest.raises(TooManyRequests):
        await accounts.challenge_login("guess", address=ADDRESS)
    with pytest.raises(TicketNotValid):
        await accounts.challenge_login("guess", address=ELSEWHERE)


# Proof that the account is the person's


async def test_passkey_is_a_proof(accounts: FactorUseCases, actor: Actor, laptop: MemoryAuthenticator) -> None:
    enrolled = await accounts.has_passkey(actor, laptop)
    proof = Proof(factor=laptop.get(await accounts.challenge(actor)))
    await accounts.replace_codes(actor, proof, address=ADDRESS)
    with pytest.raises(SecondFactorNotValid):
        await accounts.remove(actor, proof, enrolled.factor.id, address=ADDRESS)
