"""docs/privacy.md lists every column that can have personal data."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from infrastructure.container.erasure import STATEMENTS
from infrastructure.postgres.accounts.personal_data_queries import SECTIONS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "privacy.md").read_text(encoding="utf-8")
SERVICES = {"booking-api": "Booking API", "crm": "CRM"}

IMPERSONAL = {
    *("currency", "dispute", "kind", "payment_status", "refund_policy", "status"),
    *("action", "category", "change", "event_type", "fact", "outcome", "requested_role", "role", "state", "why"),
    *("destination", "gateway", "lane", "media_type", "provider", "result"),
    *("actor_kind", "cancel_reason", "end_reason", "ended_by", "object_id", "object_kind"),
    *("anchor_hash", "hash", "head_hash", "previous_hash"),
    *("key", "message_id", "order_id", "owner", "reference", "request", "request_id"),
    *("oldest_code", "version_num", "uid_domain", "what"),
}
"""Names of columns with text that no person has entered and that identifies nobody by itself. An id identifies a row:
the page lists what the row has."""
IMPERSONAL_OF = {
    *("recovery_codes.fingerprint", "login_tickets.fingerprint", "login_tickets.login"),
    *("calendar_feeds.fingerprint", "account_tokens.fingerprint", "refresh_tokens.fingerprint"),
    *("api_keys.fingerprint", "api_keys.prefix", "api_keys.revoke_reason", "api_keys.scopes"),
    *("oauth_attempts.browser", "oauth_attempts.nonce", "oauth_attempts.state", "oauth_attempts.verifier"),
    *("coaches.refund_policy", "destinations.name", "disputes.id", "gateway_events.id", "reminders.reason"),
    "change_mails.reason",
    *("refunds.gateway_refund_id", "sandbox_orders.id", "sandbox_orders.refunds"),
}
"""The same for columns of one table: random secrets, and words of the program."""
WITHOUT_TEXT = re.compile(r"(bigint|integer|smallint|numeric|boolean|uuid|interval|date|timestamp)\b")
"""Types of columns with numbers, times and ids only. Every other one can have text."""

EXPORT, ERASURE = 3, 4
"""Columns of the page."""


def listed(service: str, column: int = EXPORT) -> Mapping[str, str]:
    """The cell of this column of the page, by `table.column`; empty if there is none."""
    section = PAGE.partition(f"## {SERVICES[service]}\n")[2].partition("\n## ")[0]
    found: dict[str, str] = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if tables := re.findall(r"`(\w+)`", cells[0]):
            cell = cells[column] if column < len(cells) else ""
            found |= {f"{tables[0]}.{name}": cell for name in re.findall(r"`(\w+)`", cells[1])}
    return found


def columns_with_text(service: str) -> Iterator[str]:
    path = ROOT / "tests" / "architecture" / "golden" / f"database-{service}.json"
    golden: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for table, description in golden["tables"].items():
        for column, type_ in description["columns"].items():
            if not WITHOUT_TEXT.match(type_):
                yield f"{table}.{column}"


def unlisted(service: str, columns: Iterator[str]) -> set[str]:
    known = listed(service)
    return {
        name
        for name in columns
        if name not in known and name not in IMPERSONAL_OF and name.partition(".")[2] not in IMPERSONAL
    }


@pytest.mark.parametrize("service", SERVICES)
def test_every_column_with_personal_data_is_listed(service: str) -> None:
    assert unlisted(service, columns_with_text(service)) == set()
    assert unlisted(service, iter(["users.nickname"])) == {"users.nickname"}


@pytest.mark.parametrize("service", SERVICES)
def test_page_lists_columns_that_exist(service: str) -> None:
    assert listed(service).keys() <= set(columns_with_text(service))


def test_exceptions_are_needed() -> None:
    every = [name for service in SERVICES for name in columns_with_text(service)]
    assert set(every) >= IMPERSONAL_OF
    assert {name.partition(".")[2] for name in every} >= IMPERSONAL


def test_page_has_the_sections_of_an_export() -> None:
    sentence = PAGE.partition("with an array: ")[2].partition(". Times")[0]
    assert re.findall(r"`(\w+)`", sentence) == list(SECTIONS)


def test_page_names_the_section_of_each_exported_column() -> None:
    for column, cell in listed("booking-api").items():
        section = re.match(r"`(\w+)`", cell)
        assert cell.startswith("no") or (section and section[1] in SECTIONS), (column, cell)


@pytest.mark.parametrize("service", SERVICES)
def test_page_says_what_erasure_does_with_each_column(service: str) -> None:
    assert [name for name, cell in listed(service, ERASURE).items() if not cell] == []


TABLE = re.compile(r"(?:UPDATE|DELETE FROM) (\w+)")


def test_every_table_with_personal_data_is_erased_or_kept_for_a_reason() -> None:
    """The page and the statements agree."""
    erased = {table for statement in STATEMENTS for table in TABLE.findall(statement)}
    cells = listed("booking-api", ERASURE)
    kept = {name.partition(".")[0] for name, cell in cells.items() if cell.startswith("nothing: ")}
    with_connection = {"calendar_entries"}
    assert {name.partition(".")[0] for name in cells} - erased - with_connection == kept
