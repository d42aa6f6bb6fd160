"""The port that verifies passkeys, in memory and by py_webauthn, with the authenticator of each; their storage."""

import contextlib
import secrets
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime
from itertools import count
from typing import Any, TypeAlias

import pytest

from application.accounts.ports.second_factors import Passkey, PasskeyVerifier, StoredPasskey
from application.unit_of_work import OpenUnitOfWork
from domain.accounts import User
from domain.outbox import ALWAYS_SERVED, routes_for
from domain.second_factors import FactorKind, PasskeyNotValid, PasskeyTaken
from infrastructure.auth.passkeys import WebAuthnPasskeys
from infrastructure.postgres.engine import Database
from infrastructure.postgres.unit_of_work import UnitsOfWork
from tests.support.authenticator import SoftwareAuthenticator, base64url
from tests.support.memory.passkeys import ORIGIN, RP_ID, MemoryAuthenticator, MemoryPasskeys
from tests.support.memory.store import SettableClock, Store
from tests.support.memory.unit_of_work import MemoryUnitsOfWork

NOW = datetime(2031, 3, 5, 12, tzinfo=UTC)
_numbers = count(1)

Authenticator: TypeAlias = SoftwareAuthenticator | MemoryAuthenticator
NewAuthenticator: TypeAlias = Callable[..., Authenticator]


@pytest.fixture(params=["memory", "webauthn"])
def parts(request: pytest.FixtureRequest) -> tuple[PasskeyVerifier, NewAuthenticator]:
    if request.param == "memory":
        return MemoryPasskeys(), MemoryAuthenticator
    return WebAuthnPasskeys(f"{ORIGIN}/api"), SoftwareAuthenticator


@pytest.fixture
def verifier(parts: tuple[PasskeyVerifier, NewAuthenticator]) -> PasskeyVerifier:
    return parts[0]


@pytest.fixture
def authenticator(parts: tuple[PasskeyVerifier, NewAuthenticator]) -> NewAuthenticator:
    return parts[1]


def a_challenge() -> str:
    return secrets.token_urlsafe(32)


def creation(challenge: str, rp_id: str = RP_ID) -> dict[str, Any]:
    return {"challenge": challenge, "rp": {"id": rp_id}}


def request(challenge: str, rp_id: str = RP_ID) -> dict[str, Any]:
    return {"challenge": challenge, "rpId": rp_id}


def created(verifier: PasskeyVerifier, key: Authenticator) -> Passkey:
    challenge = a_challenge()
    return verifier.verify_new(key.create(creation(challenge)), challenge)


def test_new_passkey_is_verified(verifier: PasskeyVerifier, authenticator: NewAuthenticator) -> None:
    key, challenge = authenticator(ORIGIN), a_challenge()
    response = key.create(creation(challenge))
    assert verifier.rp_id == RP_ID
    assert verifier.challenge(response) == challenge
    passkey = verifier.verify_new(response, challenge)
    assert passkey.credential_id == verifier.credential_id(response) == key.credential_id
    assert passkey.sign_count == 1


def test_answer_is_verified_and_counted(verifier: PasskeyVerifier, authenticator: NewAuthenticator) -> None:
    key, challenge = authenticator(ORIGIN), a_challenge()
    passkey = created(verifier, key)
    response = key.get(request(challenge))
    assert (verifier.challenge(response), verifier.credential_id(response)) == (challenge, passkey.credential_id)
    assert verifier.verify(response, challenge, passkey) == 2


def test_authenticator_need_not_count(verifier: PasskeyVerifier, authenticator: NewAuthenticator) -> None:
    key, challenge = authenticator(ORIGIN, counts=False), a_challenge()
    passkey = created(verifier, key)
    assert verifier.verify(key.get(request(challenge)), challenge, passkey) == 0


def test_answer_to_another_challenge_is_refused(verifier: PasskeyVerifier, authenticator: NewAuthenticator) -> None:
    key = authenticator(ORIGIN)
    passkey = created(verifier, key)
    with pytest.raises(PasskeyNotValid):
        verifier.verify_new(key.create(creation(a_challenge())), a_challenge())
    with pytest.raises(PasskeyNotValid):
        verifier.verify(key.get(request(a_challenge())), a_challenge(), passkey)


@pytest.mark.parametrize("origin", ["https://phishing.example", "http://booking.example", f"{ORIGIN}:8443"])
def test_answer_at_another_origin_is_refused(
    verifier: PasskeyVerifier, authenticator: NewAuthenticator, origin: str
) -> None:
    key, challenge = authenticator(ORIGIN), a_challenge()
    passkey = created(verifier, key)
    key.origin = origin
    with pytest.raises(PasskeyNotValid):
        verifier.verify_new(key.create(creation(challenge)), challenge)
    with pytest.raises(PasskeyNotValid):
        verifier.verify(key.get(request(challenge)), challenge, passkey)


def test_answer_for_another_domain_is_refused(verifier: PasskeyVerifier, authenticator: NewAuthenticator) -> None:
    key, challenge = authenticator(ORIGIN), a_challenge()
    passkey = created(verifier, key)
    with pytest.raises(PasskeyNotValid):
        verifier.verify_new(key.create(creation(challenge, "phishing.example")), challenge)
    with pytest.raises(PasskeyNotValid):
        verifier.verify(key.get(request(challenge, "phishing.example")), challenge, passkey)


