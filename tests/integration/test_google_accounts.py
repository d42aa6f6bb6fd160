"""Which account a Google identity opens, and protection against accounts prepared by an attacker (Sudhodanan and
Paverd, "Pre-hijacked accounts: an empirical study", 2022: the attacks have the names of the paper)."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import asyncpg
import httpx
import pytest

from application.accounts.sessions import Actor
from domain.accounts import InvalidCredentials
from domain.calendars import ConsentUnknown, Provider
from domain.external_identity import ExternalIdentity, display_name
from infrastructure import container
from infrastructure.settings import Settings
from interfaces.http.app import create_app
from tests.support.google import Browser, FakeGoogle, fake_google
from tests.support.http import serving
from tests.support.people import PASSWORD, People, Person
from tests.support.settings import settings_for

_subjects = itertools.count(1)


@pytest.fixture(scope="module")
async def google() -> AsyncIterator[FakeGoogle]:
    async with fake_google() as google:
        yield google


@pytest.fixture(scope="module")
async def api(
    google: FakeGoogle, shared_database_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    settings = settings_for(shared_database_url, redis_url, tmp_path_factory.mktemp("data"), **google.settings)
    async with serving(create_app(settings)) as address, httpx.AsyncClient(base_url=address) as client:
        yield client


@pytest.fixture
def people(api: httpx.AsyncClient) -> People:
    return People(api)


@dataclass(frozen=True, slots=True)
class GoogleAccount:
    """Somebody's account at Google."""

    api: httpx.AsyncClient
    google: FakeGoogle
    sub: str
    email: str

    async def signs_in(self, **claims: Any) -> httpx.Response:
        async with Browser(str(self.api.base_url)) as browser:
            return await browser.signs_in(self.google, **({"sub": self.sub, "email": self.email} | claims))


@pytest.fixture
def at_google(api: httpx.AsyncClient, google: FakeGoogle) -> Callable[[str], GoogleAccount]:
    """Makes an account at Google with this address."""
    return lambda email: GoogleAccount(api, google, f"sub-{next(_subjects)}", email)


AtGoogle = Callable[[str], GoogleAccount]


def refused(response: httpx.Response) -> tuple[int, str]:
    assert response.json()["error"].endswith(("account", "password", "deactivated", "share it"))
    return response.status_code, response.json()["code"]


async def logs_in(api: httpx.AsyncClient, email: str, password: str = PASSWORD) -> httpx.Response:
    return await api.post("/auth/login", json={"email": email, "password": password})


async def is_still_in(person: Person) -> bool:
    """Whether anything this person got at their log-in still works."""
    profile = await person.get("/profile")
    renewed = await person.api.post("/auth/refresh", headers={"Authorization": f"Bearer {person.refresh_token}"})
    return 200 in {profile.status_code, renewed.status_code}


async def proves_address(database: asyncpg.Connection, person: Person) -> None:
    await database.execute("UPDATE users SET is_verified = true WHERE id = $1", person.id)


async def test_verified_account_is_linked_and_keeps_password_and_logins(
    people: People, at_google: AtGoogle, api: httpx.AsyncClient, shared_database: asyncpg.Connection
) -> None:
    ada = await people.user()
    await proves_address(shared_database, ada)
    account = at_google(ada.email)
    response = await account.signs_in()
    assert response.status_code == 200
    assert (response.json()["user"]["id"], response.json()["user"]["google_id"]) == (ada.id, account.sub)
    assert await is_still_in(ada)
    assert (await logs_in(api, ada.email)).status_code == 200


async def test_unverified_account_cannot_read_bookings_of_the_owner(
    people: People, at_google: AtGoogle, api: httpx.AsyncClient, shared_database: asyncpg.Connection
) -> None:
    attacker, john = await people.user(), await people.facilitator()
    feed = httpx.URL((await attacker.post("/calendar/feed")).json()["url"]).path
    assert (await api.get(feed)).status_code == 200
    await shared_database.execute(
        """INSERT INTO calendar_connections (user_id, provider, status, tokens, expires_at, connected_at)
           VALUES ($1, 'google', 'active', 'sealed', now(), now())""",
        attacker.id,
    )
    planted = {"event_id": (await john.creates_event())["id"]}
    assert (await attacker.post("/bookings", planted, key="order-1")).status_code == 201

    owner = (await at_google(attacker.email).signs_in()).json()

    assert (await api.get(feed)).status_code == 404
    assert await shared_database.fetchval("SELECT count(*) FROM calendar_connections") == 0
    headers = {"Authorization": f"Bearer {owner['access_token']}", "Idempotency-Key": "order-1"}
    answer = await api.post("/bookings", json={"event_id": (await john.creates_event())["id"]}, headers=headers)
    assert answer.status_code == 201, "a key that somebody else used before the owner came"


