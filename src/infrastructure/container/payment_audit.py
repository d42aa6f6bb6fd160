"""Composition of the audit of payments for `convene payments`."""

from dataclasses import dataclass
from datetime import timedelta

from application.payments.audit import AuditPayments
from infrastructure.container.payments import build_gateways
from infrastructure.gateways.registry import GatewayRegistry
from infrastructure.postgres.engine import Database
from infrastructure.postgres.payments.audit import PostgresPaymentAudit
from infrastructure.postgres.payments.mismatches import PostgresMismatches
from infrastructure.settings import Settings
from servicekit.clock import DatabaseClock

SECOND_LOOK_AFTER = timedelta(seconds=2)
"""Within it a payment or webhook in transit arrives, as a rule."""


@dataclass(frozen=True, slots=True)
class AuditParts:
    database: Database
    gateways: GatewayRegistry
    audit: PostgresPaymentAudit
    mismatches: PostgresMismatches
    audit_payments: AuditPayments

    async def close(self) -> None:
        await self.gateways.close()
        await self.database.close()


def build_audit(settings: Settings) -> AuditParts:
    """Opens nothing, as `container.build`."""
    database = Database(
        settings.database_url, pool_size=2, timeout=settings.database_timeout_seconds, pooler=settings.pooler
    )
    gateways, _ = build_gateways(settings, database, DatabaseClock(database.connection))
    audit = PostgresPaymentAudit(database)
    audit_payments = AuditPayments(audit, gateways, SECOND_LOOK_AFTER)
    return AuditParts(database, gateways, audit, PostgresMismatches(database), audit_payments)