def test_answer_by_another_key_is_refused(verifier: PasskeyVerifier, authenticator: NewAuthenticator) -> None:
    key, other, challenge = authenticator(ORIGIN), authenticator(ORIGIN), a_challenge()
    passkey = created(verifier, key)
    other.credential_id, other.sign_count = key.credential_id, 10
    with pytest.raises(PasskeyNotValid):
        verifier.verify(other.get(request(challenge)), challenge, passkey)


def test_answer_with_an_old_count_is_refused(verifier: PasskeyVerifier, authenticator: NewAuthenticator) -> None:
    key, challenge = authenticator(ORIGIN), a_challenge()
    passkey = created(verifier, key)
    key.sign_count = 0
    with pytest.raises(PasskeyNotValid):
        verifier.verify(key.get(request(challenge)), challenge, passkey)


def test_new_passkey_and_answer_are_not_interchangeable(
    verifier: PasskeyVerifier, authenticator: NewAuthenticator
) -> None:
    key, challenge = authenticator(ORIGIN), a_challenge()
    passkey = created(verifier, key)
    with pytest.raises(PasskeyNotValid):
        verifier.verify_new(key.get(request(challenge)), challenge)
    with pytest.raises(PasskeyNotValid):
        verifier.verify(key.create(creation(challenge)), challenge, passkey)


def test_answer_without_a_person_is_refused() -> None:
    """Only a real authenticator says so."""
    verifier, key, challenge = WebAuthnPasskeys(ORIGIN), SoftwareAuthenticator(ORIGIN), a_challenge()
    passkey = created(verifier, key)
    key.flags = 0
    with pytest.raises(PasskeyNotValid):
        verifier.verify(key.get(request(challenge)), challenge, passkey)


@pytest.mark.parametrize(
    "wrong",
    [None, 1, "", "é", "\ud800", "A", "AAAA", [], {}, base64url(b"[]"), base64url(b'{"challenge": 1}'), "[" * 9_000],
)
@pytest.mark.parametrize("field", ["id", "rawId", "type", "response", "clientDataJSON", "attestationObject"])
def test_wrong_input_is_refused(field: str, wrong: Any) -> None:
    """Of every kind, in every field: never another error."""
    verifier, key, challenge = WebAuthnPasskeys(ORIGIN), SoftwareAuthenticator(ORIGIN), a_challenge()
    response = key.create(creation(challenge))
    passkey = verifier.verify_new(response, challenge)
    broken = deepcopy(response)
    (broken if field in broken else broken["response"])[field] = wrong
    for verify in (
        lambda: verifier.verify_new(broken, challenge),
        lambda: verifier.verify(broken, challenge, passkey),
    ):
        with pytest.raises(PasskeyNotValid):
            verify()
    for read in (verifier.challenge, verifier.credential_id):
        with contextlib.suppress(PasskeyNotValid):
            read(broken)


def test_empty_answer_is_refused(verifier: PasskeyVerifier) -> None:
    for call in (
        lambda: verifier.challenge({}),
        lambda: verifier.credential_id({}),
        lambda: verifier.verify_new({}, a_challenge()),
        lambda: verifier.verify({}, a_challenge(), Passkey(b"id", b"key", 0)),
    ):
        with pytest.raises(PasskeyNotValid):
            call()


# Storage


@pytest.fixture(params=["memory", "postgres"])
def units(request: pytest.FixtureRequest) -> OpenUnitOfWork:
    if request.param == "memory":
        return MemoryUnitsOfWork(Store(), SettableClock(NOW))
    database: Database = request.getfixturevalue("postgres_database")
    return UnitsOfWork(database, routes_for(ALWAYS_SERVED), SettableClock(NOW), lambda: None)


async def a_user(units: OpenUnitOfWork) -> User:
    async with units() as work:
        email = f"passkey{next(_numbers)}@example.com"
        user = await work.users.add_without_password(email=email, name="Ada", now=NOW)
        await work.commit()
    return user


async def test_passkey_is_stored_and_its_use_counted(units: OpenUnitOfWork) -> None:
    user, other = await a_user(units), await a_user(units)
    passkey = Passkey(f"id {next(_numbers)}".encode(), b"key", 3)
    async with units() as work:
        factor = await work.second_factors.add_passkey(user.id, "Laptop", passkey, NOW)
        await work.commit()
    assert (factor.kind, factor.name, factor.created_at) == (FactorKind.PASSKEY, "Laptop", NOW)
    async with units() as work:
        factors = work.second_factors
        assert await factors.find_passkeys(user.id) == [StoredPasskey(factor.id, passkey)]
        assert await factors.find_passkeys(other.id) == []
        assert await factors.find_totp(user.id) == []
        await factors.use_passkey(factor.id, 7, NOW)
        [used], [shown] = await factors.find_passkeys(user.id), await factors.of(user.id)
        assert (used.passkey.sign_count, shown.last_used_at) == (7, NOW)
        with pytest.raises(PasskeyTaken):
            await factors.add_passkey(other.id, "Mine", passkey, NOW)
        assert await factors.remove(user.id, factor.id)
        assert await factors.find_passkeys(user.id) == []
