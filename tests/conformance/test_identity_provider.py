"""The port of identity providers: in memory, and the client of Google against a local server."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol

import pytest

from application.accounts.ports.accounts import IdentityProvider
from domain.external_identity import ExternalIdentity, IdentityNotProven, IdentityProviderUnavailable, SignInRefused
from infrastructure.auth.google_oidc import GoogleOidc
from infrastructure.auth.oauth import WELL_KNOWN, AuthorizationServer, ProviderConnection
from tests.support.google import CALLBACK, CLIENT_ID, CLIENT_SECRET, FakeGoogle, as_json, fake_google, query_of
from tests.support.machine_clock import SystemClock
from tests.support.memory.credentials import MemoryIdentityProvider

ADA = ExternalIdentity("google", "108204268033311374519", "ada@gmail.com", True, "Ada", "https://p.example/ada")


class Arrangement(Protocol):
    """What the person and the provider do."""

    def consents(self, url: str) -> str:
        """The person agrees on the consent screen of this address; returns the authorization code."""
        ...

    def id_token(self) -> str: ...

    def fails(self) -> None:
        """The provider answers nothing valid from now on."""
        ...


@dataclass
class InMemory:
    provider: MemoryIdentityProvider

    def consents(self, url: str) -> str:
        return self._knows(f"code for {url}")

    def id_token(self) -> str:
        return self._knows("an ID token")

    def fails(self) -> None:
        self.provider.is_available = False

    def _knows(self, secret: str) -> str:
        self.provider.identities[secret] = ADA
        return secret


@dataclass
class AtGoogle:
    google: FakeGoogle

    def consents(self, url: str) -> str:
        return query_of("?" + self.google.consent(url, **self._claims()))["code"]

    def id_token(self) -> str:
        return self.google.id_token(**self._claims())

    def fails(self) -> None:
        self.google.instead[WELL_KNOWN] = as_json({}, 503)

    @staticmethod
    def _claims() -> dict[str, Any]:
        return {"sub": ADA.subject, "email": ADA.email, "name": ADA.name, "picture": ADA.picture}


@dataclass
class Case:
    provider: IdentityProvider
    person: Arrangement

    async def starts(self) -> str:
        """The address of a consent screen."""
        return await self.provider.consent_url(state="state", nonce="nonce", verifier="verifier")


@pytest.fixture
async def google() -> AsyncIterator[Case]:
    async with fake_google() as google:
        connection = ProviderConnection(seconds=5)
        server = AuthorizationServer(
            connection, google.discovery_url, client_id=CLIENT_ID, client_secret=CLIENT_SECRET, redirect_uri=CALLBACK
        )
        client = GoogleOidc(server, connection, SystemClock())
        yield Case(client, AtGoogle(google))
        await client.close()


@pytest.fixture(params=["memory", "google"])
def case(request: pytest.FixtureRequest) -> Case:
    if request.param == "google":
        found: Case = request.getfixturevalue("google")
        return found
    provider = MemoryIdentityProvider()
    return Case(provider, InMemory(provider))


async def test_code_is_exchanged_for_the_identity(case: Case) -> None:
    code = case.person.consents(await case.starts())
    assert await case.provider.redeem(code, nonce="nonce", verifier="verifier") == ADA


async def test_consent_screen_receives_the_state_and_not_the_verifier(case: Case) -> None:
    url = await case.starts()
    assert "state=state" in url
    assert "verifier" not in url


async def test_code_is_redeemed_once(case: Case) -> None:
    code = case.person.consents(await case.starts())
    await case.provider.redeem(code, nonce="nonce", verifier="verifier")
    with pytest.raises(SignInRefused):
        await case.provider.redeem(code, nonce="nonce", verifier="verifier")


async def test_unknown_code_is_refused(case: Case) -> None:
    await case.starts()
    with pytest.raises(SignInRefused):
        await case.provider.redeem("unknown", nonce="nonce", verifier="verifier")


async def test_code_of_another_attempt_is_refused(case: Case) -> None:
    code = case.person.consents(await case.starts())
    with pytest.raises(SignInRefused):
        await case.provider.redeem(code, nonce="nonce", verifier="another")


async def test_identity_of_another_attempt_is_not_proven(case: Case) -> None:
    code = case.person.consents(await case.starts())
    with pytest.raises(IdentityNotProven):
        await case.provider.redeem(code, nonce="another", verifier="verifier")


async def test_id_token_of_a_client_is_verified(case: Case) -> None:
    assert await case.provider.verify(case.person.id_token()) == ADA
    with pytest.raises(IdentityNotProven):
        await case.provider.verify("forged")


async def test_provider_without_a_valid_answer_is_unavailable(case: Case) -> None:
    case.person.fails()
    with pytest.raises(IdentityProviderUnavailable):
        await case.starts()
    with pytest.raises(IdentityProviderUnavailable):
        await case.provider.verify(case.person.id_token())
    with pytest.raises(IdentityProviderUnavailable):
        await case.provider.redeem("a code", nonce="nonce", verifier="verifier")
