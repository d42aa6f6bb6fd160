"""Every method of a unit of work that writes is decided on: it records an entry in the audit log, or there is a reason
not to. So a use case has nothing to forget."""

import inspect
import typing
from collections.abc import Mapping
from types import ModuleType

import pytest

from application.unit_of_work import UnitOfWork
from infrastructure.postgres.accounts import api_keys, credentials, repository, second_factors
from infrastructure.postgres.appointments import repository as appointments
from infrastructure.postgres.bookings import repository as bookings
from infrastructure.postgres.erasure import repository as erasures
from infrastructure.postgres.events import repository as events
from infrastructure.postgres.payments import refunds
from tests.support.memory import accounts as memory_accounts
from tests.support.memory import api_keys as memory_api_keys
from tests.support.memory import appointments as memory_appointments
from tests.support.memory import bookings as memory_bookings
from tests.support.memory import erasure as memory_erasure
from tests.support.memory import events as memory_events
from tests.support.memory import payments as memory_payments
from tests.support.memory import second_factors as memory_second_factors

RECORDED = {
    "users": {"add", "add_external", "add_without_password", "change_email", "save", "set_password"},
    "logins": {"start", "end"},
    "access": {"revoke"},
    "erasures": {"add", "withdraw"},
    "api_keys": {"add", "revoke"},
    "second_factors": {
        "add_passkey",
        "confirm_totp",
        "rename",
        "remove",
        "replace_recovery_codes",
        "use_recovery_code",
    },
    "events": {"add", "save"},
    "bookings": {"save"},
    "appointments": {"save"},
    "refunds": {"add", "add_processed"},
}
"""Repository: the methods that record an entry. tests/application/test_audit_log.py has what they record."""

NOT_RECORDED: Mapping[str, Mapping[str, set[str]]] = {
    "a link of a mail, whose use is recorded": {"account_tokens": {"add", "renew", "revoke", "revoke_younger", "use"}},
    "part of a login, which is recorded": {
        "logins": {"add_refresh", "record_use", "revoke_refresh"},
        "login_networks": {"remember"},
        "login_tickets": {"add", "take_attempt", "use"},
        "second_factors": {"use_passkey", "use_totp"},
    },
    "no factor until it is confirmed, which is recorded": {"second_factors": {"add_totp"}},
    "part of a change of the account, which is recorded": {
        "erasures": {"begin"},
        "profiles": {"add"},
        "events": {"set_facilitator_active"},
        "bookings": {"end_holds"},
        "appointments": {"end_holds"},
    },
    "the end of an event or a seat's count, by a rule": {"events": {"complete_ended", "occupy_seat", "release_seat"}},
    "a client's own booking, which has its history and messages": {
        "bookings": {"add_invited"},
        "invitations": {"add", "save"},
        "appointments": {"add"},
        "attachments": {"add", "remove"},
        "reviews": {"add"},
    },
    "what a gateway reports, which the payment has; the request of a refund is recorded": {
        "payments": {"add_for_appointments", "add_paid_on_the_spot", "record_mismatch", "save"},
        "refunds": {"end_by_dispute", "release", "settle"},
        "disputes": {"save"},
        "gateway_events": {"add", "record_result"},
    },
    "a coach's hours and terms": {"coaches": {"save"}},
    "a queue of the worker": {
        "reminders": {"claim_due", "queue", "skip"},
        "change_mails": {"queue_for_appointment", "queue_for_event"},
    },
    "an account's own calendars, whose revocation is part of a recorded one": {
        "calendars": {"forget", "forget_entry", "give_up", "keep", "keep_entry", "keep_tokens", "lease_refresh"},
    },
}

READS = ("get", "find", "has_", "count", "waiting", "usage", "busy", "first_arrival", "report", "of", "lock")
APART = {"messages", "audit"}
"""The outbox, whose messages follow from recorded changes; the trail itself."""

ADAPTERS: Mapping[str, tuple[ModuleType, ModuleType]] = {
    "users": (repository, memory_accounts),
    "logins": (repository, memory_accounts),
    "access": (credentials, memory_accounts),
    "erasures": (erasures, memory_erasure),
    "api_keys": (api_keys, memory_api_keys),
    "second_factors": (second_factors, memory_second_factors),
    "events": (events, memory_events),
    "bookings": (bookings, memory_bookings),
    "appointments": (appointments, memory_appointments),
    "refunds": (refunds, memory_payments),
}


def methods() -> set[tuple[str, str]]:
    """Of the repositories, those that write."""
    return {
        (name, method)
        for name, port in typing.get_type_hints(UnitOfWork).items()
        if name not in APART
        for method, _ in inspect.getmembers(port, inspect.isfunction)
        if not method.startswith(("_", *READS))
    }


def test_every_write_is_decided_on() -> None:
    recorded = {(name, method) for name, found in RECORDED.items() for method in found}
    others = [
        (name, method)
        for repositories in NOT_RECORDED.values()
        for name, found in repositories.items()
        for method in found
    ]
    assert methods() == recorded | set(others)
    assert not recorded & set(others)
    assert len(others) == len(set(others))


@pytest.mark.parametrize("name", RECORDED)
def test_adapters_record_what_is_decided(name: str) -> None:
    """Both classes get the trail of their unit of work."""
    for adapter, prefix in zip(ADAPTERS[name], ("Postgres", "Memory"), strict=True):
        found: type = getattr(adapter, prefix + name.title().replace("_", ""))
        assert "audit" in inspect.signature(found).parameters
