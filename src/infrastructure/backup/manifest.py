"""The manifest of a backup: versions, times, and each file with its size, checksum and number of rows."""

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from infrastructure.backup.errors import BackupError

FORMAT = 1
MANIFEST, SECRETS, MAIL = "manifest.json", "secrets.sealed", "mail.tar.gz"
_CHUNK = 1 << 20


class CopiedFile(msgspec.Struct, frozen=True, kw_only=True):
    """`name` is relative to the backup."""

    name: str
    bytes: int
    sha256: str


class CopiedTable(msgspec.Struct, frozen=True, kw_only=True):
    """`columns`: those of the file, in its order; generated columns are not copied."""

    table: str
    columns: tuple[str, ...]
    rows: int
    file: CopiedFile


class CopiedDatabase(msgspec.Struct, frozen=True, kw_only=True):
    """`snapshot_at`: the time of the booking database's server before the snapshot. `sequences`: the last numbers."""

    revision: str
    server: str
    snapshot_at: datetime
    tables: tuple[CopiedTable, ...]
    sequences: dict[str, int]

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables)


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    convene: str
    started_at: datetime
    finished_at: datetime
    booking: CopiedDatabase
    crm: CopiedDatabase | None
    mail: CopiedFile | None

    def files(self) -> Iterator[CopiedFile]:
        for database in (self.crm, self.booking):
            if database is not None:
                yield from (table.file for table in database.tables)
        if self.mail is not None:
            yield self.mail


def encode(manifest: Manifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"


def read_manifest(directory: Path) -> tuple[Manifest, bytes]:
    """The manifest and its bytes. Raises `BackupError`."""
    path = directory / MANIFEST
    if directory.name.endswith(".partial"):
        raise BackupError(f"{directory} is an interrupted backup, which is incomplete: choose another one")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BackupError(f"{directory} is no backup: {path} cannot be read ({error.strerror})") from None
    try:
        found = msgspec.json.decode(content, type=dict[str, object]).get("format")
        if found != FORMAT:
            raise BackupError(f"{directory} has the format {found}, this version reads {FORMAT}: update Convene")
        manifest = msgspec.json.decode(content, type=Manifest)
    except msgspec.MsgspecError:
        raise BackupError(f"{path} is damaged: choose another backup") from None
    for file in manifest.files():
        if Path(file.name).is_absolute() or ".." in Path(file.name).parts:
            raise BackupError(f"{path} names a file outside of the backup: choose another one")
    return manifest, content


def check_files(directory: Path, files: Sequence[CopiedFile]) -> None:
    """Reads every file. Raises `BackupError` for the first that is missing or has changed."""
    for file in files:
        path = directory / file.name
        try:
            size, checksum = path.stat().st_size, _checksum(path)
        except OSError as error:
            raise BackupError(f"{path} cannot be read ({error.strerror}): the backup is incomplete") from None
        if (size, checksum) != (file.bytes, file.sha256):
            raise BackupError(f"{path} was changed after the backup (its checksum differs): choose another backup")


def _checksum(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
