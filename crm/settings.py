"""What the CRM reads from its environment, checked once, at the start.

`python -m crm.settings` only checks it: status 2 and one line for a wrong setting.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, cast

import msgspec

from servicekit.http_limits import HttpLimits
from servicekit.pooler import DIRECT, Pooler
from servicekit.settings_reader import SettingsError, SettingsReader
from servicekit.smtp_server import SmtpServer

__all__ = ["CrmSettings", "Receiver", "SettingsError", "load_direct_database_url", "load_settings"]

SECRETS = frozenset(
    {
        "CRM_BEARER_TOKEN",
        "CRM_DATABASE_URL",
        "CRM_DATABASE_DIRECT_URL",
        "CRM_SIGNING_SECRETS",
        "CRM_WEBHOOK_SECRET",
        "METRICS_TOKEN",
        "FORWARD_FLASK_TOKEN",
        "BACKEND_SERVICE_TOKEN",
        "SMTP_URL",
    }
)


class Receiver(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP server that receives deliveries, with its bearer token."""

    url: str
    token: str

    def __repr__(self) -> str:
        return f"Receiver({self.url})"


OPERATOR_PATHS = frozenset({"/", "/health", "/health/live", "/health/ready", "/metrics"})
"""Served also by a full process."""


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
    retention_days: int = 400
    mail_file_retention_days: int = 30
    notifications_shape: Literal["list", "envelope"] = "list"
    signing_secrets: tuple[bytes, ...] = ()
    metrics_token: str | None = None
    http: HttpLimits = HttpLimits(operator_paths=OPERATOR_PATHS)
    database_pool_size: int = 4
    database_timeout_seconds: int = 4
    pooler: Pooler = DIRECT
    database_direct_url: str | None = None
    log_level: str = "info"

    def __repr__(self) -> str:
        return f"CrmSettings(data={str(self.data)!r}, smtp={self.smtp!r})"


def load_settings(environ: Mapping[str, str]) -> CrmSettings:
    """Read and check every setting; raises SettingsError on the first that is missing or wrong.

    A secret may lie in a file that `<NAME>_FILE` names.
    """
    read = SettingsReader(environ, SECRETS, _advice)
    bearer_token = _token(read, "CRM_BEARER_TOKEN", None)
    forward_token = _token(read, "FORWARD_FLASK_TOKEN")
    service_token = _token(read, "BACKEND_SERVICE_TOKEN")
    forward_url = read.address("FORWARD_FLASK_URL", "")
    if forward_url and not forward_token:
        raise SettingsError("FORWARD_FLASK_TOKEN is not set: FORWARD_FLASK_URL needs the token that server expects")
    payments_url = f"{read.url('BOOKING_API_URL', 'http://127.0.0.1:5000')}/service/offline-payments"
    return CrmSettings(
        bearer_token=bearer_token,
        webhook_token=_token(read, "CRM_WEBHOOK_SECRET") or bearer_token,
        forward=Receiver(url=forward_url, token=forward_token) if forward_url else None,
        payments=Receiver(url=payments_url, token=service_token) if service_token else None,
        database_url=read.database_url("CRM_DATABASE_URL"),
        smtp=read.smtp_server("SMTP_URL"),
        mail_from=read.mailbox("MAIL_FROM", "Convene <convene@localhost>"),
        mail_smtputf8=read.switch("MAIL_SMTPUTF8", "false"),
        data=Path(read.text("CONVENE_DATA", "var")),
        retention_days=read.days("CRM_RETENTION_DAYS", "400"),
        mail_file_retention_days=read.days("MAIL_FILE_RETENTION_DAYS", "30"),
        notifications_shape=cast(
            Literal["list", "envelope"], read.choice("CRM_NOTIFICATIONS_SHAPE", "list", ("list", "envelope"))
        ),
        signing_secrets=read.signing_keys("CRM_SIGNING_SECRETS"),
        metrics_token=read.secret("METRICS_TOKEN", shortest=32) if read.text("METRICS_TOKEN", "") else None,
        http=HttpLimits(
            max_connections=read.whole("HTTP_MAX_CONNECTIONS", "1000", 1, 100_000),
            max_idle_connections=read.whole("HTTP_MAX_IDLE_CONNECTIONS", "500", 0, 100_000),
            head_bytes=read.whole("HTTP_HEAD_BYTES", "32768", 4096, 1024 * 1024),
            head_seconds=read.whole("HTTP_HEAD_SECONDS", "10", 1, 300),
            body_seconds=read.whole("HTTP_BODY_SECONDS", "20", 1, 3600),
            idle_seconds=read.whole("HTTP_IDLE_SECONDS", "5", 1, 3600),
            operator_paths=OPERATOR_PATHS,
        ),
        database_pool_size=read.whole("CRM_DATABASE_POOL_SIZE", "4", 1, 100),
        database_timeout_seconds=read.whole("DATABASE_TIMEOUT_SECONDS", "4", 1, 30),
        pooler=read.pooler(),
        database_direct_url=read.optional_database_url("CRM_DATABASE_DIRECT_URL"),
        log_level=read.choice("LOG_LEVEL", "info", ("debug", "info", "warning", "error")),
    )


def load_direct_database_url(environ: Mapping[str, str]) -> str:
    """The address of the database for migrations. Raises SettingsError if only a pooler's is known."""
    read = SettingsReader(environ, SECRETS, _advice)
    return read.direct_database_url("CRM_DATABASE_URL", "CRM_DATABASE_DIRECT_URL")


def _token(read: SettingsReader, name: str, default: str | None = "") -> str:
    """A bearer token, as a header can carry it."""
    token = read.text(name, default)
    if token:
        read.refuse_weak(name, token, 1)
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise SettingsError(f"{name} must be printable ASCII without spaces")
    return token


def _advice(name: str) -> str:
    if name in {"CRM_DATABASE_URL", "CRM_DATABASE_DIRECT_URL"}:
        return "give the CRM's own database, for example postgresql://user:password@host:5432/convene_crm"
    if name == "CRM_BEARER_TOKEN":
        return "give the CRM and the booking API the same long random token"
    return "give a random value; `openssl rand -hex 32` makes one"


if __name__ == "__main__":
    try:
        load_settings(os.environ)
    except SettingsError as error:
        sys.stderr.write(f"crm: {error}\n")
        sys.exit(2)
