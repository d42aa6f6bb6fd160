"""The checks of `convene doctor`. Each one returns its findings and, for a problem, what to do."""

import asyncio
import http.client
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from application.outbox.ports import CircuitBreaker, DestinationStatistics
from domain.accounts import Role
from infrastructure.settings import Settings, load_crm_pool_size
from interfaces.cli.environment import command_environ
from interfaces.cli.problems import Problem

LATE_SECONDS = 60
SKEW_SECONDS = 2
MOST_LISTED = 20


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    level: Level
    text: str


Findings = Iterator[Finding]


@dataclass(frozen=True, slots=True)
class Processes:
    """How many processes of each kind use one PostgreSQL."""

    api: int = 1
    worker: int = 1
    crm: int = 1


def _ok(text: str) -> Finding:
    return Finding(Level.OK, text)


def _warn(text: str) -> Finding:
    return Finding(Level.WARN, text)


def _fail(text: str) -> Finding:
    return Finding(Level.FAIL, text)


def settings_check(settings: Settings) -> Findings:
    mode = "embedded, secrets are used as they are" if settings.convene_embedded else "secrets checked"
    yield _ok(f"complete ({mode}); data in {settings.convene_data}")


def database(settings: Settings) -> Findings:
    from infrastructure.external_servers import check_database

    check_database(settings.database_url, "DATABASE_URL", pooler=settings.pooler)
    from interfaces.cli.connection_checks import pooler_problem

    problem = pooler_problem(settings)
    yield _fail(problem) if problem else _ok("PostgreSQL answers")


def migrations(settings: Settings) -> Findings:
    from infrastructure.postgres.schema_version import SCHEMA_VERSION

    fit = asyncio.run(SCHEMA_VERSION.fit_of(settings.database_url))
    if fit.sentence is None:
        yield _ok("up to date")
    else:
        yield _warn(fit.sentence) if fit.usable else _fail(fit.sentence)


def connections(settings: Settings, processes: Processes = Processes()) -> Findings:
    from interfaces.cli.connection_checks import Connections, connection_findings

    pools = settings.database_pool_size, settings.worker_database_pool_size, load_crm_pool_size(command_environ())
    yield from connection_findings(settings, Connections(processes, *pools))


def replica(settings: Settings) -> Findings:
    """Lists are read from DATABASE_URL while the replica is not used, so that only a wrong address fails."""
    from infrastructure.postgres.replica import ReplicaState, ReplicaStatus
    from interfaces.cli.connection_checks import replica_status

    if settings.database_replica_url is None:
        return
    status: ReplicaStatus = replica_status(settings, settings.database_replica_url)
    meanwhile = "lists are read from DATABASE_URL meanwhile"
    match status.state:
        case ReplicaState.USED:
            yield _ok(f"serves lists, {status.lag_seconds or 0:.1f} s behind at most")
        case ReplicaState.NOT_A_REPLICA:
            yield _fail(f"DATABASE_REPLICA_URL names no streaming replica of DATABASE_URL; {meanwhile}")
        case ReplicaState.OTHER_SCHEMA:
            yield _warn(f"the replica has a schema that this version cannot use; {meanwhile}")
        case ReplicaState.LAGGING:
            yield _warn(
                f"the replica lags more than DATABASE_REPLICA_LAG_SECONDS: see pg_stat_replication of the primary;"
                f" {meanwhile}"
            )
        case _:
            yield _warn(f"the replica does not answer: check its server and DATABASE_REPLICA_URL; {meanwhile}")


def clock(settings: Settings) -> Findings:
    """Compares the clocks: the database's decides, this machine's is in logs and traces."""
    from infrastructure.postgres.engine import Database
    from interfaces.cli.clocks import machine_ahead_by
    from servicekit.clock import MOST_DIFFERENCE

    database = Database(settings.database_url, pool_size=1, pooler=settings.pooler)
    seconds = machine_ahead_by(database).total_seconds()
    off, way = abs(seconds), "ahead of" if seconds > 0 else "behind"
    if off <= SKEW_SECONDS:
        yield _ok(f"this machine and PostgreSQL agree to {off:.1f} s")
        return
    kind = _warn if off <= MOST_DIFFERENCE.total_seconds() else _fail
    yield kind(f"this machine is {off:.0f} s {way} PostgreSQL: let both follow a time server (NTP)")


def time_zones(_settings: Settings) -> Findings:
    """Reports the time zone database: an old one has wrong local times for zones whose rules have changed since."""
    from servicekit.time_zones import unused_system_database, use_newest_time_zones

    used, unused = use_newest_time_zones(), unused_system_database()
    yield _ok(f"{used}; not used, because not newer: {unused}" if unused else str(used))


