"""Our OpenID client against a Google that lies, stalls, falls silent or changes its keys."""

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from application.oauth import OAuthAttempts
from domain.external_identity import ExternalIdentity, IdentityNotProven, IdentityProviderUnavailable, SignInRefused
from infrastructure.auth.google_oidc import GoogleOidc
from infrastructure.auth.oauth import (
    MOST_OF_AN_ANSWER,
    WELL_KNOWN,
    AuthorizationServer,
    ProviderConnection,
    Remembered,
    s256,
)
from tests.support.google import (
    CALLBACK,
    CLIENT_ID,
    CLIENT_SECRET,
    FakeGoogle,
    as_json,
    fake_google,
    public_key,
    query_of,
)
from tests.support.machine_clock import SystemClock
from tests.support.receivers import answer

NONCE = "the nonce of this sign-in"


@pytest.fixture
async def google() -> AsyncIterator[FakeGoogle]:
    async with fake_google() as google:
        yield google


def client_of(
    google: FakeGoogle, *, client_secret: str = CLIENT_SECRET, seconds: float = 5, ahead: timedelta = timedelta(0)
) -> GoogleOidc:
    connection = ProviderConnection(seconds=seconds)
    server = AuthorizationServer(
        connection, google.discovery_url, client_id=CLIENT_ID, client_secret=client_secret, redirect_uri=CALLBACK
    )
    return GoogleOidc(server, connection, SystemClock(ahead))


@pytest.fixture
async def oidc(google: FakeGoogle) -> AsyncIterator[GoogleOidc]:
    client = client_of(google)
    yield client
    await client.close()


async def signs_in(oidc: GoogleOidc, google: FakeGoogle, **changes: Any) -> ExternalIdentity:
    started = OAuthAttempts.new()
    location = await oidc.consent_url(state=started.state, nonce=started.nonce, verifier=started.verifier)
    code = query_of("?" + google.consent(location, **changes))["code"]
    return await oidc.redeem(code, nonce=started.nonce, verifier=started.verifier)


def resolved(changes: dict[str, Any]) -> dict[str, Any]:
    """With the moments that are given as a distance from now."""
    now = int(time.time())
    return {
        name: now + int(value.total_seconds()) if isinstance(value, timedelta) else value
        for name, value in changes.items()
    }


def unsigned(google: FakeGoogle) -> str:
    return jwt.encode(google.claims(nonce=NONCE), "", algorithm="none", headers={"kid": "first"})


def signed_with_our_secret(google: FakeGoogle) -> str:
    secret = (CLIENT_SECRET * 2).encode()
    return jwt.encode(google.claims(nonce=NONCE), secret, algorithm="HS256", headers={"kid": "first"})


def signed_with_the_public_key_as_a_secret(google: FakeGoogle) -> str:
    point = google.keys["first"].public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return jwt.encode(google.claims(nonce=NONCE), point, algorithm="HS256", headers={"kid": "first"})


def signed_by_another_key(google: FakeGoogle) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return jwt.encode(google.claims(nonce=NONCE), key, algorithm="ES256", headers={"kid": "first"})


def signed_by_an_unknown_key(google: FakeGoogle) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return jwt.encode(google.claims(nonce=NONCE), key, algorithm="ES256", headers={"kid": "another"})


def with_its_own_key_inside(google: FakeGoogle) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    inside = {"kid": "first", "jwk": jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)}
    return jwt.encode(google.claims(nonce=NONCE), key, algorithm="ES256", headers=inside)


def with_another_algorithm(google: FakeGoogle) -> str:
    google.keys["wide"] = ec.generate_private_key(ec.SECP384R1())
    google.published = {"first", "wide"}
    return jwt.encode(google.claims(nonce=NONCE), google.keys["wide"], algorithm="ES384", headers={"kid": "wide"})


def with_a_short_key(google: FakeGoogle) -> str:
    """Signed by hand: PyJWT warns of such a key."""
    google.keys["short"] = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    google.published = {"first", "short"}
    head = {"alg": "RS256", "kid": "short", "typ": "JWT"}
    parts = [base64url(json.dumps(part).encode()) for part in (head, google.claims(nonce=NONCE))]
    return ".".join([*parts, base64url(google.keys["short"].sign(".".join(parts).encode(), PKCS1v15(), SHA256()))])


