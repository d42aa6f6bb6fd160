"""JSON Web Tokens as PyJWT writes and reads them, and those that have to be rejected."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructure.auth.signed_claims import InvalidToken, SignedClaims

KEY = bytes(range(64))
SIGNED = SignedClaims(KEY)
CLAIMS = {"sub": "7", "ver": 3}
# Whole numbers beyond 2**53 are not the same for every reader of JSON (RFC 8259, 6).
VALUES = st.one_of(st.text(), st.integers(-(2**53), 2**53), st.booleans(), st.none())


@given(st.dictionaries(st.text(), VALUES))
def test_token_is_read_by_pyjwt(claims: dict[str, Any]) -> None:
    assert jwt.decode_complete(SIGNED.token(claims), options={"verify_signature": False})["payload"] == claims
    assert jwt.PyJWS().decode(SIGNED.token(claims), KEY, algorithms=["HS256"]) == json_of(SIGNED.token(claims))


@given(st.dictionaries(st.text(), VALUES))
def test_token_of_pyjwt_is_read(claims: dict[str, Any]) -> None:
    token = jwt.PyJWS().encode(json.dumps(claims).encode(), KEY, algorithm="HS256")
    assert SIGNED.claims(token) == claims


def test_token_of_another_key_is_rejected() -> None:
    with pytest.raises(InvalidToken, match="not signed"):
        SIGNED.claims(SignedClaims(KEY[::-1]).token(CLAIMS))


@pytest.mark.parametrize("algorithm", ["none", "HS384", "HS512"])
def test_other_algorithms_are_rejected(algorithm: str) -> None:
    with pytest.raises(InvalidToken):
        SIGNED.claims(jwt.PyJWS().encode(b"{}", "" if algorithm == "none" else KEY, algorithm=algorithm))


@pytest.mark.parametrize(
    "head",
    [
        b'{"alg":"none"}',
        b'{"alg":"HS512"}',
        b'{"alg":["HS256"]}',
        b"{}",
        b"[]",
        b'"HS256"',
        b"no JSON",
        b"\xff",
        b'{"alg":"HS256","crit":["b64"],"b64":false}',
        b"[" * 100_000,
    ],
)
def test_head_of_another_form_is_rejected(head: bytes) -> None:
    with pytest.raises(InvalidToken):
        SIGNED.claims(SIGNED._signed(f"{part(head)}.{part(b'{}')}"))


@pytest.mark.parametrize("body", [b"[]", b"7", b"null", b"{", b"\xff", b'{"a":' * 100_000])
def test_claims_that_are_no_object_are_rejected(body: bytes) -> None:
    with pytest.raises(InvalidToken):
        SIGNED.claims(SIGNED._signed(f"{SIGNED._head}.{part(body)}"))


def test_changed_token_is_rejected() -> None:
    token = SIGNED.token(CLAIMS)
    head, body, signature = token.split(".")
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    # The same octets to a decoder that ignores spare bits.
    spare = signature[:-1] + last[last.index(signature[-1]) ^ 1]
    changed = [
        "",
        ".",
        "..",
        f"{head}.{body}",
        f"{head}.{body}.",
        f"{token}.",
        f"{token}=",
        f"{token}\n",
        f" {token}",
        f"{head}.{body}.{spare}",
        f"{head}.{part(b'{}')}.{signature}",
        f"{head}.{body}\u0661.{signature}",
        f"{head}.{body}.{signature[:-1]}\u00e9",
        f"{head}.{body}.{'A' * 43}",
        f"{head}\x00.{body}.{signature}",
    ]
    for each in changed:
        with pytest.raises(InvalidToken):
            SIGNED.claims(each)
    assert SIGNED.claims(token) == CLAIMS


def part(octets: bytes) -> str:
    return urlsafe_b64encode(octets).rstrip(b"=").decode()


def json_of(token: str) -> bytes:
    body = token.split(".")[1]
    return urlsafe_b64decode(body + "=" * (-len(body) % 4))
