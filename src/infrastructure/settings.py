"""The settings of the booking API and its worker, read from the environment once, at the start."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Literal, cast

import msgspec

from domain.account_urls import TOKEN
from domain.booking_urls import PLACEHOLDER
from domain.languages import LANGUAGES
from infrastructure.settings_of_pages import organisation_colour, organisation_logo, organisation_name
from infrastructure.settings_reader import (
    SECRETS,
    SHORTEST_SECRET,
    PaymentProvider,
    Reader,
)
from servicekit.pooler import Pooler
from servicekit.settings_reader import PUBLISHED_SECRETS, SettingsError, SettingsReader
from servicekit.smtp_server import SmtpServer

__all__ = [
    "PUBLISHED_SECRETS",
    "SECRETS",
    "Settings",
    "SettingsError",
    "load_crm_pool_size",
    "load_database_url",
    "load_direct_crm_database_url",
    "load_direct_database_url",
    "load_pooler",
    "load_settings",
]

DEFAULT_RETRY_SCHEDULE = "0,5,300,1800,7200,18000,36000,36000" + 8 * ",86400"
"""Seconds: immediately, after 5 s, 5 min, 30 min, 2 h, 5 h, twice 10 h, then daily: nine days in all, so that messages
survive an outage over a long weekend."""

_LONGEST_HOLD = 23 * 60
"""Minutes. A checkout lasts half an hour longer than the hold, and at Stripe at most a day."""


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
    session_max_days: int
    erasure_grace_days: int
    new_network_mail: bool
    password_policy: Literal["contract", "strict"]
    verify_url_template: str | None
    reset_url_template: str | None
    email_change_url_template: str | None
    email_undo_url_template: str | None
    email_verification: Literal["limited", "required"]
    facilitator_registration: Literal["open", "approval", "closed"]
    mfa_required_roles: tuple[str, ...]
    rate_limit_enabled: bool
    write_limit_bookings: int
    write_limit_events: int
    write_limit_series: int
    write_limit_changes: int
    write_limit_messages: int
    write_limit_recipient: int
    write_limit_networks: int
    google_client_id: str | None
    google_client_secret: str | None
    google_discovery_url: str
    google_auth_url: str
    google_token_url: str
    google_revoke_url: str
    google_calendar_api_base: str
    microsoft_client_id: str | None
    microsoft_client_secret: str | None
    microsoft_authority: str
    microsoft_graph_base: str
    oauth_redirect_allowlist: tuple[str, ...]
    token_encryption_keys: tuple[str, ...]
    crm_service_url: str
    crm_bearer_token: str
    backend_service_token: str
    notification_service_url: str | None
    email_service_url: str | None
    smtp_url: SmtpServer | None
    mail_from: str
    mail_smtputf8: bool
    public_url: str
    booking_url_template: str | None
    cors_allowed_origins: tuple[str, ...]
    web_enabled: bool
    default_language: str
    organisation_name: str
    organisation_logo: Path | None
    organisation_colour: str
    organisation_imprint_url: str | None
    organisation_privacy_url: str | None
    default_currency: str
    facilitator_email_public: bool
    payment_provider: PaymentProvider
    sandbox_payments_allowed: bool
    payment_hold_minutes: int
    payment_return_url: str | None
    unpaid_holds_per_account: int
    unpaid_holds_per_coach: int
    api_keys_per_account: int
    attachments_per_account: int
    attachment_megabytes_per_account: int
    stripe_secret_key: str | None
    stripe_webhook_secret: str | None
    stripe_api_base: str
    razorpay_key_id: str | None
    razorpay_key_secret: str | None
    razorpay_webhook_secret: str | None
    razorpay_api_base: str
    delivery_retry_schedule: tuple[int, ...]
    delivery_signing_secrets: tuple[str, ...]
    reminder_offsets: tuple[timedelta, ...]
    change_mail_merge_minutes: int
    delivered_retention_days: int
    dead_letter_retention_days: int
    held_message_retention_days: int
    reminder_retention_days: int
    gateway_payload_retention_days: int
    appointment_history_retention_days: int
    sandbox_order_retention_days: int
    login_retention_days: int
    api_key_retention_days: int
    mail_file_retention_days: int
    audit_retention_days: int
    trusted_proxies: tuple[str, ...]
    metrics_token: str | None
    drain_seconds: int
    worker_probe_port: int
    http_max_connections: int
    http_max_idle_connections: int
    http_max_streams: int
    http_head_bytes: int
    http_head_seconds: int
    http_body_seconds: int
    http_idle_seconds: int
    otel_exporter_otlp_endpoint: str | None
    request_queue_ms: int
    database_pool_size: int
    worker_database_pool_size: int
    database_timeout_seconds: int
    database_pooler: bool
    database_prepared_statements: bool
    database_direct_url: str | None
    database_replica_url: str | None
    database_replica_lag_seconds: int
    log_level: Literal["debug", "info", "warning", "error"]

    @property
    def pooler(self) -> Pooler:
        return Pooler(transactions=self.database_pooler, prepared_statements=self.database_prepared_statements)

    def __repr__(self) -> str:
        shown = (
            f"{name}={'***' if name.upper() in SECRETS else repr(getattr(self, name))}"
            for name in self.__struct_fields__
        )
        return f"Settings({', '.join(shown)})"


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Reads the settings; an empty variable counts as not set. Raises `SettingsError` for the first wrong one.

    Outside the embedded mode (`CONVENE_EMBEDDED`, set by `convene up` for its children) secrets must be given, must
    not be a published example, and have at least 32 bytes. In it they are used as they are.
    """
    read = Reader(environ)
    google_client_id, google_client_secret = read.optional_pair("GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET")
    microsoft_client_id, microsoft_client_secret = read.optional_pair("MICROSOFT_CLIENT_ID", "MICROSOFT_CLIENT_SECRET")
    redirects = read.redirects("OAUTH_REDIRECT_ALLOWLIST")
    token_encryption_keys = read.secrets("TOKEN_ENCRYPTION_KEYS")
    # A client at Google alone is for login: without a redirect allowlist no calendar can be connected.
    if redirects and (google_client_id or microsoft_client_id) and not token_encryption_keys and not read.embedded:
        raise SettingsError(
            "TOKEN_ENCRYPTION_KEYS is not set, but calendars of Google or Microsoft can be connected: "
            "give a random value; `openssl rand -hex 32` makes one"
        )
    mfa_required_roles = read.roles("MFA_REQUIRED_ROLES")
    if mfa_required_roles and not token_encryption_keys and not read.embedded:
        raise SettingsError(
            "TOKEN_ENCRYPTION_KEYS is not set, but MFA_REQUIRED_ROLES is: authenticator apps need a key; "
            "give a random value; `openssl rand -hex 32` makes one"
        )
    stripe_secret_key, stripe_webhook_secret = read.secret_pair("STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET")
    razorpay = read.optional_group("RAZORPAY_KEY_ID", "RAZORPAY_KEY_SECRET", "RAZORPAY_WEBHOOK_SECRET")
    razorpay_key_id, razorpay_key_secret, razorpay_webhook_secret = razorpay or (None, None, None)
    pool_size, pooler = read.whole("DATABASE_POOL_SIZE", "4", 1, 100), read.pooler()
    return Settings(
        database_url=read.database_url("DATABASE_URL"),
        redis_url=read.url("REDIS_URL", None, schemes=("redis", "rediss", "unix")),
        convene_data=Path(read.text("CONVENE_DATA", "var")).absolute(),
        convene_embedded=read.embedded,
        jwt_secret_key=read.secret("JWT_SECRET_KEY", shortest=SHORTEST_SECRET),
        jwt_expires_hours=read.whole("JWT_EXPIRES_HOURS", "24", 1, 24 * 366),
        refresh_token_days=read.whole("REFRESH_TOKEN_DAYS", "30", 1, 3660),
        refresh_token_rotation=read.switch("REFRESH_TOKEN_ROTATION", "true"),
        new_network_mail=read.switch("NEW_NETWORK_MAIL", "true"),
        session_max_days=read.whole("SESSION_MAX_DAYS", "90", 1, 3660),
        erasure_grace_days=read.whole("ERASURE_GRACE_DAYS", "0", 0, 365),
        password_policy=cast(
            Literal["contract", "strict"], read.choice("PASSWORD_POLICY", "contract", ("contract", "strict"))
        ),
        verify_url_template=read.url_template("VERIFY_URL_TEMPLATE", TOKEN, "https://app.example.com/verify?token="),
        reset_url_template=read.url_template("RESET_URL_TEMPLATE", TOKEN, "https://app.example.com/reset?token="),
        email_change_url_template=read.url_template(
            "EMAIL_CHANGE_URL_TEMPLATE", TOKEN, "https://app.example.com/new-email?token="
        ),
        email_undo_url_template=read.url_template(
            "EMAIL_UNDO_URL_TEMPLATE", TOKEN, "https://app.example.com/undo-email?token="
        ),
        email_verification=cast(
            Literal["limited", "required"], read.choice("EMAIL_VERIFICATION", "limited", ("limited", "required"))
        ),
        facilitator_registration=cast(
            Literal["open", "approval", "closed"],
            read.choice("FACILITATOR_REGISTRATION", "open", ("open", "approval", "closed")),
        ),
        mfa_required_roles=mfa_required_roles,
        rate_limit_enabled=read.switch("RATE_LIMIT_ENABLED", "true"),
        write_limit_bookings=read.whole("WRITE_LIMIT_BOOKINGS", "200", 1, 1_000_000),
        write_limit_events=read.whole("WRITE_LIMIT_EVENTS", "500", 1, 1_000_000),
        write_limit_series=read.whole("WRITE_LIMIT_SERIES", "50", 1, 1_000_000),
        write_limit_changes=read.whole("WRITE_LIMIT_CHANGES", "1000", 1, 1_000_000),
        write_limit_messages=read.whole("WRITE_LIMIT_MESSAGES", "200", 1, 1_000_000),
        write_limit_recipient=read.whole("WRITE_LIMIT_RECIPIENT", "200", 1, 1_000_000),
        write_limit_networks=read.whole("WRITE_LIMIT_NETWORKS", "50", 1, 1_000_000),
        google_client_id=google_client_id,
        google_client_secret=google_client_secret,
        google_discovery_url=read.url(
            "GOOGLE_DISCOVERY_URL",
            "https://accounts.google.com/.well-known/openid-configuration",
            schemes=("http", "https"),
        ),
        google_auth_url=read.url(
            "GOOGLE_AUTH_URL", "https://accounts.google.com/o/oauth2/v2/auth", schemes=("http", "https")
        ),
        google_token_url=read.url("GOOGLE_TOKEN_URL", "https://oauth2.googleapis.com/token", schemes=("http", "https")),
        google_revoke_url=read.url(
            "GOOGLE_REVOKE_URL", "https://oauth2.googleapis.com/revoke", schemes=("http", "https")
        ),
        google_calendar_api_base=read.url(
            "GOOGLE_CALENDAR_API_BASE", "https://www.googleapis.com/calendar/v3", schemes=("http", "https")
        ),
        microsoft_client_id=microsoft_client_id,
        microsoft_client_secret=microsoft_client_secret,
        microsoft_authority=read.url(
            "MICROSOFT_AUTHORITY", "https://login.microsoftonline.com/common", schemes=("http", "https")
        ),
        microsoft_graph_base=read.url(
            "MICROSOFT_GRAPH_BASE", "https://graph.microsoft.com/v1.0", schemes=("http", "https")
        ),
        oauth_redirect_allowlist=redirects,
        token_encryption_keys=token_encryption_keys,
        crm_service_url=read.url("CRM_SERVICE_URL", "http://127.0.0.1:5001", schemes=("http", "https")),
        # Their length is the other side's choice: an existing service may have handed out a short one.
        crm_bearer_token=read.secret("CRM_BEARER_TOKEN", shortest=1),
        backend_service_token=read.secret("BACKEND_SERVICE_TOKEN", shortest=1),
        notification_service_url=read.url("NOTIFICATION_SERVICE_URL", "", schemes=("http", "https")) or None,
        email_service_url=read.url("EMAIL_SERVICE_URL", "", schemes=("http", "https")) or None,
        smtp_url=read.smtp_server("SMTP_URL"),
        mail_from=read.mailbox("MAIL_FROM", "Convene <convene@localhost>"),
        mail_smtputf8=read.switch("MAIL_SMTPUTF8", "false"),
        public_url=read.url("PUBLIC_URL", "http://127.0.0.1:5000", schemes=("http", "https")),
        booking_url_template=read.url_template(
            "BOOKING_URL_TEMPLATE", PLACEHOLDER, "https://app.example.com/bookings/"
        ),
        cors_allowed_origins=read.origins("CORS_ALLOWED_ORIGINS"),
        web_enabled=read.switch("WEB_ENABLED", "true"),
        default_language=read.choice("DEFAULT_LANGUAGE", "en", LANGUAGES),
        organisation_name=organisation_name(read),
        organisation_logo=organisation_logo(read),
        organisation_colour=organisation_colour(read),
        organisation_imprint_url=read.address("ORGANISATION_IMPRINT_URL", "") or None,
        organisation_privacy_url=read.address("ORGANISATION_PRIVACY_URL", "") or None,
        default_currency=read.currency("DEFAULT_CURRENCY", "INR"),
        facilitator_email_public=read.switch("FACILITATOR_EMAIL_PUBLIC", "true"),
        payment_provider=read.payment_provider(),
        sandbox_payments_allowed=read.switch("SANDBOX_PAYMENTS_ALLOWED", "false"),
        payment_hold_minutes=read.whole("PAYMENT_HOLD_MINUTES", "30", 1, _LONGEST_HOLD),
        payment_return_url=read.return_url("PAYMENT_RETURN_URL"),
        unpaid_holds_per_account=read.whole("UNPAID_HOLDS_PER_ACCOUNT", "5", 1, 1000),
        unpaid_holds_per_coach=read.whole("UNPAID_HOLDS_PER_COACH", "2", 1, 1000),
        api_keys_per_account=read.whole("API_KEYS_PER_ACCOUNT", "20", 0, 1000),
        attachments_per_account=read.whole("ATTACHMENTS_PER_ACCOUNT", "1000", 0, 1_000_000),
        attachment_megabytes_per_account=read.whole("ATTACHMENT_MEGABYTES_PER_ACCOUNT", "500", 0, 1_000_000),
        stripe_secret_key=stripe_secret_key,
        stripe_webhook_secret=stripe_webhook_secret,
        stripe_api_base=read.url("STRIPE_API_BASE", "https://api.stripe.com", schemes=("http", "https")),
        razorpay_key_id=razorpay_key_id,
        razorpay_key_secret=razorpay_key_secret,
        razorpay_webhook_secret=razorpay_webhook_secret,
        razorpay_api_base=read.url("RAZORPAY_API_BASE", "https://api.razorpay.com", schemes=("http", "https")),
        delivery_retry_schedule=read.seconds("DELIVERY_RETRY_SCHEDULE", DEFAULT_RETRY_SCHEDULE),
        delivery_signing_secrets=read.signing_secrets("DELIVERY_SIGNING_SECRETS"),
        delivered_retention_days=read.days("DELIVERED_RETENTION_DAYS", "30"),
        dead_letter_retention_days=read.days("DEAD_LETTER_RETENTION_DAYS", "365"),
        held_message_retention_days=read.days("HELD_MESSAGE_RETENTION_DAYS", "30"),
        reminder_retention_days=read.days("REMINDER_RETENTION_DAYS", "90"),
        gateway_payload_retention_days=read.days("GATEWAY_PAYLOAD_RETENTION_DAYS", "90"),
        appointment_history_retention_days=read.days("APPOINTMENT_HISTORY_RETENTION_DAYS", "730"),
        sandbox_order_retention_days=read.days("SANDBOX_ORDER_RETENTION_DAYS", "365"),
        login_retention_days=read.days("LOGIN_RETENTION_DAYS", "30"),
        api_key_retention_days=read.days("API_KEY_RETENTION_DAYS", "90"),
        mail_file_retention_days=read.days("MAIL_FILE_RETENTION_DAYS", "30"),
        audit_retention_days=read.days("AUDIT_RETENTION_DAYS", "730"),
        reminder_offsets=read.offsets("REMINDER_OFFSETS", "24h,1h"),
        change_mail_merge_minutes=read.whole("CHANGE_MAIL_MERGE_MINUTES", "5", 0, 60),
        trusted_proxies=read.networks("TRUSTED_PROXIES"),
        metrics_token=read.optional_secret("METRICS_TOKEN"),
        drain_seconds=read.whole("DRAIN_SECONDS", "1", 0, 5),
        worker_probe_port=read.whole("WORKER_PROBE_PORT", "0", 0, 65535),
        http_max_connections=read.whole("HTTP_MAX_CONNECTIONS", "1000", 1, 100_000),
        http_max_idle_connections=read.whole("HTTP_MAX_IDLE_CONNECTIONS", "500", 0, 100_000),
        http_max_streams=read.whole("HTTP_MAX_STREAMS", "1000", 0, 100_000),
        http_head_bytes=read.whole("HTTP_HEAD_BYTES", "32768", 4096, 1024 * 1024),
        http_head_seconds=read.whole("HTTP_HEAD_SECONDS", "10", 1, 300),
        http_body_seconds=read.whole("HTTP_BODY_SECONDS", "20", 1, 3600),
        http_idle_seconds=read.whole("HTTP_IDLE_SECONDS", "5", 1, 3600),
        otel_exporter_otlp_endpoint=read.url("OTEL_EXPORTER_OTLP_ENDPOINT", "", schemes=("http", "https")) or None,
        request_queue_ms=read.whole("REQUEST_QUEUE_MS", "500", 10, 60_000),
        database_pool_size=pool_size,
        # A worker serves every destination at the same time.
        worker_database_pool_size=read.whole("WORKER_DATABASE_POOL_SIZE", str(3 * pool_size), 1, 300),
        database_timeout_seconds=read.whole("DATABASE_TIMEOUT_SECONDS", "4", 1, 30),
        database_pooler=pooler.transactions,
        database_prepared_statements=pooler.prepared_statements,
        database_direct_url=read.optional_database_url("DATABASE_DIRECT_URL"),
        database_replica_url=read.optional_database_url("DATABASE_REPLICA_URL"),
        # With the time between two checks it stays below the ten seconds for which a writer reads from the primary.
        database_replica_lag_seconds=read.whole("DATABASE_REPLICA_LAG_SECONDS", "5", 1, 7),
        log_level=cast(
            Literal["debug", "info", "warning", "error"],
            read.choice("LOG_LEVEL", "info", ("debug", "info", "warning", "error")),
        ),
    )


