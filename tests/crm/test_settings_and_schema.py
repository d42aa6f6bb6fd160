import asyncio
import json
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from crm.migrations import downgrade, upgrade
from crm.settings import SettingsError, load_settings
from infrastructure.embedded import EmbeddedPostgres
from tests.crm.parts import a_message, connected

GIVEN = {"CRM_DATABASE_URL": "postgresql://convene@/crm?host=/tmp/s", "CRM_BEARER_TOKEN": "a-long-random-token"}
TABLES = {
    *("notifications", "facilitators", "facilitator_events", "crm_bookings", "crm_booking_deliveries", "erased_users"),
}
_numbers = count(1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CRM_BEARER_TOKEN", ""),
        ("CRM_BEARER_TOKEN", "crmsecrettoken"),
        ("CRM_BEARER_TOKEN", "two words"),
        ("CRM_DATABASE_URL", ""),
        ("CRM_DATABASE_URL", "mysql://h/crm"),
        ("CRM_DATABASE_URL", "postgresql://h"),
        ("SMTP_URL", "http://mail:secret-word@h"),
        ("SMTP_URL", "smtp://"),
        ("SMTP_URL", "smtp://h:port"),
        ("SMTP_URL", "smtp://h?colour=red"),
        ("SMTP_URL", "smtps://h?starttls=1"),
        ("MAIL_FROM", "nobody"),
        ("CRM_NOTIFICATIONS_SHAPE", "tree"),
        ("CRM_SIGNING_SECRETS", "whsec_"),
        ("CRM_SIGNING_SECRETS", "whsec_a secret-word that is no base64"),
        ("LOG_LEVEL", "loud"),
        ("CRM_WEBHOOK_SECRET", "crmsecrettoken"),
        ("CRM_WEBHOOK_SECRET", "two words"),
        ("FORWARD_FLASK_TOKEN", "forwardsecrettoken"),
        ("BACKEND_SERVICE_TOKEN", "backend-service-token-here"),
        ("BOOKING_API_URL", "localhost:5000"),
        ("FORWARD_FLASK_URL", "ftp://h"),
        ("FORWARD_FLASK_URL", "http://"),
        ("FORWARD_FLASK_URL", "http://h:port"),
        ("FORWARD_FLASK_URL", "http://user:secret-word@h"),
    ],
)
def test_invalid_setting_is_named_in_one_line_without_secrets(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name) as caught:
        load_settings({**GIVEN, "FORWARD_FLASK_TOKEN": "a-long-random-token", name: value})
    assert "\n" not in str(caught.value)
    assert "secret-word" not in str(caught.value)


def test_example_tokens_are_for_the_embedded_mode_only() -> None:
    example = {**GIVEN, "CRM_BEARER_TOKEN": "super-crm-token", "CONVENE_EMBEDDED": "1"}
    assert load_settings(example).bearer_token == "super-crm-token"


def test_secret_can_be_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-the-file\n")
    given = {"CRM_DATABASE_URL": GIVEN["CRM_DATABASE_URL"], "CRM_BEARER_TOKEN_FILE": str(tmp_path / "token")}
    assert load_settings(given).bearer_token == "from-the-file"
    with pytest.raises(SettingsError, match="CRM_BEARER_TOKEN_FILE"):
        load_settings({**given, "CRM_BEARER_TOKEN_FILE": str(tmp_path / "nowhere")})


def test_forwarding_needs_the_token_of_its_receiver() -> None:
    with pytest.raises(SettingsError, match="FORWARD_FLASK_TOKEN is not set"):
        load_settings({**GIVEN, "FORWARD_FLASK_URL": "http://localhost:6000/receive"})


def test_webhook_secret_defaults_to_the_bearer_token() -> None:
    assert load_settings(GIVEN).webhook_token == GIVEN["CRM_BEARER_TOKEN"]
    assert load_settings({**GIVEN, "CRM_WEBHOOK_SECRET": "of-its-own"}).webhook_token == "of-its-own"


def test_payments_are_reported_to_the_booking_api_url() -> None:
    assert load_settings(GIVEN).payments is None
    payments = load_settings(
        {**GIVEN, "BACKEND_SERVICE_TOKEN": "b", "BOOKING_API_URL": "https://api.example.com/"}
    ).payments
    assert payments is not None
    assert payments.url == "https://api.example.com/service/offline-payments"
    assert repr(payments) == "Receiver(https://api.example.com/service/offline-payments)"


def test_smtp_addresses() -> None:
    plain = load_settings({**GIVEN, "SMTP_URL": "smtp://u%40x:p%2Fw@mail:2525?starttls=1"}).smtp
    assert plain is not None
    assert (plain.username, plain.password, plain.port, plain.starttls) == ("u@x", "p/w", 2525, True)
    tls = load_settings({**GIVEN, "SMTP_URL": "smtps://mail"}).smtp
    assert tls is not None
    assert (tls.port, tls.tls) == (465, True)


def test_settings_are_printed_without_secrets() -> None:
    printed = repr(load_settings({**GIVEN, "SMTP_URL": "smtp://u:secret-word@h"}))
    assert "secret-word" not in printed
    assert GIVEN["CRM_BEARER_TOKEN"] not in printed


@pytest.fixture
def bare_dsn(postgres: EmbeddedPostgres) -> str:
    name = f"crm_schema_{next(_numbers)}"
    postgres.execute(f"CREATE DATABASE {name} OWNER convene")
    return postgres.dsn(name)


async def _tables(dsn: str) -> set[str]:
    async with connected(dsn) as connection:
        rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {row["tablename"] for row in rows}


async def test_concurrent_and_repeated_migrations_run_once(bare_dsn: str) -> None:
    await asyncio.gather(*(asyncio.to_thread(upgrade, bare_dsn) for _ in range(3)))
    await asyncio.to_thread(upgrade, bare_dsn)
    assert await _tables(bare_dsn) == TABLES | {"crm_schema_version"}


async def test_schema_is_downgraded_and_upgraded_again(bare_dsn: str) -> None:
    await asyncio.to_thread(upgrade, bare_dsn)
    await asyncio.to_thread(downgrade, bare_dsn)
    assert await _tables(bare_dsn) == {"crm_schema_version"}
    await asyncio.to_thread(upgrade, bare_dsn)
    assert await _tables(bare_dsn) > TABLES


async def test_migration_adds_events_of_earlier_notifications(bare_dsn: str) -> None:
    await asyncio.to_thread(upgrade, bare_dsn)
    await asyncio.to_thread(downgrade, bare_dsn, "0001")
    event = a_message()["event"]
    odd: tuple[dict[str, Any], ...] = {"id": "seven"}, {"id": 1.5}, {"id": 10**18 * 9}, {}
    states = [{**event, "version": 4, "current_participants": 4}, {**event, "version": 3}, {"id": 2}, *odd]
    async with connected(bare_dsn) as connection:
        for state in states:
            await connection.execute(
                "INSERT INTO notifications (body, status, facilitator_id) VALUES ($1, 'skipped', 2)",
                json.dumps(a_message(event=state)),
            )
        await asyncio.to_thread(upgrade, bare_dsn)
        known = await connection.fetch("SELECT id, bookings_count, max_participants, version FROM facilitator_events")
    assert sorted(map(tuple, known)) == [(1, 4, 10, 4), (2, None, None, 0)]
