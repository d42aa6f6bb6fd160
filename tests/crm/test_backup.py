"""Backup and restore of the whole system: the drill of docs/operations/backup.md, and what is refused."""

import asyncio
import errno
import json
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import asyncpg
import httpx
import pytest
from sqlalchemy import make_url

from application.outbox.delivery import DeliverMessages
from domain.outbox import Destination, RetrySchedule
from infrastructure.backup import BackupError, files, sealing
from infrastructure.backup.dump import TABLES
from infrastructure.backup.load import SMALLEST_GAP, gap
from infrastructure.backup.making import make_backup
from infrastructure.backup.sealing import open_sealed, seal
from infrastructure.delivery.crm import CrmSender
from infrastructure.embedded import EmbeddedPostgres
from infrastructure.postgres.engine import Database
from infrastructure.postgres.outbox.circuit_breakers import PostgresCircuitBreakers
from infrastructure.postgres.outbox.claims import PostgresOutboxClaims
from tests.crm.fixtures import _a_database as a_crm_database
from tests.crm.parts import TOKEN, connected, running_crm, settings_for
from tests.support.command import bare_environ, convene, convene_here
from tests.support.databases import a_database
from tests.support.messages import add_message, deliver_due, until
from tests.support.people import People
from tests.support.process_harness import LONG_RUN
from tests.support.servers import temporary_directory
from tests.support.settings import JWT_SECRET_KEY, TOKEN_KEY

PASSPHRASE = "correct horse battery staple"
SECRETS = {
    "JWT_SECRET_KEY": JWT_SECRET_KEY,
    "CRM_BEARER_TOKEN": TOKEN,
    "BACKEND_SERVICE_TOKEN": "a-service-token-of-the-tests",
    "TOKEN_ENCRYPTION_KEYS": TOKEN_KEY,
}
COSTS = sealing._COST, sealing._PARALLEL
DIGEST = """SELECT coalesce(md5(string_agg(t::text, ',' ORDER BY t::text)), '') FROM "{}" t"""


async def run_convene(*arguments: str | Path, cwd: Path, **environ: str) -> tuple[int, str, str]:
    environ = bare_environ(BACKUP_PASSPHRASE=PASSPHRASE, CONVENE_DATA=str(cwd / "data")) | environ
    done = await asyncio.to_thread(convene_here, *map(str, arguments), cwd=cwd, environ=environ)
    return done.returncode, done.stdout, done.stderr


async def refusal(*arguments: str | Path, cwd: Path, **environ: str) -> str:
    """The one line that a command ends with, which fails."""
    status, out, error = await run_convene(*arguments, cwd=cwd, **environ)
    assert (status, out, error.count("\n")) == (1, "", 1), (status, out, error)
    assert error.startswith("convene: ")
    return error.removeprefix("convene: ").rstrip()


async def digests(dsn: str) -> dict[str, str]:
    """A checksum of the rows of each table."""
    async with connected(dsn) as connection:
        names = [row["name"] for row in await connection.fetch(TABLES, "alembic_version")]
        return {name: await connection.fetchval(DIGEST.format(name)) for name in names}


async def ids_for_crm(booking: str) -> set[str]:
    async with connected(booking) as connection:
        return {str(row["id"]) for row in await connection.fetch("SELECT id FROM outbox WHERE destination = 'crm'")}


async def ids_in_crm(crm: str) -> set[str]:
    async with connected(crm) as connection:
        return {row["message_id"] for row in await connection.fetch("SELECT message_id FROM notifications")}


async def deliver_to(address: str, booking: str) -> None:
    """Delivers what is due for the CRM."""
    database, sender = Database(booking), CrmSender(address, TOKEN)
    try:
        parts = PostgresOutboxClaims(database), PostgresCircuitBreakers(database), {Destination.CRM: sender}
        await deliver_due(DeliverMessages(*parts, RetrySchedule((timedelta(0),))), Destination.CRM)
    finally:
        await sender.close()
        await database.close()


async def nothing_pending(booking: str) -> bool:
    async with connected(booking) as connection:
        return not await connection.fetchval(
            "SELECT count(*) FROM outbox WHERE destination = 'crm' AND status = 'pending' AND due_at <= now() + '1 min'"
        )


@dataclass
class Place:
    """Two databases and a directory."""

    booking: str
    crm: str
    directory: Path

    @property
    def environ(self) -> dict[str, str]:
        return {"DATABASE_URL": self.booking, "CRM_DATABASE_URL": self.crm, "CONVENE_DATA": str(self.directory)}


