"""File transport: mails as `.eml` files, for development without a mail server."""

import asyncio
import os
import re
import unicodedata
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from pathlib import Path

from domain.outbox import Delivered, Failed, Outcome
from servicekit.mail_verification import UnsafeMail, verified


class FileTransport:
    """Writes each mail atomically as one file in `directory`; the same mail replaces its file."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def send(self, mail: EmailMessage) -> Outcome:
        try:
            path = await asyncio.to_thread(self._write, mail)
        except UnsafeMail as error:
            return Failed(str(error), permanent=True)
        except OSError as error:
            return Failed(f"{self._directory}: {error.strerror or error}", destination_fault=True)
        return Delivered(path.name)

    def _write(self, mail: EmailMessage) -> Path:
        octets = verified(mail).octets
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._directory / file_name(mail)
        unfinished = path.with_name(f".{path.name[-40:]}.{os.getpid()}")
        try:
            unfinished.touch(mode=0o600)
            unfinished.write_bytes(octets)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
        return path


def file_name(mail: EmailMessage) -> str:
    """Time, recipient, subject and the end of the Message-ID: `20261121T100000Z-ana@example.com-….eml`."""
    moment = parsedate_to_datetime(mail["Date"])
    recipient = _slug(mail["To"].addresses[0].addr_spec, 64, keep="@._+")
    mark = mail["Message-ID"].strip("<>").partition("@")[0][-12:]
    return f"{moment:%Y%m%dT%H%M%SZ}-{recipient}-{_slug(mail['Subject'], 60)}-{mark}.eml"


def _slug(text: str, length: int, keep: str = "") -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(rf"[^a-z0-9{re.escape(keep)}]+", "-", plain)[:length].strip("-.") or "mail"
