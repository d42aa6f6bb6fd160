"""Export of an account's data, as a ZIP file. Beside the contracts."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Sequence
from typing import IO
from zipfile import ZIP_DEFLATED, ZipFile

from litestar import get
from litestar.response import Stream

from application.accounts.export import ExportAccount
from application.accounts.sessions import Actor
from domain.attachments import UNKNOWN_TYPE
from domain.errors import Unavailable
from interfaces.http.authentication import signed_in
from interfaces.http.booking_api.accounts import TAGS
from interfaces.http.injection import Inject

_HEADERS = {"Content-Disposition": 'attachment; filename="export.zip"'}
_CHUNK = 64 * 1024


class ZipArchive:
    """Writes an export to a file: for each section `{section}.json` with an array, uploaded files in `files/`."""

    def __init__(self, file: IO[bytes]) -> None:
        self._zip = ZipFile(file, "w", ZIP_DEFLATED)
        self._section = ""
        self._json: IO[bytes] | None = None
        self._separator = b""

    async def add_records(self, section: str, records: Sequence[str]) -> None:
        await asyncio.to_thread(self._add_records, section, records)

    async def add_file(self, name: str, content: bytes) -> None:
        self._end_section()
        await asyncio.to_thread(self._zip.writestr, f"files/{name}", content)

    def close(self) -> None:
        self._end_section()
        self._zip.close()

    def abandon(self) -> None:
        """Else the archive would be completed when it is deleted, in a file that is closed."""
        with contextlib.suppress(OSError, ValueError):
            self.close()

    def _add_records(self, section: str, records: Sequence[str]) -> None:
        json = self._json
        if json is None or section != self._section:
            self._end_section()
            self._section, self._separator = section, b"["
            self._json = json = self._zip.open(f"{section}.json", "w")
        for record in records:
            json.write(self._separator + record.encode())
            self._separator = b",\n"

    def _end_section(self) -> None:
        if self._json is not None:
            self._json.write(b"[]\n" if self._separator == b"[" else b"]\n")
            self._json.close()
        self._json = None


@get(
    "/profile/export", operation_id="exportProfile", tags=TAGS, guards=[signed_in.without_keys], media_type=UNKNOWN_TYPE
)
async def export_profile(actor: Inject[Actor], export_account: Inject[ExportAccount]) -> Stream:
    """A ZIP file of all that is stored about the calling account: JSON files, and the files that it has uploaded."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 (closed when it is sent)
    archive = ZipArchive(file)
    try:
        await export_account(actor, archive)
        archive.close()
        file.seek(0)
    except BaseException as error:
        archive.abandon()
        file.close()
        if isinstance(error, OSError):  # the disk is full
            raise Unavailable from error
        raise
    return Stream(_chunks(file), media_type=UNKNOWN_TYPE, headers=_HEADERS)


async def _chunks(file: IO[bytes]) -> AsyncIterator[bytes]:
    with file:
        while chunk := await asyncio.to_thread(file.read, _CHUNK):
            yield chunk


ROUTES = [export_profile]