def load_database_url(environ: Mapping[str, str]) -> str:
    """Only DATABASE_URL, for commands that need no other setting."""
    return Reader(environ).database_url("DATABASE_URL")


def load_pooler(environ: Mapping[str, str]) -> Pooler:
    """How DATABASE_URL is reached, for the same commands."""
    return Reader(environ).pooler()


def load_crm_pool_size(environ: Mapping[str, str]) -> int:
    """CRM_DATABASE_POOL_SIZE, for the command that counts the connections of both services."""
    return Reader(environ).whole("CRM_DATABASE_POOL_SIZE", "4", 1, 100)


def load_direct_database_url(environ: Mapping[str, str]) -> str:
    """The address of the database for the command that migrates. Raises `SettingsError` if only a pooler's is known."""
    return Reader(environ).direct_database_url("DATABASE_URL", "DATABASE_DIRECT_URL")


def load_direct_crm_database_url(environ: Mapping[str, str]) -> str | None:
    """As `load_direct_database_url`, for the database of the CRM. None if CRM_DATABASE_URL is not set."""
    names = "CRM_DATABASE_URL", "CRM_DATABASE_DIRECT_URL"
    read = SettingsReader(environ, frozenset(names), lambda _: "name the database of the CRM")
    return read.direct_database_url(*names) if read.text(names[0], "") else None
