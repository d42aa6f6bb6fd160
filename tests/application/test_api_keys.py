"""The rules of API keys: making, revoking, authentication, and what ends them."""

from dataclasses import replace
from datetime import timedelta

import pytest

from application.accounts.access import end_access
from application.accounts.api_keys import KEYS_PER_ACCOUNT, CreateApiKey, RevokeApiKey
from application.accounts.sessions import Actor
from application.oauth import fingerprint
from application.ports import PageRequest
from domain.accounts import Role, User
from domain.api_keys import (
    ApiKeyNotAllowed,
    ApiKeyNotFound,
    ApiKeyRequest,
    InsufficientScope,
    Scope,
    TooManyApiKeys,
)
from domain.audit import AuditActor, AuditOrigin
from domain.credentials import AccessEnd
from domain.errors import Invalid, TooManyRequests, Unauthenticated
from tests.support.memory.account_use_cases import AccountUseCases
from tests.support.memory.api_keys import KeyRow, MemoryApiKeyQueries
from tests.support.memory.audit_log import audit_entries

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
AT_MOST = 3


class KeyUseCases(AccountUseCases):
    def __init__(self) -> None:
        super().__init__()
        self.create_key = CreateApiKey(self.units, self.limiter, self.clock, AT_MOST)
        self.revoke_key = RevokeApiKey(self.units, self.clock)
        self.keys = MemoryApiKeyQueries(self.store)

    async def owner(self, **changes: object) -> Actor:
        await self.has_registered(**changes)
        email = changes.get("email")
        logged_in = await (self.has_logged_in(email=str(email)) if email else self.has_logged_in())
        return await self.is_authenticated(logged_in)

    def rows(self) -> list[KeyRow]:
        return list(self.store.tables.of("api_keys").values())


@pytest.fixture
def accounts() -> KeyUseCases:
    return KeyUseCases()


@pytest.fixture
async def owner(accounts: KeyUseCases) -> Actor:
    return await accounts.owner()


REQUEST = ApiKeyRequest("CRM", ["bookings:read"])


async def is_refused(accounts: KeyUseCases, secret: str) -> bool:
    try:
        await accounts.authenticate(secret)
    except Unauthenticated:
        return True
    return False


# Making


async def test_key_authenticates_its_owner(accounts: KeyUseCases, owner: Actor) -> None:
    key, secret = await accounts.create_key(owner, REQUEST)
    assert await accounts.authenticate(secret) == Actor(owner.user, key)
    assert (key.name, key.scopes, key.expires_at) == ("CRM", frozenset({"bookings:read"}), None)
    assert secret.startswith(key.prefix)


async def test_each_key_has_a_secret_of_its_own(accounts: KeyUseCases, owner: Actor) -> None:
    secrets = {(await accounts.create_key(owner, REQUEST))[1] for _ in range(AT_MOST)}
    assert len(secrets) == AT_MOST


async def test_secret_is_stored_as_a_hash(accounts: KeyUseCases, owner: Actor) -> None:
    _, secret = await accounts.create_key(owner, REQUEST)
    assert [row.fingerprint for row in accounts.rows()] == [fingerprint(secret)]
    assert secret not in repr(accounts.store.tables.rows)


async def test_unacceptable_request_makes_no_key(accounts: KeyUseCases, owner: Actor) -> None:
    with pytest.raises(Invalid):
        await accounts.create_key(owner, replace(REQUEST, scopes=["admin:read"]))
    assert accounts.rows() == []


async def test_number_of_keys_that_have_not_ended_is_limited(accounts: KeyUseCases, owner: Actor) -> None:
    first, _ = await accounts.create_key(owner, REQUEST)
    await accounts.create_key(owner, replace(REQUEST, expires_at=accounts.clock.now() + HOUR))
    await accounts.create_key(owner, REQUEST)
    with pytest.raises(TooManyApiKeys):
        await accounts.create_key(owner, REQUEST)
    await accounts.revoke_key(owner, first.id)
    await accounts.create_key(owner, REQUEST)
    with pytest.raises(TooManyApiKeys):
        await accounts.create_key(owner, REQUEST)
    accounts.clock.advance(HOUR)
    await accounts.create_key(owner, REQUEST)


async def test_rate_of_new_keys_is_limited(accounts: KeyUseCases, owner: Actor) -> None:
    for _ in range(KEYS_PER_ACCOUNT.times):
        key, _ = await accounts.create_key(owner, REQUEST)
        await accounts.revoke_key(owner, key.id)
    with pytest.raises(TooManyRequests):
        await accounts.create_key(owner, REQUEST)


