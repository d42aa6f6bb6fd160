"""The environment, read as types: one variable at a time, each refusal one line that names it."""

import ipaddress
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Literal, cast
from urllib.parse import urlsplit

from domain.booking_urls import PLACEHOLDER, BookingUrls
from servicekit.links import is_web_address
from servicekit.mail_transport import SMTP_EXAMPLE, SmtpServer, smtp_server
from servicekit.mailboxes import UnusableAddress, sender_mailbox
from servicekit.signatures import ADVICE, key_of

PUBLISHED_SECRETS = frozenset(
    {
        "your-secret-key-change-in-production",
        "super-crm-token",
        "supersecretkey",
        "jwtsecretkey",
        "your-static-bearer-token-here",
        "backend-service-token-here",
        "crmsecrettoken",
        "forwardsecrettoken",
        "your-stripe-secret",
        "your-stripe-webhook-secret",
    }
)
"""The example values of the published API documents: they are public and must not be used."""

SECRETS = frozenset(
    {
        "DATABASE_URL",
        "REDIS_URL",
        "JWT_SECRET_KEY",
        "GOOGLE_CLIENT_SECRET",
        "MICROSOFT_CLIENT_SECRET",
        "TOKEN_ENCRYPTION_KEYS",
        "CRM_BEARER_TOKEN",
        "BACKEND_SERVICE_TOKEN",
        "METRICS_TOKEN",
        "SMTP_URL",
        "DELIVERY_SIGNING_SECRETS",
        "STRIPE_SECRET_KEY",
        "STRIPE_WEBHOOK_SECRET",
        "RAZORPAY_KEY_SECRET",
        "RAZORPAY_WEBHOOK_SECRET",
    }
)
"""Settings whose value is never printed, and which a file may hold: `NAME_FILE` names it."""

SHORTEST_SECRET = 32
"""Bytes. HS256 asks for a key as long as its hash (RFC 7518, 3.2)."""


class SettingsError(Exception):
    """A setting is missing or wrong. The text is one line that names it and says what to do; it shows no secret."""


PaymentProvider = Literal["sandbox", "stripe", "razorpay", "offline"]


_UNITS = {"d": "days", "h": "hours", "m": "minutes"}


