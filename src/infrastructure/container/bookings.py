"""The inventory of seats: single reservations, and those of one event together."""

from domain.outbox import MessageType, Routes
from infrastructure.postgres.bookings.seat_batches import PostgresSeatBatches, batch_statement
from infrastructure.postgres.bookings.seat_queues import QueuedSeatInventory
from infrastructure.postgres.bookings.seats import PostgresSeatInventory, reserve_statement
from infrastructure.postgres.engine import Database
from infrastructure.settings import Settings


def build_seats(settings: Settings, database: Database, gateway: str, routes: Routes) -> QueuedSeatInventory:
    """`gateway`: the name of the gateway of new payments."""
    to_reserve, remind_before = routes[MessageType.BOOKING_CREATED], settings.reminder_offsets
    return QueuedSeatInventory(
        PostgresSeatInventory(
            database,
            gateway=gateway,
            reserve=reserve_statement(to_reserve, remind_before),
            reserve_under_key=reserve_statement(to_reserve, remind_before, under_key=True),
        ),
        PostgresSeatBatches(
            database,
            gateway=gateway,
            reserve=batch_statement(to_reserve, remind_before),
            reserve_under_keys=batch_statement(to_reserve, remind_before, under_keys=True),
        ),
        seconds=database.timeouts.total,
    )
