"""What the worker deletes, and when: docs/operations/retention.md."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial

from application.audit.chain import PruneAuditLog
from application.idempotency import PruneIdempotencyKeys
from domain.credentials import KNOWN_NETWORK_LIFETIME
from domain.unverified_mail import PER
from infrastructure.gateways.sandbox import PRUNE_SANDBOX_ORDERS
from infrastructure.postgres.accounts.account_tokens import PRUNE_ACCOUNT_TOKENS
from infrastructure.postgres.accounts.api_keys import PRUNE_API_KEYS
from infrastructure.postgres.accounts.login_networks import PRUNE_NETWORKS
from infrastructure.postgres.accounts.login_tickets import PRUNE_LOGIN_TICKETS
from infrastructure.postgres.accounts.retention import PRUNE_LOGINS, PRUNE_REFRESH_TOKENS
from infrastructure.postgres.accounts.second_factors import PRUNE_ENROLMENTS
from infrastructure.postgres.accounts.unverified_addresses import PRUNE_UNVERIFIED_MAILS
from infrastructure.postgres.appointments.history import PRUNE_CHANGES
from infrastructure.postgres.audit.chain import PostgresAuditChain
from infrastructure.postgres.bookings.invitations import PRUNE_INVITATIONS
from infrastructure.postgres.engine import Database
from infrastructure.postgres.idempotency import PostgresIdempotencyKeys
from infrastructure.postgres.live_updates import PRUNE_LIVE_UPDATES
from infrastructure.postgres.live_updates import RETENTION as LIVE_UPDATES_RETENTION
from infrastructure.postgres.outbox.retention import PRUNE_DEAD_LETTERS, PRUNE_HELD, PRUNE_MESSAGES, PRUNE_MINUTES
from infrastructure.postgres.payments.retention import REDUCE_GATEWAY_EVENTS
from infrastructure.postgres.reminders.retention import PRUNE_REMINDERS
from infrastructure.settings import Settings
from servicekit.retention import Count, Pruning, Rule

Prune = Callable[[timedelta], Awaitable[int]]
"""Prunes what expired at least the given time ago; returns the number."""

_MINUTES_RETENTION = timedelta(hours=1)
_TOKENS_RETENTION = timedelta(days=1)


def rules(settings: Settings) -> Sequence[Rule]:
    """Without those whose setting is 0 days."""
    days = timedelta(days=1)
    delivered, logins = settings.delivered_retention_days * days, settings.login_retention_days * days
    # An access token needs the row of its login, and may outlive the refresh token that it was issued with.
    access = timedelta(hours=settings.jwt_expires_hours)
    configured = [
        Rule("messages", PRUNE_MESSAGES, delivered),
        Rule("invitations", PRUNE_INVITATIONS, delivered),
        Rule("dead_letters", PRUNE_DEAD_LETTERS, settings.dead_letter_retention_days * days),
        Rule("held_messages", PRUNE_HELD, settings.held_message_retention_days * days),
        Rule("reminders", PRUNE_REMINDERS, settings.reminder_retention_days * days),
        Rule("gateway_payloads", REDUCE_GATEWAY_EVENTS, settings.gateway_payload_retention_days * days),
        Rule("appointment_history", PRUNE_CHANGES, settings.appointment_history_retention_days * days),
        Rule("sandbox_orders", PRUNE_SANDBOX_ORDERS, settings.sandbox_order_retention_days * days),
        Rule("api_keys", PRUNE_API_KEYS, settings.api_key_retention_days * days),
        Rule("logins", PRUNE_REFRESH_TOKENS, logins and logins + access, then=PRUNE_LOGINS),
    ]
    return [rule for rule in configured if rule.age] + [
        Rule("live_updates", PRUNE_LIVE_UPDATES, LIVE_UPDATES_RETENTION),
        Rule("account_tokens", PRUNE_ACCOUNT_TOKENS, _TOKENS_RETENTION),
        Rule("unverified_mails", PRUNE_UNVERIFIED_MAILS, PER),
        Rule("login_tickets", PRUNE_LOGIN_TICKETS, _TOKENS_RETENTION),
        Rule("enrolments", PRUNE_ENROLMENTS, _TOKENS_RETENTION),
        Rule("login_networks", PRUNE_NETWORKS, KNOWN_NETWORK_LIFETIME),
        Rule("delivery_minutes", PRUNE_MINUTES, _MINUTES_RETENTION),
    ]


def build_pruning(settings: Settings, database: Database, count: Count) -> Mapping[str, Prune]:
    """By kind."""
    pruning = Pruning(database, count)
    idempotency_keys = PruneIdempotencyKeys(PostgresIdempotencyKeys(database))

    async def prune_idempotency_keys(overdue: timedelta) -> int:
        pruned = await idempotency_keys(overdue)
        count("idempotency_keys", pruned)
        return pruned

    by_rule: dict[str, Prune] = {rule.kind: partial(pruning.prune, rule) for rule in rules(settings)}
    return by_rule | {"idempotency_keys": prune_idempotency_keys} | _pruning_of_audit_log(settings, database, count)


def _pruning_of_audit_log(settings: Settings, database: Database, count: Count) -> dict[str, Prune]:
    prune_audit_log = PruneAuditLog(PostgresAuditChain(database), timedelta(days=settings.audit_retention_days))

    async def prune(overdue: timedelta) -> int:
        pruned = await prune_audit_log(overdue)
        count("audit_log", pruned)
        return pruned

    return {"audit_log": prune} if settings.audit_retention_days else {}