async def test_calendar_connection_of_an_unverified_account_is_not_completed(
    make_settings: Callable[..., Settings], google: FakeGoogle
) -> None:
    """The attacker consents at Google and sends the owner's browser back with the code and the state."""
    back = "https://app.example.com/calendar"
    settings = make_settings(**google.settings, oauth_redirect_allowlist=back)
    parts = container.build(settings)
    async with serving(create_app(settings)) as address, httpx.AsyncClient(base_url=address) as client:
        attacker = await People(client).user()
        before = (await parts.use_cases.authenticate(attacker.access_token)).user
        _, state = await parts.calendars.begin_calendar_consent(before, Provider.GOOGLE, back)
        identity = ExternalIdentity("google", "owner-of-the-state", attacker.email, True, "Ada", None)
        owner = (await parts.use_cases.sign_in_with_id_token.sign_in(identity)).user
        assert owner.id == attacker.id
        with pytest.raises(ConsentUnknown):
            await parts.calendars.connect_calendar(owner, Provider.GOOGLE, back, code="of-eve", state=state)
    await parts.close()


@pytest.mark.parametrize("verified", [None, "true", 1])
async def test_non_verifying_provider_address_opens_no_account(
    people: People, at_google: AtGoogle, api: httpx.AsyncClient, verified: object
) -> None:
    ada = await people.user()
    response = await at_google(ada.email.upper()).signs_in(email_verified=verified)
    assert refused(response) == (403, "google_email_not_verified")
    assert await is_still_in(ada)
    assert (await logs_in(api, ada.email)).status_code == 200


async def test_unexpired_email_change_does_not_exist(people: People) -> None:
    ada = await people.user()
    assert (await ada.put("/profile", {"email": "victim@example.com", "name": "Ada"})).status_code == 400
    assert (await ada.get("/profile")).json()["email"] == ada.email


async def test_new_account_is_verified_as_stated_by_google(
    at_google: AtGoogle, shared_database: asyncpg.Connection
) -> None:
    account = at_google("later@example.com")
    verified = "SELECT is_verified FROM users WHERE google_id = $1"
    await account.signs_in(email_verified=False)
    assert await shared_database.fetchval(verified, account.sub) is False
    await account.signs_in(email="another@example.com")
    assert await shared_database.fetchval(verified, account.sub) is False
    await account.signs_in()
    assert await shared_database.fetchval(verified, account.sub) is True


async def test_google_login_makes_the_network_known(at_google: AtGoogle, shared_database: asyncpg.Connection) -> None:
    answer = await at_google("known@example.com").signs_in()
    number = "SELECT count(*) FROM login_networks WHERE user_id = $1"
    assert await shared_database.fetchval(number, answer.json()["user"]["id"]) == 1


async def test_missing_address_creates_no_account(at_google: AtGoogle) -> None:
    account = at_google("x@example.com")
    assert refused(await account.signs_in(email=None)) == (403, "google_email_missing")
    assert refused(await account.signs_in(email="nobody")) == (403, "google_email_missing")


async def test_picture_follows_google_and_name_and_phone_do_not(
    people: People, at_google: AtGoogle, shared_database: asyncpg.Connection
) -> None:
    ada = await people.user()
    await proves_address(shared_database, ada)
    await ada.put("/profile", {"phone": "+44 20 7946 0000"})
    account = at_google(ada.email)
    await account.signs_in(name="Somebody Else")
    await account.signs_in(picture="https://lh3.googleusercontent.com/a/new")
    user = (await account.signs_in(picture=None)).json()["user"]
    assert (user["name"], user["profile_picture"]) == ("Ada Lovelace", "https://lh3.googleusercontent.com/a/new")
    assert (await ada.get("/profile")).json()["phone"] == "+44 20 7946 0000"
    assert (await ada.put("/profile", {"name": "Ada King"})).status_code == 200
    assert (await account.signs_in()).json()["user"]["name"] == "Ada King"


@pytest.mark.parametrize(
    ("claimed", "shown"),
    [
        (("Ada Lovelace", "other"), "Ada Lovelace"),
        ((None, " ", "ada"), "ada"),
        (("a\x00b\r\nc\u2028d\ud800",), "a b c d"),
        (("x" * 500,), "x" * 120),
        (("\n",), "Google user"),
    ],
)
def test_name_from_google_fits_on_one_line(claimed: tuple[str | None, ...], shown: str) -> None:
    assert display_name(*claimed) == shown


