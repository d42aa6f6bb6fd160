"""Makes a backup of both databases."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from infrastructure.backup.dump import Progress, dump, server_time
from infrastructure.backup.files import copy_mail, new_directory, write_file
from infrastructure.backup.manifest import FORMAT, MAIL, MANIFEST, SECRETS, CopiedDatabase, Manifest, encode
from infrastructure.backup.sealing import seal

BOOKING_VERSIONS, CRM_VERSIONS = "alembic_version", "crm_schema_version"
"""The tables of the revisions."""


def make_backup(
    directory: Path,
    *,
    booking: str,
    crm: str | None,
    mail: Path,
    secrets: Mapping[str, str],
    passphrase: str,
    progress: Progress,
) -> Manifest:
    """Writes the backup to `directory`, which must not exist. `booking` and `crm` are the addresses of the databases.

    The CRM's database is copied first: what the CRM has received until then is in the outbox of the booking database,
    and what it receives later is sent to it again after a restore. Raises `BackupError`, and the errors of asyncpg for
    an outage.
    """
    seal({}, passphrase, b"")  # a short passphrase is refused before the copies
    with new_directory(directory) as partial:
        started, copied_crm, copied = asyncio.run(_copy(partial, booking, crm, progress))
        manifest = Manifest(
            format=FORMAT,
            convene=version("convene"),
            started_at=started,
            finished_at=asyncio.run(server_time(booking)),
            booking=copied,
            crm=copied_crm,
            mail=copy_mail(mail, partial, MAIL),
        )
        content = encode(manifest)
        write_file(partial, SECRETS, seal(secrets, passphrase, content))
        write_file(partial, MANIFEST, content)
    return manifest


async def _copy(
    directory: Path, booking: str, crm: str | None, progress: Progress
) -> tuple[datetime, CopiedDatabase | None, CopiedDatabase]:
    started, copied_crm = await server_time(booking), None
    if crm is not None:
        copied_crm = await dump(
            crm, directory, "crm", version_table=CRM_VERSIONS, snapshot_at=started, progress=progress
        )
    snapshot_at = await server_time(booking)
    copied = await dump(
        booking, directory, "booking", version_table=BOOKING_VERSIONS, snapshot_at=snapshot_at, progress=progress
    )
    return started, copied_crm, copied
