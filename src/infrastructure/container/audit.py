"""The comparison of our books with the gateways', put together for the CLI."""

from dataclasses import dataclass
from datetime import timedelta

from application.payments.audit import AuditPayments
from infrastructure.container.payments import build_gateways
from infrastructure.database.engine import Database
from infrastructure.database.payment_audit import PostgresPaymentAudit
from infrastructure.payments.registry import GatewayRegistry
from infrastructure.settings import Settings


@dataclass(frozen=True, slots=True)
class AuditParts:
    database: Database
    gateways: GatewayRegistry
    books: PostgresPaymentAudit
    audit_payments: AuditPayments

    async def close(self) -> None:
        await self.gateways.close()
        await self.database.close()


def build_audit(settings: Settings) -> AuditParts:
    """Opens nothing, as `container.build`."""
    database = Database(settings.database_url, pool_size=2)
    gateways, _ = build_gateways(settings, database)
    books = PostgresPaymentAudit(database)
    return AuditParts(database, gateways, books, AuditPayments(books, gateways, timedelta(seconds=2)))