def base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def with_its_claims_changed(google: FakeGoogle) -> str:
    good, other = google.id_token(nonce=NONCE).split("."), google.id_token(nonce=NONCE, sub="1").split(".")
    return ".".join([good[0], other[1], good[2]])


FORGED: list[Callable[[FakeGoogle], str]] = [
    unsigned,
    signed_with_our_secret,
    signed_with_the_public_key_as_a_secret,
    signed_by_another_key,
    signed_by_an_unknown_key,
    with_its_own_key_inside,
    with_another_algorithm,
    with_a_short_key,
    with_its_claims_changed,
]


@pytest.mark.parametrize("forge", FORGED, ids=lambda forge: forge.__name__)
async def test_token_not_signed_by_google_is_rejected(
    oidc: GoogleOidc, google: FakeGoogle, forge: Callable[[FakeGoogle], str]
) -> None:
    token = forge(google)
    with pytest.raises(IdentityNotProven):
        await oidc.verify(token)
    with pytest.raises(IdentityNotProven):
        await signs_in(oidc, google, id_token=token)


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "another-client.apps.googleusercontent.com"},
        {"aud": None},
        {"aud": []},
        {"aud": 7},
        {"aud": [CLIENT_ID, "another"]},
        {"aud": [CLIENT_ID, "another"], "azp": "another"},
        {"iss": "https://evil.example"},
        {"iss": "accounts.google.com"},
        {"iss": None},
        {"iss": ["https://accounts.google.com"]},
        {"exp": timedelta(seconds=-60)},
        {"exp": None},
        {"exp": "soon"},
        {"exp": 1e400},
        {"iat": timedelta(seconds=600)},
        {"iat": None},
        {"nbf": timedelta(seconds=600)},
        {"sub": None},
        {"sub": ""},
        {"sub": 108},
        {"sub": "1" * 256},
        {"sub": "1\x00"},
    ],
    ids=str,
)
async def test_token_with_a_wrong_claim_is_rejected(
    oidc: GoogleOidc, google: FakeGoogle, changes: dict[str, Any]
) -> None:
    key = google.keys["first"]
    claims = {name: value for name, value in (google.claims() | resolved(changes)).items() if value is not None}
    token = jwt.PyJWS().encode(jwt.PyJWT()._encode_payload(claims), key, algorithm="ES256", headers={"kid": "first"})
    with pytest.raises(IdentityNotProven):
        await oidc.verify(token)


@pytest.mark.parametrize(("hours", "accepted"), [(0, True), (-2, False), (2, False)])
async def test_token_is_valid_by_the_clock_port(google: FakeGoogle, hours: int, accepted: bool) -> None:
    oidc = client_of(google, ahead=timedelta(hours=hours))
    with contextlib.nullcontext() if accepted else pytest.raises(IdentityNotProven):
        await oidc.verify(google.id_token())
    await oidc.close()


@pytest.mark.parametrize("changes", [{"nonce": "of another sign-in"}, {"nonce": None}, {"nonce": 7}, {"nonce": "é"}])
async def test_token_of_another_login_is_rejected(
    oidc: GoogleOidc, google: FakeGoogle, changes: dict[str, Any]
) -> None:
    with pytest.raises(IdentityNotProven):
        await signs_in(oidc, google, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"exp": timedelta(seconds=-5)},
        {"iat": timedelta(seconds=5)},
        {"aud": [CLIENT_ID]},
        {"aud": [CLIENT_ID, "another"], "azp": CLIENT_ID},
    ],
    ids=str,
)
async def test_valid_token_returns_the_identity(oidc: GoogleOidc, google: FakeGoogle, changes: dict[str, Any]) -> None:
    identity = await signs_in(oidc, google, **resolved(changes))
    assert identity == ExternalIdentity(
        provider="google",
        subject="108204268033311374519",
        email="ada@gmail.com",
        email_verified=True,
        name="Ada Lovelace",
        picture="https://lh3.googleusercontent.com/a/ada",
    )


