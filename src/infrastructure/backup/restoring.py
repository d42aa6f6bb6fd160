"""Restores a backup into empty databases."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from alembic.util.exc import CommandError

from domain.outbox import REPLAY_RATE, Destination
from infrastructure.backup.dump import Progress
from infrastructure.backup.errors import BackupError
from infrastructure.backup.files import restore_mail
from infrastructure.backup.load import check_empty, load
from infrastructure.backup.making import BOOKING_VERSIONS, CRM_VERSIONS
from infrastructure.backup.manifest import MAIL, SECRETS, Manifest, check_files, read_manifest
from infrastructure.backup.sealing import open_sealed
from infrastructure.postgres.engine import Database
from infrastructure.postgres.migrations import upgrade
from infrastructure.postgres.outbox.dead_letters import PostgresDeadLetters
from infrastructure.postgres.outbox.statistics import PostgresDeliveryStatistics
from servicekit.migrations import MigrationBlocked

MOST_SENT_AGAIN = 10_000_000

MigrateCrm = Callable[[str, str], None]
"""Migrates the CRM's database at an address to a revision; raises `BackupError`."""


@dataclass(frozen=True)
class CheckedBackup:
    """A backup whose checksums and passphrase are right."""

    directory: Path
    manifest: Manifest
    secrets: Mapping[str, str]


@dataclass(frozen=True)
class Restored:
    """`sequences`: the last number of each sequence of the booking database. `sent_again`: messages for the CRM."""

    sequences: Mapping[str, int] = field(default_factory=dict)
    pending: int = 0
    sent_again: int = 0


def check_backup(directory: Path, passphrase: str) -> CheckedBackup:
    """Raises `BackupError`."""
    manifest, content = read_manifest(directory)
    path = directory / SECRETS
    try:
        sealed = path.read_bytes()
    except OSError as error:
        raise BackupError(f"{path} cannot be read ({error.strerror}): the backup is incomplete") from None
    secrets = open_sealed(sealed, passphrase, content)
    check_files(directory, list(manifest.files()))
    return CheckedBackup(directory, manifest, secrets)


def check_place(manifest: Manifest, booking: str, crm: str | None) -> None:
    """Raises `BackupError` if a database is not empty, or if the CRM's is missing."""
    asyncio.run(check_empty(booking, "DATABASE_URL", manifest.booking.revision, BOOKING_VERSIONS))
    if manifest.crm is not None:
        if crm is None:
            raise BackupError("the backup has the database of a CRM: set CRM_DATABASE_URL to an empty database")
        asyncio.run(check_empty(crm, "CRM_DATABASE_URL", manifest.crm.revision, CRM_VERSIONS))


def restore(
    backup: CheckedBackup, *, booking: str, crm: str | None, mail: Path, migrate_crm: MigrateCrm, progress: Progress
) -> Restored:
    """Loads both databases and migrates them to the newest schema. Raises `BackupError`."""
    manifest, directory = backup.manifest, backup.directory
    if manifest.crm is not None and crm is not None:
        migrate_crm(crm, manifest.crm.revision)
    _migrate(booking, manifest.booking.revision)
    if manifest.crm is not None and crm is not None:
        asyncio.run(load(crm, directory, manifest.crm, version_table=CRM_VERSIONS, name="CRM", progress=progress))
        migrate_crm(crm, "head")
    sequences = asyncio.run(
        load(booking, directory, manifest.booking, version_table=BOOKING_VERSIONS, name="booking", progress=progress)
    )
    _migrate(booking, "head")
    if manifest.mail is not None:
        restore_mail(directory / MAIL, mail)
    return asyncio.run(_resume_deliveries(booking, manifest, sequences))


def _migrate(booking: str, revision: str) -> None:
    try:
        upgrade(booking, revision)
    except CommandError:
        raise BackupError(
            f"the backup was made by a newer version (its schema is {revision}): update Convene"
        ) from None
    except MigrationBlocked as error:
        raise BackupError(str(error)) from None


async def _resume_deliveries(booking: str, manifest: Manifest, sequences: Mapping[str, int]) -> Restored:
    """Messages of workers that no longer exist become due; the CRM gets again what it had received since its copy."""
    database = Database(booking, pool_size=1)
    try:
        letters = PostgresDeadLetters(database)
        await letters.release_all()
        pending = sum(each.pending for each in await PostgresDeliveryStatistics(database).by_destination())
        sent_again = 0
        if manifest.crm is not None:
            replay = await letters.replay_since(
                Destination.CRM, manifest.crm.snapshot_at, per_second=REPLAY_RATE, most=MOST_SENT_AGAIN
            )
            sent_again = replay.messages
        return Restored(sequences, pending, sent_again)
    finally:
        await database.close()
