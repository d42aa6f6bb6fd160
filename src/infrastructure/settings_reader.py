"""Types of settings of the backend alone; `servicekit.settings_reader` has those of both services."""

import ipaddress
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Literal, cast
from urllib.parse import urlsplit

from domain.accounts import Role
from servicekit.links import is_web_address
from servicekit.settings_reader import SettingsError, SettingsReader

SECRETS = frozenset(
    {
        "DATABASE_URL",
        "DATABASE_DIRECT_URL",
        "DATABASE_REPLICA_URL",
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
"""Settings whose value is never printed, and can be in the file that `NAME_FILE` names."""

SHORTEST_SECRET = 32
"""Bytes. HS256 requires a key of at least the length of its hash (RFC 7518, 3.2)."""

PaymentProvider = Literal["sandbox", "stripe", "razorpay", "offline"]

_UNITS = {"d": "days", "h": "hours", "m": "minutes"}


class Reader(SettingsReader):
    """Reads the backend's settings."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ, SECRETS, _advice)

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
                self.refuse_weak(name, value, 1)
        return pair

    def optional_group(self, *names: str) -> tuple[str, ...] | None:
        given = tuple(self.text(name, "") for name in names)
        if not any(given):
            return None
        if not all(given):
            raise SettingsError(f"{names[given.index('')]} is not set: give all of {', '.join(names)}, or none")
        return given

    def offsets(self, name: str, default: str) -> tuple[timedelta, ...]:
        """Durations such as `7d,24h,30m`, longest first; `none` for an empty list."""
        value = self.text(name, default)
        if value.lower() == "none":
            return ()
        found = [re.fullmatch(r"([1-9][0-9]{0,3})([dhm])", part.strip()) for part in value.split(",")]
        offsets = {timedelta(**{_UNITS[match[2]]: int(match[1])}) for match in found if match}
        if None in found or len(offsets) > 10 or max(offsets) > timedelta(days=366):
            raise SettingsError(f"{name} is {value!r}: give up to 10 times such as 7d,24h,30m, at most a year, or none")
        return tuple(sorted(offsets, reverse=True))

    def payment_provider(self) -> PaymentProvider:
        """The gateway of new payments. The default is the sandbox in the embedded mode, else payments on site."""
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

    def seconds(self, name: str, default: str) -> tuple[int, ...]:
        items = self.items(name, default)
        if not items or not all(item.isascii() and item.isdecimal() and len(item) < 9 for item in items):
            raise SettingsError(f"{name} must be seconds divided by commas, like {default}")
        return tuple(int(item) for item in items)

    def optional_secret(self, name: str) -> str | None:
        return self.secret(name, shortest=SHORTEST_SECRET) if self.text(name, "") else None

    def secrets(self, name: str) -> tuple[str, ...]:
        values = self.items(name)
        for value in values:
            self.refuse_weak(name, value, SHORTEST_SECRET)
        return values

    def signing_secrets(self, name: str) -> tuple[str, ...]:
        self.signing_keys(name)
        return self.secrets(name)

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

    def roles(self, name: str) -> tuple[str, ...]:
        roles = self.items(name)
        known = [str(role) for role in Role]
        for role in roles:
            if role not in known:
                raise SettingsError(f"{name}: {role!r} is no role, give some of {', '.join(known)}")
        return roles

    def redirects(self, name: str) -> tuple[str, ...]:
        """Addresses that are compared character by character (RFC 9700, 4.1.3)."""
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
        """The address, unchanged: a slash at the end, query parameters and a fragment belong to the front end."""
        address = self.text(name, "")
        if address and not _is_ascii_address(address):
            raise SettingsError(f"{name} is no address, write it like https://app.example.com/paid")
        return address or None

    def url_template(self, name: str, variable: str, example: str) -> str | None:
        """An address with `variable` after its host, and no other braces. None if unset."""
        template = self.text(name, "")
        if not template:
            return None
        before, placeholder, _ = template.partition(variable)
        rest = template.replace(variable, "")
        address = template.replace(variable, "0")
        in_host = not re.match("https?://[^/?#]+[/?#]", before)
        if not placeholder or in_host or "{" in rest or "}" in rest or not _is_ascii_address(address):
            raise SettingsError(f"{name} is no address with {variable}: write it like {example}{variable}")
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


def _is_ascii_address(text: str) -> bool:
    """Whether the address is ASCII: other characters must be percent-encoded in a header or a mail."""
    return text.isascii() and is_web_address(text)


def _advice(name: str) -> str:
    if name == "DATABASE_URL":
        return "give postgresql://user:password@host:5432/convene, or start everything with `convene up`"
    if name == "REDIS_URL":
        return "give redis://host:6379/0, or start everything with `convene up`"
    if name == "CRM_BEARER_TOKEN":
        return "give the token the CRM expects; `openssl rand -hex 32` makes a new one"
    return "give a random value; `openssl rand -hex 32` makes one"