@pytest.mark.parametrize(
    ("changes", "email", "verified"),
    [
        ({"email": "Ada@GMail.com"}, "ada@gmail.com", True),
        ({"email_verified": False}, "ada@gmail.com", False),
        ({"email_verified": None}, "ada@gmail.com", False),
        ({"email_verified": "true"}, "ada@gmail.com", False),
        ({"email_verified": 1}, "ada@gmail.com", False),
        ({"email": "K\u212aim@gmail.com"}, "kkim@gmail.com", False),  # the Kelvin sign becomes a k
        ({"email": "nobody"}, None, False),
        ({"email": ["ada@gmail.com"]}, None, False),
        ({"email": None}, None, False),
    ],
)
async def test_address_is_verified_only_if_google_says_so(
    oidc: GoogleOidc, google: FakeGoogle, changes: dict[str, Any], email: str | None, verified: bool
) -> None:
    identity = await signs_in(oidc, google, **changes)
    assert (identity.email, identity.email_verified) == (email, verified)


@pytest.mark.parametrize(
    "picture", ["javascript:alert(1)", "http://lh3.example/a", "https://x/" + "a" * 3000, "https://x/\n", 7]
)
async def test_picture_that_is_not_an_https_url_is_dropped(
    oidc: GoogleOidc, google: FakeGoogle, picture: object
) -> None:
    assert (await signs_in(oidc, google, picture=picture)).picture is None


async def test_rsa_keys_work_and_a_single_key_needs_no_id(oidc: GoogleOidc, google: FakeGoogle) -> None:
    google.keys["rsa"] = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    google.published, google.signs_with = {"rsa"}, "rsa"
    assert (await signs_in(oidc, google)).subject == "108204268033311374519"
    nameless = jwt.encode(google.claims(), google.keys["rsa"], algorithm="RS256")
    assert (await oidc.verify(nameless)).subject == "108204268033311374519"


async def test_new_key_is_fetched_once_and_unknown_keys_do_not_refetch(oidc: GoogleOidc, google: FakeGoogle) -> None:
    await signs_in(oidc, google)
    google.keys["second"] = ec.generate_private_key(ec.SECP256R1())
    google.published, google.signs_with = {"first", "second"}, "second"
    await asyncio.gather(*(oidc.verify(google.id_token()) for _ in range(20)))
    assert google.asked("/keys") == 2
    for _ in range(5):
        with pytest.raises(IdentityNotProven):
            await oidc.verify(signed_by_an_unknown_key(google))
    assert google.asked("/keys") == 2


async def test_concurrent_first_logins_fetch_discovery_and_keys_once(oidc: GoogleOidc, google: FakeGoogle) -> None:
    await asyncio.gather(*(signs_in(oidc, google) for _ in range(20)))
    assert (google.asked(WELL_KNOWN), google.asked("/keys"), google.asked("/token")) == (1, 1, 20)


async def test_cached_value_is_fetched_again_after_its_lifetime() -> None:
    fetched, clock = iter(range(100)), [0.0]

    async def fetch() -> int:
        return next(fetched)

    remembered = Remembered(fetch, seconds=60, now=lambda: clock[0])
    assert [await remembered.get(), await remembered.get()] == [0, 0]
    clock[0] = 60
    assert await remembered.get() == 1
    assert [await remembered.renewed(at_most_every=30), await remembered.renewed(at_most_every=30)] == [2, 2]
    clock[0] = 90
    assert await remembered.renewed(at_most_every=30) == 3


async def test_code_of_another_attempt_is_rejected_by_its_verifier(oidc: GoogleOidc, google: FakeGoogle) -> None:
    mine, theirs = OAuthAttempts.new(), OAuthAttempts.new()
    location = await oidc.consent_url(state=theirs.state, nonce=theirs.nonce, verifier=theirs.verifier)
    assert query_of(location)["code_challenge"] == s256(theirs.verifier)
    code = query_of("?" + google.consent(location))["code"]
    with pytest.raises(SignInRefused):
        await oidc.redeem(code, nonce=theirs.nonce, verifier=mine.verifier)


