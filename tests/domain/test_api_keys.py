"""Secrets, scopes and expiry of API keys."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.accounts import Role, UserId
from domain.api_keys import (
    ApiKey,
    ApiKeyId,
    ApiKeyNotAllowed,
    ApiKeyRequest,
    InsufficientScope,
    NewApiKey,
    Scope,
    is_api_key,
    is_well_formed,
    new_api_key,
    secret_of,
    shown_prefix,
)
from domain.errors import Invalid
from tests.domain.builders import a_user

NOW = datetime(2031, 3, 5, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
KEY = ApiKey(ApiKeyId(UUID(int=1)), UserId(7), "CRM", frozenset({"bookings:read"}), "cvk_0000aa", NOW)
RANDOM = st.binary(min_size=32, max_size=32)


@given(RANDOM)
def test_secret_has_its_form_and_a_right_checksum(random: bytes) -> None:
    secret = secret_of(random)
    assert re.fullmatch(r"cvk_[0-9A-Za-z]{49}", secret)
    assert is_api_key(secret)
    assert is_well_formed(secret)
    assert secret.startswith(shown_prefix(secret))
    assert len(shown_prefix(secret)) == 10


@given(RANDOM, RANDOM)
def test_other_bits_make_another_secret(one: bytes, other: bytes) -> None:
    assert (secret_of(one) == secret_of(other)) == (one == other)


@pytest.mark.parametrize("random", [bytes(32), b"\xff" * 32])
def test_smallest_and_largest_secret_have_the_same_length(random: bytes) -> None:
    assert len(secret_of(random)) == 53


def test_secret_stays_the_same() -> None:
    """Stored hashes depend on it."""
    assert secret_of(bytes(range(32))) == "cvk_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf1Yo7hP"


@given(RANDOM, st.integers(4, 52), st.sampled_from("0123456789ABCXYZabcxyz_-. é"))
def test_one_wrong_character_is_noticed(random: bytes, place: int, character: str) -> None:
    secret = secret_of(random)
    mistyped = secret[:place] + character + secret[place + 1 :]
    assert is_well_formed(mistyped) == (mistyped == secret)


@pytest.mark.parametrize("text", ["", "cvk_", "cvk_" + "0" * 48, "cvk_" + "0" * 50, "cvk_" + "0" * 49 + "\n"])
def test_other_text_is_no_key(text: str) -> None:
    assert not is_well_formed(text)


def test_token_of_a_login_is_no_key() -> None:
    assert not is_api_key("eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl")


def test_key_expires_at_its_time() -> None:
    assert not KEY.is_expired(NOW)
    expiring = replace(KEY, expires_at=NOW + HOUR)
    assert not expiring.is_expired(NOW + HOUR - timedelta(microseconds=1))
    assert expiring.is_expired(NOW + HOUR)


def test_key_may_do_what_its_scopes_name() -> None:
    KEY.require(Scope.BOOKINGS_READ)
    for others in ([Scope.BOOKINGS_WRITE], [Scope.EVENTS_READ], [Scope.BOOKINGS_READ, Scope.APPOINTMENTS_READ]):
        with pytest.raises(InsufficientScope, match=f"with the scope {others[-1]}"):
            KEY.require(*others)


@pytest.mark.parametrize("scope", Scope)
def test_one_scope_includes_no_other(scope: Scope) -> None:
    """Not even writing includes reading."""
    key = replace(KEY, scopes=frozenset({scope}))
    allowed = []
    for asked in Scope:
        try:
            key.require(asked)
        except InsufficientScope:
            continue
        allowed.append(asked)
    assert allowed == [scope]


def test_no_key_may_do_what_names_no_scope() -> None:
    with pytest.raises(ApiKeyNotAllowed):
        replace(KEY, scopes=frozenset(Scope)).require()


def test_every_context_can_be_read_and_written() -> None:
    assert {scope.partition(":")[2] for scope in Scope} == {"read", "write"}
    assert len({scope.partition(":")[0] for scope in Scope}) == len(Scope) / 2


# New keys


def requested(**changes: object) -> ApiKeyRequest:
    return replace(ApiKeyRequest("CRM", ["bookings:read"]), **changes)  # type: ignore[arg-type]


def test_new_key_is_as_requested() -> None:
    request = requested(
        name=" CRM ", scopes=["bookings:write", "bookings:read", "bookings:read"], expires_at=NOW + HOUR
    )
    scopes = frozenset({Scope.BOOKINGS_READ, Scope.BOOKINGS_WRITE})
    assert new_api_key(a_user(), NOW, request) == NewApiKey("CRM", scopes, NOW + HOUR)
    assert new_api_key(a_user(), NOW, requested()).expires_at is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", " "),
        ("name", "n" * 101),
        ("scopes", []),
        ("scopes", ["bookings"]),
        ("scopes", ["bookings:read", "bookings:delete"]),
        ("scopes", ["admin:read"]),
        ("expires_at", NOW),
        ("expires_at", NOW - HOUR),
        ("expires_at", datetime(2100, 1, 1, tzinfo=UTC)),
    ],
)
def test_unacceptable_request_names_its_field(field: str, value: object) -> None:
    with pytest.raises(Invalid) as refused:
        new_api_key(a_user(), NOW, requested(**{field: value}))
    assert list(refused.value.details) == [field]


@pytest.mark.parametrize("scope", [Scope.ADMIN_READ, Scope.ADMIN_WRITE])
@pytest.mark.parametrize("role", Role)
def test_only_an_admin_gives_scopes_of_admins(scope: Scope, role: Role) -> None:
    user = replace(a_user(), role=role)
    if role is Role.ADMIN:
        assert new_api_key(user, NOW, requested(scopes=[scope])).scopes == {scope}
    else:
        with pytest.raises(Invalid, match="Validation error"):
            new_api_key(user, NOW, requested(scopes=[scope]))