def deliveries(settings: Settings) -> Findings:
    from infrastructure.container.foundation import served
    from infrastructure.postgres.engine import Database
    from infrastructure.postgres.statistics import OperationalStatistics, PostgresOperationalStatistics

    async def read() -> OperationalStatistics:
        database = Database(settings.database_url, pool_size=1, pooler=settings.pooler)
        try:
            return await PostgresOperationalStatistics(database).read()
        finally:
            await database.close()

    statistics = asyncio.run(read())
    of_note = [
        finding
        for each in statistics.destinations
        for finding in _of_destination(each, served=each.destination in served(settings))
    ]
    if statistics.holds_overdue:
        of_note.append(
            _fail(f"{statistics.holds_overdue} holds of seats are overdue: start a worker, `convene worker`")
        )
    if statistics.payment_differences:
        of_note.append(
            _warn(
                f"{statistics.payment_differences} mismatches with a gateway are recorded: see `convene payments check`"
            )
        )
    pending = sum(each.pending for each in statistics.destinations)
    yield from of_note or [_ok(f"{pending} messages pending, none late; {statistics.holds_open} seats held")]


def _of_destination(each: DestinationStatistics, *, served: bool) -> Findings:
    name, reason = each.destination, f" ({each.reason})" if each.reason else ""
    if each.dead:
        yield _warn(
            f"{each.dead} dead messages for {name}: `convene outbox list --destination {name}` says why, then"
            " `convene outbox replay` or `discard`"
        )
    if not served:
        if each.pending:
            yield _fail(
                f"{each.pending} messages wait for {name}, which no worker serves: set {name.upper()}_SERVICE_URL"
            )
    elif each.halted:
        yield _fail(f"{name} is halted{reason}: fix the cause, then `convene outbox resume {name}`")
    elif each.paused_until:
        yield _warn(f"{name} requested a pause until {each.paused_until:%H:%M:%S} UTC{reason}: no action is needed")
    elif each.circuit is not CircuitBreaker.CLOSED:
        yield _warn(f"{name} keeps failing{reason}: check that service; it is tried again automatically")
    elif (each.oldest_due_seconds or 0) > LATE_SECONDS:
        yield _fail(
            f"messages for {name} are due since {each.oldest_due_seconds:.0f} s: start a worker, `convene worker`,"
            " or see its log"
        )


def addresses(settings: Settings) -> Findings:
    """Lists accounts that are older than the rules for addresses. They stay and can log in."""
    from infrastructure.postgres.accounts.queries import FormerFacilitators, old_addresses
    from infrastructure.postgres.engine import Database

    async def read() -> FormerFacilitators:
        database = Database(settings.database_url, pool_size=1, pooler=settings.pooler)
        try:
            return await old_addresses(database, smtputf8=settings.mail_smtputf8)
        finally:
            await database.close()

    found = asyncio.run(read())
    if found.unmailable:
        yield _warn(
            f"{len(found.unmailable)} accounts get no mail, their addresses need a mail server with SMTPUTF8:"
            f" {_listed(found.unmailable)}: set MAIL_SMTPUTF8=true if yours has it"
        )
    for group in found.look_alikes:
        yield _warn(
            f"accounts with addresses that look alike: {_listed(group)}: ask which one is used, and"
            " `convene users deactivate` the other"
        )
    if not found.unmailable and not found.look_alikes:
        yield _ok("every account's address can be mailed, and none looks like another")


def _listed(accounts: Sequence[object]) -> str:
    more = len(accounts) - MOST_LISTED
    shown = ", ".join(map(str, accounts[:MOST_LISTED]))
    return f"{shown} and {more} more" if more > 0 else shown


def facilitators(settings: Settings) -> Findings:
    """Lists bookings with deactivated facilitators and accounts that await approval. An operator decides about both."""
    from infrastructure.postgres.accounts.queries import (
        BookingsAhead,
        PostgresAccountQueries,
        PostgresDeactivatedFacilitators,
    )
    from infrastructure.postgres.engine import Database

    async def read() -> tuple[Sequence[BookingsAhead], int]:
        database = Database(settings.database_url, pool_size=1, pooler=settings.pooler)
        try:
            ahead = await PostgresDeactivatedFacilitators(database).bookings_ahead()
            return ahead, await PostgresAccountQueries(database).count_requested()
        finally:
            await database.close()

    ahead, waiting = asyncio.run(read())
    if waiting:
        yield _warn(f"{waiting} accounts wait for approval as facilitators: see `convene users list --requested`")
    for each in ahead[:MOST_LISTED]:
        yield _warn(
            f"{each.email} (id {each.facilitator_id}) is deactivated and has {each.bookings} bookings ahead,"
            f" {each.paid} of them paid: cancel them as an admin, or `convene users activate`"
        )
    if len(ahead) > MOST_LISTED:
        yield _warn(f"{len(ahead) - MOST_LISTED} more deactivated facilitators have bookings ahead")
    if not ahead:
        yield _ok("no bookings ahead with deactivated facilitators")


