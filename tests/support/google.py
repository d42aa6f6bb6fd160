"""Google for tests: an OpenID provider that keeps every rule, or breaks a chosen one."""

import asyncio
import contextlib
import json
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from infrastructure.auth.oauth import WELL_KNOWN, s256
from tests.support.receivers import Receiver, Request, answer, receiving
from tests.support.servers import free_port

CLIENT_ID = "convene-tests.apps.googleusercontent.com"
CLIENT_SECRET = "the secret of the tests' OAuth client"
CALLBACK = "http://127.0.0.1:5000/auth/google/callback"
"""Of the default PUBLIC_URL."""


@dataclass
class FakeGoogle:
    """Signs with `keys[signs_with]` and publishes the keys in `published`. `instead` maps a path to an answer that is
    given in place of the right one; `hanging` holds paths that are never answered."""

    receiver: Receiver
    keys: dict[str, Any] = field(default_factory=lambda: {"first": ec.generate_private_key(ec.SECP256R1())})
    signs_with: str = "first"
    published: set[str] = field(default_factory=lambda: {"first"})
    instead: dict[str, bytes] = field(default_factory=dict)
    hanging: set[str] = field(default_factory=set)
    codes: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def issuer(self) -> str:
        return self.receiver.url

    @property
    def discovery_url(self) -> str:
        return self.issuer + WELL_KNOWN

    @property
    def settings(self) -> dict[str, str]:
        return {
            "google_client_id": CLIENT_ID,
            "google_client_secret": CLIENT_SECRET,
            "google_discovery_url": self.discovery_url,
        }

    def asked(self, path: str) -> int:
        """How often."""
        return sum(request.path == path for request in self.receiver.requests)

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Those of an ID token for Ada; None takes one away."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "sub": "108204268033311374519",
            "email": "ada@gmail.com",
            "email_verified": True,
            "name": "Ada Lovelace",
            "picture": "https://lh3.googleusercontent.com/a/ada",
            "iat": now,
            "exp": now + 3600,
        }
        return {name: value for name, value in (claims | changes).items() if value is not None}

    def id_token(self, **changes: Any) -> str:
        key = self.keys[self.signs_with]
        algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
        return jwt.encode(self.claims(**changes), key, algorithm=algorithm, headers={"kid": self.signs_with})

    def consent(self, location: str, *, id_token: str | None = None, **changes: Any) -> str:
        """What the person's "yes" on the consent screen comes back as: the callback's query string. The ID token
        will carry the right nonce and `changes`, or be `id_token`."""
        asked = query_of(location)
        code = secrets.token_urlsafe(16)
        token = id_token or self.id_token(**({"nonce": asked["nonce"]} | changes))
        self.codes[code] = asked | {"id_token": token}
        return urlencode({"code": code, "state": asked["state"]})

    async def behave(self, request: Request, _writer: asyncio.StreamWriter) -> bytes:
        if request.path in self.hanging:
            await asyncio.Event().wait()
        if request.path in self.instead:
            return self.instead[request.path]
        if request.path == WELL_KNOWN:
            return as_json(
                {
                    "issuer": self.issuer,
                    "authorization_endpoint": f"{self.issuer}/consent",
                    "token_endpoint": f"{self.issuer}/token",
                    "jwks_uri": f"{self.issuer}/keys",
                }
            )
        if request.path == "/keys":
            return as_json({"keys": [public_key(name, self.keys[name]) for name in sorted(self.published)]})
        assert (request.method, request.path) == ("POST", "/token")
        return self._token({name: values[0] for name, values in parse_qs(request.body.decode()).items()})

    def _token(self, form: dict[str, str]) -> bytes:
        if (form["client_id"], form["client_secret"]) != (CLIENT_ID, CLIENT_SECRET):
            return as_json({"error": "invalid_client"}, 401)
        asked = self.codes.pop(form["code"], None)
        sound = (
            asked
            and form["grant_type"] == "authorization_code"
            and form["redirect_uri"] == asked["redirect_uri"]
            and asked["code_challenge_method"] == "S256"
            and s256(form["code_verifier"]) == asked["code_challenge"]
        )
        if not asked or not sound:
            return as_json({"error": "invalid_grant"}, 400)
        return as_json({"access_token": "a", "expires_in": 3599, "token_type": "Bearer", "id_token": asked["id_token"]})


def public_key(name: str, key: Any) -> dict[str, Any]:
    algorithm: Any = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": name, "use": "sig"}


def as_json(body: Any, status: int = 200) -> bytes:
    return answer(status, json.dumps(body).encode(), Content_Type="application/json")


def query_of(url: str) -> dict[str, str]:
    """Refuses a parameter that is there twice."""
    parsed = parse_qs(urlsplit(url).query, strict_parsing=True)
    assert all(len(values) == 1 for values in parsed.values())
    return {name: values[0] for name, values in parsed.items()}


@contextlib.asynccontextmanager
async def fake_google() -> AsyncIterator[FakeGoogle]:
    async with receiving() as receiver:
        google = FakeGoogle(receiver)
        receiver.behave = google.behave
        yield google


class Browser:
    """A person's browser: it keeps cookies, and follows nothing by itself."""

    def __init__(self, address: str) -> None:
        self._client = httpx.AsyncClient(base_url=address)

    async def __aenter__(self) -> "Browser":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    @property
    def cookies(self) -> httpx.Cookies:
        return self._client.cookies

    async def starts(self, path: str = "/auth/google") -> str:
        """Where it is sent."""
        response = await self._client.get(path)
        assert response.status_code == 302, response.text
        return response.headers["location"]

    async def comes_back(self, query: str) -> httpx.Response:
        return await self._client.get(f"/auth/google/callback?{query}")

    async def signs_in(self, google: FakeGoogle, **changes: Any) -> httpx.Response:
        return await self.comes_back(google.consent(await self.starts(), **changes))


@contextlib.contextmanager
def mock_provider() -> Iterator[str]:
    """`oidc-provider-mock` in a process of its own; yields its address. It checks no PKCE verifier."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    httpx.get(address + WELL_KNOWN)
                    break
                assert process.poll() is None, "oidc-provider-mock did not start"
                time.sleep(0.05)
            yield address
        finally:
            process.terminate()