async def test_login_that_has_ended_meanwhile_makes_no_key(accounts: KeyUseCases, owner: Actor) -> None:
    await accounts.log_out(owner, everywhere=True)
    with pytest.raises(Unauthenticated):
        await accounts.create_key(owner, REQUEST)
    assert accounts.rows() == []


# Authentication


async def test_key_with_a_wrong_checksum_is_refused_without_a_query(accounts: KeyUseCases, owner: Actor) -> None:
    _, secret = await accounts.create_key(owner, REQUEST)
    assert await is_refused(accounts, secret[:-1] + ("0" if secret[-1] != "0" else "1"))
    assert accounts.actors.asked_by_key == 0
    assert not await is_refused(accounts, secret)
    assert accounts.actors.asked_by_key == 1


async def test_unknown_key_is_refused(accounts: KeyUseCases, owner: Actor) -> None:
    _, secret = await accounts.create_key(owner, REQUEST)
    del accounts.store.tables.of("api_keys")[accounts.rows()[0].key.id]
    assert await is_refused(accounts, secret)


async def test_key_is_refused_from_its_expiry_on(accounts: KeyUseCases, owner: Actor) -> None:
    _, secret = await accounts.create_key(owner, replace(REQUEST, expires_at=accounts.clock.now() + HOUR))
    accounts.clock.advance(HOUR - timedelta(seconds=1))
    assert not await is_refused(accounts, secret)
    accounts.clock.advance(timedelta(seconds=1))
    assert await is_refused(accounts, secret)


async def test_key_of_a_deactivated_account_is_refused(accounts: KeyUseCases, owner: Actor) -> None:
    """Also one that was not revoked with the deactivation."""
    _, secret = await accounts.create_key(owner, REQUEST)
    async with accounts.units() as work:
        await work.users.save(replace(owner.user, is_active=False))
        await work.commit()
    assert await is_refused(accounts, secret)


async def test_minute_of_the_last_use_is_stored_once(accounts: KeyUseCases, owner: Actor) -> None:
    key, secret = await accounts.create_key(owner, REQUEST)
    noon = accounts.clock.now().replace(second=0, microsecond=0)
    for _ in range(3):
        accounts.clock.advance(timedelta(seconds=15))
        await accounts.authenticate(secret)
    accounts.clock.advance(MINUTE)
    await accounts.authenticate(secret)
    assert accounts.key_uses.noted == [(key.id, noon), (key.id, noon + MINUTE)]


async def test_refused_key_was_not_used(accounts: KeyUseCases, owner: Actor) -> None:
    _, secret = await accounts.create_key(owner, replace(REQUEST, expires_at=accounts.clock.now() + MINUTE))
    accounts.clock.advance(MINUTE)
    assert await is_refused(accounts, secret)
    assert accounts.key_uses.noted == []


# What a key may do


async def test_login_may_call_every_operation(owner: Actor) -> None:
    owner.require()
    owner.require(*Scope)
    assert owner.login_id == owner.access


async def test_key_may_call_operations_of_its_scopes(accounts: KeyUseCases, owner: Actor) -> None:
    _, secret = await accounts.create_key(owner, REQUEST)
    by_key = await accounts.authenticate(secret)
    by_key.require(Scope.BOOKINGS_READ)
    with pytest.raises(InsufficientScope):
        by_key.require(Scope.BOOKINGS_WRITE)
    with pytest.raises(ApiKeyNotAllowed):
        by_key.require()


async def test_key_has_no_login_to_end(accounts: KeyUseCases, owner: Actor) -> None:
    _, secret = await accounts.create_key(owner, REQUEST)
    with pytest.raises(ApiKeyNotAllowed):
        await accounts.log_out(await accounts.authenticate(secret))


async def test_key_has_the_present_rights_of_its_owner(accounts: KeyUseCases) -> None:
    owner = await accounts.owner(role=Role.FACILITATOR)
    _, secret = await accounts.create_key(owner, REQUEST)
    async with accounts.units() as work:
        await work.users.save(replace(owner.user, role=Role.USER))
        await work.commit()
    assert not (await accounts.authenticate(secret)).user.can_facilitate


# Revoking


