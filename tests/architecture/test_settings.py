"""The settings: parsed once, wrong ones named in one line, secrets never shown."""

from datetime import timedelta
from pathlib import Path

import pytest

from infrastructure.settings import PUBLISHED_SECRETS, SECRETS, Settings, SettingsError, load_settings

GOOD = {
    "DATABASE_URL": "postgresql://u:pass-word@db:5432/convene",
    "REDIS_URL": "redis://redis:6379/0",
    "JWT_SECRET_KEY": "j" * 32,
    "CRM_BEARER_TOKEN": "a-token",
    "BACKEND_SERVICE_TOKEN": "another-token",
}


def test_defaults_are_as_designed() -> None:
    settings = load_settings(GOOD)
    assert settings.jwt_expires_hours == 24
    assert settings.delivery_retry_schedule == (0, 5, 300, 1800, 7200, 18000, 36000, 36000, *[86400] * 8)
    assert sum(settings.delivery_retry_schedule) > 8.9 * 86400
    assert settings.trusted_proxies == ()
    assert settings.smtp_url is None
    assert settings.convene_data == Path("var").absolute()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql+asyncpg"])
def test_other_postgresql_url_schemes_are_accepted(scheme: str) -> None:
    settings = load_settings(GOOD | {"DATABASE_URL": f"{scheme}://u@db/convene"})
    assert settings.database_url == "postgresql://u@db/convene"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", ""),
        ("DATABASE_URL", "sqlite:///booking_system.db"),
        ("DATABASE_URL", "postgresql://db:5432"),
        ("DATABASE_URL", "postgresql://db:port/convene"),
        ("REDIS_URL", "memcached://x"),
        ("REDIS_URL", ""),
        ("JWT_SECRET_KEY", ""),
        ("JWT_SECRET_KEY", "j" * 31),
        ("JWT_EXPIRES_HOURS", "0"),
        ("JWT_EXPIRES_HOURS", "²"),
        ("JWT_EXPIRES_HOURS", "9" * 5000),
        ("REFRESH_TOKEN_ROTATION", "maybe"),
        ("PASSWORD_POLICY", "lax"),
        ("FACILITATOR_REGISTRATION", "ask"),
        ("CRM_SERVICE_URL", "localhost:5001"),
        ("CRM_SERVICE_URL", "http://[::1"),
        ("CRM_SERVICE_URL", "http://user:password@crm.example"),
        ("CRM_BEARER_TOKEN", ""),
        ("BACKEND_SERVICE_TOKEN", ""),
        ("SMTP_URL", "mail.example.com"),
        ("MAIL_FROM", "nobody"),
        ("MAIL_FROM", "a@b.example\nBcc: c@d.example"),
        ("CORS_ALLOWED_ORIGINS", "app.example.com"),
        ("CORS_ALLOWED_ORIGINS", "https://app.example.com/path"),
        ("DEFAULT_CURRENCY", "rupee"),
        ("WEB_ENABLED", "perhaps"),
        ("DEFAULT_LANGUAGE", "xx"),
        ("ORGANISATION_NAME", "n" * 61),
        ("ORGANISATION_LOGO", "/nowhere/logo.svg"),
        ("ORGANISATION_LOGO", "pyproject.toml"),
        ("ORGANISATION_COLOUR", "green"),
        ("ORGANISATION_COLOUR", "#7fd1b9"),
        ("ORGANISATION_IMPRINT_URL", "example.com/imprint"),
        ("PAYMENT_PROVIDER", "stripe"),
        ("PAYMENT_PROVIDER", "paypal"),
        ("PAYMENT_PROVIDER", "sandbox"),
        ("PAYMENT_HOLD_MINUTES", "1381"),
        ("PAYMENT_HOLD_MINUTES", "0"),
        ("SANDBOX_PAYMENTS_ALLOWED", "perhaps"),
        ("STRIPE_API_BASE", "api.stripe.com"),
        ("DELIVERY_RETRY_SCHEDULE", "0,five"),
        ("DELIVERY_RETRY_SCHEDULE", ","),
        ("DELIVERY_SIGNING_SECRETS", "whsec_tiny"),
        ("DELIVERY_SIGNING_SECRETS", "not base64, but 32 bytes or longer"),
        ("DELIVERY_SIGNING_SECRETS", "whsec_" + "k" * 43),
        ("TRUSTED_PROXIES", "proxy.local"),
        ("DATABASE_POOL_SIZE", "-1"),
        ("LOG_LEVEL", "loud"),
    ],
)
def test_invalid_setting_is_named_in_one_line(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        load_settings(GOOD | {name: value})
    text = str(refusal.value)
    assert text.startswith(name)
    assert "\n" not in text
    if name in SECRETS and value:
        assert value not in text


@pytest.mark.parametrize("name", ["JWT_SECRET_KEY", "CRM_BEARER_TOKEN", "BACKEND_SERVICE_TOKEN"])
@pytest.mark.parametrize("value", sorted(PUBLISHED_SECRETS))
def test_published_secret_is_rejected_outside_the_embedded_mode(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name} is an example"):
        load_settings(GOOD | {name: value})


def test_stripe_needs_both_secrets() -> None:
    pair = {"STRIPE_SECRET_KEY": "sk_test_secret", "STRIPE_WEBHOOK_SECRET": "whsec_secret"}
    assert load_settings(GOOD | pair | {"PAYMENT_PROVIDER": "stripe"}).stripe_secret_key == "sk_test_secret"
    assert load_settings(GOOD).stripe_secret_key is None
    for name in pair:
        with pytest.raises(SettingsError, match=rf"^{name} is not set, but .* both or neither") as refusal:
            load_settings(GOOD | pair | {name: ""})
        assert "secret" not in str(refusal.value)
    with pytest.raises(SettingsError, match=r"^STRIPE_WEBHOOK_SECRET is an example"):
        load_settings(GOOD | pair | {"STRIPE_WEBHOOK_SECRET": "your-stripe-webhook-secret"})


def test_sandbox_needs_the_embedded_mode_or_explicit_permission() -> None:
    sandbox = {"PAYMENT_PROVIDER": "sandbox"}
    with pytest.raises(SettingsError, match="set SANDBOX_PAYMENTS_ALLOWED=true for a test system"):
        load_settings(GOOD | sandbox | {"SANDBOX_PAYMENTS_ALLOWED": "false"})
    assert load_settings(GOOD | sandbox | {"SANDBOX_PAYMENTS_ALLOWED": "true"}).payment_provider == "sandbox"
    assert load_settings(GOOD).payment_provider == "offline"
    assert load_settings(GOOD | {"CONVENE_EMBEDDED": "1"}).payment_provider == "sandbox"


def test_embedded_mode_uses_given_secrets_unchanged() -> None:
    given = GOOD | {"CONVENE_EMBEDDED": "1", "JWT_SECRET_KEY": "jwtsecretkey", "CRM_BEARER_TOKEN": "super-crm-token"}
    assert load_settings(given).crm_bearer_token == "super-crm-token"


def test_secret_can_be_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k" * 40 + "\n")
    given = {name: value for name, value in GOOD.items() if name != "JWT_SECRET_KEY"}
    assert load_settings(given | {"JWT_SECRET_KEY_FILE": str(tmp_path / "key")}).jwt_secret_key == "k" * 40
    with pytest.raises(SettingsError, match="JWT_SECRET_KEY and JWT_SECRET_KEY_FILE are both set"):
        load_settings(GOOD | {"JWT_SECRET_KEY_FILE": str(tmp_path / "key")})
    with pytest.raises(SettingsError, match=r"JWT_SECRET_KEY_FILE: .*cannot be read"):
        load_settings(given | {"JWT_SECRET_KEY_FILE": str(tmp_path / "absent")})


def test_printed_settings_contain_no_secret() -> None:
    shown = repr(load_settings(GOOD))
    assert "jwt_secret_key=***" in shown
    assert not any(GOOD[name] in shown for name in GOOD)
    assert {name.lower() for name in SECRETS} <= set(Settings.__struct_fields__)


def test_required_second_factors_name_roles_and_need_a_key() -> None:
    keys = {"TOKEN_ENCRYPTION_KEYS": "n" * 32}
    assert load_settings(GOOD).mfa_required_roles == ()
    roles = {"MFA_REQUIRED_ROLES": "admin, facilitator"}
    assert load_settings(GOOD | keys | roles).mfa_required_roles == ("admin", "facilitator")
    with pytest.raises(SettingsError, match="'root' is no role, give some of user, facilitator, admin"):
        load_settings(GOOD | keys | {"MFA_REQUIRED_ROLES": "root"})
    with pytest.raises(SettingsError, match="TOKEN_ENCRYPTION_KEYS"):
        load_settings(GOOD | roles)


@pytest.mark.parametrize("provider", ["GOOGLE", "MICROSOFT"])
def test_calendar_clients_require_token_encryption_keys(provider: str) -> None:
    client = {f"{provider}_CLIENT_ID": "id", f"{provider}_CLIENT_SECRET": "the secret"}
    assert load_settings(GOOD | client).token_encryption_keys == ()
    client |= {"OAUTH_REDIRECT_ALLOWLIST": "https://a.example/done"}
    with pytest.raises(SettingsError, match=r"^TOKEN_ENCRYPTION_KEYS is not set, but calendars"):
        load_settings(GOOD | client)
    keys = "n" * 32 + ", " + "o" * 32
    assert load_settings(GOOD | client | {"TOKEN_ENCRYPTION_KEYS": keys}).token_encryption_keys == ("n" * 32, "o" * 32)
    with pytest.raises(SettingsError, match=r"^TOKEN_ENCRYPTION_KEYS is shorter than 32 bytes"):
        load_settings(GOOD | client | {"TOKEN_ENCRYPTION_KEYS": "n" * 32 + ",short"})


@pytest.mark.parametrize(
    "address", ["app.example.com/done", "https:///done", "https://a.example/done#top", "ftp://a.b"]
)
def test_invalid_redirect_address_is_named(address: str) -> None:
    with pytest.raises(SettingsError, match=r"^OAUTH_REDIRECT_ALLOWLIST: .* is no address"):
        load_settings(GOOD | {"OAUTH_REDIRECT_ALLOWLIST": f"https://a.example/done,{address}"})


@pytest.mark.parametrize(
    ("value", "hours"),
    [
        ("", [24, 1]),
        ("  ", [24, 1]),
        ("24h,1h", [24, 1]),
        ("1h , 24h", [24, 1]),
        ("90m", [1.5]),
        ("2d,48h,60m,1h", [48, 1]),
        ("366d", [366 * 24]),
        ("none", []),
        ("NONE", []),
    ],
)
def test_reminder_offsets_are_sorted_and_unique(value: str, hours: list[float]) -> None:
    offsets = load_settings(GOOD | {"REMINDER_OFFSETS": value}).reminder_offsets
    assert [offset / timedelta(hours=1) for offset in offsets] == hours


@pytest.mark.parametrize(
    "value",
    [
        *("24", "h", "24 h", "1.5h", "-1h", "+1h", "0h", "01h", "24H", "1w", "30s", "1h,", ",", "1h,,2h", "1h;2h"),
        *(
            "none,1h",
            "367d",
            "9999d",
            "99999m",
            "1e3h",
            "²h",
            "1h\u00a02h",
            ",".join(f"{each}h" for each in range(1, 12)),
        ),
    ],
)
def test_invalid_reminder_offsets_are_named(value: str) -> None:
    with pytest.raises(SettingsError, match=r"^REMINDER_OFFSETS is .*: give up to 10 times such as 7d,24h,30m"):
        load_settings(GOOD | {"REMINDER_OFFSETS": value})


def test_signing_secret_is_base64_also_in_the_embedded_mode() -> None:
    embedded = GOOD | {"CONVENE_EMBEDDED": "1"}
    for secret in ("not base64!", "whsec_", "whsec_" + "k" * 43):
        with pytest.raises(
            SettingsError, match=r"^DELIVERY_SIGNING_SECRETS has a secret that is not base64"
        ) as refusal:
            load_settings(embedded | {"DELIVERY_SIGNING_SECRETS": f"a2V5,{secret}"})
        assert secret not in str(refusal.value).replace("whsec_ before", "")
    hexadecimal = "0123456789abcdef" * 4
    assert load_settings(GOOD | {"DELIVERY_SIGNING_SECRETS": hexadecimal}).delivery_signing_secrets == (hexadecimal,)


@pytest.mark.parametrize("address", ["https://app.example.com", "http://localhost:3000/?a=1#/paid/"])
def test_payment_return_url_is_kept_unchanged(address: str) -> None:
    """Also with query parameters, a fragment and a slash at its end."""
    assert load_settings(GOOD | {"PAYMENT_RETURN_URL": address}).payment_return_url == address
    assert load_settings(GOOD).payment_return_url is None


@pytest.mark.parametrize(
    "address",
    [
        "app.example.com/paid",
        "https:///paid",
        "ftp://app.example.com",
        "https://user:password@app.example.com",
        "https://app.example.com/büro",
        "https://app.example.com/a b",
    ],
)
def test_invalid_payment_return_url_is_named(address: str) -> None:
    """One line that names the setting."""
    with pytest.raises(SettingsError, match=r"^PAYMENT_RETURN_URL is no address"):
        load_settings(GOOD | {"PAYMENT_RETURN_URL": address})


@pytest.mark.parametrize(
    "template",
    [
        "https://app.example.com/bookings/{reference}",
        "http://localhost:3000/#/b/{reference}",
        "https://app.example.com/?a=1&ref={reference}&again={reference}",
    ],
)
def test_booking_url_template_has_a_placeholder(template: str) -> None:
    """The template is kept as it is given, also with a slash or a fragment at its end."""
    assert load_settings(GOOD | {"BOOKING_URL_TEMPLATE": template}).booking_url_template == template
    assert load_settings(GOOD).booking_url_template is None


@pytest.mark.parametrize(
    "template",
    [
        "https://app.example.com/bookings",
        "https://app.example.com/bookings/{id}",
        "https://app.example.com/{reference}/{id}",
        "https://app.example.com/{reference",
        "https://app.example.com/{{reference}}",
        "https://{reference}.example.com/",
        "https://app.example.com:{reference}/",
        "{reference}",
        "javascript:alert({reference})",
        "https://user:password@app.example.com/{reference}",
        "https://app.example.com/a b/{reference}",
        "https://app.example.com/büro/{reference}",
        "https://app.example.com/" + "a" * 2000 + "{reference}",
    ],
)
def test_invalid_booking_url_template_is_rejected(template: str) -> None:
    """One line that names the setting and shows how a template is written."""
    with pytest.raises(SettingsError, match=r"^BOOKING_URL_TEMPLATE .*\{reference\}") as refused:
        load_settings(GOOD | {"BOOKING_URL_TEMPLATE": template})
    assert "\n" not in str(refused.value)