def test_challenge_matches_the_standard() -> None:
    """RFC 7636, appendix B."""
    assert s256("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


async def test_code_is_redeemed_once(oidc: GoogleOidc, google: FakeGoogle) -> None:
    started = OAuthAttempts.new()
    location = await oidc.consent_url(state=started.state, nonce=started.nonce, verifier=started.verifier)
    code = query_of("?" + google.consent(location))["code"]
    await oidc.redeem(code, nonce=started.nonce, verifier=started.verifier)
    with pytest.raises(SignInRefused):
        await oidc.redeem(code, nonce=started.nonce, verifier=started.verifier)


async def test_wrong_client_secret_means_unavailable(google: FakeGoogle) -> None:
    client = client_of(google, client_secret="wrong")
    with pytest.raises(IdentityProviderUnavailable):
        await signs_in(client, google)
    await client.close()


TROUBLE = {
    "error 500": answer(500, b"{}"),
    "not found": answer(404, b"{}"),
    "too many": answer(429, b"{}", Retry_After="60"),
    "redirect": answer(302, b"", Location="http://127.0.0.1:1/"),
    "html": answer(200, b"<html>Sorry</html>"),
    "nothing": answer(200, b""),
    "null": answer(200, b"null"),
    "array": answer(200, b"[]"),
    "other types": answer(200, b'{"issuer": 7, "keys": {}, "access_token": []}'),
    "not UTF-8": answer(200, b'{"keys": "\xff"}'),
    "deep": answer(200, b"[" * 100_000),
    "huge": answer(200, b" " * 300_000),
    "no HTTP": b"hello\r\n\r\n",
    "cut off": b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\nConnection: close\r\n\r\n{",
}


@pytest.mark.parametrize("path", [WELL_KNOWN, "/token", "/keys"])
@pytest.mark.parametrize("trouble", TROUBLE)
async def test_invalid_google_answer_means_unavailable_until_it_recovers(
    google: FakeGoogle, path: str, trouble: str
) -> None:
    client = client_of(google, seconds=1)
    google.instead[path] = TROUBLE[trouble]
    with pytest.raises(IdentityProviderUnavailable):
        await signs_in(client, google)
    del google.instead[path]
    assert (await signs_in(client, google)).email == "ada@gmail.com"
    await client.close()


async def test_endless_answer_is_cut_off(oidc: GoogleOidc, google: FakeGoogle) -> None:
    keys = json.dumps({"keys": [public_key("first", google.keys["first"])]}).encode()
    google.instead["/keys"] = answer(200, keys + b" " * MOST_OF_AN_ANSWER)
    with pytest.raises(IdentityProviderUnavailable):
        await signs_in(oidc, google)
    google.instead["/keys"] = answer(200, keys)
    assert (await signs_in(oidc, google)).email == "ada@gmail.com"


@pytest.mark.parametrize("path", [WELL_KNOWN, "/token", "/keys"])
async def test_google_without_an_answer_is_unavailable(google: FakeGoogle, path: str) -> None:
    client = client_of(google, seconds=1)
    google.hanging.add(path)
    with pytest.raises(IdentityProviderUnavailable):
        await signs_in(client, google)
    google.hanging.clear()
    assert (await signs_in(client, google)).email == "ada@gmail.com"
    await client.close()


async def test_unreachable_google_is_unavailable() -> None:
    connection = ProviderConnection(seconds=0.5)
    server = AuthorizationServer(
        connection, f"http://127.0.0.1:1{WELL_KNOWN}", client_id="c", client_secret="s", redirect_uri=CALLBACK
    )
    with pytest.raises(IdentityProviderUnavailable):
        await GoogleOidc(server, connection, SystemClock()).consent_url(state="s", nonce="n", verifier="v")
    await connection.close()


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "https://accounts.google.com"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": "http://[::1"},
        {"authorization_endpoint": "http://evil.example/\r\nSet-Cookie: a=b"},
        {"token_endpoint": "file:///etc/passwd"},
        {"jwks_uri": "http:///keys"},
    ],
    ids=str,
)
async def test_invalid_discovery_document_is_rejected(
    oidc: GoogleOidc, google: FakeGoogle, changes: dict[str, str]
) -> None:
    right = {"issuer": google.issuer, "authorization_endpoint": f"{google.issuer}/consent"}
    right |= {"token_endpoint": f"{google.issuer}/token", "jwks_uri": f"{google.issuer}/keys"}
    google.instead[WELL_KNOWN] = as_json(right | changes)
    with pytest.raises(IdentityProviderUnavailable):
        await signs_in(oidc, google)