class Reader:
    """One variable at a time, as a type; every refusal names the variable and what it should be."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.embedded = self.switch("CONVENE_EMBEDDED", "false")

    def text(self, name: str, default: str | None) -> str:
        value = self._environ.get(name, "").strip()
        file = self._environ.get(f"{name}_FILE", "").strip() if name in SECRETS else ""
        if value and file:
            raise SettingsError(f"{name} and {name}_FILE are both set: keep one of them")
        if file:
            try:
                value = Path(file).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "not UTF-8 text"
                raise SettingsError(f"{name}_FILE: {file} cannot be read ({reason})") from None
        if "\x00" in value or "\n" in value:
            raise SettingsError(f"{name} has a line break or a NUL in it: give one line of text")
        if not value and default is None:
            raise SettingsError(f"{name} is not set: {_advice(name)}")
        return value or default or ""

    def optional_pair(self, first: str, second: str) -> tuple[str, str] | tuple[None, None]:
        given = self.text(first, ""), self.text(second, "")
        if all(given):
            return given
        if any(given):
            missing, there = (second, first) if given[0] else (first, second)
            raise SettingsError(f"{missing} is not set, but {there} is: give both or neither")
        return None, None

    def secret_pair(self, first: str, second: str) -> tuple[str, str] | tuple[None, None]:
        pair = self.optional_pair(first, second)
        for name, value in zip((first, second), pair, strict=True):
            if value is not None:
                self._refuse_weak(name, value, 1)
        return pair

    def optional_group(self, *names: str) -> tuple[str, ...] | None:
        given = tuple(self.text(name, "") for name in names)
        if not any(given):
            return None
        if not all(given):
            raise SettingsError(f"{names[given.index('')]} is not set: give all of {', '.join(names)}, or none")
        return given

    def whole(self, name: str, default: str, low: int, high: int) -> int:
        value = self.text(name, default)
        if not (value.isascii() and value.isdecimal()) or len(value) > 18 or not low <= int(value) <= high:
            raise SettingsError(f"{name} is {value!r}: give a whole number from {low} to {high}")
        return int(value)

    def offsets(self, name: str, default: str) -> tuple[timedelta, ...]:
        """Such as `7d,24h,30m`, the longest first; `none` for none at all."""
        value = self.text(name, default)
        if value.lower() == "none":
            return ()
        found = [re.fullmatch(r"([1-9][0-9]{0,3})([dhm])", part.strip()) for part in value.split(",")]
        offsets = {timedelta(**{_UNITS[match[2]]: int(match[1])}) for match in found if match}
        if None in found or len(offsets) > 10 or max(offsets) > timedelta(days=366):
            raise SettingsError(f"{name} is {value!r}: give up to 10 times such as 7d,24h,30m, at most a year, or none")
        return tuple(sorted(offsets, reverse=True))

    def switch(self, name: str, default: str) -> bool:
        value = self.text(name, default).lower()
        if value not in {"true", "false", "1", "0", "yes", "no", "on", "off"}:
            raise SettingsError(f"{name} is {value!r}: give true or false")
        return value in {"true", "1", "yes", "on"}

    def choice(self, name: str, default: str, known: tuple[str, ...]) -> str:
        value = self.text(name, default).lower()
        if value not in known:
            raise SettingsError(f"{name} is {value!r}: give {' or '.join(known)}")
        return value

    def payment_provider(self) -> PaymentProvider:
        """Without a word about it: the sandbox where everything is tried out, money on the spot where it is real."""
        known = ("sandbox", "stripe", "razorpay", "offline")
        provider = self.choice("PAYMENT_PROVIDER", "sandbox" if self.embedded else "offline", known)
        if provider == "sandbox" and not self.embedded and not self.switch("SANDBOX_PAYMENTS_ALLOWED", "false"):
            raise SettingsError(
                "PAYMENT_PROVIDER is sandbox, where everybody pays by a button: "
                "choose stripe, razorpay or offline, or set SANDBOX_PAYMENTS_ALLOWED=true for a test system"
            )
        if provider == "stripe" and not self.text("STRIPE_SECRET_KEY", ""):
            raise SettingsError(
                "PAYMENT_PROVIDER is stripe, but STRIPE_SECRET_KEY and STRIPE_WEBHOOK_SECRET are not set: give both"
            )
        if provider == "razorpay" and not self.text("RAZORPAY_KEY_ID", ""):
            raise SettingsError(
                "PAYMENT_PROVIDER is razorpay, but RAZORPAY_KEY_ID is not set: give Razorpay's API keys"
            )
        return cast(PaymentProvider, provider)

    def items(self, name: str, default: str = "") -> tuple[str, ...]:
        return tuple(item.strip() for item in self.text(name, default).split(",") if item.strip())

    def seconds(self, name: str, default: str) -> tuple[int, ...]:
        items = self.items(name, default)
        if not items or not all(item.isascii() and item.isdecimal() and len(item) < 9 for item in items):
            raise SettingsError(f"{name} must be seconds divided by commas, like {default}")
        return tuple(int(item) for item in items)

    def url(self, name: str, default: str | None, *, schemes: tuple[str, ...]) -> str:
        value = self.text(name, default)
        if not value:
            return value
        try:
            parts = urlsplit(value)
            complete = parts.path if parts.scheme == "unix" else parts.hostname
            _ = parts.port
        except ValueError:
            complete = None
        if not complete or parts.scheme not in schemes:
            raise SettingsError(f"{name} is no address we can use: it begins with {' or '.join(schemes)}:// and a host")
        if parts.scheme in {"http", "https"} and "@" in parts.netloc:
            raise SettingsError(f"{name} must not hold a user or a password: requests carry a token in their head")
        return value.rstrip("/")

    def smtp_server(self, name: str) -> SmtpServer | None:
        value = self.text(name, "")
        try:
            return smtp_server(value) if value else None
        except ValueError as error:
            raise SettingsError(f"{name}: {error}, {SMTP_EXAMPLE}") from None

    def database_url(self, name: str) -> str:
        """SQLAlchemy's and Heroku's spellings are accepted and brought to libpq's."""
        value = self.text(name, None)
        scheme, mark, rest = value.partition("://")
        if not mark or scheme not in {"postgresql", "postgres", "postgresql+asyncpg", "postgresql+psycopg"}:
            raise SettingsError(f"{name} does not name a PostgreSQL server: {_advice(name)}")
        try:
            parts = urlsplit(f"postgresql://{rest}")
            _ = parts.port
        except ValueError:
            raise SettingsError(f"{name} cannot be understood (escape special characters): {_advice(name)}") from None
        if not parts.path.strip("/"):
            raise SettingsError(f"{name} names no database: {_advice(name)}")
        return f"postgresql://{rest}"

    def secret(self, name: str, *, shortest: int) -> str:
        value = self.text(name, None)
        self._refuse_weak(name, value, shortest)
        return value

    def optional_secret(self, name: str) -> str | None:
        return self.secret(name, shortest=SHORTEST_SECRET) if self.text(name, "") else None

    def secrets(self, name: str) -> tuple[str, ...]:
        values = self.items(name)
        for value in values:
            self._refuse_weak(name, value, SHORTEST_SECRET)
        return values

    def signing_secrets(self, name: str) -> tuple[str, ...]:
        secrets = self.secrets(name)
        for secret in secrets:
            try:
                key_of(secret)
            except ValueError:
                raise SettingsError(f"{name} has a secret that is not base64: {ADVICE}") from None
        return secrets

    def _refuse_weak(self, name: str, value: str, shortest: int) -> None:
        if self.embedded:
            return
        if value in PUBLISHED_SECRETS:
            raise SettingsError(f"{name} is an example from the published documents: {_advice(name)}")
        if len(value.encode()) < shortest:
            raise SettingsError(f"{name} is shorter than {shortest} bytes: {_advice(name)}")

    def origins(self, name: str) -> tuple[str, ...]:
        origins = self.items(name)
        for origin in origins:
            try:
                parts = urlsplit(origin)
                plain = bool(parts.hostname) and not (parts.path or parts.query or parts.fragment)
            except ValueError:
                plain = False
            if origin != "*" and not (plain and parts.scheme in {"http", "https"}):
                raise SettingsError(f"{name}: {origin!r} is no origin, write it like https://app.example.com or *")
        return origins

    def redirects(self, name: str) -> tuple[str, ...]:
        """Addresses that are compared as they are, letter by letter (RFC 9700, 4.1.3)."""
        addresses = self.items(name)
        for address in addresses:
            try:
                parts = urlsplit(address)
                sound = bool(parts.hostname) and "#" not in address and address.isascii() and address.isprintable()
            except ValueError:
                sound = False
            if not sound or parts.scheme not in {"http", "https"}:
                raise SettingsError(f"{name}: {address!r} is no address, write it like https://app.example.com/done")
        return addresses

    def return_url(self, name: str) -> str | None:
        """As it is: a slash at the end, query parameters and a fragment are the front end's."""
        address = self.text(name, "")
        if address and not _is_ascii_address(address):
            raise SettingsError(f"{name} is no address, write it like https://app.example.com/paid")
        return address or None

    def booking_url_template(self, name: str) -> str | None:
        """An address with `PLACEHOLDER` after its host, and no other braces."""
        template = self.text(name, "")
        if not template:
            return None
        before, placeholder, _ = template.partition(PLACEHOLDER)
        rest = template.replace(PLACEHOLDER, "")
        in_host = not re.match("https?://[^/?#]+[/?#]", before)
        example = BookingUrls(template).of("00000000-0000-0000-0000-000000000000")
        if not placeholder or in_host or "{" in rest or "}" in rest or not _is_ascii_address(example):
            raise SettingsError(
                f"{name} is no address with {PLACEHOLDER}: write it like https://app.example.com/bookings/{PLACEHOLDER}"
            )
        return template

    def networks(self, name: str) -> tuple[str, ...]:
        networks = self.items(name)
        for network in networks:
            try:
                ipaddress.ip_network(network, strict=False)
            except ValueError:
                raise SettingsError(
                    f"{name}: {network!r} is no address, write it like 10.0.0.1 or 10.0.0.0/8"
                ) from None
        return networks

    def currency(self, name: str, default: str) -> str:
        value = self.text(name, default).upper()
        if not (len(value) == 3 and value.isascii() and value.isalpha()):
            raise SettingsError(f"{name} is {value!r}: give an ISO 4217 code like INR or EUR")
        return value

    def mailbox(self, name: str, default: str) -> str:
        value = self.text(name, default)
        try:
            sender_mailbox(value)
        except UnusableAddress:
            raise SettingsError(f"{name} is {value!r}: give an address like Convene <bookings@example.com>") from None
        return value


def _is_ascii_address(text: str) -> bool:
    """Other characters are percent-encoded in an address that goes into a header or a mail."""
    return text.isascii() and is_web_address(text)


def _advice(name: str) -> str:
    if name == "DATABASE_URL":
        return "give postgresql://user:password@host:5432/convene, or start everything with `convene up`"
    if name == "REDIS_URL":
        return "give redis://host:6379/0, or start everything with `convene up`"
    if name == "CRM_BEARER_TOKEN":
        return "give the token the CRM expects; `openssl rand -hex 32` makes a new one"
    return "give a random value; `openssl rand -hex 32` makes one"
