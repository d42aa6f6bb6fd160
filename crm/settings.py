"""What the CRM reads from its environment, checked once, at the start.

`python -m crm.settings` only checks it: status 2 and one line for a wrong setting.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import httpx
import msgspec

from servicekit.http_limits import HttpLimits
from servicekit.mail_transport import SMTP_EXAMPLE, SmtpServer, smtp_server
from servicekit.mailboxes import UnusableAddress, sender_mailbox
from servicekit.signatures import ADVICE, key_of

EXAMPLE_TOKENS = frozenset(
    {
        "super-crm-token",
        "your-static-bearer-token-here",
        "crmsecrettoken",
        "forwardsecrettoken",
        "backend-service-token-here",
    }
)
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
SECRETS = (
    "CRM_BEARER_TOKEN",
    "CRM_DATABASE_URL",
    "CRM_SIGNING_SECRETS",
    "CRM_WEBHOOK_SECRET",
    "FORWARD_FLASK_TOKEN",
    "BACKEND_SERVICE_TOKEN",
    "SMTP_URL",
)
YES, NO = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")


class SettingsError(Exception):
    """A setting is missing or wrong. The message is one line that names the variable and what to do."""


class Receiver(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP server that receives deliveries, with its bearer token."""

    url: str
    token: str

    def __repr__(self) -> str:
        return f"Receiver({self.url})"


class CrmSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The CRM's settings. `smtp` None means mail is written as files below `data`/mail.

    `forward` None: webhooks are not forwarded. `payments` None: reports of payments wait in the database.
    """

    database_url: str
    bearer_token: str
    webhook_token: str
    forward: Receiver | None = None
    payments: Receiver | None = None
    smtp: SmtpServer | None = None
    mail_from: str = "Convene <convene@localhost>"
    mail_smtputf8: bool = False
    data: Path = Path("var")
    notifications_shape: Literal["list", "envelope"] = "list"
    signing_secrets: tuple[bytes, ...] = ()
    http: HttpLimits = HttpLimits(operator_paths=frozenset({"/"}))
    log_level: str = "INFO"

    def __repr__(self) -> str:
        return f"CrmSettings(data={str(self.data)!r}, smtp={self.smtp!r})"


def load_settings(environ: Mapping[str, str]) -> CrmSettings:
    """Read and check every setting; raises SettingsError on the first that is missing or wrong.

    A secret may lie in a file that `<NAME>_FILE` names.
    """
    given = {name: value.strip() for name, value in environ.items()}
    given |= {name: _from_file(f"{name}_FILE", path) for name in SECRETS if (path := given.get(f"{name}_FILE"))}
    embedded = _flag("CONVENE_EMBEDDED", given.get("CONVENE_EMBEDDED", ""))
    bearer_token = _bearer_token(given.get("CRM_BEARER_TOKEN", ""), embedded=embedded)
    webhook_secret = _token("CRM_WEBHOOK_SECRET", given.get("CRM_WEBHOOK_SECRET", ""), embedded=embedded)
    forward_token = _token("FORWARD_FLASK_TOKEN", given.get("FORWARD_FLASK_TOKEN", ""), embedded=embedded)
    service_token = _token("BACKEND_SERVICE_TOKEN", given.get("BACKEND_SERVICE_TOKEN", ""), embedded=embedded)
    booking_api = _address("BOOKING_API_URL", given.get("BOOKING_API_URL") or "http://127.0.0.1:5000").rstrip("/")
    return CrmSettings(
        bearer_token=bearer_token,
        webhook_token=webhook_secret or bearer_token,
        forward=_forward(given.get("FORWARD_FLASK_URL", ""), forward_token),
        payments=Receiver(url=f"{booking_api}/service/offline-payments", token=service_token)
        if service_token
        else None,
        database_url=_database_url(given.get("CRM_DATABASE_URL", "")),
        smtp=_smtp(given.get("SMTP_URL", "")),
        mail_from=_mail_from(given.get("MAIL_FROM") or "Convene <convene@localhost>"),
        mail_smtputf8=_flag("MAIL_SMTPUTF8", given.get("MAIL_SMTPUTF8", "")),
        data=Path(given.get("CONVENE_DATA") or "var"),
        notifications_shape=_shape(given.get("CRM_NOTIFICATIONS_SHAPE") or "list"),
        signing_secrets=_signing_secrets(given.get("CRM_SIGNING_SECRETS", "")),
        http=HttpLimits(
            max_connections=_whole("HTTP_MAX_CONNECTIONS", given.get("HTTP_MAX_CONNECTIONS") or "1000", 1, 100_000),
            max_idle_connections=_whole(
                "HTTP_MAX_IDLE_CONNECTIONS", given.get("HTTP_MAX_IDLE_CONNECTIONS") or "500", 0, 100_000
            ),
            head_bytes=_whole("HTTP_HEAD_BYTES", given.get("HTTP_HEAD_BYTES") or "32768", 4096, 1024 * 1024),
            head_seconds=_whole("HTTP_HEAD_SECONDS", given.get("HTTP_HEAD_SECONDS") or "10", 1, 300),
            body_seconds=_whole("HTTP_BODY_SECONDS", given.get("HTTP_BODY_SECONDS") or "20", 1, 3600),
            idle_seconds=_whole("HTTP_IDLE_SECONDS", given.get("HTTP_IDLE_SECONDS") or "5", 1, 3600),
            operator_paths=frozenset({"/"}),
        ),
        log_level=_log_level(given.get("LOG_LEVEL") or "INFO"),
    )


def _from_file(name: str, path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise SettingsError(f"{name} names a file that cannot be read: {path}: {reason}") from None


def _bearer_token(token: str, *, embedded: bool) -> str:
    if not token:
        raise SettingsError("CRM_BEARER_TOKEN is not set: give the CRM and the booking API the same long random token")
    return _token("CRM_BEARER_TOKEN", token, embedded=embedded)


def _token(name: str, token: str, *, embedded: bool) -> str:
    if token in EXAMPLE_TOKENS and not embedded:
        raise SettingsError(f"{name} is an example from the documentation: set a long random token instead")
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise SettingsError(f"{name} must be printable ASCII without spaces")
    return token


def _forward(url: str, token: str) -> Receiver | None:
    if not url:
        return None
    if not token:
        raise SettingsError("FORWARD_FLASK_TOKEN is not set: FORWARD_FLASK_URL needs the token that server expects")
    return Receiver(url=_address("FORWARD_FLASK_URL", url), token=token)


def _address(name: str, url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not parts.username
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL):
        usable = False
    if not usable:
        raise SettingsError(f"{name} is no address we can use: it begins with http:// or https:// and a host")
    return url


def _database_url(url: str) -> str:
    example = "for example postgresql://user:password@host:5432/convene_crm"
    if not url:
        raise SettingsError(f"CRM_DATABASE_URL is not set: name the CRM's own PostgreSQL database, {example}")
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.partition("+")[0] not in ("postgresql", "postgres"):
        raise SettingsError(f"CRM_DATABASE_URL must be a PostgreSQL address, {example}")
    try:
        if not urlsplit(url).path.strip("/"):
            raise SettingsError(f"CRM_DATABASE_URL names no database, {example}")
    except ValueError:
        raise SettingsError(f"CRM_DATABASE_URL cannot be read, {example}") from None
    return f"postgresql://{rest}"


def _smtp(url: str) -> SmtpServer | None:
    try:
        return smtp_server(url) if url else None
    except ValueError as error:
        raise SettingsError(f"SMTP_URL: {error}, {SMTP_EXAMPLE}") from None


def _mail_from(text: str) -> str:
    try:
        sender_mailbox(text)
    except UnusableAddress:
        raise SettingsError("MAIL_FROM must be an address, for example Convene <bookings@example.com>") from None
    return text


def _shape(text: str) -> Literal["list", "envelope"]:
    match text:
        case "list" | "envelope":
            return text
    raise SettingsError("CRM_NOTIFICATIONS_SHAPE must be list or envelope")


def _signing_secrets(text: str) -> tuple[bytes, ...]:
    """Comma separated. A secret is the base64 of its key, with or without `whsec_`."""
    secrets = filter(None, (part.strip() for part in text.split(",")))
    try:
        return tuple(key_of(secret) for secret in secrets)
    except ValueError:
        raise SettingsError(f"CRM_SIGNING_SECRETS has a secret that is not base64: {ADVICE}") from None


def _whole(name: str, text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > 18 or not low <= int(text) <= high:
        raise SettingsError(f"{name} is {text!r}: give a whole number from {low} to {high}")
    return int(text)


def _log_level(text: str) -> str:
    if text.upper() not in LOG_LEVELS:
        raise SettingsError(f"LOG_LEVEL must be one of {', '.join(LOG_LEVELS)}")
    return text.upper()


def _flag(name: str, text: str) -> bool:
    if text.lower() not in YES + NO:
        raise SettingsError(f"{name} must be 1 or 0")
    return text.lower() in YES


if __name__ == "__main__":
    try:
        load_settings(os.environ)
    except SettingsError as error:
        sys.stderr.write(f"crm: {error}\n")
        sys.exit(2)
