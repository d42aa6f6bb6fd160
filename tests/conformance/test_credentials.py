"""The ports of password hashes and tokens, in memory and as in the product."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from jwt import decode, encode

from application.accounts.ports.accounts import AccessClaims, PasswordHasher, Tokens
from domain.accounts import LoginId, UserId
from domain.errors import Unauthenticated
from infrastructure.auth import jwt
from infrastructure.auth.jwt import JsonWebTokens
from infrastructure.auth.passwords import Argon2Passwords
from tests.support.memory.credentials import ReadablePasswords, ReadableTokens
from tests.support.memory.store import SettableClock

MINUTE = timedelta(minutes=1)
NOW = datetime(2031, 3, 5, 12, tzinfo=UTC)
"""Far from the clock of the machine, which decides nothing."""
"""The product's tokens are verified by the system's clock."""


@pytest.fixture(params=["memory", "argon2"])
def hasher(request: pytest.FixtureRequest) -> PasswordHasher:
    return ReadablePasswords() if request.param == "memory" else Argon2Passwords()


async def test_only_the_same_password_matches_its_hash(hasher: PasswordHasher) -> None:
    password_hash = await hasher.hash("correct horse battery")
    assert await hasher.verify("correct horse battery", password_hash)
    assert not await hasher.verify("correct horse batterz", password_hash)
    assert not await hasher.verify("", password_hash)


async def test_no_password_matches_an_account_without_one(hasher: PasswordHasher) -> None:
    assert not await hasher.verify("correct horse battery", None)


async def test_hash_of_another_method_does_not_match(hasher: PasswordHasher) -> None:
    assert not await hasher.verify("correct horse battery", "not a hash")


async def test_present_hash_needs_no_rehash(hasher: PasswordHasher) -> None:
    assert not hasher.needs_rehash(await hasher.hash("correct horse battery"))


@pytest.fixture(params=["memory", "jwt"])
def tokens(request: pytest.FixtureRequest) -> Tokens:
    if request.param == "memory":
        return ReadableTokens(SettableClock(NOW), access_for=15 * MINUTE, refresh_for=60 * MINUTE)
    return JsonWebTokens(
        "a key of 32 bytes for these tests", SettableClock(NOW), access_for=15 * MINUTE, refresh_for=60 * MINUTE
    )


@pytest.fixture
def claims() -> AccessClaims:
    return AccessClaims(UserId(7), LoginId(uuid4()), 3)


def test_access_token_has_its_claims(tokens: Tokens, claims: AccessClaims) -> None:
    assert tokens.read_access(tokens.issue_access(claims, NOW)) == claims


def test_refresh_token_has_its_login_and_expiry(tokens: Tokens, claims: AccessClaims) -> None:
    token, expires_at = tokens.issue_refresh(claims.login_id, NOW)
    assert (tokens.read_refresh(token), expires_at) == (claims.login_id, NOW + 60 * MINUTE)


def test_tokens_expire_at_the_latest_when_their_session_ends(tokens: Tokens, claims: AccessClaims) -> None:
    ended, later = NOW - MINUTE, NOW + 61 * MINUTE
    for until, expected in ((NOW + MINUTE, NOW + MINUTE), (later, NOW + 60 * MINUTE), (None, NOW + 60 * MINUTE)):
        token, expires_at = tokens.issue_refresh(claims.login_id, NOW, until=until)
        assert (tokens.read_refresh(token), expires_at) == (claims.login_id, expected)
        assert tokens.read_access(tokens.issue_access(claims, NOW, until=until)) == claims
    with pytest.raises(Unauthenticated):
        tokens.read_access(tokens.issue_access(claims, NOW - 10 * MINUTE, until=ended))
    with pytest.raises(Unauthenticated):
        tokens.read_refresh(tokens.issue_refresh(claims.login_id, NOW - 10 * MINUTE, until=ended)[0])


def test_refresh_tokens_of_one_login_differ(tokens: Tokens, claims: AccessClaims) -> None:
    one, other = (tokens.issue_refresh(claims.login_id, NOW)[0] for _ in range(2))
    assert one != other
    assert tokens.fingerprint(one) != tokens.fingerprint(other)
    assert len(tokens.fingerprint(one)) == 32


def test_token_is_accepted_for_its_purpose_only(tokens: Tokens, claims: AccessClaims) -> None:
    with pytest.raises(Unauthenticated):
        tokens.read_refresh(tokens.issue_access(claims, NOW))
    with pytest.raises(Unauthenticated):
        tokens.read_access(tokens.issue_refresh(claims.login_id, NOW)[0])


def test_token_is_valid_until_its_expiry(tokens: Tokens, claims: AccessClaims) -> None:
    second = timedelta(seconds=1)
    assert tokens.read_access(tokens.issue_access(claims, NOW - 15 * MINUTE + second)) == claims
    token, _ = tokens.issue_refresh(claims.login_id, NOW - 60 * MINUTE + second)
    assert tokens.read_refresh(token) == claims.login_id


def test_expired_token_is_rejected(tokens: Tokens, claims: AccessClaims) -> None:
    with pytest.raises(Unauthenticated):
        tokens.read_access(tokens.issue_access(claims, NOW - 16 * MINUTE))
    with pytest.raises(Unauthenticated):
        tokens.read_refresh(tokens.issue_refresh(claims.login_id, NOW - 61 * MINUTE)[0])


@pytest.mark.parametrize("token", ["", "a", "a.b.c", "access", "refresh 1"])
def test_text_that_is_no_token_is_rejected(tokens: Tokens, token: str) -> None:
    with pytest.raises(Unauthenticated):
        tokens.read_access(token)
    with pytest.raises(Unauthenticated):
        tokens.read_refresh(token)


def test_changed_claims_need_another_token(tokens: Tokens, claims: AccessClaims) -> None:
    changed = replace(claims, token_version=4)
    assert tokens.read_access(tokens.issue_access(changed, NOW)) == changed


def test_verified_token_expires_like_another(claims: AccessClaims) -> None:
    clock = SettableClock(NOW)
    tokens = JsonWebTokens("a key of 32 bytes for these tests", clock, access_for=MINUTE, refresh_for=MINUTE)
    token = tokens.issue_access(claims, NOW)
    assert [tokens.read_access(token) for _ in range(2)] == [claims] * 2
    clock.moment = NOW + 2 * MINUTE
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            tokens.read_access(token)
    clock.moment = NOW - MINUTE
    with pytest.raises(Unauthenticated):
        tokens.read_access(token)  # issued in the future
    clock.moment = NOW
    assert tokens.read_access(token) == claims


def test_number_of_remembered_tokens_is_bounded(monkeypatch: pytest.MonkeyPatch, claims: AccessClaims) -> None:
    monkeypatch.setattr(jwt, "VERIFIED_TOKENS", 3)
    tokens = JsonWebTokens(
        "a key of 32 bytes for these tests", SettableClock(NOW), access_for=MINUTE, refresh_for=MINUTE
    )
    for user in range(1, 8):
        expected = replace(claims, user_id=UserId(user))
        assert tokens.read_access(tokens.issue_access(expected, NOW)) == expected
        assert len(tokens._verified) == min(user, 3)
    with pytest.raises(Unauthenticated):
        tokens.read_access("no token")
    assert len(tokens._verified) == 3


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "another"},
        {"iss": None},
        {"aud": "convene-refresh"},
        {"typ": "refresh"},
        {"typ": None},
        {"sid": None},
        {"sid": 7},
        {"exp": None},
        {"exp": "soon"},
        {"iat": None},
        {"sub": "0"},
        {"sub": 7},
        {"sub": None},
        {"ver": "3"},
    ],
)
def test_signed_token_with_other_claims_is_rejected(claims: AccessClaims, changed: dict[str, object]) -> None:
    key = "a key of 32 bytes for these tests"
    tokens = JsonWebTokens(key, SettableClock(NOW), access_for=MINUTE, refresh_for=MINUTE)
    issued = decode(tokens.issue_access(claims, NOW), options={"verify_signature": False})
    assert tokens.read_access(encode(issued, key, "HS256")) == claims
    other = {name: value for name, value in (issued | changed).items() if value is not None}
    with pytest.raises(Unauthenticated):
        tokens.read_access(encode(other, key, "HS256"))
