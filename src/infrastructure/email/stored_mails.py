"""Mails that are kept as files, where there is no mail server."""

import asyncio
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path

from domain.erasure import Identifiers


class MailFilesAbout:
    """The port `StoredMails`: the files that `FileTransport` writes to `directory`, also those of the CRM."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def delete_about(self, identifiers: Identifiers) -> int:
        """Raises OSError."""
        return await asyncio.to_thread(self._delete_about, identifiers)

    def _delete_about(self, identifiers: Identifiers) -> int:
        if not self._directory.is_dir():
            return 0
        deleted = 0
        for path in self._directory.glob("*.eml"):
            try:
                octets = path.read_bytes()
            except FileNotFoundError:  # pruned meanwhile
                continue
            if identifiers.occur_in(_text_of(octets)):
                path.unlink(missing_ok=True)
                deleted += 1
        return deleted


def _text_of(octets: bytes) -> str:
    """The decoded headers and texts of a mail."""
    mail = BytesParser(policy=policy.default).parsebytes(octets)
    return "\n".join([*_headers(mail), *_texts(mail)])


def _headers(mail: EmailMessage) -> list[str]:
    return [f"{name}: {value}" for name, value in mail.items()]


def _texts(mail: EmailMessage) -> list[str]:
    # Long lines of calendar entries are folded (RFC 5545, 3.1).
    return [
        part.get_content().replace("\r\n ", "").replace("\n ", "")
        for part in mail.walk()
        if part.get_content_maintype() == "text"
    ]
