"""The ports of second factors, in memory and in PostgreSQL, and the codes of authenticator apps."""

import base64
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import uuid4

import pytest

from application.accounts.ports.second_factors import FactorQueries, TotpCodes, TotpFactor
from application.unit_of_work import OpenUnitOfWork
from domain.accounts import LoginId, User
from domain.outbox import ALWAYS_SERVED, routes_for
from domain.second_factors import Factor, FactorId, LoginKind, LoginTicket
from infrastructure.auth.token_encryption import SecretBox
from infrastructure.auth.totp import PyotpCodes
from infrastructure.postgres.accounts.second_factors import PostgresFactorQueries
from infrastructure.postgres.engine import Database
from infrastructure.postgres.unit_of_work import UnitsOfWork
from tests.support.memory.second_factors import MemoryFactorQueries, MemoryTotpCodes
from tests.support.memory.store import SettableClock, Store
from tests.support.memory.unit_of_work import MemoryUnitsOfWork

NOW = datetime(2031, 3, 5, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SECRET = base64.b32encode(b"12345678901234567890").decode()
_numbers = count(1)


@pytest.fixture(params=["memory", "postgres"])
def units(request: pytest.FixtureRequest) -> OpenUnitOfWork:
    if request.param == "memory":
        return MemoryUnitsOfWork(Store(), SettableClock(NOW))
    database: Database = request.getfixturevalue("postgres_database")
    box = SecretBox(["ab" * 32])
    return UnitsOfWork(database, routes_for(ALWAYS_SERVED), SettableClock(NOW), lambda: None, box=box)


async def a_user(units: OpenUnitOfWork) -> User:
    async with units() as work:
        email = f"factor{next(_numbers)}@example.com"
        user = await work.users.add_without_password(email=email, name="Ada", now=NOW)
        await work.commit()
    return user


async def an_enrolment(units: OpenUnitOfWork, user: User, *, at: datetime = NOW) -> FactorId:
    async with units() as work:
        factor_id = await work.second_factors.add_totp(user.id, "Phone", SECRET, at)
        await work.commit()
    return factor_id


async def a_factor(units: OpenUnitOfWork, user: User, *, at: datetime = NOW) -> Factor:
    factor_id = await an_enrolment(units, user, at=at)
    async with units() as work:
        factor = await work.second_factors.confirm_totp(user.id, factor_id, 1, at)
        await work.commit()
    return factor


async def factors_of(units: OpenUnitOfWork, user: User) -> tuple[list[Factor], list[TotpFactor]]:
    async with units() as work:
        return list(await work.second_factors.of(user.id)), list(await work.second_factors.find_totp(user.id))


async def test_enrolment_is_no_factor_until_it_is_confirmed(units: OpenUnitOfWork) -> None:
    user = await a_user(units)
    factor_id = await an_enrolment(units, user)
    assert await factors_of(units, user) == ([], [])
    async with units() as work:
        factors = work.second_factors
        assert await factors.find_enrolment(user.id, factor_id, since=NOW - HOUR) == SECRET
        confirmed = await factors.confirm_totp(user.id, factor_id, 41, NOW + HOUR)
        await work.commit()
    assert (confirmed.id, confirmed.name, confirmed.created_at, confirmed.last_used_at) == (
        factor_id,
        "Phone",
        NOW,
        None,
    )
    assert await factors_of(units, user) == ([confirmed], [TotpFactor(factor_id, SECRET, 41)])


async def test_enrolment_is_found_in_its_time_and_account(units: OpenUnitOfWork) -> None:
    user, other = await a_user(units), await a_user(units)
    confirmed, factor_id = await a_factor(units, user), await an_enrolment(units, user)
    async with units() as work:
        find = work.second_factors.find_enrolment
        assert await find(user.id, factor_id, since=NOW - HOUR) is not None
        assert await find(user.id, factor_id, since=NOW) is None
        assert await find(other.id, factor_id, since=NOW - HOUR) is None
        assert await find(user.id, confirmed.id, since=NOW - HOUR) is None
        assert await find(user.id, FactorId(uuid4()), since=NOW - HOUR) is None


async def test_new_enrolment_replaces_the_one_before(units: OpenUnitOfWork) -> None:
    user, other = await a_user(units), await a_user(units)
    confirmed = await a_factor(units, user)
    before, foreign, after = [await an_enrolment(units, each) for each in (user, other, user)]
    async with units() as work:
        find = work.second_factors.find_enrolment
        assert await find(user.id, before, since=NOW - HOUR) is None
        assert await find(user.id, after, since=NOW - HOUR) is not None
        assert await find(other.id, foreign, since=NOW - HOUR) is not None
    assert (await factors_of(units, user))[0] == [confirmed]


async def test_factors_are_listed_oldest_first(units: OpenUnitOfWork) -> None:
    user = await a_user(units)
    made = [await a_factor(units, user, at=NOW + number * HOUR) for number in range(3)]
    shown, secrets = await factors_of(units, user)
    assert (shown, [factor.id for factor in secrets]) == (made, [factor.id for factor in made])


async def test_each_time_step_is_used_once_and_never_goes_back(units: OpenUnitOfWork) -> None:
    user = await a_user(units)
    factor = await a_factor(units, user)
    for step, accepted in ((1, False), (5, True), (5, False), (4, False), (6, True)):
        async with units() as work:
            assert await work.second_factors.use_totp(factor.id, step, NOW + HOUR) is accepted
            await work.commit()
    shown, secrets = await factors_of(units, user)
    assert (shown[0].last_used_at, secrets[0].last_step) == (NOW + HOUR, 6)


async def test_factor_is_renamed_and_removed_by_its_account(units: OpenUnitOfWork) -> None:
    user, other = await a_user(units), await a_user(units)
    factor, pending = await a_factor(units, user), await an_enrolment(units, user)
    async with units() as work:
        factors = work.second_factors
        for owner, factor_id in ((other, factor.id), (user, pending), (user, FactorId(uuid4()))):
            assert await factors.rename(owner.id, factor_id, "Mine") is None
            assert not await factors.remove(owner.id, factor_id)
        renamed = await factors.rename(user.id, factor.id, "Tablet")
        await work.commit()
    assert renamed is not None
    assert renamed.name == "Tablet"
    assert (await factors_of(units, user))[0] == [renamed]
    async with units() as work:
        assert await work.second_factors.remove(user.id, factor.id)
        await work.commit()
    assert await factors_of(units, user) == ([], [])


async def test_recovery_codes_are_used_once_and_replaced_together(units: OpenUnitOfWork) -> None:
    user, other = await a_user(units), await a_user(units)
    async with units() as work:
        factors = work.second_factors
        for owner in (user, other):
            await factors.replace_recovery_codes(owner.id, [b"one", b"two"], NOW)
        assert await factors.use_recovery_code(user.id, b"one", NOW)
        await work.commit()
    async with units() as work:
        factors = work.second_factors
        assert not await factors.use_recovery_code(user.id, b"one", NOW)
        assert not await factors.use_recovery_code(user.id, b"three", NOW)
        assert [await factors.count_recovery_codes(owner.id) for owner in (user, other)] == [1, 2]
        await factors.replace_recovery_codes(user.id, [b"one"], NOW)
        assert not await factors.use_recovery_code(user.id, b"two", NOW)
        assert await factors.use_recovery_code(user.id, b"one", NOW)
        await factors.replace_recovery_codes(user.id, [], NOW)
        assert [await factors.count_recovery_codes(owner.id) for owner in (user, other)] == [0, 2]


@pytest.mark.parametrize("kind", ["memory", "postgres"])
async def test_account_has_a_factor_once_it_is_confirmed(kind: str, request: pytest.FixtureRequest) -> None:
    units: OpenUnitOfWork
    queries: FactorQueries
    if kind == "memory":
        store = Store()
        units, queries = MemoryUnitsOfWork(store, SettableClock(NOW)), MemoryFactorQueries(store)
    else:
        database: Database = request.getfixturevalue("postgres_database")
        box = SecretBox(["ab" * 32])
        units = UnitsOfWork(database, routes_for(ALWAYS_SERVED), SettableClock(NOW), lambda: None, box=box)
        queries = PostgresFactorQueries(database)
    user, other = await a_user(units), await a_user(units)
    await an_enrolment(units, user)
    assert not await queries.has_factor(user.id)
    await a_factor(units, user)
    assert [await queries.has_factor(each.id) for each in (user, other)] == [True, False]


# Tickets


async def a_ticket(units: OpenUnitOfWork) -> tuple[bytes, LoginTicket]:
    fingerprint = f"ticket {next(_numbers)}".encode()
    ticket = LoginTicket((await a_user(units)).id, 3, LoginKind.GOOGLE)
    async with units() as work:
        await work.login_tickets.add(fingerprint, ticket, NOW, expires_at=NOW + HOUR)
        await work.commit()
    return fingerprint, ticket


async def test_ticket_is_valid_until_it_is_used_or_expires(units: OpenUnitOfWork) -> None:
    fingerprint, ticket = await a_ticket(units)
    async with units() as work:
        tickets = work.login_tickets
        assert await tickets.find(fingerprint, NOW + HOUR - timedelta(microseconds=1)) == ticket
        assert await tickets.find(fingerprint, NOW + HOUR) is None
        assert await tickets.find(b"unknown", NOW) is None
        await tickets.use(fingerprint, NOW)
        assert await tickets.find(fingerprint, NOW) is None
        assert not await tickets.take_attempt(fingerprint, NOW, at_most=5)


async def test_attempts_are_counted_up_to_their_number(units: OpenUnitOfWork) -> None:
    fingerprint, _ = await a_ticket(units)
    for counted in (True, True, False):
        async with units() as work:
            assert await work.login_tickets.take_attempt(fingerprint, NOW, at_most=2) is counted
            await work.commit()
    async with units() as work:
        assert not await work.login_tickets.take_attempt(fingerprint, NOW + HOUR, at_most=5)
        assert not await work.login_tickets.take_attempt(b"unknown", NOW, at_most=5)


async def test_start_of_a_login_is_found(units: OpenUnitOfWork) -> None:
    user = await a_user(units)
    async with units() as work:
        login_id: LoginId = await work.logins.start(user, NOW - HOUR)
        assert await work.logins.get_start(login_id) == NOW - HOUR


# Codes


@pytest.fixture(params=[MemoryTotpCodes, PyotpCodes])
def codes(request: pytest.FixtureRequest) -> TotpCodes:
    made: TotpCodes = request.param()
    return made


@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (59, "287082"),
        (1111111109, "081804"),
        (1111111111, "050471"),
        (1234567890, "005924"),
        (2000000000, "279037"),
        (20000000000, "353130"),
    ],
)
def test_codes_are_those_of_rfc_6238(codes: TotpCodes, seconds: int, code: str) -> None:
    """Appendix B, for SHA-1, its last six digits."""
    assert codes.code(SECRET, seconds // 30) == code


def test_secrets_differ_and_have_160_bits(codes: TotpCodes) -> None:
    made = {codes.new_secret() for _ in range(20)}
    assert len(made) == 20
    assert {len(base64.b32decode(secret)) for secret in made} == {20}


def test_uri_has_what_an_app_needs(codes: TotpCodes) -> None:
    uri = codes.uri(SECRET, "ada@example.com")
    assert uri.replace("%40", "@") == f"otpauth://totp/Convene:ada@example.com?secret={SECRET}&issuer=Convene"