async def test_revoked_key_is_refused(accounts: KeyUseCases, owner: Actor) -> None:
    (key, secret), (_, other) = [await accounts.create_key(owner, REQUEST) for _ in range(2)]
    await accounts.revoke_key(owner, key.id)
    assert await is_refused(accounts, secret)
    assert not await is_refused(accounts, other)
    with pytest.raises(ApiKeyNotFound):
        await accounts.revoke_key(owner, key.id)


async def test_key_of_another_account_is_not_found(accounts: KeyUseCases, owner: Actor) -> None:
    stranger = await accounts.owner(email="eve@example.com")
    key, secret = await accounts.create_key(owner, REQUEST)
    with pytest.raises(ApiKeyNotFound):
        await accounts.revoke_key(stranger, key.id)
    assert not await is_refused(accounts, secret)


async def _end(accounts: KeyUseCases, user: User, why: AccessEnd) -> None:
    async with accounts.units() as work:
        await end_access(work, user, why, accounts.clock.now())
        await work.commit()


@pytest.mark.parametrize("why", AccessEnd)
async def test_keys_end_with_loss_of_control_but_not_with_a_new_password(
    accounts: KeyUseCases, owner: Actor, why: AccessEnd
) -> None:
    stranger = await accounts.owner(email="eve@example.com")
    _, secret = await accounts.create_key(owner, REQUEST)
    _, of_stranger = await accounts.create_key(stranger, REQUEST)
    await _end(accounts, owner.user, why)
    survives = why in {AccessEnd.LOGGED_OUT_EVERYWHERE, AccessEnd.PASSWORD_CHANGED}
    assert await is_refused(accounts, secret) is not survives
    assert [row.revoke_reason for row in accounts.rows()] == [None if survives else why, None]
    assert not await is_refused(accounts, of_stranger)


# Audit log


async def test_making_and_revoking_are_recorded(accounts: KeyUseCases, owner: Actor) -> None:
    expires_at = accounts.clock.now() + HOUR
    scopes = ["bookings:write", "bookings:read"]
    key, secret = await accounts.create_key(owner, ApiKeyRequest("CRM of Ada", scopes, expires_at))
    await accounts.revoke_key(owner, key.id)
    made, revoked = audit_entries(accounts.store)[-2:]
    assert (made.action, made.audited.kind, made.audited.id) == ("api_key.created", "api_key", str(key.id))
    assert made.after == {
        "account": owner.user.id,
        "scopes": "bookings:read bookings:write",
        "expires_at": expires_at.isoformat(),
    }
    assert (revoked.action, revoked.audited) == ("api_key.revoked", made.audited)
    assert revoked.after == {"account": owner.user.id}
    assert secret not in repr(audit_entries(accounts.store))
    assert "Ada" not in repr(audit_entries(accounts.store))


async def test_revocation_of_all_keys_is_recorded_if_there_are_any(accounts: KeyUseCases, owner: Actor) -> None:
    def recorded() -> list[object]:
        return [entry.after for entry in audit_entries(accounts.store) if entry.action == "api_keys.revoked"]

    await _end(accounts, owner.user, AccessEnd.DEACTIVATED)
    assert recorded() == []
    async with accounts.units() as work:
        user = await work.users.get(owner.user.id)
    for _ in range(2):
        await accounts.create_key(replace(owner, user=user), REQUEST)
    await _end(accounts, user, AccessEnd.DEACTIVATED)
    assert recorded() == [{"keys": 2, "reason": "account deactivated"}]


async def test_change_by_a_key_is_recorded_as_that_of_the_key(accounts: KeyUseCases, owner: Actor) -> None:
    key, secret = await accounts.create_key(owner, REQUEST)
    by_key = await accounts.authenticate(secret)
    assert by_key.for_audit == AuditActor("key", str(key.id))
    assert owner.for_audit == AuditActor("account", str(owner.user.id))
    assert AuditOrigin(by_key.for_audit).actor.kind == "key"


# The list


async def test_list_has_the_keys_of_the_account_that_were_not_revoked(accounts: KeyUseCases, owner: Actor) -> None:
    stranger = await accounts.owner(email="eve@example.com")
    keys = [(await accounts.create_key(owner, replace(REQUEST, name=name)))[0] for name in ("one", "two", "three")]
    await accounts.create_key(stranger, REQUEST)
    await accounts.revoke_key(owner, keys[1].id)
    page = await accounts.keys.list_of(owner.user.id, PageRequest(1))
    assert [key.name for key in page.items] == ["three"]
    page = await accounts.keys.list_of(owner.user.id, PageRequest(1, page.next))
    assert ([key.name for key in page.items], page.next) == (["one"], None)