@pytest.fixture
async def new_place(postgres: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[Place]:
    place = Place(
        await a_database(postgres, template="template1"),
        await a_database(postgres, template="template1"),
        tmp_path / "new",
    )
    yield place
    connection = await asyncpg.connect(postgres.superuser_dsn())
    for dsn in (place.booking, place.crm):
        await connection.execute(f"DROP DATABASE {make_url(dsn).database} WITH (FORCE)")
    await connection.close()


@pytest.fixture
async def migrated_place(postgres: EmbeddedPostgres, tmp_path: Path) -> Place:
    """Two databases with the newest schema and no rows."""
    return Place(await a_database(postgres), await a_crm_database(postgres), tmp_path / "migrated")


async def test_restored_system_has_everything_and_continues(
    people: People,
    database: asyncpg.Connection,
    database_url: str,
    crm: httpx.AsyncClient,
    crm_dsn: str,
    new_place: Place,
    tmp_path: Path,
) -> None:
    john, backup = await people.facilitator(), tmp_path / "backup"
    event = await john.creates_event(price=0)
    address = str(crm.base_url)

    async def books() -> int:
        booking: int = (await (await people.user()).books(event["id"]))["id"]
        await deliver_to(address, database_url)
        return booking

    async def happens_after_the_copy_of_the_crm() -> None:
        await books()
        # A worker has claimed this message and will not survive.
        claimed = await add_message(database)
        await database.execute(
            "UPDATE outbox SET claimed_by = uuidv7(), attempts = 1, due_at = now() + interval '1 h' WHERE id = $1",
            claimed,
        )

    loop = asyncio.get_running_loop()

    def progress(table: str) -> None:
        if table == "notifications":  # the last table of the CRM
            asyncio.run_coroutine_threadsafe(happens_after_the_copy_of_the_crm(), loop).result(60)

    await books()
    mail = tmp_path / "mail"
    mail.mkdir()
    (mail / "one.eml").write_text("Subject: Hello\n")
    arguments: dict[str, Any] = {"mail": mail, "secrets": SECRETS, "passphrase": PASSPHRASE}
    manifest = await asyncio.to_thread(
        make_backup, backup, booking=database_url, crm=crm_dsn, progress=progress, **arguments
    )
    before = await digests(database_url)
    lost = await books()

    status, out, error = await run_convene("restore", backup, cwd=tmp_path, **new_place.environ)
    assert (status, error) == (0, ""), error
    assert f"booking database: {len(before)} tables, {manifest.booking.rows} rows" in out
    # Leases, messages that are sent again, and the entry that says so.
    changed = {"outbox", "delivery_attempts", "audit_log"}
    after = await digests(new_place.booking)
    assert {name: after[name] for name in after if name not in changed} == {
        name: before[name] for name in before if name not in changed
    }
    assert (new_place.directory / "mail" / "one.eml").read_text() == "Subject: Hello\n"
    kept = (new_place.directory / "secrets.env").read_text()
    assert all(f"{name}='{value}'" in kept for name, value in SECRETS.items())
    assert (new_place.directory / "secrets.env").stat().st_mode & 0o777 == 0o600

    missing = await ids_for_crm(new_place.booking) - await ids_in_crm(new_place.crm)
    assert len(missing) == 2  # booked and claimed after the copy of the CRM
    async with running_crm(settings_for(new_place.crm, CONVENE_DATA=str(tmp_path))) as restored_crm:
        await until(lambda: _delivered(str(restored_crm.base_url), new_place.booking))
    assert await ids_in_crm(new_place.crm) == await ids_for_crm(new_place.booking)
    async with connected(new_place.booking) as connection:
        assert await connection.fetchval("SELECT nextval('bookings_id_seq')") > lost
        assert await connection.fetchval("SELECT count(*) FROM outbox WHERE status = 'dead'") == 0
        replays = "SELECT actor_kind FROM audit_log WHERE action = 'outbox.replayed'"
        assert [row[0] for row in await connection.fetch(replays)] == ["operator"]


async def _delivered(address: str, booking: str) -> bool:
    await deliver_to(address, booking)
    return await nothing_pending(booking)


@pytest.fixture(scope="module", autouse=True)
def _cheap_keys() -> Iterator[None]:
    """Keys are derived from passphrases in a hundredth of the time."""
    with mock.patch.multiple(sealing, _COST=2**10, _PARALLEL=1):
        yield


@pytest.fixture(scope="module")
async def old_place(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Two databases with a row each."""
    place = Place(await a_database(postgres), await a_crm_database(postgres), tmp_path_factory.mktemp("old"))
    async with connected(place.booking) as connection:
        await connection.execute("INSERT INTO users (email, name, role) VALUES ('ada@example.com', 'Ada', 'user')")
    async with connected(place.crm) as connection:
        await connection.execute("INSERT INTO facilitators VALUES (1, 'John', 'john@example.com', now())")
    return place


@pytest.fixture(scope="module")
async def made(old_place: Place) -> Path:
    """A backup of `old_place`."""
    done = await run_convene("backup", "made", cwd=old_place.directory, **SECRETS, **old_place.environ)
    assert (done[0], done[2]) == (0, "")
    assert " tables, 2 rows\n" in done[1]
    assert f"secrets: {', '.join(sorted(SECRETS))}" in done[1]
    return old_place.directory / "made"


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "copy"))


def test_files_of_a_backup_are_private_and_have_no_secret(made: Path) -> None:
    assert made.stat().st_mode & 0o777 == 0o700
    for file in made.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600
        assert TOKEN_KEY.encode() not in file.read_bytes()
    manifest = json.loads((made / "manifest.json").read_text())
    assert {table["table"]: table["rows"] for table in manifest["crm"]["tables"]}["facilitators"] == 1


async def test_backup_is_checked_before_anything_is_restored(copy: Path, new_place: Place, tmp_path: Path) -> None:
    async def refused(**environ: str) -> str:
        return await refusal("restore", copy, cwd=tmp_path, **new_place.environ | environ)

    assert (await refused(BACKUP_PASSPHRASE="another passphrase")).startswith("the passphrase is wrong")
    assert (await refused(BACKUP_PASSPHRASE="")).startswith("no passphrase: give")
    users = copy / "booking-users.copy.gz"
    content = users.read_bytes()
    users.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "booking-users.copy.gz was changed" in await refused()
    users.unlink()
    assert "booking-users.copy.gz cannot be read (No such file or directory)" in await refused()
    users.write_bytes(content)
    manifest = copy / "manifest.json"
    text = manifest.read_text()
    manifest.write_text(text.replace('"rows": 1', '"rows": 2', 1))
    assert (await refused()).startswith("the passphrase is wrong, or manifest or secrets of the backup were changed")
    manifest.write_text(text.replace('"format": 1', '"format": 2'))
    assert "has the format 2, this version reads 1" in await refused()
    manifest.write_text("{")
    assert "manifest.json is damaged" in await refused()
    manifest.unlink()
    assert "copy is no backup" in await refused()
    async with connected(new_place.booking) as connection:
        assert not await connection.fetch(TABLES, "alembic_version")
    assert not new_place.directory.exists()


async def test_only_an_empty_place_is_restored_into(
    made: Path, old_place: Place, new_place: Place, tmp_path: Path
) -> None:
    async def refused(**environ: str) -> str:
        return await refusal("restore", made, cwd=tmp_path, **new_place.environ | environ)

    said = await refused(DATABASE_URL=old_place.booking)
    assert said == "the database of DATABASE_URL is not empty (users has rows): give an empty database"
    assert "CRM_DATABASE_URL is not empty (facilitators has rows)" in await refused(CRM_DATABASE_URL=old_place.crm)
    assert "set CRM_DATABASE_URL to an empty database" in await refused(CRM_DATABASE_URL="")
    assert "has the schema of something else" in await refused(CRM_DATABASE_URL=await _with_other_tables(new_place.crm))
    async with connected(new_place.booking):
        assert "other programs are connected to the database of DATABASE_URL" in await refused()
    new_place.directory.mkdir()
    (new_place.directory / "secrets.env").touch()
    assert "secrets.env exists" in await refused()
    assert "is not empty: set CONVENE_DATA" in await refused(DATABASE_URL="", CONVENE_DATA=str(old_place.directory))


async def _with_other_tables(dsn: str) -> str:
    async with connected(dsn) as connection:
        await connection.execute("CREATE TABLE orders ()")
        await connection.execute("ALTER TABLE orders ADD COLUMN id bigint")
    return dsn


@pytest.mark.parametrize("service", ["booking", "crm"])
async def test_backup_of_a_newer_version_is_refused(copy: Path, new_place: Place, tmp_path: Path, service: str) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest[service]["revision"] = "9999"
    text = json.dumps(manifest).encode()
    (copy / "manifest.json").write_bytes(text)
    (copy / "secrets.sealed").write_bytes(seal(SECRETS, PASSPHRASE, text))
    said = await refusal("restore", copy, cwd=tmp_path, **new_place.environ)
    assert "9999" in said
    assert "update" in said
    assert not (await digests(new_place.booking)).get("users")


async def test_interrupted_restore_leaves_empty_databases(
    made: Path, migrated_place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second attempt succeeds."""
    monkeypatch.setattr("infrastructure.backup.load._FOREIGN_KEYS", "SELECT 1 / 0")
    said = await refusal("restore", made, cwd=tmp_path, **migrated_place.environ)
    assert said == "the CRM database cannot be restored (division by zero): it was left empty"
    monkeypatch.undo()
    status, out, error = await run_convene("restore", made, cwd=tmp_path, **migrated_place.environ)
    assert (status, error) == (0, ""), error
    assert "next booking number: 1001" in out


async def test_failed_backup_leaves_no_directory(
    old_place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(**environ: str) -> str:
        return await refusal("backup", "new", cwd=tmp_path, **old_place.environ | environ)

    assert "the passphrase is too short" in await refused(BACKUP_PASSPHRASE="short")
    assert "PostgreSQL is unavailable" in await refused(DATABASE_URL="postgresql://convene@127.0.0.1:1/convene")
    nowhere = str(tmp_path / "nowhere")
    assert f"cannot be read from {nowhere}" in await refused(BACKUP_PASSPHRASE_FILE=nowhere)
    with monkeypatch.context() as patched:
        patched.setattr(files, "_private", _full_disk)
        assert "new cannot be written (No space left on device): nothing was kept" in await refused()
    assert not await asyncio.to_thread(os.listdir, tmp_path)
    (tmp_path / "new.partial").mkdir()
    assert "new.partial is left of an interrupted backup: delete it" in await refused()
    (tmp_path / "new").mkdir()
    assert "new exists: give the name of a new directory" in await refused()


async def test_nightly_backup_is_named_by_its_time_and_replaces_older_ones(old_place: Place, tmp_path: Path) -> None:
    old = tmp_path / "2020-01-01T030000Z"
    old.mkdir()
    (old / "manifest.json").touch()
    status, out, error = await run_convene("backup", ".", "--keep", "1", cwd=tmp_path, **SECRETS, **old_place.environ)
    assert (status, error) == (0, ""), error
    assert "deleted: 2020-01-01T030000Z\n" in out
    (made,) = await asyncio.to_thread(os.listdir, tmp_path)
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d{6}Z", made)
    assert f"{made}: " in out
    assert await asyncio.to_thread((tmp_path / made / "manifest.json").stat)


def _full_disk(_path: Path) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def test_interrupted_backup_is_not_restored(copy: Path, new_place: Place, tmp_path: Path) -> None:
    shutil.move(copy, tmp_path / "copy.partial")
    said = await refusal("restore", "copy.partial", cwd=tmp_path, **new_place.environ)
    assert "copy.partial is an interrupted backup" in said


if LONG_RUN:  # starts a server of its own

    def test_new_data_directory_is_restored_into(copy: Path, tmp_path: Path) -> None:
        with temporary_directory() as directory:
            data = directory / "data"
            environ = bare_environ(CONVENE_DATA=str(data), BACKUP_PASSPHRASE=PASSPHRASE)

            def restore() -> subprocess.CompletedProcess[str]:
                return convene("restore", str(copy), cwd=tmp_path, environ=environ, seconds=120)

            manifest = (copy / "manifest.json").read_bytes()
            seal_again(copy, manifest.replace(b'"revision": "', b'"revision": "9', 2))
            failed = restore()
            assert (failed.returncode, failed.stdout, failed.stderr.count("\n")) == (1, "", 1), failed
            assert not data.exists()
            seal_again(copy, manifest)
            done = restore()
            assert (done.returncode, done.stderr) == (0, ""), done
            assert {"postgres", "secrets.env", "sample-data.loaded"} <= {path.name for path in data.iterdir()}
            server = EmbeddedPostgres(data, directory)
            server.start()
            try:
                assert server.execute("SELECT email FROM users", "convene") == "ada@example.com"
                assert server.execute("SELECT email FROM facilitators", "convene_crm") == "john@example.com"
            finally:
                server.stop()
            again = restore()
            assert (again.returncode, "is not empty" in again.stderr or "exists" in again.stderr) == (1, True), again


def seal_again(directory: Path, manifest: bytes) -> None:
    """With keys that a process can derive: it does not make them cheap."""
    (directory / "manifest.json").write_bytes(manifest)
    with mock.patch.multiple(sealing, _COST=COSTS[0], _PARALLEL=COSTS[1]):
        (directory / "secrets.sealed").write_bytes(seal(SECRETS, PASSPHRASE, manifest))


def test_secrets_are_opened_by_their_passphrase_and_manifest_only() -> None:
    sealed = seal(SECRETS, PASSPHRASE, b"manifest")
    assert open_sealed(sealed, PASSPHRASE, b"manifest") == SECRETS
    for changed, passphrase, manifest in (
        (sealed, "another passphrase", b"manifest"),
        (sealed, PASSPHRASE, b"another"),
        (sealed[:-1], PASSPHRASE, b"manifest"),
        (sealed[:20], PASSPHRASE, b"manifest"),
        (b"nonsense", PASSPHRASE, b"manifest"),
    ):
        with pytest.raises(BackupError):
            open_sealed(changed, passphrase, manifest)


def test_gap_of_numbers_grows_with_the_age_of_the_backup() -> None:
    day = timedelta(days=1)
    assert [gap(400, age) for age in (timedelta(0), day, 2 * day, 10 * day)] == [SMALLEST_GAP, 1000, 1600, 8000]
