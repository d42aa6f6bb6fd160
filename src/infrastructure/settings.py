"""Every setting of the booking API and its worker, read from the environment once, at the start."""

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, cast
from urllib.parse import urlsplit

import msgspec

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
"""The example values of the published API documents: whoever read those could sign in as anybody."""

SECRETS = frozenset(
    {
        "DATABASE_URL",
        "REDIS_URL",
        "JWT_SECRET_KEY",
        "GOOGLE_CLIENT_SECRET",
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

_SHORTEST_SECRET = 32
"""Bytes. HS256 asks for a key as long as its hash (RFC 7518, 3.2)."""

DEFAULT_RETRY_SCHEDULE = "0,5,300,1800,7200,18000,36000,36000" + 8 * ",86400"
"""Seconds: at once, 5 s, 5 min, 30 min, 2 h, 5 h, twice 10 h, then daily: nine days in all, so that a long weekend
costs no message."""

_LONGEST_HOLD = 23 * 60
"""Minutes. A checkout outlives the hold by half an hour, and Stripe keeps none open for more than a day."""


class SettingsError(Exception):
    """A setting is missing or wrong. The text is one line that names it and says what to do; it shows no secret."""


PaymentProvider = Literal["sandbox", "stripe", "razorpay", "offline"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """A field is the lower-case name of its environment variable. `.env.example` explains each."""

    database_url: str
    redis_url: str
    convene_data: Path
    convene_embedded: bool
    jwt_secret_key: str
    jwt_expires_hours: int
    refresh_token_days: int
    refresh_token_rotation: bool
    password_policy: Literal["contract", "strict"]
    rate_limit_enabled: bool
    google_client_id: str | None
    google_client_secret: str | None
    google_discovery_url: str
    crm_service_url: str
    crm_bearer_token: str
    backend_service_token: str
    notification_service_url: str | None
    email_service_url: str | None
    smtp_url: str | None
    mail_from: str
    public_url: str
    cors_allowed_origins: tuple[str, ...]
    default_currency: str
    payment_provider: PaymentProvider
    sandbox_payments_allowed: bool
    payment_hold_minutes: int
    stripe_secret_key: str | None
    stripe_webhook_secret: str | None
    stripe_api_base: str
    razorpay_key_id: str | None
    razorpay_key_secret: str | None
    razorpay_webhook_secret: str | None
    razorpay_api_base: str
    delivery_retry_schedule: tuple[int, ...]
    delivery_signing_secrets: tuple[str, ...]
    delivered_retention_days: int
    trusted_proxies: tuple[str, ...]
    metrics_token: str | None
    drain_seconds: int
    otel_exporter_otlp_endpoint: str | None
    database_pool_size: int
    log_level: Literal["debug", "info", "warning", "error"]

    def __repr__(self) -> str:
        shown = (
            f"{name}={'***' if name.upper() in SECRETS else repr(getattr(self, name))}"
            for name in self.__struct_fields__
        )
        return f"Settings({', '.join(shown)})"


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read the settings; an empty variable counts as not set. Raises SettingsError for the first that is wrong.

    Outside the embedded mode (`CONVENE_EMBEDDED`, set by `convene up` for its children) secrets must be given, must
    not be a published example, and have at least 32 bytes. In it they are used as they are.
    """
    read = _Reader(environ)
    google_client_id, google_client_secret = read.both_or_neither("GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET")
    stripe_secret_key, stripe_webhook_secret = read.secret_pair("STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET")
    razorpay = read.all_or_none("RAZORPAY_KEY_ID", "RAZORPAY_KEY_SECRET", "RAZORPAY_WEBHOOK_SECRET")
    razorpay_key_id, razorpay_key_secret, razorpay_webhook_secret = razorpay or (None, None, None)
    return Settings(
        database_url=read.database_url("DATABASE_URL"),
        redis_url=read.url("REDIS_URL", None, schemes=("redis", "rediss", "unix")),
        convene_data=Path(read.text("CONVENE_DATA", "var")).absolute(),
        convene_embedded=read.embedded,
        jwt_secret_key=read.secret("JWT_SECRET_KEY", shortest=_SHORTEST_SECRET),
        jwt_expires_hours=read.whole("JWT_EXPIRES_HOURS", "24", 1, 24 * 366),
        refresh_token_days=read.whole("REFRESH_TOKEN_DAYS", "30", 1, 3660),
        refresh_token_rotation=read.switch("REFRESH_TOKEN_ROTATION", "true"),
        password_policy=cast(
            Literal["contract", "strict"], read.choice("PASSWORD_POLICY", "contract", ("contract", "strict"))
        ),
        rate_limit_enabled=read.switch("RATE_LIMIT_ENABLED", "true"),
        google_client_id=google_client_id,
        google_client_secret=google_client_secret,
        google_discovery_url=read.url(
            "GOOGLE_DISCOVERY_URL",
            "https://accounts.google.com/.well-known/openid-configuration",
            schemes=("http", "https"),
        ),
        crm_service_url=read.url("CRM_SERVICE_URL", "http://127.0.0.1:5001", schemes=("http", "https")),
        # Their length is the other side's choice: an existing service may have handed out a short one.
        crm_bearer_token=read.secret("CRM_BEARER_TOKEN", shortest=1),
        backend_service_token=read.secret("BACKEND_SERVICE_TOKEN", shortest=1),
        notification_service_url=read.url("NOTIFICATION_SERVICE_URL", "", schemes=("http", "https")) or None,
        email_service_url=read.url("EMAIL_SERVICE_URL", "", schemes=("http", "https")) or None,
        smtp_url=read.url("SMTP_URL", "", schemes=("smtp", "smtps")) or None,
        mail_from=read.mailbox("MAIL_FROM", "Convene <convene@localhost>"),
        public_url=read.url("PUBLIC_URL", "http://127.0.0.1:5000", schemes=("http", "https")),
        cors_allowed_origins=read.origins("CORS_ALLOWED_ORIGINS"),
        default_currency=read.currency("DEFAULT_CURRENCY", "INR"),
        payment_provider=read.payment_provider(),
        sandbox_payments_allowed=read.switch("SANDBOX_PAYMENTS_ALLOWED", "false"),
        payment_hold_minutes=read.whole("PAYMENT_HOLD_MINUTES", "30", 1, _LONGEST_HOLD),
        stripe_secret_key=stripe_secret_key,
        stripe_webhook_secret=stripe_webhook_secret,
        stripe_api_base=read.url("STRIPE_API_BASE", "https://api.stripe.com", schemes=("http", "https")),
        razorpay_key_id=razorpay_key_id,
        razorpay_key_secret=razorpay_key_secret,
        razorpay_webhook_secret=razorpay_webhook_secret,
        razorpay_api_base=read.url("RAZORPAY_API_BASE", "https://api.razorpay.com", schemes=("http", "https")),
        delivery_retry_schedule=read.seconds("DELIVERY_RETRY_SCHEDULE", DEFAULT_RETRY_SCHEDULE),
        delivery_signing_secrets=read.secrets("DELIVERY_SIGNING_SECRETS"),
        delivered_retention_days=read.whole("DELIVERED_RETENTION_DAYS", "30", 1, 3650),
        trusted_proxies=read.networks("TRUSTED_PROXIES"),
        metrics_token=read.optional_secret("METRICS_TOKEN"),
        drain_seconds=read.whole("DRAIN_SECONDS", "1", 0, 5),
        otel_exporter_otlp_endpoint=read.url("OTEL_EXPORTER_OTLP_ENDPOINT", "", schemes=("http", "https")) or None,
        database_pool_size=read.whole("DATABASE_POOL_SIZE", "4", 1, 100),
        log_level=cast(
            Literal["debug", "info", "warning", "error"],
            read.choice("LOG_LEVEL", "info", ("debug", "info", "warning", "error")),
        ),
    )


def load_database_url(environ: Mapping[str, str]) -> str:
    """DATABASE_URL alone, for the commands that need nothing else."""
    return _Reader(environ).database_url("DATABASE_URL")


class _Reader:
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

    def both_or_neither(self, first: str, second: str) -> tuple[str, str] | tuple[None, None]:
        given = self.text(first, ""), self.text(second, "")
        if all(given):
            return given
        if any(given):
            missing, there = (second, first) if given[0] else (first, second)
            raise SettingsError(f"{missing} is not set, but {there} is: give both or neither")
        return None, None

    def secret_pair(self, first: str, second: str) -> tuple[str, str] | tuple[None, None]:
        pair = self.both_or_neither(first, second)
        for name, value in zip((first, second), pair, strict=True):
            if value is not None:
                self._refuse_weak(name, value, 1)
        return pair

    def all_or_none(self, *names: str) -> tuple[str, ...] | None:
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
        return value.rstrip("/")

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
        return self.secret(name, shortest=_SHORTEST_SECRET) if self.text(name, "") else None

    def secrets(self, name: str) -> tuple[str, ...]:
        values = self.items(name)
        for value in values:
            self._refuse_weak(name, value, _SHORTEST_SECRET)
        return values

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
        if value.count("@") != 1 or value.strip("<> ").startswith("@") or value.rstrip("> ").endswith("@"):
            raise SettingsError(f"{name} is {value!r}: give an address like Convene <bookings@example.com>")
        return value


def _advice(name: str) -> str:
    if name == "DATABASE_URL":
        return "give postgresql://user:password@host:5432/convene, or start everything with `convene up`"
    if name == "REDIS_URL":
        return "give redis://host:6379/0, or start everything with `convene up`"
    if name == "CRM_BEARER_TOKEN":
        return "give the token the CRM expects; `openssl rand -hex 32` makes a new one"
    return "give a random value; `openssl rand -hex 32` makes one"