def counts(settings: Settings) -> Findings:
    """Compares the counts of dashboards with the tables."""
    from domain.accounts import UserId
    from infrastructure.postgres.engine import Database
    from infrastructure.postgres.events.facilitator_counts import FacilitatorCounts

    async def differing() -> Sequence[UserId]:
        database = Database(settings.database_url, pool_size=1, pooler=settings.pooler)
        try:
            return await FacilitatorCounts(database).differing()
        finally:
            await database.close()

    if found := asyncio.run(differing()):
        yield _warn(
            f"the dashboards of {len(found)} facilitators show wrong numbers (ids {_listed(found)}): the worker counts"
            " every facilitator again once a week; report it if rows were not changed by hand"
        )
    else:
        yield _ok("the dashboards show what is in the tables")


def audit(settings: Settings) -> Findings:
    """Computes every hash of the audit log."""
    from application.audit.chain import Verified, VerifyAuditChain
    from infrastructure.postgres.audit.chain import PostgresAuditChain
    from infrastructure.postgres.engine import Database

    async def verify() -> Verified:
        database = Database(settings.database_url, pool_size=1, pooler=settings.pooler)
        try:
            return await VerifyAuditChain(PostgresAuditChain(database))()
        finally:
            await database.close()

    found = asyncio.run(verify())
    if found.broken is not None:
        yield _fail(
            f"entry {found.broken.id} of the audit log breaks its chain: {found.broken.why}; compare it with a backup,"
            " see docs/operations/audit.md"
        )
    elif found.late:
        yield _warn(f"{found.unchained.entries} entries of the audit log are not chained: start a worker")
    else:
        yield _ok(f"{found.entries} entries of the audit log are unchanged, up to {found.head.id} {found.head.hash}")


def second_factors(settings: Settings) -> Findings:
    if Role.ADMIN in settings.mfa_required_roles:
        yield _ok(f"required for the roles {', '.join(settings.mfa_required_roles)}")
    elif not settings.convene_embedded:
        yield _warn("not required for admins: set MFA_REQUIRED_ROLES=admin, see docs/accounts.md")


def redis(settings: Settings) -> Findings:
    from infrastructure.external_servers import check_redis

    check_redis(settings.redis_url)
    yield _ok("answers")


def crm(settings: Settings) -> Findings:
    yield _answers(settings.crm_service_url, "CRM_SERVICE_URL")


def notification(settings: Settings) -> Findings:
    if settings.notification_service_url:
        yield _answers(settings.notification_service_url, "NOTIFICATION_SERVICE_URL")


def mail(settings: Settings) -> Findings:
    from servicekit.mail_transport import MailNotSent, SmtpTransport

    if settings.email_service_url:
        yield _answers(settings.email_service_url, "EMAIL_SERVICE_URL")
    elif settings.smtp_url:
        try:
            asyncio.run(SmtpTransport(settings.smtp_url, seconds=5).check_login())
        except MailNotSent as error:
            reason = f"the mail server cannot be used ({error}): correct SMTP_URL, or see that server"
            raise Problem(reason) from None
        yield _ok("the mail server accepts the login")
    elif settings.convene_embedded:
        yield _ok(f"written as files to {settings.convene_data / 'mail'}")
    else:
        yield _warn(f"e-mails are only written to files in {settings.convene_data / 'mail'}: set SMTP_URL")


def _answers(url: str, setting: str) -> Finding:
    address = urlsplit(url)
    kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    connection = kind(address.hostname or "", address.port, timeout=5)
    try:
        connection.request("GET", (address.path or "") + "/")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise Problem(f"{url} does not answer ({error}): start that service, or correct {setting}") from None
    finally:
        connection.close()
    if status >= 500:
        raise Problem(f"{url} answers {status}: see the log of that service, or correct {setting}")
    return _ok(f"{url} answers")


Check = Callable[[Settings], Findings]
RESTS_ON = {
    "migrations": {"database"},
    "connections": {"database"},
    "clock": {"database"},
    "addresses": {"database", "migrations"},
    "deliveries": {"database", "migrations"},
    "facilitators": {"database", "migrations"},
    "counts": {"database", "migrations"},
    "audit": {"database", "migrations"},
}
CHECKS: dict[str, Check] = {
    "settings": settings_check,
    "database": database,
    "migrations": migrations,
    "connections": connections,
    "replica": replica,
    "clock": clock,
    "time-zones": time_zones,
    "addresses": addresses,
    "deliveries": deliveries,
    "facilitators": facilitators,
    "counts": counts,
    "audit": audit,
    "second-factors": second_factors,
    "redis": redis,
    "crm": crm,
    "notification": notification,
    "mail": mail,
}