async def test_concurrent_first_logins_of_one_person_make_one_account(
    api: httpx.AsyncClient, google: FakeGoogle, shared_database: asyncpg.Connection
) -> None:
    claims = {"sub": "twins", "email": "twins@example.com"}
    body = {"google_id": "twins", "email": "twins@example.com", "name": "T", "id_token": google.id_token(**claims)}
    responses = await asyncio.gather(*(api.post("/api/auth/google", json=body) for _ in range(12)))
    assert [response.status_code for response in responses] == [200] * 12
    assert len({response.json()["user"]["id"] for response in responses}) == 1
    assert await shared_database.fetchval("SELECT count(*) FROM users WHERE email = 'twins@example.com'") == 1


@pytest.mark.parametrize("taken", ["its Google account", "its address"])
async def test_login_that_loses_the_insert_race_uses_the_existing_account(
    at_google: AtGoogle, shared_database: asyncpg.Connection, shared_database_url: str, taken: str
) -> None:
    """The other one has inserted and not yet committed: our insert waits, fails and is tried again."""
    account = at_google(f"{taken.replace(' ', '-').lower()}@example.com")
    faster = await asyncpg.connect(shared_database_url)
    transaction = faster.transaction()
    await transaction.start()
    theirs = await faster.fetchval(
        """INSERT INTO users (email, name, role, google_id, password_hash) VALUES ($1, 'Ada', 'user', $2, 'x')
           RETURNING id""",
        "elsewhere@example.com" if taken == "its Google account" else account.email,
        account.sub if taken == "its Google account" else None,
    )
    ours = asyncio.create_task(account.signs_in())
    waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype = 'transactionid')"
    while not ours.done() and not await shared_database.fetchval(waiting):
        await asyncio.wait([ours], timeout=0.01)
    assert not ours.done()
    await transaction.commit()
    await faster.close()
    response = await ours
    assert (response.status_code, response.json()["user"]["id"]) == (200, theirs)


async def test_concurrent_registration_and_google_login_admit_only_the_owner(
    api: httpx.AsyncClient, at_google: AtGoogle
) -> None:
    account = at_google("raced@example.com")
    body = {"email": account.email, "password": PASSWORD, "name": "Eve"}
    registered, signed_in = await asyncio.gather(api.post("/auth/register", json=body), account.signs_in())
    assert signed_in.status_code == 200
    assert registered.status_code in {201, 400}
    assert (await logs_in(api, account.email)).status_code == 401


@dataclass
class WhileHashing:
    """A hasher that takes its time: meanwhile something else happens, once."""

    real: Any
    meanwhile: Callable[[], Awaitable[Any]]
    during: str

    async def hash(self, password: str) -> str:
        result: str = await self.real.hash(password)
        if self.during == "hash":
            await self.meanwhile()
        return result

    async def verify(self, password: str, password_hash: str | None) -> bool:
        result: bool = await self.real.verify(password, password_hash)
        if self.during == "verify":
            await self.meanwhile()
        return result

    def needs_rehash(self, password_hash: str) -> bool:
        return False


@pytest.mark.parametrize("during", ["verify", "hash"])
async def test_concurrent_change_or_login_of_an_unverified_account_is_revoked(
    make_settings: Callable[..., Settings], google: FakeGoogle, database: asyncpg.Connection, during: str
) -> None:
    parts = container.build(make_settings(**google.settings))
    use_cases = parts.use_cases
    async with serving(create_app(make_settings())) as address, httpx.AsyncClient(base_url=address) as client:
        attacker = await People(client).user()
    identity = ExternalIdentity("google", "owner", attacker.email, True, "Ada", None)

    async def the_owner_comes() -> None:
        await use_cases.sign_in_with_id_token.sign_in(identity)

    hasher = WhileHashing(use_cases.log_in.hasher, the_owner_comes, during)
    with pytest.raises(InvalidCredentials):
        if during == "verify":
            await replace(use_cases.log_in, hasher=hasher)(email=attacker.email, password=PASSWORD, address="local")
        else:
            actor = await use_cases.authenticate(attacker.access_token)
            assert isinstance(actor, Actor)
            change = replace(use_cases.change_password, hasher=hasher)
            await change(actor, current=PASSWORD, new="another password", address="local")
    assert await database.fetchval("SELECT password_hash FROM users WHERE id = $1", attacker.id) is None
    alive = await database.fetch("SELECT user_id FROM logins WHERE ended_at IS NULL")
    assert len(alive) == 1
    await parts.close()
